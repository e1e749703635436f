//! Whether visits fit into their time at their account's pace, one source's and all of one credential's.

use std::sync::Arc;
use std::time::Duration;

use super::check::Check;
use crate::cli::sources::visit_budget;
use crate::config::SourceConfig;
use crate::domain::format_duration;
use crate::workspace::Account;

const MINUTE: Duration = Duration::from_secs(60);

/// The time that a source's visits have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// Between two visits.
    pub step: Duration,
    /// For as long a visit may send.
    pub visit: Duration,
}

impl Times {
    /// Those of a source's schedule.
    pub fn of(source: &SourceConfig) -> Self {
        let visit = visit_budget(source);
        Self { step: source.schedule.shortest_step().to_std().unwrap_or(visit), visit }
    }

    /// The time in which the requests of one visit must be sent, visit after visit. A minute that was idle
    /// leaves room for a burst, and the visit after it finds that room taken. Of visits that are closer than
    /// a minute, the pace gives each what falls between two.
    fn window(self) -> Duration {
        if self.step < MINUTE { self.step } else { self.visit.min(self.step) }
    }

    /// How many requests of each visit the pace gives.
    pub fn fit(self, per_minute: u32) -> i64 {
        sendable(per_minute, self.window())
    }

    /// What they fit into, in words.
    pub fn described(self) -> String {
        if self.step < MINUTE {
            format!("the {} between two visits", shown(self.step))
        } else {
            format!("its {}", shown(self.window()))
        }
    }

    /// How many visits must begin and end within so long, where all begin at once.
    fn visits_within(self, time: Duration) -> i64 {
        let Some(rest) = time.checked_sub(self.window()) else { return 0 };
        i64::try_from(rest.as_millis() / self.step.as_millis().max(1))
            .map_or(i64::MAX, |more| more + 1)
    }
}

fn sendable(per_minute: u32, within: Duration) -> i64 {
    let requests = u128::from(per_minute) * within.as_millis() / MINUTE.as_millis();
    i64::try_from(requests).unwrap_or(i64::MAX)
}

fn shown(time: Duration) -> String {
    format_duration(chrono::TimeDelta::from_std(time).unwrap_or_default())
}

/// What the visits of one source take of its account.
#[derive(Debug)]
pub(super) struct Demand {
    pub source: String,
    pub account: Arc<Account>,
    /// Of each visit.
    pub requests: i64,
    pub times: Times,
}

/// The visits of sources that share a credential, added up; a check for each credential that several share.
pub(super) fn shared(demands: &[Demand]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (at, demand) in demands.iter().enumerate() {
        let is_same = |other: &&Demand| Arc::ptr_eq(&other.account, &demand.account);
        if demands[..at].iter().any(|other| is_same(&other)) {
            continue;
        }
        let alike: Vec<&Demand> = demands.iter().filter(is_same).collect();
        if alike.len() > 1 {
            checks.push(together(&alike, demand.account.requests_per_minute()));
        }
    }
    checks
}

fn together(demands: &[&Demand], per_minute: u32) -> Check {
    const NAME: &str = "shared pace";
    // The tightest of the times in which some of them must be done.
    let tightest = demands.iter().map(|demand| demand.times.window()).map(|time| {
        let taken = demands.iter().fold(0_i64, |sum, other| {
            let visits = other.times.visits_within(time);
            sum.saturating_add(other.requests.saturating_mul(visits))
        });
        (sendable(per_minute, time) - taken, time, taken)
    });
    let (left, time, taken) = tightest.min().expect("there are several");
    let names: Vec<String> = demands.iter().map(|demand| format!("`{}`", demand.source)).collect();
    let found = format!(
        "{} share a credential: within {} their visits take {taken} requests together, {} fit at {per_minute} a minute",
        names.join(", "),
        shown(time),
        sendable(per_minute, time)
    );
    if left >= 0 {
        return Check::ok(NAME, found);
    }
    Check::warning(
        NAME,
        found,
        "a longer `interval`, a larger `requests_per_minute` if the account is allowed more, or a credential of its own for each",
    )
}

#[cfg(test)]
mod tests {
    use super::super::check::State;
    use super::*;

    fn times(step: u64, visit: u64) -> Times {
        Times { step: Duration::from_secs(step), visit: Duration::from_secs(visit) }
    }

    #[test]
    fn a_burst_after_an_idle_minute_is_not_counted_on() {
        for (step, visit, per_minute, fit) in [
            (75, 60, 150, 150),
            (300, 240, 180, 720),
            (10, 8, 20, 3),
            (1, 5, 60, 1),
            (1, 5, 59, 0),
            (86_400, 3600, 180, 10_800),
        ] {
            assert_eq!(times(step, visit).fit(per_minute), fit, "{step} {visit} {per_minute}");
        }
        assert_eq!(times(300, 240).described(), "its 4m");
        assert_eq!(times(10, 8).described(), "the 10s between two visits");
    }

    #[test]
    fn visits_of_one_credential_are_added_up_within_the_same_time() {
        let (one, other) = (Arc::new(Account::new(60)), Arc::new(Account::new(60)));
        let demand = |source: &str, account: &Arc<Account>, requests, times| Demand {
            source: source.into(),
            account: Arc::clone(account),
            requests,
            times,
        };
        // 240 fit into four minutes: each alone does, both together do not.
        let slow = times(300, 240);
        let checks = shared(&[
            demand("a", &one, 150, slow),
            demand("b", &other, 150, slow),
            demand("c", &one, 100, slow),
        ]);
        assert_eq!(checks.len(), 1);
        assert_eq!((checks[0].state, checks[0].source.clone()), (State::Warning, None));
        assert!(
            checks[0].found.contains("`a`, `c` share")
                && checks[0]
                    .found
                    .contains("within 4m their visits take 250 requests together, 240 fit"),
            "{}",
            checks[0].found
        );
        let fits = shared(&[demand("a", &one, 140, slow), demand("c", &one, 100, slow)]);
        assert_eq!(fits[0].state, State::Ok);
        // A frequent one takes its share of a rare one's time: 24 visits of ten seconds in four minutes.
        let often = times(10, 8);
        let mixed = |each| {
            shared(&[demand("a", &one, each, often), demand("b", &one, 100, slow)])[0].clone()
        };
        assert_eq!(mixed(5).state, State::Ok);
        assert!(mixed(6).found.contains("within 4m their visits take 244 requests"));
        assert_eq!(mixed(6).state, State::Warning);
        // The rare one has no time of ten seconds to keep.
        assert!(mixed(11).state == State::Warning && mixed(1).state == State::Ok);
        assert!(shared(&[demand("a", &one, 1000, often)]).is_empty());
    }
}
