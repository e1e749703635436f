//! Two recorders as processes, on one ledger.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, PgPool};

use crate::support::postgres::database;
use crate::support::program::{Home, until};

const TOKEN: &str = "a-token";

async fn simulator() -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 40, start, 30), "project");
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some(TOKEN.into());
    Simulator::start(config).await.unwrap()
}

fn source(simulator: &Simulator, interval: &str) -> String {
    format!(
        "[[source]]\nname = \"prod\"\nproject_id = \"project\"\nendpoint = \"{}\"\ninterval = \"{interval}\"\n\
         auth = {{ token = \"{TOKEN}\" }}\n",
        simulator.endpoint()
    )
}

async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap_or(0)
}

const SNAPSHOTS: &str = "select count(*) from deskledger.snapshots";

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
    first.end().await.expect(0);
    let stopped = Instant::now();
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
    third.end().await.expect(0);
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
