//! Whatever is killed, frozen or cut off: the ledger holds what was served, each visit once and whole.
//!
//! Real processes: the program, a PostgreSQL that commits durably, and a wire between them that can be
//! disturbed. The fleet moves by five minutes at each visit, so that no two visits are served the same.
//!
//! The gate runs a few accidents. All of them: `DESKLEDGER_CRASHES=200 DESKLEDGER_RESTARTS=20 cargo test
//! --test it crash -- --nocapture`. `DESKLEDGER_CRASH_SEED` repeats their moments, as far as time does.
//!
//! What is *not* a failure here: a visit that was answered while its recorder was killed, and is not in
//! the ledger; a tick skipped while nothing moved. What is not proven: that a power cut loses nothing,
//! since a killed process leaves the system's caches as they are.

mod endurance;
mod proof;
mod scene;
mod server;

use std::time::Duration;

use chrono::TimeDelta;
use deskledger::clock::Clock;
use nix::sys::signal::Signal;

use crate::support::proxy::Flow;
use proof::longest_gap;
use scene::{Scene, number};

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_killed_at_random_moments_loses_at_most_the_visit_in_hand() {
    let mut scene = Scene::set("killed recorders").await;
    for nth in 0..number("DESKLEDGER_CRASHES", 12) {
        let recorder = scene.start();
        match nth % 3 {
            0 => scene.pause(0..1500).await,
            // While it reads, works out what has changed, and writes it.
            1 => {
                scene.is_visited().await;
                scene.pause(0..80).await;
            }
            // When the database has it and the recorder does not know yet.
            _ => {
                scene.is_visited().await;
                scene.loses_an_answer().await;
            }
        }
        scene.kill(recorder).await;
    }
    let recorder = scene.start();
    scene.is_recorded().await;
    scene.stop(recorder).await;
    scene.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_killed_under_a_running_recorder_loses_nothing() {
    let mut scene = Scene::set("killed databases").await;
    let recorder = scene.start();
    for nth in 0..number("DESKLEDGER_RESTARTS", 3) {
        scene.is_recorded().await;
        scene.is_visited().await;
        scene.pause(0..if nth % 2 == 0 { 80 } else { 1000 }).await;
        if scene.toss() {
            scene.server.kill().await;
        } else {
            scene.server.stop_at_once().await;
        }
        scene.pause(0..1500).await;
        scene.server.restart().await;
    }
    scene.is_recorded().await;
    scene.stop(recorder).await;
    scene.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn both_killed_together_leave_whole_visits() {
    let mut scene = Scene::set("both killed").await;
    for _ in 0..number("DESKLEDGER_RESTARTS", 2) {
        let recorder = scene.start();
        scene.is_recorded().await;
        scene.is_visited().await;
        scene.pause(0..80).await;
        if scene.toss() {
            scene.server.kill().await;
            // Ticks come and go meanwhile.
            scene.pause(2000..3500).await;
            scene.kill(recorder).await;
        } else {
            scene.kill(recorder).await;
            scene.server.kill().await;
        }
        scene.server.restart().await;
    }
    let recorder = scene.start();
    scene.is_recorded().await;
    scene.stop(recorder).await;
    scene.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_recorded_once() {
    let mut scene = Scene::set("lost answers").await;
    let recorder = scene.start();
    for _ in 0..4 {
        scene.is_recorded().await;
        scene.loses_an_answer().await;
    }
    scene.is_recorded().await;
    scene.stop(recorder).await;
    assert_eq!(scene.proxy.lost(), 4);
    scene.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_wire_to_the_database_loses_nothing() {
    let mut scene = Scene::set("a bad wire").await;
    let recorder = scene.start();
    scene.is_recorded().await;
    // In the middle of whatever it does.
    for _ in 0..4 {
        scene.is_visited().await;
        scene.pause(0..60).await;
        scene.proxy.cut();
    }
    scene.is_recorded().await;

    // Nothing passes, and then all of it.
    scene.proxy.set(Flow::Hold);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    scene.proxy.set(Flow::Delay(Duration::from_millis(5)));
    scene.is_recorded().await;

    // Nobody is let in.
    scene.proxy.set(Flow::Refuse);
    scene.proxy.cut();
    tokio::time::sleep(Duration::from_millis(2500)).await;
    scene.proxy.set(Flow::Pass);
    scene.is_recorded().await;

    scene.server.freeze();
    tokio::time::sleep(Duration::from_secs(3)).await;
    scene.server.thaw();
    scene.is_recorded().await;
    scene.stop(recorder).await;
    scene.prove().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_recorder_leaves_a_gap_and_does_not_catch_up() {
    let mut scene = Scene::set("a frozen recorder").await;
    let recorder = scene.start();
    scene.is_recorded().await;
    recorder.signal(Signal::SIGSTOP);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let (resumed, before) = (Clock::System.now(), scene.simulator.pages());
    recorder.signal(Signal::SIGCONT);
    scene.is_recorded().await;
    scene.is_recorded().await;
    let took = Clock::System.now() - resumed;
    let visits = scene.simulator.pages() - before;
    // One in hand and asked again, one that waited in the queue, and then one a second.
    let most = 4 + took.num_seconds();
    assert!(i64::try_from(visits).unwrap() <= most, "{visits} visits within {took}");
    scene.stop(recorder).await;
    let pool = scene.server.pool().await;
    assert!(longest_gap(&pool).await >= TimeDelta::seconds(4), "the time frozen is no gap");
    pool.close().await;
    scene.prove().await;
}
