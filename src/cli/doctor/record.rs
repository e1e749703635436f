//! How far a source is recorded, against how far it should be.

use chrono::TimeDelta;

use super::check::Check;
use super::database::Known;
use crate::cli::lease::complaint;
use crate::config::SourceConfig;
use crate::domain::{Instant, format_duration, harmless};
use crate::store::Standing;

/// How far ahead of our clock another machine's may be without anything being wrong.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The checks of one source.
pub(super) fn check(source: &SourceConfig, known: &Known) -> Vec<Check> {
    match known {
        Err(why) => {
            ["recorded", "newest visit", "gaps"].map(|name| Check::skipped(name, why)).to_vec()
        }
        Ok(known) => {
            let (standing, now) = (known.standing(&source.name), known.read_at);
            let checks = [recorded(source, standing, now), newest(standing), gaps(standing, now)];
            checks.into_iter().chain(lease(standing, now)).collect()
        }
    }
}

/// One tick may be missed, as when a visit takes longer than a step; from the second on somebody should look.
/// Beyond `max_gap` what passes is not observed, and lost for good: that is a failure.
fn recorded(source: &SourceConfig, standing: Option<&Standing>, now: Instant) -> Check {
    const NAME: &str = "recorded";
    let Some(last) = standing.and_then(|standing| standing.last_snapshot_at) else {
        return Check::warning(
            NAME,
            "nothing yet",
            "`deskledger collect` records; with `--once` it makes a single visit",
        );
    };
    let until = standing.and_then(|standing| standing.complete_until).unwrap_or(last);
    let (age, at) = (now - until, until.format("%Y-%m-%d %H:%M:%SZ"));
    if age < -AHEAD {
        return Check::failed(
            NAME,
            format!("until {at}, which lies {} in the future", rounded(-age)),
            "set the clocks right; nothing can be recorded before that instant",
        );
    }
    let due = source.schedule.next_after(until).and_then(|tick| source.schedule.next_after(tick));
    let found = format!("until {at}, {} ago; visits are {}", rounded(age), source.schedule);
    let is_late = due.is_some_and(|due| now > due);
    if !is_late {
        Check::ok(NAME, found)
    } else if age > source.max_gap {
        Check::failed(
            NAME,
            format!(
                "{found}; longer than max_gap ({}), so this time is lost",
                format_duration(source.max_gap)
            ),
            "is `deskledger collect` running? Its log says why nothing is recorded; start it again",
        )
    } else {
        Check::warning(
            NAME,
            format!("{found}; in {} it becomes a gap", rounded(source.max_gap - age)),
            "is `deskledger collect` running?",
        )
    }
}

/// What the newest visit brought. One that failed may be bad luck; many are a gap.
fn newest(standing: Option<&Standing>) -> Check {
    const NAME: &str = "newest visit";
    let Some(standing) = standing.filter(|standing| standing.last_snapshot_at.is_some()) else {
        return Check::skipped(NAME, "nothing is recorded yet");
    };
    let error = standing.newest_error.as_deref().unwrap_or("no reason was recorded");
    let desktops = match (standing.desktops_recorded, standing.desktops_total) {
        (Some(recorded), Some(total)) => format!("{recorded} of {total} desktops"),
        (Some(recorded), None) => format!("{recorded} desktops of an unknown number"),
        (None, _) => "no desktops".to_owned(),
    };
    let outcomes = (standing.desktops_outcome.as_deref(), standing.groups_outcome.as_deref());
    match outcomes {
        (Some("complete"), Some("complete")) => Check::ok(NAME, format!("complete: {desktops}")),
        (Some("partial"), _) if standing.newest_error.is_none() => Check::warning(
            NAME,
            format!("partial: {desktops}"),
            "the rest is not observed: \"paging\" above says how far listings reach",
        ),
        (listing, statistics) => Check::warning(
            NAME,
            format!(
                "{desktops}, listing {}, statistics {}: {error}",
                listing.unwrap_or("unknown"),
                statistics.unwrap_or("unknown")
            ),
            "the lines above show whether that still holds",
        ),
    }
}

fn gaps(standing: Option<&Standing>, now: Instant) -> Check {
    const NAME: &str = "gaps";
    let Some(standing) = standing.filter(|standing| standing.last_snapshot_at.is_some()) else {
        return Check::skipped(NAME, "nothing is recorded yet");
    };
    let Some(from) = standing.gap_from else { return Check::ok(NAME, "none is open") };
    let found = format!(
        "not observed since {}, for {}",
        from.format("%Y-%m-%d %H:%M:%SZ"),
        rounded(now - from)
    );
    match (standing.failed_snapshots, &standing.last_error) {
        (Some(failed @ 1..), error) => {
            let error = error.as_deref().unwrap_or("no reason was recorded");
            Check::failed(
                NAME,
                format!("{found}; visits that failed since: {failed}, the last with {error}"),
                "mend what that says; the lines above show whether it still holds",
            )
        }
        _ => Check::warning(NAME, found, "nothing was tried in it: see \"recorded\" above"),
    }
}

