//! What the requests of one visit share: its deadline, and what is counted on the way.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::Instant;

use super::{ApiError, Kind};
use crate::domain;

/// From here on a clock that is off is worth a warning; signatures die at 15 minutes.
const NOTICEABLE_SKEW: TimeDelta = TimeDelta::minutes(5);

/// Nobody waits for longer than a day; what a server or a configuration asks for beyond it is cut, so
/// that no sum of instants overflows.
pub(super) const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// This machine's clock beside the server's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Skew {
    /// What this machine said when half of the time to the answer had passed.
    pub machine: domain::Instant,
    /// What the answer said, in whole seconds.
    pub server: domain::Instant,
}

impl Skew {
    /// By how much this machine is ahead.
    #[must_use]
    pub fn ahead(self) -> TimeDelta {
        self.machine - self.server
    }

    /// Whether it is worth a warning.
    #[must_use]
    pub fn is_noticeable(self) -> bool {
        self.ahead().abs() >= NOTICEABLE_SKEW
    }
}

/// What became of a request that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It was answered with a status that HTTP knows.
    Status(u16),
    /// It was answered with another one, of which only the class is told: a server may make up any.
    Class(u16),
    /// It was not answered.
    Failed(Kind),
}

impl Fate {
    pub(super) fn of(status: reqwest::StatusCode) -> Self {
        match status.canonical_reason() {
            Some(_) => Self::Status(status.as_u16()),
            None => Self::Class(status.as_u16() / 100),
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "{status}"),
            Self::Class(class) => write!(f, "{class}xx"),
            Self::Failed(kind) => f.write_str(kind.as_str()),
        }
    }
}

/// What one visit cost, and what it met on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests sent, repetitions and those to the identity service included.
    pub requests: u32,
    /// How many of them came to what; those that were given up before they had come to anything are missing.
    pub fates: BTreeMap<Fate, u32>,
    /// The repetitions among them.
    pub retries: u32,
    /// Answers that said: too many requests.
    pub throttled: u32,
    /// The largest difference of the clocks that an answer showed.
    pub skew: Option<Skew>,
}

/// How long a visit may take, and how patient it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// For how long in all requests may be sent.
    pub visit_budget: Duration,
    /// For how long one call is repeated after its first failure.
    pub retry_budget: Duration,
    /// The wait before the first repetition.
    pub first_delay: Duration,
}

impl Limits {
    /// How patient one look is that asks once.
    pub fn of_one_look(visit_budget: Duration) -> Self {
        Self { visit_budget, retry_budget: Duration::ZERO, first_delay: Duration::ZERO }
    }
}

/// One visit under way.
#[derive(Debug)]
pub(super) struct Run {
    deadline: Instant,
    limits: Limits,
    requests: AtomicU32,
    fates: Mutex<BTreeMap<Fate, u32>>,
    retries: AtomicU32,
    throttled: AtomicU32,
    skew: Mutex<Option<Skew>>,
}

impl Run {
    /// A visit that begins now.
    pub fn starting_now(limits: Limits) -> Self {
        Self {
            deadline: Instant::now() + limits.visit_budget.min(LONGEST_WAIT),
            limits,
            requests: AtomicU32::new(0),
            fates: Mutex::default(),
            retries: AtomicU32::new(0),
            throttled: AtomicU32::new(0),
            skew: Mutex::new(None),
        }
    }

    /// After this instant nothing new is sent.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// How many requests were sent so far, repetitions included.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Everything that was counted so far.
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.requests(),
            fates: self.fates.lock().expect("nobody panics while holding it").clone(),
            retries: self.retries.load(Ordering::Relaxed),
            throttled: self.throttled.load(Ordering::Relaxed),
            skew: *self.skew.lock().expect("nobody panics while holding it"),
        }
    }

    /// # Errors
    /// The visit's time is over.
    pub fn check_time(&self, call: &'static str) -> Result<(), ApiError> {
        if Instant::now() <= self.deadline { Ok(()) } else { Err(self.out_of_time(call)) }
    }

    /// The error that there was no time left for a call.
    pub fn out_of_time(&self, call: &'static str) -> ApiError {
        let length = self.limits.visit_budget.as_secs();
        let message = format!("not sent: the {length} s that a visit may take were over");
        ApiError::new(call, Kind::Budget, message)
    }

    /// The error that there were more requests than the account's pace has room for.
    pub fn out_of_pace(&self, call: &'static str, per_minute: u32) -> ApiError {
        let length = self.limits.visit_budget.as_secs();
        let message = format!(
            "not sent: {per_minute} requests a minute were not enough for the {length} s that a visit may take"
        );
        ApiError {
            hint: Some("a longer interval or a larger `requests_per_minute` helps".into()),
            ..ApiError::new(call, Kind::Budget, message)
        }
    }

    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_fate(&self, fate: Fate) {
        let mut fates = self.fates.lock().expect("nobody panics while holding it");
        *fates.entry(fate).or_default() += 1;
    }

    pub fn count_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    pub fn count_throttled(&self) {
        self.throttled.fetch_add(1, Ordering::Relaxed);
    }

    /// Keeps the largest.
    pub fn note_skew(&self, seen: Skew) {
        let mut skew = self.skew.lock().expect("nobody panics while holding it");
        if skew.is_none_or(|largest| largest.ahead().abs() < seen.ahead().abs()) {
            *skew = Some(seen);
        }
    }
}
