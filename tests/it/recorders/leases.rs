//! Of several recorders one leads.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use deskledger::collector::{Kept, Standing, Step, Written};
use deskledger::store::{Candidate, Leadership, Progress, Recorder, StoreError};

use super::{prod, recording, recording_with, set_away};
use crate::support::cycle::{is_recorded, spool, visited};
use crate::support::ledger::{ledger, lines, record, rows};

const MINUTE: Duration = Duration::from_secs(60);

/// Lets the lease run out, as if its holder had not been heard of for that long.
async fn expire(pool: &sqlx::PgPool) {
    let sql = "update deskledger_data.head set leased_until = now() - interval '1 second'";
    sqlx::query(sql).execute(pool).await.unwrap();
}

#[tokio::test]
async fn one_leads_and_the_other_visits_nothing_until_it_steps_down() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    let mut other = recording(&store, "other", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    let Step::StoodBy { leader, .. } = other.tick().await else { panic!("two lead") };
    assert_eq!(leader, "one");
    let sources = rows(&database.pool, "select leader from deskledger.sources").await;
    assert_eq!(sources[0]["leader"], "one");

    one.cycle.keeper.step_down().await;
    assert_eq!(other.cycle.keeper.lead().await, Standing::Leading);
    assert!(is_recorded(&visited(other.tick().await)));
    assert!(matches!(one.tick().await, Step::StoodBy { .. }));
    assert_eq!(rows(&database.pool, "select * from deskledger.snapshots").await.len(), 2);
}

#[tokio::test]
async fn a_lease_is_renewed_while_a_visit_takes_long() {
    let (_database, store) = ledger().await;
    let mut one = recording(&store, "one", Duration::from_millis(600));
    let mut other = recording(&store, "other", Duration::from_millis(600));
    assert!(is_recorded(&visited(one.tick().await)));
    // Three terms, in which nothing is recorded.
    tokio::time::sleep(Duration::from_millis(1800)).await;
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    // Without a word: its heart stops with it.
    drop(one);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(is_recorded(&visited(other.tick().await)));
}

/// The leader was paused with a snapshot in its hands, and wakes up when another one has recorded.
#[tokio::test]
async fn a_deposed_leader_writes_no_history_and_loses_nothing() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    let mut other = recording(&store, "other", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    expire(&database.pool).await;
    other.hands.advance(TimeDelta::seconds(400));
    assert!(is_recorded(&visited(other.tick().await)));
    // It believes that it leads still, and visits.
    let outcome = visited(one.tick().await);
    assert!(matches!(outcome.kept, Kept::Spooled { .. }), "{:?}", outcome.kept);
    // Then it knows better, and what it has is kept outside the history.
    assert!(matches!(one.tick().await, Step::StoodBy { .. }));
    assert_eq!(one.cycle.keeper.waiting(), 0);
    let all =
        rows(&database.pool, "select late from deskledger.snapshots order by observed_at").await;
    let late: Vec<bool> = all.iter().map(|row| row["late"].as_bool().unwrap()).collect();
    assert_eq!(late, [false, true, false]);
    // And the one that leads goes on.
    assert!(is_recorded(&visited(other.tick().await)));
    let verdicts = store.verify(None, &Default::default(), &Default::default()).await.unwrap();
    assert!(verdicts[0].fault.is_none(), "{:?}", verdicts[0].fault);
}

/// Its lease runs out meanwhile, and the standby may ask first. But what the leader has read belongs into the history.
#[tokio::test]
async fn after_the_database_was_away_the_leader_is_given_time_to_come_back() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    let mut other = recording(&store, "other", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    expire(&database.pool).await;
    set_away(&database.pool, true).await;
    for _ in 0..2 {
        assert!(matches!(visited(one.tick().await).kept, Kept::Spooled { .. }));
        assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    }
    set_away(&database.pool, false).await;
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    // Also on a machine that is too busy to answer one that waits only briefly.
    visited(one.tick().await);
    assert!(one.cycle.keeper.finish(Duration::from_secs(60)).await);
    let all = rows(&database.pool, "select * from deskledger.snapshots where not late").await;
    assert_eq!(all.len(), 4);
    // While the leader lives, time does not run against it.
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
}

