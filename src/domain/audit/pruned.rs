//! Months that are pruned: of their visits only the rows are left, and what stood at their end is what the history goes on from.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;

use super::rows::PruningRow;
use crate::domain::Instant;
use crate::domain::digest::Digest;
use crate::domain::months::month_start;
use crate::domain::pruning::Class;
use crate::domain::retell::Standing;

/// What became of the month of a late snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LateIn {
    /// It is as it was recorded.
    Kept,
    /// It is pruned.
    Pruned,
    /// It was, and came back; without the names of those who were erased meanwhile.
    Restored,
}

/// What is pruned of a source.
#[derive(Clone, Debug, Default)]
pub struct PrunedMonths {
    spans: BTreeSet<Instant>,
    groups: BTreeSet<Instant>,
    rollups: BTreeSet<Instant>,
    /// With the hash of what stays of them, and the number of the entry that says so.
    headers: BTreeMap<Instant, (Option<Digest>, i64)>,
    /// Those of which spans were pruned once, whether or not they came back, and the number of the newest entry that says so.
    ever: BTreeMap<Instant, i64>,
    standings: BTreeMap<Instant, Standing>,
}

impl PrunedMonths {
    /// From the entries of the chain in their order, of which the newest counts, and what is kept for the history to go on from.
    #[must_use]
    pub fn new(entries: &[PruningRow], standings: Vec<Standing>) -> Self {
        let mut pruned = Self::default();
        for entry in entries {
            if entry.pruning.class == Class::Spans && !entry.pruning.is_restored {
                pruned.ever.insert(entry.pruning.month, entry.sequence);
            }
            let months = match entry.pruning.class {
                Class::Spans => &mut pruned.spans,
                Class::Groups => &mut pruned.groups,
                Class::Rollups => &mut pruned.rollups,
                Class::Headers => {
                    if entry.pruning.is_restored {
                        pruned.headers.remove(&entry.pruning.month);
                    } else {
                        let kept = (entry.pruning.kept, entry.sequence);
                        pruned.headers.insert(entry.pruning.month, kept);
                    }
                    continue;
                }
            };
            if entry.pruning.is_restored {
                months.remove(&entry.pruning.month);
            } else {
                months.insert(entry.pruning.month);
            }
        }
        pruned.standings = standings.into_iter().map(|standing| (standing.at, standing)).collect();
        pruned
    }

    /// Whether spans, and whether counters, are pruned of the month of an instant.
    pub(super) fn at(&self, at: Instant) -> (bool, bool) {
        let month = month_start(at);
        (self.spans.contains(&month), self.groups.contains(&month))
    }

    /// The months whose headers are pruned, oldest first, each with the hash of what stays of them.
    pub(super) fn without_headers(&self) -> impl Iterator<Item = (Instant, Option<Digest>)> {
        self.headers.iter().map(|(month, (kept, _))| (*month, *kept))
    }

    /// What became of the month of an instant, and of what its late snapshots said, since the late one with this number came.
    pub(super) fn late_at(&self, at: Instant, sequence: i64) -> LateIn {
        let month = month_start(at);
        if self.ever.get(&month).is_none_or(|pruning| *pruning < sequence) {
            LateIn::Kept
        } else if self.spans.contains(&month) {
            LateIn::Pruned
        } else {
            LateIn::Restored
        }
    }

    /// Whether the spans tell all that counts at an instant, and all that was counted is there: of a month that is pruned
    /// neither can be said, and at its ends only half.
    pub(super) fn knows_counts(&self, at: Instant) -> bool {
        let just_before = month_start(at - TimeDelta::microseconds(1));
        [month_start(at), just_before]
            .iter()
            .all(|month| !self.spans.contains(month) && !self.rollups.contains(month))
    }

    /// Whether any spans are.
    pub(super) fn any(&self) -> bool {
        !self.spans.is_empty()
    }

    /// What stood at the end of the newest pruned month before an instant.
    pub(super) fn standing(&self, at: Instant) -> Option<&Standing> {
        self.standings.range(..=at).next_back().map(|(_, standing)| standing)
    }

    /// From when on no header is missing, and the number of the newest entry that took some.
    #[must_use]
    pub fn headers_from(&self) -> Option<(Instant, i64)> {
        let (newest, _) = self.headers.last_key_value()?;
        let entry = self.headers.values().map(|(_, entry)| *entry).max()?;
        Some((crate::domain::months::next_month(*newest), entry))
    }

    /// From when on nothing is missing.
    #[must_use]
    pub fn detail_from(&self) -> Option<Instant> {
        self.spans.last().map(|month| crate::domain::months::next_month(*month))
    }
}
