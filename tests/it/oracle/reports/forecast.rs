//! `forecast`: the daily peaks to be expected, and what the same method was worth so far.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Datelike};
use chrono_tz::Tz;
use serde_json::Value;

use crate::oracle::buckets::{Unit, buckets, civil};
use crate::oracle::coverage::Period;
use crate::oracle::fleet::{ALL, Fleet, fleets};
use crate::oracle::ledger::{DAY, Ledger, Micros};
use crate::oracle::rows::{Row, percent, ratio, row};

/// A civil day that lies whole in the history, and its peak if it was covered well enough to teach.
struct Day {
    /// Days since some first one.
    date: i32,
    peak: Option<f64>,
    covered: Micros,
    length: Micros,
}

/// One back-test: a forecast made at the end of a day that is over, for a day that is over.
struct Test {
    origin: i32,
    target: i32,
    peak: f64,
    expected: f64,
}

impl Test {
    fn week(&self) -> i32 {
        weeks(self.target - self.origin)
    }

    fn score(&self) -> f64 {
        (self.peak - self.expected) / scale(self.expected)
    }
}

/// One to seven days are one week.
fn weeks(days: i32) -> i32 {
    (days + 6) / 7
}

fn scale(expected: f64) -> f64 {
    expected.max(1.0).sqrt()
}

/// 1 to 7; day 1 of the common era was a Monday.
fn weekday(date: i32) -> i32 {
    (date - 1).rem_euclid(7) + 1
}

/// A row for each source, or all of them as one, and day, from the first day that begins at or after the end of the history; and one
/// without a day for each source of which nothing is foretold.
pub fn forecast(ledger: &Ledger, range: Period, horizon: usize, tz: Tz, source: &str) -> Vec<Row> {
    let reach = Period { from: range.from - 2 * DAY, to: range.to + (horizon as i64 + 3) * DAY };
    let starts: Vec<Micros> =
        buckets(reach, Unit::Day, tz).iter().map(|bucket| bucket.start).collect();
    let days = starts.windows(2).map(|pair| Period { from: pair[0], to: pair[1] });
    let whole: Vec<Period> =
        days.filter(|day| day.from >= range.from && day.to <= range.to).collect();
    let date = |instant: Micros| civil(instant, tz).date().num_days_from_ce();
    let today = whole.last().map(|day| date(day.from));
    let ahead: Vec<Micros> =
        starts.iter().copied().filter(|start| *start >= range.to).take(horizon).collect();

    let (mut told, mut silent) = (BTreeMap::new(), Vec::new());
    for fleet in fleets(ledger, source) {
        let used = whole.iter().filter(|day| Some(date(day.from)) > today.map(|today| today - 140));
        let history = history(&fleet, used.copied(), date);
        let covered: Micros = history.iter().map(|day| day.covered).sum();
        // Before its first covered day a ledger that is young has nothing to miss.
        let begun = history.iter().position(|day| day.covered > 0).unwrap_or(0);
        let length: Micros = history[begun..].iter().map(|day| day.length).sum();
        let row_of = |day: Value, figures: Figures, note: Value| {
            row([
                ("day", day),
                ("source", fleet.name.clone().into()),
                ("expected_peak", figures.expected.into()),
                ("low", figures.band.map(|(low, _)| low).into()),
                ("high", figures.band.map(|(_, high)| high).into()),
                ("band_pct", figures.band.map(|_| 80).into()),
                ("method_error", figures.error.into()),
                ("method_error_pct", figures.error_pct.into()),
                ("in_band_pct", figures.in_band.into()),
                ("tested_days", figures.tested.into()),
                ("history_days", history.iter().filter(|day| day.peak.is_some()).count().into()),
                ("coverage_pct", percent(covered, length).into()),
                ("note", note),
            ])
        };
        let Some((today, expected)) =
            today.and_then(|today| Some((today, expected(&history, today)?)))
        else {
            silent.push(row_of(Value::Null, Figures::default(), why(&history, today).into()));
            continue;
        };
        let tests = tests(&history, today);
        for start in &ahead {
            let expected = expected.get(&weekday(date(*start))).copied();
            let week = weeks(date(*start) - today);
            let figures = figures(&tests, today, week, expected);
            let note = match (expected, figures.band) {
                (None, _) => {
                    Value::from("no forecast: this weekday never taught in the last 8 weeks")
                }
                (_, None) => Value::from(format!(
                    "no band: tested on {} days at this distance, 9 are needed",
                    figures.tested
                )),
                _ => Value::Null,
            };
            let row = row_of((*start).into(), figures, note);
            told.insert((*start, fleet.name == ALL, fleet.name.clone()), row);
        }
    }
    told.into_values().chain(silent).collect()
}

/// Days teach if at least 90 % of them was covered.
fn history(
    fleet: &Fleet<'_>,
    days: impl Iterator<Item = Period>,
    date: impl Fn(Micros) -> i32,
) -> Vec<Day> {
    let pieces = fleet.concurrency(Period { from: Micros::MIN, to: Micros::MAX });
    let day_of = |day: Period| {
        let seen: Vec<(Micros, i64)> = pieces
            .iter()
            .map(|(piece, connected)| (piece.overlap(day), *connected))
            .filter(|(time, _)| *time > 0)
            .collect();
        let covered: Micros = seen.iter().map(|(time, _)| time).sum();
        let peak = seen.iter().map(|(_, connected)| *connected as f64).reduce(f64::max);
        let teaches = 100 * covered >= 90 * day.length();
        Day { date: date(day.from), peak: peak.filter(|_| teaches), covered, length: day.length() }
    };
    days.map(day_of).collect()
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.len().checked_sub(1)? / 2, values.len() / 2);
    Some(values[low] + (values[high] - values[low]) * 0.5)
}

