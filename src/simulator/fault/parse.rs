//! A rule as it is written on the command line.

use std::str::FromStr;
use std::time::Duration;

use chrono::TimeDelta;

use super::{Fault, On, Rule, Shape};
use crate::domain::parse_duration;

/// Every fault as it is written, and what it does.
const FAULTS: [(&str, &str); 38] = [
    ("throttle", "429, as the gateway throttles"),
    ("throttle=2", "the same, with `Retry-After: 2`"),
    ("retry-date=2", "the same, with a Retry-After that is a date 2 seconds ahead"),
    ("status=503", "this status and an error in the service's shape"),
    ("iam-error=401", "an error in the identity service's shape"),
    ("camel-error=500", "an error as errorCode and errorMsg"),
    ("nested-error=500", "an error one level down"),
    ("text-error=502", "an error as plain text"),
    ("silent=500", "an error without a body"),
    ("html=502", "an HTML page; 200 too"),
    ("error-inside", "an error under status 200"),
    ("redirect", "307 to another host"),
    ("drop", "the connection is closed instead of an answer"),
    ("reset", "the connection is reset instead of an answer"),
    ("truncate", "the connection breaks in the middle of the answer"),
    ("delay=3s", "the answer comes late"),
    ("slow=3s", "the answer's body takes that long to come"),
    ("bad-json", "200 and no JSON"),
    ("empty", "200 and no body"),
    ("bad-gzip", "200 and a body that cannot be decompressed"),
    ("huge=100M", "200 and so many bytes without an end; gzip where taken"),
    ("total=-1", "total_count is wrong by that much"),
    ("null-total", "total_count is null"),
    ("repeat", "the first page comes again"),
    ("duplicate", "the page's first record comes again at its end"),
    ("no-id", "one record comes without its id"),
    ("nulls", "the same content with nulls, unknown fields and numbers as texts"),
    ("odd-names", "login_status and attach_infos"),
    ("extra", "unknown fields everywhere"),
    ("short-page=7", "no more than 7 records of the page"),
    ("lose=2", "2 records are left out, and counted"),
    ("wild-counters", "group counters below 0 and beyond 32 bits"),
    ("move=5m", "so much time passes in the fleet before the answer"),
    ("expired-token", "401, the token must be updated"),
    ("stale-token", "401, the token expired"),
    ("kill-tokens", "the tokens given out so far are dead from now on"),
    ("locked", "401, the access key is locked"),
    ("skew=-20m", "the Date header is that far off"),
];

/// What narrows a rule, and how.
const NARROWED: &str = "Narrowed by `on=listing|statistics|tokens|projects`, `offset=1000` (that page only), \
`skip=N` (behave at the first N), `every=N`, `times=N` (then behave) and `rate=0.02` (that share, by chance, \
from --fault-seed): `throttle=2,every=7`, `drop,on=listing,rate=0.01`";

/// All the ways to misbehave, a line each, and what narrows them.
#[must_use]
pub fn help() -> String {
    let mut text = String::from("Misbehave; may be given several times.\n\n");
    for (form, what) in FAULTS {
        text.push_str(&format!("{form:<18}{what}\n"));
    }
    text.push('\n');
    text.push_str(NARROWED);
    text
}

/// Why a text is no rule.
#[derive(Debug, PartialEq, Eq)]
pub struct FaultError(String);

impl std::fmt::Display for FaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "`{}` is no fault; write one of", self.0)?;
        for (at, (form, _)) in FAULTS.iter().enumerate() {
            write!(f, "{} `{form}`", if at == 0 { "" } else { "," })?;
        }
        let (first, rest) = NARROWED.split_at(1);
        write!(f, "; {}{rest}", first.to_lowercase())
    }
}

impl std::error::Error for FaultError {}

impl FromStr for Rule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        rule(text).ok_or_else(|| FaultError(text.to_owned()))
    }
}

fn rule(text: &str) -> Option<Rule> {
    let mut fields = text.split(',').map(|field| match field.trim().split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (field.trim(), None),
    });
    let (name, value) = fields.next()?;
    let mut rule = Rule::new(match value {
        Some(value) => with_value(name, value)?,
        None => alone(name)?,
    });
    for (name, value) in fields {
        let value = value?;
        rule = match name {
            "on" => rule.on(match value {
                "any" => On::Any,
                "listing" => On::Listing,
                "statistics" => On::Statistics,
                "tokens" => On::Tokens,
                "projects" => On::Projects,
                _ => return None,
            }),
            "offset" => rule.offset(value.parse().ok()?),
            "skip" => rule.skip(value.parse().ok()?),
            "every" => rule.every(value.parse().ok()?),
            "times" => rule.times(value.parse().ok()?),
            "rate" => {
                rule.rate(value.parse().ok().filter(|rate: &f64| (0.0..=1.0).contains(rate))?)
            }
            _ => return None,
        };
    }
    Some(rule)
}

