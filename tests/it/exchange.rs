//! `import` and `export` as their users run them: what goes in is in the views, what comes out goes in again.

use std::collections::BTreeMap;
use std::io::Write as _;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::oracle::generate::histories;
use crate::support::ledger::{ledger, pack, record};
use crate::support::program::{Done, Home};

/// The views, whose rows say everything that people may rely on.
pub const VIEWS: [&str; 9] = [
    "sources",
    "snapshots",
    "desktop_snapshots",
    "group_snapshots",
    "desktop_states",
    "connections",
    "coverage",
    "gaps",
    "erasures",
];

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// All views as text, row by row, without what has a meaning in one ledger alone.
pub async fn views(pool: &PgPool) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for view in VIEWS {
        let sql = format!(
            "select (to_jsonb(v) - 'snapshot_id' - 'digest')::text as line from deskledger.{view} v order by 1"
        );
        let lines = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        all.insert(view, lines);
    }
    all
}

async fn snapshots(pool: &PgPool) -> i64 {
    sqlx::query_scalar("select count(*) from deskledger.snapshots").fetch_one(pool).await.unwrap()
}

/// A line with one desktop, at a minute of an hour.
fn line(minute: u32, status: &str) -> String {
    json!({
        "source": "prod",
        "observed_at": format!("2026-10-05T08:{minute:02}:00Z"),
        "total_count": 1,
        "desktops": [{ "desktop_id": "d-a", "connect_status": status }],
        "statics": [],
    })
    .to_string()
}

fn joined(lines: &[String]) -> Vec<u8> {
    (lines.join("\n") + "\n").into_bytes()
}

