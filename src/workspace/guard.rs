//! Whether a credential may be tried: more than five refusals in a row lock a key.
//!
//! A credential that has not been let in yet is tried by one request at a time, so that a wrong one
//! costs a single refusal and not one for each page. After a refusal nothing is sent for a while; what
//! is asked for in that time fails at once and says so.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use super::pace::MINUTE;
use super::{ApiError, Kind};
use crate::domain;

/// The waits after the first refusals in a row. They grow fast: at most four tries fall into the first
/// hour, below the five that lock a key, and the first comes soon, for a refusal that passes.
const WAITS: [Duration; 3] =
    [Duration::from_mins(1), Duration::from_mins(4), Duration::from_mins(16)];
/// From there on. Whoever mends the credential restarts the recorder, or waits for this long.
const LONGEST_WAIT: Duration = Duration::from_hours(1);
/// A lock is documented to last five minutes; the sixth is for clocks that differ.
const LOCKED: Duration = Duration::from_mins(6);

/// What is known of one credential.
#[derive(Debug)]
pub(super) struct Guard {
    standing: Mutex<Standing>,
    /// Held by the one request that tries the credential.
    trial: tokio::sync::Mutex<()>,
    /// How long a minute of waiting is.
    minute: Duration,
}

#[derive(Debug, Default)]
struct Standing {
    /// It was let in, and not refused since.
    is_proven: bool,
    /// Counts refusals, so that what was sent before one of them says nothing about it.
    epoch: u64,
    refused: Option<Refused>,
}

/// The last of some refusals in a row.
#[derive(Debug)]
struct Refused {
    times: u32,
    last: ApiError,
    next_try: Instant,
    /// `next_try` by the machine's clock, for people.
    next_try_at: domain::Instant,
}

