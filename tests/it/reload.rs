//! SIGHUP: `collect` takes another configuration over while it goes on; and what systemd hears of all that.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use sqlx::PgPool;
use tokio::net::UnixDatagram;

use crate::support::postgres::database;
use crate::support::program::{Home, Running, until};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

async fn simulator(access_key: &str) -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, 20, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some((access_key.into(), "very-secret".into()));
    Simulator::start(config).await.unwrap()
}

fn source(name: &str, endpoint: &str, more: &str) -> String {
    let access_key = if name == "calm" { "calm" } else { "busy" };
    format!(
        "[[source]]\nname = \"{name}\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\n{more}\n\
         auth = {{ access_key = \"{access_key}\", secret_key = \"file:{name}.key\" }}\n\n"
    )
}

/// Of a source: its snapshots, those whose listing is complete, the ticks among them, and how many different ones.
async fn snapshots(pool: &PgPool, source: &str) -> (i64, i64, i64, i64) {
    sqlx::query_as(
        "select count(*), count(*) filter (where desktops_outcome = 'complete'), count(scheduled_at),
                count(distinct scheduled_at) from deskledger.snapshots where source = $1",
    )
    .bind(source)
    .fetch_one(pool)
    .await
    .unwrap()
}

/// Has it read its configuration again, and waits until it says what came of it.
async fn reload(running: &Running, says: &str) {
    let heard = running.said().matches("the configuration").count();
    running.signal(Signal::SIGHUP);
    running.says(says).await;
    assert!(running.said().matches("the configuration").count() >= heard + 2);
}

/// What systemd hears of a service.
struct Systemd(Arc<Mutex<Vec<String>>>);

impl Systemd {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&heard);
        tokio::spawn(async move {
            let mut datagram = [0; 4096];
            while let Ok(length) = socket.recv(&mut datagram).await {
                let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
                all.lock().unwrap().push(text);
            }
        });
        Self(heard)
    }

    async fn hears(&self, text: &str) {
        let has = async || self.0.lock().unwrap().iter().any(|heard| heard.contains(text));
        until(&format!("systemd hears {text}"), has).await;
    }

    fn forget(&self) {
        self.0.lock().unwrap().clear();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_configuration_is_taken_over_and_a_bad_one_refused() {
    let (calm, busy) = (simulator("calm").await, simulator("busy").await);
    let database = database().await;
    let pool = &database.pool;
    let (calm_at, busy_at) = (calm.endpoint(), busy.endpoint());
    let home = Home::new(&database);
    let calm_source = source("calm", &calm_at, "interval = \"1h\"");
    home.write("calm.key", b"very-secret\n");
    home.write("busy.key", b"wrong-for-now\n");
    home.configure(&(calm_source.clone() + &source("busy", &busy_at, "interval = \"1h\"")));
    let systemd = Systemd::listen(&home.path().join("notify"));
    let socket = format!("NOTIFY_SOCKET={}", home.path().join("notify").display());
    let running = home.start_under(&["env", &socket, "WATCHDOG_USEC=200000"], &["collect"]);
    running.says("observations hold").await;
    until("both are visited", async || {
        snapshots(pool, "calm").await.1 == 1 && snapshots(pool, "busy").await.0 == 1
    })
    .await;
    let asked = calm.requests();
    systemd.hears("READY=1").await;
    systemd.hears("STATUS=recording 2 of 2 sources").await;
    systemd.hears("WATCHDOG=1").await;
    systemd.forget();

    // Another interval, and the same key with another secret, which is tried at once though the last was refused.
    home.write("busy.key", b"very-secret\n");
    home.configure(&(calm_source.clone() + &source("busy", &busy_at, "interval = \"1s\"")));
    reload(&running, "`busy` changed; 1 source as before").await;
    systemd.hears("RELOADING=1\nMONOTONIC_USEC=").await;
    systemd.hears("READY=1").await;
    until("it is visited each second", async || snapshots(pool, "busy").await.1 >= 1).await;

    // What is refused, is refused in the words of a start, and all goes on.
    let good = calm_source.clone() + &source("busy", &busy_at, "interval = \"1s\"");
    for (text, says) in [
        (
            good.replace("1s", "1 parsec"),
            "`source.busy.interval` (deskledger.toml:12) is `1 parsec`; allowed are",
        ),
        (good.replace(&busy_at, "http://127.0.0.1:9"), "source `busy` is recorded with endpoint `"),
        (good.replace("busy.key", "none.key"), "none.key`: No such file"),
    ] {
        home.configure(&text);
        reload(&running, says).await;
        assert!(running.said().lines().any(|line| line.contains("ERROR") && line.contains(says)));
        let at_start = home.run(&["collect", "--once"]).await;
        assert!(at_start.errors().concat().contains(says), "{}", at_start.err);
    }
    let before = snapshots(pool, "busy").await.0;
    until("it goes on", async || snapshots(pool, "busy").await.0 > before).await;

    // One is taken out, one comes, and what cannot change says so.
    let spool = "[spool]\ndir = \"elsewhere\"\n[retention]\nspans = \"400d\"\narchive = \"off\"\n";
    home.write("new.key", b"very-secret");
    home.configure(&(calm_source + &source("new", &busy_at, "interval = \"1h\"") + spool));
    reload(&running, "`new` added; `busy` taken out; 1 source as before").await;
    running.says("`[spool]`, `[retention]` changed too, which holds only once").await;
    until("it is visited", async || snapshots(pool, "new").await.1 == 1).await;
    until("nobody leads it any more", async || {
        let leads =
            "select count(*) from deskledger.sources where source = 'busy' and leader is not null";
        sqlx::query_scalar::<_, i64>(leads).fetch_one(pool).await.unwrap() == 0
    })
    .await;
    let (all, _, ticked, ticks) = snapshots(pool, "busy").await;
    assert!(ticked == ticks && all >= ticked, "a tick came twice");
    assert_eq!((calm.requests(), snapshots(pool, "calm").await.0), (asked, 1), "it was disturbed");

    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    systemd.hears("STOPPING=1").await;
    assert!(!done.err.contains("very-secret") && !done.err.contains("wrong-for-now"));
    assert_eq!(snapshots(pool, "busy").await.0, all);
}
