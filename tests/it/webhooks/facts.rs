//! What is told is what the ledger and its reports say, to receivers that know no more than the documents.

use std::collections::{BTreeSet, HashSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::receiver::{Mood, Receiver};
use super::{OUTAGE, SECRET, fail, recover, simulator, source, webhook};
use crate::support::ledger::{ledger, rows};
use crate::support::program::{Home, until};

/// The receiver of the documents, as they have it.
struct Documented {
    at: String,
    took: Arc<Mutex<Vec<Value>>>,
    _child: Child,
}

impl Documented {
    async fn start(home: &Home) -> Self {
        let page = include_str!("../../../docs/operating.md");
        let code = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let path = home.write("receiver.py", code.as_bytes());
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut command = Command::new("python3");
        command.arg(path).arg(address.port().to_string()).env("WEBHOOK_SECRET", SECRET);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let took = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&took);
        tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.unwrap() {
                taken.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        until("it listens", async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        Self { at: format!("http://{address}/very-secret-path"), took, _child: child }
    }

    fn took(&self) -> Vec<Value> {
        self.took.lock().unwrap().clone()
    }

    /// Waits until it took so many events.
    async fn takes(&self, events: usize) {
        until(&format!("{events} events"), async || self.took().len() >= events).await;
    }
}

/// As texts have it, or in microseconds as [`rows`] gives it.
fn instant(value: &Value) -> DateTime<Utc> {
    match value.as_i64() {
        Some(micros) => DateTime::from_timestamp_micros(micros).unwrap(),
        None => value.as_str().unwrap().parse().unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_event_comes_once_and_says_what_the_ledger_says() {
    let simulator = simulator(Some(TimeDelta::minutes(12))).await;
    let (database, _) = ledger().await;
    let home = Home::new(&database);
    let receiver = Documented::start(&home).await;
    home.configure(&(source("prod", &simulator) + &webhook("pager", &receiver.at, "")));
    let running = home.start(&["collect"]);
    receiver.takes(1).await;
    fail(&simulator);
    receiver.takes(3).await;
    recover(&simulator);
    receiver.takes(5).await;
    let newest = simulator.served().0;
    let visits = simulator.requests();
    until("it goes on", async || simulator.requests() > visits + 6).await;
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);

    let events = receiver.took();
    let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, [&["desktops.mass_disconnect"], &OUTAGE[..]].concat());
    let ids: BTreeSet<&str> = events.iter().map(|event| event["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 5);
    for event in &events {
        assert_eq!(event["data"]["source"], "prod");
        assert!(
            (deskledger::clock::Clock::System.now() - instant(&event["timestamp"])).num_minutes()
                < 2,
            "{event}"
        );
    }
    let [mass, failing, opened, recovered, closed] = &events[..] else { panic!("there are five") };

    // What the report and the views say.
    let report = ["report", "outages", "--from", "-1h", "--share", "50", "--format", "json"];
    let report: Value = serde_json::from_str(&home.run(&report).await.expect(0).out).unwrap();
    let outage = &report[0];
    for column in ["connected_before", "disconnects"] {
        assert_eq!(mass["data"][column], outage[column], "{column}");
    }
    for column in ["after", "observed_at"] {
        assert_eq!(instant(&mass["data"][column]), instant(&outage[column]), "{column}");
    }
    let gaps = rows(&database.pool, "select gap_from, gap_to from deskledger.gaps").await;
    assert_eq!(gaps.len(), 1);
    for (event, column) in [(opened, "gap_from"), (closed, "gap_from"), (closed, "gap_to")] {
        assert_eq!(instant(&event["data"][column]), instant(&gaps[0][column]), "{column}");
    }
    assert_eq!(opened["data"]["max_gap_seconds"], 4);
    assert_eq!(
        instant(&opened["timestamp"]),
        instant(&gaps[0]["gap_from"]) + TimeDelta::seconds(4)
    );
    let failed = "select min(observed_at) as first from deskledger.snapshots where desktops_outcome = 'failed'";
    let failed = rows(&database.pool, failed).await;
    assert_eq!(instant(&failing["data"]["first_failed_at"]), instant(&failed[0]["first"]));
    assert_eq!(instant(&failing["data"]["newest_listing_at"]), instant(&gaps[0]["gap_from"]));
    assert_eq!(failing["data"]["failed_visits"], 2);
    assert_eq!(failing["data"]["error_code"], opened["data"]["error_code"]);
    assert_eq!(recovered["data"]["recovered_at"], closed["data"]["gap_to"]);

    // Nobody is named, and nothing secret is shown.
    let told = json!(events).to_string();
    for desktop in &newest {
        for user in desktop.users.entries() {
            let name = user.name.as_deref().unwrap_or("nobody");
            assert!(!told.contains(name), "{name}");
        }
        let name = desktop.name.as_deref().unwrap_or("nothing");
        assert!(!told.contains(name) && !told.contains(&*desktop.id), "{name}");
    }
    for secret in ["very-secret-path", "AAECAwQF"] {
        assert!(!done.err.contains(secret), "{}", done.err);
    }
}

/// A recorder that another one follows tells the same by the same ids, and the other one tells the end.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_takes_over_tells_the_same_and_the_end() {
    let (simulator, (database, _)) = (simulator(None).await, ledger().await);
    let (one, other) = (Receiver::start(Mood::Takes).await, Receiver::start(Mood::Takes).await);
    let prod = source("prod", &simulator);
    let on = |receiver: &Receiver| {
        Home::configured(&database, &(prod.clone() + &webhook("pager", &receiver.at, "")))
    };
    let (first, second) = (on(&one), on(&other));
    let leader = first.start(&["collect"]);
    until("it records", async || {
        !rows(&database.pool, "select 1 from deskledger.coverage").await.is_empty()
    })
    .await;
    let standby = second.start(&["collect"]);
    standby.says("standing by").await;
    fail(&simulator);
    assert_eq!(one.takes(2).await, OUTAGE[..2]);
    assert!(other.messages().is_empty(), "it stands by");
    leader.signal(Signal::SIGKILL);
    leader.end().await;
    assert_eq!(other.takes(2).await, OUTAGE[..2]);
    recover(&simulator);
    assert_eq!(other.takes(4).await, OUTAGE);
    let ids = |receiver: &Receiver| -> Vec<String> {
        receiver.messages().iter().take(2).map(|message| message.id().to_owned()).collect()
    };
    assert_eq!(ids(&one), ids(&other));
    // The first comes again, and learns of the end that it has not seen: the same. What it was killed over, once it was taken and
    // before that was written down, comes again by its id.
    let again = first.start(&["collect"]);
    let told = |receiver: &Receiver| {
        let mut seen = HashSet::new();
        let messages = receiver.messages().into_iter();
        messages.filter(|message| seen.insert(message.id().to_owned())).collect::<Vec<_>>()
    };
    until("it tells the end", async || told(&one).len() >= 4).await;
    let kinds: Vec<String> = told(&one).iter().map(|message| message.kind().to_owned()).collect();
    assert_eq!(kinds, OUTAGE);
    let ends = |receiver: &Receiver| -> Vec<String> {
        told(receiver)[2..].iter().map(|message| message.text.clone()).collect()
    };
    assert_eq!(ends(&one), ends(&other));
    for running in [standby, again] {
        running.signal(Signal::SIGTERM);
        running.end().await.expect(0);
    }
}
