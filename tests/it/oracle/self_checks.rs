//! Hand-made cases, one for each rule that is easily got wrong.

use chrono_tz::Tz;
use serde_json::{Value, json};

use super::buckets::{Unit, buckets};
use super::coverage::Period;
use super::ledger::{HOUR, Ledger, MINUTE, Micros, instant};
use super::reports::{self, Buckets};
use super::rows::{Row, difference, row};
use super::views;

/// An instant of the day on which all of these cases happen.
fn at(time: &str) -> Micros {
    instant(&json!(format!("2026-10-05T{time}Z"))).unwrap()
}

/// A snapshot whose desktops are `(id, status, user)`.
fn seen(time: &str, desktops: &[(&str, &str, &str)]) -> Value {
    let desktops = desktops.iter().map(|(id, status, user)| {
        json!({
            "desktop_id": id,
            "desktop_name": id.to_uppercase(),
            "connect_status": status,
            "attach_users": [{"id": format!("id-{user}"), "name": user, "type": "USER"}],
        })
    });
    json!({
        "source": "s",
        "observed_at": format!("2026-10-05T{time}Z"),
        "desktops": desktops.collect::<Vec<_>>(),
    })
}

fn with(mut line: Value, key: &str, value: impl Into<Value>) -> Value {
    line[key] = value.into();
    line
}

fn ledger(lines: &[Value]) -> Ledger {
    Ledger::read(&lines.iter().map(|line| format!("{line}\n")).collect::<String>())
}

fn hourly(from: &str, to: &str) -> Buckets {
    Buckets { range: Period { from: at(from), to: at(to) }, unit: Unit::Hour, tz: Tz::UTC }
}

/// The values of one column.
fn column(rows: &[Row], name: &str) -> Value {
    rows.iter().map(|row| row[name].clone()).collect()
}

const ANNA: &[(&str, &str, &str)] = &[("d", "CONNECTED", "anna")];
const BEN: &[(&str, &str, &str)] = &[("d", "CONNECTED", "ben")];
const CUT: &[(&str, &str, &str)] = &[("d", "DISCONNECTED", "anna")];
const NONE: &[(&str, &str, &str)] = &[];

#[test]
fn an_observation_holds_over_exactly_max_gap_and_not_a_microsecond_more() {
    let exact = ledger(&[seen("08:00:00", ANNA), seen("08:15:00", ANNA)]);
    assert_eq!(column(&views::desktop_states(&exact), "held_until"), json!([at("08:15:00")]));
    assert_eq!(views::coverage(&exact).len(), 1);

    let over = ledger(&[seen("08:00:00", ANNA), seen("08:15:00.000001", ANNA)]);
    let spans = views::desktop_states(&over);
    assert_eq!(column(&spans, "held_until"), json!([at("08:00:00"), at("08:15:00.000001")]));
    assert_eq!(column(&spans, "started_after"), json!([null, null]));
    assert_eq!(column(&views::connections_view(&over), "ended_as"), json!(["UNKNOWN", "ONGOING"]));
    assert_eq!(column(&views::coverage(&over), "snapshots"), json!([1, 1]));
}

#[test]
fn the_smaller_of_two_max_gaps_decides() {
    for (first, second) in [("10m", "30m"), ("30m", "10m")] {
        let ledger = ledger(&[
            with(seen("08:00:00", ANNA), "max_gap", first),
            with(seen("08:20:00", ANNA), "max_gap", second),
        ]);
        assert_eq!(views::desktop_states(&ledger).len(), 2, "{first} and {second}");
        assert_eq!(views::coverage(&ledger).len(), 2, "{first} and {second}");
    }
}

#[test]
fn absence_from_a_partial_listing_is_no_observation() {
    let partial = with(seen("08:05:00", NONE), "total_count", 1);
    let ledger = ledger(&[seen("08:00:00", ANNA), partial, seen("08:10:00", ANNA)]);
    let spans = views::desktop_states(&ledger);
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0]["last_seen"], at("08:10:00"));
    assert_eq!(column(&views::coverage(&ledger), "partial"), json!([1]));
    assert_eq!(column(&views::snapshots(&ledger), "changes"), json!([1, 0, 0]));
}

