//! Receivers that are down, hang or refuse; recorders that are killed; a database that is away; other configurations.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use chrono::{DateTime, Utc};
use nix::sys::signal::Signal;
use rand::RngExt as _;
use rand::distr::Alphanumeric;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio::net::TcpListener;

use super::receiver::{Mood, Receiver};
use super::{OUTAGE, fail, recover, simulator, source, source_at, webhook};
use crate::recorders::set_away;
use crate::support::ledger::ledger;
use crate::support::program::{Home, Running, until};

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

const LISTINGS: &str =
    "select count(*) from deskledger.snapshots where desktops_outcome = 'complete'";

/// What `webhook list` says of the first webhook.
async fn listed(home: &Home) -> Value {
    let done = home.run(&["webhook", "list", "--json"]).await.expect(0);
    let rows: Value = serde_json::from_str(&done.out).unwrap();
    rows[0].clone()
}

fn kinds(rows: &Value) -> Vec<&str> {
    rows.as_array().unwrap().iter().map(|row| row["type"].as_str().unwrap()).collect()
}

async fn stop(running: Running) -> String {
    running.signal(Signal::SIGTERM);
    running.end().await.expect(0).err
}

/// The receiver is down all the while, and the recorder is killed in the midst of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_took_is_told_later_once_each_and_in_order() {
    let (simulator, (database, _)) = (simulator(None).await, ledger().await);
    let held = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = held.local_addr().unwrap();
    drop(held);
    let url = format!("http://{address}/very-secret-path");
    let home = Home::configured(
        &database,
        &(source("prod", &simulator) + &webhook("pager", &url, "timeout = \"2s\"")),
    );
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, LISTINGS).await >= 1).await;
    fail(&simulator);
    until("two wait", async || kinds(&listed(&home).await["pending"]) == OUTAGE[..2]).await;
    running.says("the receiver takes nothing").await;
    running.signal(Signal::SIGKILL);
    running.end().await;

    recover(&simulator);
    let before = count(&database.pool, LISTINGS).await;
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, LISTINGS).await > before).await;
    until("four wait", async || kinds(&listed(&home).await["pending"]) == OUTAGE).await;
    let receiver = Receiver::start_on(TcpListener::bind(address).await.unwrap(), Mood::Takes);
    assert_eq!(receiver.takes(4).await, OUTAGE);
    running.says("told gap.closed").await;
    running.signal(Signal::SIGKILL);
    running.end().await;

    // Told is told, also for the next one.
    let before = count(&database.pool, LISTINGS).await;
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, LISTINGS).await > before + 1).await;
    let said = stop(running).await;
    assert_eq!(receiver.messages().len(), 4, "{said}");
    let ids: BTreeSet<String> =
        receiver.messages().iter().map(|message| message.id().to_owned()).collect();
    assert_eq!(ids.len(), 4);
    let list = listed(&home).await;
    assert!(kinds(&list["pending"]).is_empty() && kinds(&list["open"]).is_empty(), "{list}");
    assert!(!said.contains("very-secret"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_hangs_holds_up_no_visit_and_no_end() {
    let (good, bad) = (simulator(None).await, simulator(None).await);
    let (database, _) = ledger().await;
    let receiver = Receiver::start(Mood::Hangs).await;
    fail(&bad);
    let slow = source("good", &good).replace("1s", "2s");
    let home = Home::configured(
        &database,
        &(slow + &source("bad", &bad) + &webhook("pager", &receiver.at, "timeout = \"60s\"")),
    );
    let running = home.start(&["collect"]);
    receiver.hears(1).await;
    let since = "select count(scheduled_at) from deskledger.snapshots where source = 'good'";
    let before = count(&database.pool, since).await;
    until("it goes on", async || count(&database.pool, since).await >= before + 4).await;
    let missed = "select extract(epoch from max(scheduled_at) - min(scheduled_at))::bigint / 2 + 1
                       - count(distinct scheduled_at) from deskledger.snapshots where source = 'good'";
    assert_eq!(count(&database.pool, missed).await, 0, "a tick was missed");
    assert_eq!(receiver.messages().len(), 1, "the order stays");
    let begun = Instant::now();
    stop(running).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(kinds(&listed(&home).await["pending"])[0], "source.failing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_holds_up_only_what_it_is_about_and_410_all_until_a_reload() {
    let (simulator, (database, _)) = (simulator(None).await, ledger().await);
    let receiver = Receiver::start(Mood::SaysTo("source.failing", 400)).await;
    let prod = source("prod", &simulator);
    let home = Home::new(&database);
    home.configure(&(prod.clone() + &webhook("pager", &receiver.at, "")));
    let running = home.start(&["collect", "--metrics-listen", "127.0.0.1:0"]);
    until("it records", async || count(&database.pool, LISTINGS).await >= 1).await;
    fail(&simulator);
    assert_eq!(receiver.takes(1).await, ["gap.opened"]);
    running.says("the receiver refuses source.failing with HTTP 400").await;

    // Another place is told what goes on, and one that says that it is gone is left alone until the next reload.
    let gone = Receiver::start(Mood::Says(410)).await;
    let more = webhook("other", &gone.at, "events = [\"gap.opened\"]");
    home.configure(&(prod.clone() + &webhook("pager", &receiver.at, "") + &more));
    running.signal(Signal::SIGHUP);
    running.says("other webhooks").await;
    gone.hears(1).await;
    running.says("the receiver says that it is gone").await;
    recover(&simulator);
    assert_eq!(receiver.takes(2).await, ["gap.opened", "gap.closed"]);
    let kept = gone.messages().len();
    assert_eq!(kept, 1, "it wants nothing any more");
    gone.turn(Mood::Takes);
    running.signal(Signal::SIGHUP);
    assert_eq!(gone.takes(2).await, ["gap.opened", "gap.closed"]);
    assert_eq!(gone.messages()[0].text, gone.messages()[1].text);

    // What is refused is refused as ever, and the one that holds goes on.
    home.configure(&(prod + &webhook("pager", "http://192.0.2.1/very-secret-path", "")));
    running.signal(Signal::SIGHUP);
    running.says("the configuration was NOT taken over").await;
    assert!(running.said().contains("an address of plain http; https is needed"));

    let at = running.said().split("are answered at ").nth(1).unwrap().to_owned();
    let at = at.split('"').next().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let page = async || client.get(format!("{at}/metrics")).send().await.unwrap().text().await;
    let has = async |line: &str| page().await.unwrap().lines().any(|one| one == line);
    for line in [
        "deskledger_webhook_deliveries_total{webhook=\"pager\",outcome=\"delivered\"} 2",
        "deskledger_webhook_deliveries_total{webhook=\"pager\",outcome=\"refused\"} 1",
        "deskledger_webhook_deliveries_total{webhook=\"other\",outcome=\"gone\"} 1",
        "deskledger_webhook_deliveries_total{webhook=\"other\",outcome=\"expired\"} 0",
        "deskledger_webhook_pending{webhook=\"pager\"} 2.0",
        "deskledger_webhook_pending{webhook=\"other\"} 0.0",
    ] {
        until(line, async || has(line).await).await;
    }
    let said = stop(running).await;
    assert!(!said.contains("very-secret") && !said.contains("AAECAwQF"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_told_by_what_waits_and_is_no_gap() {
    let (simulator, (database, _)) = (simulator(None).await, ledger().await);
    let receiver = Receiver::start(Mood::Takes).await;
    let home = Home::configured(
        &database,
        &(source("prod", &simulator)
            + &webhook("pager", &receiver.at, "")
            + "[spool]\nmax_size = \"1MiB\"\n"),
    );
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, LISTINGS).await >= 1).await;
    set_away(&database.pool, true).await;
    assert_eq!(receiver.takes(1).await, ["spool.waiting"]);
    set_away(&database.pool, false).await;
    assert_eq!(receiver.takes(2).await, ["spool.waiting", "spool.caught_up"]);
    let said = stop(running).await;
    assert_eq!(receiver.messages().len(), 2, "{said}");
    assert_eq!(receiver.messages()[0].body["data"]["source"], "prod");
}

/// An API whose 500 desktops have long and new names at each visit: nothing of it compresses.
async fn unlike_itself() -> String {
    let listing = async || {
        let desktop = |no: u32| {
            let name: String =
                rand::rng().sample_iter(Alphanumeric).take(500).map(char::from).collect();
            json!({"desktop_id": no.to_string(), "desktop_name": name, "connect_status": "CONNECTED", "attach_users": []})
        };
        let desktops: Vec<Value> = (0..500).map(desktop).collect();
        Json(json!({"total_count": desktops.len(), "desktops": desktops}))
    };
    let api = Router::new()
        .route("/v2/{project}/connect-desktops", get(listing))
        .route("/v2/{project}/connections/status", get(async || Json(json!({"statics": []}))));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, api).await });
    at
}

/// The database is away until the spool is more than half full; once it is back, the spool empties.
#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_fills_is_told_before_it_is_full_and_once() {
    let (api, (database, _)) = (unlike_itself().await, ledger().await);
    let receiver = Receiver::start(Mood::Takes).await;
    let home = Home::configured(
        &database,
        &(source_at("prod", &api)
            + &webhook("pager", &receiver.at, "events = [\"spool.over_half\"]\n")
            + "[spool]\nmax_size = \"1MiB\"\n"),
    );
    let running = home.start(&["collect"]);
    until("it records", async || count(&database.pool, LISTINGS).await >= 1).await;
    set_away(&database.pool, true).await;
    assert_eq!(receiver.takes(1).await, ["spool.over_half"]);
    set_away(&database.pool, false).await;
    assert_eq!(receiver.takes(2).await, ["spool.over_half", "spool.below_half"]);
    let said = stop(running).await;

    let messages = receiver.messages();
    assert_eq!(messages.len(), 2, "{said}");
    let [over, below] = [0, 1].map(|place| &messages[place].body["data"]);
    for data in [over, below] {
        assert_eq!(data["max_bytes"], 1 << 20);
        assert_eq!(data["host"], over["host"]);
    }
    assert!(!over["host"].as_str().unwrap().is_empty());
    let bytes = |data: &Value| data["bytes"].as_u64().unwrap();
    assert!(bytes(over) > 1 << 19 && bytes(over) <= 1 << 20, "{over}");
    assert!(bytes(below) * 10 < 4 << 20, "{below}");
    assert!(over["snapshots"].as_u64().unwrap() > 1, "{over}");
    let oldest: DateTime<Utc> = over["oldest_snapshot_at"].as_str().unwrap().parse().unwrap();
    let told: DateTime<Utc> = messages[0].body["timestamp"].as_str().unwrap().parse().unwrap();
    assert!(oldest < told, "{over}");
}
