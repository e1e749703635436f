//! How values look to people: rounded, in their time zone, harmless.

use chrono::{DateTime, LocalResult, TimeZone, Timelike, Utc};
use chrono_tz::Tz;

use crate::domain::harmless;
use crate::report::value::{Cell, ColumnKind, seconds};

/// Not observed. Never 0.
pub(in crate::report) const NOTHING: &str = "–";

/// How the instants of one column are written: as short as tells them all apart from their neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::report) enum Precision {
    Day,
    Minute,
    Second,
}

impl Precision {
    pub fn of<'a>(cells: impl Iterator<Item = &'a Cell>, tz: Tz) -> Self {
        let needed = |cell: &Cell| match cell {
            Cell::Instant(instant) => {
                let local = instant.with_timezone(&tz);
                if local.second() != 0 || local.nanosecond() != 0 {
                    Self::Second
                } else if local.num_seconds_from_midnight() != 0 {
                    Self::Minute
                } else {
                    Self::Day
                }
            }
            _ => Self::Day,
        };
        cells.map(needed).max().unwrap_or(Self::Day)
    }

    /// In `tz`; with the offset where the local time comes twice.
    pub fn text(self, instant: DateTime<Utc>, tz: Tz) -> String {
        let local = instant.with_timezone(&tz);
        let format = match self {
            Self::Day => "%Y-%m-%d",
            Self::Minute => "%Y-%m-%d %H:%M",
            Self::Second => "%Y-%m-%d %H:%M:%S",
        };
        if matches!(tz.from_local_datetime(&local.naive_local()), LocalResult::Ambiguous(..)) {
            local.format(&format!("{format} %:z")).to_string()
        } else {
            local.format(format).to_string()
        }
    }
}

/// A cell as text on one line.
pub(in crate::report) fn text(cell: &Cell, precision: Precision, tz: Tz) -> String {
    match cell {
        Cell::Null => NOTHING.to_owned(),
        Cell::Text(text) | Cell::Json(text) => harmless(text),
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) => format!("{number:.2}"),
        Cell::Decimal(number) => rounded(number),
        Cell::Bool(truth) => (if *truth { "yes" } else { "no" }).to_owned(),
        Cell::Instant(instant) => precision.text(*instant, tz),
        Cell::Duration(microseconds) => length(*microseconds),
        Cell::List(items) => {
            let items =
                items.iter().map(|item| item.as_deref().map_or(NOTHING.to_owned(), harmless));
            items.collect::<Vec<_>>().join(", ")
        }
    }
}

/// A figure as something to draw: lengths in microseconds. `None`: not observed, or no figure.
pub(super) fn number(cell: &Cell) -> Option<f64> {
    let value = match cell {
        Cell::Integer(number) | Cell::Duration(number) => *number as f64,
        Cell::Float(number) => *number,
        Cell::Decimal(number) => number.parse().ok()?,
        _ => return None,
    };
    value.is_finite().then_some(value)
}

/// A cell by itself: as short as it can be.
pub(in crate::report) fn plain(cell: &Cell, tz: Tz) -> String {
    text(cell, Precision::of(std::iter::once(cell), tz), tz)
}

/// Numbers and lengths line up on the right.
pub(in crate::report) fn is_right_aligned(kind: ColumnKind) -> bool {
    matches!(kind, ColumnKind::Integer | ColumnKind::Number | ColumnKind::Duration)
}

/// Two decimals, unless the database gave a whole number.
fn rounded(number: &str) -> String {
    match number.parse::<f64>() {
        Ok(value) if number.contains('.') => format!("{value:.2}"),
        _ => number.to_owned(),
    }
}

/// `45s`, `12m`, `1h05m`, `3d04h`: two units, the second with its leading zero so that they compare at a glance.
pub(super) fn length(microseconds: i64) -> String {
    let sign = if microseconds < 0 { "-" } else { "" };
    let total = microseconds.unsigned_abs() / 1_000_000;
    let (days, hours, minutes, rest) =
        (total / 86_400, total / 3_600 % 24, total / 60 % 60, total % 60);
    let text = match (days, hours, minutes, rest) {
        (0, 0, 0, 0) => return format!("{}s", seconds(microseconds)),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, 0) => format!("{m}m"),
        (0, 0, m, s) => format!("{m}m{s:02}s"),
        (0, h, 0, _) => format!("{h}h"),
        (0, h, m, _) => format!("{h}h{m:02}m"),
        (d, 0, _, _) => format!("{d}d"),
        (d, h, _, _) => format!("{d}d{h:02}h"),
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_that_it_would_obey() {
        assert_eq!(harmless("a\x1b[31mb\u{9b}2J\r\nc\u{202e}d"), "a␛[31mb\\u{9b}2J␍␊c\\u{202e}d");
        assert_eq!(harmless("Größe 桌面 🙂"), "Größe 桌面 🙂");
    }

    #[test]
    fn lengths_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (45, "45s"),
            (720, "12m"),
            (75, "1m15s"),
            (3_900, "1h05m"),
            (7_200, "2h"),
            (273_600, "3d04h"),
            (-60, "-1m"),
        ] {
            assert_eq!(length(seconds * 1_000_000), text);
        }
        assert_eq!(length(500_000), "0.5s");
    }

    #[test]
    fn numbers_are_rounded_and_counts_are_not() {
        assert_eq!(rounded("12.3456789"), "12.35");
        assert_eq!(rounded("12"), "12");
        assert_eq!(rounded("NaN"), "NaN");
    }

    #[test]
    fn a_repeated_hour_shows_its_offset() {
        let tz = Tz::Europe__Berlin;
        let first: DateTime<Utc> = "2026-10-25T00:00:00Z".parse().expect("an instant");
        let second: DateTime<Utc> = "2026-10-25T01:00:00Z".parse().expect("an instant");
        assert_eq!(Precision::Minute.text(first, tz), "2026-10-25 02:00 +02:00");
        assert_eq!(Precision::Minute.text(second, tz), "2026-10-25 02:00 +01:00");
        let plain: DateTime<Utc> = "2026-10-25T02:00:00Z".parse().expect("an instant");
        assert_eq!(Precision::Minute.text(plain, tz), "2026-10-25 03:00");
    }
}