/// The days that taught in the 8 weeks up to a day, oldest first.
fn lessons(history: &[Day], origin: i32) -> Vec<(i32, f64)> {
    let known = history.iter().filter(|day| day.date > origin - 56 && day.date <= origin);
    known.filter_map(|day| Some((day.date, day.peak?))).collect()
}

/// The peak to be expected on each weekday, as known at the end of a day.
fn expected(history: &[Day], origin: i32) -> Option<BTreeMap<i32, f64>> {
    let lessons = lessons(history, origin);
    if lessons.len() < 14 || lessons.last().unwrap().0 <= origin - 7 {
        return None;
    }
    let of_weekday = |wanted: i32| {
        let peaks = lessons.iter().filter(|(date, _)| weekday(*date) == wanted);
        Some((wanted, median(peaks.map(|(_, peak)| *peak).collect())?))
    };
    let typical: BTreeMap<i32, f64> = (1..=7).filter_map(of_weekday).collect();
    let ratios = lessons[lessons.len() - 14..].iter().filter_map(|(date, peak)| {
        let typical = typical[&weekday(*date)];
        (typical != 0.0).then(|| peak / typical)
    });
    let level = median(ratios.collect()).unwrap_or(1.0);
    Some(typical.into_iter().map(|(weekday, typical)| (weekday, typical * level)).collect())
}

/// Why nothing is foretold.
fn why(history: &[Day], today: Option<i32>) -> String {
    let lessons = today.map(|today| lessons(history, today)).unwrap_or_default();
    match lessons.last() {
        Some((newest, _)) if lessons.len() >= 14 => format!(
            "no forecast: the last day that taught is {}, more than a week before the history ends",
            DateTime::from_timestamp(i64::from(*newest - 719_163) * 86_400, 0)
                .unwrap()
                .date_naive()
        ),
        _ => format!(
            "no forecast: {} days of the last 8 weeks were covered for 90 % or more, 14 are needed",
            lessons.len()
        ),
    }
}

/// Everything that the method would have foretold in the last 12 weeks and that has come since.
fn tests(history: &[Day], today: i32) -> Vec<Test> {
    let mut tests = Vec::new();
    for origin in history.iter().map(|day| day.date).filter(|date| *date > today - 84) {
        let Some(expected) = expected(history, origin) else { continue };
        for day in history.iter().filter(|day| day.date > origin) {
            if let (Some(peak), Some(expected)) = (day.peak, expected.get(&weekday(day.date))) {
                tests.push(Test { origin, target: day.date, peak, expected: *expected });
            }
        }
    }
    tests
}

/// The errors that bound a band: of the tests known at the end of a day, at one distance.
fn bounds(tests: &[Test], origin: i32, week: i32) -> Option<(f64, f64)> {
    let known = || tests.iter().filter(|test| test.week() == week && test.target <= origin);
    let mut scores: Vec<f64> = known().map(Test::score).collect();
    scores.sort_by(f64::total_cmp);
    let days = known().map(|test| test.target).collect::<BTreeSet<_>>().len();
    // A tenth of what days allow, as a share of the tests.
    let out = (scores.len() + 1) * ((days + 1) / 10) / (days + 1);
    Some((scores[out.checked_sub(1)?], scores[scores.len() - out]))
}

#[derive(Default)]
struct Figures {
    expected: Option<f64>,
    band: Option<(f64, f64)>,
    error: Option<f64>,
    error_pct: Option<f64>,
    in_band: Option<f64>,
    tested: usize,
}

fn figures(tests: &[Test], today: i32, week: i32, expected: Option<f64>) -> Figures {
    let band = expected.zip(bounds(tests, today, week)).map(|(expected, (low, high))| {
        let at = |score: f64| (expected + score * scale(expected)).max(0.0);
        (at(low), at(high))
    });
    let tests_of_week: Vec<&Test> = tests.iter().filter(|test| test.week() == week).collect();
    let number = tests_of_week.len() as f64;
    let errors: f64 = tests_of_week.iter().map(|test| (test.peak - test.expected).abs()).sum();
    let peaks: f64 = tests_of_week.iter().map(|test| test.peak).sum();
    let judged: Vec<bool> = tests_of_week
        .iter()
        .filter_map(|test| {
            let (low, high) = bounds(tests, test.origin, week)?;
            Some(low <= test.score() && test.score() <= high)
        })
        .collect();
    let inside = judged.iter().filter(|is_inside| **is_inside).count();
    Figures {
        expected,
        band,
        error: (number > 0.0).then(|| errors / number),
        error_pct: (peaks > 0.0).then(|| 100.0 * errors / peaks),
        in_band: ratio(100 * inside as i128, judged.len() as i128),
        tested: tests_of_week.iter().map(|test| test.target).collect::<BTreeSet<_>>().len(),
    }
}
