//! Months and days in UTC: spans are filed in pieces that end with the month.

use chrono::{Datelike, Months, NaiveDate, TimeDelta, TimeZone, Utc};

use super::Instant;

/// The first instant of the month that `at` lies in.
#[must_use]
pub fn month_start(at: Instant) -> Instant {
    let first = NaiveDate::from_ymd_opt(at.year(), at.month(), 1)
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .expect("each month of a date has a first day");
    Utc.from_utc_datetime(&first)
}

/// The first instant of the month after the one that `at` lies in.
#[must_use]
pub fn next_month(at: Instant) -> Instant {
    month_start(at) + Months::new(1)
}

/// The first instant of the day (UTC) that `at` lies in.
#[must_use]
pub fn day_start(at: Instant) -> Instant {
    Utc.from_utc_datetime(&at.date_naive().and_time(chrono::NaiveTime::MIN))
}

/// The part of a hold that lies in one month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it begins.
    pub from: Instant,
    /// Where it ends, at most the month's end.
    pub to: Instant,
    /// The last observation in it, or the last microsecond of a piece that goes on.
    pub last_seen: Instant,
    /// Whether the next month holds another piece.
    pub goes_on: bool,
}

/// Cuts a hold at the ends of months.
///
/// `from`: where its filed part begins; `last_seen`: its last observation; `to`: where the hold ends
/// (`from` ≤ `to`, `last_seen` ≤ `to`). A hold that ends with the month is one piece.
pub fn pieces(from: Instant, last_seen: Instant, to: Instant) -> impl Iterator<Item = Piece> {
    let mut next = Some(from);
    std::iter::from_fn(move || {
        let from = next?;
        let end = next_month(from);
        let goes_on = to > end;
        next = goes_on.then_some(end);
        Some(Piece {
            from,
            to: if goes_on { end } else { to },
            last_seen: if goes_on {
                last_seen.min(end - TimeDelta::microseconds(1))
            } else {
                last_seen
            },
            goes_on,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Instant {
        text.parse().expect("an instant")
    }

    #[test]
    fn a_hold_within_a_month_is_one_piece() {
        let (from, to) = (at("2026-10-05T08:00:00Z"), at("2026-11-01T00:00:00Z"));
        let all: Vec<_> = pieces(from, from, to).collect();
        assert_eq!(all, [Piece { from, to, last_seen: from, goes_on: false }]);
    }

    #[test]
    fn a_hold_across_two_month_ends_is_three_pieces_that_touch() {
        let (from, last_seen, to) =
            (at("2026-10-05T08:00:00Z"), at("2026-12-02T00:00:00Z"), at("2026-12-02T00:05:00Z"));
        let all: Vec<_> = pieces(from, last_seen, to).collect();
        assert_eq!(all.len(), 3);
        assert_eq!((all[0].from, all[2].to, all[2].last_seen), (from, to, last_seen));
        assert!(all.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].goes_on));
        assert_eq!(all[0].last_seen, at("2026-10-31T23:59:59.999999Z"));
    }

    #[test]
    fn an_observation_without_hold_is_a_piece_without_length() {
        let first = at("2026-11-01T00:00:00Z");
        let all: Vec<_> = pieces(first, first, first).collect();
        assert_eq!(all, [Piece { from: first, to: first, last_seen: first, goes_on: false }]);
    }
}
