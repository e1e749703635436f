//! Hundreds of sources: each gets its visits, whatever becomes of the others, and what that takes is bounded.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{Fault, Rule, ServerConfig, Simulator, Step, WorldConfig};
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, PgPool};

use super::processes::SNAPSHOTS;
use crate::support::postgres::database;
use crate::support::program::{Home, Running, until};

const TOKEN: &str = "a-token";
/// Twice what a visit to all of them takes a build without optimisation that has the machine for itself.
const INTERVAL: Duration = Duration::from_secs(20);
/// Sources that are well, that never answer, that nobody listens for, and that only fail.
const GOOD: usize = 470;
const SILENT: usize = 10;
const GONE: usize = 10;
const BROKEN: usize = 10;

/// What a recorder of 500 sources may have resident.
const MEMORY: u64 = 250 << 20;
/// How many connections to the database it may have.
const CONNECTIONS: i64 = 12;
/// How many requests it may have under way at once.
const REQUESTS: u64 = 64;
/// How many files and sockets it may have open: many systems start a service with 1,024.
const FILES: usize = 700;

async fn simulator(desktops: u32, faults: Vec<Rule>) -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, desktops, start, 30), "project");
    config.step = Step::ByVisit(TimeDelta::seconds(1));
    config.token = Some(TOKEN.into());
    config.faults = faults;
    Simulator::start(config).await.unwrap()
}

/// Sources that share one credential.
fn sources(prefix: &str, number: usize, endpoint: &str) -> String {
    let mut text = String::new();
    for nth in 0..number {
        write!(
            text,
            "[[source]]\nname = \"{prefix}-{nth}\"\nproject_id = \"project\"\nendpoint = \"{endpoint}\"\n\
             auth = {{ token = \"{TOKEN}\" }}\n\n"
        )
        .unwrap();
    }
    text
}

fn schedule() -> String {
    format!("[collect]\ninterval = \"{}s\"\nrequests_per_minute = 100000\n\n", INTERVAL.as_secs())
}

/// The most that a process was seen to have.
#[derive(Debug, Default)]
struct Most {
    memory: u64,
    files: usize,
    connections: i64,
}

impl Most {
    async fn look(&mut self, running: &Running, pool: &PgPool) {
        let process = format!("/proc/{}", running.pid());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let resident: u64 = resident.trim().trim_end_matches(" kB").parse().unwrap();
        self.memory = self.memory.max(resident << 10);
        self.files = self.files.max(std::fs::read_dir(format!("{process}/fd")).unwrap().count());
        let connections = "select count(*) from pg_stat_activity
                            where datname = current_database() and application_name = 'deskledger'";
        self.connections = self.connections.max(count(pool, connections).await);
    }
}

async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap()
}

