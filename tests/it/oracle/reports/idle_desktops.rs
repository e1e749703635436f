//! `idle-desktops`: desktops that nobody connected to, as far as that can be told.

use serde_json::Value;

use crate::oracle::coverage::Period;
use crate::oracle::held::{holds, observed_time};
use crate::oracle::ledger::{DAY, HOUR, Ledger, Micros, State};
use crate::oracle::rows::{Row, percent, row, user_names};
use crate::oracle::time_line::time_line;

/// Desktops that are present in their last observation and were neither observed nor held CONNECTED in
/// `period`, which ends now: named if they were observed and present for at least 95 % of it and at most
/// 8 hours in a row not; else a row without a desktop, last, speaks for all of their source. So it does
/// where no snapshot in the period could be used.
pub fn idle_desktops(ledger: &Ledger, period: Period, source: &str) -> Vec<Row> {
    let mut rows = Vec::new();
    for source in ledger.asked(source) {
        let mut unknown = Vec::new();
        for desktop in source.desktops() {
            let observations = time_line(source, desktop);
            let Some(state) = observations.last().unwrap().state else { continue };
            let holds = holds(&observations);
            let connected =
                holds.iter().filter(|(_, state)| state.is_connected()).map(|(hold, _)| hold);
            // What holds until the period begins is over by then; what is observed at that instant is not.
            if connected.clone().any(|hold| hold.to > period.from || hold.from >= period.from) {
                continue;
            }
            let observed = observed_time(&holds, period);
            let longest = longest_gap(&holds, period);
            if 100 * observed < 95 * period.length() || longest > 8 * HOUR {
                unknown.push(observed);
                continue;
            }
            rows.push(row([
                ("source", source.name.clone().into()),
                ("desktop_id", desktop.into()),
                ("desktop_name", state.name.clone().into()),
                ("users", user_names(state)),
                ("last_connected", connected.map(|hold| hold.from).max().into()),
                ("observed_days", (observed as f64 / DAY as f64).into()),
                ("coverage_pct", percent(observed, period.length()).into()),
            ]));
        }
        let was_read = source.usable().iter().any(|visit| visit.observed_at >= period.from);
        if !unknown.is_empty() || !was_read {
            let time: Micros = unknown.iter().sum();
            let days = unknown.len() as Micros * period.length();
            rows.push(row([
                ("source", source.name.clone().into()),
                ("desktop_id", Value::Null),
                ("desktop_name", Value::Null),
                ("users", Value::Null),
                ("last_connected", Value::Null),
                ("observed_days", Value::Null),
                ("coverage_pct", percent(time, days).unwrap_or(0.0).into()),
            ]));
        }
    }
    rows
}

/// The longest stretch of `period` in which one desktop was neither held in a state nor observed in one.
pub fn longest_gap(holds: &[(Period, &State)], period: Period) -> Micros {
    let mut longest = 0;
    let mut gap_from = period.from;
    for (hold, _) in holds.iter().filter(|(hold, _)| hold.to >= period.from) {
        longest = longest.max(hold.from.min(period.to) - gap_from);
        gap_from = hold.to.min(period.to);
    }
    longest.max(period.to - gap_from)
}
