//! What a test sets up and disturbs: a cloud, a recorder with its ledger, and the wire between the two.

use std::ops::Range;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use deskledger::store::Store;
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sqlx::PgPool;

use super::proof::{assert_ledger_is_what_was_served, assert_telling};
use super::server::Server;
use crate::support::program::{Home, Running, until};
use crate::support::proxy::Proxy;

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const DESKTOPS: u32 = 250;
/// A fleet in the middle of its working day moves by so much at each visit: no two listings are alike.
const STEP: TimeDelta = TimeDelta::minutes(5);
/// Two visits further apart leave a gap.
pub const MAX_GAP: TimeDelta = TimeDelta::seconds(2);

/// One run of the recorder, from before its start until after its end.
pub struct Life {
    pub began: DateTime<Utc>,
    pub ended: DateTime<Utc>,
    pub was_killed: bool,
    /// Its log.
    pub log: String,
}

/// A recorder that runs.
pub struct Recorder {
    began: DateTime<Utc>,
    running: Running,
}

impl Recorder {
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// The number of its process.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }
}

pub struct Scene {
    pub simulator: Simulator,
    pub server: Server,
    pub proxy: Proxy,
    home: Home,
    lives: Vec<Life>,
    dice: StdRng,
}

impl Scene {
    /// A scene whose accidents follow from `DESKLEDGER_CRASH_SEED`, as far as time does.
    pub async fn set(name: &str) -> Self {
        Self::with(name, DESKTOPS, 20).await
    }

    /// The same with so many desktops, which join, leave and are renamed for so many days.
    pub async fn with(name: &str, desktops: u32, days: u32) -> Self {
        let seed = number("DESKLEDGER_CRASH_SEED", 20_261_125);
        println!("{name}: seed {seed}");
        let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
        let mut config = ServerConfig::new(WorldConfig::new(seed, desktops, start, days), PROJECT);
        config.step = Step::ByVisit(STEP);
        config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
        config.keep_history = true;
        let simulator = Simulator::start(config).await.unwrap();

        let server = Server::start().await;
        let pool = server.pool().await;
        Store::from_pool(pool.clone()).migrate().await.unwrap();
        pool.close().await;
        let proxy = Proxy::start(&server.socket()).await;
        let options = server.connect_options();
        let home = Home::on(format!(
            "postgres://{}@{}/{}?sslmode=disable",
            options.get_username(),
            proxy.address,
            options.get_database().unwrap(),
        ));
        // One page is one listing, and a visit's requests are never held back by the pace.
        home.configure(&format!(
            "[[source]]\nname = \"prod\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{}\"\npage_size = 1000\n\
             interval = \"1s\"\nmax_gap = \"{}s\"\nrequests_per_minute = 600\n\
             auth = {{ access_key = \"TESTACCESSKEY\", secret_key = \"test-secret-key\" }}\n",
            simulator.endpoint(),
            MAX_GAP.num_seconds(),
        ));
        let dice = StdRng::seed_from_u64(seed);
        Self { simulator, server, proxy, home, lives: Vec::new(), dice }
    }

    /// Starts the recorder.
    pub fn start(&self) -> Recorder {
        Recorder { began: Clock::System.now(), running: self.home.start(&["collect"]) }
    }

    /// Kills the recorder, as a machine that runs out of memory does.
    pub async fn kill(&mut self, recorder: Recorder) {
        recorder.signal(Signal::SIGKILL);
        let log = recorder.running.end().await.err;
        // What it had asked for and not read is still being answered, and belongs to its life.
        let mut requests = self.simulator.requests();
        loop {
            sleep(30).await;
            let now = self.simulator.requests();
            if now == requests {
                break;
            }
            requests = now;
        }
        let ended = Clock::System.now();
        self.lives.push(Life { began: recorder.began, ended, was_killed: true, log });
    }

    /// Stops the recorder in good order.
    pub async fn stop(&mut self, recorder: Recorder) {
        recorder.signal(Signal::SIGTERM);
        let log = recorder.running.end().await.expect(0).err;
        let ended = Clock::System.now();
        self.lives.push(Life { began: recorder.began, ended, was_killed: false, log });
    }

    /// A moment within a range of milliseconds.
    pub async fn pause(&mut self, milliseconds: Range<u64>) {
        let time = self.dice.random_range(milliseconds);
        sleep(time).await;
    }

    pub fn toss(&mut self) -> bool {
        self.dice.random_bool(0.5)
    }

    /// Waits until the fleet is listed once more.
    pub async fn is_visited(&self) {
        let before = self.simulator.pages();
        until("another visit", async || self.simulator.pages() > before).await;
    }

    /// Has the next commit happen without an answer, and waits for that.
    pub async fn loses_an_answer(&self) {
        let before = self.proxy.lost();
        self.proxy.lose_next_commit();
        until("the answer to a commit is lost", async || self.proxy.lost() > before).await;
    }

    /// Waits until a visit that begins from now on is in the ledger.
    pub async fn is_recorded(&self) {
        let now = Clock::System.now();
        let pool = self.server.pool().await;
        until("another snapshot", async || newest(&pool).await.is_some_and(|at| at > now)).await;
        pool.close().await;
    }

    /// All that must hold at the end of each test. The recorder is stopped by now.
    pub async fn prove(self) {
        assert_telling(&self.simulator.history());
        self.prove_through_nights().await;
    }

    /// The same of a fleet that has nights, in which hardly anything moves.
    pub async fn prove_through_nights(self) {
        let pool = self.server.pool().await;
        assert_ledger_is_what_was_served(&pool, &self.simulator, &self.lives).await;
        self.home.run(&["verify"]).await.expect(0);
        pool.close().await;
        self.simulator.stop().await.unwrap();
    }
}

async fn sleep(milliseconds: u64) {
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}

async fn newest(pool: &PgPool) -> Option<DateTime<Utc>> {
    let sql = "select max(observed_at) from deskledger.snapshots";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// A number from the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
