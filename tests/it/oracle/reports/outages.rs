//! `outages`: steps in which an unusual share of the connected desktops disconnected.

use std::collections::BTreeMap;

use super::disconnects::disconnects_of;
use crate::oracle::coverage::Period;
use crate::oracle::held::holds;
use crate::oracle::ledger::{Ledger, MINUTE, Micros, Source};
use crate::oracle::rows::{Row, percent, row};
use crate::oracle::time_line::time_line;

/// One row per snapshot in the range at which `share` percent of those that were held CONNECTED just before
/// disconnected, and five desktops at least, or three if that is half of them; by time and source.
pub fn outages(ledger: &Ledger, range: Period, source: &str, share: i64) -> Vec<Row> {
    let mut rows: BTreeMap<(Micros, &str), Row> = BTreeMap::new();
    for source in ledger.asked(source) {
        let all = disconnects_of(source);
        for visit in source.usable() {
            let at = visit.observed_at;
            let disconnects: Vec<_> = all.iter().filter(|each| each.at == at).collect();
            let number = disconnects.len() as i64;
            let connected = connected_before(source, at);
            if !range.contains(at)
                || !is_many(number, connected)
                || 100 * number < share * connected
            {
                continue;
            }
            let before = source.usable().into_iter().rfind(|other| other.observed_at < at);
            let back = disconnects.iter().filter(|each| each.is_reconnected(15 * MINUTE)).count();
            let listing = visit.listing.as_ref().unwrap();
            let recorded = listing.desktops.len() as i64;
            let listed = match listing.total {
                None => Some(0.0),
                Some(total) if recorded >= total => Some(100.0),
                Some(total) => percent(recorded, total),
            };
            let row = row([
                ("observed_at", at.into()),
                ("source", source.name.clone().into()),
                ("after", before.map(|before| before.observed_at).into()),
                ("connected_before", connected.into()),
                ("disconnects", number.into()),
                ("share_pct", percent(number, connected).into()),
                ("reconnects", back.into()),
                ("listed_pct", listed.into()),
            ]);
            rows.insert((at, &source.name), row);
        }
    }
    rows.into_values().collect()
}

/// Whether so many at once are more than clients' own problems.
fn is_many(number: i64, connected: i64) -> bool {
    number >= 5 || (number >= 3 && 2 * number >= connected)
}

/// How many desktops were held CONNECTED up to an instant.
fn connected_before(source: &Source, instant: Micros) -> i64 {
    let is_connected = |desktop: &&str| {
        let holds = holds(&time_line(source, desktop));
        holds.iter().any(|(period, state)| {
            state.is_connected() && period.from < instant && instant <= period.to
        })
    };
    source.desktops().iter().filter(|desktop| is_connected(desktop)).count() as i64
}
