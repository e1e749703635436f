//! `deskledger spool`, the program itself: what it says of a spool that a recorder has left, or is at work in.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use chrono::{DateTime, TimeDelta};
use deskledger::collector::spool::Spool;
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::domain::{Desktop, Failure, Listing, Snapshot};
use serde_json::Value;
use tempfile::TempDir;

pub fn snapshot(number: i32) -> Snapshot {
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

/// One that takes some room however it is compressed.
pub fn large(number: i32) -> Snapshot {
    let desktop = |nth: u64| {
        let dice = nth
            .wrapping_mul(2_862_933_555_777_941_757)
            .wrapping_add(3_037_000_493)
            .wrapping_mul(u64::from(number.unsigned_abs()) * 2 + 1);
        Desktop {
            id: format!("d-{nth}").into(),
            name: Some(format!("{dice:016x}").into()),
            status: Some("CONNECTED".into()),
            users: Default::default(),
        }
    };
    let desktops = Some(Listing::new((0..3_000).map(desktop).collect()));
    Snapshot { total: Some(3_000), desktops, failure: None, ..snapshot(number) }
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
    assert!(out.starts_with(&format!("nothing waits in {}\n", config.dir.display())), "{out}");
    assert!(out.contains("has a slot in it, which may take 2GiB.\nIts disk has "), "{out}");
    assert!(out.contains(" free, and 256MiB have to stay free."), "{out}");
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

/// Its checksum may be wrong for more reasons than one: somebody should look.
#[test]
fn a_last_record_that_was_cut_off_and_kept_is_shown_and_is_no_success() {
    let (home, config) = home();
    let spool = Spool::open(&config).unwrap();
    let mut queue = spool.queue("prod", None).unwrap();
    queue.append(&snapshot(0)).unwrap();
    drop((queue, spool));
    let segment = config.dir.join("1/prod/0000000001.seg");
    let mut bytes = std::fs::read(&segment).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    drop(Spool::open(&config).unwrap().queue("prod", None).unwrap());
    let failed = run(home.path(), &["--check"]);
    let out = said(&failed, 1);
    assert!(out.contains("cut off, does not check: 0000000001.torn"), "{out}");
    let error = String::from_utf8_lossy(&failed.stderr);
    assert!(error.contains("1 of the spool's files do not check"), "{error}");
}

/// Fills a spool until it is full, or drops for the first time; and configures it so.
fn fill(home: &Path, config: &SpoolConfig, when_full: WhenFull) {
    let word = if when_full == WhenFull::Stop { "stop" } else { "drop-oldest" };
    let text = format!("[spool]\nmax_size = \"1MiB\"\nmin_free = \"0B\"\nwhen_full = \"{word}\"\n");
    std::fs::write(home.join("deskledger.toml"), text).unwrap();
    let spool = Spool::open(&SpoolConfig { when_full, ..config.clone() }).unwrap();
    let mut queue = spool.queue("prod", None).unwrap();
    for number in 0.. {
        match queue.append(&large(number)) {
            Ok(appended) if appended.dropped == 0 => {}
            _ => break,
        }
    }
}

/// A table's words, in whatever lines.
fn words(table: &str) -> String {
    table.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_full_spool_is_shown_with_its_bound_and_is_no_success() {
    let (home, config) = home();
    fill(home.path(), &config, WhenFull::Stop);
    let out = words(&said(&run(home.path(), &[]), 0));
    assert!(out.contains("FULL") && !out.contains("dropped"), "{out}");
    assert!(
        out.contains("Slot 1 takes ") && out.contains("KiB of the 1MiB that each may."),
        "{out}"
    );
    let json: Value = serde_json::from_str(&said(&run(home.path(), &["--json"]), 0)).unwrap();
    assert_eq!(json["max_size_bytes"], 1 << 20);
    let slot = &json["slots"][0];
    let full = slot["full"].as_str().unwrap();
    assert!(full.starts_with("FULL, nothing is visited until there is room: it takes "), "{full}");
    assert!(slot["size_bytes"].as_u64().unwrap() > 900_000, "{slot}");
    let failed = run(home.path(), &["--check"]);
    said(&failed, 1);
    assert!(String::from_utf8_lossy(&failed.stderr).contains(", and the spool is full"));
}

#[test]
fn a_spool_that_has_dropped_snapshots_says_how_many() {
    let (home, config) = home();
    fill(home.path(), &config, WhenFull::DropOldest);
    let out = words(&said(&run(home.path(), &[]), 0));
    assert!(out.contains("32 dropped") && out.contains("32 were dropped,"), "{out}");
    said(&run(home.path(), &["--check"]), 1);
}
