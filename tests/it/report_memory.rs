//! A long result costs no more memory than a short one, whatever it is written as.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use crate::support::ledger::ledger;
use crate::support::program::PATIENCE;

/// What a history is like: names, lists, instants, lengths of time, figures, and what was not observed.
const MANY: &str = "select 'prod' as source, 'desktop-' || n as desktop_id, array['anna', 'bob'] as users,
       timestamptz '2026-10-01Z' + n * interval '1 minute' as first_seen, n * interval '1 second' as min_duration,
       case when n % 7 > 0 then n / 3.0::float8 end as share
  from generate_series(1, :'rows'::integer) as n";

/// The most memory that the program took while it wrote so many rows, in KiB.
async fn peak(url: &str, folder: &Path, format: &str, rows: &str) -> u64 {
    let output = folder.join("out");
    let mut child = tokio::process::Command::new(env!("CARGO_BIN_EXE_deskledger"))
        .args(["report", "--queries"])
        .arg(folder)
        .args(["many", "--rows", rows, "--format", format, "--output"])
        .arg(&output)
        .env_clear()
        .env("HOME", folder)
        .env("DATABASE_URL", url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut peak = 0;
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            // The kernel keeps the maximum; only what comes after the last look is missed.
            if let Ok(status) = std::fs::read_to_string(&status) {
                let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
                let number = line.and_then(|line| line.split_whitespace().next());
                peak = number.map_or(peak, |number| number.parse().unwrap());
            }
            tokio::select! {
                ended = child.wait() => break ended.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    });
    assert!(ended.await.expect("in time").success(), "{format}");
    let written = std::fs::metadata(&output).unwrap().len();
    assert!(written > rows.parse::<u64>().unwrap() * 10, "{format}: {written} bytes");
    peak
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_result_takes_no_more_memory_than_a_short_one() {
    let (database, _) = ledger().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("many.sql"), MANY).unwrap();
    for format in ["csv", "json", "ndjson", "markdown", "table", "xlsx"] {
        let short = peak(&database.url, folder.path(), format, "6000").await;
        let long = peak(&database.url, folder.path(), format, "30000").await;
        // Kept whole, 24,000 more rows of six cells take 15 MiB and more.
        assert!(long < short + 6 * 1024, "{format}: {short} KiB for 6,000 rows, {long} for 30,000");
    }
}
