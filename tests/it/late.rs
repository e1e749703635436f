//! Snapshots that come too late: kept whole, shown, and in no span and no figure.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::domain::{COUNTERS, Snapshot};
use deskledger::store::{Late, Progress, Recorder, Store, StoreError};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::{VIEWS, views};
use crate::oracle::rows::{Row, difference, row, sorted};
use crate::schema::{NAMED, PLANNING, report};
use crate::support::ledger::{
    keep_late, keep_late_lines, ledger, lines, record, record_with_late, rows, source,
};
use crate::support::program::Home;

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// The views that show single snapshots.
const SHOWING: [&str; 3] = ["snapshots", "desktop_snapshots", "group_snapshots"];

async fn assert_right(store: &Store) {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    for verdict in verdicts {
        assert_eq!(verdict.fault, None, "{}", verdict.source.name);
    }
}

/// A visit to `prod`, with one desktop.
fn visit(at: &str, status: &str) -> Snapshot {
    let line = json!({
        "source": "prod", "observed_at": at, "scheduled_at": at, "total_count": 1,
        "desktops": [{ "desktop_id": "d-a", "connect_status": status }], "statics": [],
    });
    lines(&line.to_string()).remove(0).snapshot
}

async fn reports(pool: &PgPool) -> Vec<String> {
    let mut all = Vec::new();
    for name in PLANNING.into_iter().chain(NAMED) {
        let rows = rows(pool, &report(name)).await;
        // These name what is out of the ordinary, and the example holds nothing of the kind.
        let may_be_silent = ["outages", "flapping", "lingering", "idle-desktops"].contains(&name);
        assert!(may_be_silent || !rows.is_empty(), "{name} says nothing");
        all.push(format!("{name}: {rows:?}"));
    }
    all
}

/// Every view and report, as late snapshots must leave it; of those that show them, without them.
async fn answers(pool: &PgPool) -> Vec<String> {
    let mut all = reports(pool).await;
    for view in VIEWS {
        let known = "(select snapshot_id from deskledger.snapshots where not late)";
        let only = if SHOWING.contains(&view) {
            format!("where snapshot_id in {known}")
        } else {
            String::new()
        };
        let without = "- 'snapshot_id' - 'digest'";
        let sql = format!(
            "select (to_jsonb(v) {without})::text from deskledger.{view} v {only} order by 1"
        );
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        all.extend(lines.into_iter().map(|line| format!("{view}: {line}")));
    }
    all
}

#[tokio::test]
async fn late_snapshots_are_shown_and_change_no_other_view_and_no_report() {
    let (plain, plain_store) = ledger().await;
    record(&plain_store, EXAMPLE, 1, usize::MAX).await;
    let expected = answers(&plain.pool).await;

    // In the midst, between the commits of recorders that begin anew and of one that goes on.
    for restart in [1, usize::MAX] {
        let (database, store) = ledger().await;
        let kept = record_with_late(&store, EXAMPLE, 1, restart).await;
        // One of the very instant of the newest, which is another visit all the same.
        let newest = lines(EXAMPLE).pop().unwrap();
        let mut twin = newest.snapshot.clone();
        twin.finished_at += TimeDelta::seconds(1);
        let mut recorder = Recorder::open(&store, &source(&newest.source)).await.unwrap();
        let done = keep_late(&mut recorder, &newest.source, &twin).await.unwrap();
        assert!(matches!(done, Late::Kept { .. }));
        assert_eq!(answers(&database.pool).await, expected);
        let late = "select count(*) from deskledger.snapshots where late";
        let late: i64 = sqlx::query_scalar(late).fetch_one(&database.pool).await.unwrap();
        assert_eq!(usize::try_from(late).unwrap(), kept + 1);
        let late = "select bool_and(late and changes = 0) from deskledger_planner.snapshots
                     where snapshot_id in (select snapshot_id from deskledger_data.late)";
        assert!(sqlx::query_scalar::<_, bool>(late).fetch_one(&database.pool).await.unwrap());
        // What reads one row of each source still does.
        assert_eq!(store.source_status().await.unwrap().len(), 1);
        assert_eq!(store.standings().await.unwrap().len(), 1);
        assert_right(&store).await;
    }
}