#[test]
fn absence_from_a_complete_listing_ends_a_connection_and_dates_a_beginning() {
    let ledger = ledger(&[seen("08:00:00", ANNA), seen("08:05:00", NONE), seen("08:10:00", ANNA)]);
    let connections = views::connections_view(&ledger);
    assert_eq!(column(&connections, "ended_as"), json!(["ABSENT", "ONGOING"]));
    assert_eq!(column(&connections, "started_after"), json!([null, at("08:05:00")]));
    assert_eq!(column(&views::snapshots(&ledger), "changes"), json!([1, 1, 1]));
}

#[test]
fn an_absence_after_a_gap_is_a_change_as_well() {
    let ledger = ledger(&[seen("08:00:00", ANNA), seen("09:00:00", NONE)]);
    assert_eq!(column(&views::snapshots(&ledger), "changes"), json!([1, 1]));
}

#[test]
fn a_reassignment_is_one_start_and_one_end() {
    let ledger = ledger(&[seen("08:00:00", ANNA), seen("08:05:00", BEN), seen("08:10:00", BEN)]);
    assert_eq!(
        column(&views::connections_view(&ledger), "ended_as"),
        json!(["REASSIGNED", "ONGOING"])
    );
    let rows = reports::disconnects(&ledger, hourly("08:00:00", "09:00:00"), "", 15 * MINUTE);
    assert_eq!(column(&rows, "connections_started"), json!([1]));
    assert_eq!(column(&rows, "connections_ended"), json!([1]));
    assert_eq!(column(&rows, "disconnects"), json!([0]));
}

#[test]
fn a_rename_or_another_user_group_does_not_end_a_connection() {
    let mut renamed = seen("08:05:00", ANNA);
    renamed["desktops"][0]["desktop_name"] = json!("E");
    renamed["desktops"][0]["attach_users"][0]["user_group"] = json!("admins");
    let ledger = ledger(&[seen("08:00:00", ANNA), renamed, seen("08:10:00", CUT)]);
    assert_eq!(views::desktop_states(&ledger).len(), 3);
    let connections = views::connections_view(&ledger);
    assert_eq!(column(&connections, "desktop_name"), json!(["E"]));
    assert_eq!(column(&connections, "held_duration"), json!([10 * MINUTE]));
    assert_eq!(column(&connections, "ended_as"), json!(["DISCONNECTED"]));
}

#[test]
fn a_status_that_equals_one_of_our_words_is_the_apis() {
    for (status, ended_as) in [("ABSENT", "API:ABSENT"), ("Absent", "Absent")] {
        let ledger = ledger(&[seen("08:00:00", ANNA), seen("08:05:00", &[("d", status, "anna")])]);
        assert_eq!(column(&views::connections_view(&ledger), "ended_as"), json!([ended_as]));
    }
}

#[test]
fn a_connection_is_ongoing_until_the_newest_snapshots_max_gap_is_over() {
    for (time, ended_as) in [("08:15:00", "ONGOING"), ("08:15:00.000001", "UNKNOWN")] {
        let failed = json!({"source": "s", "observed_at": format!("2026-10-05T{time}Z")});
        let ledger = ledger(&[seen("08:00:00", ANNA), failed]);
        assert_eq!(column(&views::connections_view(&ledger), "ended_as"), json!([ended_as]));
    }
}

