//! `capacity`: how many desktops would have been enough.

use std::collections::BTreeMap;

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;
use serde_json::Value;

use super::idle_desktops::longest_gap;
use crate::oracle::buckets::{Unit, buckets, civil};
use crate::oracle::coverage::{Period, covered};
use crate::oracle::fleet::together;
use crate::oracle::held::{holds, observed_time};
use crate::oracle::ledger::{HOUR, Ledger, Micros, Source};
use crate::oracle::rows::{Row, percent, row};
use crate::oracle::time_line::time_line;

/// When people work.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// As it is asked for.
    pub workdays: &'static str,
    /// The same, 1 is Monday.
    pub days: &'static [u32],
    pub from: u32,
    /// Not included; at or below `from`: after midnight.
    pub to: u32,
}

impl Work {
    /// Whether the hour that begins at an instant is a working hour.
    fn is_on(&self, hour: Micros, tz: Tz) -> bool {
        let shown = civil(hour, tz);
        let is_late = shown.hour() >= self.from;
        let is_early = shown.hour() < self.to;
        let is_open = if self.from > self.to { is_late || is_early } else { is_late && is_early };
        self.days.contains(&shown.weekday().number_from_monday()) && is_open
    }
}

/// The desktops of a source at the last covered instant of the range, by what became of them in it.
#[derive(Clone, Copy)]
struct Fleet {
    desktops: i64,
    never_connected: i64,
    not_told: i64,
}

/// A row for each source, and where all are asked for and there are several, one for all as one: over the time
/// in which every source was covered, with the connections summed.
pub fn capacity(
    ledger: &Ledger,
    range: Period,
    tz: Tz,
    source: &str,
    headroom: i64,
    work: Work,
) -> Vec<Row> {
    let parts: Vec<Period> = buckets(range, Unit::Hour, tz)
        .into_iter()
        .filter(|bucket| work.is_on(bucket.start, tz))
        .map(|bucket| bucket.part)
        .collect();
    let length: Micros = parts.iter().map(|part| part.length()).sum();
    let assumptions = format!(
        "desktops are pooled (a personal one serves its user alone); only connections count, though a session left \
         DISCONNECTED holds its desktop, too; the peak is sampled, a lower bound; \
         weekdays {}, {} to {} h, {tz}; headroom {headroom} %; what was not observed is left out",
        work.workdays, work.from, work.to,
    );
    let row_of = |name: &str, sources: &[&Source], more: &str| {
        let mut times: BTreeMap<i64, Micros> = BTreeMap::new();
        for (piece, connected) in together(sources) {
            let time: Micros = parts.iter().map(|part| piece.overlap(*part)).sum();
            if time > 0 {
                *times.entry(connected).or_default() += time;
            }
        }
        let covered: Micros = times.values().sum();
        let peak = times.keys().max().copied();
        let not_exceeding = |number: i64| times.range(..=number).map(|(_, time)| time).sum();
        let enough = |number: &i64| {
            let time: Micros = not_exceeding(*number);
            100 * time >= 95 * covered
        };
        let p95 = peak.and_then(|peak| (0..=peak).find(enough));
        let needed = peak.map(|peak| (peak * (100 + headroom) + 99).div_euclid(100));
        // What is not known of one source is not known of all.
        let fleets: Option<Vec<Fleet>> =
            sources.iter().map(|source| fleet(source, range)).collect();
        let sum = |of: fn(&Fleet) -> i64| Some(fleets.as_ref()?.iter().map(of).sum::<i64>());
        let never_is_known = fleets.as_ref().is_some_and(|fleets| {
            fleets.iter().all(|fleet| fleet.never_connected > 0 || fleet.not_told == 0)
        });
        let desktops = sum(|fleet| fleet.desktops);
        row([
            ("source", name.into()),
            ("desktops", desktops.into()),
            ("concurrency_p95", p95.into()),
            ("peak", peak.into()),
            (
                "never_connected",
                sum(|fleet| fleet.never_connected).filter(|_| never_is_known).into(),
            ),
            ("not_told", sum(|fleet| fleet.not_told).into()),
            ("desktops_needed", needed.into()),
            ("surplus", desktops.zip(needed).map(|(desktops, needed)| desktops - needed).into()),
            ("coverage_pct", percent(covered, length).into()),
            ("assumptions", Value::from(assumptions.clone() + more)),
        ])
    };
    let sources: Vec<&Source> = ledger.asked(source).collect();
    let mut rows: Vec<Row> =
        sources.iter().map(|source| row_of(&source.name, &[source], "")).collect();
    if sources.len() > 1 {
        rows.push(row_of("(all)", &sources, "; any desktop serves users of every source"));
    }
    rows
}

/// Nothing where nothing was covered.
fn fleet(source: &Source, range: Period) -> Option<Fleet> {
    let pieces = covered(source);
    let parts = pieces.iter().map(|piece| piece.period.intersection(range));
    let newest = parts.filter(|part| part.length() > 0).map(|part| part.to).max()?;
    let mut fleet = Fleet { desktops: 0, never_connected: 0, not_told: 0 };
    for desktop in source.desktops() {
        let holds = holds(&time_line(source, desktop));
        // There up to that instant.
        if !holds.iter().any(|(hold, _)| hold.from < newest && newest <= hold.to) {
            continue;
        }
        fleet.desktops += 1;
        let was_connected = holds.iter().any(|(hold, state)| {
            let is_in = hold.to > range.from || hold.from >= range.from;
            state.is_connected() && hold.from < range.to && is_in
        });
        if was_connected {
            continue;
        }
        let is_told = 100 * observed_time(&holds, range) >= 95 * range.length()
            && longest_gap(&holds, range) <= 8 * HOUR;
        if is_told {
            fleet.never_connected += 1;
        } else {
            fleet.not_told += 1;
        }
    }
    Some(fleet)
}
