//! Where the marks of an axis of time stand: at civil hours, days and months of the report's time zone.

use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged};

/// An axis whose marks stand where they are put; `plotters` knows round numbers alone.
pub(super) struct Marked {
    pub range: std::ops::Range<f64>,
    pub marks: Vec<f64>,
}

impl Ranged for Marked {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.range.start) / (self.range.end - self.range.start);
        #[expect(clippy::cast_possible_truncation, reason = "within the picture")]
        let pixels = (f64::from(to - from) * share).round() as i32;
        from + pixels
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.range.clone()
    }
}

/// As many marks as can be read side by side.
const MOST: usize = 10;

#[derive(Debug, Clone, Copy)]
enum Step {
    Hours(u32),
    Days(u32),
    Months(u32),
}

const STEPS: [Step; 14] = [
    Step::Hours(1),
    Step::Hours(3),
    Step::Hours(6),
    Step::Hours(12),
    Step::Days(1),
    Step::Days(2),
    Step::Days(7),
    Step::Days(14),
    Step::Months(1),
    Step::Months(2),
    Step::Months(3),
    Step::Months(6),
    Step::Months(12),
    Step::Months(60),
];

/// Marks from one instant to another, both included, and what stands at each.
pub(super) fn marks(
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    tz: Tz,
) -> Vec<(DateTime<Utc>, String)> {
    let mut marks = STEPS.iter().map(|step| walk(from, to, tz, *step));
    // The last of them is as coarse as it gets.
    marks
        .clone()
        .find(|marks| marks.len() <= MOST)
        .or_else(|| marks.next_back())
        .unwrap_or_default()
}

fn walk(
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    tz: Tz,
    step: Step,
) -> Vec<(DateTime<Utc>, String)> {
    let mut marks = Vec::new();
    let mut local = start(from.with_timezone(&tz).naive_local().date(), step);
    while marks.len() <= MOST {
        // A local time that a change of the clock skips has no mark.
        if let Some(at) = tz.from_local_datetime(&local).earliest() {
            let at = at.with_timezone(&Utc);
            if at > to {
                break;
            }
            if at >= from {
                marks.push((at, label(local, step)));
            }
        }
        let Some(next) = next(local, step) else { break };
        local = next;
    }
    marks
}

fn start(date: NaiveDate, step: Step) -> NaiveDateTime {
    let date = match step {
        Step::Hours(_) | Step::Days(1) => date,
        // From a Monday, so that weeks look like weeks; every second day from the same.
        Step::Days(_) => date - Days::new(date.weekday().num_days_from_monday().into()),
        Step::Months(_) => date.with_day(1).and_then(|date| date.with_month(1)).unwrap_or(date),
    };
    date.into()
}

fn next(local: NaiveDateTime, step: Step) -> Option<NaiveDateTime> {
    match step {
        Step::Hours(hours) => local.checked_add_signed(TimeDelta::hours(hours.into())),
        Step::Days(days) => local.checked_add_days(Days::new(days.into())),
        Step::Months(months) => local.checked_add_months(Months::new(months)),
    }
}

fn label(local: NaiveDateTime, step: Step) -> String {
    let format = match step {
        Step::Hours(_) if local.time() != chrono::NaiveTime::MIN => "%H:%M",
        Step::Hours(_) | Step::Days(_) => "%-d %b",
        Step::Months(12..) => "%Y",
        Step::Months(_) => "%b %Y",
    };
    local.format(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_stand_at_civil_times() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("an instant");
        let labels = |from, to, tz| -> Vec<String> {
            marks(at(from), at(to), tz).into_iter().map(|(_, label)| label).collect()
        };
        let day = labels("2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", Tz::Europe__Berlin);
        assert_eq!(
            day,
            ["25 Oct", "03:00", "06:00", "09:00", "12:00", "15:00", "18:00", "21:00", "26 Oct"]
        );
        let month = labels("2026-10-01T00:00:00Z", "2026-11-01T00:00:00Z", Tz::UTC);
        assert_eq!(month, ["5 Oct", "12 Oct", "19 Oct", "26 Oct"]);
        let years = labels("2020-01-01T00:00:00Z", "2026-11-01T00:00:00Z", Tz::UTC);
        assert_eq!(years, ["2020", "2021", "2022", "2023", "2024", "2025", "2026"]);
        // 23 hours; the marks are three civil hours apart all the same.
        let spring =
            marks(at("2026-03-28T23:00:00Z"), at("2026-03-29T22:00:00Z"), Tz::Europe__Berlin);
        assert_eq!((spring[1].0, spring[1].1.as_str()), (at("2026-03-29T01:00:00Z"), "03:00"));
    }

    #[test]
    fn no_length_is_too_short_or_too_long() {
        let from: DateTime<Utc> = "2026-10-24T22:13:07Z".parse().expect("an instant");
        for days in [1, 2, 3, 5, 9, 17, 40, 90, 200, 400, 3_000, 40_000] {
            let count = marks(from, from + TimeDelta::days(days), Tz::Asia__Kathmandu).len();
            assert!((1..=MOST + 1).contains(&count), "{days} days: {count} marks");
        }
        assert!(marks(from, from, Tz::UTC).len() <= 1);
    }
}
