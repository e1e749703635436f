//! The traps that other recorders of sessions have fallen into, one test each, with figures worked out by hand.
//!
//! One more, a source that cannot be reached and the others beside it, needs the whole program: it is
//! `process::one_unreachable_source_does_not_stop_the_others`. Late ticks after a sleep are tested where ticks are
//! made.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::collector::{Cycle, Kept, Visitor};
use deskledger::domain::{HistoryError, Listing, Source};
use deskledger::simulator::{Fault, On, Rule, ServerConfig, Simulator, WorldConfig};
use deskledger::store::{Recorder, Store, StoreError};
use deskledger::workspace::{Client, ClientConfig, Credentials, Visit};
use serde_json::{Map, Value, json};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;

use crate::support::cycle::{is_recorded, keeper, visited};
use crate::support::ledger::{ledger, lines, pack, record, report_sql, rows};
use crate::support::program::Home;

type Row = Map<String, Value>;

/// A desktop as a listing shows it: id, status, users.
type Listed<'a> = (&'a str, Option<&'a str>, &'a [&'a str]);

const CONNECTED: Option<&str> = Some("CONNECTED");
const DISCONNECTED: Option<&str> = Some("DISCONNECTED");
const READY: Option<&str> = Some("REGISTERED");

/// A complete listing at an instant, as a line of the exchange format.
fn visit(at: &str, desktops: &[Listed<'_>]) -> Value {
    let desktops: Vec<Value> = desktops
        .iter()
        .map(|(id, status, users)| {
            let users: Vec<Value> = users
                .iter()
                .map(|name| json!({ "id": format!("id-{name}"), "name": name, "type": "USER" }))
                .collect();
            json!({ "desktop_id": id, "desktop_name": id, "connect_status": status, "attach_users": users })
        })
        .collect();
    json!({
        "source": "prod", "observed_at": at, "max_gap": "15m", "total_count": desktops.len(),
        "desktops": desktops, "statics": [],
    })
}

/// Visits to one desktop of alice's, at times of one morning.
fn morning(states: &[(&str, Option<&str>)]) -> Vec<Value> {
    states
        .iter()
        .map(|(time, status)| {
            visit(&format!("2026-10-05T{time}:00Z"), &[("d-a", *status, &["alice"])])
        })
        .collect()
}

async fn recorded(store: &Store, visits: &[Value]) {
    let lines: Vec<String> = visits.iter().map(Value::to_string).collect();
    record(store, &lines.join("\n"), 1, usize::MAX).await;
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// An instant of that morning as rows have it.
fn at(time: &str) -> Value {
    json!(instant(&format!("2026-10-05T{time}:00Z")).timestamp_micros())
}

const MINUTE: i64 = 60_000_000;

fn minutes(minutes: i64) -> Value {
    json!(minutes * MINUTE)
}

/// The rows of a report in buckets.
async fn buckets(
    pool: &PgPool,
    name: &str,
    from: &str,
    to: &str,
    bucket: &str,
    tz: &str,
) -> Vec<Row> {
    let parameters = [
        ("from", from),
        ("to", to),
        ("bucket", bucket),
        ("tz", tz),
        ("source", ""),
        ("group", ""),
        ("reconnect_within", "15m"),
    ];
    rows(pool, &report_sql(name, &parameters)).await
}

/// The same by the hour of that morning.
async fn hours(pool: &PgPool, name: &str, from: &str, to: &str) -> Vec<Row> {
    let day = |time: &str| format!("2026-10-05T{time}:00Z");
    buckets(pool, name, &day(from), &day(to), "hour", "UTC").await
}

/// Fails unless a row holds these values; figures may differ by rounding.
#[track_caller]
fn assert_holds(row: &Row, expected: Value) {
    for (column, value) in expected.as_object().unwrap() {
        let same = match (value.as_f64(), row[column].as_f64()) {
            (Some(one), Some(other)) => (one - other).abs() < 1e-9,
            _ => *value == row[column],
        };
        assert!(same, "{column} is {} instead of {value} in {row:?}", row[column]);
    }
}

async fn connections(pool: &PgPool) -> Vec<Row> {
    rows(pool, "select * from deskledger.connections order by first_seen, desktop_id").await
}

#[tokio::test]
async fn all_zero_hour_is_not_no_hour() {
    let (database, store) = ledger().await;
    let times = ["08:00", "08:15", "08:30", "08:45", "09:00"];
    recorded(&store, &morning(&times.map(|time| (time, READY)))).await;
    let all = hours(&database.pool, "utilisation", "08:00", "10:00").await;
    assert_eq!(all.len(), 2);
    assert_holds(
        &all[0],
        json!({ "desktops_avg": 1, "connected_avg": 0, "connected_peak": 0, "connected_hours": 0,
                "utilisation_pct": 0, "coverage_pct": 100 }),
    );
    assert_holds(
        &all[1],
        json!({ "desktops_avg": null, "connected_avg": null, "connected_peak": null, "connected_hours": null,
                "utilisation_pct": null, "coverage_pct": 0 }),
    );
    let all = hours(&database.pool, "disconnects", "08:00", "10:00").await;
    assert_holds(
        &all[0],
        json!({ "disconnects": 0, "connections_started": 0, "reconnect_pct": null }),
    );
    assert_holds(&all[1], json!({ "disconnects": null, "connections_started": null }));
}

#[tokio::test]
async fn window_edge_sessions_are_clipped_and_counted() {
    let (database, store) = ledger().await;
    // d-a begins before the hour and ends in it, and is connected again at its end; d-b all the time.
    let states = [
        ("07:40", READY),
        ("07:50", CONNECTED),
        ("08:00", CONNECTED),
        ("08:10", CONNECTED),
        ("08:20", DISCONNECTED),
        ("08:30", DISCONNECTED),
        ("08:40", CONNECTED),
        ("08:50", CONNECTED),
        ("09:00", CONNECTED),
        ("09:10", DISCONNECTED),
    ];
    let visits: Vec<Value> = states
        .iter()
        .map(|(time, status)| {
            let at = format!("2026-10-05T{time}:00Z");
            visit(&at, &[("d-a", *status, &["alice"]), ("d-b", CONNECTED, &["bob"])])
        })
        .collect();
    recorded(&store, &visits).await;
    let pool = &database.pool;
    let all = hours(pool, "utilisation", "08:00", "09:00").await;
    // 20 + 20 minutes of d-a and 60 of d-b, of 120.
    assert_holds(
        &all[0],
        json!({ "desktops_avg": 2, "connected_hours": 100.0 / 60.0, "connected_peak": 2,
                "utilisation_pct": 250.0 / 3.0, "disconnected_avg": 20.0 / 60.0 }),
    );
    let all = hours(pool, "disconnects", "08:00", "09:00").await;
    assert_holds(
        &all[0],
        json!({ "connections_started": 1, "connections_ended": 1, "disconnects": 1, "reconnects": 0,
                "connected_hours": 100.0 / 60.0 }),
    );
    // Cut in the middle of everything: what began before and is open at the end counts with its part.
    let all = hours(pool, "utilisation", "08:05", "08:15").await;
    assert_holds(
        &all[0],
        json!({ "connected_avg": 2, "connected_hours": 20.0 / 60.0, "coverage_pct": 100 }),
    );
    let history = report_sql(
        "user-history",
        &[
            ("user", "alice"),
            ("from", "2026-10-05T08:05:00Z"),
            ("to", "2026-10-05T08:15:00Z"),
            ("source", ""),
            ("tz", "UTC"),
        ],
    );
    let history = rows(pool, &history).await;
    assert_eq!(history.len(), 1);
    assert_holds(&history[0], json!({ "first_seen": at("07:50"), "last_seen": at("08:10") }));
}

#[tokio::test]
async fn two_sessions_of_one_user_at_once_are_two_rows() {
    let (database, store) = ledger().await;
    let both = |time: &str, status| {
        let at = format!("2026-10-05T{time}:00Z");
        visit(&at, &[("d-a", status, &["alice"]), ("d-b", status, &["alice"])])
    };
    recorded(&store, &[both("08:00", CONNECTED), both("08:10", CONNECTED), both("08:20", READY)])
        .await;
    let history = report_sql(
        "user-history",
        &[
            ("user", "alice"),
            ("from", "2026-10-05"),
            ("to", "2026-10-06"),
            ("source", ""),
            ("tz", "UTC"),
        ],
    );
    let history = rows(&database.pool, &history).await;
    let desktops: Vec<&Value> = history.iter().map(|row| &row["desktop_id"]).collect();
    assert_eq!(desktops, ["d-a", "d-b"]);
    for row in &history {
        assert_holds(row, json!({ "first_seen": at("08:00"), "ended_before": at("08:20") }));
    }
    let all = hours(&database.pool, "utilisation", "08:00", "09:00").await;
    assert_holds(&all[0], json!({ "connected_peak": 2, "connected_hours": 40.0 / 60.0 }));
}

#[tokio::test]
async fn one_desktop_with_several_users_is_shared() {
    let (database, store) = ledger().await;
    let shared = |time: &str, status| {
        visit(&format!("2026-10-05T{time}:00Z"), &[("d-a", status, &["bob", "alice"])])
    };
    recorded(&store, &[shared("08:00", CONNECTED), shared("08:10", READY)]).await;
    let all = connections(&database.pool).await;
    assert_eq!(all.len(), 1);
    assert_holds(&all[0], json!({ "users": ["alice", "bob"], "attribution": "shared" }));
    for user in ["alice", "bob"] {
        let history = report_sql(
            "user-history",
            &[
                ("user", user),
                ("from", "2026-10-05"),
                ("to", "2026-10-06"),
                ("source", ""),
                ("tz", "UTC"),
            ],
        );
        let history = rows(&database.pool, &history).await;
        assert_eq!(history.len(), 1);
        assert_holds(&history[0], json!({ "user_name": user, "attribution": "shared" }));
    }
    // One desktop, one session: counted once whoever may sit at it.
    let all = hours(&database.pool, "utilisation", "08:00", "09:00").await;
    assert_holds(&all[0], json!({ "connected_peak": 1, "connected_hours": 10.0 / 60.0 }));
}

#[tokio::test]
async fn a_missing_sample_does_not_shorten_or_lengthen_a_connection() {
    let whole = [
        ("08:00", READY),
        ("08:05", CONNECTED),
        ("08:10", CONNECTED),
        ("08:15", CONNECTED),
        ("08:20", READY),
    ];
    let mut all = Vec::new();
    for missing in [None, Some(2), Some(3)] {
        let (database, store) = ledger().await;
        let mut states = whole.to_vec();
        if let Some(missing) = missing {
            states.remove(missing);
        }
        recorded(&store, &morning(&states)).await;
        let connections = connections(&database.pool).await;
        assert_eq!(connections.len(), 1);
        all.push(connections[0].clone());
    }
    let expected = |last_seen: &str, at_least: i64| {
        json!({ "first_seen": at("08:05"), "last_seen": at(last_seen), "held_until": at("08:20"),
                "held_duration": minutes(15), "min_duration": minutes(at_least), "max_duration": minutes(20) })
    };
    assert_holds(&all[0], expected("08:15", 10));
    assert_holds(&all[1], expected("08:15", 10));
    assert_holds(&all[2], expected("08:10", 5));

    // More than max_gap is missing: nobody knows what was in between, and nothing of it is counted.
    let (database, store) = ledger().await;
    let states = [
        ("08:00", READY),
        ("08:05", CONNECTED),
        ("08:10", CONNECTED),
        ("08:26", CONNECTED),
        ("08:30", READY),
    ];
    recorded(&store, &morning(&states)).await;
    let all = connections(&database.pool).await;
    assert_eq!(all.len(), 2);
    assert_holds(
        &all[0],
        json!({ "held_until": at("08:10"), "held_duration": minutes(5), "max_duration": null, "ended_as": "UNKNOWN" }),
    );
    assert_holds(
        &all[1],
        json!({ "first_seen": at("08:26"), "started_after": null, "held_duration": minutes(4), "max_duration": null }),
    );
    let all = hours(&database.pool, "utilisation", "08:00", "09:00").await;
    assert_holds(
        &all[0],
        json!({ "connected_hours": 9.0 / 60.0, "coverage_pct": 14.0 / 60.0 * 100.0 }),
    );
}

#[tokio::test]
async fn what_nothing_followed_holds_for_no_time() {
    let (database, store) = ledger().await;
    let both: [Listed<'_>; 2] = [("d-a", CONNECTED, &["alice"]), ("d-b", CONNECTED, &["bob"])];
    // d-b is left out of two partial listings, which say nothing about it; then nobody looks any more.
    let mut visits = vec![visit("2026-10-05T08:00:00Z", &both)];
    for time in ["08:10", "08:20"] {
        let mut partial = visit(&format!("2026-10-05T{time}:00Z"), &both[..1]);
        partial["total_count"] = json!(2);
        visits.push(partial);
    }
    recorded(&store, &visits).await;
    let expected = json!({
        "desktops_avg": 1, "connected_avg": 1, "connected_peak": 1, "connected_hours": 20.0 / 60.0,
        "utilisation_pct": 100, "listed_pct": 75, "coverage_pct": 20.0 / 60.0 * 100.0,
    });
    let all = hours(&database.pool, "utilisation", "08:00", "09:00").await;
    assert_holds(&all[0], expected.clone());
    let all = connections(&database.pool).await;
    assert_holds(&all[0], json!({ "held_until": at("08:20"), "held_duration": minutes(20) }));
    assert_holds(&all[1], json!({ "held_until": at("08:00"), "held_duration": 0 }));
    // It stays so when the desktop is seen again, too late.
    recorded(&store, &[visit("2026-10-05T08:30:00Z", &both)]).await;
    let all = hours(&database.pool, "utilisation", "08:00", "08:20").await;
    assert_holds(&all[0], json!({ "desktops_avg": 1, "connected_peak": 1, "listed_pct": 75 }));
}

/// A counter that the API leaves out is in no average for that time; a share needs all five, and knows no other time.
#[tokio::test]
async fn a_counter_that_is_left_out_is_unknown_and_not_zero() {
    let (database, store) = ledger().await;
    let counted = |time: &str, counters: Value| {
        let mut line = visit(&format!("2026-10-05T{time}:00Z"), &[]);
        line["statics"] = json!([counters]);
        line
    };
    let visits = [
        counted(
            "08:00",
            json!({ "static_name": "pool", "in_use_num": 10, "ready_num": 30, "disconnected_num": 0,
                    "unregistered_num": 0, "unknown_num": 0, "running_num": 40 }),
        ),
        counted(
            "08:15",
            json!({ "static_name": "pool", "in_use_num": 20, "disconnected_num": 6, "unregistered_num": 0,
                    "unknown_num": 0 }),
        ),
        counted("08:30", json!({ "static_name": "pool", "ready_num": 8, "running_num": 50 })),
        visit("2026-10-05T08:45:00Z", &[]),
    ];
    recorded(&store, &visits).await;
    let all = hours(&database.pool, "group-utilisation", "08:00", "09:00").await;
    assert_eq!(all.len(), 1, "{all:?}");
    assert_holds(
        &all[0],
        json!({ "in_use_avg": 15, "ready_avg": 19, "disconnected_avg": 3, "unregistered_avg": 0, "unknown_avg": 0,
                "running_avg": 45, "in_use_peak": 20, "in_use_pct": 25, "coverage_pct": 75 }),
    );
    // Where none has all five, there is no share.
    let later = hours(&database.pool, "group-utilisation", "08:15", "08:45").await;
    assert_holds(
        &later[0],
        json!({ "in_use_avg": 20, "ready_avg": 8, "running_avg": 50, "in_use_pct": null, "coverage_pct": 100 }),
    );
}

#[tokio::test]
async fn null_transitions_are_changes() {
    let (database, store) = ledger().await;
    let mut visits = morning(&[
        ("08:00", CONNECTED),
        ("08:05", None),
        ("08:10", None),
        ("08:15", CONNECTED),
        ("08:20", CONNECTED),
        ("08:25", CONNECTED),
    ]);
    visits[4]["desktops"][0]["desktop_name"] = Value::Null;
    visits[5]["desktops"][0]["attach_users"] = Value::Null;
    recorded(&store, &visits).await;
    let states = rows(
        &database.pool,
        "select connect_status, desktop_name, first_seen from deskledger.desktop_states order by first_seen",
    )
    .await;
    let expected = [
        json!({ "connect_status": "CONNECTED", "desktop_name": "d-a", "first_seen": at("08:00") }),
        json!({ "connect_status": null, "desktop_name": "d-a", "first_seen": at("08:05") }),
        json!({ "connect_status": "CONNECTED", "desktop_name": "d-a", "first_seen": at("08:15") }),
        json!({ "connect_status": "CONNECTED", "desktop_name": null, "first_seen": at("08:20") }),
        json!({ "connect_status": "CONNECTED", "desktop_name": "d-a", "first_seen": at("08:25") }),
    ];
    assert_eq!(json!(states), json!(expected));
    let all = connections(&database.pool).await;
    assert_eq!(all.len(), 3);
    assert_holds(&all[0], json!({ "ended_as": "NO STATUS", "ended_before": at("08:05") }));
    // The name going away does not end it; the users going away does.
    assert_holds(
        &all[1],
        json!({ "first_seen": at("08:15"), "desktop_name": null, "ended_as": "REASSIGNED" }),
    );
    assert_holds(
        &all[2],
        json!({ "users": [], "attribution": "unassigned", "ended_as": "ONGOING" }),
    );
    let changes =
        rows(&database.pool, "select changes from deskledger.snapshots order by observed_at").await;
    let changes: Vec<&Value> = changes.iter().map(|row| &row["changes"]).collect();
    assert_eq!(changes, [1, 1, 0, 1, 1, 1]);
}

/// Seen CONNECTED before a gap, and otherwise after it, in listings that are partial: it is what it was seen as last.
#[tokio::test]
async fn a_connection_before_a_gap_is_over_once_the_desktop_is_seen_otherwise() {
    let (database, store) = ledger().await;
    let partial = |time: &str, status| {
        let mut visit =
            visit(&format!("2026-10-05T{time}:00Z"), &[("d-a", status, &["alice"][..])]);
        visit["total_count"] = json!(2);
        visit
    };
    let whole =
        visit("2026-10-05T08:00:00Z", &[("d-a", CONNECTED, &["alice"]), ("d-b", READY, &["ben"])]);
    let visits =
        [whole, partial("09:00", READY), partial("09:05", READY), partial("09:10", CONNECTED)];
    recorded(&store, &visits).await;
    let answer = async |time: &str| {
        let when = format!("2026-10-05T{time}:00Z");
        let asked = [("at", &*when), ("tz", "UTC"), ("source", "")];
        let answer = rows(&database.pool, &report_sql("connected-at", &asked)).await;
        let told = |row: &Row| (row["desktop_id"].clone(), row["certainty"].clone());
        answer.iter().map(told).collect::<Vec<_>>()
    };
    let nobody_knows = (Value::Null, json!("not observed"));
    for packed in [false, true] {
        if packed {
            pack(&store).await;
        }
        // In the gap it was connected when it was seen last; of the other one nothing can be said.
        let before = (json!("d-a"), json!("not observed"));
        assert_eq!(answer("08:30").await, [before, nobody_knows.clone()]);
        assert_eq!(answer("09:02").await, std::slice::from_ref(&nobody_knows));
    }
}

/// On the last evening of a month all that is connected goes on into the next one: few are looked for one by one, many at once.
#[tokio::test]
async fn how_connections_end_in_the_next_month_is_known_of_few_and_of_many() {
    for desktops in [20, 700] {
        let (database, store) = ledger().await;
        let ids: Vec<String> = (0..desktops).map(|no| format!("d-{no:03}")).collect();
        let listing = |status: &dyn Fn(usize) -> Option<Option<&'static str>>| {
            let seen = ids.iter().enumerate().filter_map(|(no, id)| Some((&**id, status(no)?)));
            seen.map(|(id, status)| (id, status, &["alice"][..])).collect::<Vec<_>>()
        };
        // A third goes on, a third is disconnected, a third is gone.
        let after = listing(&|no| [Some(CONNECTED), Some(DISCONNECTED), None][no % 3]);
        let before = listing(&|_| Some(CONNECTED));
        let visits: Vec<Value> = [
            ("2026-10-31T23:40:00Z", &listing(&|_| Some(READY))),
            ("2026-10-31T23:45:00Z", &before),
            ("2026-10-31T23:50:00Z", &before),
            ("2026-11-01T00:05:00Z", &before),
            ("2026-11-01T00:10:00Z", &after),
            ("2026-11-01T00:15:00Z", &after),
        ]
        .map(|(at, seen)| {
            let mut visit = visit(at, seen);
            visit["max_gap"] = json!("20m");
            visit
        })
        .into();
        recorded(&store, &visits).await;
        let bounds = "desktop_id, first_seen, last_seen, started_after, ended_before";
        let connections =
            format!("select {bounds} from deskledger.connections order by desktop_id");
        let asked = [("at", "2026-10-31T23:55:00Z"), ("tz", "UTC"), ("source", "")];
        let answer = report_sql("connected-at", &asked);
        let answer = format!("select {bounds} from ({answer}) told order by desktop_id");
        for packed in [false, true] {
            if packed {
                pack(&store).await;
            }
            let told = rows(&database.pool, &answer).await;
            assert_eq!(told.len(), ids.len());
            assert_eq!(told, rows(&database.pool, &connections).await, "packed: {packed}");
            let ends: BTreeSet<String> =
                told.iter().map(|row| row["ended_before"].to_string()).collect();
            assert_eq!(ends.len(), 2, "{ends:?}");
        }
    }
}

#[tokio::test]
async fn an_open_span_survives_month_end() {
    let (database, store) = ledger().await;
    let days = ["2026-09-29", "2026-09-30", "2026-10-01", "2026-10-02", "2026-11-02", "2026-11-03"];
    let visits: Vec<Value> = days
        .iter()
        .map(|day| {
            let mut visit = visit(&format!("{day}T12:00:00Z"), &[("d-a", CONNECTED, &["alice"])]);
            visit["max_gap"] = json!("31d");
            visit
        })
        .collect();
    recorded(&store, &visits).await;
    let filed = rows(&database.pool, "select ended from deskledger_data.span").await;
    assert_eq!(filed.len(), 2, "September and October are filed while the span is open");
    let micros = |day: &str| json!(instant(&format!("{day}T12:00:00Z")).timestamp_micros());
    let all = connections(&database.pool).await;
    assert_eq!(all.len(), 1);
    assert_holds(
        &all[0],
        json!({ "first_seen": micros("2026-09-29"), "last_seen": micros("2026-11-03"),
                "held_duration": 35 * 24 * 60 * MINUTE, "ended_as": "ONGOING" }),
    );
    for day in ["2026-09-29", "2026-09-30", "2026-10-15", "2026-11-03"] {
        let sql = report_sql(
            "connected-at",
            &[("at", &format!("{day}T12:00:00Z")), ("tz", "UTC"), ("source", "")],
        );
        let answer = rows(&database.pool, &sql).await;
        assert_eq!(answer.len(), 1, "{day}: {answer:?}");
        assert_holds(
            &answer[0],
            json!({ "desktop_id": "d-a", "certainty": "observed", "first_seen": micros("2026-09-29") }),
        );
    }
    let months =
        buckets(&database.pool, "utilisation", "2026-09-01", "2026-12-01", "month", "UTC").await;
    let connected: Vec<f64> =
        months.iter().map(|row| row["connected_hours"].as_f64().unwrap()).collect();
    assert_eq!(connected, [36.0, 744.0, 60.0]);
}

#[tokio::test]
async fn dst_days_of_23_and_25_hours() {
    for (day, length) in [("2026-03-29", 23), ("2026-10-25", 25)] {
        let (database, store) = ledger().await;
        let midnight = instant(&format!("{day}T00:00:00Z")) - TimeDelta::hours(6);
        let visits: Vec<Value> = (0..40)
            .map(|hour| {
                let at = (midnight + TimeDelta::hours(hour)).to_rfc3339();
                let mut visit = visit(&at, &[("d-a", CONNECTED, &["alice"])]);
                visit["max_gap"] = json!("1h");
                visit
            })
            .collect();
        recorded(&store, &visits).await;
        let next = (instant(&format!("{day}T00:00:00Z")) + TimeDelta::days(1))
            .format("%Y-%m-%d")
            .to_string();
        let pool = &database.pool;
        let days = buckets(pool, "utilisation", day, &next, "day", "Europe/Berlin").await;
        assert_eq!(days.len(), 1);
        assert_holds(
            &days[0],
            json!({ "connected_hours": length, "connected_avg": 1, "coverage_pct": 100 }),
        );
        let hours = buckets(pool, "utilisation", day, &next, "hour", "Europe/Berlin").await;
        assert_eq!(hours.len(), length, "a skipped hour is none, a repeated one is two");
        for hour in &hours {
            assert_holds(hour, json!({ "connected_hours": 1, "coverage_pct": 100 }));
        }
        let coverage = buckets(pool, "coverage", day, &next, "day", "Europe/Berlin").await;
        assert_holds(&coverage[0], json!({ "covered_hours": length, "snapshots": length }));
    }
}

#[tokio::test]
async fn utilisation_never_exceeds_100() {
    let (database, store) = ledger().await;
    // The API counts fewer than it lists, lists one twice, and changes its mind in every listing.
    let visits: Vec<Value> = (0..12)
        .map(|nth| {
            let at = format!("2026-10-05T08:{:02}:00Z", nth * 5);
            let twice: Listed<'_> = ("d-a", CONNECTED, &["alice"]);
            let mut visit = visit(&at, &[twice, ("d-b", CONNECTED, &["bob", "eve"]), twice]);
            visit["total_count"] = json!(nth % 3);
            visit
        })
        .collect();
    recorded(&store, &visits).await;
    let all = hours(&database.pool, "utilisation", "08:00", "09:00").await;
    assert_holds(
        &all[0],
        json!({ "utilisation_pct": 100, "connected_avg": 2, "connected_peak": 2, "listed_pct": 100,
                "connected_hours": 110.0 / 60.0, "coverage_pct": 55.0 / 60.0 * 100.0 }),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_limit_loses_nothing() {
    // More snapshots than are recorded in one transaction, or read back at a time.
    let visits: Vec<String> = (0..600)
        .map(|minute| {
            let at = instant("2026-10-05T00:00:00Z") + TimeDelta::minutes(minute);
            let status = if minute % 2 == 0 { CONNECTED } else { DISCONNECTED };
            visit(&at.to_rfc3339(), &[("d-a", status, &["alice"])]).to_string()
        })
        .collect();
    let (database, _store) = ledger().await;
    let home = Home::new(&database);
    let input = visits.join("\n");
    let done = home.run_with_input(&["import", "-"], input.as_bytes()).await.expect(0);
    assert!(done.err.contains("600 snapshots recorded, 0 were"), "{}", done.err);
    assert_eq!(connections(&database.pool).await.len(), 300);
    let exported = home.run(&["export"]).await.expect(0).out;
    assert_eq!(exported.lines().count(), 600);
    let done = home.run_with_input(&["import", "-"], exported.as_bytes()).await.expect(0);
    assert!(done.err.contains("0 snapshots recorded, 600 were"), "{}", done.err);
}

// What follows reads an API over HTTP.

const TOKEN: &str = "a-token";

fn start() -> DateTime<Utc> {
    instant("2026-10-07T02:00:00Z")
}

/// An API over 250 desktops that stand still, three pages of 100.
async fn simulator() -> Simulator {
    let (clock, _) = Clock::manual(start());
    let mut config = ServerConfig::new(WorldConfig::new(5, 250, start(), 30), "project");
    config.token = Some(TOKEN.into());
    config.clock = clock;
    Simulator::start(config).await.unwrap()
}

/// A client for whom each visit takes half a minute of the recorder's clock.
struct Slow {
    client: Client,
    clock: deskledger::clock::ManualClock,
    _folder: TempDir,
}

impl Visitor for Slow {
    async fn visit(&mut self) -> Visit {
        let visit = self.client.visit().await;
        self.clock.advance(TimeDelta::seconds(30));
        visit
    }
}

/// A recorder of that API, and the clock that it looks at.
async fn cycle(
    store: &Store,
    simulator: &Simulator,
) -> (Cycle<Slow>, deskledger::clock::ManualClock) {
    let endpoint = simulator.endpoint().parse().unwrap();
    let mut config = ClientConfig::new(endpoint, "project", Credentials::Token(TOKEN.into()));
    config.page_size = 100;
    config.retry_budget = Duration::from_secs(20);
    let (clock, hands) = Clock::manual(start());
    let (client, folder) = (Client::new(config).unwrap(), tempfile::tempdir().unwrap());
    let keeper = keeper(store, &prod(), folder.path(), &clock, None);
    let visitor = Slow { client, clock: hands.clone(), _folder: folder };
    (Cycle::new("prod", visitor, keeper, clock, TimeDelta::minutes(15)), hands)
}

fn prod() -> Source {
    Source { name: "prod".to_owned(), region: None, project_id: None, endpoint: None }
}

async fn snapshots(pool: &PgPool) -> Vec<Row> {
    rows(pool, "select * from deskledger.snapshots order by observed_at").await
}

/// How often a desktop was gone from a listing.
async fn absences(pool: &PgPool) -> i64 {
    let sql = "select count(*) from deskledger_data.span where ended = -3";
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// After a complete listing, visits that go wrong in a way; says what was recorded of the last one.
async fn after_a_good_listing(rules: Vec<Rule>) -> Row {
    let (database, store) = ledger().await;
    let simulator = simulator().await;
    let (mut cycle, hands) = cycle(&store, &simulator).await;
    visited(cycle.run(None).await);
    simulator.set_faults(rules);
    hands.advance(TimeDelta::minutes(5));
    visited(cycle.run(None).await);
    assert_eq!(absences(&database.pool).await, 0, "a part says nothing of who is not in it");
    let present = "select count(*) as n from deskledger.desktop_states";
    assert_eq!(rows(&database.pool, present).await[0]["n"], 250);
    simulator.stop().await.unwrap();
    snapshots(&database.pool).await.pop().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn page_drift_is_read_again_or_partial() {
    // While pages were read, rows moved: one page came again, and what it displaced was lost.
    let drift = || Rule::new(Fault::RepeatPage).offset(100);
    let row = after_a_good_listing(vec![drift().times(1)]).await;
    assert_holds(
        &row,
        json!({ "desktops_outcome": "complete", "desktops_recorded": 250, "desktops_total": 250 }),
    );
    // Of the hundred that are displaced for good, a few are nobody's; the others are found by their users.
    let row = after_a_good_listing(vec![drift()]).await;
    assert_holds(
        &row,
        json!({ "desktops_outcome": "partial", "desktops_total": 250, "changes": 0 }),
    );
    let recorded = row["desktops_recorded"].as_i64().unwrap();
    assert!((240..250).contains(&recorded), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn total_count_changing_between_pages_is_read_again_or_partial() {
    let change = || Rule::new(Fault::WrongTotal(1)).offset(200);
    let row = after_a_good_listing(vec![change().times(1)]).await;
    assert_holds(&row, json!({ "desktops_outcome": "complete", "desktops_total": 250 }));
    let row = after_a_good_listing(vec![change()]).await;
    assert_holds(
        &row,
        json!({ "desktops_outcome": "partial", "desktops_recorded": 250, "desktops_total": null, "changes": 0 }),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_in_the_middle_end_nothing() {
    let expired = Rule::new(Fault::ExpiredToken).on(On::Listing).offset(200);
    let row = after_a_good_listing(vec![expired]).await;
    assert_holds(
        &row,
        json!({ "desktops_outcome": "partial", "desktops_recorded": 200, "changes": 0 }),
    );
    assert!(row["error_message"].as_str().unwrap().contains("HTTP 401"), "{row:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn total_over_the_reach_is_partial() {
    let (database, store) = ledger().await;
    let (clock, hands) = Clock::manual(start());
    let mut config = ServerConfig::new(WorldConfig::new(5, 250, start(), 30), "project");
    config.token = Some(TOKEN.into());
    config.clock = clock.clone();
    config.max_offset = 0;
    let simulator = Simulator::start(config).await.unwrap();
    let endpoint = simulator.endpoint().parse().unwrap();
    let mut config = ClientConfig::new(endpoint, "project", Credentials::Token(TOKEN.into()));
    (config.page_size, config.max_offset) = (20, 0);
    let (client, folder) = (Client::new(config).unwrap(), tempfile::tempdir().unwrap());
    let keeper = keeper(&store, &prod(), folder.path(), &clock, None);
    let visitor = Slow { client, clock: hands, _folder: folder };
    let mut cycle = Cycle::new("prod", visitor, keeper, clock, TimeDelta::minutes(15));
    for _ in 0..2 {
        visited(cycle.run(None).await);
    }
    for row in snapshots(&database.pool).await {
        assert_holds(&row, json!({ "desktops_outcome": "partial", "desktops_total": 250 }));
        let recorded = row["desktops_recorded"].as_i64().unwrap();
        assert!((80..250).contains(&recorded), "{row:?}");
    }
    assert_eq!(absences(&database.pool).await, 0);
    let sql = report_sql(
        "connected-at",
        &[("at", "2026-10-07T02:00:10Z"), ("tz", "UTC"), ("source", "")],
    );
    let answer = rows(&database.pool, &sql).await;
    let unknown = answer.last().unwrap();
    assert_holds(unknown, json!({ "desktop_id": null, "certainty": "not observed" }));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn retries_keep_observed_at() {
    let (database, store) = ledger().await;
    let simulator = simulator().await;
    simulator.set_faults(vec![
        Rule::new(Fault::Status(503)).on(On::Listing).offset(0).times(2),
        Rule::new(Fault::Drop).on(On::Listing).offset(200).times(1),
    ]);
    let (mut cycle, _) = cycle(&store, &simulator).await;
    let outcome = visited(cycle.run(Some(start() - TimeDelta::seconds(1))).await);
    assert_eq!(
        outcome.effort.traffic.requests,
        3 + 1 + 3,
        "three pages, the statistics, three repetitions"
    );
    let all = snapshots(&database.pool).await;
    assert_eq!(all.len(), 1);
    assert_holds(
        &all[0],
        json!({ "observed_at": start().timestamp_micros(),
                "finished_at": (start() + TimeDelta::seconds(30)).timestamp_micros(),
                "scheduled_at": (start() - TimeDelta::seconds(1)).timestamp_micros(),
                "desktops_outcome": "complete" }),
    );
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_copy_never_gets_a_new_time() {
    let (database, store) = ledger().await;
    let simulator = simulator().await;
    let (mut cycle, hands) = cycle(&store, &simulator).await;
    let away = |is_away: bool| {
        let (from, to) = if is_away { ("head", "away") } else { ("away", "head") };
        format!("alter table deskledger_data.{from} rename to {to}")
    };
    let pool = database.pool.clone();
    let execute =
        async |sql: String| sqlx::query(AssertSqlSafe(sql)).execute(&pool).await.map(drop);
    let tick = |nth: i64| start() + TimeDelta::minutes(5 * nth);
    // The database is away for two ticks, and back for the third.
    execute(away(true)).await.unwrap();
    for nth in 0..2 {
        hands.advance(tick(nth) - hands.now());
        let outcome = visited(cycle.run(Some(tick(nth))).await);
        assert!(matches!(outcome.kept, Kept::Spooled { .. }), "{:?}", outcome.kept);
    }
    execute(away(false)).await.unwrap();
    hands.advance(tick(2) - hands.now());
    assert!(is_recorded(&visited(cycle.run(Some(tick(2))).await)));
    let all = snapshots(&database.pool).await;
    assert_eq!(all.len(), 3);
    for (row, nth) in all.iter().zip(0..) {
        let micros = tick(nth).timestamp_micros();
        assert_holds(row, json!({ "observed_at": micros, "scheduled_at": micros }));
    }
    // And what comes after something newer is refused, not dated anew.
    let mut late = Recorder::open(&store, &prod()).await.unwrap();
    let line = visit("2026-10-07T02:07:00Z", &[]).to_string();
    let refused = late.record(&lines(&line)[0].snapshot).await.unwrap_err();
    assert!(matches!(refused, StoreError::History(HistoryError::NotNewer { .. })), "{refused}");
    assert_eq!(snapshots(&database.pool).await.len(), 3);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_tick_twice_is_recorded_once() {
    let (database, store) = ledger().await;
    let simulator = simulator().await;
    // Two recorders of one source, which know nothing of each other.
    let (mut one, _) = cycle(&store, &simulator).await;
    let (mut other, hands) = cycle(&store, &simulator).await;
    let tick = start();
    assert!(is_recorded(&visited(one.run(Some(tick)).await)));
    // The other is later, so that its snapshot is newer, but of the same tick.
    hands.advance(TimeDelta::seconds(7));
    assert!(!is_recorded(&visited(other.run(Some(tick)).await)));
    hands.advance(TimeDelta::seconds(7));
    assert!(!is_recorded(&visited(other.run(Some(tick - TimeDelta::minutes(5))).await)));
    let recorded = async || {
        snapshots(&database.pool).await.iter().filter(|row| row["late"] == json!(false)).count()
    };
    assert_eq!(recorded().await, 1);
    // What it read is kept all the same.
    assert_eq!(snapshots(&database.pool).await.len(), 3);
    hands.advance(TimeDelta::seconds(7));
    assert!(is_recorded(&visited(other.run(Some(tick + TimeDelta::minutes(5))).await)));
    assert_eq!(recorded().await, 2);
    simulator.stop().await.unwrap();
}

#[test]
fn of_two_records_with_one_id_the_later_is_kept() {
    let of = |status: &str| {
        lines(&visit("2026-10-05T08:00:00Z", &[("d-a", Some(status), &[])]).to_string())
    };
    let desktop =
        |status: &str| of(status)[0].snapshot.desktops.as_ref().unwrap().desktops()[0].clone();
    let listing = Listing::new(vec![desktop("REGISTERED"), desktop("CONNECTED")]);
    assert_eq!(listing.desktops(), [desktop("CONNECTED")]);
}
