//! What the API's answers mean: pure, from what was asked and what came back.

use std::net::IpAddr;
use std::time::Duration;

use chrono::TimeDelta;
use reqwest::Url;

use super::check::Check;
use super::database::Known;
use crate::config::SourceConfig;
use crate::domain::{Instant, Source, format_duration};
use crate::error::Chain;
use crate::workspace::{ApiError, Glance, Kind, Reach, ReachError, Skew, Who};

/// A token that nobody renews, and that dies sooner than this, ends the recording today.
const SOON: TimeDelta = TimeDelta::hours(1);
/// What the clocks are compared with; below the first nothing is said of it.
const UNNOTICED: TimeDelta = TimeDelta::minutes(1);
const NOTICEABLE: TimeDelta = TimeDelta::minutes(5);
/// Signatures die here.
const DEADLY: TimeDelta = TimeDelta::minutes(15);

/// Plain http shows tokens to everyone on the way.
pub(super) fn encryption(endpoint: &Url) -> Option<Check> {
    let host = endpoint.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    (endpoint.scheme() == "http" && !is_loopback).then(|| {
        Check::warning(
            "encryption",
            "plain http, by `allow_http`: tokens and names cross the network in the clear",
            "use an https endpoint, unless everyone on that network may read them",
        )
    })
}

/// The way to the endpoint; `first`: how the first request ended.
pub(super) fn endpoint(
    endpoint: &Url,
    reach: &Result<Reach, ReachError>,
    first: Option<&Result<Glance, ApiError>>,
) -> Check {
    const NAME: &str = "endpoint";
    let place = format!(
        "{}:{}",
        endpoint.host_str().unwrap_or_default(),
        endpoint.port_or_known_default().unwrap_or_default()
    );
    let way = match reach {
        Err(error @ ReachError::Name { .. }) => {
            return Check::failed(
                NAME,
                Chain(error).to_string(),
                "is the region or `endpoint` right, does this machine's DNS work, and is a proxy needed (HTTPS_PROXY)?",
            );
        }
        Err(error @ ReachError::Connection { .. }) => {
            return Check::failed(
                NAME,
                Chain(error).to_string(),
                "is the address right, is a firewall in between, and is a proxy needed (HTTPS_PROXY)?",
            );
        }
        Ok(Reach::Proxy(proxy)) => format!("{place} through the proxy {proxy}"),
        Ok(Reach::Direct { addresses, resolved_in, connected_in }) => format!(
            "{place}, no proxy, {addresses} {}, found in {}, connected in {}",
            if *addresses == 1 { "address" } else { "addresses" },
            millis(*resolved_in),
            millis(*connected_in)
        ),
    };
    match first {
        Some(Err(error)) if is_about_the_way(error.kind) => {
            let said = &error.message;
            let advice = if is_no_tls(said) {
                "this port does not speak TLS: is the endpoint's scheme or port right?"
            } else if said.to_lowercase().contains("certificate") {
                "the certificate is not trusted here: is a proxy taking TLS apart, or the clock wrong?"
            } else if matches!(reach, Ok(Reach::Proxy(_))) {
                "does the proxy let this machine through to that host?"
            } else {
                "something takes connections there and does not answer: a firewall, or a service that is down; try again in a minute"
            };
            Check::failed(NAME, format!("{way}; no answer: {said}"), advice)
        }
        Some(Err(error)) if error.kind == Kind::Redirect => {
            Check::failed(NAME, format!("{way}; {}", error.message), "set the right `endpoint`")
        }
        _ => Check::ok(NAME, way),
    }
}

/// A time as people read it.
pub(super) fn millis(time: Duration) -> String {
    match time.as_millis() {
        0 => "less than 1 ms".to_owned(),
        millis => format!("{millis} ms"),
    }
}

fn is_about_the_way(kind: Kind) -> bool {
    matches!(kind, Kind::Timeout | Kind::Connect | Kind::Connection)
}

/// Whether something else than TLS came back, in rustls's words: plain http begins with no byte of a record.
fn is_no_tls(said: &str) -> bool {
    said.contains("InvalidContentType")
}