#[tokio::test]
async fn a_snapshot_is_kept_once_and_only_if_it_is_late() {
    let (database, store) = ledger().await;
    let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
    let first = visit("2026-10-05T08:00:00Z", "CONNECTED");
    // Nothing is recorded: nothing can be late.
    let refused = keep_late(&mut recorder, "prod", &first).await;
    assert!(matches!(refused, Err(StoreError::NotLate { .. })), "{refused:?}");
    recorder.record(&first).await.unwrap();
    recorder.record(&visit("2026-10-05T08:10:00Z", "CONNECTED")).await.unwrap();
    // In the history already.
    assert_eq!(keep_late(&mut recorder, "prod", &first).await.unwrap(), Late::Recorded);
    let late = visit("2026-10-05T08:05:00Z", "DISCONNECTED");
    let kept = Late::Kept { sequence: 3 };
    assert_eq!(keep_late(&mut recorder, "prod", &late).await.unwrap(), kept);
    assert_eq!(keep_late(&mut recorder, "prod", &late).await.unwrap(), Late::Recorded);
    // Also where somebody was erased from its line.
    let (line, salt): (String, Vec<u8>) =
        sqlx::query_as("select line, salt from deskledger_data.late")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    let keep = "update deskledger_data.late set line = $1, salt = $2";
    sqlx::query(keep).bind("{}").bind(None::<Vec<u8>>).execute(&database.pool).await.unwrap();
    assert_eq!(keep_late(&mut recorder, "prod", &late).await.unwrap(), Late::Recorded);
    sqlx::query(keep).bind(line).bind(salt).execute(&database.pool).await.unwrap();
    // Newer than the newest, but of a tick that another visit has taken.
    let mut tick = visit("2026-10-05T08:10:00Z", "CONNECTED");
    tick.observed_at += TimeDelta::seconds(2);
    tick.finished_at = tick.observed_at;
    assert_eq!(keep_late(&mut recorder, "prod", &tick).await.unwrap(), Late::Kept { sequence: 4 });
    let newer = visit("2026-10-05T08:15:00Z", "CONNECTED");
    let refused = keep_late(&mut recorder, "prod", &newer).await;
    assert!(matches!(refused, Err(StoreError::NotLate { .. })), "{refused:?}");
    // The recorder goes on from where it is, and so does one that reads it all back.
    recorder.record(&newer).await.unwrap();
    let mut other = Recorder::open(&store, &source("prod")).await.unwrap();
    assert_eq!(keep_late(&mut other, "prod", &late).await.unwrap(), Late::Recorded);
    other.record(&visit("2026-10-05T08:20:00Z", "REGISTERED")).await.unwrap();
    assert_right(&store).await;
    assert_eq!(views(&database.pool).await["desktop_states"].len(), 2);
}

