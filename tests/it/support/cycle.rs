//! What a cycle of a test needs besides who visits: where its snapshots go.

use std::path::Path;
use std::sync::Arc;

use deskledger::clock::Clock;
use deskledger::collector::spool::{Queue, Spool};
use deskledger::collector::{Keeper, Kept, Opening, Outcome, Step, Written};
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::domain::Source;
use deskledger::store::{Candidate, Recorder, Store};

/// A spool that is full only when the disk is.
pub fn spool(folder: &Path) -> Spool {
    let dir = folder.to_owned();
    let config = SpoolConfig { dir, max_bytes: 1 << 30, min_free: 0, when_full: WhenFull::Stop };
    Spool::open(&config).unwrap()
}

/// Keeps a source's snapshots in the ledger, and while that is away in a spool in `folder`.
pub fn keeper(
    store: &Store,
    source: &Source,
    folder: &Path,
    clock: &Clock,
    candidate: Option<Candidate>,
) -> Keeper {
    let queue = spool(folder).queue(&source.name, None).unwrap();
    keeper_of(store, source, queue, clock, candidate)
}

/// The same, with a queue of a spool that the test has opened itself.
pub fn keeper_of(
    store: &Store,
    source: &Source,
    queue: Queue,
    clock: &Clock,
    candidate: Option<Candidate>,
) -> Keeper {
    let (store, place) = (store.clone(), source.clone());
    let opening: Opening = Arc::new(move || {
        let (store, place) = (store.clone(), place.clone());
        Box::pin(async move { Recorder::open(&store, &place).await })
    });
    Keeper::new(&source.name, queue, opening, candidate, clock.clone())
}

/// The visit that was made.
#[track_caller]
pub fn visited(step: Step) -> Outcome {
    match step {
        Step::Visited(outcome) => *outcome,
        other => panic!("nothing was visited: {other:?}"),
    }
}

/// Whether a visit was recorded as part of the history.
pub fn is_recorded(outcome: &Outcome) -> bool {
    matches!(outcome.kept, Kept::Written(Written::Recorded { .. }))
}