/// Who asks, and whether the API believes it; `first`: the first answer to a request of theirs.
pub(super) fn credentials(
    who: &Result<Who, ApiError>,
    first: Option<&ApiError>,
    now: Instant,
) -> Check {
    const NAME: &str = "credentials";
    let refused = who.as_ref().err().or(first);
    let shown = who.as_ref().map(describe);
    if let Some(error) = refused {
        let who = shown.as_deref().map_or_else(|_| String::new(), |who| format!("{who}; "));
        if error.kind == Kind::Withheld {
            return Check::skipped(NAME, format!("{who}{}", error.message));
        }
        if error.is_refused() {
            let advice = advice(error, "obtain new credentials");
            return Check::failed(NAME, format!("{who}refused: {}", said(error)), advice);
        }
        if is_about_the_way(error.kind) || matches!(error.kind, Kind::Redirect | Kind::Truncated) {
            return match shown {
                // The identity service did not give the token.
                Err(_) => failed_call(NAME, error),
                Ok(who) => {
                    Check::skipped(NAME, format!("{who}; the endpoint gave no whole answer"))
                }
            };
        }
        if shown.is_err() {
            return failed_call(NAME, error);
        }
    }
    let Ok(who) = who else { return Check::skipped(NAME, "nothing was answered") };
    let shown = describe(who);
    match who {
        Who::AccessKey { is_temporary: false, .. } => {
            Check::ok(NAME, format!("{shown}; lives until it is deleted"))
        }
        Who::AccessKey { is_temporary: true, .. } => Check::warning(
            NAME,
            format!("{shown}; dies within a day, nobody can see when, and it is not renewed"),
            "use a permanent key of a user with the two rights below, or a user and password",
        ),
        Who::Token => Check::warning(
            NAME,
            format!(
                "{shown}; lives for a day at most, nobody can see until when, and it is not renewed"
            ),
            "use an access key, or a user and password, which gets new tokens by itself",
        ),
        Who::User { expires_at, .. } => {
            let left = *expires_at - now;
            let found = format!(
                "{shown}; its token lives until {}, for {}, and is renewed in time",
                expires_at.format("%Y-%m-%d %H:%M:%SZ"),
                format_duration(left)
            );
            if left < SOON {
                Check::warning(
                    NAME,
                    found,
                    "tokens usually live for a day: is this machine's clock right, and is the account's session policy meant so?",
                )
            } else {
                Check::ok(NAME, found)
            }
        }
    }
}

fn describe(who: &Who) -> String {
    match who {
        Who::AccessKey { starts, is_temporary: false } => format!("access key {starts}"),
        Who::AccessKey { starts, is_temporary: true } => format!("temporary access key {starts}"),
        Who::Token => "a token".to_owned(),
        Who::User { user, domain, .. } => format!("user `{user}` of account `{domain}`"),
    }
}

/// What a source is recorded as, against what it is now.
pub(super) fn pinned(place: &Source, known: &Known) -> Check {
    const NAME: &str = "pinned";
    let known = match known {
        Ok(known) => known,
        Err(why) => return Check::skipped(NAME, why),
    };
    let Some(standing) = known.standing(&place.name) else {
        return Check::ok(NAME, "not recorded yet; the first visit pins its place");
    };
    let recorded = standing.pinned();
    let differing: Vec<String> = [
        ("region", &recorded.region, &place.region),
        ("project_id", &recorded.project_id, &place.project_id),
        ("endpoint", &recorded.endpoint, &place.endpoint),
    ]
    .into_iter()
    .filter_map(|(what, recorded, now)| match (recorded, now) {
        (Some(recorded), Some(now)) if recorded != now => {
            Some(format!("{what} `{recorded}`, and now it is `{now}`"))
        }
        _ => None,
    })
    .collect();
    if differing.is_empty() {
        return Check::ok(NAME, "the ledger has it with this region, project and endpoint");
    }
    Check::failed(
        NAME,
        format!("recorded with {}", differing.join("; ")),
        "`deskledger collect` refuses this: set back what is recorded, or give the other place a source name of its own",
    )
}

