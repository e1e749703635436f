//! Covered time: when a source was observed at all, and how much of it.

use super::ledger::{Micros, Source, Visit};
use super::time_line::within_max_gap;

/// A stretch of time, `from` inclusive and `to` exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    pub from: Micros,
    pub to: Micros,
}

impl Period {
    /// Its length; an empty one has none.
    pub fn length(self) -> Micros {
        (self.to - self.from).max(0)
    }

    pub fn contains(self, instant: Micros) -> bool {
        self.from <= instant && instant < self.to
    }

    /// What both have in common, possibly empty.
    pub fn intersection(self, other: Self) -> Self {
        Self { from: self.from.max(other.from), to: self.to.min(other.to) }
    }

    /// How long both last together.
    pub fn overlap(self, other: Self) -> Micros {
        self.intersection(other).length()
    }
}

/// A run of covered time: usable snapshots, each at most `max_gap` after the one before. One alone
/// is a run of no length.
pub struct Run<'a> {
    pub visits: Vec<&'a Visit>,
}

impl Run<'_> {
    pub fn period(&self) -> Period {
        let (first, last) = (self.visits.first().unwrap(), self.visits.last().unwrap());
        Period { from: first.observed_at, to: last.observed_at }
    }

    pub fn partial(&self) -> usize {
        self.visits.iter().filter(|visit| !visit.listing.as_ref().unwrap().is_complete()).count()
    }
}

/// The runs of a source, oldest first. Failed snapshots are passed over.
pub fn runs(source: &Source) -> Vec<Run<'_>> {
    let mut runs: Vec<Run<'_>> = Vec::new();
    for visit in source.usable() {
        match runs.last_mut() {
            Some(run) if within_max_gap(run.visits.last().unwrap(), visit) => {
                run.visits.push(visit);
            }
            _ => runs.push(Run { visits: vec![visit] }),
        }
    }
    runs
}

/// A piece of covered time between two neighbours, and the snapshot that opens it.
pub struct Covered<'a> {
    pub period: Period,
    pub opened_by: &'a Visit,
}

/// Covered time: [tₖ, tₖ₊₁) for all neighbours among the usable snapshots that are no more than
/// `max_gap` apart.
pub fn covered(source: &Source) -> Vec<Covered<'_>> {
    let usable = source.usable();
    let neighbours = usable.windows(2).filter(|pair| within_max_gap(pair[0], pair[1]));
    neighbours
        .map(|pair| Covered {
            period: Period { from: pair[0].observed_at, to: pair[1].observed_at },
            opened_by: pair[0],
        })
        .collect()
}

/// How much of `part` is covered.
pub fn covered_time(source: &Source, part: Period) -> Micros {
    covered(source).iter().map(|piece| piece.period.overlap(part)).sum()
}