fn alone(name: &str) -> Option<Fault> {
    Some(match name {
        "throttle" => Fault::Throttle(None),
        "drop" => Fault::Drop,
        "reset" => Fault::Reset,
        "truncate" => Fault::Truncate,
        "bad-json" => Fault::BadJson,
        "empty" => Fault::Empty,
        "bad-gzip" => Fault::BadGzip,
        "null-total" => Fault::NullTotal,
        "repeat" => Fault::RepeatPage,
        "duplicate" => Fault::Duplicate,
        "no-id" => Fault::NoId,
        "nulls" => Fault::Nulls,
        "odd-names" => Fault::OddNames,
        "extra" => Fault::Extra,
        "wild-counters" => Fault::WildCounters,
        "error-inside" => Fault::ErrorInside,
        "redirect" => Fault::Redirect,
        "expired-token" => Fault::ExpiredToken,
        "stale-token" => Fault::StaleToken,
        "kill-tokens" => Fault::KillTokens,
        "locked" => Fault::Locked,
        _ => return None,
    })
}

fn with_value(name: &str, value: &str) -> Option<Fault> {
    Some(match name {
        "throttle" => Fault::Throttle(Some(value.parse().ok()?)),
        "retry-date" => Fault::ThrottleUntil(value.parse().ok()?),
        "status" => Fault::Status(status(value)?),
        "iam-error" => Fault::Shaped(Shape::Iam, status(value)?),
        "camel-error" => Fault::Shaped(Shape::Camel, status(value)?),
        "nested-error" => Fault::Shaped(Shape::Nested, status(value)?),
        "text-error" => Fault::Shaped(Shape::Text, status(value)?),
        "silent" => Fault::Shaped(Shape::Silent, status(value)?),
        "html" => Fault::Html(status(value)?),
        "delay" => Fault::Delay(wait(value)?),
        "slow" => Fault::Slow(wait(value)?),
        "huge" => Fault::Huge(bytes(value)?),
        "total" => Fault::WrongTotal(value.parse().ok()?),
        "short-page" => Fault::ShortPage(value.parse().ok()?),
        "lose" => Fault::Lose(value.parse().ok()?),
        "move" => Fault::Move(parse_duration(value).ok()?),
        "skew" => Fault::Skew(match value.strip_prefix('-') {
            Some(back) => -parse_duration(back).ok()?,
            None => parse_duration(value).ok()?,
        }),
        _ => return None,
    })
}

fn status(value: &str) -> Option<u16> {
    // What is below 200 ends no exchange.
    value.parse().ok().filter(|status| (200..600).contains(status))
}

/// A duration, in milliseconds too: a test has no seconds to give away.
fn wait(value: &str) -> Option<Duration> {
    if let Some(millis) = value.strip_suffix("ms") {
        return millis.parse().ok().map(Duration::from_millis);
    }
    let wait: TimeDelta = parse_duration(value).ok()?;
    wait.to_std().ok()
}

/// A number of bytes; `K`, `M` and `G` stand for powers of 1024.
fn bytes(value: &str) -> Option<u64> {
    let shift = match value.chars().last()? {
        'K' => 10,
        'M' => 20,
        'G' => 30,
        _ => 0,
    };
    let digits = if shift == 0 { value } else { &value[..value.len() - 1] };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_documented() {
        for (text, rule) in [
            ("throttle=2,every=7", Rule::new(Fault::Throttle(Some(2))).every(7)),
            (
                "delay=3s, on=listing, times=2",
                Rule::new(Fault::Delay(Duration::from_secs(3))).on(On::Listing).times(2),
            ),
            ("repeat,offset=1000", Rule::new(Fault::RepeatPage).offset(1000)),
            ("slow=250ms,skip=1", Rule::new(Fault::Slow(Duration::from_millis(250))).skip(1)),
            ("huge=3K", Rule::new(Fault::Huge(3072))),
            ("skew=-20m", Rule::new(Fault::Skew(TimeDelta::minutes(-20)))),
            ("drop,rate=0.02,on=projects", Rule::new(Fault::Drop).rate(0.02).on(On::Projects)),
        ] {
            assert_eq!(text.parse(), Ok(rule), "{text}");
        }
        for wrong in [
            "",
            "throttle=x",
            "status",
            "status=5",
            "drop=1",
            "drop,often=2",
            "what",
            "huge=M",
            "drop,rate=2",
            "drop,rate",
            "slow=-3s",
            "skew",
            "on=listing",
        ] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_form_that_is_shown_is_read() {
        let mut seen: Vec<Fault> = Vec::new();
        for (form, _) in FAULTS {
            let rule: Rule = form.parse().unwrap();
            assert!(!seen.contains(&rule.fault), "{form} comes twice");
            seen.push(rule.fault);
            assert!(help().contains(form));
        }
        let error = "what".parse::<Rule>().unwrap_err().to_string();
        assert!(error.contains("`what` is no fault") && error.contains("`skew=-20m`"), "{error}");
    }
}
