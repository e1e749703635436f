//! One cycle: visit a source, and record what was read, whatever it is.

use std::collections::VecDeque;

use chrono::TimeDelta;

use crate::clock::Clock;
use crate::domain::{HistoryError, Instant, Snapshot};
use crate::store::{Recorder, StoreError};
use crate::workspace::{Client, Skew, Visit};

/// Snapshots that wait in memory while the database is away: an hour of five minutes' steps.
const WAITING: usize = 12;

/// What can be visited: the API over HTTP, or a simulated fleet.
pub trait Visitor: Send {
    /// Reads both parts. What could not be read is part of the visit.
    fn visit(&mut self) -> impl Future<Output = Visit> + Send;
}

impl Visitor for Client {
    async fn visit(&mut self) -> Visit {
        Client::visit(self).await
    }
}

/// Visits a source, and says what was seen and when. Also gives the number of requests that it took, and
/// how far the clocks were apart.
pub async fn take(
    visitor: &mut impl Visitor,
    clock: &Clock,
    scheduled_at: Option<Instant>,
    max_gap: TimeDelta,
) -> (Snapshot, u32, Option<Skew>) {
    let observed_at = clock.now();
    let visit = visitor.visit().await;
    let snapshot = Snapshot {
        scheduled_at,
        observed_at,
        // A clock that was set back meanwhile must not make the visit end before it began.
        finished_at: clock.now().max(observed_at),
        max_gap,
        total: visit.total,
        desktops: visit.desktops,
        groups: visit.groups,
        failure: visit.failure,
    };
    (snapshot, visit.requests, visit.skew)
}

/// Why a cycle could not record.
#[derive(Debug, thiserror::Error)]
#[error("record source `{source_name}`")]
pub struct CycleError {
    /// The source.
    pub source_name: String,
    /// What the store says.
    #[source]
    pub source: StoreError,
}

/// What a cycle came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The snapshot taken.
    pub snapshot: Snapshot,
    /// The requests that it took.
    pub requests: u32,
    /// How far the clocks were apart, where an answer showed it.
    pub skew: Option<Skew>,
    /// The desktops that changed; or why the snapshot cannot follow what is recorded: its tick is
    /// recorded already, or the clock is behind.
    pub recorded: Result<i32, HistoryError>,
}

/// One source that is recorded.
#[derive(Debug)]
pub struct Cycle<V> {
    /// The source's name.
    pub name: String,
    visitor: V,
    recorder: Recorder,
    clock: Clock,
    max_gap: TimeDelta,
    waiting: VecDeque<Snapshot>,
}

impl<V: Visitor> Cycle<V> {
    /// A source and whoever visits and records it.
    pub fn new(
        name: impl Into<String>,
        visitor: V,
        recorder: Recorder,
        clock: Clock,
        max_gap: TimeDelta,
    ) -> Self {
        let waiting = VecDeque::new();
        Self { name: name.into(), visitor, recorder, clock, max_gap, waiting }
    }

    /// When the newest recorded snapshot was taken.
    ///
    /// # Errors
    /// The database is away.
    pub async fn newest(&mut self) -> Result<Option<Instant>, StoreError> {
        Ok(self.recorder.beliefs().await?.head.newest.map(|mark| mark.at))
    }

    /// Visits the source once, and records what was read.
    ///
    /// # Errors
    /// The database is away: the snapshot waits in memory for the next cycle.
    pub async fn run(&mut self, scheduled_at: Option<Instant>) -> Result<Outcome, CycleError> {
        let (snapshot, requests, skew) =
            take(&mut self.visitor, &self.clock, scheduled_at, self.max_gap).await;
        self.waiting.push_back(snapshot.clone());
        if self.waiting.len() > WAITING
            && let Some(dropped) = self.waiting.pop_front()
        {
            tracing::error!(
                source.name = self.name,
                observed_at = %dropped.observed_at,
                "lost a snapshot: the database has been away for too long"
            );
        }
        let mut outcome = Ok(0);
        while let Some(next) = self.waiting.front() {
            match record(&mut self.recorder, next).await {
                Ok(recorded) => outcome = recorded,
                Err(source) => {
                    return Err(CycleError { source_name: self.name.clone(), source });
                }
            }
            self.waiting.pop_front();
        }
        Ok(Outcome { snapshot, requests, skew, recorded: outcome })
    }
}

/// Records a snapshot, unless history has no place for it.
async fn record(
    recorder: &mut Recorder,
    snapshot: &Snapshot,
) -> Result<Result<i32, HistoryError>, StoreError> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match recorder.record(snapshot).await {
            Ok(recorded) => return Ok(Ok(recorded.changes)),
            // Beliefs are read back then, and it is decided anew what the snapshot changes.
            Err(StoreError::Fenced { .. }) if attempts < 5 => {}
            Err(StoreError::History(error)) => return Ok(Err(error)),
            Err(error) => return Err(error),
        }
    }
}
