//! The only place that asks the machine for the time.
//!
//! Everything else is handed a [`Clock`], so that a demo can run a month in seconds and a test can
//! stand still. How long something *took* is no business of this clock: budgets and timeouts use
//! the monotonic one, which no administrator sets back. [`Clock::uptime`] stands beside the time to tell
//! whether somebody has.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

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

    /// How long the machine has been running, sleep included: what has passed, whatever anybody says the
    /// time is.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        match self {
            Self::System => boot_time(),
            Self::Manual(manual) => {
                Duration::from_micros(manual.0.uptime.load(Ordering::SeqCst).unsigned_abs())
            }
        }
    }

    /// A clock that stands at an instant until it is moved.
    #[must_use]
    pub fn manual(start: Instant) -> (Self, ManualClock) {
        let now = AtomicI64::new(start.timestamp_micros());
        let manual = ManualClock(Arc::new(Hands { now, uptime: AtomicI64::new(0) }));
        (Self::Manual(manual.clone()), manual)
    }
}

/// Linux counts the time that the machine slept in a clock of its own.
#[cfg(target_os = "linux")]
const SINCE_BOOT: nix::time::ClockId = nix::time::ClockId::CLOCK_BOOTTIME;
#[cfg(not(target_os = "linux"))]
const SINCE_BOOT: nix::time::ClockId = nix::time::ClockId::CLOCK_MONOTONIC;

fn boot_time() -> Duration {
    nix::time::clock_gettime(SINCE_BOOT).map(Duration::from).unwrap_or_default()
}

/// The hands of a clock that moves only when it is told to; clones move together.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    /// Microseconds since 1970.
    now: AtomicI64,
    /// Microseconds that have passed.
    uptime: AtomicI64,
}

impl ManualClock {
    /// Where the clock stands.
    #[must_use]
    pub fn now(&self) -> Instant {
        DateTime::from_timestamp_micros(self.0.now.load(Ordering::SeqCst))
            .expect("only instants that chrono gave are stored")
    }

    /// Sets the clock, as an administrator does: no time passes.
    pub fn set(&self, to: Instant) {
        self.0.now.store(to.timestamp_micros(), Ordering::SeqCst);
    }

    /// Lets time pass; a negative step only sets the clock back.
    pub fn advance(&self, by: TimeDelta) {
        self.set(self.now() + by);
        let passed = by.num_microseconds().unwrap_or(0).max(0);
        self.0.uptime.fetch_add(passed, Ordering::SeqCst);
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

    #[test]
    fn setting_a_clock_lets_no_time_pass() {
        let start = DateTime::from_timestamp_micros(1_700_000_000_000_001).unwrap();
        let (clock, hands) = Clock::manual(start);
        hands.advance(TimeDelta::minutes(5));
        hands.set(start + TimeDelta::days(1));
        hands.advance(TimeDelta::days(-3));
        assert_eq!(clock.uptime(), Duration::from_mins(5));
        let before = Clock::System.uptime();
        assert!(before > Duration::ZERO && Clock::System.uptime() >= before);
    }
}
