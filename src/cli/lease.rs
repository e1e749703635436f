//! Leases that are none: they last longer than any recorder ever asks for.

use chrono::{SecondsFormat, TimeDelta};

use crate::domain::Instant;
use crate::store::LONGEST_TERM;

/// How far the database's clock may be ahead of ours without anything being wrong.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// What is wrong with a lease; `None`: nothing. A recorder that lives sets its own right within seconds; so one that
/// stays is nobody's, and as long as it lasts nobody takes over.
pub(super) fn complaint(leased_until: Option<Instant>, now: Instant) -> Option<String> {
    let longest = TimeDelta::from_std(LONGEST_TERM).unwrap_or(TimeDelta::MAX);
    let until = leased_until.filter(|until| *until - now > longest + AHEAD)?;
    Some(format!(
        "leased until {}, longer than any lease lasts: until then no other recorder takes over",
        until.to_rfc3339_opts(SecondsFormat::Secs, true)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_recorder_asks_for_is_wrong() {
        let now: Instant = "2026-10-05T08:00:00Z".parse().expect("it is one");
        for (seconds, is_wrong) in [(-60, false), (60, false), (360, false), (361, true)] {
            let until = now + TimeDelta::seconds(seconds);
            assert_eq!(complaint(Some(until), now).is_some(), is_wrong, "{seconds}");
        }
        assert_eq!(complaint(None, now), None);
    }
}
