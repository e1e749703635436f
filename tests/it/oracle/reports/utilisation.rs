//! `utilisation`: how many desktops there were, and in what state.

use serde_json::Value;

use super::Buckets;
use crate::oracle::coverage::{covered_time, listed_pct};
use crate::oracle::held::{held_in_covered_time, held_time, peak};
use crate::oracle::ledger::{Ledger, State};
use crate::oracle::rows::{Row, hours, percent, ratio, row};

/// Averages are held time inside covered time ÷ covered time; utilisation is connected time ÷
/// desktop time. `ready` is REGISTERED and `unregistered` UNREGISTER, each exactly; every other
/// status counts among the desktops alone. Without covered time all figures are NULL.
pub fn utilisation(ledger: &Ledger, asked: Buckets, source: &str) -> Vec<Row> {
    let held_of = |source| (source, held_in_covered_time(source));
    let sources: Vec<_> = ledger.asked(source).map(held_of).collect();
    let mut rows = Vec::new();
    for bucket in asked.list() {
        for (source, held) in &sources {
            let covered = covered_time(source, bucket.part);
            let time = |status: &str| {
                held_time(held, bucket.part, |state: &State| state.has_status(status))
            };
            let average = |time: i64| Value::from(ratio(time.into(), covered.into()));
            let desktops = held_time(held, bucket.part, |_| true);
            let connected = time("CONNECTED");
            rows.push(row([
                ("bucket_start", bucket.start.into()),
                ("source", source.name.clone().into()),
                ("desktops_avg", average(desktops)),
                ("connected_avg", average(connected)),
                ("connected_peak", peak(source, held, bucket.part).into()),
                ("disconnected_avg", average(time("DISCONNECTED"))),
                ("ready_avg", average(time("REGISTERED"))),
                ("unregistered_avg", average(time("UNREGISTER"))),
                ("connected_hours", (covered > 0).then(|| hours(connected)).into()),
                ("utilisation_pct", percent(connected, desktops).into()),
                ("coverage_pct", percent(covered, bucket.part.length()).into()),
                ("listed_pct", listed_pct(source, bucket.part).into()),
            ]));
        }
    }
    rows
}