/// Said only where it is wrong: whether a recorder is needed at all is none of ours.
fn lease(standing: Option<&Standing>, now: Instant) -> Option<Check> {
    let standing = standing?;
    let found = complaint(standing.leased_until, now)?;
    let leader = harmless(standing.leader.as_deref().unwrap_or_default());
    Some(Check::failed(
        "lease",
        format!("{found}; it names {leader}"),
        "if that one does not record, end its lease: \"Two recorders\" in docs/recording.md says how",
    ))
}

/// In its two largest units.
fn rounded(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    let unit = match seconds {
        86_400.. => 3_600,
        3_600.. => 60,
        _ => 1,
    };
    format_duration(TimeDelta::seconds(seconds / unit * unit))
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;
    use crate::config::{Config, Environment, Flags};

    fn source(timing: &str) -> SourceConfig {
        let text = format!(
            "[[source]]\nname = 'a'\nregion = 'ap-southeast-3'\nauth = {{ token = 't' }}\n{timing}"
        );
        let path = std::path::Path::new("deskledger.toml");
        let config =
            Config::from_text(&text, path, &Flags::default(), Environment::of(&[])).unwrap();
        config.sources().unwrap().remove(0)
    }

    fn at(text: &str) -> Instant {
        format!("2026-10-07T{text}Z").parse().unwrap()
    }

    fn standing(last: &str) -> Standing {
        Standing {
            source: "a".into(),
            region: None,
            project_id: None,
            endpoint: None,
            last_snapshot_at: Some(at(last)),
            complete_until: Some(at(last)),
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
        }
    }

    #[test]
    fn how_far_behind_is_judged_by_ticks_and_by_max_gap() {
        let source = source("interval = '5m'");
        for (now, state) in [
            ("12:00:00", State::Ok),
            ("12:10:00", State::Ok),
            ("12:10:01", State::Warning),
            ("12:15:00", State::Warning),
            ("12:15:01", State::Failed),
            ("11:56:00", State::Ok),
            ("11:54:59", State::Failed),
        ] {
            let check = recorded(&source, Some(&standing("12:00:00")), at(now));
            assert_eq!(check.state, state, "{now}: {check:?}");
            assert_eq!(check.advice.is_some(), state != State::Ok);
        }
        assert_eq!(recorded(&source, None, at("12:00:00")).state, State::Warning);
    }

    #[test]
    fn a_pause_of_the_schedule_is_no_lag() {
        // Hourly by day only: the night is longer than max_gap, and nobody is late.
        let source = source("schedule = '0 0 8-18 * * *'\nmax_gap = '2h'");
        assert_eq!(recorded(&source, Some(&standing("18:00:01")), at("23:00:00")).state, State::Ok);
        let late = recorded(&source, Some(&standing("08:00:01")), at("10:30:00"));
        assert_eq!(late.state, State::Failed, "{late:?}");
    }

    #[test]
    fn the_newest_visit_is_judged_by_its_outcomes() {
        let mut standing = standing("12:00:00");
        let mut judge = |listing: &str, statistics: &str, error: Option<&str>| {
            standing.desktops_outcome = Some(listing.into());
            standing.groups_outcome = Some(statistics.into());
            standing.desktops_recorded = (listing != "failed").then_some(8);
            standing.desktops_total = Some(12);
            standing.newest_error = error.map(Into::into);
            let check = newest(Some(&standing));
            (check.state, check.found)
        };
        let fine = (State::Ok, "complete: 8 of 12 desktops".to_owned());
        assert_eq!(judge("complete", "complete", None), fine);
        let partial = (State::Warning, "partial: 8 of 12 desktops".to_owned());
        assert_eq!(judge("partial", "complete", None), partial);
        let failed = "no desktops, listing failed, statistics complete: HTTP 403".to_owned();
        assert_eq!(judge("failed", "complete", Some("HTTP 403")), (State::Warning, failed));
        assert_eq!(judge("complete", "failed", Some("x")).0, State::Warning);
        assert_eq!(newest(None).state, State::Skipped);
    }

    #[test]
    fn an_open_gap_says_what_failed() {
        let mut standing = standing("12:00:00");
        assert_eq!(gaps(Some(&standing), at("12:01:00")).state, State::Ok);
        standing.gap_from = Some(at("11:00:00"));
        standing.failed_snapshots = Some(0);
        assert_eq!(gaps(Some(&standing), at("12:00:00")).state, State::Warning);
        standing.failed_snapshots = Some(12);
        standing.last_error = Some("APIGW.0301: refused".into());
        let check = gaps(Some(&standing), at("12:00:00"));
        assert_eq!(check.state, State::Failed);
        assert_eq!(
            check.found,
            "not observed since 2026-10-07 11:00:00Z, for 1h; visits that failed since: 12, the last with APIGW.0301: refused"
        );
    }
}
