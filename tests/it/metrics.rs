//! A recorder as it is seen from outside: `/metrics`, `/livez`, `/readyz`, and what is made of them.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{Fault, On, Rule, ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::exposition::{Dialect, Scrape};
use crate::support::postgres::database;
use crate::support::program::{Home, PATIENCE, Running, until};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

async fn simulator(desktops: u32, faults: Vec<Rule>) -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, desktops, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some("token".into());
    let simulator = Simulator::start(config).await.unwrap();
    simulator.set_faults(faults);
    simulator
}

fn source(name: &str, endpoint: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\npage_size = 100\n\
         interval = \"1h\"\nauth = {{ token = \"token\" }}\n\n"
    )
}

/// A recorder, and where it answers.
struct Recorder {
    running: Running,
    at: String,
    client: reqwest::Client,
}

impl Recorder {
    async fn start(home: &Home) -> Self {
        let running = home.start(&["collect", "--metrics-listen", "127.0.0.1:0"]);
        running.says("are answered at http://").await;
        let said = running.said();
        let at = said.split("are answered at ").nth(1).unwrap().split('"').next().unwrap();
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { at: at.to_owned(), running, client }
    }

    async fn get(&self, path: &str, accept: &str) -> (u16, String, String) {
        let request = self.client.get(format!("{}{path}", self.at)).header("accept", accept);
        let answer = request.send().await.unwrap();
        let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
        (answer.status().as_u16(), kind, answer.text().await.unwrap())
    }

