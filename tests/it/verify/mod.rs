//! `verify`: a ledger as recorded is right, and whatever is changed by hand is found.

mod changes;
mod command;
pub mod digests;
pub mod history;

use std::collections::BTreeMap;

use deskledger::domain::audit::Fault;
use deskledger::store::{Progress, Recorder, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sqlx::AssertSqlSafe;

use crate::oracle::generate::histories;
use crate::support::ledger::{ledger, lines, pack, record, record_with_late, source};
use changes::{Cell, restore, save};

/// The first fault of each source.
async fn faults(store: &Store) -> Vec<(String, Fault)> {
    faults_of(store, None).await
}

/// The first fault of each source, of one alone where it is named.
async fn faults_of(store: &Store, only: Option<&str>) -> Vec<(String, Fault)> {
    let verdicts = store.verify(only, &BTreeMap::new(), &Progress::default()).await.unwrap();
    let faults = verdicts.into_iter().map(|verdict| (verdict.source.name, verdict.fault));
    faults.filter_map(|(source, fault)| Some((source, fault?))).collect()
}

/// Of each column the first value, of those that are not null if there is any.
fn telling(cells: Vec<Cell>) -> Vec<Cell> {
    let mut kept: BTreeMap<(String, String), Cell> = BTreeMap::new();
    for cell in cells {
        let key = (cell.table.clone(), cell.column.clone());
        if kept.get(&key).is_none_or(|kept| kept.is_null && !cell.is_null) {
            kept.insert(key, cell);
        }
    }
    kept.into_values().collect()
}

#[tokio::test]
async fn a_change_of_any_column_of_any_table_is_found_and_names_a_snapshot() {
    let (database, store) = ledger().await;
    history::recorded(&store).await;
    assert_eq!(faults(&store).await, vec![]);
    for (table, rows) in changes::counts(&database.pool).await {
        assert!(rows > 0, "no row of `{table}` can be changed: the history must reach it");
    }
    let saved = save(&database.pool).await;
    let (mut tried, mut not_accepted) = (BTreeMap::new(), Vec::new());
    for (way, cell) in telling(Cell::all(&database.pool).await).into_iter().enumerate() {
        let column = format!("{}.{}", cell.table, cell.column);
        // The other source's rows are as they were, and looked at with all at the end.
        let source = cell.source(&database.pool).await;
        let Some(done) = cell.change(&database.pool, way).await else {
            not_accepted.push(column);
            continue;
        };
        let found = faults_of(&store, source.as_deref()).await;
        let place = found.first().map(|(_, fault)| fault.at);
        assert!(matches!(place, Some(Some(_))), "{done}: {found:?}");
        cell.restore(&database.pool, &saved).await;
        *tried.entry(column).or_insert(0) += 1;
    }
    not_accepted.retain(|column| !tried.contains_key(column));
    not_accepted.dedup();
    // Keys and constraints hold these fast: no single change of them gets into the database at all.
    let held_fast = [
        "assignment.source_id",
        "desktop.source_id",
        "desktop_group.source_id",
        "head.source_id",
        "label.source_id",
        "late.groups_outcome",
        "open_group_span.source_id",
        "open_span.source_id",
        "packed_group_month.source_id",
        "packed_month.month_to",
        "packed_month.source_id",
        "person.source_id",
        "snapshot.groups_outcome",
        "source.source_id",
        "status.source_id",
        "visit_day.source_id",
    ];
    assert_eq!(not_accepted, held_fast);
    assert!(tried.len() > 100, "{tried:?}");
    assert_eq!(faults(&store).await, vec![]);
}

/// A packed day says what its visits' rows said, or is refused.
#[tokio::test]
async fn a_packed_day_is_as_packing_writes_it() {
    let (database, store) = ledger().await;
    history::recorded(&store).await;
    let saved = save(&database.pool).await;
    let done = sqlx::query(digests::EXCHANGED).execute(&database.pool).await.unwrap();
    assert!(done.rows_affected() > 0);
    assert!(faults(&store).await.iter().any(|(_, fault)| fault.at.is_some()));
    restore(&database.pool, &saved).await;
    for change in [
        "sequence[2] = null",
        "observed_at[2] = null",
        "finished_at[2] = null",
        "max_gap[2] = null",
        "snapshot_id[2] = null",
        "changes[2] = null",
        "groups_outcome[2] = 1",
        "observed_at = array[observed_at]",
        "error_code = array[error_code]",
        "desktops_total[0] = 1",
        "error_message = null",
    ] {
        let sql = format!(
            "update deskledger_data.visit_day set {change} where cardinality(sequence) > 1"
        );
        let refused = sqlx::query(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap_err();
        assert!(refused.to_string().contains("visit_day_"), "{change}: {refused}");
    }
    assert_eq!(faults(&store).await, vec![]);
}

#[tokio::test]
async fn what_a_change_by_hand_breaks_is_named_by_its_snapshot() {
    let (database, store) = ledger().await;
    record(&store, &history::history(), 1, usize::MAX).await;
    let saved = save(&database.pool).await;
    let cases = [
        ("update deskledger_data.snapshot set finished_at = finished_at + interval '1 s' where sequence = 4 and source_id = 1", 4, "its own row"),
        ("update deskledger_data.snapshot set digest = decode(repeat('ab', 32), 'hex') where sequence = 9 and source_id = 1", 9, "digest"),
        ("update deskledger_data.person set name = 'mallory', id = 'm' where person_no = 3 and source_id = 1", 6, "`person` number 3"),
        ("delete from deskledger_data.snapshot where sequence = 11 and source_id = 1", 12, "none may be missing"),
        ("update deskledger_data.head set digest = decode(repeat('ab', 32), 'hex') where source_id = 1", 30, "`head`"),
        ("delete from deskledger_data.head where source_id = 1", 30, "`head`"),
        ("update deskledger_data.snapshot set snapshot_id = 1 where sequence = 30 and source_id = 1", 30, "`snapshot_id`"),
        ("update deskledger_data.snapshot q set snapshot_id = p.snapshot_id from deskledger_data.snapshot p
           where q.sequence = 1 and q.source_id = 2 and p.sequence = 1 and p.source_id = 1", 1, "`snapshot_id`"),
        ("update deskledger_data.span set piece_to = 'infinity' where ended = -3", 0, "span"),
        ("insert into deskledger_data.label select source_id, label_no + 100, desktop_name || '!', salt, commitment, assignment_no
            from deskledger_data.label where label_no = 1 and source_id = 1", 30, "label"),
        ("create or replace view deskledger.desktop_snapshots as
          select snapshot_id, source, observed_at, desktop_id, desktop_name, connect_status, attach_users
            from (select n.snapshot_id, s.name as source, n.observed_at, ''::text as desktop_id, ''::text as desktop_name,
                         ''::text as connect_status, '[]'::jsonb as attach_users
                    from deskledger_data.snapshot n join deskledger_data.source s using (source_id)) lie", 1, "the view"),
    ];
    for (change, sequence, words) in cases {
        let changed = sqlx::query(change).execute(&database.pool).await;
        let Ok(changed) = changed else { continue };
        let found = faults(&store).await;
        let (_, fault) = found.first().unwrap_or_else(|| panic!("not found: {change} {changed:?}"));
        let place = fault.at.unwrap();
        assert!(sequence == 0 || place.sequence == sequence, "{change}: {fault:?}");
        assert!(fault.wrong.to_string().contains(words), "{change}: {fault:?}");
        restore(&database.pool, &saved).await;
    }
}

#[tokio::test]
async fn a_late_snapshot_that_is_changed_moved_or_removed_is_found_in_its_place() {
    let (database, store) = ledger().await;
    history::recorded(&store).await;
    assert_eq!(faults(&store).await, vec![]);
    let saved = save(&database.pool).await;
    let of_prod = "select row_number() over (order by sequence) as nth, max(sequence) over () as last, sequence, source_id
                     from deskledger_data.late where source_id = 1";
    let cases = [
        ("update deskledger_data.late l set line = replace(line, 'anna', 'mallory')", "`line`"),
        ("update deskledger_data.late l set line = line || ' '", "`line`"),
        ("update deskledger_data.late l set salt = decode(repeat('ab', 16), 'hex')", "`line`"),
        ("update deskledger_data.late l set salt = '\\x00'", "`line`"),
        ("update deskledger_data.late l set line = null, salt = null, body_hash = digest", "its own row"),
        ("update deskledger_data.late l set received_at = received_at + interval '1 us'", "its own row"),
        ("update deskledger_data.late l set observed_at = observed_at - interval '1 us'", "its own row"),
        ("update deskledger_data.late l set sequence = l.sequence + 100", "none may be missing"),
        ("update deskledger_data.late l set snapshot_id = 1", "`snapshot_id`"),
        ("delete from deskledger_data.late l using late where l.source_id = late.source_id and l.sequence = late.sequence
             and late.nth = 3 --", "none may be missing"),
        ("delete from deskledger_data.late l using late where l.source_id = late.source_id and l.sequence = late.sequence
             and l.sequence = late.last --", "none may be missing"),
    ];
    for (change, words) in cases {
        let change = format!(
            "with late as ({of_prod}) {change} {}where l.source_id = 1 and l.sequence = late.sequence and late.nth = 3",
            if change.starts_with("update") { "from late " } else { "" }
        );
        let changed = sqlx::query(AssertSqlSafe(change.clone())).execute(&database.pool).await;
        assert_eq!(changed.unwrap().rows_affected(), 1, "{change}");
        let found = faults(&store).await;
        let (_, fault) = found.first().unwrap_or_else(|| panic!("not found: {change}"));
        assert!(
            fault.at.is_some() && fault.wrong.to_string().contains(words),
            "{change}: {fault:?}"
        );
        assert!(!fault.wrong.to_string().contains("anna"), "{fault:?}");
        restore(&database.pool, &saved).await;
    }
    // Two that change places, and one that moves to another source.
    for change in [
        "update deskledger_data.late l set sequence = -l.sequence where source_id = 1;
         update deskledger_data.late l set sequence = (select last + first - -l.sequence
             from (select max(-sequence) as last, min(-sequence) as first from deskledger_data.late where source_id = 1) ends)
          where source_id = 1 and -l.sequence in (select max(-sequence) from deskledger_data.late where source_id = 1
                 union select min(-sequence) from deskledger_data.late where source_id = 1);
         update deskledger_data.late l set sequence = -l.sequence where source_id = 1 and sequence < 0",
        "update deskledger_data.late l set source_id = 2, sequence = 99
          where source_id = 1 and sequence = (select max(sequence) from deskledger_data.late where source_id = 1)",
    ] {
        sqlx::raw_sql(change).execute(&database.pool).await.unwrap();
        assert!(!faults(&store).await.is_empty(), "{change}");
        restore(&database.pool, &saved).await;
    }
    // Erased by hand, text and salt, without an entry that says so.
    sqlx::query("update deskledger_data.late set line = null, salt = null")
        .execute(&database.pool)
        .await
        .unwrap();
    assert!(faults(&store).await[0].1.wrong.to_string().contains("no erasure"));
}

#[tokio::test]
async fn a_line_that_says_something_else_than_its_row_is_found() {
    let (_database, store) = ledger().await;
    record(&store, &history::history(), 1, usize::MAX).await;
    let line = &lines(&history::history())[4];
    let at = line.snapshot.observed_at;
    let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
    let mut snapshot = line.snapshot.clone();
    snapshot.finished_at += chrono::TimeDelta::seconds(1);
    // The line of another visit.
    let written = deskledger::exchange::bare_line("prod", &line.snapshot);
    recorder.record_late(&snapshot, |_| written.clone(), at).await.unwrap();
    let found = faults(&store).await;
    assert!(found[0].1.wrong.to_string().contains("`line`"), "{found:?}");
}

#[test]
fn a_ledger_as_recorded_is_right_and_any_value_or_row_changed_by_hand_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, store) = runtime.block_on(ledger());
    let config = Config {
        cases: std::env::var("PROPTEST_CASES").map_or(6, |cases| cases.parse().unwrap()),
        source_file: Some(file!()),
        max_shrink_iters: 100,
        ..Config::default()
    };
    let picks = proptest::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 3);
    let result = TestRunner::new(config).run(
        &(histories(), 1_usize..5, 1_usize..9, picks),
        |(history, commit, restart, picks)| {
            runtime.block_on(async {
                store.forget_everything().await.unwrap();
                record_with_late(&store, &history.0, commit, restart).await;
                if commit.is_multiple_of(2) {
                    pack(&store).await;
                }
                prop_assert_eq!(faults(&store).await, vec![]);
                let cells = Cell::all(&database.pool).await;
                let saved = save(&database.pool).await;
                for (cell, change) in picks {
                    let cell = cell.get(&cells);
                    let done = match change.index(4) {
                        3 => cell.remove(&database.pool).await,
                        way => cell.change(&database.pool, way).await,
                    };
                    let Some(done) = done else { continue };
                    let found = faults(&store).await;
                    prop_assert!(!found.is_empty(), "not found: {done}");
                    // Of a source without any snapshot left, nothing can say when.
                    let left = "select array_agg(distinct source) from deskledger.snapshots";
                    let left: Option<Vec<String>> =
                        sqlx::query_scalar(left).fetch_one(&database.pool).await.unwrap();
                    let has_any = |source| left.iter().flatten().any(|other| other == source);
                    prop_assert!(
                        found.iter().all(|(source, fault)| fault.at.is_some() || !has_any(source)),
                        "{done}: {found:?}"
                    );
                    cell.restore(&database.pool, &saved).await;
                }
                prop_assert_eq!(faults(&store).await, vec![]);
                Ok(())
            })
        },
    );
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