/// Leave to send one request with the credential.
#[derive(Debug)]
pub(super) struct Leave<'a> {
    epoch: u64,
    _trial: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl Guard {
    /// `minute`: how long a minute of waiting is, for those who cannot wait for one.
    pub fn new(minute: Duration) -> Self {
        Self { standing: Mutex::default(), trial: tokio::sync::Mutex::new(()), minute }
    }

    /// Waits until the credential may be tried.
    ///
    /// # Errors
    /// It was refused, and the next try is still ahead; it is not waited for.
    pub async fn admit(&self, call: &'static str) -> Result<Leave<'_>, ApiError> {
        if let Some(leave) = self.admit_freely(call)? {
            return Ok(leave);
        }
        let trial = self.trial.lock().await;
        // What it was a moment ago may have been settled by the one who tried.
        if let Some(leave) = self.admit_freely(call)? {
            return Ok(leave);
        }
        Ok(Leave { epoch: self.lock().epoch, _trial: Some(trial) })
    }

    /// Leave without a trial; `None`: it takes one.
    fn admit_freely(&self, call: &'static str) -> Result<Option<Leave<'_>>, ApiError> {
        let standing = self.lock();
        if standing.is_proven {
            return Ok(Some(Leave { epoch: standing.epoch, _trial: None }));
        }
        standing.may_try(call)?;
        Ok(None)
    }

    /// Whether a leave still stands: it may have been waited since it was given.
    ///
    /// # Errors
    /// The credential was refused since.
    pub fn confirm(&self, call: &'static str, leave: &Leave<'_>) -> Result<(), ApiError> {
        let standing = self.lock();
        if standing.epoch == leave.epoch { Ok(()) } else { standing.may_try(call) }
    }

    /// What was sent in an epoch was let in.
    pub fn let_in(&self, epoch: u64) {
        let mut standing = self.lock();
        if standing.epoch == epoch {
            standing.is_proven = true;
            standing.refused = None;
        }
    }

    /// What was sent in an epoch was refused. Refusals of what was sent together count as one.
    pub fn refuse(&self, epoch: u64, error: &ApiError, now: domain::Instant) {
        let mut standing = self.lock();
        if standing.epoch != epoch {
            return;
        }
        let times = standing.refused.as_ref().map_or(0, |refused| refused.times) + 1;
        let wait = WAITS.get(times as usize - 1).copied().unwrap_or(LONGEST_WAIT);
        // A try while it is locked would be refused whatever it says.
        let wait = if error.is_locked() { wait.max(LOCKED) } else { wait };
        let wait = wait.mul_f64(self.minute.as_secs_f64() / MINUTE.as_secs_f64());
        standing.epoch += 1;
        standing.is_proven = false;
        standing.refused = Some(Refused {
            times,
            last: error.clone(),
            next_try: Instant::now() + wait,
            next_try_at: now + wait,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().expect("nobody panics while holding it")
    }
}

impl Leave<'_> {
    /// When it was given, for [`Guard::let_in`] and [`Guard::refuse`].
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Standing {
    fn may_try(&self, call: &'static str) -> Result<(), ApiError> {
        let Some(refused) = &self.refused else { return Ok(()) };
        if refused.next_try <= Instant::now() {
            return Ok(());
        }
        let times = match refused.times {
            1 => "once".to_owned(),
            times => format!("{times} times in a row"),
        };
        Err(ApiError {
            code: refused.last.code.clone().or_else(|| Some("HTTP 401".into())),
            hint: refused.last.hint.clone(),
            ..ApiError::new(
                call,
                Kind::Withheld,
                format!(
                    "not sent: refused {times}, last with \"{}\", and more than five refusals in a row \
                     lock a key; next try at {}",
                    refused.last.message,
                    refused.next_try_at.format("%H:%M:%SZ")
                ),
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "connect-desktops";

    fn refusal() -> ApiError {
        ApiError {
            status: Some(401),
            code: Some("APIGW.0301".into()),
            hint: Some("is it right?".into()),
            ..ApiError::new(CALL, Kind::Api, "HTTP 401: verify aksk signature fail")
        }
    }

    fn noon() -> domain::Instant {
        "2026-10-07T12:00:00Z".parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_key_is_tried_four_times_in_the_first_hour_however_often_it_is_asked() {
        for step in [1_u64, 30, 60, 300] {
            let guard = Guard::new(MINUTE);
            let begun = Instant::now();
            let mut tries = Vec::new();
            while begun.elapsed() < Duration::from_hours(6) {
                if let Ok(leave) = guard.admit(CALL).await {
                    tries.push(begun.elapsed().as_secs());
                    guard.refuse(leave.epoch(), &refusal(), noon());
                }
                tokio::time::advance(Duration::from_secs(step)).await;
            }
            let in_first_hour = tries.iter().filter(|at| **at <= 3600).count();
            assert!(in_first_hour <= 4, "every {step} s: {tries:?}");
            // It does not give up either.
            assert!((8..=10).contains(&tries.len()), "every {step} s: {tries:?}");
            assert!(tries[1] <= 300, "every {step} s: {tries:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_tries_while_the_others_wait_for_what_comes_of_it() {
        let guard = Guard::new(MINUTE);
        let first = guard.admit(CALL).await.unwrap();
        let second = tokio::time::timeout(Duration::from_secs(1), guard.admit(CALL)).await;
        assert!(second.is_err(), "two try at once");
        guard.let_in(first.epoch());
        drop(first);
        let all = [guard.admit(CALL).await.unwrap(), guard.admit(CALL).await.unwrap()];
        // Both were sent together: that is one refusal, and its wait the first.
        for leave in &all {
            guard.refuse(leave.epoch(), &refusal(), noon());
        }
        assert!(guard.confirm(CALL, &all[0]).is_err());
        let error = guard.admit(CALL).await.unwrap_err();
        assert_eq!(error.code.as_deref(), Some("APIGW.0301"));
        assert!(error.message.contains("refused once"), "{error}");
        assert!(error.message.contains("verify aksk signature fail"), "{error}");
        assert!(error.message.ends_with("next try at 12:01:00Z"), "{error}");
        assert!(!error.is_transient());
        tokio::time::advance(Duration::from_secs(60)).await;
        let next = guard.admit(CALL).await.unwrap();
        // An answer to what was sent before the refusal proves nothing.
        guard.let_in(all[0].epoch());
        guard.refuse(next.epoch(), &refusal(), noon());
        let error = guard.admit(CALL).await.unwrap_err();
        assert!(error.message.contains("refused 2 times in a row"), "{error}");
        assert!(error.message.ends_with("next try at 12:04:00Z"), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn being_let_in_begins_the_count_anew() {
        let guard = Guard::new(MINUTE);
        for _ in 0..4 {
            let leave = guard.admit(CALL).await.unwrap();
            guard.refuse(leave.epoch(), &refusal(), noon());
            drop(leave);
            tokio::time::advance(Duration::from_mins(1)).await;
            let leave = guard.admit(CALL).await.unwrap();
            guard.let_in(leave.epoch());
        }
        // A trial that came to nothing, as with a timeout, leaves it as it was.
        let guard = Guard::new(MINUTE);
        drop(guard.admit(CALL).await.unwrap());
        assert_eq!(guard.admit(CALL).await.unwrap().epoch(), 0);
    }
}
