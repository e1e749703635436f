//! The program over HTTP, against a simulated API: `collect --once`, and a recorder that keeps running.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{ServerConfig, Simulator, Step};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::AsyncReadExt as _;

use super::figures::{Figures, median_and_max, millis};
use super::process::{self, Run, run};
use super::server::{Ledger, Server};
use super::{Asked, Outcome, workload};

pub const PROJECT: &str = "0123456789abcdef0123456789abcdef";
pub const TOKEN: &str = "bench";
const TIMES: usize = 7;

/// The name of this part's figures.
pub fn part(asked: &Asked) -> String {
    format!("collect-{}", asked.desktops)
}

/// An API whose fleet goes on by five minutes with each visit, from eight in the morning of a working day.
pub async fn simulator(asked: &Asked) -> Outcome<Simulator> {
    let mut config = ServerConfig::new(workload::config(asked, 1), PROJECT);
    config.token = Some(TOKEN.into());
    config.max_offset = asked.desktops;
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    Ok(Simulator::start(config).await?)
}

pub async fn measure(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    figures.part(&part(asked), "`collect --once` over HTTP")?;
    once(server, asked, figures).await?;
    figures
        .part(&part(asked), "A recorder that runs: a visit, from its first request to its end")?;
    running(server, asked, figures).await
}

/// A configuration, in a file.
fn configuration(
    server: &Server,
    simulator: &Simulator,
    asked: &Asked,
    interval: &str,
) -> Outcome<PathBuf> {
    let file = server.folder().join("collect.toml");
    let text = format!(
        "[collect]\ninterval = \"{interval}\"\n[spool]\ndir = \"{}\"\n[[source]]\nname = \"bench\"\n\
         project_id = \"{PROJECT}\"\nendpoint = \"{}\"\nallow_http = true\nmax_offset = {}\nrequests_per_minute = 6000\n\
         auth = {{ token = \"{TOKEN}\" }}\n",
        server.folder().join("recorder-spool").display(),
        simulator.endpoint(),
        asked.desktops
    );
    std::fs::write(&file, text)?;
    Ok(file)
}