#[tokio::test]
async fn two_recorders_fence_each_other_with_late_snapshots_too() {
    let (_database, store) = ledger().await;
    let mut deposed = Recorder::open(&store, &source("prod")).await.unwrap();
    deposed.record(&visit("2026-10-05T08:00:00Z", "CONNECTED")).await.unwrap();
    let mut other = Recorder::open(&store, &source("prod")).await.unwrap();
    other.record(&visit("2026-10-05T08:10:00Z", "CONNECTED")).await.unwrap();

    // It does not know yet that it is deposed.
    let late = visit("2026-10-05T08:05:00Z", "DISCONNECTED");
    let refused = deposed.record(&late).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(keep_late(&mut deposed, "prod", &late).await.unwrap(), Late::Kept { sequence: 3 });
    // The other one's beliefs were built on entry 2.
    let next = visit("2026-10-05T08:15:00Z", "CONNECTED");
    let refused = other.record(&next).await;
    assert!(matches!(refused, Err(StoreError::Fenced { .. })), "{refused:?}");
    assert_eq!(other.record(&next).await.unwrap().sequence, 4);
    // The first, whose beliefs are behind, keeps another one and then reads back what it must.
    let late = visit("2026-10-05T08:06:00Z", "DISCONNECTED");
    assert_eq!(keep_late(&mut deposed, "prod", &late).await.unwrap(), Late::Kept { sequence: 5 });
    let recorded = deposed.record(&visit("2026-10-05T08:20:00Z", "CONNECTED")).await.unwrap();
    assert_eq!((recorded.sequence, recorded.changes), (6, 0));
    // One whose beliefs are of before, and who has not been refused: they are dropped, not moved.
    assert_eq!(keep_late(&mut other, "prod", &late).await.unwrap(), Late::Recorded);
    let late = visit("2026-10-05T08:07:00Z", "DISCONNECTED");
    assert_eq!(keep_late(&mut other, "prod", &late).await.unwrap(), Late::Kept { sequence: 7 });
    let recorded = other.record(&visit("2026-10-05T08:25:00Z", "REGISTERED")).await.unwrap();
    assert_eq!((recorded.sequence, recorded.changes), (8, 1));
    assert_right(&store).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn late_snapshots_may_come_while_another_records() {
    let (database, store) = ledger().await;
    let start: DateTime<Utc> = "2026-10-31T22:00:00Z".parse().unwrap();
    let at = |minutes| (start + TimeDelta::minutes(minutes)).to_rfc3339();
    record(&store, &line_of(&at(0)), 1, 1).await;
    let recording = {
        let store = store.clone();
        let visits: Vec<Snapshot> =
            (1..40).map(|n| visit(&at(5 * n), ["CONNECTED", "READY"][n as usize % 2])).collect();
        tokio::spawn(async move {
            let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
            let mut fenced = 0;
            for visit in visits {
                while let Err(error) = recorder.record(&visit).await {
                    assert!(matches!(error, StoreError::Fenced { .. }), "{error}");
                    fenced += 1;
                }
            }
            fenced
        })
    };
    let mut deposed = Recorder::open(&store, &source("prod")).await.unwrap();
    for n in 1..40 {
        let late = visit(&at(-5 * n), "DISCONNECTED");
        let done = keep_late(&mut deposed, "prod", &late).await.unwrap();
        assert!(matches!(done, Late::Kept { .. }));
    }
    recording.await.unwrap();
    assert_right(&store).await;
    let all = "select count(*) from deskledger.snapshots";
    assert_eq!(sqlx::query_scalar::<_, i64>(all).fetch_one(&database.pool).await.unwrap(), 79);
}

fn line_of(at: &str) -> String {
    json!({ "source": "prod", "observed_at": at, "total_count": 0, "desktops": [], "statics": [] })
        .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_leaves_late_ones_out_and_writes_them_when_asked() {
    let (plain, plain_store) = ledger().await;
    record(&plain_store, EXAMPLE, 1, usize::MAX).await;
    let (database, store) = ledger().await;
    let kept = record_with_late(&store, EXAMPLE, 1, usize::MAX).await;
    let home = Home::new(&database);
    let exported = home.run(&["export"]).await.expect(0).out;
    assert_eq!(exported, Home::new(&plain).run(&["export"]).await.expect(0).out);

    let late = home.run(&["export", "--late"]).await.expect(0).out;
    let stored: Vec<String> =
        sqlx::query_scalar("select line from deskledger_data.late order by sequence")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    assert_eq!(late.lines().collect::<Vec<_>>(), stored);
    assert_eq!(stored.len(), kept);
    assert_eq!(lines(&late).len(), kept);
    // Under pseudonyms: no name of a person or desktop is left, and all else says what it said.
    let key = home.write("key", &[b'k'; 40]);
    let key = key.to_str().unwrap();
    home.write("short", b"secret");
    let refused = home.run(&["export", "--pseudonymise", "short"]).await.expect(2);
    assert!(refused.err.contains("needs 32 at least"), "{}", refused.err);
    let hidden = home.run(&["export", "--pseudonymise", key]).await.expect(0);
    assert!(hidden.err.contains("names of groups"), "{}", hidden.err);
    let hidden_late = home.run(&["export", "--late", "--pseudonymise", key]).await.expect(0).out;
    let names: Vec<String> = sqlx::query_scalar(
        "select desktop_id from deskledger_data.desktop union select desktop_name from deskledger_data.label
          union select name from deskledger_data.person union select id from deskledger_data.person",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let name = format!("\"{name}\"");
        assert!(exported.contains(&name), "{name}");
        assert!(!hidden.out.contains(&name) && !hidden_late.contains(&name), "{name}");
    }
    assert_eq!(hidden_late.lines().count(), kept);
    let (copy, _copy_store) = ledger().await;
    let file = home.write("hidden.ndjson", hidden.out.as_bytes());
    let of_copy = Home::new(&copy);
    of_copy.run(&["import", file.to_str().unwrap()]).await.expect(0);
    let key_again = of_copy.write("key", &[b'k'; 40]);
    assert_eq!(of_copy.run(&["export"]).await.expect(0).out, hidden.out);
    assert_ne!(
        of_copy.run(&["export", "--pseudonymise", key_again.to_str().unwrap()]).await.expect(0).out,
        hidden.out
    );
    for view in ["connections", "desktop_states", "desktop_snapshots", "coverage"] {
        let of = |pool: PgPool| async move {
            // Late snapshots have no place in an import.
            let sql = format!(
                "select array(select (to_jsonb(v) - 'snapshot_id')::text from deskledger_planner.{view} v
                              where '{view}' <> 'desktop_snapshots' order by 1)"
            );
            sqlx::query_scalar::<_, Vec<String>>(AssertSqlSafe(sql)).fetch_one(&pool).await.unwrap()
        };
        assert_eq!(of(copy.pool.clone()).await, of(plain.pool.clone()).await, "{view}");
    }
    let none = ["export", "--late", "--from", "2026-10-06"];
    assert_eq!(home.run(&none).await.expect(0).out, "");
    sqlx::query("update deskledger_data.late set line = null, salt = null where sequence = 7")
        .execute(&database.pool)
        .await
        .unwrap();
    let fewer = home.run(&["export", "--late"]).await.expect(0).out;
    assert_eq!(fewer.lines().count(), kept - 1);
}

