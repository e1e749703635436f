//! What can go wrong, on request.

use std::fmt;
use std::str::FromStr;
use std::sync::Mutex;
use std::time::Duration;

use crate::domain::parse_duration;

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Throttle, with a `Retry-After` of so many seconds where one is given.
    Throttle(Option<u32>),
    /// Answer with this status and an error in the service's shape.
    Status(u16),
    /// Answer with this status and an HTML page, as a proxy does.
    Html(u16),
    /// Break the connection instead of an answer.
    Drop,
    /// Break the connection in the middle of the answer.
    Truncate,
    /// Let the client wait.
    Delay(Duration),
    /// Be wrong about `total_count` by so many.
    WrongTotal(i64),
    /// Answer with the first page again, whatever page was asked for.
    RepeatPage,
    /// Answer with an error under a good status.
    ErrorInside,
    /// Send the client to another host.
    Redirect,
    /// Refuse the token as expired.
    ExpiredToken,
}

/// Which calls a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All of them.
    Any,
    /// `connect-desktops`.
    Listing,
    /// `connections/status`.
    Statistics,
    /// `POST /v3/auth/tokens`.
    Tokens,
}

/// When to misbehave, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    fault: Fault,
    on: On,
    offset: Option<u32>,
    skip: u32,
    every: u32,
    times: Option<u32>,
}

impl Rule {
    /// Misbehave at every request, until the rule is narrowed.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, on: On::Any, offset: None, skip: 0, every: 1, times: None }
    }

    /// Only at one call.
    #[must_use]
    pub fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// Only at the page with this offset.
    #[must_use]
    pub fn offset(self, offset: u32) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Behave at the first so many requests that match.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Misbehave only at each nth request that matches.
    #[must_use]
    pub fn every(self, every: u32) -> Self {
        Self { every: every.max(1), ..self }
    }

    /// Misbehave so many times, and behave from then on.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }
}

/// Why a text is no rule.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no fault; write for example `throttle=2,every=7`, `delay=3s,on=listing`, `status=503,times=2`, `drop`, `truncate`, `html=502`, `total=-1`, `repeat,offset=1000`, `error-inside`, `redirect` or `expired-token`"
)]
pub struct FaultError(String);

impl FromStr for Rule {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let wrong = || FaultError(text.to_owned());
        let mut fields = text.split(',').map(|field| match field.trim().split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (field.trim(), None),
        });
        let number = |value: Option<&str>| -> Result<u32, FaultError> {
            value.and_then(|value| value.parse().ok()).ok_or_else(wrong)
        };
        let status = |value: Option<&str>| -> Result<u16, FaultError> {
            let status = number(value)?;
            u16::try_from(status)
                .ok()
                .filter(|status| (100..1000).contains(status))
                .ok_or_else(wrong)
        };
        let fault = match fields.next().ok_or_else(wrong)? {
            ("throttle", None) => Fault::Throttle(None),
            ("throttle", value) => Fault::Throttle(Some(number(value)?)),
            ("status", value) => Fault::Status(status(value)?),
            ("html", value) => Fault::Html(status(value)?),
            ("drop", None) => Fault::Drop,
            ("truncate", None) => Fault::Truncate,
            ("delay", Some(value)) => {
                let delay = parse_duration(value).map_err(|_| wrong())?;
                Fault::Delay(delay.to_std().map_err(|_| wrong())?)
            }
            ("total", Some(value)) => Fault::WrongTotal(value.parse().map_err(|_| wrong())?),
            ("repeat", None) => Fault::RepeatPage,
            ("error-inside", None) => Fault::ErrorInside,
            ("redirect", None) => Fault::Redirect,
            ("expired-token", None) => Fault::ExpiredToken,
            _ => return Err(wrong()),
        };
        let mut rule = Self::new(fault);
        for field in fields {
            rule = match field {
                ("on", Some("any")) => rule.on(On::Any),
                ("on", Some("listing")) => rule.on(On::Listing),
                ("on", Some("statistics")) => rule.on(On::Statistics),
                ("on", Some("tokens")) => rule.on(On::Tokens),
                ("offset", value) => rule.offset(number(value)?),
                ("skip", value) => rule.skip(number(value)?),
                ("every", value) => rule.every(number(value)?),
                ("times", value) => rule.times(number(value)?),
                _ => return Err(wrong()),
            };
        }
        Ok(rule)
    }
}

/// The rules in force and how often each has matched.
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<Counted>>);

struct Counted {
    rule: Rule,
    matched: u32,
    done: u32,
}

impl Faults {
    pub fn set(&self, rules: Vec<Rule>) {
        *self.lock() =
            rules.into_iter().map(|rule| Counted { rule, matched: 0, done: 0 }).collect();
    }

    /// What to do wrong at this request.
    pub fn at(&self, call: On, offset: u32) -> Vec<Fault> {
        let mut faults = Vec::new();
        for counted in self.lock().iter_mut() {
            let rule = &counted.rule;
            let meant = (rule.on == On::Any || rule.on == call)
                && rule.offset.is_none_or(|only| only == offset);
            if !meant {
                continue;
            }
            counted.matched += 1;
            let due = counted.matched > rule.skip
                && (counted.matched - rule.skip).is_multiple_of(rule.every);
            if due && rule.times.is_none_or(|times| counted.done < times) {
                counted.done += 1;
                faults.push(rule.fault.clone());
            }
        }
        faults
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Counted>> {
        self.0.lock().expect("nobody panics while holding it")
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.lock().iter().map(|counted| &counted.rule)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_documented() {
        assert_eq!("throttle=2,every=7".parse(), Ok(Rule::new(Fault::Throttle(Some(2))).every(7)));
        assert_eq!(
            "delay=3s, on=listing, times=2".parse(),
            Ok(Rule::new(Fault::Delay(Duration::from_secs(3))).on(On::Listing).times(2))
        );
        assert_eq!("repeat,offset=1000".parse(), Ok(Rule::new(Fault::RepeatPage).offset(1000)));
        for wrong in ["", "throttle=x", "status", "status=5", "drop=1", "drop,often=2", "what"] {
            assert!(wrong.parse::<Rule>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rule_counts_only_what_it_is_about() {
        let faults = Faults::default();
        faults.set(vec![Rule::new(Fault::Drop).on(On::Listing).skip(1).every(2).times(2)]);
        assert!(faults.at(On::Statistics, 0).is_empty());
        let hit: Vec<bool> = (0..8).map(|_| !faults.at(On::Listing, 0).is_empty()).collect();
        assert_eq!(hit, [false, false, true, false, true, false, false, false]);
    }
}
