//! The database is away for longer than there is room, and the recorder dies meanwhile.

use std::time::Duration;

use chrono::TimeDelta;
use deskledger::clock::{Clock, ManualClock};
use deskledger::collector::spool::Spool;
use deskledger::collector::{Cycle, Kept, Step, Withheld};
use deskledger::config::{SpoolConfig, WhenFull};
use deskledger::store::Store;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Fleet, prod, set_away, start};
use crate::support::cycle::{keeper_of, visited};
use crate::support::ledger::{ledger, rows};

/// More than any machine takes.
const WAIT: Duration = Duration::from_secs(60);

/// A recorder whose spool has a bound, on a clock that goes on when it is another one's.
fn recorder(
    store: &Store,
    folder: &TempDir,
    (max_bytes, when_full): (u64, WhenFull),
    clock: &Clock,
) -> Cycle<Fleet> {
    let dir = folder.path().to_owned();
    let spool = Spool::open(&SpoolConfig { dir, max_bytes, min_free: 0, when_full }).unwrap();
    let queue = spool.queue("prod", None).unwrap();
    let keeper = keeper_of(store, &prod(), queue, clock, None);
    let fleet = Fleet { visits: 0, desktops: 100 };
    Cycle::new("prod", fleet, keeper, clock.clone(), TimeDelta::minutes(15))
}

async fn tick(cycle: &mut Cycle<Fleet>, hands: &ManualClock) -> Step {
    hands.advance(TimeDelta::minutes(5));
    cycle.run(Some(hands.now())).await
}

/// A visit that gets into the ledger with all that waits. One that was away is waited for only briefly, which may be
/// less than a busy machine takes to answer.
async fn recorded(cycle: &mut Cycle<Fleet>, hands: &ManualClock) {
    let outcome = visited(tick(cycle, hands).await);
    assert!(cycle.keeper.finish(WAIT).await, "{outcome:?}");
}

#[tokio::test]
async fn a_full_spool_stops_the_visits_and_the_next_snapshot_says_since_when() {
    let (database, store) = ledger().await;
    let (folder, (clock, hands)) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let mut cycle = recorder(&store, &folder, (4_000, WhenFull::Stop), &clock);
    recorded(&mut cycle, &hands).await;
    set_away(&database.pool, true).await;
    let (mut spooled, mut withheld) = (0, 0);
    for _ in 0..20 {
        match tick(&mut cycle, &hands).await {
            Step::Visited(outcome) => {
                assert!(matches!(outcome.kept, Kept::Spooled { dropped: 0, .. }), "{outcome:?}");
                assert_eq!(withheld, 0, "there is no more room than before");
                spooled += 1;
            }
            Step::Withheld(Withheld::Full(_)) => withheld += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(spooled > 1 && withheld > 1, "{spooled} spooled, {withheld} not made");
    set_away(&database.pool, false).await;
    recorded(&mut cycle, &hands).await;
    let all = rows(&database.pool, "select * from deskledger.snapshots order by observed_at").await;
    assert_eq!(all.len(), 1 + spooled + 1);
    assert!(all[..=spooled].iter().all(|row| row["error_code"] == json!(null)));
    let last = &all[spooled + 1];
    assert_eq!(last["error_code"], "spool");
    let message = last["error_message"].as_str().unwrap();
    assert!(message.contains("the spool is full"), "{message}");
    assert!(message.contains(&format!("{withheld} visits not made")), "{message}");
    let gaps = rows(&database.pool, "select * from deskledger.gaps where gap_to is not null").await;
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0]["failed_snapshots"], &gaps[0]["reason"]), (&json!(0), &json!("spool")));
    assert_eq!(gaps[0]["reason_message"], last["error_message"]);
}

#[tokio::test]
async fn snapshots_that_a_full_spool_dropped_are_failed_visits_with_that_reason() {
    let (database, store) = ledger().await;
    let (folder, (clock, hands)) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let mut cycle = recorder(&store, &folder, (8_000, WhenFull::DropOldest), &clock);
    recorded(&mut cycle, &hands).await;
    set_away(&database.pool, true).await;
    let mut dropped = 0;
    for _ in 0..80 {
        let outcome = visited(tick(&mut cycle, &hands).await);
        let Kept::Spooled { dropped: now, .. } = outcome.kept else { panic!("{outcome:?}") };
        dropped += now;
    }
    assert!(dropped > 0, "{}", cycle.keeper.waiting());
    set_away(&database.pool, false).await;
    recorded(&mut cycle, &hands).await;
    let all = rows(&database.pool, "select * from deskledger.snapshots order by observed_at").await;
    assert_eq!(all.len(), 82, "each tick is there, once");
    let is_dropped = |row: &&Map<String, Value>| row["error_code"] == json!("dropped");
    assert_eq!(all.iter().filter(is_dropped).count(), dropped);
    // The oldest, all of them, and none that was kept.
    assert!(all[1..=dropped].iter().all(|row| row["desktops_outcome"] == json!("failed")));
    assert!(all[dropped + 1..].iter().all(|row| row["desktops_outcome"] == json!("complete")));
    let gaps = rows(&database.pool, "select * from deskledger.gaps where gap_to is not null").await;
    assert_eq!(gaps.len(), 1);
    assert_eq!(gaps[0]["failed_snapshots"], json!(dropped));
    assert!(gaps[0]["last_error"].as_str().unwrap().contains("dropped from the spool"), "{gaps:?}");
    assert_eq!(gaps[0]["reason"], "dropped");
    let verdicts = store.verify(None, &Default::default(), &Default::default()).await.unwrap();
    assert!(verdicts[0].fault.is_none(), "{:?}", verdicts[0].fault);
}