#[test]
fn attribution_counts_a_user_once() {
    let with_users = |users: Value| {
        let mut line = seen("08:00:00", ANNA);
        line["desktops"][0]["attach_users"] = users;
        let ledger = ledger(&[line]);
        let connections = views::connections_view(&ledger);
        (connections[0]["attribution"].clone(), connections[0]["users"].clone())
    };
    let user = |id: &str, user_group: &str| json!({"id": id, "name": id, "type": "USER", "user_group": user_group});
    assert_eq!(with_users(json!(null)), (json!("unassigned"), json!([])));
    assert_eq!(
        with_users(json!([user("a", "x"), user("a", "y")])),
        (json!("exclusive"), json!(["a"]))
    );
    assert_eq!(
        with_users(json!([user("b", "x"), user("a", "x")])),
        (json!("shared"), json!(["a", "b"]))
    );
    assert_eq!(with_users(json!([{"id": "a"}])), (json!("group"), json!([null])));
}

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
fn gaps_tell_of_failures_inside_and_of_the_one_still_open() {
    let failed = |time: &str, error: Value| json!({"source": "s", "observed_at": format!("2026-10-05T{time}Z"), "error": error});
    let lines = [
        failed("07:00:00", json!({"message": "no"})),
        seen("08:00:00", NONE),
        failed("08:10:00", json!({"code": "A", "message": "old"})),
        failed("08:20:00", json!({"code": "B"})),
        failed("08:25:00", json!(null)),
        seen("08:30:00", NONE),
    ];
    let ended = views::gaps(&ledger(&lines), at("08:45:00"));
    assert_eq!(column(&ended, "gap_from"), json!([at("08:00:00")]));
    assert_eq!(column(&ended, "failed_snapshots"), json!([3]));
    assert_eq!(column(&ended, "last_error"), json!(["B"]));
    let open = views::gaps(&ledger(&lines), at("08:45:00.000001"));
    assert_eq!(column(&open, "gap_to"), json!([at("08:30:00"), null]));
    let never = views::gaps(&ledger(&lines[..1]), at("07:00:00"));
    assert_eq!(column(&never, "failed_snapshots"), json!([1]));
    assert_eq!(column(&never, "last_error"), json!(["no"]));
}

#[test]
fn who_was_connected_is_observed_latest_or_not_observed() {
    let ledger = ledger(&[seen("08:00:00", ANNA), seen("08:05:00", ANNA)]);
    let certainty = |time: &str| column(&reports::connected_at(&ledger, at(time), ""), "certainty");
    assert_eq!(certainty("08:00:00"), json!(["observed"]));
    assert_eq!(certainty("08:05:00"), json!(["observed"]));
    assert_eq!(certainty("08:20:00"), json!(["latest"]));
    assert_eq!(certainty("08:20:00.000001"), json!(["not observed", "not observed"]));
}

#[test]
fn a_partial_listing_answers_for_all_if_enough_were_present_by_then() {
    let others = |total: Value| {
        let partial = with(seen("08:05:00", &[]), "total_count", total);
        let ledger = ledger(&[seen("08:00:00", &[("d", "REGISTERED", "anna")]), partial]);
        column(&reports::connected_at(&ledger, at("08:06:00"), ""), "others")
    };
    assert_eq!(others(json!(1)), json!([]));
    assert_eq!(others(json!(2)), json!([0]));
    assert_eq!(others(json!(null)), json!([0]));
}

