//! Cases of all sources as one, of histograms and of two periods side by side.

use serde_json::{Value, json};

use super::{at, column, hourly, ledger, seen, with};
use crate::oracle::buckets::Unit;
use crate::oracle::coverage::Period;
use crate::oracle::fleet::ALL;
use crate::oracle::reports::{self, Buckets};
use crate::oracle::rows::Row;

const ON: &[(&str, &str, &str)] = &[("d", "CONNECTED", "anna")];
const OFF: &[(&str, &str, &str)] = &[("d", "REGISTERED", "anna")];

fn in_other(line: Value) -> Value {
    with(line, "source", "t")
}

/// One connected in `s` for the first ten minutes, the same id in `t` for the next ten.
fn one_after_the_other() -> Vec<Value> {
    vec![
        seen("08:00:00", ON),
        seen("08:10:00", OFF),
        seen("08:20:00", OFF),
        in_other(seen("08:00:00", OFF)),
        in_other(seen("08:10:00", ON)),
        in_other(seen("08:20:00", ON)),
        in_other(seen("08:30:00", OFF)),
    ]
}

fn of_all(rows: &[Row]) -> Vec<Row> {
    rows.iter().filter(|row| row["source"] == ALL).cloned().collect()
}

#[test]
fn the_peak_of_all_is_not_the_sum_of_peaks() {
    let ledger = ledger(&one_after_the_other());
    let asked = Buckets { unit: Unit::All, ..hourly("08:00:00", "08:40:00") };
    let rows = reports::utilisation(&ledger, asked, "");
    assert_eq!(column(&rows, "source"), json!(["s", "t", "(all)"]));
    assert_eq!(column(&rows, "connected_peak"), json!([1, 1, 1]));
    assert_eq!(column(&rows, "desktops_avg"), json!([1.0, 1.0, 2.0]));
    assert_eq!(column(&rows, "coverage_pct"), json!([50.0, 75.0, 50.0]));
    assert_eq!(reports::utilisation(&ledger, asked, ALL), of_all(&rows));
    let rows = reports::concurrency(&ledger, asked.range, ALL);
    assert_eq!(column(&rows, "p50"), json!([1]));
    assert_eq!(column(&rows, "peak_at"), json!([at("08:00:00")]));
}

#[test]
fn one_source_is_all_of_them_but_has_no_second_row() {
    let ledger = ledger(&one_after_the_other()[..3]);
    let asked = hourly("08:00:00", "09:00:00");
    assert_eq!(column(&reports::utilisation(&ledger, asked, ""), "source"), json!(["s"]));
    assert_eq!(column(&reports::utilisation(&ledger, asked, ALL), "source"), json!([ALL]));
}

#[test]
fn where_one_source_was_not_seen_all_were_not() {
    let lines = [
        seen("08:00:00", OFF),
        seen("08:10:00", OFF),
        seen("08:20:00", OFF),
        with(in_other(seen("08:10:00", OFF)), "total_count", 3),
        // Alone: further than 15 minutes from both.
        in_other(seen("08:50:00", OFF)),
        seen("08:40:00", OFF),
        seen("08:50:00", OFF),
    ];
    let lines: Vec<Value> = lines.into_iter().collect();
    let ledger = ledger(&lines);
    let rows = reports::coverage(&ledger, hourly("08:00:00", "09:00:00"), ALL);
    assert_eq!(column(&rows, "snapshots"), json!([7]));
    assert_eq!(column(&rows, "partial"), json!([1]));
    assert_eq!(column(&rows, "covered_hours"), json!([0.0]));
    // Both were read at 08:10 and at 08:50.
    assert_eq!(column(&rows, "longest_gap"), json!([at("08:50:00") - at("08:10:00")]));
}

