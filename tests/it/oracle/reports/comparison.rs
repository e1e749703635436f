//! `comparison`: two periods side by side.

use super::disconnects::disconnects_of;
use crate::oracle::coverage::Period;
use crate::oracle::fleet::{ALL, Fleet, fleets};
use crate::oracle::ledger::{Ledger, Micros, State};
use crate::oracle::rows::{Row, hours, percent, ratio, row};

/// The other period: of the same length just before, unless one end of it or both are given.
pub fn other_period(range: Period, from: Option<Micros>, to: Option<Micros>) -> Period {
    let length = range.to - range.from;
    match (from, to) {
        (Some(from), Some(to)) => Period { from, to },
        (Some(from), None) => Period { from, to: from + length },
        (None, Some(to)) => Period { from: to - length, to },
        (None, None) => Period { from: range.from - length, to: range.from },
    }
}

/// A row for each source and figure; disconnects are no figure of all sources as one. A change is told where both periods
/// were covered for 90 % or more.
pub fn comparison(ledger: &Ledger, range: Period, other: Period, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    if range.length() == 0 && other.length() == 0 {
        return rows;
    }
    for fleet in fleets(ledger, source) {
        let (figures, others) = (figures(&fleet, range), figures(&fleet, other));
        let coverage = |period| percent(fleet.covered_time(period), Period::length(period));
        let is_told = [range, other].into_iter().all(|period| {
            period.length() > 0 && 100 * fleet.covered_time(period) >= 90 * period.length()
        });
        for ((figure, value), (_, other_value)) in figures.into_iter().zip(others) {
            // Of hours and counts as many as there would have been in as much covered time.
            let rate = match figure {
                "connected_hours" | "disconnects" => {
                    ratio(fleet.covered_time(range).into(), fleet.covered_time(other).into())
                }
                _ => Some(1.0),
            };
            let expected = other_value.zip(rate).map(|(other, rate)| other * rate);
            let expected = expected.filter(|_| is_told && figure != "coverage_pct");
            let change = value.zip(expected).map(|(value, expected)| value - expected);
            let of_other = change.zip(expected).filter(|(_, expected)| *expected != 0.0);
            rows.push(row([
                ("source", fleet.name.clone().into()),
                ("figure", figure.into()),
                ("value", value.into()),
                ("other_value", other_value.into()),
                ("change", change.into()),
                ("change_pct", of_other.map(|(change, expected)| 100.0 * change / expected).into()),
                ("coverage_pct", coverage(range).into()),
                ("other_coverage_pct", coverage(other).into()),
            ]));
        }
    }
    rows
}

fn figures(fleet: &Fleet<'_>, part: Period) -> Vec<(&'static str, Option<f64>)> {
    let covered = fleet.covered_time(part);
    let desktops = fleet.held_time(part, |_| true);
    let connected = fleet.held_time(part, State::is_connected);
    let average = |time: Micros| ratio(time.into(), covered.into());
    let mut figures = vec![
        ("desktops_avg", average(desktops)),
        ("connected_avg", average(connected)),
        ("connected_peak", fleet.peak(part).map(|peak| peak as f64)),
        ("connected_hours", (covered > 0).then(|| hours(connected))),
        ("utilisation_pct", percent(connected, desktops)),
    ];
    if fleet.name != ALL {
        let all = disconnects_of(fleet.sources[0]);
        let disconnects = all.iter().filter(|each| part.contains(each.at)).count() as f64;
        let is_known = covered > 0 || disconnects > 0.0;
        figures.push(("disconnects", is_known.then_some(disconnects)));
        let per_100_hours = (connected > 0).then(|| 100.0 * disconnects / hours(connected));
        figures.push(("disconnects_per_100_hours", per_100_hours));
    }
    figures.push(("coverage_pct", percent(covered, part.length())));
    figures
}