/// What `desktop_snapshots` and `group_snapshots` have to say of a snapshot.
fn said(snapshot: &Snapshot) -> (Vec<Row>, Vec<Row>) {
    let listed = snapshot.desktops.iter().flat_map(|listing| listing.desktops());
    let desktops = listed.map(|desktop| {
        let users: Value = desktop
            .users
            .entries()
            .iter()
            .map(|user| {
                json!({ "id": user.id, "name": user.name, "type": user.kind, "user_group": user.user_group })
            })
            .collect();
        row([
            ("desktop_id", desktop.id.as_ref().into()),
            ("desktop_name", desktop.name.as_deref().into()),
            ("connect_status", desktop.status.as_deref().into()),
            ("attach_users", users),
        ])
    });
    let mut seen: BTreeMap<Option<&str>, i64> = BTreeMap::new();
    let groups = snapshot.groups.iter().flatten().map(|group| {
        let ordinal = seen.entry(group.name.as_deref()).or_default();
        *ordinal += 1;
        let mut row =
            row([("static_name", group.name.as_deref().into()), ("ordinal", (*ordinal).into())]);
        for (name, counter) in COUNTERS.into_iter().zip(group.counters) {
            row.insert(name.into(), counter.into());
        }
        row
    });
    (desktops.collect(), groups.collect())
}

fn text() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        3 => "[a-c]{0,2}".prop_map(Value::from),
        1 => Just(json!("null")),
        1 => Just(json!("\u{0}\\\"'\n\u{202e}\u{1f600}\u{2028}{}")),
        2 => any::<String>().prop_map(Value::from),
    ]
}

fn snapshots() -> impl Strategy<Value = Value> {
    let user = (text(), text(), text(), text()).prop_map(|(kind, id, name, group)| {
        json!({ "type": kind, "id": id, "name": name, "user_group": group })
    });
    let users = prop_oneof![
        1 => Just(Value::Null),
        4 => prop::collection::vec(user, 0..4).prop_map(Value::from),
    ];
    let desktop = (text(), text(), text(), users).prop_map(|(id, name, status, users)| {
        json!({ "desktop_id": id, "desktop_name": name, "connect_status": status, "attach_users": users })
    });
    let counters = prop::collection::vec(any::<Option<i64>>(), 13);
    let group = (text(), counters).prop_map(|(name, counters)| {
        let mut group = json!({ "static_name": name });
        for (name, counter) in COUNTERS.into_iter().zip(counters) {
            group[name] = counter.into();
        }
        group
    });
    let part = |strategy: BoxedStrategy<Vec<Value>>| prop_oneof![1 => Just(Value::Null), 5 => strategy.prop_map(Value::from)];
    (
        part(prop::collection::vec(desktop, 0..6).boxed()),
        part(prop::collection::vec(group, 0..5).boxed()),
        prop_oneof![Just(Value::Null), (0_i64..6).prop_map(Value::from), any::<i64>().prop_map(Value::from)],
        prop_oneof![Just(Value::Null), (text(), text()).prop_map(|(code, message)| json!({ "code": code, "message": message }))],
        prop::option::of(0_i64..1_000_000_000),
    )
        .prop_map(|(desktops, statics, total, error, tick)| {
            let tick = tick.map(|micros| DateTime::from_timestamp_micros(micros).unwrap().to_rfc3339());
            json!({
                "source": "prod", "observed_at": "2026-10-05T07:00:00.000001Z", "scheduled_at": tick, "max_gap": "1h30m1s",
                "total_count": total, "desktops": desktops, "statics": statics, "error": error,
            })
        })
}