/// What it has on disk itself is no reason to take over: it is newer than all that the leader has recorded yet.
#[tokio::test]
async fn a_standby_with_snapshots_on_disk_gives_the_leader_the_same_time() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    let folder = tempfile::tempdir().unwrap();
    let mut queue = spool(folder.path()).queue("prod", None).unwrap();
    let line =
        r#"{"source":"prod","observed_at":"2026-10-05T08:12:00Z","desktops":[],"statics":[]}"#;
    queue.append(&lines(line)[0].snapshot).unwrap();
    let mut other = recording_with(&store, "other", MINUTE, queue);
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    assert_eq!(other.cycle.keeper.waiting(), 1);
    expire(&database.pool).await;
    set_away(&database.pool, true).await;
    assert!(matches!(visited(one.tick().await).kept, Kept::Spooled { .. }));
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    set_away(&database.pool, false).await;
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    let sources = rows(&database.pool, "select leader from deskledger.sources").await;
    assert_eq!(sources[0]["leader"], "one");
    // The leader comes back, and records what came before and what comes after.
    for _ in 0..2 {
        visited(one.tick().await);
        assert!(one.cycle.keeper.finish(Duration::from_secs(60)).await);
    }
    assert!(matches!(other.tick().await, Step::StoodBy { .. }));
    assert_eq!(other.cycle.keeper.waiting(), 0);
    let all =
        rows(&database.pool, "select late from deskledger.snapshots order by observed_at").await;
    let late: Vec<bool> = all.iter().map(|row| row["late"].as_bool().unwrap()).collect();
    assert_eq!(late, [false, false, true, false, false]);
}

#[tokio::test]
async fn what_is_recorded_under_an_old_lease_is_refused_though_nobody_else_recorded() {
    let (database, store) = ledger().await;
    let term = MINUTE;
    let mut one = Recorder::open(&store, &prod()).await.unwrap();
    let mut other = Recorder::open(&store, &prod()).await.unwrap();
    let candidate = |name: &str| Candidate { name: name.into(), term };
    let first = one.lead(&candidate("one")).await.unwrap();
    assert!(matches!(first, Leadership::Ours { epoch: 1 }), "{first:?}");
    expire(&database.pool).await;
    let second = other.lead(&candidate("other")).await.unwrap();
    assert!(matches!(second, Leadership::Ours { epoch: 2 }), "{second:?}");
    let line =
        r#"{"source":"prod","observed_at":"2026-10-05T08:00:00Z","desktops":[],"statics":[]}"#;
    let snapshot = &lines(line)[0].snapshot;
    let refused = one.record(snapshot).await.unwrap_err();
    assert!(matches!(&refused, StoreError::Deposed { leader } if leader == "other"), "{refused}");
    assert!(!one.leads());
    assert_eq!(rows(&database.pool, "select * from deskledger.snapshots").await.len(), 0);
    other.record(snapshot).await.unwrap();
}

