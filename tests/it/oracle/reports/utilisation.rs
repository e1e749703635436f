//! `utilisation`: how many desktops there were, and in what state.

use serde_json::Value;

use super::Buckets;
use crate::oracle::fleet::fleets;
use crate::oracle::ledger::{Ledger, State};
use crate::oracle::rows::{Row, hours, percent, ratio, row};

/// Averages are held time inside covered time ÷ covered time; utilisation is connected time ÷
/// desktop time. `ready` is REGISTERED and `unregistered` UNREGISTER, each exactly; every other
/// status counts among the desktops alone. Without covered time all figures are NULL.
pub fn utilisation(ledger: &Ledger, asked: Buckets, source: &str) -> Vec<Row> {
    let fleets = fleets(ledger, source);
    let mut rows = Vec::new();
    for bucket in asked.list() {
        for fleet in &fleets {
            let covered = fleet.covered_time(bucket.part);
            let time = |status: &str| {
                fleet.held_time(bucket.part, |state: &State| state.has_status(status))
            };
            let average = |time: i64| Value::from(ratio(time.into(), covered.into()));
            let desktops = fleet.held_time(bucket.part, |_| true);
            let connected = time("CONNECTED");
            rows.push(row([
                ("bucket_start", bucket.start.into()),
                ("source", fleet.name.clone().into()),
                ("desktops_avg", average(desktops)),
                ("connected_avg", average(connected)),
                ("connected_peak", fleet.peak(bucket.part).into()),
                ("disconnected_avg", average(time("DISCONNECTED"))),
                ("ready_avg", average(time("REGISTERED"))),
                ("unregistered_avg", average(time("UNREGISTER"))),
                ("connected_hours", (covered > 0).then(|| hours(connected)).into()),
                ("utilisation_pct", percent(connected, desktops).into()),
                ("coverage_pct", percent(covered, bucket.part.length()).into()),
                ("listed_pct", fleet.listed_pct(bucket.part).into()),
            ]));
        }
    }
    rows
}
