//! What the figures depend on: the machine, what else it does, the server and its settings, and what is measured.

use std::process::Command;

use chrono::SecondsFormat;
use deskledger::clock::Clock;
use serde_json::{Map, Value, json};

use super::Outcome;
use super::server::Server;

/// The server's settings that figures depend on.
const SETTINGS: [&str; 19] = [
    "server_version",
    "shared_buffers",
    "work_mem",
    "maintenance_work_mem",
    "effective_cache_size",
    "max_wal_size",
    "checkpoint_timeout",
    "wal_level",
    "wal_compression",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "autovacuum",
    "jit",
    "max_parallel_workers_per_gather",
    "max_parallel_workers",
    "random_page_cost",
    "default_toast_compression",
    "block_size",
];

/// What holds from the start.
pub async fn at_start(server: &Server) -> Outcome<Value> {
    let mut settings = Map::new();
    for name in SETTINGS {
        settings.insert(name.to_owned(), json!(server.setting(name).await?));
    }
    Ok(json!({
        "date": Clock::System.now().to_rfc3339_opts(SecondsFormat::Secs, true),
        "commit": commit(),
        "profile": if cfg!(debug_assertions) { "debug" } else { "release" },
        "arguments": std::env::args().skip(1).filter(|arg| arg != "--bench").collect::<Vec<_>>(),
        "cores": std::thread::available_parallelism()?.get(),
        "processor": line_of("/proc/cpuinfo", "model name"),
        "memory": line_of("/proc/meminfo", "MemTotal"),
        "system": std::fs::read_to_string("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()).ok(),
        "load_at_start": load(),
        "postgresql": settings,
    }))
}

/// What is known at the end alone.
pub fn at_end(facts: &mut Value) {
    facts["load_at_end"] = json!(load());
    facts["ended"] = json!(Clock::System.now().to_rfc3339_opts(SecondsFormat::Secs, true));
}

/// The mean of the last minute; the figures' own work is in it.
fn load() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

fn line_of(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit that is measured, with a `+` where the tree has other things besides.
fn commit() -> Option<String> {
    let git = |words: &[&str]| {
        let told = Command::new("git")
            .args(words)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .ok()?;
        told.status.success().then(|| String::from_utf8_lossy(&told.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
    Some(if is_clean { commit } else { commit + "+" })
}
