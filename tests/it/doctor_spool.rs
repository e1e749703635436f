//! What `doctor` says of the spool, in each state that it can be in.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use deskledger::collector::spool::Spool;
use deskledger::config::{SpoolConfig, WhenFull};
use serde_json::Value;

use crate::doctor::Report;
use crate::spool::{large, snapshot};
use crate::support::program::Home;

/// A home whose database is away, and whose ledger's spool is where the second says.
async fn home(limits: &str) -> (Home, PathBuf) {
    let home = Home::on("postgres://recorder@127.0.0.1:1/ledger".to_owned());
    home.configure(&format!("[spool]\ndir = \"spool\"\n{limits}"));
    let shown: Value =
        serde_json::from_str(&home.run(&["spool", "--json"]).await.expect(0).out).unwrap();
    let dir = home.path().join(shown["dir"].as_str().unwrap());
    (home, dir)
}

fn open(dir: &Path, max_bytes: u64, when_full: WhenFull) -> Spool {
    Spool::open(&SpoolConfig { dir: dir.to_owned(), max_bytes, min_free: 0, when_full }).unwrap()
}

async fn expect(home: &Home, state: &str, words: &[&str]) {
    let report = Report::of(&home.run(&["doctor", "--format", "json"]).await);
    report.expect("database", "spool", state, words);
}

#[tokio::test]
async fn what_waits_is_said_and_who_will_record_it() {
    let (home, dir) = home("min_free = \"0B\"\n").await;
    expect(&home, "ok", &["nothing waits in", "may take 2.00 GiB", "free there"]).await;
    let spool = open(&dir, 1 << 30, WhenFull::Stop);
    let mut queue = spool.queue("prod", None).unwrap();
    expect(&home, "ok", &["nothing waits in"]).await;
    queue.append(&snapshot(0)).unwrap();
    queue.append(&snapshot(1)).unwrap();
    expect(&home, "warning", &["2 snapshots wait", "as soon as the database answers"]).await;
    drop((queue, spool));
    expect(&home, "warning", &["2 snapshots wait", "`deskledger collect` records them"]).await;
}

#[tokio::test]
async fn what_does_not_check_is_said_and_what_is_lost() {
    let (home, dir) = home("min_free = \"0B\"\n").await;
    let spoil = |at: fn(usize) -> usize| {
        let segment = dir.join("1/prod/0000000001.seg");
        let mut queue = open(&dir, 1 << 30, WhenFull::Stop).queue("prod", None).unwrap();
        queue.append(&snapshot(0)).unwrap();
        let segment = if segment.exists() { segment } else { dir.join("1/prod/0000000002.seg") };
        let mut bytes = std::fs::read(&segment).unwrap();
        let at = at(bytes.len());
        bytes[at] ^= 1;
        std::fs::write(&segment, bytes).unwrap();
    };
    // The last byte: a record that may have been under way.
    spoil(|length| length - 1);
    drop(open(&dir, 1 << 30, WhenFull::Stop).queue("prod", None).unwrap());
    expect(&home, "warning", &["1 last records", "wrong checksum", "names the files"]).await;
    // A head.
    spoil(|_| 5);
    expect(&home, "failed", &["files of 1 sources", "snapshots are lost"]).await;
    drop(open(&dir, 1 << 30, WhenFull::Stop).queue("prod", None).unwrap());
    expect(&home, "failed", &["files of 1 sources", "snapshots are lost"]).await;
}

#[tokio::test]
async fn a_spool_without_room_is_said_to_have_none_and_what_that_means() {
    let bound = "max_size = \"1MiB\"\nmin_free = \"0B\"\n";
    let (home_stop, dir) = home(bound).await;
    let spool = open(&dir, 1 << 20, WhenFull::Stop);
    let mut queue = spool.queue("prod", None).unwrap();
    let mut numbers = 0..;
    while queue.append(&large(numbers.next().unwrap())).is_ok() {}
    let words =
        ["which is full, nothing is visited until there is room: it takes ", "raise `max_size`"];
    expect(&home_stop, "failed", &words).await;

    let (home_drop, dir) = home(&format!("{bound}when_full = \"drop-oldest\"\n")).await;
    let spool = open(&dir, 1 << 20, WhenFull::DropOldest);
    let mut queue = spool.queue("prod", None).unwrap();
    let mut numbers = 0..;
    while queue.append(&large(numbers.next().unwrap())).unwrap().dropped == 0 {}
    expect(
        &home_drop,
        "warning",
        &[" snapshots wait in ", "of which 32 were dropped when it was full"],
    )
    .await;

    let (home_disk, dir) = home("min_free = \"9000TiB\"\n").await;
    expect(&home_disk, "failed", &["less than is to stay free", "make room"]).await;
    let spool = open(&dir, 1 << 20, WhenFull::Stop);
    spool.queue("prod", None).unwrap().append(&snapshot(0)).unwrap();
    expect(&home_disk, "failed", &["1 snapshots wait", "which is full", "`min_free`"]).await;
}

#[tokio::test]
async fn a_place_where_nothing_can_wait_is_said_to_be_none() {
    let (home, dir) = home("").await;
    let parent = dir.parent().unwrap();
    std::fs::write(parent, b"a file").unwrap();
    expect(&home, "failed", &["Not a directory", "that user have the folder"]).await;
    home.configure("[spool]\nmax_size = \"much\"\n");
    let report = Report::of(&home.run(&["doctor", "--format", "json"]).await);
    report.expect("configuration", "file", "failed", &["`spool.max_size`"]);
}

#[tokio::test]
async fn a_folder_in_which_everybody_may_write_is_a_warning() {
    let (home, dir) = home("min_free = \"0B\"\n").await;
    let look = async || Report::of(&home.run(&["doctor", "--format", "json"]).await);
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let said = "may be written to by everybody";
    // Its folder is not there yet.
    set(home.path(), 0o777);
    look().await.expect("database", "spool folder", "warning", &[said, "`[spool] dir`"]);
    // In a sticky folder, whoever comes first makes it.
    set(home.path(), 0o1777);
    look().await.expect("database", "spool folder", "warning", &[said]);
    drop(open(&dir, 1 << 20, WhenFull::Stop));
    let done = home.run(&["doctor", "--format", "json"]).await;
    assert!(!done.out.contains("spool folder"), "{}", done.out);
    look().await.expect("database", "spool", "ok", &[]);
    set(dir.parent().unwrap(), 0o777);
    look().await.expect("database", "spool folder", "warning", &[said]);
}
