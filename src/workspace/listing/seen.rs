//! The desktops that one visit has read so far.

use std::collections::HashMap;
use std::collections::hash_map;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::domain::{Desktop, Listing};

/// Each desktop as it was read last, in the order in which they came up.
#[derive(Debug, Default)]
pub(super) struct Seen {
    desktops: Vec<Desktop>,
    /// Each id's place.
    places: HashMap<Arc<str>, usize, RandomState>,
}

impl Seen {
    /// How many there are, as a total counts.
    pub fn count(&self) -> i64 {
        i64::try_from(self.desktops.len()).unwrap_or(i64::MAX)
    }

    pub fn has(&self, id: &str) -> bool {
        self.places.contains_key(id)
    }

    pub fn desktops(&self) -> &[Desktop] {
        &self.desktops
    }

    /// Takes in what was read later than all before.
    pub fn add(&mut self, desktops: impl IntoIterator<Item = Desktop>) {
        for desktop in desktops {
            match self.places.entry(Arc::clone(&desktop.id)) {
                hash_map::Entry::Occupied(place) => self.desktops[*place.get()] = desktop,
                hash_map::Entry::Vacant(place) => {
                    place.insert(self.desktops.len());
                    self.desktops.push(desktop);
                }
            }
        }
    }

    pub fn into_desktops(self) -> Vec<Desktop> {
        self.desktops
    }

    pub fn into_listing(self) -> Listing {
        Listing::new(self.desktops)
    }
}