/// Invariant 1, for late ones: whatever the API says, the views say it.
#[test]
fn the_views_say_of_a_late_snapshot_what_was_given() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (database, store) = runtime.block_on(ledger());
    let config = Config { cases: 32, source_file: Some(file!()), ..Config::default() };
    let result = TestRunner::new(config).run(&snapshots(), |line| {
        runtime.block_on(async {
            store.forget_everything().await.unwrap();
            let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
            recorder.record(&visit("2026-10-05T08:00:00Z", "CONNECTED")).await.unwrap();
            let given = lines(&line.to_string()).remove(0).snapshot;
            let done = keep_late(&mut recorder, "prod", &given).await.unwrap();
            prop_assert_eq!(done, Late::Kept { sequence: 2 });
            prop_assert_eq!(
                keep_late(&mut recorder, "prod", &given).await.unwrap(),
                Late::Recorded
            );
            let of_late = "where source = 'prod' and observed_at < '2026-10-05T08:00:00Z'";
            let (desktops, groups) = said(&given);
            for (view, expected) in [("desktop_snapshots", desktops), ("group_snapshots", groups)] {
                let mut actual =
                    rows(&database.pool, &format!("select * from deskledger.{view} {of_late}"))
                        .await;
                for row in &mut actual {
                    for column in ["snapshot_id", "source", "observed_at"] {
                        row.shift_remove(column);
                    }
                }
                let difference = difference(&sorted(expected), &sorted(actual));
                prop_assert!(difference.is_none(), "{}: {}", view, difference.unwrap());
            }
            let row =
                rows(&database.pool, &format!("select * from deskledger.snapshots {of_late}"))
                    .await
                    .remove(0);
            prop_assert_eq!(&row["desktops_outcome"], given.desktops_outcome().as_str());
            prop_assert_eq!(&row["groups_outcome"], given.groups_outcome().as_str());
            prop_assert_eq!(&row["desktops_total"], &json!(given.total));
            prop_assert_eq!(&row["late"], true);
            // As the one that keeps it here says.
            let received = (given.finished_at + TimeDelta::minutes(90)).timestamp_micros();
            prop_assert_eq!(&row["received_at"], received);
            let verdicts =
                store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
            prop_assert!(verdicts[0].fault.is_none(), "{:?}", verdicts[0].fault);
            Ok(())
        })
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}

/// A question about one snapshot reads one month, whether or not there are late ones.
#[tokio::test]
async fn filters_still_find_the_partition_and_the_late_ones_by_their_index() {
    let (database, store) = ledger().await;
    for month in 1..=9 {
        let lines: Vec<String> =
            (1..=9).map(|day| line_of(&format!("2026-{month:02}-0{day}T00:00:00Z"))).collect();
        record(&store, &lines.join("\n"), 9, usize::MAX).await;
        keep_late_lines(&store, &lines[8], 1).await;
    }
    let mut connection = database.pool.acquire().await.unwrap();
    sqlx::query("set enable_seqscan = off").execute(&mut *connection).await.unwrap();
    for view in SHOWING {
        let explain = format!(
            "explain select * from deskledger.{view} where source = 'prod' and observed_at = '2026-07-09T00:00:00Z'"
        );
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        let read: BTreeSet<&str> = plan
            .iter()
            .filter_map(|line| line.split(" on snapshot_").nth(1)?.split(' ').next())
            .collect();
        assert_eq!(read, BTreeSet::from(["2026_07"]), "{plan:#?}");
        assert!(plan.iter().any(|line| line.contains("late_by_instant")), "{plan:#?}");
        let explain = format!("explain select * from deskledger.{view} where snapshot_id = 4");
        let plan: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(explain)).fetch_all(&mut *connection).await.unwrap();
        // In every branch, and every partition of it. (So small, a block range index is not worth its while.)
        let reached = plan.iter().filter(|line| line.contains("snapshot_id = 4")).count();
        assert!(reached >= 10, "{plan:#?}");
        assert!(plan.iter().any(|line| line.contains("late_by_id")), "{plan:#?}");
    }
}
