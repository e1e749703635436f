//! What holds for the oracle's answers over any history, whatever it contains.

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use super::buckets::Unit;
use super::coverage::{Period, covered_time};
use super::fleet::ALL;
use super::generate::{History, Question, cases, histories, quick_cases};
use super::ledger::{Ledger, Micros};
use super::reports::{self, Buckets};
use super::rows::{Row, difference, same, sorted};
use super::time_line::{held_until, time_line};
use super::views;

/// Every report's answer, by name.
fn answers(ledger: &Ledger, ask: &Question) -> Vec<(&'static str, Vec<Row>)> {
    let Question { buckets, source, .. } = ask;
    let (buckets, range) = (*buckets, buckets.range);
    let other = reports::other_period(range, ask.other.0, ask.other.1);
    vec![
        ("utilisation", reports::utilisation(ledger, buckets, source)),
        ("disconnects", reports::disconnects(ledger, buckets, source, ask.reconnect_within)),
        ("group-utilisation", reports::group_utilisation(ledger, buckets, source, &ask.group)),
        ("coverage", reports::coverage(ledger, buckets, source)),
        ("connected-at", reports::connected_at(ledger, ask.at, source)),
        ("user-history", reports::user_history(ledger, &ask.user, range, source)),
        ("desktop-history", reports::desktop_history(ledger, &ask.desktop, range, source)),
        ("busy-hours", reports::busy_hours(ledger, range, buckets.tz, source)),
        ("concurrency", reports::concurrency(ledger, range, source)),
        ("capacity", reports::capacity(ledger, range, buckets.tz, source, ask.headroom, ask.work)),
        ("forecast", reports::forecast(ledger, range, ask.horizon, buckets.tz, source)),
        ("lingering", reports::lingering(ledger, range, source)),
        ("flapping", reports::flapping(ledger, range, source, ask.times, ask.within)),
        ("outages", reports::outages(ledger, range, source, ask.share)),
        ("idle-desktops", reports::idle_desktops(ledger, ask.idle_period(), source)),
        ("distribution", reports::distribution(ledger, range, source, ask.bins)),
        ("comparison", reports::comparison(ledger, range, other, source)),
        ("user-days", reports::user_days(ledger, "", range, buckets.tz, source)),
        ("user-hours", reports::user_hours(ledger, range, source, ask.once, ask.now)),
    ]
}

