//! When a source is visited: each so much time, or by a cron expression with seconds. Both in UTC.

use std::fmt;

use chrono::{DateTime, SubsecRound, TimeDelta};
use croner::Cron;
use croner::parser::{CronParser, Seconds};

use super::{ConfigError, Located};
use crate::domain::{Instant, format_duration};

/// When a source is visited.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// At the multiples of so much time since 1970 in UTC, so that two recorders and every restart agree on the
    /// ticks.
    Every(TimeDelta),
    /// By a cron expression.
    Cron(Box<CronSchedule>),
}

/// A cron expression with seconds, in UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct CronSchedule {
    cron: Cron,
    shortest: TimeDelta,
    longest: TimeDelta,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every(interval) => write!(f, "every {}", format_duration(*interval)),
            Self::Cron(schedule) => write!(f, "at `{}`", schedule.cron.as_str()),
        }
    }
}

/// The sample of steps ends after so many, or after [`SAMPLE_DAYS`]: a week of minutes, a year of hours.
const SAMPLE_STEPS: usize = 10_100;
/// So that a monthly schedule shows its months.
const SAMPLE_DAYS: i64 = 400;
/// A default `max_gap` is worked out while no step is longer than so many of the shortest: `*/7` has a
/// short step at each hour's end and is fine, nights and weekends are pauses that nobody observes.
const STEADY: i32 = 2;

impl Schedule {
    pub(super) fn cron(schedule: &Located<String>) -> Result<Self, ConfigError> {
        let example = "write six fields from seconds to weekdays, as `0 */5 * * * *`";
        let cron = CronParser::builder()
            .seconds(Seconds::Required)
            .build()
            .parse(&schedule.value)
            .map_err(|error| {
                let error = error.to_string();
                schedule.refuse(format!("{example} ({})", error.trim_end_matches('.')))
            })?;
        // Any fixed Friday, so that the steps into the weekend are among the first.
        let mut at = DateTime::from_timestamp(1_767_312_000, 0).expect("2026-01-02 is an instant");
        let end = at + TimeDelta::days(SAMPLE_DAYS);
        let mut steps: Option<(TimeDelta, TimeDelta)> = None;
        let mut before: Option<Instant> = None;
        for _ in 0..SAMPLE_STEPS {
            let Ok(next) = cron.find_next_occurrence(&at, false) else { break };
            if let Some(before) = before {
                let step = next - before;
                let (shortest, longest) = steps.unwrap_or((step, step));
                steps = Some((shortest.min(step), longest.max(step)));
            }
            if next > end {
                break;
            }
            before = Some(next);
            at = next;
        }
        let (shortest, longest) = steps
            .ok_or_else(|| schedule.refuse("it must come round at least twice in 400 days"))?;
        Ok(Self::Cron(Box::new(CronSchedule { cron, shortest, longest })))
    }

    /// The first tick after an instant; `None` when a cron expression never comes again.
    #[must_use]
    pub fn next_after(&self, at: Instant) -> Option<Instant> {
        match self {
            Self::Every(interval) => {
                let interval = interval.num_seconds();
                let tick = at.timestamp().div_euclid(interval).checked_add(1)?;
                DateTime::from_timestamp(tick.checked_mul(interval)?, 0)
            }
            Self::Cron(schedule) => {
                schedule.cron.find_next_occurrence(&at.trunc_subsecs(0), false).ok()
            }
        }
    }

    /// The shortest time between two ticks.
    #[must_use]
    pub fn shortest_step(&self) -> TimeDelta {
        match self {
            Self::Every(interval) => *interval,
            Self::Cron(schedule) => schedule.shortest,
        }
    }

    /// Three steps, where the steps are about equal; else only the user knows which pauses count.
    pub(super) fn default_max_gap(&self) -> Option<TimeDelta> {
        match self {
            Self::Every(interval) => Some(*interval * 3),
            Self::Cron(schedule) => {
                (schedule.longest <= schedule.shortest * STEADY).then(|| schedule.longest * 3)
            }
        }
    }
}
