//! Buckets that the period cuts: their figures are those of a part, and are not to be compared with whole ones.

use chrono::{
    DateTime, Datelike, Days, Months, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

use crate::report::render::heading::instant;
use crate::report::run::{Asked, Head};
use crate::report::value::Cell;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Length {
    Hour,
    Day,
    Week,
    Month,
}

/// Where the period begins and ends, and how long its buckets are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Edges {
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    length: Length,
    tz: Tz,
}

impl Edges {
    /// Those of a report that cuts its period into buckets, or into days: by the name of its column.
    pub fn of(head: &Head, column: &str) -> Option<Self> {
        let asked = head.asked.iter().find_map(|(name, asked)| match asked {
            Asked::Text(text) if name == "bucket" => Some(text.as_str()),
            _ => None,
        });
        let length = match (column, asked) {
            ("bucket_start", Some("hour")) => Length::Hour,
            ("bucket_start" | "day", Some("day")) | ("day", None) => Length::Day,
            ("bucket_start", Some("week")) => Length::Week,
            ("bucket_start", Some("month")) => Length::Month,
            _ => return None,
        };
        let (from, to) = instant(head, "from").zip(instant(head, "to"))?;
        Some(Self { from, to, length, tz: head.time_zone })
    }

    /// Whether the period has only a part of the bucket that begins there.
    pub fn cut(&self, start: &Cell) -> bool {
        let Cell::Instant(start) = *start else { return false };
        let is_inside = |edge: DateTime<Utc>| start < edge && edge < self.end(start);
        // Beyond the period lie days that are foretold.
        start < self.to && (is_inside(self.from) || is_inside(self.to))
    }

    fn end(&self, start: DateTime<Utc>) -> DateTime<Utc> {
        let local = start.with_timezone(&self.tz).naive_local();
        let midnight = NaiveDateTime::new(local.date(), NaiveTime::MIN);
        let next = match self.length {
            Length::Hour => return start + TimeDelta::hours(1),
            Length::Day => midnight.checked_add_days(Days::new(1)),
            Length::Week => midnight.checked_add_days(Days::new(7)),
            Length::Month => {
                midnight.with_day(1).and_then(|first| first.checked_add_months(Months::new(1)))
            }
        };
        // Where a clock is set forward across midnight, the day begins an hour later.
        next.and_then(|next| {
            let begins = |next: NaiveDateTime| self.tz.from_local_datetime(&next).earliest();
            begins(next).or_else(|| begins(next + TimeDelta::hours(1)))
        })
        .map_or(start, |end| end.with_timezone(&Utc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(length: Length, tz: Tz, from: &str, to: &str, start: &str) -> bool {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("an instant");
        Edges { from: at(from), to: at(to), length, tz }.cut(&Cell::Instant(at(start)))
    }

    #[test]
    fn a_bucket_is_cut_where_the_period_begins_or_ends_in_it() {
        let (from, to) = ("2026-10-23T22:00:00Z", "2026-10-26T11:30:00Z");
        let day = |start| cut(Length::Day, Tz::Europe__Berlin, from, to, start);
        assert!(!day("2026-10-23T22:00:00Z"), "it begins with the period");
        assert!(!day("2026-10-24T22:00:00Z"), "25 hours, all of them inside");
        assert!(day("2026-10-25T23:00:00Z"), "the period ends before it does");
        assert!(!day("2026-10-26T23:00:00Z"), "foretold");
        assert!(cut(Length::Day, Tz::UTC, from, to, "2026-10-23T00:00:00Z"));
        assert!(cut(Length::Hour, Tz::UTC, from, to, "2026-10-26T11:00:00Z"));
        assert!(!cut(Length::Hour, Tz::UTC, from, to, "2026-10-26T10:00:00Z"));
        let month = |start| cut(Length::Month, Tz::UTC, "2026-09-01T00:00:00Z", to, start);
        assert!(!month("2026-09-01T00:00:00Z") && month("2026-10-01T00:00:00Z"));
        let week = |to| cut(Length::Week, Tz::UTC, from, to, "2026-10-26T00:00:00Z");
        assert!(week("2026-11-01T23:00:00Z") && !week("2026-11-02T00:00:00Z"));
        // Midnight of this day never was.
        let cairo = |to| cut(Length::Day, Tz::Africa__Cairo, from, to, "2027-04-28T22:00:00Z");
        assert!(!cairo("2027-04-29T22:00:00Z") && cairo("2027-04-29T20:59:59Z"));
    }
}
