//! Held states inside covered time: what every average, peak and percentile is made of.

use std::collections::BTreeSet;

use super::coverage::{Period, covered};
use super::ledger::{Micros, Source, State};
use super::time_line::{Observation, held_until, time_line};

/// One observed state of one desktop, for as long as it holds inside one piece of covered time.
pub struct Held<'a> {
    pub desktop: &'a str,
    pub state: &'a State,
    pub period: Period,
}

/// Every held state of a source, cut to covered time. Absence is no state.
pub fn held_in_covered_time(source: &Source) -> Vec<Held<'_>> {
    let covered = covered(source);
    let mut held = Vec::new();
    for desktop in source.desktops() {
        let observations = time_line(source, desktop);
        for (index, observation) in observations.iter().enumerate() {
            let Some(state) = observation.state else { continue };
            let hold = Period { from: observation.at(), to: held_until(&observations, index) };
            for piece in &covered {
                let period = hold.intersection(piece.period);
                if period.length() > 0 {
                    held.push(Held { desktop, state, period });
                }
            }
        }
    }
    held
}

/// One desktop's observed states, absence left out, oldest first, each for as long as it holds; that may
/// be no time at all.
pub fn holds<'a>(observations: &[Observation<'a>]) -> Vec<(Period, &'a State)> {
    let hold = |(index, observation): (usize, &Observation<'a>)| {
        let period = Period { from: observation.at(), to: held_until(observations, index) };
        Some((period, observation.state?))
    };
    observations.iter().enumerate().filter_map(hold).collect()
}

/// How long, inside `part`, one desktop was observed and present.
pub fn observed_time(holds: &[(Period, &State)], part: Period) -> Micros {
    holds.iter().map(|(period, _)| period.overlap(part)).sum()
}

/// The summed hold, inside `part`, of the states that are `counted`.
pub fn held_time(held: &[Held<'_>], part: Period, counted: impl Fn(&State) -> bool) -> Micros {
    let counted = held.iter().filter(|held| counted(held.state));
    counted.map(|held| held.period.overlap(part)).sum()
}

/// How many desktops are held CONNECTED at one instant.
pub fn connected_at(held: &[Held<'_>], instant: Micros) -> i64 {
    let connected =
        held.iter().filter(|held| held.state.is_connected() && held.period.contains(instant));
    connected.map(|held| held.desktop).collect::<BTreeSet<_>>().len() as i64
}
