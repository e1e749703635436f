//! The worked example that came with the definitions.

use chrono::NaiveDateTime;
use chrono_tz::Tz;
use serde_json::{Value, json};

use super::buckets::Unit;
use super::coverage::Period;
use super::ledger::{HOUR, Ledger, MINUTE, Micros};
use super::reports::{self, Buckets};
use super::rows::Row;
use super::views;

const HISTORY: &str = include_str!("../../data/example/history.ndjson");
const EXPECTED: &str = include_str!("../../data/example/expected.json");

#[test]
fn the_worked_example_comes_out_line_by_line() {
    let ledger = Ledger::read(HISTORY);
    let sections: Row = serde_json::from_str(EXPECTED).unwrap();
    for (section, expected) in &sections {
        if section == "note" {
            continue;
        }
        let expected = expected.as_array().unwrap();
        let actual = answer(&ledger, section);
        assert_eq!(actual.len(), expected.len(), "rows of `{section}`");
        for (index, (expected, actual)) in expected.iter().zip(&actual).enumerate() {
            for (column, expected) in expected.as_object().unwrap() {
                let actual = in_the_examples_words(actual, column);
                let place = format!("`{section}`, row {index}, {column}");
                assert!(agrees(column, expected, &actual), "{place}: {actual}, not {expected}");
            }
        }
    }
    assert_eq!(sections.len(), 16, "sections, with the note");
}

/// The rows that a section is about.
fn answer(ledger: &Ledger, section: &str) -> Vec<Row> {
    let asked = Buckets {
        range: Period { from: instant("08:00"), to: instant("10:00") },
        unit: Unit::Hour,
        tz: Tz::UTC,
    };
    match section {
        "desktop_states" | "connections" | "coverage" => views::view(ledger, section, 0),
        "utilisation hour UTC 08:00-10:00" => reports::utilisation(ledger, asked, ""),
        "disconnects hour UTC 08:00-10:00" => reports::disconnects(ledger, asked, "", 15 * MINUTE),
        "group-utilisation hour UTC 08:00-10:00" => {
            reports::group_utilisation(ledger, asked, "", "")
        }
        _ => {
            let at = section.strip_prefix("connected-at ").expect("a section that is known");
            reports::connected_at(ledger, instant(at), "")
        }
    }
}

/// `08:00` or `08:00:20` of the example's day.
fn instant(time: &str) -> Micros {
    let seconds = if time.len() == 5 { ":00" } else { "" };
    let text = format!("2026-10-05T{time}{seconds}");
    text.parse::<NaiveDateTime>().unwrap().and_utc().timestamp_micros()
}

/// A column of an answer, as the example writes it: durations in seconds, and the users of a span by
/// name.
fn in_the_examples_words(row: &Row, column: &str) -> Value {
    if let Some(duration) = column.strip_suffix("_s") {
        return row[duration].as_i64().map(|micros| micros as f64 / 1e6).into();
    }
    if column == "users" && row.contains_key("attach_users") {
        let users = row["attach_users"].as_array().unwrap();
        return users.iter().map(|user| user["name"].clone()).collect();
    }
    row[column].clone()
}

/// The example rounds to six digits, and writes instants as times of its day.
fn agrees(column: &str, expected: &Value, actual: &Value) -> bool {
    const INSTANTS: [&str; 10] = [
        "first_seen",
        "last_seen",
        "held_until",
        "started_after",
        "started_by",
        "ended_before",
        "ended_by",
        "covered_from",
        "covered_to",
        "bucket_start",
    ];
    match (expected, expected.as_f64(), actual.as_f64()) {
        (Value::String(time), _, _) if INSTANTS.contains(&column) => {
            *actual == json!(instant(time))
        }
        (_, Some(expected), Some(actual)) => (expected - actual).abs() < 1e-6,
        _ => expected == actual,
    }
}

#[test]
fn the_worked_examples_other_answers() {
    let ledger = Ledger::read(HISTORY);
    let range = Period { from: instant("08:00"), to: instant("10:00") };
    let gaps = views::gaps(&ledger, instant("10:00"));
    let error = "WKS.00000003: failed to obtain database information";
    assert_eq!(gaps.len(), 2);
    assert_eq!(gaps[0]["failed_snapshots"], 0);
    assert_eq!(gaps[1]["gap_from"], instant("09:20"));
    assert_eq!(views::snapshots(&ledger)[5]["error_message"], error[14..]);

    let coverage =
        reports::coverage(&ledger, Buckets { range, unit: Unit::Day, tz: Tz::UTC }, "prod");
    assert_eq!(coverage.len(), 1);
    assert_eq!(coverage[0]["bucket_start"], instant("00:00"));
    assert_eq!(coverage[0]["snapshots"], 10);
    assert_eq!(coverage[0]["failed"], 1);
    assert_eq!(coverage[0]["longest_gap"], 40 * MINUTE);
    assert_eq!(coverage[0]["covered_hours"], (40 * MINUTE) as f64 / HOUR as f64);

    let concurrency = reports::concurrency(&ledger, range, "prod");
    assert_eq!(concurrency[0]["peak"], 3);
    assert_eq!(concurrency[0]["peak_at"], instant("08:20"));
    // 1 for 20 minutes, 2 for 10, 3 for 10.
    assert_eq!(concurrency[0]["p50"], 1);
    assert_eq!(concurrency[0]["p90"], 3);
}
