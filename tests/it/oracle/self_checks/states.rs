//! Cases of the rules for what is read, for spans, connections and gaps.

use serde_json::{Value, json};

use super::{ANNA, BEN, CUT, NONE, at, column, hourly, ledger, seen, with};
use crate::oracle::ledger::MINUTE;
use crate::oracle::reports;
use crate::oracle::views;

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
fn a_connection_with_a_later_observation_is_not_ongoing() {
    // The later one allows a gap of a minute, the newest snapshot a gap of an hour.
    let failed = json!({"source": "s", "observed_at": "2026-10-05T08:06:00Z", "max_gap": "1h"});
    let lines = [seen("08:00:00", ANNA), with(seen("08:05:00", NONE), "max_gap", "1m"), failed];
    let connections = views::connections_view(&ledger(&lines));
    assert_eq!(column(&connections, "ended_as"), json!(["UNKNOWN"]));
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
    assert_eq!(column(&open, "reason"), json!([null, null]));
    let never = views::gaps(&ledger(&lines[..1]), at("07:00:00"));
    assert_eq!(column(&never, "failed_snapshots"), json!([1]));
    assert_eq!(column(&never, "last_error"), json!(["no"]));
}

#[test]
fn gaps_tell_what_recorders_say_inside_and_at_their_end() {
    let said = |time: &str, code: Value, message: &str| {
        let mut line = seen(time, NONE);
        line["error"] = json!({"code": code, "message": message});
        line
    };
    let spool =
        "no answer; spool: nothing was visited from 09:20 on: full; clock: the clock was set back";
    let lines = [
        said("08:00:00", json!("clock"), "of before"),
        said("09:00:00", json!("clock"), "set forward"),
        said("10:00:00", json!("WKS.1"), spool),
        said("11:00:00", json!("WKS.1"), "no; clock: no note"),
    ];
    let gaps = views::gaps(&ledger(&lines), at("11:00:00"));
    assert_eq!(column(&gaps, "reason"), json!(["clock", "spool", null]));
    let spool = spool.strip_prefix("no answer; spool: ").unwrap();
    assert_eq!(column(&gaps, "reason_message"), json!(["set forward", spool, null]));
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
