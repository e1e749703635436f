//! Every fault that stands in the place of an answer or spoils its way, by its text form.

use serde_json::json;

use super::*;

/// Lets one fault happen to one request for desktops.
async fn befallen(simulator: &Simulator, fault: &str) -> Reply {
    set(simulator, &[fault]);
    let before = simulator.tally().faulty;
    let reply = get(simulator, LISTING).await;
    assert_eq!(simulator.tally().faulty, before + 1, "{fault}");
    reply
}

#[tokio::test]
async fn errors_come_in_every_shape() {
    let simulator = server(50).await;
    let auth = "Incorrect IAM authentication information: ";
    let throttled = "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 minute";
    for (fault, status, code, message) in [
        ("throttle=2", 429, "APIGW.0308", throttled.to_owned()),
        ("retry-date=90", 429, "APIGW.0308", throttled.to_owned()),
        ("status=503", 503, "WKS.00000003", "Internal service error.".to_owned()),
        ("error-inside", 200, "WKS.00010109", "The task failed.".to_owned()),
        ("expired-token", 401, "APIGW.0307", "The token must be updated.".to_owned()),
        (
            "stale-token",
            401,
            "APIGW.0301",
            format!("{auth}token expires, expires_at: 2026-10-07T01:59:00Z"),
        ),
        (
            "locked",
            401,
            "APIGW.0301",
            format!("{auth}AK access failed to reach the limit,forbidden"),
        ),
    ] {
        let reply = befallen(&simulator, fault).await;
        assert_eq!(reply.refusal(), (status, code.to_owned(), message), "{fault}");
        let id = reply.header("X-Request-Id").unwrap();
        assert_eq!(id.len(), 32);
        if code.starts_with("APIGW") {
            assert_eq!(reply.json()["request_id"], id);
        }
    }
    let (code, message) = ("WKS.00000003", "Internal service error.");
    let inner = json!({"error_code": code, "error_msg": message});
    let iam = json!({"error": {
        "code": 401,
        "message": "The request you have made requires authentication.",
        "title": "Unauthorized",
    }});
    for (fault, status, body) in [
        ("iam-error=401", 401, iam),
        ("camel-error=500", 500, json!({"errorCode": code, "errorMsg": message})),
        ("nested-error=502", 502, json!({ "error": inner })),
    ] {
        let reply = befallen(&simulator, fault).await;
        assert_eq!((reply.status, reply.json()), (status, body), "{fault}");
    }
    for (fault, status, kind, body) in [
        ("text-error=502", 502, Some("text/plain"), "Bad Gateway: upstream is gone\n"),
        ("silent=500", 500, None, ""),
        ("html=200", 200, Some("text/html"), "<html>"),
        ("empty", 200, Some("application/json"), ""),
        ("bad-json", 200, Some("application/json"), r#"{"desktops":["#),
    ] {
        let reply = befallen(&simulator, fault).await;
        assert_eq!((reply.status, reply.header("Content-Type")), (status, kind), "{fault}");
        assert!(reply.text().starts_with(body), "{reply:?}");
        assert_eq!(reply.text().is_empty(), body.is_empty(), "{fault}");
        assert!(serde_json::from_slice::<Value>(&reply.body).is_err(), "{fault}");
    }
}

#[tokio::test]
async fn retry_after_is_a_number_or_a_date() {
    let simulator = server(50).await;
    assert_eq!(befallen(&simulator, "throttle").await.header("Retry-After"), None);
    assert_eq!(befallen(&simulator, "throttle=7").await.header("Retry-After"), Some("7"));
    let reply = befallen(&simulator, "retry-date=90").await;
    assert_eq!(reply.header("Date"), Some("Wed, 07 Oct 2026 02:00:00 GMT"));
    assert_eq!(reply.header("Retry-After"), Some("Wed, 07 Oct 2026 02:01:30 GMT"));
}

#[tokio::test]
async fn every_answer_has_the_servers_date_and_skew_moves_it() {
    let (config, hands) = config(50);
    let simulator = Simulator::start(config).await.unwrap();
    hands.advance(TimeDelta::hours(3));
    set(&simulator, &[]);
    for target in [LISTING, STATISTICS, PROJECTS, "/nothing"] {
        assert_eq!(get(&simulator, target).await.date("Date"), hands.now(), "{target}");
    }
    for (fault, minutes) in [("skew=20m", 20), ("skew=-20m", -20)] {
        let off = TimeDelta::minutes(minutes);
        let reply = befallen(&simulator, fault).await;
        assert_eq!((reply.status, reply.date("Date")), (200, hands.now() + off));
    }
    // An answer is as wrong as its server in all that it says.
    set(&simulator, &["skew=20m", "retry-date=5"]);
    let reply = get(&simulator, LISTING).await;
    assert_eq!(reply.date("Retry-After") - hands.now(), TimeDelta::seconds(20 * 60 + 5));
}

#[tokio::test]
async fn connections_end_as_they_were_told_to() {
    let simulator = server(450).await;
    let dropped = befallen(&simulator, "drop").await;
    assert_eq!((dropped.body.len(), dropped.status, dropped.end), (0, 0, None));
    let reset = befallen(&simulator, "reset").await;
    let end = Some(ErrorKind::ConnectionReset);
    assert_eq!((reset.body.len(), reset.status, reset.end), (0, 0, end));
    let cut = befallen(&simulator, "truncate").await;
    let length: usize = cut.header("Content-Length").unwrap().parse().unwrap();
    assert_eq!((cut.status, cut.body.len()), (200, length / 2));
    set(&simulator, &[]);
    assert_eq!(get(&simulator, LISTING).await.end, None);
}

#[tokio::test]
async fn answers_are_late_and_bodies_slow() {
    let simulator = server(450).await;
    let whole = get(&simulator, LISTING).await.body;
    for fault in ["delay=300ms", "slow=300ms"] {
        let reply = befallen(&simulator, fault).await;
        assert_eq!(reply.body, whole, "{fault}");
        assert!(reply.took >= Duration::from_millis(300), "{fault} took {:?}", reply.took);
    }
}

#[tokio::test]
async fn what_cannot_be_unpacked_and_what_swells() {
    let simulator = server(50).await;
    let gzip = format!("{TOKEN}Accept-Encoding: gzip\r\n");
    let bad = befallen(&simulator, "bad-gzip").await;
    assert_eq!((bad.status, bad.header("Content-Encoding")), (200, Some("gzip")));
    gunzip(&bad.body).unwrap_err();
    let plain = befallen(&simulator, "huge=3M").await;
    assert_eq!((plain.body.len(), plain.header("Content-Encoding")), (3 << 20, None));
    let bomb = ask(&simulator, "GET", LISTING, &gzip, "").await;
    assert_eq!(bomb.header("Content-Encoding"), Some("gzip"));
    assert!(bomb.body.len() < 40_000, "{}", bomb.body.len());
    assert_eq!(gunzip(&bomb.body).unwrap(), plain.body);
    assert!(serde_json::from_slice::<Value>(&plain.body).is_err());
    // And a right answer can be unpacked.
    set(&simulator, &[]);
    let packed = ask(&simulator, "GET", LISTING, &gzip, "").await;
    assert_eq!(gunzip(&packed.body).unwrap(), get(&simulator, LISTING).await.body);
}

#[tokio::test]
async fn revoked_tokens_are_refused_until_there_is_a_new_one() {
    let simulator = server(50).await;
    let header = |token: &str| format!("X-Auth-Token: {token}\r\n");
    let old = header(&token(&simulator).await);
    assert_eq!(ask(&simulator, "GET", LISTING, &old, "").await.status, 200);
    set(&simulator, &["kill-tokens,times=1"]);
    for _ in 0..2 {
        let refused = ask(&simulator, "GET", LISTING, &old, "").await.refusal();
        assert_eq!((refused.0, refused.1.as_str()), (401, "APIGW.0307"));
    }
    let new = header(&token(&simulator).await);
    assert_eq!(ask(&simulator, "GET", LISTING, &new, "").await.status, 200);
    assert_eq!(ask(&simulator, "GET", LISTING, &old, "").await.status, 401);
    assert_eq!(get(&simulator, LISTING).await.status, 200, "the one that never dies");
    simulator.revoke_tokens();
    assert_eq!(ask(&simulator, "GET", LISTING, &new, "").await.status, 401);
    assert_eq!((simulator.tokens(), simulator.tally().exchanges), (2, 2));
}

#[tokio::test]
async fn rules_are_about_one_call_and_come_by_chance_from_the_seed() {
    let run = async |seed| {
        let (mut config, _) = config(5);
        config.fault_seed = seed;
        config.faults = vec!["silent=500,on=statistics,rate=0.3".parse().unwrap()];
        let simulator = Simulator::start(config).await.unwrap();
        assert_eq!(get(&simulator, LISTING).await.status, 200);
        assert_eq!(get(&simulator, PROJECTS).await.status, 200);
        let mut seen = Vec::new();
        for _ in 0..60 {
            seen.push(get(&simulator, STATISTICS).await.status);
        }
        let faulty = seen.iter().filter(|status| **status == 500).count();
        assert_eq!(simulator.tally().faulty, faulty as u64);
        seen
    };
    let one = run(1).await;
    let faulty = one.iter().filter(|status| **status == 500).count();
    assert!((5..40).contains(&faulty), "{faulty}");
    assert_eq!(one, run(1).await);
    assert_ne!(one, run(2).await);
    let simulator = server(5).await;
    set(&simulator, &["silent=500,on=projects"]);
    assert_eq!(get(&simulator, PROJECTS).await.status, 500);
    assert_eq!(get(&simulator, LISTING).await.status, 200);
}
