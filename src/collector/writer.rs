//! Writes snapshots into the ledger: first what waits in the spool, in its order, then the new one.
//!
//! It knows when it may: as the source's leader. One that does not lead hands in only what is older than what
//! the leader has recorded, as late entries, so that its spool empties, too. An attempt may fail anywhere; what
//! was not acknowledged to the spool comes again, and recording is idempotent.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;

use super::spool::{Queue, SpoolError};
use super::succession::Leader;
use crate::clock::Clock;
use crate::domain::{Beliefs, HistoryError, Instant, Snapshot};
use crate::exchange::bare_line;
use crate::store::{Candidate, Late, Leadership, Recorder, StoreError};

/// A transaction holds at most so many snapshots of the spool, or so many rows.
const BATCH_SNAPSHOTS: usize = 64;
const BATCH_ROWS: usize = 50_000;
/// How often a snapshot is tried again when another recorder has recorded meanwhile.
const ATTEMPTS: usize = 5;

/// How to get a recorder of the source; asked again until it gives one.
pub type Opening = Arc<dyn Fn() -> BoxFuture<'static, Result<Recorder, StoreError>> + Send + Sync>;

/// How to learn why a ledger says nothing: connects once, by itself.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), StoreError>> + Send + Sync>;

/// A source's spool, which whoever fetches fills and whoever writes empties.
pub(super) type SharedQueue = Arc<Mutex<Queue>>;

pub(super) fn lock(queue: &SharedQueue) -> MutexGuard<'_, Queue> {
    // A queue is consistent between its calls, so one that a panic left is, too.
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works on a source's spool on a thread of its own: a disk may take its time, and other sources' tasks would wait
/// for it.
pub(super) async fn on_queue<T: Send + 'static>(
    queue: &SharedQueue,
    work: impl FnOnce(&mut Queue) -> T + Send + 'static,
) -> T {
    let queue = Arc::clone(queue);
    match tokio::task::spawn_blocking(move || work(&mut lock(&queue))).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The program ends, and this with it.
            Err(_) => std::future::pending().await,
        },
    }
}

/// Why a snapshot could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The ledger refused or was away.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What waits in the spool could not be read.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// Another recorder leads.
    #[error("another recorder leads: {leader}")]
    Standby {
        /// Its name.
        leader: String,
    },
}

/// What became of a snapshot that reached the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It is part of the history.
    Recorded {
        /// The desktops whose span begins with it, or that are gone.
        changes: i32,
    },
    /// It came after newer ones, or after another one of its tick: it is kept, outside the history.
    Late,
    /// It was there already.
    Already,
}

/// How many snapshots of the spool reached the ledger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaughtUp {
    /// As part of the history.
    pub recorded: usize,
    /// Outside it.
    pub late: usize,
    /// They were there already.
    pub already: usize,
    /// What those that are part of it changed.
    pub changes: u64,
}

/// What was added, and is not committed yet.
#[derive(Debug, Default)]
struct Added {
    snapshots: usize,
    changes: u64,
}

/// What an attempt came to.
#[derive(Debug)]
pub(super) struct Attempt {
    /// What became of the spool.
    pub(super) caught_up: CaughtUp,
    /// What became of the new snapshot, if there was one.
    pub(super) written: Result<Option<Written>, WriteError>,
}

/// The one that writes a source.
pub(super) struct Writer {
    source: String,
    opening: Opening,
    recorder: Option<Recorder>,
    candidate: Option<Candidate>,
    clock: Clock,
    queue: SharedQueue,
    /// Grows with whatever is written, so that others see that it goes on.
    progress: Arc<AtomicU64>,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").field("source", &self.source).finish_non_exhaustive()
    }
}

impl Writer {
    /// One that leads as `candidate`; without one it needs no lease.
    pub(super) fn new(
        source: &str,
        opening: Opening,
        candidate: Option<Candidate>,
        clock: Clock,
        queue: SharedQueue,
        progress: Arc<AtomicU64>,
    ) -> Self {
        let source = source.to_owned();
        Self { source, opening, recorder: None, candidate, clock, queue, progress }
    }

    async fn recorder(&mut self) -> Result<&mut Recorder, StoreError> {
        if self.recorder.is_none() {
            self.recorder = Some((self.opening)().await?);
        }
        Ok(self.recorder.as_mut().expect("opened above"))
    }

    /// Sees to it that we lead; `is_patient`: unless another one has led, be its lease run out or not. `Some`: that
    /// one leads.
    pub(super) async fn lead(&mut self, is_patient: bool) -> Result<Option<Leader>, StoreError> {
        let candidate = self.candidate.clone();
        let recorder = self.recorder().await?;
        let Some(candidate) = candidate else { return Ok(None) };
        if is_patient
            && let Some(leader) = recorder.leader().await?
            && leader.0 != *candidate.name
        {
            return Ok(Some(leader));
        }
        match recorder.lead(&candidate).await? {
            Leadership::Ours { .. } => Ok(None),
            Leadership::Others { leader, until } => {
                // They would only grow stale, and may be large.
                recorder.forget();
                Ok(Some((leader, until)))
            }
        }
    }

    /// Whether we lead, as far as is known.
    pub(super) fn leads(&self) -> bool {
        let leads = |recorder: &Recorder| self.candidate.is_none() || recorder.leads();
        self.recorder.as_ref().is_some_and(leads)
    }

    pub(super) async fn beliefs(&mut self) -> Result<&mut Beliefs, StoreError> {
        self.recorder().await?.beliefs().await
    }

    /// When the newest recorded snapshot was taken.
    pub(super) async fn newest(&mut self) -> Result<Option<Instant>, StoreError> {
        self.recorder().await?.newest().await
    }

