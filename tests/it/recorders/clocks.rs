//! Clocks that somebody sets: history never runs backwards, and says what was done.

use std::time::Duration;

use chrono::TimeDelta;
use deskledger::collector::{Step, Withheld};
use serde_json::Value;

use super::recording;
use crate::support::cycle::{is_recorded, visited};
use crate::support::ledger::{ledger, rows};

const MINUTE: Duration = Duration::from_secs(60);

async fn notes(pool: &sqlx::PgPool) -> Vec<(Value, String)> {
    let sql = "select error_code, coalesce(error_message, '') as message from deskledger.snapshots order by observed_at";
    let rows = rows(pool, sql).await;
    rows.into_iter()
        .map(|row| (row["error_code"].clone(), row["message"].as_str().unwrap().to_owned()))
        .collect()
}

#[tokio::test]
async fn a_clock_set_back_waits_and_the_next_snapshot_says_so() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    for _ in 0..3 {
        assert!(is_recorded(&visited(one.tick().await)));
    }
    one.hands.set(one.hands.now() - TimeDelta::minutes(12));
    for _ in 0..2 {
        let step = one.tick().await;
        assert!(matches!(step, Step::Withheld(Withheld::ClockBehind { .. })), "{step:?}");
    }
    let outcome = visited(one.tick().await);
    assert!(is_recorded(&outcome), "{outcome:?}");
    let notes = notes(&database.pool).await;
    assert_eq!(notes.len(), 4);
    assert_eq!(notes[3].0, "clock");
    let said = "the clock was set back to 2026-10-05T08:08:00Z, and nothing visited until it had passed the \
                newest snapshot (2 visits not made)";
    assert_eq!(notes[3].1, said);
    let outcomes = "select desktops_outcome from deskledger.snapshots where error_code = 'clock'";
    assert_eq!(rows(&database.pool, outcomes).await[0]["desktops_outcome"], "complete");
}

/// Also where nobody remembers: the recorder was started anew.
#[tokio::test]
async fn a_recorder_started_with_a_clock_that_is_behind_waits() {
    let (database, store) = ledger().await;
    let mut before = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(before.tick().await)));
    before.cycle.keeper.step_down().await;
    let mut after = recording(&store, "one", MINUTE);
    after.hands.set(super::start() - TimeDelta::days(1));
    assert!(matches!(after.tick().await, Step::Withheld(Withheld::ClockBehind { .. })));
    after.hands.set(super::start() + TimeDelta::minutes(6));
    assert!(is_recorded(&visited(after.tick().await)));
    assert_eq!(notes(&database.pool).await[1].0, "clock");
}

#[tokio::test]
async fn a_clock_set_forward_is_a_gap_and_the_snapshot_says_so() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    one.hands.set(one.hands.now() + TimeDelta::hours(2));
    assert!(is_recorded(&visited(one.tick().await)));
    let notes = notes(&database.pool).await;
    assert_eq!(
        notes[1],
        (
            "clock".into(),
            "the clock was set forward by 2h since the visit of 2026-10-05T08:05:00Z".to_owned()
        )
    );
    let gaps = rows(&database.pool, "select * from deskledger.gaps where gap_to is not null").await;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["reason"], "clock");
}

/// A machine that slept has no clock that is wrong: a gap, and no word of a clock.
#[tokio::test]
async fn a_machine_that_slept_leaves_a_gap_and_no_note() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    one.hands.advance(TimeDelta::hours(2));
    assert!(is_recorded(&visited(one.tick().await)));
    assert_eq!(notes(&database.pool).await[1].0, Value::Null);
    let gaps = rows(&database.pool, "select * from deskledger.gaps where gap_to is not null").await;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["reason"], Value::Null);
}

/// The note stands beside what went wrong in the visit itself, not in its place.
#[tokio::test]
async fn a_small_step_back_between_two_visits_is_said_too() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    one.hands.set(one.hands.now() - TimeDelta::minutes(2));
    assert!(is_recorded(&visited(one.tick().await)));
    let notes = notes(&database.pool).await;
    assert_eq!(notes[1].0, "clock");
    assert!(notes[1].1.contains("set back by 2m"), "{}", notes[1].1);
    assert!(one.folder.is_some_and(|folder| folder.path().exists()));
}
