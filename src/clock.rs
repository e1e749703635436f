//! The only place that asks the machine for the time.
//!
//! Everything else is handed a [`Clock`], so that a demo can run a month in seconds and a test can
//! stand still. How long something *took* is no business of this clock: budgets and timeouts use
//! the monotonic one, which no administrator sets back.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::{Instant, to_micros};

/// Where the time comes from.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that moves only when it is told to.
    Manual(ManualClock),
}

impl Clock {
    /// The present instant, to the microsecond.
    #[must_use]
    pub fn now(&self) -> Instant {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "this is that one place")]
                let now = Utc::now();
                to_micros(now)
            }
            Self::Manual(manual) => manual.now(),
        }
    }

    /// A clock that stands at an instant until it is moved.
    #[must_use]
    pub fn manual(start: Instant) -> (Self, ManualClock) {
        let manual = ManualClock(Arc::new(AtomicI64::new(start.timestamp_micros())));
        (Self::Manual(manual.clone()), manual)
    }
}

/// The hands of a clock that moves only when it is told to; clones move together.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Where the clock stands.
    #[must_use]
    pub fn now(&self) -> Instant {
        DateTime::from_timestamp_micros(self.0.load(Ordering::SeqCst))
            .expect("only instants that chrono gave are stored")
    }

    /// Moves the clock to an instant, backward too.
    pub fn set(&self, to: Instant) {
        self.0.store(to.timestamp_micros(), Ordering::SeqCst);
    }

    /// Moves the clock on; a negative step moves it back.
    pub fn advance(&self, by: TimeDelta) {
        self.set(self.now() + by);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let start = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let (clock, hands) = Clock::manual(start);
        assert_eq!(clock.now(), start);
        hands.advance(TimeDelta::minutes(5));
        assert_eq!(clock.now(), start + TimeDelta::minutes(5));
        assert!(Clock::System.now() > start);
    }
}
