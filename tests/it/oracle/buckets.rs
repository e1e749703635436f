//! Civil buckets: hours, days, weeks and months as the clocks of a time zone show them.

use chrono::{DateTime, Datelike, NaiveDate, NaiveDateTime, Timelike};
use chrono_tz::Tz;

use super::coverage::Period;
use super::ledger::{MINUTE, Micros};

/// How long a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Hour,
    Day,
    /// From Monday.
    Week,
    Month,
    /// The whole range.
    All,
}

/// A civil bucket, and its part inside the range asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its own civil start, also where the range cuts it.
    pub start: Micros,
    pub part: Period,
}

/// Offsets from UTC are multiples of this today, so no bucket begins anywhere else.
const GRID: Micros = 15 * MINUTE;

/// The buckets that `range` meets, oldest first. They tile it; a day across a clock change has 23 or
/// 25 hours, and a repeated hour is two buckets.
pub fn buckets(range: Period, unit: Unit, tz: Tz) -> Vec<Bucket> {
    if unit == Unit::All {
        let bucket = Bucket { start: range.from, part: range };
        return (range.length() > 0).then_some(bucket).into_iter().collect();
    }
    let mut start = range.from.div_euclid(GRID) * GRID;
    while !begins_at(start, unit, tz) {
        start -= GRID;
    }
    let mut buckets = Vec::new();
    while start < range.to {
        let mut next = start + GRID;
        while !begins_at(next, unit, tz) {
            next += GRID;
        }
        let part = Period { from: start, to: next }.intersection(range);
        if part.length() > 0 {
            buckets.push(Bucket { start, part });
        }
        start = next;
    }
    buckets
}

/// Whether a bucket begins here: the clock shows another hour, day, week or month than just before;
/// an hour begins also where the clock is set back into the hour that it shows.
fn begins_at(instant: Micros, unit: Unit, tz: Tz) -> bool {
    let (before, now) = (civil(instant - GRID, tz), civil(instant, tz));
    let set_back = now <= before;
    label(before, unit) != label(now, unit) || (unit == Unit::Hour && set_back)
}

/// What the clocks of `tz` show.
pub fn civil(instant: Micros, tz: Tz) -> NaiveDateTime {
    DateTime::from_timestamp_micros(instant).unwrap().with_timezone(&tz).naive_local()
}

/// The date, and for hours the hour, that names a bucket.
fn label(civil: NaiveDateTime, unit: Unit) -> (NaiveDate, u32) {
    let date = civil.date();
    match unit {
        Unit::Hour => (date, civil.hour()),
        Unit::Day => (date, 0),
        Unit::Week => (date.week(chrono::Weekday::Mon).first_day(), 0),
        Unit::Month => (date.with_day(1).unwrap(), 0),
        Unit::All => unreachable!("it is not cut"),
    }
}