#[test]
fn a_desktops_history_has_no_holes() {
    let lines = [seen("08:00:00", NONE), seen("08:05:00", ANNA), seen("09:00:00", CUT)];
    let range = Period { from: at("08:10:00"), to: at("10:00:00") };
    let ask = |range| reports::desktop_history(&ledger(&lines), "D", range, "");
    let rows = ask(Period { from: 0, to: range.to });
    let gap = "not observed";
    assert_eq!(column(&rows, "presence"), json!([gap, "absent", "present", gap, "present", gap]));
    assert_eq!(rows[1]["held_until"], at("08:05:00"));
    assert_eq!(rows[3]["started_after"], at("08:05:00"));
    assert_eq!(rows[3]["ended_before"], at("09:00:00"));
    assert_eq!(column(&ask(range), "presence"), json!([gap, "present", gap]));
    let at_its_end = Period { from: at("08:05:00"), to: at("08:06:00") };
    assert_eq!(column(&ask(at_its_end), "presence"), json!(["absent", "present", gap]));
    assert!(ask(Period { to: range.from, ..range }).is_empty());
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
fn records_are_normalised_as_they_are_read() {
    let mut line = seen("08:00:00", &[("d", "CONNECTED", "a"), ("d", "READY\0", "b")]);
    line["desktops"].as_array_mut().unwrap().push(json!({"desktop_name": "lost"}));
    line["desktops"][1]["attach_users"] =
        json!([{"type": "USER", "id": "b"}, {"id": "z"}, {"type": "USER"}, {"id": "z"}]);
    let partial = ledger(&[line.clone()]);
    assert_eq!(column(&views::snapshots(&partial), "desktops_total"), json!([2]));
    assert_eq!(column(&views::snapshots(&partial), "desktops_outcome"), json!(["partial"]));
    let rows = views::desktop_snapshots(&partial);
    assert_eq!(column(&rows, "connect_status"), json!(["READY\u{2400}"]));
    let entry = |kind: Option<&str>, id: Option<&str>| json!({"id": id, "name": null, "type": kind, "user_group": null});
    let sorted =
        [entry(None, Some("z")), entry(Some("USER"), None), entry(Some("USER"), Some("b"))];
    assert_eq!(rows[0]["attach_users"], json!(sorted));
    let complete = ledger(&[with(line, "total_count", 1)]);
    assert_eq!(column(&views::snapshots(&complete), "desktops_outcome"), json!(["complete"]));
}

#[test]
fn buckets_follow_the_clocks() {
    let list = |from: &str, to: &str, unit, tz: Tz| {
        let range =
            Period { from: instant(&json!(from)).unwrap(), to: instant(&json!(to)).unwrap() };
        buckets(range, unit, tz)
    };
    let minutes = |from: &str, to: &str, unit, tz| {
        let list = list(from, to, unit, tz);
        list.iter().map(|bucket| bucket.part.length() / MINUTE).collect::<Vec<_>>()
    };
    let berlin = Tz::Europe__Berlin;
    let howe = Tz::Australia__Lord_Howe;
    // A repeated hour is two buckets, and its day has 25 hours.
    let repeated = ["2026-10-25T02:00:00+02:00", "2026-10-25T03:00:00+01:00"];
    assert_eq!(minutes(repeated[0], repeated[1], Unit::Hour, berlin), [60, 60]);
    let days = ["2026-10-24T00:00:00+02:00", "2026-10-27T00:00:00+01:00"];
    assert_eq!(minutes(days[0], days[1], Unit::Day, berlin), [24 * 60, 25 * 60, 24 * 60]);
    let days = ["2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"];
    assert_eq!(minutes(days[0], days[1], Unit::Day, berlin), [23 * 60]);
    assert_eq!(minutes(days[0], days[1], Unit::Hour, berlin).len(), 23);
    // Lord Howe's clocks change by half an hour.
    let back = ["2026-04-05T01:00:00+11:00", "2026-04-05T03:00:00+10:30"];
    assert_eq!(minutes(back[0], back[1], Unit::Hour, howe), [60, 30, 60]);
    let forth = ["2026-10-04T01:00:00+10:30", "2026-10-04T04:00:00+11:00"];
    assert_eq!(minutes(forth[0], forth[1], Unit::Hour, howe), [60, 30, 60]);
    // A range that cuts a bucket leaves it its own start.
    let kolkata =
        list("2026-10-05T08:10:00Z", "2026-10-05T08:40:00Z", Unit::Hour, Tz::Asia__Kolkata);
    assert_eq!(kolkata[0].start, at("07:30:00"));
    assert_eq!(kolkata[0].part, Period { from: at("08:10:00"), to: at("08:30:00") });
    assert_eq!(kolkata[1].part, Period { from: at("08:30:00"), to: at("08:40:00") });
    let weeks = list("2026-10-04T12:00:00Z", "2026-10-05T12:00:00Z", Unit::Week, Tz::UTC);
    assert_eq!(weeks[1].start, at("00:00:00"));
    assert_eq!(weeks[0].start, at("00:00:00") - 7 * 24 * HOUR);
    let months = list("2026-10-31T12:00:00Z", "2026-11-01T12:00:00Z", Unit::Month, Tz::UTC);
    assert_eq!(months[0].start, at("00:00:00") - 4 * 24 * HOUR);
    // Havana's midnight comes twice: the day begins at the first. Beirut skips one.
    let havana =
        list("2026-11-01T12:00:00Z", "2026-11-01T13:00:00Z", Unit::Day, Tz::America__Havana);
    assert_eq!(json!(havana[0].start), json!(instant(&json!("2026-11-01T04:00:00Z"))));
    let beirut = list("2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z", Unit::Day, Tz::Asia__Beirut);
    assert_eq!(json!(beirut[0].start), json!(instant(&json!("2026-03-28T22:00:00Z"))));
    assert_eq!(list("2026-10-05T08:00:00Z", "2026-10-05T08:00:00Z", Unit::Day, Tz::UTC), []);
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
