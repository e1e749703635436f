//! Two recorders as processes, on one ledger.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::collector::spool::Spool;
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use serde_json::Value;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};

use crate::support::ledger::{ledger, lines, record};
use crate::support::postgres::database;
use crate::support::program::{Home, until};

const TOKEN: &str = "a-token";

pub async fn simulator() -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 40, start, 30), "project");
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some(TOKEN.into());
    Simulator::start(config).await.unwrap()
}

pub fn source(simulator: &Simulator, interval: &str) -> String {
    format!(
        "[[source]]\nname = \"prod\"\nproject_id = \"project\"\nendpoint = \"{}\"\ninterval = \"{interval}\"\n\
         auth = {{ token = \"{TOKEN}\" }}\n",
        simulator.endpoint()
    )
}

pub async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap_or(0)
}

pub const SNAPSHOTS: &str = "select count(*) from deskledger.snapshots";

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_takes_over_at_once_after_a_clean_stop_and_soon_after_a_crash() {
    let simulator = simulator().await;
    let database = database().await;
    let configuration = source(&simulator, "3s");
    let (one, other) =
        (Home::configured(&database, &configuration), Home::configured(&database, &configuration));
    let first = one.start(&["collect"]);
    until("the first records", async || count(&database.pool, SNAPSHOTS).await >= 1).await;
    let second = other.start(&["collect"]);
    second.says("standing by").await;
    first.signal(Signal::SIGTERM);
    let done = first.end().await.expect(0);
    let stopped = Instant::now();
    let last = done.err.lines().last().unwrap();
    assert!(last.contains("\"stopped\""), "{last}");
    assert_eq!(done.err.matches("recording source `prod`").count(), 1, "{}", done.err);
    second.says("leading now").await;
    // It looks once a second.
    assert!(stopped.elapsed() < Duration::from_secs(10), "{:?}", stopped.elapsed());
    let leader = "select count(*) from deskledger.sources where leader is not null";
    until("the second leads", async || count(&database.pool, leader).await == 1).await;

    let third = one.start(&["collect"]);
    third.says("standing by").await;
    let recorded = count(&database.pool, SNAPSHOTS).await;
    second.signal(Signal::SIGKILL);
    second.end().await;
    let killed = Instant::now();
    until("the third records", async || count(&database.pool, SNAPSHOTS).await > recorded + 1)
        .await;
    assert!(killed.elapsed() < Duration::from_secs(20), "{:?}", killed.elapsed());
    // A single visit beside it: nothing to do.
    let done = other.run(&["collect", "--once"]).await.expect(0);
    assert!(done.err.contains("standing by"), "{}", done.err);
    // And nobody else writes history now.
    let line =
        r#"{"source":"prod","observed_at":"2020-01-01T00:00:00Z","desktops":[],"statics":[]}"#;
    let done = other.run_with_input(&["import", "-"], line.as_bytes()).await.expect(2);
    assert!(done.err.contains("recorded just now by"), "{}", done.err);
    third.signal(Signal::SIGTERM);
    let done = third.end().await.expect(0);
    // It said that it records when it did, and not before.
    let at = |words: &str| done.err.find(words).unwrap_or_else(|| panic!("{words}: {}", done.err));
    assert!(at("standing by") < at("recording source `prod`"), "{}", done.err);
    other.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

/// It was started while the database was away: nothing of what was read meanwhile is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_when_collecting_starts_finds_everything_when_it_comes() {
    let simulator = simulator().await;
    let database = database().await;
    let options = database.pool.connect_options();
    let Some(socket) = options.get_socket() else {
        // A server that was named by the environment: it cannot be made to come later.
        return;
    };
    // The server comes when its socket does.
    let folder = tempfile::tempdir().unwrap();
    let name = format!(".s.PGSQL.{}", options.get_port());
    let url = PgConnectOptions::clone(&options).socket(folder.path()).to_url_lossy().to_string();
    let home = Home::configured(&database, &source(&simulator, "1s"));
    let running = home.start(&["collect", "--database-url", &url]);
    running.says("in the spool as number 3").await;
    let waiting = home.run(&["spool", "--database-url", &url]).await.expect(0);
    assert!(waiting.out.contains("prod"), "{}", waiting.out);
    std::os::unix::fs::symlink(socket.join(&name), folder.path().join(&name)).unwrap();
    running.says("caught up with the spool of source `prod`").await;
    until("it goes on", async || count(&database.pool, SNAPSHOTS).await >= 6).await;
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    // As many as were read; each tick once.
    let visits = done.err.lines().filter(|line| line.contains("40 of 40 desktops")).count();
    assert_eq!(
        count(&database.pool, SNAPSHOTS).await,
        i64::try_from(visits).unwrap(),
        "{}",
        done.err
    );
    home.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

/// A pool of connections only says that it has waited.
#[tokio::test(flavor = "multi_thread")]
async fn why_the_database_is_away_is_said_once_in_each_line_and_status_points_to_the_spool() {
    let simulator = simulator().await;
    // Nobody listens there.
    let home = Home::on("postgres://recorder@127.0.0.1:1/ledger".to_owned());
    home.configure(&source(&simulator, "1s"));
    let running = home.start(&["collect"]);
    running.says("in the spool as number 3").await;
    let status = home.run(&["status"]).await.expect(3);
    assert!(
        status.err.contains("hint: ") && status.err.contains("`deskledger spool`"),
        "{}",
        status.err
    );
    assert!(status.err.contains(" snapshots wait on this machine for it"), "{}", status.err);
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    let refused = "Connection refused (os error 111)";
    let spooled: Vec<&str> =
        done.err.lines().filter(|line| line.contains("in the spool as number")).collect();
    for line in &spooled {
        let why = format!("since the database does not answer: {refused}");
        assert!(line.contains(&why), "{line}");
    }
    assert!(spooled.len() >= 3, "{}", done.err);
    for line in done.err.lines() {
        assert!(line.matches(refused).count() <= 1, "{line}");
    }
    assert!(done.err.lines().last().unwrap().contains("\"stopped\""), "{}", done.err);
    simulator.stop().await.unwrap();
}

/// It was killed, and nobody starts it again: one that runs beside it records what it had on disk.
#[tokio::test(flavor = "multi_thread")]
async fn a_running_recorder_records_what_a_dead_one_has_left_in_its_slot() {
    let simulator = simulator().await;
    let database = database().await;
    let home = Home::configured(&database, &source(&simulator, "1s"));
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, SNAPSHOTS).await >= 1).await;
    let shown: Value =
        serde_json::from_str(&home.run(&["spool", "--json"]).await.expect(0).out).unwrap();
    let dir = shown["dir"].as_str().unwrap().into();
    let (max_bytes, min_free, when_full) = (1 << 30, 0, WhenFull::Stop);
    let spool = Spool::open(&SpoolConfig { dir, max_bytes, min_free, when_full }).unwrap();
    // Of the source that is recorded, and of one that is not configured.
    for (source, minutes) in [("prod", 1), ("other", 2)] {
        let mut queue = spool.queue(source, None).unwrap();
        let at = super::start() - TimeDelta::minutes(minutes);
        let line = serde_json::json!({
            "source": source, "observed_at": at.to_rfc3339(), "total_count": 0, "desktops": [], "statics": [],
        });
        queue.append(&lines(&line.to_string())[0].snapshot).unwrap();
    }
    drop(spool);
    running.says("caught up with the spool of source `other`").await;
    running.says("caught up with the spool of source `prod`").await;
    let other = "select count(*) from deskledger.snapshots where source = 'other' and not late";
    assert_eq!(count(&database.pool, other).await, 1);
    let late = "select count(*) from deskledger.snapshots where source = 'prod' and late";
    assert_eq!(count(&database.pool, late).await, 1);
    // It leads its own source still, and nobody the other one.
    let led = "select count(*) from deskledger.sources where leader is not null";
    assert_eq!(count(&database.pool, led).await, 1);
    let before = count(&database.pool, SNAPSHOTS).await;
    until("it goes on", async || count(&database.pool, SNAPSHOTS).await > before + 1).await;
    running.signal(Signal::SIGTERM);
    running.end().await.expect(0);
    assert!(home.run(&["spool", "--check"]).await.expect(0).out.contains("nothing waits in"));
    home.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

/// As after somebody has set the database's clock back.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_lasts_longer_than_any_is_said_to_be_wrong() {
    let (database, store) = ledger().await;
    let home = Home::configured(&database, "");
    let history =
        r#"{"source":"prod","observed_at":"2026-10-05T08:00:00Z","desktops":[],"statics":[]}"#;
    record(&store, history, 1, 1).await;
    let lease = async |until: &str| {
        let sql = format!(
            "update deskledger_data.head set leader = 'elsewhere, process 1 in 0, 0', led_since = now(), leased_until = {until}"
        );
        sqlx::query(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
        let shown = home.run(&["status", "--json"]).await.expect(0).out;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["sources"][0]["wrong"].to_string()
    };
    assert!(!lease("now() + interval '60 seconds'").await.contains("leased until"));
    let wrong = lease("'2099-01-01T00:00:00Z'").await;
    assert!(
        wrong.contains("leased until 2099-01-01T00:00:00Z, longer than any lease lasts"),
        "{wrong}"
    );
    home.run(&["status", "--check"]).await.expect(1);
}
