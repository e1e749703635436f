//! How often an account may ask: an exact sliding window.
//!
//! The documented limits count requests per user and minute. A token bucket, which crates offer, lets
//! up to twice its rate through where a full bucket meets its refill; what is refused then costs more
//! time than what is saved. So the instants of the last sends are kept, and the next one waits until
//! the oldest that counts is a window old.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// The limits are per minute.
pub(super) const MINUTE: Duration = Duration::from_secs(60);

/// Never more than `limit` sends in any stretch of `window`, whoever sends.
#[derive(Debug)]
pub(super) struct Pace {
    limit: AtomicU32,
    window: Duration,
    /// Who waits, in the order in which they came: tokio's lock is fair.
    queue: tokio::sync::Mutex<()>,
    /// The sends of the last window, oldest first.
    sends: Mutex<VecDeque<Instant>>,
}

/// The turn would come too late.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLate {
    /// How many requests a minute, or a window, there may be.
    pub limit: u32,
}

impl Pace {
    /// At most `limit` sends, which is at least one, in each `window`.
    pub fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit: AtomicU32::new(limit.max(1)),
            window,
            queue: tokio::sync::Mutex::new(()),
            sends: Mutex::new(VecDeque::new()),
        }
    }

    /// How many sends a window may hold.
    pub fn limit(&self) -> u32 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Lowers the limit where it is higher: whoever shares it may ask for less.
    pub fn hold_to(&self, limit: u32) {
        self.limit.fetch_min(limit.max(1), Ordering::Relaxed);
    }

    /// Sets the limit, be it higher or lower.
    pub fn hold_to_exactly(&self, limit: u32) {
        self.limit.store(limit.max(1), Ordering::Relaxed);
    }

    /// Waits for the next turn, behind those who came earlier, and takes it.
    ///
    /// # Errors
    /// It would come after `until`; said as soon as that is known, and no turn is taken.
    pub async fn turn(&self, until: Instant) -> Result<(), TooLate> {
        let late = |_| TooLate { limit: self.limit() };
        let _first = tokio::time::timeout_at(until, self.queue.lock()).await.map_err(late)?;
        loop {
            let now = Instant::now();
            let free_at = {
                let mut sends = self.lock();
                let free_at = self.free_at(&sends, now);
                if free_at <= now {
                    self.forget(&mut sends, now);
                    sends.push_back(now);
                    return Ok(());
                }
                free_at
            };
            if free_at > until {
                return Err(TooLate { limit: self.limit() });
            }
            tokio::time::sleep_until(free_at).await;
        }
    }

    /// When the next send may be: a window after the one that is `limit` sends back.
    fn free_at(&self, sends: &VecDeque<Instant>, now: Instant) -> Instant {
        let back = sends.len().checked_sub(self.limit() as usize);
        back.map_or(now, |at| sends[at] + self.window)
    }

    fn forget(&self, sends: &mut VecDeque<Instant>, now: Instant) {
        while sends.front().is_some_and(|sent| *sent + self.window <= now) {
            sends.pop_front();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Instant>> {
        self.sends.lock().expect("nobody panics while holding it")
    }
}

#[cfg(test)]
#[path = "pace_tests.rs"]
mod tests;
