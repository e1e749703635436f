//! `flapping`: which desktops disconnect again and again.

use std::cmp::Reverse;

use super::disconnects::{Disconnect, disconnects_of};
use crate::oracle::coverage::Period;
use crate::oracle::held::{holds, observed_time};
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::rows::{Row, percent, row, user_names};
use crate::oracle::time_line::time_line;

/// One row per desktop with at least `times` disconnects no more than `within` apart, worst first: by the
/// most in one window, then by all of the range. Name and users are those of its last disconnect.
pub fn flapping(
    ledger: &Ledger,
    range: Period,
    source: &str,
    times: usize,
    within: Micros,
) -> Vec<Row> {
    let mut rows: Vec<((usize, usize), Row)> = Vec::new();
    for source in ledger.asked(source) {
        let all = disconnects_of(source);
        for desktop in source.desktops() {
            let its = |each: &&Disconnect<'_>| each.desktop == desktop && range.contains(each.at);
            let disconnects: Vec<&Disconnect<'_>> = all.iter().filter(its).collect();
            let Some(last) = disconnects.last() else { continue };
            let in_window = |from: Micros| {
                let in_it = |each: &&&Disconnect<'_>| from <= each.at && each.at - from <= within;
                disconnects.iter().filter(in_it).count()
            };
            let most = disconnects.iter().map(|each| in_window(each.at)).max().unwrap();
            if most < times {
                continue;
            }
            let window = disconnects.iter().find(|each| in_window(each.at) == most).unwrap();
            let holds = holds(&time_line(source, desktop));
            let row = row([
                ("source", source.name.clone().into()),
                ("desktop_id", desktop.into()),
                ("desktop_name", last.state.name.clone().into()),
                ("users", user_names(last.state)),
                ("disconnects", disconnects.len().into()),
                ("most_in_window", most.into()),
                ("window_from", window.at.into()),
                ("coverage_pct", percent(observed_time(&holds, range), range.length()).into()),
            ]);
            rows.push(((most, disconnects.len()), row));
        }
    }
    rows.sort_by_key(|(badness, _)| Reverse(*badness));
    rows.into_iter().map(|(_, row)| row).collect()
}
