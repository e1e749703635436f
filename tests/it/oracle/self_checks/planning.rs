//! Cases of the reports that single out desktops and instants, with figures worked out by hand.

use serde_json::{Value, json};

use super::{ANNA, BEN, CUT, NONE, at, column, ledger, seen, with};
use crate::oracle::coverage::Period;
use crate::oracle::ledger::{DAY, HOUR, MINUTE};
use crate::oracle::reports;
use crate::oracle::rows::{difference, row};

fn period(from: &str, to: &str) -> Period {
    Period { from: at(from), to: at(to) }
}

#[test]
fn time_spent_disconnected_is_clipped_and_a_gap_breaks_it() {
    let renamed = [("d", "DISCONNECTED", "ben")];
    let lines = [
        seen("08:00:00", CUT),
        seen("08:10:00", &renamed),
        seen("08:20:00", ANNA),
        seen("08:30:00", CUT),
        // Nothing for 40 minutes: the last holds for no time.
        seen("09:10:00", CUT),
        seen("09:20:00", CUT),
    ];
    let rows = reports::lingering(&ledger(&lines), period("08:05:00", "09:15:00"), "");
    // 08:05–08:20 across the other user, and 09:10–09:15. Observed 08:05–08:30 and 09:10–09:15 of 70 minutes.
    let expected = row([
        ("source", json!("s")),
        ("desktop_id", json!("d")),
        ("desktop_name", json!("D")),
        ("users", json!(["anna"])),
        ("disconnected_hours", json!(20.0 / 60.0)),
        ("longest_stretch", json!(15 * MINUTE)),
        ("stretches", json!(2)),
        ("coverage_pct", json!(100.0 * 30.0 / 70.0)),
    ]);
    assert_eq!(difference(&[expected], &rows), None);
    let never = reports::lingering(&ledger(&lines), period("08:20:00", "08:30:00"), "");
    assert_eq!(never, []);
    // Seen so, but for no time.
    let alone = reports::lingering(&ledger(&lines[3..4]), period("08:00:00", "09:00:00"), "");
    assert_eq!(alone, []);
}

#[test]
fn a_window_reaches_from_one_disconnect_to_another_and_includes_both() {
    let lines: Vec<Value> = [0, 10, 20, 30, 45, 55]
        .into_iter()
        .enumerate()
        .map(|(number, minute)| seen(&format!("08:{minute:02}:00"), [ANNA, CUT][number % 2]))
        .collect();
    // Disconnects at 08:10, 08:30 and 08:55.
    let ask = |times, minutes: i64| {
        let range = period("08:00:00", "09:00:00");
        reports::flapping(&ledger(&lines), range, "", times, minutes * MINUTE)
    };
    assert_eq!(column(&ask(3, 45), "most_in_window"), json!([3]));
    assert_eq!(ask(3, 44), []);
    let rows = ask(2, 25);
    assert_eq!(column(&rows, "disconnects"), json!([3]));
    assert_eq!(column(&rows, "most_in_window"), json!([2]));
    assert_eq!(column(&rows, "window_from"), json!([at("08:10:00")]));
    assert_eq!(column(&rows, "coverage_pct"), json!([100.0 * 55.0 / 60.0]));
    // What came before the period counts in no window of it.
    let later = reports::flapping(&ledger(&lines), period("08:11:00", "09:00:00"), "", 3, HOUR);
    assert_eq!(later, []);
}

#[test]
fn the_worst_comes_first() {
    let both = |d, e| [("d", d, "anna"), ("e", e, "ben")];
    let (on, off) = ("CONNECTED", "DISCONNECTED");
    let ledger = ledger(&[
        seen("08:00:00", &both(on, on)),
        seen("08:05:00", &both(off, off)),
        seen("08:10:00", &both(off, on)),
        seen("08:15:00", &both(off, off)),
    ]);
    let range = period("08:00:00", "09:00:00");
    let rows = reports::flapping(&ledger, range, "", 1, HOUR);
    assert_eq!(column(&rows, "desktop_id"), json!(["e", "d"]));
    let rows = reports::lingering(&ledger, range, "");
    assert_eq!(column(&rows, "desktop_id"), json!(["d", "e"]));
}

#[test]
fn an_outage_is_a_share_of_those_connected_just_before_and_many() {
    let fleet = |off: usize, all: usize| -> Vec<(&str, &str, &str)> {
        let ids = ["d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8"];
        let status = |index| if index < off { "DISCONNECTED" } else { "CONNECTED" };
        ids[..all].iter().enumerate().map(|(index, id)| (*id, status(index), "anna")).collect()
    };
    let lines = [
        seen("08:00:00", &fleet(0, 8)),
        seen("08:05:00", &fleet(4, 8)),
        with(seen("08:10:00", &fleet(1, 8)), "total_count", 10),
        seen("08:15:00", &fleet(3, 8)),
        seen("08:20:00", &fleet(6, 8)),
        seen("08:25:00", &fleet(0, 8)),
        seen("08:30:00", &fleet(3, 8)),
    ];
    let range = period("08:00:00", "09:00:00");
    let rows = reports::outages(&ledger(&lines), range, "", 20);
    // 4 of 8, of whom 3 came back at once and 1 never; 08:15 has two, which are too few; then 3 of 5.
    // At last 3 of 8: neither half nor five.
    assert_eq!(column(&rows, "observed_at"), json!([at("08:05:00"), at("08:20:00")]));
    assert_eq!(column(&rows, "after"), json!([at("08:00:00"), at("08:15:00")]));
    assert_eq!(column(&rows, "connected_before"), json!([8, 5]));
    assert_eq!(column(&rows, "share_pct"), json!([50.0, 60.0]));
    assert_eq!(column(&rows, "reconnects"), json!([3, 3]));
    assert_eq!(column(&rows, "listed_pct"), json!([100.0, 100.0]));
    let ask =
        |range, share| column(&reports::outages(&ledger(&lines), range, "", share), "share_pct");
    assert_eq!(ask(range, 51), json!([60.0]));
    // The step that ends where the period begins is in it, the one that ends with it is not.
    assert_eq!(ask(period("08:05:00", "08:20:00"), 50), json!([50.0]));
}

