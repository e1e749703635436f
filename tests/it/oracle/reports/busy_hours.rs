//! `busy-hours`: the week, hour by hour.

use std::collections::BTreeMap;

use chrono::{Datelike, Timelike};
use chrono_tz::Tz;

use crate::oracle::buckets::{Unit, buckets, civil};
use crate::oracle::coverage::{Period, covered};
use crate::oracle::held::{connected_at, held_in_covered_time};
use crate::oracle::ledger::{Ledger, Micros, Source};
use crate::oracle::rows::{Row, percent, ratio, row};

/// A row for each weekday (1 is Monday) and hour that the range meets, in the civil time of `tz`; a
/// repeated hour counts twice in its own row. The time in which every source asked for was covered
/// counts, and the connections of all of them are summed.
pub fn busy_hours(ledger: &Ledger, range: Period, tz: Tz, source: &str) -> Vec<Row> {
    let sources: Vec<&Source> = ledger.asked(source).collect();
    if sources.is_empty() {
        return Vec::new();
    }
    let concurrency = together(&sources);
    let mut parts: BTreeMap<(u32, u32), Vec<Period>> = BTreeMap::new();
    for bucket in buckets(range, Unit::Hour, tz) {
        let shown = civil(bucket.start, tz);
        let key = (shown.weekday().number_from_monday(), shown.hour());
        parts.entry(key).or_default().push(bucket.part);
    }
    let row_of = |((weekday, hour), parts): ((u32, u32), Vec<Period>)| {
        let length: Micros = parts.iter().map(|part| part.length()).sum();
        let (mut covered, mut connected, mut peak) = (0, 0, None);
        for part in parts {
            for (piece, number) in &concurrency {
                let overlap = piece.overlap(part);
                if overlap > 0 {
                    covered += overlap;
                    connected += number * overlap;
                    peak = peak.max(Some(*number));
                }
            }
        }
        row([
            ("weekday", weekday.into()),
            ("hour", hour.into()),
            ("connected_avg", ratio(connected.into(), covered.into()).into()),
            ("connected_peak", peak.into()),
            ("coverage_pct", percent(covered, length).into()),
        ])
    };
    parts.into_iter().map(row_of).collect()
}

/// The stretches in which every source is covered, cut at the snapshots of all of them, each with
/// the number of desktops held CONNECTED in all sources together.
pub fn together(sources: &[&Source]) -> Vec<(Period, i64)> {
    let all_time = Period { from: Micros::MIN, to: Micros::MAX };
    let mut common = vec![all_time];
    for source in sources {
        let pieces = covered(source);
        let cut = |common: &Period| {
            let cuts: Vec<Period> =
                pieces.iter().map(|piece| piece.period.intersection(*common)).collect();
            cuts.into_iter().filter(|cut| cut.from < cut.to)
        };
        common = common.iter().flat_map(cut).collect();
    }
    let held: Vec<_> = sources.iter().map(|source| held_in_covered_time(source)).collect();
    let count = |piece: Period| {
        let connected = held.iter().map(|held| connected_at(held, piece.from)).sum();
        (piece, connected)
    };
    common.into_iter().map(count).collect()
}
