//! Reading back what is believed.

use std::time::Instant;

use chrono::TimeDelta;
use deskledger::domain::{Listing, Snapshot};
use deskledger::simulator::{World, WorldConfig};
use deskledger::store::{Recorder, Store};
use sqlx::postgres::PgPoolOptions;

use super::{prod, start};
use crate::support::ledger::ledger;

/// Whoever waits no longer for beliefs to be read back leaves a connection behind in the midst of a COPY.
#[tokio::test]
async fn a_reading_that_is_given_up_leaves_nothing_of_it_to_the_next_one() {
    let (database, store) = ledger().await;
    let start = start();
    let desktops = World::new(&WorldConfig::new(5, 3_000, start, 30)).desktops().to_vec();
    let snapshot = Snapshot {
        scheduled_at: None,
        observed_at: start,
        finished_at: start,
        max_gap: TimeDelta::minutes(15),
        total: Some(3_000),
        desktops: Some(Listing::new(desktops)),
        groups: None,
        failure: None,
    };
    let mut recorder = Recorder::open(&store, &prod()).await.unwrap();
    recorder.record(&snapshot).await.unwrap();
    let id = recorder.source_id();
    let options = database.pool.connect_options().as_ref().clone();
    let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let store = Store::from_pool(pool.clone());
    let begun = Instant::now();
    store.load_beliefs(id).await.unwrap();
    let whole = begun.elapsed();
    let mut given_up = 0;
    for part in 1..25 {
        let reading = store.load_beliefs(id);
        given_up += u32::from(tokio::time::timeout(whole * part / 25, reading).await.is_err());
        let next: i32 = sqlx::query_scalar("select $1")
            .bind(part.cast_signed())
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(next, part.cast_signed());
    }
    assert!(given_up > 0);
    let beliefs = store.load_beliefs(id).await.unwrap();
    assert_eq!(beliefs.head.sequence, 1);
    assert!(beliefs.desktop(3_000).is_some() && beliefs.desktop(3_001).is_none());
}
