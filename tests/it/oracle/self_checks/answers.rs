//! Cases of the rules for questions about one instant, desktop or user.

use serde_json::{Value, json};

use super::{ANNA, BEN, CUT, NONE, at, column, ledger, seen, with};
use crate::oracle::coverage::Period;
use crate::oracle::reports;

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
fn a_desktop_not_listed_for_long_is_one_of_the_others() {
    let partial = |time: &str| with(seen(time, ANNA), "total_count", 2);
    let both = [("d", "CONNECTED", "anna"), ("e", "REGISTERED", "ben")];
    let ledger = ledger(&[seen("08:00:00", &both), partial("08:10:00"), partial("08:20:00")]);
    let rows = reports::connected_at(&ledger, at("08:16:00"), "s");
    assert_eq!(column(&rows, "desktop_id"), json!(["d", null]));
    assert_eq!(column(&rows, "certainty"), json!(["observed", "not observed"]));
    assert_eq!(column(&rows, "others"), json!([null, 1]));
}

#[test]
fn a_users_history_is_found_by_name_and_by_id() {
    let lines = [seen("08:00:00", ANNA), seen("08:05:00", BEN), seen("08:10:00", CUT)];
    let range = Period { from: at("08:05:00"), to: at("08:06:00") };
    let ask = |user| reports::user_history(&ledger(&lines), user, range, "");
    assert_eq!(ask("anna"), ask("id-anna"));
    assert_eq!(column(&ask("anna"), "ended_as"), json!(["REASSIGNED"]));
    assert_eq!(column(&ask("id-ben"), "user_name"), json!(["ben"]));
    assert!(ask("d").is_empty());
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
