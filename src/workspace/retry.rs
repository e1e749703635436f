//! When to ask again, and when to leave it.
//!
//! The whole request is repeated, so that each attempt is signed anew: a retry below the signature
//! would send a date that grows old. All requests of one visit share one budget, so that a dead
//! server costs a visit one budget and not one for each page.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::ApiError;

/// The wait before the first repetition; it doubles from there.
const FIRST_DELAY: Duration = Duration::from_millis(250);
/// A throttled account recovers within seconds; longer waits only use the budget up.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// Nobody waits for longer than a day; what a server or a configuration asks for beyond it is cut, so
/// that no sum of instants overflows.
const LONGEST_WAIT: Duration = Duration::from_hours(24);

/// The time until which requests of one visit may be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    until: Instant,
}

impl Budget {
    pub fn starting_now(length: Duration) -> Self {
        Self { until: Instant::now() + length.min(LONGEST_WAIT) }
    }

    /// How long to wait before the next attempt; `None`: leave it.
    pub fn next_delay(&self, error: &ApiError, attempts: u32) -> Option<Duration> {
        if !error.is_transient() {
            return None;
        }
        let delay =
            delay(attempts, rand::random::<f64>()).max(error.retry_after.unwrap_or_default());
        (Instant::now() + delay <= self.until).then_some(delay)
    }
}

/// Doubles with each attempt, less up to half of it by chance, so that pages that were refused
/// together do not come back together.
fn delay(attempts: u32, chance: f64) -> Duration {
    let doubled = FIRST_DELAY.saturating_mul(1 << attempts.saturating_sub(1).min(16));
    doubled.min(LONGEST_DELAY).mul_f64(1.0 - chance / 2.0)
}

/// Reads a `Retry-After` in both of its forms: seconds, or a date.
pub(super) fn parse_retry_after(text: &str, now: DateTime<Utc>) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds).min(LONGEST_WAIT));
    }
    let until = DateTime::parse_from_rfc2822(text).ok()?;
    // A date in the past asks for no wait.
    Some((until.with_timezone(&Utc) - now).to_std().unwrap_or_default().min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Kind;

    #[test]
    fn delays_double_up_to_the_longest() {
        assert_eq!(delay(1, 0.0), FIRST_DELAY);
        assert_eq!(delay(2, 0.0), FIRST_DELAY * 2);
        assert_eq!(delay(60, 0.0), LONGEST_DELAY);
        assert_eq!(delay(1, 1.0), FIRST_DELAY / 2);
    }

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T20:00:00Z").unwrap().to_utc();
        assert_eq!(parse_retry_after("3", now), Some(Duration::from_secs(3)));
        assert_eq!(
            parse_retry_after("Sat, 21 Nov 2026 20:00:05 GMT", now),
            Some(Duration::from_secs(5))
        );
        assert_eq!(parse_retry_after("Sat, 21 Nov 2026 19:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(parse_retry_after("soon", now), None);
        assert_eq!(parse_retry_after(&u64::MAX.to_string(), now), Some(LONGEST_WAIT));
    }

    #[tokio::test]
    async fn a_wait_beyond_the_budget_is_not_begun() {
        let error = ApiError::new("call", Kind::Timeout, "no answer");
        assert!(Budget::starting_now(Duration::MAX).next_delay(&error, 1).is_some());
        let budget = Budget::starting_now(Duration::from_secs(5));
        let mut error = ApiError::new("call", Kind::Api, "throttled");
        error.status = Some(429);
        assert!(budget.next_delay(&error, 1).is_some());
        error.retry_after = Some(Duration::from_secs(60));
        assert_eq!(budget.next_delay(&error, 1), None);
        error.retry_after = None;
        error.status = Some(403);
        assert_eq!(budget.next_delay(&error, 1), None);
    }
}