#[test]
fn listed_is_of_all_desktops_of_all_sources() {
    let three: Vec<_> = ["a", "b", "c"].iter().map(|id| (*id, "REGISTERED", "anna")).collect();
    let ledger = ledger(&[
        with(seen("08:00:00", OFF), "total_count", 5),
        seen("08:10:00", OFF),
        in_other(seen("08:00:00", &three)),
        in_other(seen("08:10:00", &three)),
    ]);
    let rows = reports::coverage(&ledger, hourly("08:00:00", "09:00:00"), "");
    assert_eq!(column(&rows, "listed_pct"), json!([20.0, 100.0, 50.0]));
}

#[test]
fn bins_are_equal_and_reach_the_peak() {
    let fleet = |connected: usize| -> Vec<(&str, &str, &str)> {
        let ids = ["d1", "d2", "d3", "d4", "d5"];
        let status = |index| if index < connected { "CONNECTED" } else { "REGISTERED" };
        ids.iter().enumerate().map(|(index, id)| (*id, status(index), "anna")).collect()
    };
    let ledger = ledger(&[
        seen("08:00:00", &fleet(0)),
        seen("08:10:00", &fleet(5)),
        seen("08:20:00", &fleet(1)),
        seen("08:30:00", &fleet(0)),
    ]);
    let range = Period { from: at("08:00:00"), to: at("09:00:00") };
    let ask = |bins| reports::distribution(&ledger, range, "", bins);
    // Six numbers, 0 to 5.
    let rows = ask(4);
    assert_eq!(column(&rows, "connected_from"), json!([0, 2, 4]));
    assert_eq!(column(&rows, "connected_to"), json!([1, 3, 5]));
    assert_eq!(column(&rows, "hours"), json!([20.0 / 60.0, 0.0, 10.0 / 60.0]));
    assert_eq!(column(&rows, "not_exceeded_pct"), json!([2000.0 / 30.0, 2000.0 / 30.0, 100.0]));
    assert_eq!(column(&rows, "coverage_pct"), json!([50.0, 50.0, 50.0]));
    assert_eq!(column(&ask(1), "connected_to"), json!([5]));
    assert_eq!(column(&ask(20), "connected_to"), json!([0, 1, 2, 3, 4, 5]));
    let never = Period { from: at("10:00:00"), to: at("11:00:00") };
    let rows = reports::distribution(&ledger, never, "", 20);
    assert_eq!(column(&rows, "connected_from"), json!([null]));
    assert_eq!(column(&rows, "coverage_pct"), json!([0.0]));
}

#[test]
fn the_change_is_from_the_other_period_to_the_one_asked_for() {
    let ledger = ledger(&[
        seen("08:00:00", ON),
        seen("08:10:00", &[("d", "DISCONNECTED", "anna")]),
        seen("08:20:00", ON),
        seen("08:30:00", ON),
        seen("08:40:00", ON),
    ]);
    let range = Period { from: at("08:20:00"), to: at("08:40:00") };
    let other = reports::other_period(range, None, None);
    assert_eq!(other, Period { from: at("08:00:00"), to: at("08:20:00") });
    let rows = reports::comparison(&ledger, range, other, "");
    let of = |figure: &str, name: &str| {
        let row = rows.iter().find(|row| row["figure"] == figure).unwrap();
        row[name].clone()
    };
    assert_eq!(
        (of("connected_avg", "value"), of("connected_avg", "change")),
        (json!(1.0), json!(0.5))
    );
    assert_eq!(of("connected_avg", "change_pct"), json!(100.0));
    assert_eq!(
        (of("disconnects", "value"), of("disconnects", "change")),
        (json!(0.0), json!(-1.0))
    );
    assert_eq!(of("disconnects_per_100_hours", "other_value"), json!(600.0));
    assert_eq!(of("coverage_pct", "other_coverage_pct"), json!(100.0));
    let given = |from, to| reports::other_period(range, from, to);
    assert_eq!(given(None, Some(at("09:00:00"))).from, at("08:40:00"));
    assert_eq!(given(Some(at("07:00:00")), None).to, at("07:20:00"));
}