/// One of the two calls; `good` says what its answer held.
pub(super) fn call<T>(
    name: &'static str,
    answer: &Result<T, ApiError>,
    good: impl Fn(&T) -> String,
) -> Check {
    match answer {
        Ok(answer) => Check::ok(name, good(answer)),
        Err(error) if error.kind == Kind::Withheld || error.is_refused() => {
            Check::skipped(name, "the credential is refused")
        }
        Err(error) => failed_call(name, error),
    }
}

pub(super) fn failed_call(name: &'static str, error: &ApiError) -> Check {
    if error.is_throttled() {
        return Check::warning(
            name,
            said(error),
            advice(error, "wait for a minute and look again"),
        );
    }
    if error.status == Some(403) && error.message.to_lowercase().contains("project") {
        return Check::failed(
            name,
            said(error),
            format!(
                "is `project_id` the one of this region and account? Else {}",
                advice(error, "grant the right")
            ),
        );
    }
    let otherwise = match error.kind {
        Kind::Truncated => {
            "the answer broke off, or is not packed as it says: look again, and see whether something in between changes answers"
        }
        kind if error.is_transient() && kind != Kind::Unreadable => {
            "it was asked once, and a visit repeats it: look again in a minute"
        }
        Kind::Unreadable => "is the endpoint the Workspace API's, and no proxy's page?",
        Kind::Budget => "it took too long: look again, and see what else uses this account",
        _ if error.request_id.is_some() => "the vendor's support can look the request id up",
        _ => "look again; if it stays, ask the vendor's support with the time and these words",
    };
    Check::failed(name, said(error), advice(error, otherwise))
}

/// What an error says, with what the vendor's support asks for.
fn said(error: &ApiError) -> String {
    let mut text = error.message.clone();
    if let Some(code) = &error.code {
        text = format!("{text} ({code})");
    }
    if let Some(id) = &error.request_id {
        text = format!("{text}, request id {id}");
    }
    text
}

fn advice(error: &ApiError, otherwise: &str) -> String {
    error.hint.as_deref().unwrap_or(otherwise).to_owned()
}

/// This machine's clock against the API's.
pub(super) fn clock(skew: Option<Skew>) -> Check {
    const NAME: &str = "clock";
    let Some(skew) = skew else { return Check::skipped(NAME, "no answer carried a date") };
    let ahead = skew.ahead();
    let time = |at: Instant| at.format("%H:%M:%SZ").to_string();
    if ahead.abs() < UNNOTICED {
        return Check::ok(NAME, "within a minute of the server's");
    }
    let found = format!(
        "{} {} the server's: this machine says {}, the server {}",
        format_duration(ahead.abs()),
        if ahead > TimeDelta::zero() { "ahead of" } else { "behind" },
        time(skew.machine),
        time(skew.server)
    );
    if ahead.abs() >= DEADLY {
        let advice = "set the clock right (NTP): signatures that are 15 minutes off are refused";
        Check::failed(NAME, found, advice)
    } else if ahead.abs() >= NOTICEABLE {
        let advice = "set the clock right (NTP): at 15 minutes signatures are refused";
        Check::warning(NAME, found, advice)
    } else {
        Check::ok(NAME, found).advising("the snapshots are stamped with this clock: let NTP set it")
    }
}

/// What the configuration says of a source's project.
pub(super) fn project(source: &SourceConfig, place: &Source, known: &Known) -> Check {
    let id = place.project_id.as_deref().unwrap_or_default();
    let region = source.region.as_deref().unwrap_or_default();
    let is_recorded = known.as_ref().is_ok_and(|known| {
        known
            .standing(&place.name)
            .is_some_and(|standing| standing.project_id.as_deref() == Some(id))
    });
    let how = match (&source.project_id, is_recorded) {
        (Some(_), _) => "as configured".to_owned(),
        (None, true) => "as the ledger has it".to_owned(),
        (None, false) => format!("looked up: the one of region {region}"),
    };
    Check::ok("project", format!("{id}, {how}"))
}

#[cfg(test)]
#[path = "answers_tests.rs"]
mod tests;
