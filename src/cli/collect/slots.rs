//! Where a recorder's snapshots wait: its own slot of the spool, and what other processes have left in theirs.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::recording::Ours;
use crate::cli::ledger::Ledger;
use crate::clock::Clock;
use crate::collector::spool::{Spool, SpoolError};
use crate::collector::{Keeper, Opening, PATIENCE, Probe};
use crate::config::SpoolConfig;
use crate::domain::Source;
use crate::error::{Chain, usage, with_hint};
use crate::exchange::Pin;
use crate::store::{Candidate, LONGEST_TERM, Recorder, Store, StoreError};

/// How much longer than its lease a leader is waited for after the database was away: as long as it may take to
/// connect again.
const GRACE_OF_LEADERS: Duration = Duration::from_secs(10);
/// How often one that records looks for what other processes have left in the spool.
const ADOPT: Duration = Duration::from_secs(30);
/// How long others have the ledger to themselves before it is tried again to migrate it: each attempt holds them up for as
/// long as it waits.
const BETWEEN_MIGRATIONS: Duration = Duration::from_secs(10);

/// Where the snapshots of a source go.
///
/// # Errors
/// It is recorded from elsewhere, which is wrong use; or its part of the spool cannot be opened.
pub(super) async fn keeper(
    ledger: &Ledger,
    spool: &Spool,
    place: &Source,
    step: TimeDelta,
) -> anyhow::Result<Keeper> {
    let pin = Pin {
        region: place.region.clone(),
        project_id: place.project_id.clone(),
        endpoint: place.endpoint.clone(),
    };
    let mut queue = spool.queue(&place.name, Some(pin))?;
    if !queue.is_empty() {
        let waiting = queue.len();
        tracing::info!(
            source.name = place.name,
            "{waiting} snapshots of source `{}` wait in the spool",
            place.name
        );
    }
    if !queue.has_room()? {
        tracing::error!(
            source.name = place.name,
            "the spool has no room: while the database is away, source `{}` would not be visited; look at \
             `deskledger doctor`",
            place.name
        );
    }
    let opened = match ledger.is_away {
        true => None,
        false => Some(Recorder::open(&ledger.store, place).await),
    };
    let first = match opened.transpose() {
        Ok(recorder) => recorder,
        Err(error @ StoreError::Pinned { .. }) => return Err(usage(error)),
        Err(error) if error.is_away() => None,
        Err(error) => return Err(error.into()),
    };
    let opening = opening(ledger.store.clone(), place.clone(), first);
    let candidate = Candidate::for_visits_every(step.to_std().unwrap_or(LONGEST_TERM));
    let term = candidate.term;
    let keeper = Keeper::new(&place.name, queue, opening, Some(candidate), Clock::System);
    let store = ledger.store.clone();
    let probe: Probe = Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { store.probe().await })
    });
    Ok(keeper
        .visited_every(step.to_std().unwrap_or(PATIENCE))
        .taking_turns(ledger.turns.clone())
        .giving_leaders(term + GRACE_OF_LEADERS)
        .asking_why_with(probe))
}

/// Gives the recorder that was opened already; later ones are opened when the database answers.
fn opening(store: Store, place: Source, first: Option<Recorder>) -> Opening {
    let first = Mutex::new(first);
    let blocked: Arc<Mutex<Option<(Instant, i64, String)>>> = Arc::default();
    Arc::new(move || {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (store, place) = (store.clone(), place.clone());
        let blocked = Arc::clone(&blocked);
        Box::pin(async move {
            if let Some(recorder) = ready {
                return Ok(recorder);
            }
            // It may have been away when we started, or others were in the way; and may be still.
            let last = blocked.lock().unwrap_or_else(PoisonError::into_inner).clone();
            if let Some((_, version, by)) =
                last.filter(|(at, ..)| at.elapsed() < BETWEEN_MIGRATIONS)
            {
                return Err(StoreError::MigrationBlocked { version, by });
            }
            let migrated = store.migrate_within(Duration::ZERO).await;
            if let Err(StoreError::MigrationBlocked { version, by }) = &migrated {
                let now = Some((Instant::now(), *version, by.clone()));
                *blocked.lock().unwrap_or_else(PoisonError::into_inner) = now;
            }
            migrated?;
            Recorder::open(&store, &place).await
        })
    })
}

pub(super) fn open_spool(config: &SpoolConfig) -> anyhow::Result<Spool> {
    Spool::open(config).map_err(unusable)
}

fn unusable(error: SpoolError) -> anyhow::Error {
    with_hint(
        usage(error),
        "snapshots wait there while the database is away: `[spool] dir` names another folder",
    )
}

/// Records what waits of sources that are no longer configured.
pub(super) async fn empty_foreign(
    ledger: &Ledger,
    spool: &Spool,
    configured: &[&str],
) -> anyhow::Result<()> {
    for name in spool.sources()? {
        if !configured.contains(&&*name) {
            empty(ledger, spool, name, false).await?;
        }
    }
    Ok(())
}

/// Records what waits in the slots of other processes that have ended; of the sources in `ours`, which are
/// being recorded by this process, under its lease.
pub(super) async fn empty_abandoned(
    ledger: &Ledger,
    spool: &Spool,
    ours: &Ours,
) -> anyhow::Result<()> {
    let mut emptied = Vec::new();
    // Held until all are done, so that none comes twice.
    while let Some(left) = spool.take_left().map_err(unusable)? {
        for name in left.sources()? {
            let is_ours = ours.contains(&name);
            empty(ledger, &left, name, is_ours).await?;
        }
        emptied.push(left);
    }
    Ok(())
}

/// Looks now and then for slots whose process has ended since.
///
/// # Errors
/// Never: it goes on for as long as it is let.
pub(super) async fn adopt(ledger: &Ledger, spool: &Spool, ours: &Ours) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(ADOPT).await;
        if let Err(error) = empty_abandoned(ledger, spool, ours).await {
            tracing::warn!(
                "cannot record what another process has left in the spool: {}",
                Chain(error.as_ref())
            );
        }
    }
}

async fn empty(ledger: &Ledger, spool: &Spool, name: String, is_ours: bool) -> anyhow::Result<()> {
    let place = Source { name: name.clone(), region: None, project_id: None, endpoint: None };
    let mut keeper = keeper(ledger, spool, &place, TimeDelta::minutes(1)).await?;
    if !keeper.finish(PATIENCE).await {
        tracing::warn!(
            source.name = name,
            "{} snapshots of source `{name}` wait in the spool still: they are recorded when `collect` starts \
             again",
            keeper.waiting()
        );
    }
    if !is_ours {
        keeper.step_down().await;
    }
    Ok(())
}
