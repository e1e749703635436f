//! Cases of who was connected when, and for how long.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::{ANNA, CUT, at, column, ledger, seen, with};
use crate::oracle::coverage::Period;
use crate::oracle::ledger::DAY;
use crate::oracle::reports;

fn user(name: &str, kind: &str) -> Value {
    json!({"id": format!("id-{name}"), "name": name, "type": kind})
}

/// A snapshot of desktops, each CONNECTED or READY and with its users.
fn listed(time: &str, desktops: &[(&str, bool, Vec<Value>)]) -> Value {
    let record = |(id, connected, users): &(&str, bool, Vec<Value>)| {
        let status = if *connected { "CONNECTED" } else { "REGISTERED" };
        json!({"desktop_id": id, "connect_status": status, "attach_users": users})
    };
    let desktops: Vec<Value> = desktops.iter().map(record).collect();
    with(seen(time, &[]), "desktops", desktops)
}

fn morning() -> Period {
    Period { from: at("08:00:00"), to: at("09:00:00") }
}

#[test]
fn an_instant_on_two_desktops_counts_once_under_the_surest_grade() {
    let anna = || vec![user("anna", "USER")];
    let both = || vec![user("anna", "USER"), user("ben", "USER")];
    let pool = || vec![user("anna", "USER"), user("all", "GROUP")];
    let state = |one, two, three| [("d1", one, anna()), ("d2", two, both()), ("d3", three, pool())];
    let ledger = ledger(&[
        listed("08:00:00", &state(true, true, false)),
        listed("08:10:00", &state(false, true, true)),
        listed("08:20:00", &state(false, false, true)),
        listed("08:30:00", &state(false, false, false)),
    ]);
    let rows = reports::user_hours(&ledger, morning(), "", true, morning().to);
    assert_eq!(column(&rows, "user_name"), json!(["anna", "anna", "anna", "ben"]));
    assert_eq!(column(&rows, "attribution"), json!(["exclusive", "shared", "group", "shared"]));
    let hours = [10.0 / 60.0, 10.0 / 60.0, 10.0 / 60.0, 20.0 / 60.0];
    assert_eq!(column(&rows, "connected_hours"), json!(hours));
    let rows = reports::user_hours(&ledger, morning(), "", false, morning().to);
    let hours = [10.0 / 60.0, 20.0 / 60.0, 20.0 / 60.0, 20.0 / 60.0];
    assert_eq!(column(&rows, "connected_hours"), json!(hours));
    assert_eq!(column(&rows, "coverage_pct"), json!([50.0, 50.0, 50.0, 50.0]));

    let rows = reports::user_days(&ledger, "", morning(), Tz::UTC, "");
    let grades = json!([["exclusive", "shared", "group"], ["shared"]]);
    assert_eq!(column(&rows, "attribution"), grades);
    assert_eq!(column(&rows, "connected_hours"), json!([0.5, 20.0 / 60.0]));
    assert_eq!(column(&rows, "desktops"), json!([3, 1]));
    assert_eq!(column(&rows, "first_connected"), json!([at("08:00:00"), at("08:00:00")]));
    assert_eq!(column(&rows, "last_connected"), json!([at("08:20:00"), at("08:10:00")]));
    let rows = reports::user_days(&ledger, "id-ben", morning(), Tz::UTC, "");
    assert_eq!(column(&rows, "user_name"), json!(["ben"]));
}

#[test]
fn a_group_is_no_person() {
    let ledger = ledger(&[
        listed("08:00:00", &[("d", true, vec![user("all", "GROUP")])]),
        listed("08:10:00", &[("d", true, vec![])]),
        listed("08:20:00", &[("d", false, vec![])]),
    ]);
    assert_eq!(reports::user_hours(&ledger, morning(), "", true, morning().to), []);
    assert_eq!(reports::user_days(&ledger, "", morning(), Tz::UTC, ""), []);
}

#[test]
fn a_connection_across_midnight_is_cut_there() {
    let ledger = ledger(&[seen("21:50:00", ANNA), seen("22:05:00", ANNA), seen("22:10:00", CUT)]);
    let range = Period { from: at("00:00:00"), to: at("00:00:00") + DAY };
    // In Berlin the next day begins at 22:00.
    let rows = reports::user_days(&ledger, "", range, Tz::Europe__Berlin, "");
    assert_eq!(column(&rows, "first_connected"), json!([at("21:50:00"), at("22:00:00")]));
    assert_eq!(column(&rows, "last_connected"), json!([at("22:00:00"), at("22:05:00")]));
    assert_eq!(column(&rows, "connected_hours"), json!([10.0 / 60.0, 10.0 / 60.0]));
}

#[test]
fn seen_once_is_seen_that_day_but_for_no_hours() {
    let ledger = ledger(&[seen("08:00:00", ANNA)]);
    let rows = reports::user_days(&ledger, "", morning(), Tz::UTC, "");
    assert_eq!(column(&rows, "last_connected"), json!([at("08:00:00")]));
    assert_eq!(column(&rows, "connected_hours"), json!([0.0]));
    assert_eq!(reports::user_hours(&ledger, morning(), "", false, morning().to), []);
}
