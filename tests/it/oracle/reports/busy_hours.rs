//! `busy-hours`: the week, hour by hour.

use std::collections::BTreeMap;

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;

use crate::oracle::buckets::{Unit, buckets, civil};
use crate::oracle::coverage::Period;
use crate::oracle::fleet::{ALL, fleets};
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::rows::{Row, percent, ratio, row};

/// A row for each weekday (1 is Monday) and hour that the range meets, in the civil time of `tz`; a
/// repeated hour counts twice in its own row. The time in which every source asked for was covered
/// counts, and the connections of all of them are summed.
pub fn busy_hours(ledger: &Ledger, range: Period, tz: Tz, source: &str) -> Vec<Row> {
    let fleets = fleets(ledger, if source.is_empty() { ALL } else { source });
    let Some(fleet) = fleets.first() else { return Vec::new() };
    let mut parts: BTreeMap<(u32, u32), Vec<Period>> = BTreeMap::new();
    for bucket in buckets(range, Unit::Hour, tz) {
        let shown = civil(bucket.start, tz);
        let key = (shown.weekday().number_from_monday(), shown.hour());
        parts.entry(key).or_default().push(bucket.part);
    }
    let row_of = |((weekday, hour), parts): ((u32, u32), Vec<Period>)| {
        let length: Micros = parts.iter().map(|part| part.length()).sum();
        let (mut covered, mut connected, mut peak) = (0, 0, None);
        for part in parts {
            for (piece, number) in fleet.concurrency(part) {
                covered += piece.length();
                connected += number * piece.length();
                peak = peak.max(Some(number));
            }
        }
        row([
            ("weekday", weekday.into()),
            ("hour", hour.into()),
            ("connected_avg", ratio(connected.into(), covered.into()).into()),
            ("connected_peak", peak.into()),
            ("coverage_pct", percent(covered, length).into()),
        ])
    };
    parts.into_iter().map(row_of).collect()
}
