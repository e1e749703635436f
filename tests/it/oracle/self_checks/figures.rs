//! Cases of the rules for figures in buckets.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::{ANNA, BEN, CUT, NONE, at, column, hourly, ledger, seen, with};
use crate::oracle::coverage::Period;
use crate::oracle::ledger::{HOUR, MINUTE};
use crate::oracle::reports;
use crate::oracle::rows::{difference, row};

#[test]
fn a_reconnect_counts_in_its_disconnects_bucket_also_after_its_end() {
    let lines = [seen("08:50:00", ANNA), seen("08:55:00", CUT), seen("09:05:00", BEN)];
    let rows =
        |within| reports::disconnects(&ledger(&lines), hourly("08:00:00", "10:00:00"), "", within);
    assert_eq!(column(&rows(10 * MINUTE), "reconnects"), json!([1, 0]));
    assert_eq!(column(&rows(10 * MINUTE), "reconnect_pct"), json!([100.0, null]));
    // Observed to the end of the time, and nobody came back in it.
    assert_eq!(column(&rows(10 * MINUTE - 1), "reconnect_pct"), json!([0.0, null]));
}

#[test]
fn a_reconnect_is_the_first_and_decides_at_once() {
    let again = [
        seen("08:00:00", ANNA),
        seen("08:05:00", CUT),
        seen("08:10:00", NONE),
        seen("08:15:00", BEN),
        seen("08:20:00", BEN),
    ];
    let pct = |lines: &[Value], within| {
        let rows = reports::disconnects(&ledger(lines), hourly("08:00:00", "09:00:00"), "", within);
        column(&rows, "reconnect_pct")
    };
    assert_eq!(pct(&again, 10 * MINUTE), json!([100.0]));
    assert_eq!(pct(&again, 20 * MINUTE), json!([100.0]));
    // Without the reconnect, the time after the disconnect was not observed to its end.
    assert_eq!(pct(&again[..3], 10 * MINUTE), json!([null]));
    assert_eq!(pct(&again[..3], 5 * MINUTE), json!([0.0]));
}

#[test]
fn a_bucket_without_covered_time_counts_what_was_counted_in_it() {
    // Both ends and the disconnect fall on the very instant at which the second bucket begins.
    let ledger = ledger(&[seen("08:55:00", ANNA), seen("09:00:00", CUT)]);
    let rows = reports::disconnects(&ledger, hourly("08:00:00", "11:00:00"), "", 15 * MINUTE);
    assert_eq!(column(&rows, "connections_ended"), json!([0, 1, null]));
    assert_eq!(column(&rows, "disconnect_share_pct"), json!([null, 100.0, null]));
    assert_eq!(column(&rows, "reconnects"), json!([0, 0, null]));
    assert_eq!(column(&rows, "connected_hours"), json!([5.0 / 60.0, null, null]));
    let rows = reports::coverage(&ledger, hourly("08:00:00", "11:00:00"), "");
    assert_eq!(column(&rows, "snapshots"), json!([1, 1, null]));
    assert_eq!(column(&rows, "longest_gap"), json!([55 * MINUTE, HOUR, HOUR]));
}

#[test]
fn listed_is_the_share_that_the_listings_named() {
    let listed = |total: Value| {
        let first = with(seen("08:00:00", ANNA), "total_count", total);
        let asked = hourly("08:00:00", "09:00:00");
        let rows = reports::utilisation(&ledger(&[first, seen("08:15:00", NONE)]), asked, "");
        rows[0]["listed_pct"].clone()
    };
    assert_eq!(listed(json!(4)), json!(25.0));
    assert_eq!(listed(json!(null)), json!(0.0));
    assert_eq!(listed(json!(0)), json!(100.0));
    let empty = [seen("08:00:00", NONE), seen("08:15:00", NONE)];
    let rows = reports::utilisation(&ledger(&empty), hourly("08:00:00", "09:00:00"), "");
    assert_eq!(column(&rows, "listed_pct"), json!([100.0]));
    assert_eq!(column(&rows, "desktops_avg"), json!([0.0]));
    assert_eq!(column(&rows, "utilisation_pct"), json!([null]));
}

#[test]
fn a_null_counter_is_unknown_and_not_zero() {
    let statics = |time: &str, in_use: Value| {
        let group = |in_use: Value| {
            json!({
                "static_name": "pool", "in_use_num": in_use, "ready_num": 2,
                "disconnected_num": 0, "unregistered_num": 0, "unknown_num": 0,
            })
        };
        with(seen(time, NONE), "statics", json!([group(in_use), group(json!(8))]))
    };
    let ledger = ledger(&[
        statics("08:00:00", json!(6)),
        statics("08:15:00", json!(null)),
        statics("08:30:00", json!(0)),
    ]);
    let rows = reports::group_utilisation(&ledger, hourly("08:00:00", "09:00:00"), "", "");
    assert_eq!(column(&rows, "static_name"), json!(["pool", "pool (2)"]));
    assert_eq!(column(&rows, "in_use_avg"), json!([6.0, 8.0]));
    assert_eq!(column(&rows, "in_use_pct"), json!([75.0, 80.0]));
    assert_eq!(column(&rows, "running_avg"), json!([null, null]));
    assert_eq!(column(&rows, "coverage_pct"), json!([50.0, 50.0]));
}

#[test]
fn several_sources_are_busy_only_while_all_are_covered() {
    let other = |time: &str, desktops| with(seen(time, desktops), "source", "t");
    let ledger = ledger(&[
        seen("08:00:00", ANNA),
        other("08:05:00", BEN),
        seen("08:10:00", ANNA),
        other("08:15:00", BEN),
    ]);
    let range = Period { from: at("08:00:00"), to: at("08:20:00") };
    let rows = reports::busy_hours(&ledger, range, Tz::Europe__Berlin, "");
    let expected = row([
        ("weekday", json!(1)),
        ("hour", json!(10)),
        ("connected_avg", json!(2.0)),
        ("connected_peak", json!(2)),
        ("coverage_pct", json!(25.0)),
    ]);
    assert_eq!(difference(&[expected], &rows), None);
    let alone = reports::busy_hours(&ledger, range, Tz::UTC, "t");
    assert_eq!(column(&alone, "connected_avg"), json!([1.0]));
    assert_eq!(column(&alone, "coverage_pct"), json!([50.0]));
}
