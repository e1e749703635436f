//! `distribution`: for how long how many were connected.

use crate::oracle::coverage::Period;
use crate::oracle::fleet::fleets;
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::rows::{Row, hours, percent, row};

/// The numbers from 0 to the peak in the fewest equal bins that are at most `bins`, each as narrow as that lets it be;
/// for each the covered time in which so many were connected.
pub fn distribution(ledger: &Ledger, range: Period, source: &str, bins: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for fleet in fleets(ledger, source) {
        let pieces = fleet.concurrency(range);
        let covered: Micros = pieces.iter().map(|(piece, _)| piece.length()).sum();
        let coverage = percent(covered, range.length());
        let Some(peak) = fleet.peak(range) else {
            rows.push(row([
                ("source", fleet.name.clone().into()),
                ("connected_from", None::<i64>.into()),
                ("connected_to", None::<i64>.into()),
                ("hours", None::<f64>.into()),
                ("share_pct", None::<f64>.into()),
                ("not_exceeded_pct", None::<f64>.into()),
                ("coverage_pct", coverage.into()),
            ]));
            continue;
        };
        let width = (1..).find(|width| width * bins > peak).unwrap();
        let mut from = 0;
        while from <= peak {
            let to = from + width - 1;
            let time = |low: i64| -> Micros {
                let fitting = pieces.iter().filter(|(_, number)| (low..=to).contains(number));
                fitting.map(|(piece, _)| piece.length()).sum()
            };
            rows.push(row([
                ("source", fleet.name.clone().into()),
                ("connected_from", from.into()),
                ("connected_to", to.into()),
                ("hours", hours(time(from)).into()),
                ("share_pct", percent(time(from), covered).into()),
                ("not_exceeded_pct", percent(time(0), covered).into()),
                ("coverage_pct", coverage.into()),
            ]));
            from += width;
        }
    }
    rows
}