/// The ticks of each source that were recorded, and whether their listings were complete, oldest first.
async fn ticks(pool: &PgPool) -> HashMap<String, Vec<(DateTime<Utc>, bool)>> {
    let rows: Vec<(String, DateTime<Utc>, bool)> = sqlx::query_as(
        "select source, scheduled_at, desktops_outcome = 'complete'
           from deskledger.snapshots where scheduled_at is not null order by scheduled_at",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut ticks: HashMap<String, Vec<_>> = HashMap::new();
    for (source, at, is_complete) in rows {
        ticks.entry(source).or_default().push((at, is_complete));
    }
    ticks
}

fn is_of(kind: &str) -> impl Fn(&&String) -> bool {
    move |source| source.split('-').next() == Some(kind)
}

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_sources_of_one_recorder_get_each_visit_and_what_it_takes_is_bounded() {
    // Long enough to have as many under way at once as may be.
    let good = simulator(20, vec![Rule::new(Fault::Delay(Duration::from_millis(200)))]).await;
    let silent = simulator(20, vec![Rule::new(Fault::Delay(Duration::from_secs(60)))]).await;
    let broken = simulator(20, vec![Rule::new(Fault::Status(500))]).await;
    // A port where nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Those that are not well come first.
    let configuration = [
        schedule(),
        sources("silent", SILENT, &silent.endpoint()),
        sources("gone", GONE, &format!("http://{gone}")),
        sources("broken", BROKEN, &broken.endpoint()),
        sources("good", GOOD, &good.endpoint()),
    ];
    let database = database().await;
    let home = Home::configured(&database, &configuration.concat());
    let running = home.start(&["collect"]);
    running.says("recording source `good-").await;
    let begun = Instant::now();
    let mut most = Most::default();
    // Two ticks at least, and the time to record the second one of them.
    while begun.elapsed() < INTERVAL.mul_f64(2.5) {
        most.look(&running, &database.pool).await;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    let at_once = good.tally().most_at_once;
    println!("{most:?}, {at_once} requests at once, {:?}", begun.elapsed());

    let ticks = ticks(&database.pool).await;
    assert_eq!(ticks.keys().filter(is_of("good")).count(), GOOD);
    let all: BTreeSet<DateTime<Utc>> = ticks.values().flatten().map(|(at, _)| *at).collect();
    let (first, last) = (*all.first().unwrap(), *all.last().unwrap());
    assert!(all.len() >= 2, "{all:?}");
    assert_eq!(
        (last - first).to_std().unwrap(),
        INTERVAL * (u32::try_from(all.len()).unwrap() - 1)
    );
    for (source, ticks) in &ticks {
        if is_of("good")(&source) {
            let ticked: Vec<_> = ticks.iter().map(|(at, _)| *at).collect();
            assert_eq!(ticked, all.iter().copied().collect::<Vec<_>>(), "{source}: {}", done.err);
        }
        assert!(ticks.iter().all(|(_, complete)| *complete == is_of("good")(&source)), "{source}");
    }
    let never = "select count(*) from deskledger_data.head where sequence = 0";
    assert_eq!(count(&database.pool, never).await, 0, "{}", done.err);
    let wrong = "select count(*) from deskledger.snapshots
                  where source like 'good-%' and (desktops_outcome <> 'complete' or late)";
    assert_eq!(count(&database.pool, wrong).await, 0, "{}", done.err);
    assert!(!done.err.contains("LOST"), "{}", done.err);

    assert!(most.memory <= MEMORY, "{most:?}");
    assert!(most.connections <= CONNECTIONS, "{most:?}");
    assert!(most.files <= FILES, "{most:?}");
    assert!((REQUESTS / 2..=REQUESTS).contains(&at_once), "{at_once}");
}

/// Three recorders share scores of sources: each is recorded by one, and by another one once that one's lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn each_of_many_sources_has_one_recorder_and_another_one_when_its_lease_is_over() {
    const SOURCES: usize = 60;
    let simulator = simulator(20, Vec::new()).await;
    let database = database().await;
    let schedule = schedule().replace("20s", "5s");
    let configuration = [schedule, sources("good", SOURCES, &simulator.endpoint())].concat();
    let homes = [0, 1, 2].map(|_| Home::configured(&database, &configuration));
    let led = "select count(*) from deskledger_data.head where leased_until > clock_timestamp()";
    let leaders = "select count(distinct leader) from deskledger_data.head";
    let first = homes[0].start(&["collect"]);
    let led_by_one = async || count(&database.pool, led).await == SOURCES as i64;
    first.says("recording source `good-").await;
    until("the first leads all", led_by_one).await;
    let others = [&homes[1], &homes[2]].map(|home| home.start(&["collect"]));
    for other in &others {
        other.says("standing by").await;
    }
    // Those who stand by ask for all together.
    let mut most = Most::default();
    for _ in 0..30 {
        most.look(&others[0], &database.pool).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(count(&database.pool, leaders).await, 1);
    let before = count(&database.pool, SNAPSHOTS).await;

    // Between its visits: what it holds locked in the middle of a transaction is the server's to end.
    let resting = "select count(*) from pg_stat_activity
                    where datname = current_database() and state = 'idle in transaction'
                       or extract(epoch from clock_timestamp())::int % 5 <> 4";
    until("it rests", async || count(&database.pool, resting).await == 0).await;
    // It does not end, which would be seen, but does nothing more.
    first.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    let old = "select count(*) from deskledger_data.head where leader is null or epoch < 2";
    until("all are taken over", async || count(&database.pool, old).await == 0).await;
    let taken_over = frozen.elapsed();
    until("all are recorded again", async || {
        let recorded = format!("{SNAPSHOTS} where observed_at > now() - interval '1 minute'");
        count(&database.pool, &recorded).await >= before + SOURCES as i64
    })
    .await;
    println!("{most:?}; taken over after {taken_over:?}, recorded after {:?}", frozen.elapsed());
    // A lease lasts for five seconds here, and is asked for once a second.
    assert!(taken_over < Duration::from_secs(15), "{taken_over:?}");
    first.signal(Signal::SIGCONT);
    first.says("standing by").await;
    for one in others.iter().chain([&first]) {
        one.signal(Signal::SIGTERM);
    }
    for one in others.into_iter().chain([first]) {
        one.end().await.expect(0);
    }
    // Each tick was recorded once, and nothing came twice.
    let twice = "select count(*) - count(distinct (source, scheduled_at)) from deskledger.snapshots
                  where scheduled_at is not null and not late";
    assert_eq!(count(&database.pool, twice).await, 0);
    let torn = "select count(*) from deskledger_data.head h where sequence <>
                 (select count(*) from deskledger_data.snapshot s where s.source_id = h.source_id)
                 + (select count(*) from deskledger_data.late l where l.source_id = h.source_id)";
    assert_eq!(count(&database.pool, torn).await, 0);
}
