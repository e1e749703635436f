//! One snapshot, from memory to commit.

use std::sync::Arc;
use std::time::Instant;

use chrono::TimeDelta;
use deskledger::domain::Desktop;
use deskledger::simulator::World;
use deskledger::store::Recorder;

use super::figures::{Figures, median_and_max, millis};
use super::server::Server;
use super::{Args, Outcome, workload};

/// Snapshots of each kind.
const TIMES: u32 = 60;

pub async fn measure(server: &Server, args: &Args, figures: &mut Figures) -> Outcome {
    figures.part("Recording one snapshot, from memory to commit");
    let ledger = server.ledger("recording").await?;
    let interval = workload::interval(args);
    let mut at = workload::start() + TimeDelta::hours(3);
    let mut world = World::new(&workload::config(args, 1));
    world.seek(at);
    let mut recorder = Recorder::open(&ledger.store, &workload::source()).await?;
    let first = workload::snapshot(&world, at, interval);
    let begun = Instant::now();
    recorder.record(&first).await?;
    figures.note("the first of all", millis(begun.elapsed()), "ms");

    let mut desktops = world.desktops().to_vec();
    let mut recorded: Vec<(f64, f64)> = Vec::new();
    for round in 0..TIMES + 5 {
        at += interval;
        // As a visit would read it: equal texts, not the same ones.
        let snapshot = workload::with_desktops(&world, copies(&desktops), at, interval);
        let before = ledger.log_position().await?;
        let begun = Instant::now();
        recorder.record(&snapshot).await?;
        let took = millis(begun.elapsed());
        // The first few warm up caches and the statements' plans.
        if round >= 5 {
            recorded.push((took, ledger.log_position().await? - before));
        }
    }
    let (median, max) = median_and_max(recorded.iter().map(|row| row.0).collect());
    figures.below("unchanged: median", median, "ms", 10.0);
    figures.note("unchanged: slowest", max, "ms");
    let (median, max) = median_and_max(recorded.iter().map(|row| row.1).collect());
    figures.below("unchanged: write-ahead log, median", median, "bytes", 2_000.0);
    figures.note("unchanged: write-ahead log, most", max, "bytes");

    let mut logs = Vec::new();
    for _ in 0..5 {
        ledger.run("checkpoint").await?;
        at += interval;
        let snapshot = workload::with_desktops(&world, copies(&desktops), at, interval);
        let before = ledger.log_position().await?;
        recorder.record(&snapshot).await?;
        logs.push(ledger.log_position().await? - before);
    }
    let (_, max) = median_and_max(logs);
    figures.below("unchanged, after a checkpoint: write-ahead log, most", max, "bytes", 16_000.0);

    let mut recorded: Vec<(f64, f64)> = Vec::new();
    for round in 0..TIMES + 5 {
        at += interval;
        // Another fiftieth each time.
        for desktop in desktops.iter_mut().skip(round as usize % 50).step_by(50) {
            let is_connected = desktop.status.as_deref() == Some("CONNECTED");
            let next = if is_connected { "DISCONNECTED" } else { "CONNECTED" };
            desktop.status = Some(Arc::from(next));
        }
        let snapshot = workload::with_desktops(&world, copies(&desktops), at, interval);
        let before = ledger.log_position().await?;
        let begun = Instant::now();
        recorder.record(&snapshot).await?;
        let took = millis(begun.elapsed());
        if round >= 5 {
            recorded.push((took, ledger.log_position().await? - before));
        }
    }
    let (median, max) = median_and_max(recorded.iter().map(|row| row.0).collect());
    figures.below("2 % changed: median", median, "ms", 40.0);
    figures.note("2 % changed: slowest", max, "ms");
    let (median, _) = median_and_max(recorded.iter().map(|row| row.1).collect());
    figures.note("2 % changed: write-ahead log, median", median, "bytes");

    let begun = Instant::now();
    Recorder::open(&ledger.store, &workload::source()).await?;
    figures.note("reading beliefs back", millis(begun.elapsed()), "ms");
    ledger.drop().await
}

/// Equal desktops that share nothing with them.
fn copies(desktops: &[Desktop]) -> Vec<Desktop> {
    let text = |text: &Option<Arc<str>>| text.as_deref().map(Arc::from);
    let copy = |desktop: &Desktop| Desktop {
        id: Arc::from(&*desktop.id),
        name: text(&desktop.name),
        status: text(&desktop.status),
        users: deskledger::domain::AttachUsers::new(desktop.users.entries().to_vec()),
    };
    desktops.iter().map(copy).collect()
}
