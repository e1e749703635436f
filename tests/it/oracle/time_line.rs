//! One desktop's observations, how long each holds, and the stretches they make.

use std::cmp::min;

use super::ledger::{Micros, Source, State, Visit};

/// One desktop's state in one snapshot; `None` is absent.
#[derive(Clone, Copy)]
pub struct Observation<'a> {
    pub visit: &'a Visit,
    pub state: Option<&'a State>,
}

impl Observation<'_> {
    pub fn at(&self) -> Micros {
        self.visit.observed_at
    }

    pub fn is_connected(&self) -> bool {
        self.state.is_some_and(State::is_connected)
    }

    pub fn has_status(&self, status: &str) -> bool {
        self.state.is_some_and(|state| state.has_status(status))
    }
}

/// Whether no gap lies between two snapshots: they are at most `max_gap` apart, and the smaller of
/// their two decides.
pub fn within_max_gap(earlier: &Visit, later: &Visit) -> bool {
    later.observed_at - earlier.observed_at <= min(earlier.max_gap, later.max_gap)
}

/// All observations of one desktop, oldest first. It is present where it is listed. Absence from a
/// complete listing is an observation too, also before the desktop first appeared; absence from a
/// partial listing is none, and a failed listing says nothing.
pub fn time_line<'a>(source: &'a Source, desktop: &str) -> Vec<Observation<'a>> {
    let mut observations = Vec::new();
    for visit in source.usable() {
        let listing = visit.listing.as_ref().unwrap();
        let state = listing.desktops.get(desktop);
        if state.is_some() || listing.is_complete() {
            observations.push(Observation { visit, state });
        }
    }
    observations
}

/// Until when the observation at `index` holds: the next one, if that comes at most `max_gap`
/// later; else it holds for no time at all.
pub fn held_until(observations: &[Observation<'_>], index: usize) -> Micros {
    match next_within_max_gap(observations, index) {
        Some(next) => next.at(),
        None => observations[index].at(),
    }
}

/// The same desktop's next observation, if no gap comes before it.
pub fn next_within_max_gap<'a>(
    observations: &[Observation<'a>],
    index: usize,
) -> Option<Observation<'a>> {
    let next = observations.get(index + 1)?;
    within_max_gap(observations[index].visit, next.visit).then_some(*next)
}

/// A longest run of one desktop's consecutive observations with the same state, or of its absence,
/// each at most `max_gap` after the one before. One with a state is a span.
#[derive(Clone, Copy)]
pub struct Stretch<'a> {
    pub state: Option<&'a State>,
    pub first: &'a Visit,
    pub last: &'a Visit,
    /// The desktop's previous observation, if at most `max_gap` earlier.
    pub previous: Option<Observation<'a>>,
    /// Its next observation, if at most `max_gap` later.
    pub next: Option<Observation<'a>>,
}

impl Stretch<'_> {
    /// Its first observation.
    pub fn first_seen(&self) -> Micros {
        self.first.observed_at
    }

    /// Its last observation.
    pub fn last_seen(&self) -> Micros {
        self.last.observed_at
    }

    /// `ended_before`, else `last_seen`.
    pub fn held_until(&self) -> Micros {
        self.ended_before().unwrap_or(self.last_seen())
    }

    /// The previous observation, if at most `max_gap` earlier; else the start is unknown.
    pub fn started_after(&self) -> Option<Micros> {
        self.previous.map(|previous| previous.at())
    }

    /// When the first observation's snapshot was finished.
    pub fn started_by(&self) -> Micros {
        self.first.finished_at
    }

    /// The next observation, if at most `max_gap` later; else the end is unknown.
    pub fn ended_before(&self) -> Option<Micros> {
        self.next.map(|next| next.at())
    }

    /// When the next observation's snapshot was finished; NULL where `ended_before` is.
    pub fn ended_by(&self) -> Option<Micros> {
        self.next.map(|next| next.visit.finished_at)
    }
}

/// Divides a time line into its stretches, oldest first: those present and those absent.
pub fn stretches<'a>(observations: &[Observation<'a>]) -> Vec<Stretch<'a>> {
    let mut stretches: Vec<Stretch<'a>> = Vec::new();
    let mut previous: Option<Observation<'a>> = None;
    for (index, observation) in observations.iter().enumerate() {
        let next = next_within_max_gap(observations, index);
        match stretches.last_mut() {
            Some(open) if previous.is_some() && open.state == observation.state => {
                open.last = observation.visit;
                open.next = next;
            }
            _ => stretches.push(Stretch {
                state: observation.state,
                first: observation.visit,
                last: observation.visit,
                previous,
                next,
            }),
        }
        // What the next observation, if it comes in time, has before it.
        previous = next.map(|_| *observation);
    }
    stretches
}

/// One desktop's spans, oldest first. Absence makes none.
pub fn spans<'a>(observations: &[Observation<'a>]) -> Vec<Stretch<'a>> {
    stretches(observations).into_iter().filter(|stretch| stretch.state.is_some()).collect()
}
