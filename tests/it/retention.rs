//! Retention: what is pruned and restored again is what it was, and what is pruned is claimed by nobody.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, SecondsFormat, TimeDelta, Utc};
use deskledger::domain::pruning::{Ages, Class};
use deskledger::retention::{Archive, Outcome, prune, restore};
use deskledger::store::prune::Due;
use deskledger::store::{Progress, Store};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::views;
use crate::oracle::generate::histories;
use crate::support::ledger::{keep_late_lines, ledger, pack, record};

/// All that a ledger holds of filed months, row by row.
async fn tables(pool: &PgPool) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for (table, sql) in [
        ("filed", "select (to_jsonb(t) - 'packed_from' - 'packed_to')::text as line from deskledger_data.filed t"),
        ("open_span", "select t::text as line from deskledger_data.open_span t"),
        ("unlisted", "select t::text as line from deskledger_data.unlisted t"),
        ("group_span", "select t::text as line from deskledger_data.group_span t"),
        ("group_span_wide", "select t::text as line from deskledger_data.group_span_wide t"),
        ("tally", "select t::text as line from deskledger_data.tally t"),
        ("late", "select (line, observed_at)::text as line from deskledger_data.late t"),
    ] {
        let sql = format!("select line from ({sql}) t order by 1");
        all.insert(table, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap());
    }
    all
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A history that lies around a month's end, which is `off` after one of its visits; and once more a month later, and again.
fn months(history: &str, off: TimeDelta) -> String {
    let lines: Vec<Value> = history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |line: &Value| instant(line["observed_at"].as_str().unwrap());
    let Some(middle) = lines.get(lines.len() / 2) else { return String::new() };
    let end = instant("2026-03-01T00:00:00Z");
    let mut text = String::new();
    for month in 0..3 {
        let later = end + Months::new(month);
        for line in &lines {
            let mut line = line.clone();
            for key in ["observed_at", "finished_at", "scheduled_at"] {
                if let Some(told) = line[key].as_str() {
                    let moved = instant(told) + (later - at(middle)) + off;
                    line[key] = moved.to_rfc3339_opts(SecondsFormat::Micros, true).into();
                }
            }
            text += &format!("{line}\n");
        }
    }
    text
}

async fn assert_verifies(store: &Store, when: &str) {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    for verdict in verdicts {
        let wrong = verdict.fault.map(|fault| fault.wrong.to_string());
        assert_eq!(wrong, None, "{when}");
    }
}

async fn everything_due(store: &Store) -> Vec<Due> {
    let day = Some(TimeDelta::days(1));
    let ages = Ages { spans: day, groups: day, rollups: day, snapshots: None };
    store.plan(&ages, None, instant("2027-01-01T00:00:00Z")).await.unwrap()
}

/// Prunes every month that is over, but for each `skip`th; returns the manifests.
async fn prune_all(store: &Store, folder: &std::path::Path, skip: usize, classes: &[Class]) -> Vec<Archive> {
    let plan = everything_due(store).await;
    let mut archives = Vec::new();
    for (nth, of_month) in plan.chunk_by(|one, other| one.month == other.month).enumerate() {
        if nth % skip == skip - 1 {
            continue;
        }
        let due: Vec<Class> = of_month
            .iter()
            .filter(|due| due.kept.is_none() && classes.contains(&due.class))
            .map(|due| due.class)
            .collect();
        let are_spans_kept = of_month.iter().any(|due| due.class == Class::Spans);
        if due.is_empty() || (are_spans_kept && !due.contains(&Class::Spans)) {
            continue;
        }
        let outcome = prune(store, &of_month[0].month, &due, Some(folder), Utc::now()).await.unwrap();
        let Outcome::Gone(_, archive) = outcome else { panic!("busy") };
        archives.extend(archive.map(|lines| Archive::read(&lines).unwrap()));
    }
    archives
}

/// One ledger is recorded to its end; the other is pruned in its midst, goes on, and is restored. Then they say the same.
#[test]
fn what_is_pruned_and_restored_is_what_it_was() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ((one, one_store), (other, other_store)) =
        runtime.block_on(async { (ledger().await, ledger().await) });
    let config =
        Config { cases: std::env::var("CASES").map_or(8, |n| n.parse().unwrap()), source_file: Some(file!()), max_shrink_iters: 25, ..Config::default() };
    let shapes = (histories(), 0_usize..4, 1_usize..4, any::<bool>());
    let result = TestRunner::new(config).run(&shapes, |(history, off, skip, backwards)| {
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let off = [0, 1, -150_000_000, 1_000_000][off];
            let history = months(&history.0, TimeDelta::microseconds(off));
            let lines: Vec<&str> = history.lines().collect();
            let (first, rest) = lines.split_at(lines.len() * 9 / 10);
            let (first, rest) = (first.join("\n"), rest.join("\n"));
            for store in [&one_store, &other_store] {
                store.forget_everything().await.unwrap();
                record(store, &first, 3, 7).await;
                keep_late_lines(store, &first, 9).await;
            }
            if lines.len().is_multiple_of(2) {
                pack(&other_store).await;
            }
            let skip = skip + usize::from(skip == 1) * 100;
            let mut archives =
                prune_all(&other_store, folder.path(), skip, &[Class::Spans]).await;
            assert_verifies(&other_store, "spans pruned").await;
            prune_all(&other_store, folder.path(), 100, &[Class::Groups, Class::Rollups]).await;
            assert_verifies(&other_store, "counters pruned").await;
            archives.extend(prune_all(&other_store, folder.path(), 100, &Class::ALL).await);
            assert_verifies(&other_store, "all pruned").await;
            record(&one_store, &rest, 3, 7).await;
            record(&other_store, &rest, 3, 7).await;
            assert_verifies(&other_store, "gone on").await;

            archives.sort_by_key(|archive| archive.month);
            if !backwards {
                // Rollups come back from the newest on.
                archives.reverse();
            }
            for archive in archives {
                restore(&other_store, archive, Utc::now()).await.unwrap();
                assert_verifies(&other_store, "restored").await;
            }
            let (expected, actual) = (views(&one.pool).await, views(&other.pool).await);
            for (view, rows) in &expected {
                prop_assert_eq!(rows, &actual[view], "view {}", view);
            }
            let (expected, actual) = (tables(&one.pool).await, tables(&other.pool).await);
            for (table, rows) in &expected {
                if !(backwards && *table == "tally") {
                    prop_assert_eq!(rows, &actual[table], "table {}", table);
                }
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|failure| panic!("{}", failure.to_string().chars().take(3000).collect::<String>()));
}
