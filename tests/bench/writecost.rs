//! What a snapshot costs, from memory to commit: time, write-ahead log, rows, and how many updates stay on their page.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deskledger::domain::{Desktop, GroupStatistics, Instant as Moment};
use deskledger::simulator::World;
use deskledger::store::Recorder;
use serde_json::json;

use super::figures::{Figures, median_and_max, millis};
use super::server::{Ledger, Server};
use super::{Asked, Outcome, process, workload};

/// Snapshots of each kind that are measured, and those before them, which warm up caches and the statements' plans.
const TIMES: u32 = 60;
const WARMING_UP: u32 = 5;
/// A server process counts its rows when it ends; PostgreSQL 14 takes another half second to say so.
const COUNTED_WITHIN: Duration = Duration::from_millis(1_200);

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    figures.part(
        &format!("record-{}", asked.desktops),
        "Recording one snapshot, from memory to commit, into an empty ledger",
    )?;
    let ledger = server.ledger("recording").await?;
    let at = workload::start() + TimeDelta::hours(3);
    let mut world = World::new(&workload::config(asked, 1));
    world.seek(at);
    process::forget_peak();
    let store = ledger.another_store().await?;
    let mut recorder = Recorder::open(&store, &workload::source()).await?;
    let first = workload::snapshot(&world, at, workload::interval(asked));
    let begun = Instant::now();
    recorder.record(&first).await?;
    figures.note("first_ms", "the first of all", millis(begun.elapsed()), "ms");
    drop((recorder, first));
    store.pool().close().await;
    let fleet = Fleet { desktops: world.desktops().to_vec(), groups: world.groups().to_vec(), at };
    costs(&ledger, fleet, asked, figures).await?;
    ledger.drop().await
}

/// What was recorded last, and when: what is measured goes on from there.
pub struct Fleet {
    pub desktops: Vec<Desktop>,
    pub groups: Vec<GroupStatistics>,
    pub at: Moment,
}

/// Rows written by a snapshot into one table: inserted, updated, of these on their page, deleted.
type Rows = [f64; 4];

/// Measures snapshots in which nothing changed, the same right after checkpoints, and such in which a fiftieth of the
/// fleet changed.
pub async fn costs(
    ledger: &Ledger,
    mut fleet: Fleet,
    asked: &Asked,
    figures: &mut Figures,
) -> Outcome {
    let is_large = asked.desktops > 10_000;
    unchanged(ledger, &mut fleet, asked, figures, if is_large { 60.0 } else { 10.0 }).await?;
    after_checkpoints(ledger, &mut fleet, asked, figures).await?;

    let target = if is_large { 200.0 } else { 40.0 };
    let measured = series(ledger, &mut fleet, asked, change_a_fiftieth).await?;
    let Measured { took: (median, max), log: (log, _), .. } = measured;
    figures.below("changed_ms", "2 % changed: median", median, "ms", target);
    figures.note("changed_slowest_ms", "2 % changed: slowest", max, "ms");
    figures.note("changed_wal_bytes", "2 % changed: write-ahead log, median", log, "bytes");
    rows_of("changed", "2 % changed", &measured, figures);

    let begun = Instant::now();
    let recorder = Recorder::open(&ledger.store, &workload::source()).await?;
    figures.note("beliefs_ms", "reading beliefs back", millis(begun.elapsed()), "ms");
    drop(recorder);
    Ok(())
}

async fn unchanged(
    ledger: &Ledger,
    fleet: &mut Fleet,
    asked: &Asked,
    figures: &mut Figures,
    target: f64,
) -> Outcome {
    let measured = series(ledger, fleet, asked, |_, _| ()).await?;
    let Measured { took: (median, max), log: (log, most), .. } = measured;
    figures.below("unchanged_ms", "unchanged: median", median, "ms", target);
    figures.note("unchanged_slowest_ms", "unchanged: slowest", max, "ms");
    figures.below(
        "unchanged_wal_bytes",
        "unchanged: write-ahead log, median",
        log,
        "bytes",
        2_000.0,
    );
    figures.note("unchanged_wal_most_bytes", "unchanged: write-ahead log, most", most, "bytes");
    rows_of("unchanged", "unchanged", &measured, figures);
    Ok(())
}

/// The first change to a page after a checkpoint writes the page whole.
async fn after_checkpoints(
    ledger: &Ledger,
    fleet: &mut Fleet,
    asked: &Asked,
    figures: &mut Figures,
) -> Outcome {
    let store = ledger.another_store().await?;
    let mut recorder = Recorder::open(&store, &workload::source()).await?;
    let mut logs = Vec::new();
    for _ in 0..5 {
        ledger.run("checkpoint").await?;
        let snapshot = fleet.next(asked);
        let before = ledger.log_position().await?;
        recorder.record(&snapshot).await?;
        logs.push(ledger.log_position().await? - before);
    }
    drop(recorder);
    store.pool().close().await;
    let (_, max) = median_and_max(logs);
    figures.below(
        "unchanged_after_checkpoint_wal_bytes",
        "unchanged, after a checkpoint: write-ahead log, most",
        max,
        "bytes",
        16_000.0,
    );
    Ok(())
}

