//! Cases of `capacity` and `forecast`, with figures worked out by hand.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::{at, column, ledger, seen, with};
use crate::oracle::coverage::Period;
use crate::oracle::generate::WORK;
use crate::oracle::ledger::{DAY, HOUR, Micros};
use crate::oracle::reports;
use crate::oracle::rows::{Row, difference, row};

const IDS: [&str; 10] = ["d0", "d1", "d2", "d3", "d4", "d5", "d6", "d7", "d8", "d9"];

/// Ten desktops, of which so many are connected, at an hour after that Monday's midnight.
fn visit(hour: i64, connected: usize) -> Value {
    let status = |index| if index < connected { "CONNECTED" } else { "REGISTERED" };
    let desktops: Vec<_> =
        IDS.iter().enumerate().map(|(index, id)| (*id, status(index), "anna")).collect();
    let text = chrono::DateTime::from_timestamp_micros(at("00:00:00") + hour * HOUR).unwrap();
    let line = with(seen("00:00:00", &desktops), "observed_at", text.to_rfc3339());
    with(line, "max_gap", "6h")
}

/// From that Monday's midnight, in hours.
fn hours(from: i64, to: i64) -> Period {
    Period { from: at("00:00:00") + from * HOUR, to: at("00:00:00") + to * HOUR }
}

#[test]
fn the_peak_of_working_hours_decides_how_many_are_needed() {
    // Six at night; four from 8, five for an hour at 12.
    let connected = |hour| match hour {
        12 => 5,
        8..18 => 4,
        _ => 6,
    };
    let lines: Vec<Value> = (0..=24).map(|hour| visit(hour, connected(hour))).collect();
    let ask =
        |range, headroom| reports::capacity(&ledger(&lines), range, Tz::UTC, "", headroom, WORK[0]);
    let expected = row([
        ("source", json!("s")),
        ("desktops", json!(10)),
        // Four for nine hours of ten, which is less than 95 %.
        ("concurrency_p95", json!(5)),
        ("peak", json!(5)),
        ("never_connected", json!(4)),
        ("not_told", json!(0)),
        // 5.5 are six.
        ("desktops_needed", json!(6)),
        ("surplus", json!(4)),
        ("coverage_pct", json!(100.0)),
        (
            "assumptions",
            json!(
                "desktops are pooled (a personal one serves its user alone); only connections count, though a session left \
                 DISCONNECTED holds its desktop, too; the peak is sampled, a lower bound; \
                 weekdays 1-5, 8 to 18 h, UTC; headroom 10 %; what was not observed is left out"
            ),
        ),
    ]);
    assert_eq!(difference(&[expected], &ask(hours(0, 24), 10)), None);
    assert_eq!(column(&ask(hours(0, 24), 20), "desktops_needed"), json!([6]));
    assert_eq!(column(&ask(hours(0, 24), 21), "desktops_needed"), json!([7]));
    // A Saturday has no working hours, and a time before the first visit no desktops.
    let saturday = hours(5 * 24, 6 * 24);
    assert_eq!(column(&ask(saturday, 10), "coverage_pct"), json!([null]));
    assert_eq!(column(&ask(hours(-24, 0), 10), "desktops"), json!([null]));
    assert_eq!(column(&ask(hours(-24, 0), 10), "never_connected"), json!([null]));
    // An hour of 25 not observed is little, two of 26 are not: then who was not seen connected may have been.
    let unsure = ask(hours(-1, 24), 10);
    assert_eq!(column(&unsure, "never_connected"), json!([4]));
    let unsure = ask(hours(-2, 24), 10);
    assert_eq!(column(&unsure, "never_connected"), json!([null]));
    assert_eq!(column(&unsure, "not_told"), json!([4]));
}

#[test]
fn peaks_of_sources_do_not_add_up() {
    let other = |line: Value| with(line, "source", "t");
    let mut lines: Vec<Value> = Vec::new();
    for hour in 8..=18 {
        lines.push(visit(hour, if hour < 13 { 7 } else { 2 }));
        if hour < 17 {
            lines.push(other(visit(hour, if hour < 13 { 1 } else { 6 })));
        }
    }
    let rows = reports::capacity(&ledger(&lines), hours(0, 24), Tz::UTC, "", 0, WORK[0]);
    assert_eq!(column(&rows, "source"), json!(["s", "t", "(all)"]));
    assert_eq!(column(&rows, "peak"), json!([7, 6, 8]));
    assert_eq!(column(&rows, "desktops_needed"), json!([7, 6, 8]));
    assert_eq!(column(&rows, "surplus"), json!([3, 4, 12]));
    assert_eq!(column(&rows, "coverage_pct"), json!([100.0, 80.0, 80.0]));
    let one = reports::capacity(&ledger(&lines), hours(0, 24), Tz::UTC, "t", 0, WORK[0]);
    assert_eq!(column(&one, "source"), json!(["t"]));
}

