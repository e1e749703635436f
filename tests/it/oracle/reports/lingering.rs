//! `lingering`: which desktops spend how much time DISCONNECTED.

use std::cmp::Reverse;

use crate::oracle::coverage::Period;
use crate::oracle::held::{holds, observed_time};
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::rows::{Row, hours, percent, row, user_names};
use crate::oracle::time_line::time_line;

/// One row per desktop with any such time in the range, the longest first. A stretch is a longest run of
/// DISCONNECTED holds that touch; name and users are those of the last of them.
pub fn lingering(ledger: &Ledger, range: Period, source: &str) -> Vec<Row> {
    let mut rows: Vec<(Micros, Row)> = Vec::new();
    for source in ledger.asked(source) {
        for desktop in source.desktops() {
            let holds = holds(&time_line(source, desktop));
            let mut stretches: Vec<Period> = Vec::new();
            let mut last = None;
            for (period, state) in &holds {
                let part = period.intersection(range);
                if !state.has_status("DISCONNECTED") || part.length() == 0 {
                    continue;
                }
                last = Some(*state);
                match stretches.last_mut() {
                    Some(open) if open.to == part.from => open.to = part.to,
                    _ => stretches.push(part),
                }
            }
            let Some(last) = last else { continue };
            let time: Micros = stretches.iter().map(|stretch| stretch.length()).sum();
            let longest = stretches.iter().map(|stretch| stretch.length()).max();
            let row = row([
                ("source", source.name.clone().into()),
                ("desktop_id", desktop.into()),
                ("desktop_name", last.name.clone().into()),
                ("users", user_names(last)),
                ("disconnected_hours", hours(time).into()),
                ("longest_stretch", longest.into()),
                ("stretches", stretches.len().into()),
                ("coverage_pct", percent(observed_time(&holds, range), range.length()).into()),
            ]);
            rows.push((time, row));
        }
    }
    // What is equally long stays in the order of source and desktop.
    rows.sort_by_key(|(time, _)| Reverse(*time));
    rows.into_iter().map(|(_, row)| row).collect()
}
