//! Whose turn it is at the ledger, where many sources are recorded by one process.
//!
//! All of them tick at the same instants. What waits behind others is not what waits for a ledger that does not
//! answer: as long as others get done, one waits, in the order of coming; where nobody gets done, one leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// So many are at the ledger at once: fewer than it has connections, so that a lease is renewed beside them.
const AT_ONCE: usize = 6;

/// What the keepers of one process share.
#[derive(Clone, Debug)]
pub struct Turns {
    free: Arc<Semaphore>,
    done: Arc<AtomicU64>,
}

impl Default for Turns {
    fn default() -> Self {
        Self { free: Arc::new(Semaphore::new(AT_ONCE)), done: Arc::default() }
    }
}

/// A turn, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _permit: OwnedSemaphorePermit,
    done: Arc<AtomicU64>,
}

impl Turn {
    /// The ledger has answered.
    pub(super) fn answered(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

impl Turns {
    /// Waits for a turn, however long it takes.
    pub(super) async fn next(&self) -> Turn {
        let permit = Arc::clone(&self.free).acquire_owned().await.expect("it is never closed");
        Turn { _permit: permit, done: Arc::clone(&self.done) }
    }

    /// Waits for a turn while others get done: no longer than `patience` where nobody does, and no longer than
    /// `longest` in all.
    pub(super) async fn next_while_others_do(
        &self,
        patience: Duration,
        longest: Duration,
    ) -> Option<Turn> {
        let mut next = std::pin::pin!(self.next());
        let mut waiting = self.begin(patience, longest);
        while let Some(wait) = waiting.wait() {
            if let Ok(turn) = tokio::time::timeout(wait, &mut next).await {
                return Some(turn);
            }
        }
        None
    }

    /// Begins to wait for others to get done.
    pub(super) fn begin(&self, patience: Duration, longest: Duration) -> Waiting {
        let until = Instant::now() + longest.max(patience);
        Waiting { turns: self.clone(), patience, until, seen: None }
    }
}

/// How long to wait on.
#[derive(Debug)]
pub(super) struct Waiting {
    turns: Turns,
    patience: Duration,
    until: Instant,
    seen: Option<u64>,
}

impl Waiting {
    /// How long to wait before it is asked again; `None`: no longer.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        let left = self.until.saturating_duration_since(Instant::now());
        (self.others_get_done() && !left.is_zero()).then(|| self.patience.min(left))
    }

    /// Whether nobody got done of late, rather than too many were before us.
    pub(super) fn is_in_vain(&self) -> bool {
        Instant::now() < self.until
    }

    /// Whether anybody got done since it was last asked; at first that is not known, and hoped.
    fn others_get_done(&mut self) -> bool {
        let done = self.turns.done.load(Ordering::Relaxed);
        self.seen.replace(done) != Some(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn one_waits_as_long_as_others_get_done() {
        let turns = Turns::default();
        let begun = Instant::now();
        let all: Vec<_> = (0..10 * AT_ONCE)
            .map(|_| {
                let turns = turns.clone();
                tokio::spawn(async move {
                    let turn = turns.next_while_others_do(PATIENCE, LONGEST).await?;
                    tokio::time::sleep(Duration::from_secs(2)).await;
                    turn.answered();
                    Some(())
                })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), Some(()));
        }
        assert_eq!(begun.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn one_leaves_where_nobody_gets_done() {
        let turns = Turns::default();
        let mut held = Vec::new();
        for _ in 0..AT_ONCE {
            held.push(turns.next().await);
        }
        let begun = Instant::now();
        assert!(turns.next_while_others_do(PATIENCE, LONGEST).await.is_none());
        assert_eq!(begun.elapsed(), PATIENCE);
        // Others get done, but it takes for ever.
        let busy = async {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                held[0].answered();
            }
        };
        let begun = Instant::now();
        tokio::select! {
            turn = turns.next_while_others_do(PATIENCE, LONGEST) => assert!(turn.is_none()),
            () = busy => {}
        }
        assert_eq!(begun.elapsed(), LONGEST);
    }
}
