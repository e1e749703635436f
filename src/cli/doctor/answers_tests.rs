use std::io;

use super::super::check::State;
use super::*;
use crate::cli::doctor::database::Recorded;
use crate::store::Standing;

fn error(kind: Kind, status: Option<u16>, message: &str) -> ApiError {
    ApiError {
        call: "connect-desktops",
        kind,
        status,
        code: None,
        message: message.into(),
        request_id: Some("4711".into()),
        hint: None,
        retry_after: None,
    }
}

fn noon() -> Instant {
    "2026-10-07T12:00:00Z".parse().unwrap()
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn direct() -> Result<Reach, ReachError> {
    let time = Duration::from_millis(12);
    Ok(Reach::Direct { addresses: 2, resolved_in: time, connected_in: time })
}

#[test]
fn only_plain_http_over_a_network_is_warned_of() {
    assert!(encryption(&url("https://10.0.0.1")).is_none());
    assert!(encryption(&url("http://127.0.0.1:8080")).is_none());
    assert!(encryption(&url("http://[::1]:8080")).is_none());
    assert_eq!(encryption(&url("http://10.0.0.1")).unwrap().state, State::Warning);
}

#[test]
fn the_way_to_an_endpoint_is_told_step_by_step() {
    let place = url("https://workspace.example");
    let check = endpoint(&place, &direct(), None);
    assert_eq!(
        (check.state, check.found.as_str()),
        (
            State::Ok,
            "workspace.example:443, no proxy, 2 addresses, found in 12 ms, connected in 12 ms"
        )
    );
    let name = ReachError::Name {
        host: "workspace.example".into(),
        source: io::Error::other("no such host"),
    };
    let check = endpoint(&place, &Err(name), None);
    assert_eq!(check.state, State::Failed);
    assert_eq!(check.found, "the name `workspace.example` cannot be resolved: no such host");
    assert!(check.advice.unwrap().contains("DNS"));

    let proxy = Ok(Reach::Proxy("http://proxy:3128".into()));
    let broken = Err(error(Kind::Connect, None, "invalid peer certificate: UnknownIssuer"));
    let check = endpoint(&place, &proxy, Some(&broken));
    assert_eq!(check.state, State::Failed);
    assert!(check.found.contains("through the proxy http://proxy:3128"), "{}", check.found);
    assert!(check.advice.unwrap().contains("taking TLS apart"));

    let plain = "error sending request: received corrupt message of type InvalidContentType";
    let check = endpoint(&place, &direct(), Some(&Err(error(Kind::Connect, None, plain))));
    assert_eq!(check.state, State::Failed);
    let advice = check.advice.unwrap();
    assert!(advice.contains("does not speak TLS") && !advice.contains("firewall"), "{advice}");
    // What begins to answer was reached: it is the call that failed.
    let cut = Err(error(Kind::Truncated, Some(200), "the answer broke off"));
    assert_eq!(endpoint(&place, &direct(), Some(&cut)).state, State::Ok);

    // Whoever answers with a refusal was reached.
    let refused = Err(error(Kind::Api, Some(401), "refused"));
    assert_eq!(endpoint(&place, &direct(), Some(&refused)).state, State::Ok);
}

#[test]
fn who_asks_is_judged_by_the_first_answer_and_by_what_ends() {
    let key = Ok(Who::AccessKey { starts: "EXAM…".into(), is_temporary: false });
    let check = credentials(&key, None, noon());
    assert_eq!((check.state, check.found.contains("EXAM…")), (State::Ok, true));
    let refused = error(Kind::Api, Some(401), "HTTP 401: no");
    let check = credentials(&key, Some(&refused), noon());
    assert_eq!(check.state, State::Failed);
    assert_eq!(check.found, "access key EXAM…; refused: HTTP 401: no, request id 4711");
    // Nobody doubts who it is.
    let forbidden = error(Kind::Api, Some(403), "no right");
    assert_eq!(credentials(&key, Some(&forbidden), noon()).state, State::Ok);
    let withheld = error(Kind::Withheld, None, "not sent");
    assert_eq!(credentials(&key, Some(&withheld), noon()).state, State::Skipped);
    let away = error(Kind::Timeout, None, "too late");
    assert_eq!(credentials(&key, Some(&away), noon()).state, State::Skipped);

    let temporary = Ok(Who::AccessKey { starts: "EXAM…".into(), is_temporary: true });
    assert_eq!(credentials(&temporary, None, noon()).state, State::Warning);
    assert_eq!(credentials(&Ok(Who::Token), None, noon()).state, State::Warning);
    let user = |minutes| {
        let expires_at = noon() + TimeDelta::minutes(minutes);
        Ok(Who::User { user: "recorder".into(), domain: "acme".into(), expires_at })
    };
    let check = credentials(&user(24 * 60), None, noon());
    assert_eq!(check.state, State::Ok);
    assert!(check.found.contains("until 2026-10-08 12:00:00Z, for 1d"), "{}", check.found);
    assert_eq!(credentials(&user(59), None, noon()).state, State::Warning);
    // The identity service itself is away: there is no token, and that is a failure.
    assert_eq!(credentials(&Err(away), None, noon()).state, State::Failed);
}

#[test]
fn clocks_are_compared_at_one_five_and_fifteen_minutes() {
    for (seconds, state) in [
        (0, State::Ok),
        (59, State::Ok),
        (299, State::Ok),
        (300, State::Warning),
        (-420, State::Warning),
        (899, State::Warning),
        (900, State::Failed),
        (-1200, State::Failed),
    ] {
        let skew = Skew { machine: noon() + TimeDelta::seconds(seconds), server: noon() };
        let check = clock(Some(skew));
        assert_eq!(check.state, state, "{seconds}");
        assert_eq!(check.advice.is_some(), seconds.abs() >= 60, "{seconds}");
    }
    let check = clock(Some(Skew { machine: noon() - TimeDelta::minutes(7), server: noon() }));
    assert_eq!(
        check.found,
        "7m behind the server's: this machine says 11:53:00Z, the server 12:00:00Z"
    );
    assert_eq!(clock(None).state, State::Skipped);
}

#[test]
fn a_place_that_differs_from_the_ledgers_names_both() {
    let place = |project: &str| Source {
        name: "prod".into(),
        region: None,
        project_id: Some(project.into()),
        endpoint: Some("https://a".into()),
    };
    let known = |standings| -> Known { Ok(Recorded { read_at: noon(), standings, rosters: None }) };
    let recorded = known(vec![Standing {
        source: "prod".into(),
        region: Some("ap-southeast-3".into()),
        project_id: Some("one".into()),
        endpoint: Some("https://a".into()),
        last_snapshot_at: None,
        complete_until: None,
        desktops_outcome: None,
        groups_outcome: None,
        desktops_recorded: None,
        desktops_total: None,
        newest_error: None,
        gap_from: None,
        failed_snapshots: None,
        last_error: None,
        leader: None,
        leased_until: None,
    }]);
    assert_eq!(pinned(&place("one"), &recorded).state, State::Ok);
    let check = pinned(&place("two"), &recorded);
    assert_eq!(check.state, State::Failed);
    assert_eq!(check.found, "recorded with project_id `one`, and now it is `two`");
    assert_eq!(pinned(&place("two"), &known(Vec::new())).state, State::Ok);
    assert_eq!(pinned(&place("two"), &Err("away".into())).state, State::Skipped);
}

#[test]
fn a_call_is_judged_by_itself() {
    let judged = |error: ApiError| call::<()>("connect-desktops", &Err(error), |()| String::new());
    assert_eq!(judged(error(Kind::Api, Some(401), "no")).state, State::Skipped);
    assert_eq!(judged(error(Kind::Withheld, None, "no")).state, State::Skipped);
    assert_eq!(judged(error(Kind::Api, Some(429), "slower")).state, State::Warning);
    let check = judged(error(Kind::Api, Some(503), "HTTP 503: later"));
    assert_eq!(check.state, State::Failed);
    assert!(check.advice.unwrap().contains("look again"));
    let check = judged(error(Kind::Api, Some(403), "HTTP 403: project id not match"));
    assert!(check.advice.unwrap().contains("is `project_id`"));
    let check = judged(error(Kind::Truncated, Some(200), "the answer broke off"));
    assert!(check.state == State::Failed && !check.advice.unwrap().contains("firewall"));
    // Who is to be asked about a request id needs one.
    let check = judged(error(Kind::Api, Some(418), "HTTP 418"));
    assert!(check.advice.unwrap().contains("request id"));
    let without = ApiError { request_id: None, ..error(Kind::TooLarge, None, "too large") };
    assert!(!judged(without).advice.unwrap().contains("request id"));
}