    /// Lets others lead.
    pub(super) async fn step_down(&mut self) -> Result<(), StoreError> {
        match &mut self.recorder {
            Some(recorder) => recorder.step_down().await,
            None => Ok(()),
        }
    }

    /// Empties the spool, and then writes the snapshot; `is_patient` as for [`Self::lead`].
    pub(super) async fn attempt(
        &mut self,
        snapshot: Option<&Snapshot>,
        is_patient: bool,
    ) -> Attempt {
        let mut caught_up = CaughtUp::default();
        let written = self.attempt_all(snapshot, is_patient, &mut caught_up).await;
        if written.is_err() {
            lock(&self.queue).rewind();
            if let Some(recorder) = &mut self.recorder {
                recorder.forget();
            }
        }
        Attempt { caught_up, written }
    }

    async fn attempt_all(
        &mut self,
        snapshot: Option<&Snapshot>,
        is_patient: bool,
        caught_up: &mut CaughtUp,
    ) -> Result<Option<Written>, WriteError> {
        let standby = self.lead(is_patient).await?;
        let mut attempts = 0;
        while let Err(error) = self.empty_spool(standby.is_none(), caught_up).await {
            attempts += 1;
            if attempts == ATTEMPTS
                || !matches!(error, WriteError::Store(StoreError::Fenced { .. }))
            {
                return Err(error);
            }
            lock(&self.queue).rewind();
        }
        let Some(snapshot) = snapshot else { return Ok(None) };
        match standby {
            None => Ok(Some(self.write(snapshot).await?)),
            Some((leader, _)) => Err(WriteError::Standby { leader }),
        }
    }

    async fn empty_spool(
        &mut self,
        leads: bool,
        caught_up: &mut CaughtUp,
    ) -> Result<(), WriteError> {
        if lock(&self.queue).is_empty() {
            return Ok(());
        }
        let queue = Arc::clone(&self.queue);
        let mut newest = self.newest().await?;
        let mut waiting = Added::default();
        loop {
            let next = on_queue(&queue, Queue::next).await?;
            let Some(snapshot) = next else { break };
            if newest.is_some_and(|newest| newest >= snapshot.observed_at) {
                self.hand_in_late(&snapshot, &mut waiting, caught_up).await?;
                continue;
            }
            if !leads {
                // It is for the leader to record what comes first.
                lock(&queue).rewind();
                return Ok(());
            }
            let recorder = self.recorder().await?;
            let recorded = match recorder.add(&snapshot).await {
                // Another recorder has visited for its tick.
                Err(StoreError::History(HistoryError::TickTaken { .. })) => {
                    self.hand_in_late(&snapshot, &mut waiting, caught_up).await?;
                    continue;
                }
                result => result?,
            };
            newest = Some(snapshot.observed_at);
            waiting.snapshots += 1;
            waiting.changes += u64::try_from(recorded.changes).unwrap_or(0);
            let (snapshots, rows) = recorder.waiting();
            if snapshots >= BATCH_SNAPSHOTS || rows >= BATCH_ROWS {
                self.commit(&mut waiting, caught_up).await?;
                on_queue(&queue, Queue::acknowledge).await?;
            }
        }
        self.commit(&mut waiting, caught_up).await?;
        Ok(on_queue(&queue, Queue::acknowledge).await?)
    }

    /// Commits what was added. Only after it may the spool forget that; should we die between, it comes again.
    async fn commit(
        &mut self,
        waiting: &mut Added,
        caught_up: &mut CaughtUp,
    ) -> Result<(), WriteError> {
        if waiting.snapshots > 0 {
            self.recorder().await?.commit().await?;
            self.progress.fetch_add(1, Ordering::Relaxed);
            let Added { snapshots, changes } = std::mem::take(waiting);
            caught_up.recorded += snapshots;
            caught_up.changes += changes;
        }
        Ok(())
    }

    /// Hands in a snapshot of the spool that has no place in the history, after what waits before it.
    async fn hand_in_late(
        &mut self,
        snapshot: &Snapshot,
        waiting: &mut Added,
        caught_up: &mut CaughtUp,
    ) -> Result<(), WriteError> {
        self.commit(waiting, caught_up).await?;
        match self.write_late(snapshot).await? {
            Late::Kept { .. } => caught_up.late += 1,
            Late::Recorded => caught_up.already += 1,
        }
        self.progress.fetch_add(1, Ordering::Relaxed);
        Ok(on_queue(&self.queue, Queue::acknowledge).await?)
    }

    async fn write_late(&mut self, snapshot: &Snapshot) -> Result<Late, StoreError> {
        let (source, received_at) = (self.source.clone(), self.clock.now());
        let line = |snapshot: &Snapshot| bare_line(&source, snapshot);
        self.recorder().await?.record_late(snapshot, line, received_at).await
    }

    async fn write(&mut self, snapshot: &Snapshot) -> Result<Written, StoreError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            match self.recorder().await?.record(snapshot).await {
                Ok(recorded) => return Ok(Written::Recorded { changes: recorded.changes }),
                // Beliefs are read back then, and it is decided anew what the snapshot changes.
                Err(StoreError::Fenced { .. }) if attempts < ATTEMPTS => {}
                // Another recorder has recorded meanwhile, or visited for this tick.
                Err(StoreError::History(
                    HistoryError::NotNewer { .. } | HistoryError::TickTaken { .. },
                )) => {
                    return Ok(match self.write_late(snapshot).await? {
                        Late::Kept { .. } => Written::Late,
                        Late::Recorded => Written::Already,
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }
}