/// Days with a visit every six hours, at which so many are connected.
fn days(peaks: &[usize]) -> Vec<Value> {
    let visits = (0..=peaks.len() * 4).map(|visit| {
        let peak = peaks.get(visit / 4).copied().unwrap_or(0);
        self::visit(visit as i64 * 6, if visit % 4 == 2 { peak } else { 0 })
    });
    visits.collect()
}

fn foretold(lines: &[Value], days: i64, horizon: usize) -> Vec<Row> {
    let range = Period { from: at("00:00:00"), to: at("00:00:00") + days * DAY };
    reports::forecast(&ledger(lines), range, horizon, Tz::UTC, "")
}

/// Five, and on weekends one.
fn week(day: usize) -> usize {
    if day % 7 < 5 { 5 } else { 1 }
}

#[test]
fn what_is_always_the_same_is_foretold_exactly_and_tested_once_there_are_days() {
    let peaks: Vec<usize> = (0..42).map(week).collect();
    let lines = days(&peaks);
    // From Saturday on.
    let rows = foretold(&lines, 40, 9);
    assert_eq!(
        column(&rows, "expected_peak"),
        json!([1.0, 1.0, 5.0, 5.0, 5.0, 5.0, 5.0, 1.0, 1.0])
    );
    assert_eq!(column(&rows, "low"), column(&rows, "expected_peak"));
    assert_eq!(column(&rows, "high"), column(&rows, "expected_peak"));
    let first: Micros = at("00:00:00") + 40 * DAY;
    assert_eq!(rows[1]["day"], json!(first + DAY));
    // Tested from the 15th day on: in the first week 26 days, in the second 19.
    assert_eq!(column(&rows, "tested_days"), json!([26, 26, 26, 26, 26, 26, 26, 19, 19]));
    assert_eq!(column(&rows, "in_band_pct"), json!(vec![100.0; 9]));
    assert_eq!(rows[0]["history_days"], json!(40));
    // A day is no longer ahead once it has begun.
    let range = Period { from: at("00:00:00"), to: first + HOUR };
    let later = reports::forecast(&ledger(&lines), range, 1, Tz::UTC, "");
    assert_eq!((&later[0]["day"], &later[0]["history_days"]), (&json!(first + DAY), &json!(40)));
}

#[test]
fn without_two_weeks_nothing_is_foretold_and_without_tests_no_band() {
    let peaks: Vec<usize> = (0..30).map(week).collect();
    let lines = days(&peaks);
    let silent = foretold(&lines, 13, 3);
    assert_eq!(column(&silent, "day"), json!([null]));
    assert_eq!(column(&silent, "expected_peak"), json!([null]));
    let why =
        "no forecast: 13 days of the last 8 weeks were covered for 90 % or more, 14 are needed";
    assert_eq!(silent[0]["note"], json!(why));
    let rows = foretold(&lines, 14, 1);
    assert_eq!(column(&rows, "expected_peak"), json!([5.0]));
    assert_eq!(column(&rows, "low"), json!([null]));
    assert_eq!(column(&rows, "tested_days"), json!([0]));
    assert_eq!(column(&foretold(&lines, 22, 1), "low"), json!([null]));
    assert_eq!(column(&foretold(&lines, 23, 1), "tested_days"), json!([9]));
    assert_ne!(column(&foretold(&lines, 23, 1), "low"), json!([null]));
}

#[test]
fn a_day_that_was_hardly_observed_teaches_nothing() {
    let peaks: Vec<usize> = (0..16).map(week).collect();
    // Two visits in a row missed: three quarters of the day.
    let mut lines = days(&peaks);
    lines.drain(4 * 10 + 2..4 * 10 + 4);
    let rows = foretold(&lines, 16, 1);
    assert_eq!(column(&rows, "history_days"), json!([15]));
    assert_eq!(
        column(&rows, "coverage_pct"),
        json!([100.0 * (16.0 * 24.0 - 18.0) / (16.0 * 24.0)])
    );
    // A history that reaches back to before the ledger began is not the recorder's fault.
    let range = Period { from: at("00:00:00") - 32 * DAY, to: at("00:00:00") + 16 * DAY };
    let young = reports::forecast(&ledger(&lines), range, 1, Tz::UTC, "");
    assert_eq!(column(&young, "coverage_pct"), column(&rows, "coverage_pct"));
    assert_eq!(column(&young, "history_days"), json!([15]));
}

#[test]
fn the_level_of_late_moves_what_is_typical() {
    // Two weeks of five and two of eight, on each day of the week.
    let peaks: Vec<usize> = (0..28).map(|day| if day < 14 { 4 } else { 8 }).collect();
    let rows = foretold(&days(&peaks), 28, 1);
    // Typical is 6, and of late it is 8 / 6 of that.
    assert_eq!(column(&rows, "expected_peak"), json!([6.0 * (8.0 / 6.0)]));
    // A single day moves nothing.
    let mut peaks: Vec<usize> = (0..28).map(week).collect();
    peaks[24] = 0;
    assert_eq!(column(&foretold(&days(&peaks), 28, 1), "expected_peak"), json!([5.0]));
}