/// Adds up a column, over the rows of one source.
fn sum(rows: &[Row], source: &str, column: &str) -> f64 {
    let rows = rows.iter().filter(|row| row["source"] == source);
    rows.filter_map(|row| row[column].as_f64()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_instant_of_a_desktop_is_in_exactly_one_state(history in histories()) {
        let ledger = Ledger::read(&history.0);
        for source in &ledger.sources {
            for desktop in source.desktops() {
                let all_time = Period { from: 0, to: Micros::MAX };
                let rows = reports::desktop_history(&ledger, desktop, all_time, &source.name);
                let rows = rows.iter().filter(|row| row["desktop_id"] == desktop);
                let mut until = Value::Null;
                let mut after_a_gap = false;
                for row in rows {
                    let is_gap = row["presence"] == "not observed";
                    let (from, to) = if is_gap {
                        ("started_after", "ended_before")
                    } else {
                        ("first_seen", "held_until")
                    };
                    prop_assert_eq!(&row[from], &until);
                    prop_assert!(!(is_gap && after_a_gap), "two gaps in a row");
                    (until, after_a_gap) = (row[to].clone(), is_gap);
                }
                prop_assert!(after_a_gap && until.is_null(), "the last observation holds no time");
            }
        }
    }

    #[test]
    fn spans_hold_what_the_observations_hold((history, ask) in cases()) {
        let ledger = Ledger::read(&history.0);
        let spans = views::desktop_states(&ledger);
        for source in &ledger.sources {
            for desktop in source.desktops() {
                let observations = time_line(source, desktop);
                let holding = (0..observations.len()).find(|index| {
                    let (from, to) = (observations[*index].at(), held_until(&observations, *index));
                    from <= ask.at && ask.at < to
                });
                let state = holding.and_then(|index| observations[index].state);
                let span = spans.iter().find(|span| {
                    span["source"] == source.name.as_str()
                        && span["desktop_id"] == desktop
                        && span["first_seen"].as_i64().unwrap() <= ask.at
                        && ask.at < span["held_until"].as_i64().unwrap()
                });
                prop_assert_eq!(
                    state.map(|state| json!(state.status)),
                    span.map(|span| span["connect_status"].clone())
                );
            }
        }
    }

    #[test]
    fn hours_and_days_add_up_to_the_same((history, ask) in quick_cases()) {
        let ledger = Ledger::read(&history.0);
        let asked = |unit| Buckets { unit, ..ask.buckets };
        for source in &ledger.sources {
            let of = |unit, column| {
                sum(&reports::utilisation(&ledger, asked(unit), &source.name), &source.name, column)
            };
            let (hours, days) = (of(Unit::Hour, "connected_hours"), of(Unit::Day, "connected_hours"));
            prop_assert!((hours - days).abs() <= 1e-9 * days);
            let counts = ["connections_started", "connections_ended", "disconnects", "reconnects"];
            for column in counts {
                let of = |unit| {
                    let within = ask.reconnect_within;
                    let rows = reports::disconnects(&ledger, asked(unit), &source.name, within);
                    sum(&rows, &source.name, column)
                };
                prop_assert_eq!(of(Unit::Hour), of(Unit::Month));
            }
            let rows = reports::coverage(&ledger, asked(Unit::Hour), &source.name);
            let covered = sum(&rows, &source.name, "covered_hours") * 3.6e9;
            let expected = covered_time(source, ask.buckets.range) as f64;
            prop_assert!((covered - expected).abs() <= 1.0 + 1e-9 * expected);
        }
    }

    #[test]
    fn everything_can_be_asked_and_figures_stay_within_bounds((history, ask) in cases()) {
        let ledger = Ledger::read(&history.0);
        for name in views::VIEWS {
            let rows = views::view(&ledger, name, ask.now);
            prop_assert_eq!(difference(&sorted(rows.clone()), &sorted(rows)), None);
        }
        for (name, rows) in answers(&ledger, &ask) {
            for row in &rows {
                for (column, value) in row {
                    let share = column.ends_with("_pct")
                        && !["in_use_pct", "change_pct", "method_error_pct"].contains(&column.as_str());
                    let Some(value) = value.as_f64().filter(|_| share) else { continue };
                    let bounds = -1e-9..=100.0 + 1e-9;
                    prop_assert!(bounds.contains(&value), "{} {}: {}", name, column, value);
                }
            }
            if ask.source == "nowhere" {
                prop_assert!(rows.is_empty(), "{}", name);
            }
        }
    }
}

/// What a history contains that is worth containing.
fn corners(history: &History, ask: &Question, found: &mut BTreeSet<String>) {
    let ledger = Ledger::read(&history.0);
    let find = |found: &mut BTreeSet<String>, row: &Row, columns: &[&str]| {
        for column in columns {
            let value = row[*column].as_str().map_or(row[*column].to_string(), str::to_owned);
            found.insert(format!("{column} {value}"));
        }
    };
    for row in views::snapshots(&ledger) {
        find(found, &row, &["desktops_outcome", "groups_outcome"]);
    }
    for row in views::connections_view(&ledger) {
        find(found, &row, &["ended_as", "attribution"]);
        let one_observation = row["first_seen"] == row["last_seen"];
        found.insert(format!("a connection of one observation: {one_observation}"));
    }
    for row in reports::connected_at(&ledger, ask.at, "") {
        let row = Row::from_iter([
            ("nobody".into(), row["desktop_id"].is_null().into()),
            ("certainty".into(), row["certainty"].clone()),
        ]);
        found.insert(format!("{row:?}"));
    }
    for row in reports::disconnects(&ledger, ask.buckets, "", ask.reconnect_within) {
        found.insert(format!("reconnects {}", row["reconnects"].as_i64() > Some(0)));
        let counted = row["coverage_pct"] == 0.0 && !row["disconnects"].is_null();
        found.insert(format!("counted without covered time: {counted}"));
    }
    for row in views::gaps(&ledger, ask.now) {
        find(found, &row, &["reason"]);
    }
    let range = ask.buckets.range;
    let all_time = Period { from: 0, to: Micros::MAX };
    for row in reports::outages(&ledger, all_time, "", 0) {
        found.insert(format!(
            "an outage that all came back from: {}",
            row["disconnects"] == row["reconnects"]
        ));
        found.insert(format!("an outage of all: {}", row["share_pct"] == 100.0));
    }
    for row in reports::flapping(&ledger, range, "", ask.times, ask.within) {
        found.insert(format!(
            "flapping beyond the window: {}",
            row["disconnects"] != row["most_in_window"]
        ));
    }
    for row in reports::coverage(&ledger, ask.buckets, ALL) {
        let hours = row["covered_hours"].as_f64() > Some(0.0);
        found.insert(format!("several covered at once: {}", hours && ledger.sources.len() > 1));
    }
    let hours = |is_once| {
        let rows = reports::user_hours(&ledger, range, "", is_once, ask.now);
        rows.iter().filter_map(|row| row["connected_hours"].as_f64()).sum::<f64>()
    };
    found.insert(format!("several desktops at once: {}", hours(true) < hours(false) - 1e-3));
    for row in reports::user_days(&ledger, "", range, ask.buckets.tz, "") {
        let first_is_start = row["first_connected"] == row["day"];
        found.insert(format!("a day begun connected: {first_is_start}"));
        found.insert(format!(
            "a day of several grades: {}",
            row["attribution"].as_array().unwrap().len() > 1
        ));
    }
    for row in reports::lingering(&ledger, range, "") {
        found.insert(format!("lingering again: {}", row["stretches"] != 1));
    }
    for row in reports::idle_desktops(&ledger, ask.idle_period(), "") {
        let (named, used) = (!row["desktop_id"].is_null(), !row["last_connected"].is_null());
        found.insert(format!("idle: {named}, used before: {used}"));
    }
    for row in reports::capacity(&ledger, range, ask.buckets.tz, "", ask.headroom, ask.work) {
        let all = row["source"] == "(all)";
        let never = row["never_connected"].as_i64().map(|desktops| desktops > 0);
        found.insert(format!("as one: {all}, never connected: {never:?}"));
        found.insert(format!("as one: {all}, enough: {:?}", row["surplus"].as_i64() >= Some(0)));
    }
    for source in &ledger.sources {
        for pair in source.visits.windows(2) {
            let limit = pair[0].max_gap.min(pair[1].max_gap);
            found.insert(format!("apart {}", pair[1].observed_at - pair[0].observed_at - limit));
        }
    }
}

#[test]
fn the_histories_reach_the_corners() {
    let mut runner = TestRunner::deterministic();
    let wanted = [
        "desktops_outcome complete",
        "desktops_outcome partial",
        "desktops_outcome failed",
        "groups_outcome failed",
        "ended_as DISCONNECTED",
        "ended_as REASSIGNED",
        "ended_as ABSENT",
        "ended_as UNKNOWN",
        "ended_as ONGOING",
        "ended_as NO STATUS",
        "ended_as API:ABSENT",
        "ended_as API:NO STATUS",
        "attribution exclusive",
        "attribution shared",
        "attribution group",
        "attribution unassigned",
        "a connection of one observation: true",
        "a connection of one observation: false",
        "{\"nobody\": Bool(false), \"certainty\": String(\"observed\")}",
        "{\"nobody\": Bool(false), \"certainty\": String(\"latest\")}",
        "{\"nobody\": Bool(false), \"certainty\": String(\"not observed\")}",
        "{\"nobody\": Bool(true), \"certainty\": String(\"not observed\")}",
        "reason clock",
        "reason spool",
        "reason dropped",
        "reason null",
        "reconnects true",
        "counted without covered time: true",
        "an outage that all came back from: true",
        "an outage that all came back from: false",
        "an outage of all: true",
        "an outage of all: false",
        "flapping beyond the window: true",
        "flapping beyond the window: false",
        "lingering again: true",
        "lingering again: false",
        "idle: true, used before: true",
        "idle: true, used before: false",
        "idle: false, used before: false",
        "as one: false, never connected: Some(true)",
        "as one: false, never connected: Some(false)",
        "as one: false, never connected: None",
        "as one: true, never connected: Some(true)",
        "as one: true, never connected: None",
        "as one: false, enough: true",
        "as one: false, enough: false",
        "as one: true, enough: true",
        "several covered at once: true",
        "several desktops at once: true",
        "a day begun connected: true",
        "a day of several grades: true",
        "apart 0",
        "apart 1",
        "apart -1",
        "apart 1000000",
        "apart -1000000",
    ];
    let mut found = BTreeSet::new();
    let mut missing = Vec::from(wanted);
    for _ in 0..400 {
        let (history, ask) = cases().new_tree(&mut runner).unwrap().current();
        corners(&history, &ask, &mut found);
        missing.retain(|each| !found.contains(*each));
        if missing.is_empty() {
            break;
        }
    }
    assert!(missing.is_empty(), "never reached: {missing:#?}");
}

#[test]
fn two_answers_are_compared_within_rounding() {
    assert!(same(&json!(0.1 + 0.2), &json!(0.3)));
    assert!(same(&json!(3), &json!(3.0)));
    assert!(!same(&json!(1_790_000_000_000_000_i64), &json!(1_790_000_000_000_001_i64)));
    assert!(!same(&json!(0.0), &json!(null)));
    let row = |value: Value| Row::from_iter([("a".to_owned(), value)]);
    assert_eq!(difference(&[row(json!(1))], &[row(json!(1))]), None);
    assert!(difference(&[row(json!(1))], &[]).is_some());
    assert!(difference(&[], &[row(json!(1))]).is_some());
    assert!(difference(&[row(json!(1))], &[row(json!("1"))]).is_some());
    assert!(difference(&[row(json!(1))], &[Row::new()]).is_some());
}
