//! `deskledger spool`, the program itself: what it says of a spool that a recorder has left, or is at work in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{DateTime, TimeDelta};
use deskledger::collector::spool::Spool;
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::domain::{Failure, Snapshot};
use serde_json::Value;
use tempfile::TempDir;

fn snapshot(number: i32) -> Snapshot {
    let at = DateTime::from_timestamp(1_790_841_600, 0).unwrap() + TimeDelta::minutes(5) * number;
    Snapshot {
        scheduled_at: Some(at),
        observed_at: at,
        finished_at: at,
        max_gap: TimeDelta::minutes(15),
        total: None,
        desktops: None,
        groups: Some(Vec::new()),
        failure: Some(Failure { code: Some("timeout".to_owned()), message: None }),
    }
}

/// A folder to run in; no database is anywhere.
fn home() -> (TempDir, SpoolConfig) {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("spool/private");
    let (max_bytes, min_free, when_full) = (1 << 20, 0, WhenFull::Stop);
    (home, SpoolConfig { dir, max_bytes, min_free, when_full })
}

fn run(home: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deskledger"));
    command.arg("spool").args(arguments).current_dir(home).env_clear();
    command.env("HOME", home).env("DESKLEDGER_SPOOL_DIR", home.join("spool")).output().unwrap()
}

fn said(output: &Output, code: i32) -> String {
    let (out, err) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{}{err}", String::from_utf8_lossy(out));
    String::from_utf8(out.clone()).unwrap()
}

/// Every file and what is in it.
fn everything(folder: &Path) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(everything(&path));
            found.push((path, None));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.push((path, Some(bytes)));
        }
    }
    found.sort();
    found
}

#[test]
fn where_nothing_waits_it_says_so_and_makes_nothing() {
    let (home, config) = home();
    let out = said(&run(home.path(), &["--check"]), 0);
    assert_eq!(out, format!("nothing waits in {}\n", config.dir.display()));
    assert!(!home.path().join("spool").exists());
}

#[test]
fn what_waits_is_shown_per_slot_and_source_while_a_recorder_is_at_work() {
    let (home, config) = home();
    let (spool, other) = (Spool::open(&config).unwrap(), Spool::open(&config).unwrap());
    let mut queue = spool.queue("eu/prod", None).unwrap();
    for number in 0..3 {
        queue.append(&snapshot(number)).unwrap();
    }
    let mut left = other.queue("left", None).unwrap();
    left.append(&snapshot(7)).unwrap();
    drop((left, other));
    let before = everything(home.path());
    let out = said(&run(home.path(), &[]), 0);
    for text in ["eu/prod", "in use", "left behind", "2026-10-01 08:10:00Z", "2026-10-01 08:35:00Z"]
    {
        assert!(out.contains(text), "{text}: {out}");
    }
    let failed = run(home.path(), &["--check"]);
    said(&failed, 1);
    assert!(String::from_utf8_lossy(&failed.stderr).contains("4 snapshots wait in the spool"));
    let out: Value = serde_json::from_str(&said(&run(home.path(), &["--json"]), 0)).unwrap();
    let source = &out["slots"][0]["sources"][0];
    assert_eq!(source["source"], "eu/prod");
    assert_eq!((&source["waiting"], &source["dropped"]), (&3.into(), &0.into()));
    assert_eq!(source["oldest"], "2026-10-01T08:00:00Z");
    assert_eq!(
        (&out["slots"][0]["in_use"], &out["slots"][1]["in_use"]),
        (&true.into(), &false.into())
    );
    assert_eq!(everything(home.path()), before);
    // The recorder did not notice.
    queue.append(&snapshot(3)).unwrap();
}

#[test]
fn what_does_not_check_is_shown_and_is_no_success() {
    let (home, config) = home();
    let spool = Spool::open(&config).unwrap();
    let mut queue = spool.queue("prod", None).unwrap();
    queue.append(&snapshot(0)).unwrap();
    drop((queue, spool));
    let segment = config.dir.join("1/prod/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[5] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let out = said(&run(home.path(), &["--check"]), 1);
    assert!(out.contains("does not check: 0000000001.seg"), "{out}");
    drop(Spool::open(&config).unwrap().queue("prod", None).unwrap());
    let out = said(&run(home.path(), &["--check"]), 1);
    assert!(out.contains("set aside: 0000000001.corrupt"), "{out}");
}
