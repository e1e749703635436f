//! `verify`: a ledger as recorded is right, and whatever is changed by hand is found.

mod changes;
mod history;

use std::collections::BTreeMap;

use deskledger::domain::audit::Fault;
use deskledger::store::{Progress, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::oracle::generate::histories;
use crate::support::ledger::{ledger, record};
use changes::{Cell, restore, save};

/// The first fault of each source.
async fn faults(store: &Store) -> Vec<(String, Fault)> {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    let faults = verdicts.into_iter().map(|verdict| (verdict.source.name, verdict.fault));
    faults.filter_map(|(source, fault)| Some((source, fault?))).collect()
}

#[test]
fn a_ledger_as_recorded_is_right_and_any_cell_changed_by_hand_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, store) = runtime.block_on(ledger());
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(24, |cases| cases.parse().unwrap()),
        source_file: Some(file!()),
        max_shrink_iters: 100,
        ..Config::default()
    };
    let picks = proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 4);
    let result = TestRunner::new(config).run(
        &(histories(), 1_usize..5, 1_usize..9, picks),
        |(history, commit, restart, picks)| {
            runtime.block_on(async {
                store.forget_everything().await.unwrap();
                record(&store, &history.0, commit, restart).await;
                prop_assert_eq!(faults(&store).await, vec![]);
                let cells = Cell::all(&database.pool).await;
                let saved = save(&database.pool).await;
                for (cell, change) in picks {
                    let cell = cell.get(&cells);
                    let Some(done) = cell.change(&database.pool, change.index(2)).await else {
                        continue;
                    };
                    let found = faults(&store).await;
                    prop_assert!(!found.is_empty(), "not found: {done}");
                    prop_assert!(found.iter().all(|(_, fault)| fault.at.is_some()), "{done}: {found:?}");
                    restore(&database.pool, &saved).await;
                }
                prop_assert_eq!(faults(&store).await, vec![]);
                Ok(())
            })
        },
    );
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