/// What was read back before the lease was taken is what is recorded on, unless somebody has recorded since.
#[tokio::test]
async fn what_is_believed_is_read_back_once_unless_another_one_has_recorded_since() {
    let (database, store) = ledger().await;
    let candidate = |name: &str| Candidate { name: name.into(), term: MINUTE };
    let line = |minute: u32| {
        let line = format!(
            r#"{{"source":"prod","observed_at":"2026-10-05T08:{minute:02}:00Z","desktops":[],"statics":[]}}"#
        );
        lines(&line)[0].snapshot.clone()
    };
    let mut one = Recorder::open(&store, &prod()).await.unwrap();
    let mut other = Recorder::open(&store, &prod()).await.unwrap();
    // Nobody could read it back now.
    let rename = async |from: &str, to: &str| {
        let sql = format!("alter table deskledger_data.{from} rename to {to}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&database.pool).await.unwrap();
    };
    rename("label", "away").await;
    one.lead(&candidate("one")).await.unwrap();
    assert_eq!(one.beliefs().await.unwrap().head.sequence, 0);
    rename("away", "label").await;
    one.record(&line(0)).await.unwrap();
    one.step_down().await.unwrap();
    // Recorded at once: what the other one believed does not have to be refused first.
    other.lead(&candidate("other")).await.unwrap();
    assert_eq!(other.beliefs().await.unwrap().head.sequence, 1);
    other.record(&line(5)).await.unwrap();
}

/// To cut what a month's end cuts moves no head.
#[tokio::test]
async fn what_another_one_has_cut_meanwhile_is_read_back() {
    let (database, store) = ledger().await;
    let line = |at: &str, status: &str| {
        format!(
            r#"{{"source":"prod","observed_at":"{at}","desktops":[{{"desktop_id":"d-1","desktop_name":"A","connect_status":"{status}","attach_users":[]}}],"total_count":1,"statics":[]}}"#
        )
    };
    // The first one that is to cut cannot.
    let in_the_way = "create function no() returns trigger language plpgsql as 'begin raise exception ''no''; end';
         create trigger no before insert on deskledger_data.span for each row execute function no()";
    sqlx::raw_sql(in_the_way).execute(&database.pool).await.unwrap();
    let history =
        ["2026-10-31T23:55:00Z", "2026-11-01T00:05:00Z"].map(|at| line(at, "CONNECTED")).join("\n");
    record(&store, &history, 1, usize::MAX).await;
    sqlx::raw_sql("drop function no cascade").execute(&database.pool).await.unwrap();
    let pieces = async || {
        let begun = "select piece_from from deskledger_data.open_span";
        let filed = rows(&database.pool, "select * from deskledger_data.span").await.len();
        (rows(&database.pool, begun).await[0]["piece_from"].as_i64().unwrap(), filed)
    };
    let october = lines(&history)[0].snapshot.observed_at.timestamp_micros();
    assert_eq!(pieces().await, (october, 0));

    let mut one = Recorder::open(&store, &prod()).await.unwrap();
    let mut other = Recorder::open(&store, &prod()).await.unwrap();
    other.commit().await.unwrap();
    let (begun, filed) = pieces().await;
    assert!(begun > october && filed == 1, "{begun}, {filed}");
    one.lead(&Candidate { name: "one".into(), term: MINUTE }).await.unwrap();
    let next = line("2026-11-01T00:10:00Z", "DISCONNECTED");
    one.record(&lines(&next)[0].snapshot).await.unwrap();
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    assert_eq!(verdicts[0].fault, None);
}

/// The leader leads on, though somebody handed in a late one, which moves the source's head.
#[tokio::test]
async fn a_leader_goes_on_after_a_late_one_of_another() {
    let (database, store) = ledger().await;
    let mut one = recording(&store, "one", MINUTE);
    assert!(is_recorded(&visited(one.tick().await)));
    let mut deposed = Recorder::open(&store, &prod()).await.unwrap();
    let line =
        r#"{"source":"prod","observed_at":"2026-10-05T08:01:00Z","desktops":[],"statics":[]}"#;
    deposed
        .record_late(&lines(line)[0].snapshot, |_| line.to_owned(), super::start())
        .await
        .unwrap();
    let outcome = visited(one.tick().await);
    assert!(matches!(outcome.kept, Kept::Written(Written::Recorded { changes: 1 })), "{outcome:?}");
    assert_eq!(rows(&database.pool, "select * from deskledger.snapshots").await.len(), 3);
}

/// Recorders of another machine are only known to be gone when their lease has run out.
#[tokio::test]
async fn a_process_that_ended_on_this_machine_is_followed_at_once() {
    let (database, store) = ledger().await;
    let ours = Candidate::this_process(MINUTE);
    let mut child = std::process::Command::new("true").spawn().unwrap();
    let pid = child.id();
    child.wait().unwrap();
    let own = format!("process {} in", std::process::id());
    let ended = ours.name.replace(&own, &format!("process {pid} in"));
    let elsewhere = format!("elsewhere, process {pid} in 00000000, 00000000");
    let mut recorder = Recorder::open(&store, &prod()).await.unwrap();
    for (leader, is_followed) in
        [(elsewhere, false), (ours.name.to_string() + "0", false), (ended, true)]
    {
        let sql = "update deskledger_data.head set leader = $1, led_since = now(),
                          leased_until = now() + interval '1 minute'";
        sqlx::query(sql).bind(&leader).execute(&database.pool).await.unwrap();
        let leadership = recorder.lead(&ours).await.unwrap();
        assert_eq!(matches!(leadership, Leadership::Ours { .. }), is_followed, "{leader}");
    }
}
