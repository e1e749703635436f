//! What a recorder does for its ledger beside recording: it packs the months that are over, and the days of the one that lasts.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::domain::harmless;
use crate::error::Chain;
use crate::store::{Packable, PackableVisits, Store, StoreError};

/// How often it looks whether there is something to do.
const LOOK: Duration = Duration::from_hours(1);
/// How many days of a month that lasts are packed at a time: each time all that is packed of it is written anew.
const DAYS: i32 = 3;

/// Packing and pruning each leave a month alone that the other is at: in one recorder, they take turns.
pub(super) static TURN: Mutex<()> = Mutex::const_new(());

/// Packs what is over, of all sources of the ledger, whenever there is enough. Several recorders may do so at once:
/// one of them packs a source, and the others find nothing left to do.
pub(super) async fn keep(store: &Store) {
    loop {
        let turn = TURN.lock().await;
        match pack_all(store).await {
            Ok(()) => {}
            // Whoever records says so.
            Err(error) if error.is_away() => tracing::debug!("nothing is packed: {error}"),
            // As it was, it is right too: it only takes more room. The next hour comes.
            Err(error) => tracing::warn!("cannot pack what is over: {}", Chain(&error)),
        }
        drop(turn);
        sleep(LOOK).await;
    }
}

async fn pack_all(store: &Store) -> Result<(), StoreError> {
    let months = store.packable(None, DAYS).await?;
    for of_month in months.chunk_by(Packable::goes_with) {
        let mut packed = 0;
        for what in of_month {
            packed += pack(store, what).await?;
        }
        if packed > 0 {
            store.tidy(&of_month[0]).await?;
        }
    }
    let visits = store.packable_visits(None).await?;
    for of_month in visits.chunk_by(|one, other| one.month == other.month) {
        let mut packed = 0;
        for what in of_month {
            packed += pack_visits(store, what).await?;
        }
        if packed > 0 {
            store.tidy_visits(of_month[0].month).await?;
        }
    }
    store.drop_empty_partitions().await?;
    for table in store.shrink().await? {
        tracing::info!(
            "the table deskledger_data.{table} is in use: the room of what was packed of it is given back later"
        );
    }
    Ok(())
}

async fn pack(store: &Store, what: &Packable) -> Result<u64, StoreError> {
    let Some(packed) = store.pack(what, async |_, took| sleep(took).await).await? else {
        return Ok(0);
    };
    tracing::info!(
        source.name = what.source,
        packed = packed.packed,
        left = packed.left,
        "source `{}`: {} is over: packed {} spans, {} stay as they are",
        harmless(&what.source),
        what.days(),
        packed.packed,
        packed.left
    );
    Ok(packed.packed)
}

async fn pack_visits(store: &Store, what: &PackableVisits) -> Result<u64, StoreError> {
    let Some(packed) = store.pack_visits(what, async |took| sleep(took).await).await? else {
        return Ok(0);
    };
    if packed == 0 {
        return Ok(0);
    }
    tracing::info!(
        source.name = what.source,
        packed,
        "source `{}`: {} is over: packed the headers of {packed} snapshots",
        harmless(&what.source),
        what.month.format("%Y-%m")
    );
    Ok(packed)
}
