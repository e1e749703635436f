//! `concurrency`: how many connections at once, and for how much of the time.

use crate::oracle::coverage::Period;
use crate::oracle::fleet::fleets;
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::rows::{Row, hours, percent, row};

/// Time-weighted percentiles over covered time, by source; `peak_at` is the earliest instant in the
/// range at the peak.
pub fn concurrency(ledger: &Ledger, range: Period, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for fleet in fleets(ledger, source) {
        let pieces = fleet.concurrency(range);
        let covered: Micros = pieces.iter().map(|(piece, _)| piece.length()).sum();
        let peak = pieces.iter().map(|(_, connected)| *connected).max();
        let peak_at = pieces.iter().find(|(_, connected)| Some(*connected) == peak);
        rows.push(row([
            ("source", fleet.name.clone().into()),
            ("p50", percentile(&pieces, 50).into()),
            ("p90", percentile(&pieces, 90).into()),
            ("p95", percentile(&pieces, 95).into()),
            ("p99", percentile(&pieces, 99).into()),
            ("peak", peak.into()),
            ("peak_at", peak_at.map(|(piece, _)| piece.from).into()),
            ("covered_hours", hours(covered).into()),
            ("coverage_pct", percent(covered, range.length()).into()),
        ]));
    }
    rows
}

/// The smallest number that is not exceeded during at least `share` percent of the covered time.
fn percentile(pieces: &[(Period, i64)], share: Micros) -> Option<i64> {
    let covered: Micros = pieces.iter().map(|(piece, _)| piece.length()).sum();
    let peak = pieces.iter().map(|(_, connected)| *connected).max()?;
    (0..=peak).find(|number| {
        let not_exceeding = pieces.iter().filter(|(_, connected)| connected <= number);
        let time: Micros = not_exceeding.map(|(piece, _)| piece.length()).sum();
        100 * time >= share * covered
    })
}
