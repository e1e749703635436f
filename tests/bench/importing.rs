//! `import` by the program itself.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::process::Stdio;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deskledger::exchange::write_line;
use deskledger::simulator::World;

use super::figures::Figures;
use super::server::Server;
use super::{Args, Outcome, workload};

/// What a run of the program took.
pub struct Run {
    pub took: Duration,
    /// The most that was resident, in bytes; read a few hundred times a second.
    pub memory: f64,
}

/// The most that was resident of a process so far, in bytes; 0: it is gone.
pub fn peak(process: &str) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok());
    kilobytes.unwrap_or(0.0) * 1024.0
}

/// From here on, the most that is resident of this process counts from what is now. Where the system does not let
/// us, it counts from the beginning.
pub fn forget_peak() {
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Runs the program, and looks on.
pub async fn run(words: &[&OsStr], url: &str) -> Outcome<Run> {
    let begun = Instant::now();
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_deskledger"))
        .args(words)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    let process = child.id().map(|id| id.to_string()).unwrap_or_default();
    let mut memory: f64 = 0.0;
    let exit = loop {
        let waited = tokio::time::timeout(Duration::from_millis(3), child.wait()).await;
        if let Ok(exit) = waited {
            break exit?;
        }
        memory = memory.max(peak(&process));
    };
    let took = begun.elapsed();
    if !exit.success() {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await?;
        }
        return Err(format!("the program failed: {said}").into());
    }
    Ok(Run { took, memory })
}

pub async fn measure(server: &Server, args: &Args, figures: &mut Figures) -> Outcome {
    figures.part(&format!("`import` of {} snapshots, uncompressed", args.import));
    let interval = workload::interval(args);
    let path = server.folder().join("history.ndjson");
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
    // Around the middle of a working day of the fleet's: eight hours east.
    let middle = workload::start() + TimeDelta::days(1) + TimeDelta::hours(5);
    let mut at = middle - interval * i32::try_from(args.import / 2)?;
    let mut world = World::new(&workload::config(args, 2));
    world.seek(at);
    let mut changes = 0;
    let mut observations = 0;
    for _ in 0..args.import {
        at += interval;
        changes += world.advance_to(at);
        observations += world.desktops().len();
        write_line(&mut file, "bench", None, &workload::snapshot(&world, at, interval))?;
    }
    file.flush()?;
    drop(file);
    let bytes = std::fs::metadata(&path)?.len() as f64;
    figures.note("the file", bytes / 1e6, "MB");
    let hours = f64::from(args.import * args.interval) / 3600.0;
    let rate = changes as f64 / f64::from(args.desktops) * 24.0 / hours;
    figures.note("changes per desktop, as if all day were like that", rate, "a day");

    let ledger = server.ledger("importing").await?;
    let imported = run(&["import".as_ref(), path.as_os_str()], &ledger.url).await?;
    let seconds = imported.took.as_secs_f64();
    figures.above("observations a second", observations as f64 / seconds, "", 800_000.0);
    figures.note("bytes read a second", bytes / 1e6 / seconds, "MB");
    figures.note("resident memory, most", imported.memory / 1e6, "MB");
    let recorded = ledger.figure("select count(*) from deskledger.snapshots").await?;
    assert_eq!(recorded, f64::from(args.import), "every line is recorded");
    let again = run(&["import".as_ref(), path.as_os_str()], &ledger.url).await?;
    let rate = observations as f64 / again.took.as_secs_f64();
    figures.note("again: observations compared a second", rate, "");
    std::fs::remove_file(&path)?;
    ledger.drop().await
}