/// Fails unless an import was refused as wrong use, with one line that holds all of `words`.
#[track_caller]
fn assert_refused(done: Done, words: &[&str]) {
    let done = done.expect(2);
    assert_eq!(done.errors().len(), 1, "{}", done.err);
    for word in words {
        assert!(done.errors()[0].contains(word), "`{word}` is not in {}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_imported_is_in_every_view() {
    let (imported, _store) = ledger().await;
    let home = Home::new(&imported);
    let file = home.write("history.ndjson", EXAMPLE.as_bytes());
    let done = home.run(&["import", file.to_str().unwrap()]).await.expect(0);
    assert_eq!(done.out, "");
    assert!(done.err.contains("10 snapshots recorded, 0 were recorded already"), "{}", done.err);

    let (recorded, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    assert_eq!(views(&imported.pool).await, views(&recorded.pool).await);
    assert_eq!(snapshots(&imported.pool).await, 10);
}

/// The round trip, on histories that reach the corners of the definitions.
#[test]
fn what_is_exported_and_imported_again_gives_the_same_views() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ((first, first_store), (second, second_store)) =
        runtime.block_on(async { (ledger().await, ledger().await) });
    let (from, to) = (Home::new(&first), Home::new(&second));
    let config =
        Config { cases: 8, source_file: Some(file!()), max_shrink_iters: 60, ..Config::default() };
    let result = TestRunner::new(config).run(&histories(), |history| {
        runtime.block_on(async {
            first_store.forget_everything().await.unwrap();
            second_store.forget_everything().await.unwrap();
            record(&first_store, &history.0, 3, 7).await;
            // A packed ledger says the same.
            if history.0.len().is_multiple_of(2) {
                pack(&first_store).await;
            }
            let exported = from.run(&["export"]).await.expect(0).out;
            to.run_with_input(&["import", "-"], exported.as_bytes()).await.expect(0);
            let (expected, actual) = (views(&first.pool).await, views(&second.pool).await);
            for view in VIEWS {
                prop_assert_eq!(&expected[view], &actual[view], "view {}", view);
            }
            // And once more: the file of the second is that of the first.
            prop_assert_eq!(to.run(&["export"]).await.expect(0).out, exported);
            Ok(())
        })
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_recorder_wrote_goes_out_and_in_with_its_ticks_and_its_place() {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 120, start, 30), "0bec5db9");
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some("a-token".into());
    let simulator = Simulator::start(config).await.unwrap();
    let (first, _store) = ledger().await;
    let from = Home::configured(
        &first,
        &format!(
            "[[source]]\nname = \"prod\"\nregion = \"ap-southeast-3\"\nproject_id = \"0bec5db9\"\n\
             endpoint = \"{}\"\ninterval = \"1s\"\nauth = {{ token = \"a-token\" }}\n",
            simulator.endpoint()
        ),
    );
    let running = from.start(&["collect"]);
    crate::support::program::until("two ticks are recorded", async || {
        let sql = "select count(scheduled_at) from deskledger.snapshots";
        sqlx::query_scalar::<_, i64>(sql).fetch_one(&first.pool).await.unwrap_or(0) >= 2
    })
    .await;
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.end().await.expect(0);

    let (second, _store) = ledger().await;
    let to = Home::new(&second);
    let file = to.path().join("out.ndjson.zst");
    from.run(&["export", "--output", file.to_str().unwrap()]).await.expect(0);
    to.run(&["import", file.to_str().unwrap()]).await.expect(0);
    let (mut expected, mut actual) = (views(&first.pool).await, views(&second.pool).await);
    // Whether the last stretch is a gap by now depends on the second at which it is asked.
    expected.remove("gaps");
    actual.remove("gaps");
    assert_eq!(expected, actual);
    let source = &expected["sources"][0];
    assert!(source.contains("ap-southeast-3") && source.contains("0bec5db9"), "{source}");

    // The place is recorded with the data: another project under this name is refused.
    let elsewhere = json!({
        "source": "prod", "project_id": "another", "observed_at": "2100-01-01T00:00:00Z",
        "total_count": 0, "desktops": [], "statics": [],
    });
    let done = to.run_with_input(&["import", "-"], elsewhere.to_string().as_bytes()).await;
    assert_refused(done, &["line 1", "`prod`", "project_id", "another"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_run_again_skips_what_is_recorded_and_says_so() {
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let file = home.write("history.ndjson", EXAMPLE.as_bytes());
    let path = file.to_str().unwrap();
    home.run(&["import", path]).await.expect(0);
    let before = views(&database.pool).await;
    let done = home.run(&["import", path]).await.expect(0);
    assert!(done.err.contains("0 snapshots recorded, 10 were recorded already"), "{}", done.err);
    assert_eq!(views(&database.pool).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_comes_twice_in_one_file_is_skipped_too() {
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let lines =
        [line(0, "CONNECTED"), line(5, "REGISTERED"), line(5, "REGISTERED"), line(0, "CONNECTED")];
    for expected in ["2 snapshots recorded, 2 were", "0 snapshots recorded, 4 were"] {
        let done = home.run_with_input(&["import", "-"], &joined(&lines)).await.expect(0);
        assert!(done.err.contains(expected), "{}", done.err);
    }
    assert_eq!(snapshots(&database.pool).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_line_stops_the_import_there_and_it_goes_on_from_there() {
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let mut lines: Vec<String> = (0..6).map(|at| line(5 * at, "CONNECTED")).collect();
    let whole = lines.clone();
    for (bad, words) in [
        ("{\"source\": \"prod\", \"observed_at\": ".to_owned(), vec!["line 4", "JSON"]),
        (
            lines[3].replace("2026-10-05T08:15:00Z", "yesterday"),
            vec!["line 4", "observed_at", "yesterday"],
        ),
        (lines[3].replace("\"source\":\"prod\"", "\"source\":null"), vec!["line 4", "source"]),
        (lines[3].replace("\"desktops\":[", "\"desktops\":[7,"), vec!["line 4", "desktops[0]"]),
        (lines[3].replacen('{', "{\"max_gap\":\"soon\",", 1), vec!["line 4", "max_gap"]),
        // A slip in a key would say that desktops were absent which were only not listed.
        (
            lines[3].replacen('{', "{\"total_cnt\":2,", 1),
            vec!["line 4", "`total_cnt`", "did you mean `total_count`?"],
        ),
        (
            lines[3].replacen('{', "{\"finished_at\":\"2026-10-05T08:14:00Z\",", 1),
            vec!["line 4", "finished_at"],
        ),
    ] {
        lines[3] = bad;
        let done = home.run_with_input(&["import", "-"], &joined(&lines)).await;
        assert_refused(done, &words);
        assert_eq!(
            snapshots(&database.pool).await,
            3,
            "everything before it is recorded, and nothing after"
        );
    }
    let done = home.run_with_input(&["import", "-"], &joined(&whole)).await.expect(0);
    assert!(done.err.contains("3 snapshots recorded, 3 were recorded already"), "{}", done.err);
    assert_eq!(snapshots(&database.pool).await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_recorded_otherwise_stops_the_import() {
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let lines: Vec<String> = (0..4).map(|at| line(5 * at, "CONNECTED")).collect();
    home.run_with_input(&["import", "-"], &joined(&lines)).await.expect(0);
    let before = views(&database.pool).await;
    let more = line(20, "CONNECTED");
    for (from, to, what) in [
        ("CONNECTED", "REGISTERED", "desktops"),
        ("\"statics\":[]", "\"statics\":[{\"static_name\":\"pool\"}]", "statics"),
        ("\"total_count\":1", "\"total_count\":2", "total_count"),
        ("{", "{\"max_gap\":\"16m\",", "max_gap"),
        ("{", "{\"finished_at\":\"2026-10-05T08:10:01Z\",", "finished_at"),
        ("{", "{\"error\":{\"code\":\"WKS.1\"},", "error"),
    ] {
        let mut changed = lines.clone();
        changed[2] = changed[2].replacen(from, to, 1);
        changed.push(more.clone());
        let done = home.run_with_input(&["import", "-"], &joined(&changed)).await;
        assert_refused(
            done,
            &["line 3", "2026-10-05 08:10:00", "recorded already, and differs", what],
        );
        assert_eq!(views(&database.pool).await, before);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_between_recorded_ones_stops_the_import() {
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let lines = [line(0, "CONNECTED"), line(10, "CONNECTED")];
    home.run_with_input(&["import", "-"], &joined(&lines)).await.expect(0);
    let before = views(&database.pool).await;
    let late = [line(0, "CONNECTED"), line(5, "CONNECTED"), line(10, "CONNECTED")];
    let done = home.run_with_input(&["import", "-"], &joined(&late)).await;
    assert_refused(
        done,
        &["line 2", "2026-10-05 08:05:00", "older than the newest recorded, and not recorded"],
    );
    assert_eq!(views(&database.pool).await, before);
    // The same where the newer one has come in this file.
    let disorder = [line(20, "CONNECTED"), line(15, "CONNECTED")];
    let done = home.run_with_input(&["import", "-"], &joined(&disorder)).await;
    assert_refused(
        done,
        &["line 2", "2026-10-05 08:15:00", "older than the newest recorded, and not recorded"],
    );
    assert_eq!(snapshots(&database.pool).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_files_are_read_whatever_they_are_called() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(EXAMPLE.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::stream::encode_all(EXAMPLE.as_bytes(), 3).unwrap();
    for bytes in [&gzip, &zstd] {
        let (database, _store) = ledger().await;
        let home = Home::new(&database);
        let file = home.write("history", bytes);
        home.run(&["import", file.to_str().unwrap()]).await.expect(0);
        let done = home.run_with_input(&["import", "-"], bytes).await.expect(0);
        assert!(done.err.contains("10 were recorded already"), "{}", done.err);

        // What breaks off is recorded as far as it goes, and the file is to blame.
        let broken = home.write("broken", &bytes[..bytes.len() - 9]);
        let done = home.run(&["import", broken.to_str().unwrap()]).await.expect(2);
        assert!(done.errors()[0].contains("broken"), "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_that_is_written_is_compressed_by_its_name() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let home = Home::new(&database);
    let plain = home.run(&["export"]).await.expect(0).out;
    assert_eq!(plain.lines().count(), 10);
    for (name, magic) in
        [("a.gz", &[0x1f, 0x8b][..]), ("a.zst", &[0x28, 0xb5, 0x2f, 0xfd]), ("a.ndjson", b"{")]
    {
        home.run(&["export", "-o", name]).await.expect(0);
        let bytes = std::fs::read(home.path().join(name)).unwrap();
        assert!(bytes.starts_with(magic), "{name}");
        let done = home.run(&["import", name]).await.expect(0);
        assert!(done.err.contains("10 were recorded already"), "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_without_a_max_gap_get_the_one_that_is_given() {
    for (arguments, gap, runs) in [
        (&["import", "-"][..], "00:15:00", 1),
        (&["import", "-", "--max-gap", "4m59s"], "00:04:59", 2),
        (&["import", "-", "--max-gap", "5m"], "00:05:00", 1),
    ] {
        let (database, _store) = ledger().await;
        let home = Home::new(&database);
        let lines = [line(0, "CONNECTED"), line(5, "CONNECTED")];
        home.run_with_input(arguments, &joined(&lines)).await.expect(0);
        let gaps: Vec<String> =
            sqlx::query_scalar("select distinct max_gap::text from deskledger.snapshots")
                .fetch_all(&database.pool)
                .await
                .unwrap();
        assert_eq!(gaps, [gap]);
        assert_eq!(views(&database.pool).await["coverage"].len(), runs);
    }
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    for wrong in ["0s", "soon", "-5m"] {
        home.run(&["import", "-", "--max-gap", wrong]).await.expect(2);
    }
    home.run(&["import", "nowhere.ndjson"]).await.expect(2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_takes_what_lies_between_its_instants() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let home = Home::new(&database);
    let exported = async |arguments: &[&str]| -> Vec<String> {
        let done = home.run(&[&["export"], arguments].concat()).await.expect(0);
        let instant = |line: &str| {
            let line: Value = serde_json::from_str(line).unwrap();
            line["observed_at"].as_str().unwrap()[11..16].to_owned()
        };
        done.out.lines().map(instant).collect()
    };
    let range = ["--from", "2026-10-05T08:05:00Z", "--to", "2026-10-05T08:15:00Z"];
    assert_eq!(exported(&range).await, ["08:05", "08:10"]);
    let local = ["--from", "2026-10-05 11:15", "--tz", "Europe/Berlin"];
    assert_eq!(exported(&local).await, ["09:15", "09:20"]);
    assert_eq!(exported(&["--to", "2026-10-05"]).await, [""; 0]);
    assert_eq!(exported(&["--source", "prod", "--to", "2026-10-06"]).await.len(), 10);

    // What is exported in two parts is imported in two parts.
    let (other, _store) = ledger().await;
    let to = Home::new(&other);
    for range in [["--to", "2026-10-05T08:25:00Z"], ["--from", "2026-10-05T08:25:00Z"]] {
        let part = home.run(&[&["export"][..], &range].concat()).await.expect(0).out;
        to.run_with_input(&["import", "-"], part.as_bytes()).await.expect(0);
    }
    assert_eq!(views(&other.pool).await, views(&database.pool).await);

    for wrong in [["--from", "tomorrow"], ["--source", "prd"], ["--tz", "Europe/Berln"]] {
        let arguments = [&["export", "--to", "2026-10-05"][..], &wrong].concat();
        let done = home.run(&arguments).await.expect(2);
        assert!(done.err.contains(wrong[1]), "{}", done.err);
    }
}
