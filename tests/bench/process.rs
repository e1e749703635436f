//! The program, run as people run it, and what it takes.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Outcome;

/// What a run took.
pub struct Run {
    pub took: Duration,
    /// The most that was resident, in bytes; read a few hundred times a second.
    pub memory: f64,
    /// What it has had of the processors.
    pub processor: Duration,
}

/// What a process has had of the processors so far, to a hundredth of a second; `None`: it is gone.
pub fn processor(process: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // After the name, which may hold anything, in brackets: user and system time are the 12th and 13th.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some(Duration::from_millis((ticks()? + ticks()?) * 10))
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

/// Our program, with a ledger.
pub fn program(words: &[&OsStr], url: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_deskledger"));
    command.args(words).env("DATABASE_URL", url);
    command
}

/// Runs our program on a ledger.
pub async fn run(words: &[&OsStr], url: &str) -> Outcome<Run> {
    watch(&mut program(words, url)).await.map(|(run, _)| run)
}

/// Runs a command, looks on, and gives what it said on standard output.
pub async fn watch(command: &mut tokio::process::Command) -> Outcome<(Run, String)> {
    let begun = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let process = child.id().map(|id| id.to_string()).unwrap_or_default();
    // Read on the way: a pipe that is full would hold it up.
    let said = tokio::spawn(read_all(child.stdout.take()));
    let cried = tokio::spawn(read_all(child.stderr.take()));
    let (mut memory, mut used): (f64, _) = (0.0, Duration::ZERO);
    let exit = loop {
        let waited = tokio::time::timeout(Duration::from_millis(3), child.wait()).await;
        if let Ok(exit) = waited {
            break exit?;
        }
        memory = memory.max(peak(&process));
        used = used.max(processor(&process).unwrap_or_default());
    };
    let took = begun.elapsed();
    let (said, cried) = (said.await??, cried.await??);
    if !exit.success() {
        return Err(format!("the program failed: {}", String::from_utf8_lossy(&cried)).into());
    }
    Ok((Run { took, memory, processor: used }, String::from_utf8_lossy(&said).into_owned()))
}

async fn read_all(pipe: Option<impl AsyncRead + Unpin>) -> std::io::Result<Vec<u8>> {
    let mut said = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut said).await?;
    }
    Ok(said)
}
