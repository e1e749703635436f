//! What became of events, counted for whoever looks from outside.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How an attempt to post ended, or why an event was never delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The receiver took it.
    Delivered,
    /// It did not answer, or not well, and is asked again.
    Failed,
    /// It said that it does not want this one, and is asked again later.
    Refused,
    /// It said that it wants nothing any more.
    Gone,
    /// It waited for a day.
    Expired,
    /// It was given up for newer ones, or could not be written to disk.
    Dropped,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Delivered, Self::Failed, Self::Refused, Self::Gone, Self::Expired, Self::Dropped];

    /// The word as metrics show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Gone => "gone",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }
}

/// The counts of all webhooks, by name.
#[derive(Debug, Default)]
pub struct Tally(Mutex<BTreeMap<String, Counts>>);

/// The counts of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// What became of events.
    pub outcomes: BTreeMap<Outcome, u64>,
    /// How many wait; `None`: nobody has looked.
    pub pending: Option<u64>,
}

impl Tally {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted so far.
    #[must_use]
    pub fn now(&self) -> BTreeMap<String, Counts> {
        self.lock().clone()
    }

    /// Those that there are from here on: a rate needs a series to begin at zero.
    pub(super) fn known(&self, names: &[&str]) {
        let mut counts = self.lock();
        counts.retain(|name, _| names.contains(&name.as_str()));
        for name in names {
            let of = counts.entry((*name).to_owned()).or_default();
            for outcome in Outcome::ALL {
                of.outcomes.entry(outcome).or_default();
            }
        }
    }

    pub(super) fn add(&self, name: &str, outcome: Outcome, events: usize) {
        if let Some(counts) = self.lock().get_mut(name) {
            *counts.outcomes.entry(outcome).or_default() += events as u64;
        }
    }

    pub(super) fn pending(&self, name: &str, events: usize) {
        if let Some(counts) = self.lock().get_mut(name) {
            counts.pending = Some(events as u64);
        }
    }
}