#[test]
fn those_whom_a_partial_listing_left_out_count_as_still_connected() {
    let on = [
        ("d1", "CONNECTED", "a"),
        ("d2", "CONNECTED", "b"),
        ("d3", "CONNECTED", "c"),
        ("d4", "CONNECTED", "d"),
    ];
    let off: Vec<_> = on[..3].iter().map(|(id, _, user)| (*id, "DISCONNECTED", *user)).collect();
    let partial = with(seen("08:05:00", &off), "total_count", 4);
    let ledger = ledger(&[seen("08:00:00", &on), partial, seen("08:10:00", &on)]);
    let rows = reports::outages(&ledger, period("08:00:00", "09:00:00"), "", 0);
    assert_eq!(column(&rows, "connected_before"), json!([4]));
    assert_eq!(column(&rows, "share_pct"), json!([75.0]));
    assert_eq!(column(&rows, "listed_pct"), json!([75.0]));
}

/// A snapshot every hour of ten days, each two hours good, but for those left out.
fn ten_days(
    state: impl Fn(i64) -> &'static [(&'static str, &'static str, &'static str)],
    out: &[i64],
) -> Vec<Value> {
    let hours = (0..=240).filter(|hour| !out.contains(hour));
    let line = |hour: i64| {
        let at = at("00:00:00") + hour * HOUR;
        let text = chrono::DateTime::from_timestamp_micros(at).unwrap().to_rfc3339();
        let line = with(seen("00:00:00", state(hour)), "observed_at", text);
        with(line, "max_gap", "1h")
    };
    hours.map(line).collect()
}

const READY: &[(&str, &str, &str)] = &[("d", "REGISTERED", "anna")];

#[test]
fn a_desktop_is_idle_only_where_hardly_anything_is_hidden() {
    let days = Period { from: at("00:00:00"), to: at("00:00:00") + 10 * DAY };
    let ask = |lines: &[Value]| {
        let rows = reports::idle_desktops(&ledger(lines), days, "");
        (column(&rows, "desktop_id"), column(&rows, "observed_days"))
    };
    assert_eq!(ask(&ten_days(|_| READY, &[])), (json!(["d"]), json!([10.0])));
    // Seven visits in a row missed are eight hours, which is the most; eight are too many.
    let out: Vec<i64> = (50..57).collect();
    assert_eq!(ask(&ten_days(|_| READY, &out)), (json!(["d"]), json!([232.0 / 24.0])));
    let out: Vec<i64> = (50..58).collect();
    assert_eq!(ask(&ten_days(|_| READY, &out)), (json!([null]), json!([null])));
    // Six of twelve hours in 240: the twelve are 5 %, and an hour more is too much.
    let out: Vec<i64> = (50..55).chain(100..105).collect();
    assert_eq!(ask(&ten_days(|_| READY, &out)).0, json!(["d"]));
    let out: Vec<i64> = (50..55).chain(100..106).collect();
    assert_eq!(ask(&ten_days(|_| READY, &out)).0, json!([null]));
}

#[test]
fn who_is_connected_new_or_gone_is_not_idle() {
    let days = Period { from: at("00:00:00"), to: at("00:00:00") + 10 * DAY };
    let ask = |lines: &[Value]| reports::idle_desktops(&ledger(lines), days, "");
    let once = |hour| if hour == 100 { BEN } else { READY };
    assert_eq!(ask(&ten_days(once, &[])), []);
    let late = |hour| if hour < 100 { NONE } else { READY };
    assert_eq!(column(&ask(&ten_days(late, &[])), "desktop_id"), json!([null]));
    let gone = |hour| if hour == 240 { NONE } else { READY };
    assert_eq!(ask(&ten_days(gone, &[])), []);
    // Connected up to the very beginning is before it; observed so at the beginning is not.
    let before = |hour| if hour < 24 { ANNA } else { READY };
    let nine = |from| Period { from: at("00:00:00") + from, ..days };
    let ledger = ledger(&ten_days(before, &[]));
    let rows = reports::idle_desktops(&ledger, nine(DAY), "");
    assert_eq!(column(&rows, "last_connected"), json!([at("00:00:00") + 23 * HOUR]));
    assert_eq!(reports::idle_desktops(&ledger, nine(DAY - 1), ""), []);
}

#[test]
fn a_source_of_which_nothing_was_read_has_no_idle_desktop() {
    let failed = with(seen("08:00:00", &[]), "desktops", Value::Null);
    let days = Period { from: at("07:00:00"), to: at("09:00:00") };
    let rows = reports::idle_desktops(&ledger(&[failed]), days, "");
    assert_eq!(column(&rows, "desktop_id"), json!([null]));
    assert_eq!(column(&rows, "coverage_pct"), json!([0.0]));
}
