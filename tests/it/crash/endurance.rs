//! A recorder that runs for long: nothing of it grows, whatever goes wrong around it.
//!
//! The gate lets it run for some seconds. Two hours: `DESKLEDGER_ENDURANCE_SECONDS=7200 cargo test --test it
//! endurance -- --nocapture`, which prints what the process held, minute by minute.
//!
//! What is *not* a failure here: what it takes until each fault has happened once, and what a fault takes
//! while it lasts.

use std::time::Duration;

use deskledger::clock::Clock;
use deskledger::simulator::Rule;
use sqlx::PgPool;

use super::scene::{Recorder, Scene, number};
use crate::support::proxy::Flow;

/// What goes wrong with the API, each at its own rate.
const WEATHER: [&str; 8] = [
    "throttle=1,rate=0.01",
    "status=503,rate=0.02",
    "html=502,rate=0.01",
    "drop,rate=0.01",
    "reset,rate=0.01",
    "truncate,on=statistics,rate=0.01",
    "bad-gzip,on=statistics,rate=0.01",
    "slow=300ms,rate=0.01",
];

/// What a process holds at a moment of quiet.
#[derive(Clone, Copy, Debug)]
struct Held {
    /// Resident memory, in KiB.
    memory: u64,
    files: usize,
    threads: usize,
    /// Connections to the database.
    connections: i64,
}

impl Held {
    async fn by(recorder: &Recorder, pool: &PgPool) -> Self {
        let process = format!("/proc/{}", recorder.pid());
        let count = |what: &str| std::fs::read_dir(format!("{process}/{what}")).unwrap().count();
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        let memory = line.trim().trim_end_matches(" kB").parse().unwrap();
        let connections = sqlx::query_scalar(
            "select count(*) from pg_stat_activity
              where backend_type = 'client backend' and datname = current_database() and application_name ~ 'deskledger'",
        );
        let connections = connections.fetch_one(pool).await.unwrap();
        Self { memory, files: count("fd"), threads: count("task"), connections }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_grows_in_nothing() {
    let seconds = number("DESKLEDGER_ENDURANCE_SECONDS", 12);
    // A visit a second moves the fleet by five minutes.
    let days = u32::try_from(seconds / 288 + 2).unwrap();
    let mut scene = Scene::with("endurance", 80, days).await;
    let faults = WEATHER.iter().map(|rule| rule.parse::<Rule>().unwrap());
    scene.simulator.set_faults(faults.collect());
    let recorder = scene.start();
    // Each fault once before anything is measured.
    for nth in 0..ACCIDENTS {
        happens(&mut scene, nth).await;
    }
    let began = Clock::System.now();
    let mut held = Vec::new();
    for nth in 0.. {
        scene.is_recorded().await;
        let pool = scene.server.pool().await;
        let now = Held::by(&recorder, &pool).await;
        pool.close().await;
        println!("{} {now:?}", Clock::System.now().format("%H:%M:%S"));
        held.push(now);
        if (Clock::System.now() - began).num_seconds() >= i64::try_from(seconds).unwrap() {
            break;
        }
        happens(&mut scene, nth).await;
        // A long run is watched some hundred times, and mostly left in peace.
        tokio::time::sleep(Duration::from_secs(seconds / 240)).await;
    }
    assert_no_growth(&held);
    scene.stop(recorder).await;
    scene.prove_through_nights().await;
}

const ACCIDENTS: u64 = 6;

/// Something goes wrong, and is well again.
async fn happens(scene: &mut Scene, nth: u64) {
    scene.is_visited().await;
    scene.pause(0..80).await;
    match nth % ACCIDENTS {
        0 => scene.proxy.cut(),
        1 => scene.loses_an_answer().await,
        2 => {
            scene.proxy.set(Flow::Hold);
            scene.pause(1000..2000).await;
            scene.proxy.set(Flow::Pass);
        }
        3 => {
            scene.proxy.set(Flow::Refuse);
            scene.proxy.cut();
            scene.pause(1000..2000).await;
            scene.proxy.set(Flow::Pass);
        }
        4 => {
            scene.server.freeze();
            scene.pause(500..1500).await;
            scene.server.thaw();
        }
        _ => {
            scene.server.stop_at_once().await;
            scene.pause(500..1500).await;
            scene.server.restart().await;
        }
    }
    scene.is_recorded().await;
}

/// The last third holds no more than the first, but for what an allocator keeps to itself.
fn assert_no_growth(held: &[Held]) {
    let third = held.len() / 3;
    assert!(third > 0, "too short a run to see anything grow: {held:?}");
    let (first, last) = (&held[..third], &held[held.len() - third..]);
    let middle = |of: &[Held]| {
        let mut memory: Vec<u64> = of.iter().map(|one| one.memory).collect();
        memory.sort_unstable();
        memory[memory.len() / 2]
    };
    let (before, after) = (middle(first), middle(last));
    assert!(after <= before + before / 20 + 4096, "memory grew from {before} to {after} KiB");
    let most = |of: &[Held], what: fn(&Held) -> usize| of.iter().map(what).max().unwrap();
    // A request or two may be under way when it is looked at.
    assert!(most(last, |one| one.files) <= most(first, |one| one.files) + 4, "files: {held:?}");
    assert!(most(last, |one| one.threads) <= most(first, |one| one.threads) + 1, "{held:?}");
    let connections = held.iter().map(|one| one.connections).max().unwrap();
    assert!((1..=5).contains(&connections), "{connections} connections to the database");
}
