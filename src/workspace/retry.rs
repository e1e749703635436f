//! When to ask again, and when to leave it.
//!
//! The whole request is repeated, so that each attempt is signed anew: a retry below the signature
//! would send a date that grows old. Each call has its own time for repetitions, which begins with its
//! own first failure: a page that fails late is as patient as one that fails early. What a visit takes
//! in all is bounded by its deadline.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::Instant;

use super::ApiError;
use super::run::{LONGEST_WAIT, Run};

/// A throttled account recovers within seconds; longer waits only use the time up.
const LONGEST_DELAY: Duration = Duration::from_secs(8);

/// The patience of one call.
#[derive(Debug)]
pub(super) struct Patience<'a> {
    run: &'a Run,
    failures: u32,
    until: Option<Instant>,
}

impl<'a> Patience<'a> {
    pub fn new(run: &'a Run) -> Self {
        Self { run, failures: 0, until: None }
    }

    /// Waits until the call may be sent again.
    ///
    /// # Errors
    /// It is left: repeating cannot help, or there is no time for it. The error says so where the
    /// server asked for a longer wait than there was time for.
    pub async fn after(&mut self, error: ApiError) -> Result<(), ApiError> {
        let chance = rand::random::<f64>();
        let delay = self.delay_after(error, chance)?;
        tokio::time::sleep(delay).await;
        self.run.count_retry();
        Ok(())
    }

    fn delay_after(&mut self, mut error: ApiError, chance: f64) -> Result<Duration, ApiError> {
        if !error.is_transient() {
            return Err(error);
        }
        let now = Instant::now();
        let limits = self.run.limits();
        let until = *self.until.get_or_insert(now + limits.retry_budget.min(LONGEST_WAIT));
        self.failures += 1;
        let asked = error.retry_after.unwrap_or_default();
        let delay = delay(limits.first_delay, self.failures, chance).max(asked);
        let left = until.min(self.run.deadline()).saturating_duration_since(now);
        if delay <= left {
            let (call, failures) = (error.call, self.failures);
            tracing::debug!(call, failures, ?delay, %error, "asking again");
            return Ok(delay);
        }
        if asked > left {
            error.message = format!(
                "{}; the server asks to wait {} s, and there were {} s left",
                error.message,
                asked.as_secs(),
                left.as_secs()
            );
        }
        Err(error)
    }
}

/// Doubles with each failure, less up to half of it by chance, so that pages that were refused
/// together do not come back together.
fn delay(first: Duration, failures: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1 << failures.saturating_sub(1).min(16));
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
    use crate::workspace::run::Limits;

    const FIRST: Duration = Duration::from_millis(250);

    fn run(visit: u64, retry: u64) -> Run {
        Run::starting_now(Limits {
            visit_budget: Duration::from_secs(visit),
            retry_budget: Duration::from_secs(retry),
            first_delay: FIRST,
        })
    }

    fn throttled(retry_after: Option<u64>) -> ApiError {
        ApiError {
            status: Some(429),
            retry_after: retry_after.map(Duration::from_secs),
            ..ApiError::new("call", Kind::Api, "throttled")
        }
    }

    #[test]
    fn delays_double_up_to_the_longest() {
        assert_eq!(delay(FIRST, 1, 0.0), FIRST);
        assert_eq!(delay(FIRST, 2, 0.0), FIRST * 2);
        assert_eq!(delay(FIRST, 60, 0.0), LONGEST_DELAY);
        assert_eq!(delay(FIRST, 1, 1.0), FIRST / 2);
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

    #[tokio::test(start_paused = true)]
    async fn each_call_is_patient_from_its_own_first_failure() {
        let run = run(1000, 20);
        tokio::time::advance(Duration::from_secs(500)).await;
        let mut patience = Patience::new(&run);
        let begun = Instant::now();
        let error = loop {
            if let Err(error) = patience.after(throttled(None)).await {
                break error;
            }
        };
        assert_eq!(error, throttled(None));
        let took = begun.elapsed();
        assert!((12..=20).contains(&took.as_secs()), "{took:?}");
        assert!(run.traffic().retries >= 5);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_beyond_the_time_that_is_left_is_not_begun() {
        let plenty = run(u64::MAX, u64::MAX);
        assert!(Patience::new(&plenty).delay_after(throttled(Some(60)), 0.0).is_ok());
        for (visit, retry) in [(1000, 30), (30, 1000)] {
            let run = run(visit, retry);
            let mut patience = Patience::new(&run);
            assert_eq!(patience.delay_after(throttled(None), 0.0), Ok(FIRST));
            assert_eq!(patience.delay_after(throttled(Some(30)), 0.0), Ok(Duration::from_secs(30)));
            let error = patience.delay_after(throttled(Some(60)), 0.0).unwrap_err();
            assert!(
                error.message.ends_with("asks to wait 60 s, and there were 30 s left"),
                "{error}"
            );
            let refused = ApiError { status: Some(403), ..throttled(None) };
            assert_eq!(patience.delay_after(refused.clone(), 0.0), Err(refused));
        }
    }
}