#[tokio::test]
async fn a_recorder_that_dies_while_the_database_is_away_has_lost_nothing() {
    let (database, store) = ledger().await;
    let (folder, (clock, hands)) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let bound = (1 << 20, WhenFull::Stop);
    let mut cycle = recorder(&store, &folder, bound, &clock);
    set_away(&database.pool, true).await;
    for nth in 0..6 {
        let outcome = visited(tick(&mut cycle, &hands).await);
        assert!(matches!(outcome.kept, Kept::Spooled { .. }), "{outcome:?}");
        if nth % 2 == 1 {
            drop(cycle);
            cycle = recorder(&store, &folder, bound, &clock);
            assert_eq!(cycle.keeper.waiting(), nth + 1);
        }
    }
    set_away(&database.pool, false).await;
    assert!(cycle.keeper.finish(WAIT).await);
    let all = rows(&database.pool, "select * from deskledger.snapshots where not late").await;
    assert_eq!(all.len(), 6);
}

/// What PostgreSQL answers when its disk is full, here without one that is.
#[tokio::test]
async fn an_answer_that_the_databases_disk_is_full_sends_snapshots_to_the_spool() {
    let (database, store) = ledger().await;
    let (folder, (clock, hands)) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let mut cycle = recorder(&store, &folder, (1 << 20, WhenFull::Stop), &clock);
    recorded(&mut cycle, &hands).await;
    let full = "create function full_disk() returns trigger language plpgsql as
                  $$ begin raise exception 'could not extend file: No space left on device' using errcode = '53100'; end $$;
                create trigger full_disk before insert on deskledger_data.snapshot
                  for each row execute function full_disk()";
    sqlx::raw_sql(full).execute(&database.pool).await.unwrap();
    for nth in 1..=3 {
        let outcome = visited(tick(&mut cycle, &hands).await);
        let Kept::Spooled { why, waiting, dropped: 0 } = outcome.kept else {
            panic!("{outcome:?}")
        };
        assert!(why.contains("No space left on device"), "{why}");
        assert_eq!(waiting, nth);
    }
    sqlx::raw_sql("drop function full_disk cascade").execute(&database.pool).await.unwrap();
    recorded(&mut cycle, &hands).await;
    assert_eq!(cycle.keeper.waiting(), 0);
    let all = rows(&database.pool, "select * from deskledger.snapshots where not late").await;
    assert_eq!(all.len(), 5);
    let verdicts = store.verify(None, &Default::default(), &Default::default()).await.unwrap();
    assert!(verdicts[0].fault.is_none(), "{:?}", verdicts[0].fault);
}

/// Somebody tidies up under a running recorder.
#[tokio::test]
async fn a_spool_that_is_taken_away_under_a_recorder_holds_up_nothing_and_keeps_what_comes() {
    let (database, store) = ledger().await;
    let (folder, (clock, hands)) = (tempfile::tempdir().unwrap(), Clock::manual(start()));
    let mut cycle = recorder(&store, &folder, (1 << 20, WhenFull::Stop), &clock);
    let spooled = async |cycle: &mut Cycle<Fleet>| {
        let outcome = visited(tick(cycle, &hands).await);
        let Kept::Spooled { waiting, .. } = outcome.kept else { panic!("{outcome:?}") };
        waiting
    };
    set_away(&database.pool, true).await;
    assert_eq!([spooled(&mut cycle).await, spooled(&mut cycle).await], [1, 2]);
    let slot = folder.path().join("1");
    std::fs::remove_dir_all(&slot).unwrap();
    assert_eq!([spooled(&mut cycle).await, spooled(&mut cycle).await], [1, 2]);
    // And a file alone, before that is read.
    let files = std::fs::read_dir(slot.join("prod")).unwrap();
    files.for_each(|file| std::fs::remove_file(file.unwrap().path()).unwrap());
    set_away(&database.pool, false).await;
    recorded(&mut cycle, &hands).await;
    assert_eq!(cycle.keeper.waiting(), 0);
    let all = rows(&database.pool, "select * from deskledger.snapshots").await;
    assert_eq!(all.len(), 1, "the others were taken away");
}
