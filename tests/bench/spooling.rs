//! An outage of a day: snapshots onto the disk, and from there into the ledger once it is back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deskledger::clock::Clock;
use deskledger::collector::spool::{Queue, Spool};
use deskledger::collector::{Keeper, Opening};
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::simulator::World;
use deskledger::store::Recorder;
use nix::time::ClockId;

use super::figures::{Figures, median_and_max, millis};
use super::server::Server;
use super::{Asked, Outcome, process, workload};

const STEP: TimeDelta = TimeDelta::minutes(5);
/// A day, and nine whole segments of 32.
const TIMES: u32 = 288;
const SEGMENT: u32 = 32;
/// How long the ledger may take for all of it.
const PATIENCE: Duration = Duration::from_mins(10);

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let key = format!("spool-{}", asked.desktops);
    let title = format!("Spooling a snapshot of {} desktops, of a day's {TIMES}", asked.desktops);
    figures.part(&key, &title)?;
    let folder = server.folder().join("spool");
    spool(&folder, asked, figures)?;

    figures.part(&key, "Replay from the spool")?;
    let begun = Instant::now();
    let queue = open(&folder)?;
    figures.note(
        "takeover_ms",
        "taking over what another process has left",
        millis(begun.elapsed()),
        "ms",
    );
    let ledger = server.ledger("spooling").await?;
    let store = ledger.store.clone();
    let opening: Opening = Arc::new(move || {
        let store = store.clone();
        Box::pin(async move { Recorder::open(&store, &workload::source()).await })
    });
    let mut keeper = Keeper::new(workload::source().name, queue, opening, None, Clock::System);
    process::forget_peak();
    let (begun, used) = (Instant::now(), processor_time()?);
    assert!(keeper.finish(PATIENCE).await, "the ledger takes all of them");
    let rate = f64::from(TIMES) / begun.elapsed().as_secs_f64();
    figures.above("replay_snapshots_per_second", "snapshots a second", rate, "", 50.0);
    let used = processor_time()? - used;
    figures.note(
        "replay_cpu_ms",
        "a snapshot: this process's own time",
        millis(used) / f64::from(TIMES),
        "ms",
    );
    figures.note(
        "replay_memory",
        "resident memory of this process, most",
        process::peak("self") / 1e6,
        "MB",
    );
    let recorded = ledger.figure("select count(*) from deskledger_data.snapshot").await?;
    assert_eq!(recorded, f64::from(TIMES), "every snapshot is recorded");
    drop(keeper);
    std::fs::remove_dir_all(&folder)?;
    ledger.drop().await
}

fn open(folder: &Path) -> Outcome<Queue> {
    let dir = folder.to_owned();
    let config = SpoolConfig { dir, max_bytes: 2 << 30, min_free: 0, when_full: WhenFull::Stop };
    Ok(Spool::open(&config)?.queue(&workload::source().name, None)?)
}

/// What this process has had of the processors: on a busy machine it tells more than a watch.
fn processor_time() -> Outcome<Duration> {
    Ok(ClockId::CLOCK_PROCESS_CPUTIME_ID.now()?.into())
}

fn spool(folder: &Path, asked: &Asked, figures: &mut Figures) -> Outcome {
    let mut queue = open(folder)?;
    let mut world = World::new(&workload::config(asked, 2));
    let mut at = workload::start();
    let (mut took, mut later) = (Vec::new(), Vec::new());
    let (mut first_took, mut first) = (Vec::new(), Vec::new());
    let mut used = Duration::ZERO;
    for number in 0..TIMES {
        world.advance_to(at);
        let snapshot = workload::snapshot(&world, at, STEP);
        let (begun, used_before) = (Instant::now(), processor_time()?);
        let bytes = queue.append(&snapshot)?.bytes as f64;
        let elapsed = millis(begun.elapsed());
        used += processor_time()? - used_before;
        took.push(elapsed);
        if number % SEGMENT == 0 {
            first_took.push(elapsed);
            first.push(bytes);
        } else {
            later.push(bytes);
        }
        at += STEP;
    }
    let (median, max) = median_and_max(took);
    figures.below("spool_ms", "until it is on disk: median", median, "ms", 30.0);
    figures.note("spool_slowest_ms", "until it is on disk: slowest", max, "ms");
    figures.note(
        "spool_cpu_ms",
        "this process's own time: mean",
        millis(used) / f64::from(TIMES),
        "ms",
    );
    figures.note(
        "spool_first_ms",
        "the first of a segment: median",
        median_and_max(first_took).0,
        "ms",
    );
    let mean = queue.bytes() as f64 / f64::from(TIMES);
    figures.below("spooled_bytes", "on disk, whole segments: mean", mean, "bytes", 60_000.0);
    figures.note(
        "spooled_first_bytes",
        "  the first of a segment: median",
        median_and_max(first).0,
        "bytes",
    );
    let (median, max) = median_and_max(later);
    figures.note("spooled_later_bytes", "  a later one: median", median, "bytes");
    figures.note("spooled_later_most_bytes", "  a later one: most", max, "bytes");
    Ok(())
}
