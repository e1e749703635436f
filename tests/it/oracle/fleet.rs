//! One source, or all of them as one: what peaks, averages and coverage are worked out for.

use super::coverage::{Period, covered, runs};
use super::held::{Held, connected_at, held_in_covered_time};
use super::ledger::{Ledger, Micros, Source, State, Visit};

/// How reports call all sources as one.
pub const ALL: &str = "(all)";

/// A stretch in which every source is covered, cut at the snapshots of all of them, and the snapshot of each that
/// opened its own stretch there.
struct Piece<'a> {
    period: Period,
    opened_by: Vec<&'a Visit>,
}

/// One source under its name, or all of them as one.
pub struct Fleet<'a> {
    pub name: String,
    pub sources: Vec<&'a Source>,
    covered: Vec<Piece<'a>>,
    /// By source.
    held: Vec<Vec<Held<'a>>>,
}

/// What a report has rows for: one source; all as one; or each, and all as one where there are several.
pub fn fleets<'a>(ledger: &'a Ledger, source: &str) -> Vec<Fleet<'a>> {
    let all: Vec<&Source> = ledger.sources.iter().collect();
    let mut fleets: Vec<Fleet<'a>> = Vec::new();
    for one in &all {
        if source.is_empty() || one.name == source {
            fleets.push(Fleet::new(&one.name, vec![one]));
        }
    }
    if (source == ALL && !all.is_empty()) || (source.is_empty() && all.len() > 1) {
        fleets.push(Fleet::new(ALL, all));
    }
    fleets
}

/// The stretches in which every source is covered, each with the number of desktops held CONNECTED in all of them.
pub fn together(sources: &[&Source]) -> Vec<(Period, i64)> {
    let all_time = Period { from: Micros::MIN, to: Micros::MAX };
    Fleet::new(ALL, sources.to_vec()).concurrency(all_time)
}

impl<'a> Fleet<'a> {
    pub fn new(name: &str, sources: Vec<&'a Source>) -> Self {
        let all_time = Period { from: Micros::MIN, to: Micros::MAX };
        let mut common = vec![Piece { period: all_time, opened_by: Vec::new() }];
        for source in &sources {
            let mut narrower = Vec::new();
            for piece in &common {
                for own in covered(source) {
                    let period = piece.period.intersection(own.period);
                    if period.length() > 0 {
                        let mut opened_by = piece.opened_by.clone();
                        opened_by.push(own.opened_by);
                        narrower.push(Piece { period, opened_by });
                    }
                }
            }
            common = narrower;
        }
        let held = sources.iter().map(|source| held_in_covered_time(source)).collect();
        Self { name: name.to_owned(), sources, covered: common, held }
    }

    /// How much of `part` is covered.
    pub fn covered_time(&self, part: Period) -> Micros {
        self.covered.iter().map(|piece| piece.period.overlap(part)).sum()
    }

    /// The summed hold, in the covered time of `part`, of the states that are `counted`.
    pub fn held_time(&self, part: Period, counted: impl Fn(&State) -> bool) -> Micros {
        let mut time = 0;
        for piece in &self.covered {
            let inside = piece.period.intersection(part);
            let held = self.held.iter().flatten().filter(|held| counted(held.state));
            time += held.map(|held| held.period.overlap(inside)).sum::<Micros>();
        }
        time
    }

    /// The pieces of covered time in `part`, each with how many desktops are held CONNECTED in it, oldest first.
    pub fn concurrency(&self, part: Period) -> Vec<(Period, i64)> {
        let pieces = self.covered.iter().map(|piece| piece.period.intersection(part));
        // Holds begin and end at snapshots, so within a piece nothing changes.
        pieces
            .filter(|piece| piece.length() > 0)
            .map(|piece| {
                let connected = self.held.iter().map(|held| connected_at(held, piece.from)).sum();
                (piece, connected)
            })
            .collect()
    }

    /// The most that are held CONNECTED at one instant of the covered time in `part`.
    pub fn peak(&self, part: Period) -> Option<i64> {
        self.concurrency(part).into_iter().map(|(_, connected)| connected).max()
    }

    /// The mean, over the covered time in `part`, of desktops recorded ÷ total, in percent. Both are summed over the
    /// sources, none with more recorded than its total; a total that one does not know is unknown.
    pub fn listed_pct(&self, part: Period) -> Option<f64> {
        let mut sum = 0.0;
        let mut time = 0;
        for piece in &self.covered {
            let (mut recorded, mut total) = (0, Some(0));
            for visit in &piece.opened_by {
                let listing = visit.listing.as_ref().unwrap();
                let own = listing.total.map(|total| total.max(0));
                recorded += (listing.desktops.len() as i64).min(own.unwrap_or(0));
                total = total.zip(own).map(|(one, other)| one + other);
            }
            let share = match total {
                None => 0.0,
                Some(0) => 1.0,
                Some(total) => recorded as f64 / total as f64,
            };
            let overlap = piece.period.overlap(part);
            sum += share * overlap as f64;
            time += overlap;
        }
        (time > 0).then(|| 100.0 * sum / time as f64)
    }

    /// The longest stretch of `part` in which not every source was covered, and in which there was no instant at which
    /// all runs of covered time, ends included, met.
    pub fn longest_gap(&self, part: Period) -> Micros {
        let mut common = vec![Period { from: Micros::MIN, to: Micros::MAX }];
        for source in &self.sources {
            let runs: Vec<Period> = runs(source).iter().map(|run| run.period()).collect();
            let met = |one: &Period| {
                let met: Vec<Period> = runs.iter().map(|run| run.intersection(*one)).collect();
                met.into_iter().filter(|met| met.from <= met.to)
            };
            common = common.iter().flat_map(met).collect();
        }
        let mut longest = 0;
        let mut gap_from = Micros::MIN;
        for run in common {
            longest = longest.max(Period { from: gap_from, to: run.from }.overlap(part));
            gap_from = run.to;
        }
        longest.max(Period { from: gap_from, to: Micros::MAX }.overlap(part))
    }
}
