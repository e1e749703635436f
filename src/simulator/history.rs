//! What was served when: the proof against which a recorder's claims are held.
//!
//! Time is counted in pages: each answer to a listing is a page, numbered from 0 in the order in
//! which the world was looked at. Between two pages the world may move; within one it stands still.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::domain::{Desktop, GroupStatistics, Instant};

/// Every state that every desktop was served in.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// Of each desktop: from which page on it was like this. `None`: gone, as before the first.
    changes: HashMap<Arc<str>, Vec<(u64, Option<Desktop>)>>,
    /// The answers to `connections/status`, each with the number of pages before it.
    statistics: Vec<(u64, Vec<GroupStatistics>)>,
    /// When each page was looked at, by the server's clock.
    moments: Vec<Instant>,
}

impl History {
    /// From page `page` on, a desktop is like this.
    pub(super) fn add(&mut self, page: u64, id: Arc<str>, state: Option<Desktop>) {
        let changes = self.changes.entry(id).or_default();
        match changes.last_mut() {
            // What no page showed was never served.
            Some((last, before)) if *last == page => *before = state,
            _ => changes.push((page, state)),
        }
    }

    pub(super) fn add_moment(&mut self, at: Instant) {
        self.moments.push(at);
    }

    pub(super) fn add_statistics(&mut self, page: u64, groups: Vec<GroupStatistics>) {
        self.statistics.push((page, groups));
    }

    /// The ids of all desktops that ever were there, in no order.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.changes.keys()
    }

    /// The states of a desktop that were true at some page of a stretch, oldest first; `None` is its
    /// absence. At least one, unless the stretch is empty.
    ///
    /// A visit's stretch is from `Simulator::pages` before it up to, not including, that after it.
    #[must_use]
    pub fn states(&self, id: &str, pages: Range<u64>) -> Vec<Option<&Desktop>> {
        if pages.is_empty() {
            return Vec::new();
        }
        let changes = self.changes.get(id).map_or(&[][..], Vec::as_slice);
        let later = changes.partition_point(|(page, _)| *page <= pages.start);
        let first = later.checked_sub(1).and_then(|at| changes[at].1.as_ref());
        let within = changes[later..].iter().take_while(|(page, _)| *page < pages.end);
        std::iter::once(first).chain(within.map(|(_, state)| state.as_ref())).collect()
    }

    /// The desktops that were there throughout a stretch of pages, in no order: a listing read
    /// within it that claims to be complete must have them all.
    pub fn always_there(&self, pages: Range<u64>) -> impl Iterator<Item = &Arc<str>> {
        self.ids().filter(move |id| {
            let states = self.states(id, pages.clone());
            !states.is_empty() && states.iter().all(Option::is_some)
        })
    }

    /// When each page was looked at, by the server's clock: what ties a visit, which knows when it
    /// began and ended, to what it was answered.
    #[must_use]
    pub fn moments(&self) -> &[Instant] {
        &self.moments
    }

    /// The groups' statistics that were answered, oldest first, each with the number of listing
    /// pages answered before.
    #[must_use]
    pub fn statistics(&self) -> &[(u64, Vec<GroupStatistics>)] {
        &self.statistics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AttachUsers;

    #[test]
    fn states_are_those_of_the_stretch() {
        let state = |status: &str| Desktop {
            id: "a".into(),
            name: None,
            status: Some(status.into()),
            users: AttachUsers::default(),
        };
        let mut history = History::default();
        for (page, status) in
            [(2, Some("one")), (5, Some("never seen")), (5, Some("two")), (7, None)]
        {
            history.add(page, "a".into(), status.map(state));
        }
        let seen = |pages| -> Vec<Option<String>> {
            let states = history.states("a", pages).into_iter();
            states.map(|state| Some(state?.status.as_ref()?.to_string())).collect()
        };
        let (one, two) = (|| Some("one".to_owned()), || Some("two".to_owned()));
        assert_eq!(seen(0..2), [None]);
        assert_eq!(seen(0..3), [None, one()]);
        assert_eq!(seen(2..5), [one()]);
        assert_eq!(seen(4..8), [one(), two(), None]);
        assert_eq!(seen(7..9), [None]);
        assert_eq!(seen(7..7), []);
        assert_eq!(history.states("b", 0..9), [None]);
        assert_eq!(history.always_there(2..7).count(), 1);
        assert_eq!(history.always_there(1..7).count() + history.always_there(6..8).count(), 0);
    }
}
