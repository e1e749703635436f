//! Cases of the rules for buckets.

use chrono_tz::Tz;
use serde_json::json;

use super::at;
use crate::oracle::buckets::{Unit, buckets};
use crate::oracle::coverage::Period;
use crate::oracle::ledger::{HOUR, MINUTE, instant};

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
