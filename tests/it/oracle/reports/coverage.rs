//! `coverage`: how much of the time the ledger knows anything at all.

use super::Buckets;
use crate::oracle::fleet::fleets;
use crate::oracle::ledger::{Ledger, Visit};
use crate::oracle::rows::{Row, hours, percent, row};

/// `snapshots` counts the visits of any outcome in the bucket, `failed` those whose listing failed,
/// `partial` the partial ones. In a bucket without covered time the counts are NULL, unless there was
/// a visit; `covered_hours` and `longest_gap` are never NULL.
pub fn coverage(ledger: &Ledger, asked: Buckets, source: &str) -> Vec<Row> {
    let fleets = fleets(ledger, source);
    let mut rows = Vec::new();
    for bucket in asked.list() {
        for fleet in &fleets {
            let covered = fleet.covered_time(bucket.part);
            let visits = fleet.sources.iter().flat_map(|source| &source.visits);
            let visits: Vec<&Visit> =
                visits.filter(|visit| bucket.part.contains(visit.observed_at)).collect();
            let count = |counted: fn(&Visit) -> bool| {
                let count = visits.iter().filter(|visit| counted(visit)).count();
                (covered > 0 || !visits.is_empty()).then_some(count)
            };
            let is_partial = |visit: &Visit| {
                visit.listing.as_ref().is_some_and(|listing| !listing.is_complete())
            };
            rows.push(row([
                ("bucket_start", bucket.start.into()),
                ("source", fleet.name.clone().into()),
                ("snapshots", count(|_| true).into()),
                ("failed", count(|visit| visit.listing.is_none()).into()),
                ("partial", count(is_partial).into()),
                ("covered_hours", hours(covered).into()),
                ("longest_gap", fleet.longest_gap(bucket.part).into()),
                ("coverage_pct", percent(covered, bucket.part.length()).into()),
                ("listed_pct", fleet.listed_pct(bucket.part).into()),
            ]));
        }
    }
    rows
}