/// A number of snapshots of one kind: median and largest of each figure, and the rows of one, on average.
struct Measured {
    took: (f64, f64),
    log: (f64, f64),
    rows: BTreeMap<String, Rows>,
}

async fn series(
    ledger: &Ledger,
    fleet: &mut Fleet,
    asked: &Asked,
    change: impl Fn(&mut [Desktop], u32),
) -> Outcome<Measured> {
    tokio::time::sleep(COUNTED_WITHIN).await;
    let before = written(ledger).await?;
    let store = ledger.another_store().await?;
    let mut recorder = Recorder::open(&store, &workload::source()).await?;
    let (mut took, mut log) = (Vec::new(), Vec::new());
    for round in 0..TIMES + WARMING_UP {
        change(&mut fleet.desktops, round);
        let snapshot = fleet.next(asked);
        let before = ledger.log_position().await?;
        let begun = Instant::now();
        recorder.record(&snapshot).await?;
        let elapsed = millis(begun.elapsed());
        if round >= WARMING_UP {
            took.push(elapsed);
            log.push(ledger.log_position().await? - before);
        }
    }
    drop(recorder);
    store.pool().close().await;
    tokio::time::sleep(COUNTED_WITHIN).await;
    let times = f64::from(TIMES + WARMING_UP);
    let rows = written(ledger).await?.into_iter().filter_map(|(table, after)| {
        let before = before.get(&table).copied().unwrap_or_default();
        let rows = [0, 1, 2, 3].map(|at| (after[at] - before[at]) / times);
        rows.iter().any(|count| *count > 0.0).then_some((table, rows))
    });
    let rows = rows.collect();
    Ok(Measured { took: median_and_max(took), log: median_and_max(log), rows })
}

fn rows_of(key: &str, what: &str, measured: &Measured, figures: &mut Figures) {
    let sum = |at: usize| measured.rows.values().map(|rows| rows[at]).sum::<f64>();
    let (inserted, updated, on_page, deleted) = (sum(0), sum(1), sum(2), sum(3));
    let mut note = |name: &str, kind: &str, figure: f64, unit: &str| {
        figures.note(&format!("{key}_{name}"), &format!("{what}: {kind}"), figure, unit);
    };
    note("rows_inserted", "rows inserted, mean", inserted, "");
    note("rows_updated", "rows updated, mean", updated, "");
    note("rows_deleted", "rows deleted, mean", deleted, "");
    note("hot_percent", "updates that stay on their page", 100.0 * on_page / updated, "%");
    let tables = measured.rows.iter().map(|(table, [inserted, updated, on_page, deleted])| {
        let rows =
            json!({"inserted": inserted, "updated": updated, "hot": on_page, "deleted": deleted});
        (table.clone(), rows)
    });
    figures.remember(&format!("{key}_rows_by_table"), tables.collect());
}

/// The rows written into each table so far, its partitions' with it.
async fn written(ledger: &Ledger) -> Outcome<BTreeMap<String, Rows>> {
    let all: Vec<(String, f64, f64, f64, f64)> = sqlx::query_as(
        "select c.relname::text, sum(n_tup_ins)::float8, sum(n_tup_upd)::float8, sum(n_tup_hot_upd)::float8,
                sum(n_tup_del)::float8
           from pg_stat_user_tables t
           join pg_class c on c.oid = coalesce(pg_partition_root(t.relid), t.relid)
          where t.schemaname = 'deskledger_data' and t.relname <> 'migration'
          group by 1",
    )
    .fetch_all(ledger.store.pool())
    .await?;
    Ok(all.into_iter().map(|(table, a, b, c, d)| (table, [a, b, c, d])).collect())
}

/// Another fiftieth each time.
fn change_a_fiftieth(desktops: &mut [Desktop], round: u32) {
    for desktop in desktops.iter_mut().skip(round as usize % 50).step_by(50) {
        let is_connected = desktop.status.as_deref() == Some("CONNECTED");
        let next = if is_connected { "DISCONNECTED" } else { "CONNECTED" };
        desktop.status = Some(Arc::from(next));
    }
}

impl Fleet {
    /// The next snapshot, as a visit would read it: equal texts, not the same ones.
    fn next(&mut self, asked: &Asked) -> deskledger::domain::Snapshot {
        self.at += workload::interval(asked);
        let text = |text: &Option<Arc<str>>| text.as_deref().map(Arc::from);
        let copy = |desktop: &Desktop| Desktop {
            id: Arc::from(&*desktop.id),
            name: text(&desktop.name),
            status: text(&desktop.status),
            users: deskledger::domain::AttachUsers::new(desktop.users.entries().to_vec()),
        };
        let desktops = self.desktops.iter().map(copy).collect();
        workload::of(desktops, self.groups.clone(), self.at, workload::interval(asked))
    }
}