async fn once(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let ledger = server.ledger("collecting").await?;
    let simulator = simulator(asked).await?;
    let file = configuration(server, &simulator, asked, "5m")?;
    let words = ["collect".as_ref(), "--once".as_ref(), "--config".as_ref(), file.as_os_str()];
    let mut runs: Vec<Run> = Vec::new();
    for _ in 0..=TIMES {
        runs.push(run(&words, &ledger.url).await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    figures.note("once_first_ms", "the first of all", millis(runs[0].took), "ms");
    let (median, max) = median_and_max(runs[1..].iter().map(|run| millis(run.took)).collect());
    let target = if asked.desktops <= 10_000 { 500.0 } else { 5_000.0 };
    figures.below("once_ms", "wall time, median", median, "ms", target);
    figures.note("once_slowest_ms", "wall time, slowest", max, "ms");
    let (median, _) = median_and_max(runs[1..].iter().map(|run| millis(run.processor)).collect());
    figures.note("once_cpu_ms", "the process's own time, median", median, "ms");
    let (_, max) = median_and_max(runs.iter().map(|run| run.memory).collect());
    memory("once_memory", max, asked, figures);
    changes(&ledger, figures).await?;
    let listed = ledger.figure("select sum(desktops_recorded) from deskledger.snapshots").await?;
    // A few join on the way; nobody is missed.
    assert!(listed >= f64::from(asked.desktops) * runs.len() as f64 * 0.99, "{listed} were read");
    simulator.stop().await?;
    ledger.drop().await
}

fn memory(key: &str, bytes: f64, asked: &Asked, figures: &mut Figures) {
    let target = if asked.desktops <= 10_000 { 64.0 } else { 250.0 };
    figures.below(key, "resident memory, most", bytes / 1e6, "MB", target);
}

async fn changes(ledger: &Ledger, figures: &mut Figures) -> Outcome {
    // The first is all changes.
    let changes = "select avg(changes) from deskledger_data.snapshot where sequence > 1";
    figures.note("changes", "changes a visit, mean", ledger.figure(changes).await?, "");
    Ok(())
}

async fn running(server: &Server, asked: &Asked, figures: &mut Figures) -> Outcome {
    let ledger = server.ledger("running").await?;
    let simulator = simulator(asked).await?;
    // As often as a small machine that does other work can take.
    let seconds = 2 + asked.desktops / 5_000;
    let file = configuration(server, &simulator, asked, &format!("{seconds}s"))?;
    let words = [OsStr::new("collect"), OsStr::new("--config"), file.as_os_str()];
    let mut child = process::program(&words, &ledger.url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let id = child.id().ok_or("it has ended at once")?;
    let mut stderr = child.stderr.take().ok_or("its standard error is ours")?;
    let said = tokio::spawn(async move {
        let mut said = String::new();
        stderr.read_to_string(&mut said).await.map(|_| said)
    });
    let recorded = "select count(*) from deskledger_data.snapshot";
    let patience = Duration::from_secs(u64::from(seconds) * 4 * (TIMES as u64 + 1));
    let begun = std::time::Instant::now();
    // What starting costs is in the first visit's.
    let mut used_by_first = None;
    while ledger.figure(recorded).await? < TIMES as f64 + 1.0 && begun.elapsed() < patience {
        tokio::time::sleep(Duration::from_millis(100)).await;
        if used_by_first.is_none() && ledger.figure(recorded).await? >= 1.0 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            used_by_first = process::processor(&id.to_string());
        }
    }
    let (bytes, used) = (process::peak(&id.to_string()), process::processor(&id.to_string()));
    kill(Pid::from_raw(id.cast_signed()), Signal::SIGINT)?;
    let exit = child.wait().await?;
    let said = said.await??;
    if !exit.success() {
        return Err(format!("the recorder failed: {said}").into());
    }
    let later = visits(&ledger, &said).await?;
    figures.note(
        "running_visits",
        "visits recorded at once, without the first",
        later.len() as f64,
        "",
    );
    let (median, max) = median_and_max(later);
    figures.note("running_ms", "until its snapshot is recorded, median", median, "ms");
    figures.note("running_slowest_ms", "until its snapshot is recorded, slowest", max, "ms");
    if let (Some(first), Some(used)) = (used_by_first, used) {
        let all = ledger.figure(recorded).await? - 1.0;
        let mean = millis(used.saturating_sub(first)) / all;
        figures.note("running_cpu_ms", "the process's own time, mean", mean, "ms");
    }
    memory("running_memory", bytes, asked, figures);
    changes(&ledger, figures).await?;
    simulator.stop().await?;
    ledger.drop().await
}

/// Milliseconds from each visit's first request until the recorder said that its snapshot is recorded; without the
/// first, and without those that went to the spool, since the ledger took too long for them.
async fn visits(ledger: &Ledger, said: &str) -> Outcome<Vec<f64>> {
    let begun: Vec<DateTime<Utc>> =
        sqlx::query_scalar("select observed_at from deskledger_data.snapshot order by sequence")
            .fetch_all(ledger.store.pool())
            .await?;
    let lines =
        said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let is_recorded = |line: &serde_json::Value| {
        let text = line["message"].as_str().unwrap_or_default();
        text.contains("desktops (complete)") && text.contains(" changes")
    };
    let ended: Vec<DateTime<Utc>> = lines
        .filter(is_recorded)
        .filter_map(|line| line["timestamp"].as_str()?.parse().ok())
        .collect();
    // One visit after the other: a line speaks of the newest that had begun.
    let visits = ended.iter().filter_map(|ended| {
        let newest = begun.partition_point(|begun| begun <= ended).checked_sub(1)?;
        (newest > 0).then(|| (*ended - begun[newest]).as_seconds_f64() * 1e3)
    });
    let visits: Vec<f64> = visits.collect();
    if visits.is_empty() {
        return Err(format!("no visit after the first was recorded at once:\n{said}").into());
    }
    Ok(visits)
}