    async fn health(&self, path: &str) -> (u16, Value) {
        let (status, kind, body) = self.get(path, "*/*").await;
        assert_eq!(kind, "application/json");
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn scrape(&self) -> Scrape {
        // As Prometheus asks.
        let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1";
        let (status, kind, page) = self.get("/metrics", accept).await;
        assert_eq!(
            (status, &*kind),
            (200, "application/openmetrics-text; version=1.0.0; charset=utf-8")
        );
        Scrape::read(&page, Dialect::OpenMetrics)
    }

    /// Waits until the log has a line of the visit of each of these sources.
    async fn visited(&self, sources: &[&str]) -> Vec<Value> {
        let line = |source: &str| {
            let said = self.running.said();
            let mut lines = said.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            lines.find(|line| line["source.name"] == source && !line["requests"].is_null())
        };
        until("they are visited", async || sources.iter().all(|source| line(source).is_some()))
            .await;
        sources.iter().map(|source| line(source).unwrap()).collect()
    }

    async fn stop(self) {
        self.running.signal(Signal::SIGTERM);
        self.running.end().await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_counts_what_its_log_says() {
    let throttled = vec![Rule::new(Fault::Throttle(None)).on(On::Listing).times(2)];
    let good = simulator(250, throttled).await;
    let bad = simulator(5, vec![Rule::new(Fault::Status(403))]).await;
    let database = database().await;
    let sources = [source("prod", &good.endpoint()), source("x\\\"y", &bad.endpoint())].concat();
    let home = Home::configured(&database, &sources);
    let recorder = Recorder::start(&home).await;
    assert_eq!(recorder.health("/livez").await, (200, json!({ "status": "alive" })));
    until("it is ready", async || recorder.health("/readyz").await.0 == 200).await;
    assert_eq!(recorder.health("/readyz").await.1, json!({ "status": "ready" }));
    let log = recorder.visited(&["prod", "x\"y"]).await;
    let scrape = recorder.scrape().await;

    let prod = ("source", "prod");
    assert_eq!(scrape.sum("deskledger_requests", prod), log[0]["requests"].as_f64().unwrap());
    assert_eq!(log[0]["requests"], json!(6), "three pages, two repetitions and the statistics");
    // One line a cycle, and one that is read alone.
    let said = recorder.running.said();
    let lines: Vec<Value> = said.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let cycles: Vec<_> = lines.iter().filter(|line| !line["requests"].is_null()).collect();
    assert_eq!(cycles.len(), 2, "{said}");
    assert_eq!((&log[0]["level"], &log[1]["level"]), (&json!("INFO"), &json!("WARN")));
    let changes = log[0]["message"].as_str().unwrap().rsplit_once(", ").unwrap().1.to_owned();
    for (series, value) in [
        (r#"deskledger_requests_total{source="prod",status="200"}"#, 4.0),
        (r#"deskledger_requests_total{source="prod",status="429"}"#, 2.0),
        (r#"deskledger_request_retries_total{source="prod"}"#, 2.0),
        (r#"deskledger_requests_throttled_total{source="prod"}"#, 2.0),
        (
            r#"deskledger_snapshots_total{source="prod",outcome="complete",groups_outcome="complete"}"#,
            1.0,
        ),
        (
            r#"deskledger_snapshots_total{source="prod",outcome="failed",groups_outcome="failed"}"#,
            0.0,
        ),
        (
            r#"deskledger_snapshots_total{source="x\"y",outcome="failed",groups_outcome="failed"}"#,
            1.0,
        ),
        (r#"deskledger_requests_total{source="x\"y",status="403"}"#, 2.0),
        (r#"deskledger_requests_throttled_total{source="x\"y"}"#, 0.0),
        (r#"deskledger_recorded_snapshots_total{source="prod"}"#, 1.0),
        (r#"deskledger_spool_snapshots{source="prod"}"#, 0.0),
        (r#"deskledger_lease_held{source="prod"}"#, 1.0),
        (r#"deskledger_cycle_duration_seconds_count{source="prod"}"#, 1.0),
        (r#"deskledger_source_interval_seconds{source="prod"}"#, 3600.0),
        (r#"deskledger_source_max_gap_seconds{source="prod"}"#, 10800.0),
        ("deskledger_build_info{version=\"0.1.0\"}", 1.0),
    ] {
        assert_eq!(scrape.get(series), Some(value), "{series}");
    }
    let counted = scrape.get(r#"deskledger_changes_total{source="prod"}"#).unwrap();
    assert_eq!(format!("{counted} changes"), changes);
    let age = |source: &str| {
        scrape
            .get(&format!("deskledger_newest_complete_snapshot_age_seconds{{source=\"{source}\"}}"))
    };
    assert!(age("prod").is_some_and(|age| age < PATIENCE.as_secs_f64()));
    assert_eq!(age(r#"x\"y"#), None, "there was never one");
    until("the ledger was asked", async || {
        recorder.scrape().await.get("deskledger_database_size_bytes").is_some_and(|size| size > 1e6)
    })
    .await;

    // The same from the ledger.
    let status = home.run(&["status", "--json"]).await.expect(0).out;
    let status: Value = serde_json::from_str(&status).unwrap();
    let prod = &status["sources"][0];
    assert_eq!(prod["complete_until"], prod["last_snapshot_at"]);
    assert!(prod["lag"].as_i64().is_some_and(|lag| (0..90).contains(&lag)), "{prod}");
    assert_eq!(prod["spool"], json!({ "snapshots": 0, "oldest": null }));
    assert!(prod["leader"].is_string() && status["size_bytes"].as_i64() > Some(1_000_000));

    // The older format, and what both have in common.
    let (status, kind, page) = recorder.get("/metrics", "*/*").await;
    assert_eq!((status, &*kind), (200, "text/plain; version=0.0.4; charset=utf-8"));
    let plain = Scrape::read(&page, Dialect::Plain);
    for (name, family) in &scrape.0 {
        let suffix = if family.kind == "counter" { "_total" } else { "" };
        let other = &plain.0[&format!("{name}{suffix}")];
        assert_eq!(
            (&family.kind, family.samples.len()),
            (&other.kind, other.samples.len()),
            "{name}"
        );
    }
    assert_documented(&plain);
    assert_eq!(recorder.get("/", "*/*").await.0, 404);

    // Another one of the same sources stands by, and knows of the ledger what there is to know.
    let standby = Recorder::start(&home).await;
    until("it stands by, and was told", async || {
        let scrape = standby.scrape().await;
        scrape.get(r#"deskledger_lease_held{source="prod"}"#) == Some(0.0)
            && scrape
                .get(r#"deskledger_newest_complete_snapshot_age_seconds{source="prod"}"#)
                .is_some()
    })
    .await;
    // The other sources may be told a moment later.
    until("it is ready", async || standby.health("/readyz").await.0 == 200).await;
    standby.stop().await;
    recorder.stop().await;
}

/// Every family is explained, and nothing is explained or asked for that is not there.
fn assert_documented(plain: &Scrape) {
    let page = |name: &str| {
        std::fs::read_to_string(format!("{}/docs/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let shown: BTreeSet<String> =
        plain.0.iter().map(|(name, family)| format!("| `{name}` | {} |", family.kind)).collect();
    let operating = page("operating.md");
    let rows = operating
        .lines()
        .filter(|line| line.starts_with("| `deskledger_") || line.starts_with("| `process_"));
    let explained: BTreeSet<String> = rows
        .map(|row| {
            row.match_indices(" |").nth(1).map(|(end, _)| row[..end + 2].to_owned()).unwrap()
        })
        .collect();
    assert_eq!(explained, shown);
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let alerts = page("alerts.yml");
    let asked = alerts.split(|c| !is_word(c)).filter(|word| word.starts_with("deskledger_"));
    for name in asked {
        let family = name.strip_suffix("_bucket").unwrap_or(name);
        assert!(plain.0.contains_key(family), "no metric is called {name}");
    }
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(operating.contains(&format!("| `{alert}` |")), "{alert} is not explained");
    }
}

/// The database is away from the start: what is not known is not said, and it does its work all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_without_its_database_is_ready_and_says_what_waits() {
    let simulator = simulator(5, Vec::new()).await;
    let home = Home::on("postgres://nobody@127.0.0.1:1/nowhere".to_owned());
    home.configure(&source("prod", &simulator.endpoint()));
    let recorder = Recorder::start(&home).await;
    recorder.visited(&["prod"]).await;
    until("it is ready", async || recorder.health("/readyz").await.0 == 200).await;
    let scrape = recorder.scrape().await;
    assert_eq!(scrape.get(r#"deskledger_spooled_snapshots_total{source="prod"}"#), Some(1.0));
    assert_eq!(scrape.get(r#"deskledger_spool_snapshots{source="prod"}"#), Some(1.0));
    assert!(scrape.get(r#"deskledger_spool_bytes{source="prod"}"#).unwrap() > 0.0);
    let ages = ["deskledger_newest_complete_snapshot_age", "deskledger_spool_oldest_snapshot_age"];
    for age in ages {
        assert!(scrape.get(&format!("{age}_seconds{{source=\"prod\"}}")).is_some(), "{age}");
    }
    assert_eq!(scrape.get("deskledger_database_size_bytes"), None);
    assert_eq!(scrape.get(r#"deskledger_lease_held{source="prod"}"#), None);
    assert_eq!(scrape.get(r#"deskledger_recorded_snapshots_total{source="prod"}"#), Some(0.0));
    recorder.running.signal(Signal::SIGKILL);

    // An address that somebody else has is no reason not to record, unless it was asked for.
    let held = recorder.at.strip_prefix("http://").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_ne!(held, address);
    let done = home.run(&["collect", "--metrics-listen", &address]).await.expect(3);
    assert!(done.errors()[0].contains(&format!("listen on {address}")), "{}", done.err);
    home.run(&["collect", "--metrics-listen", "9464"]).await.expect(2);
}
