//! The desktops of earlier listings: whom to ask for when some are missing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::request::{STATUSES, can_be_asked};
use crate::domain::{AttachUsers, Beliefs, Desktop};

/// A desktop that was asked for in vain is asked for ever more rarely, down to each 128th visit: it is
/// probably gone, which no partial listing can say.
const MOST_PATIENCE: u32 = 8;

/// How many requests of one visit may go to users of whom nobody knows that they have more desktops: half a
/// minute's, where the vendor's limit of 200 holds.
pub const MOST_SUSPICIONS: usize = 100;
/// Enough to come through a few thousand users within a day.
const FEWEST_SUSPICIONS: usize = 3;

/// The desktops that a source is believed to have, and whose they are.
#[derive(Clone, Debug, Default)]
pub struct Known {
    desktops: HashMap<Arc<str>, Entry>,
    /// Statuses that were seen and no document lists.
    pub(super) statuses: BTreeSet<Arc<str>>,
    /// How many listings were learned.
    pub(super) visits: u32,
    /// In how many visits in a row asking on suspicion brought nothing.
    fruitless: u32,
}

#[derive(Clone, Debug)]
struct Entry {
    name: Option<Arc<str>>,
    users: AttachUsers,
    /// The visit that listed it last.
    listed: u32,
    /// How often in a row it was asked for in vain, and from which visit on it is asked for again.
    in_vain: u32,
    due: u32,
}

impl Known {
    /// What a ledger says.
    #[must_use]
    pub fn believed(beliefs: &Beliefs) -> Self {
        let mut known = Self::default();
        for desktop in beliefs.desktops() {
            let Some(open) = &desktop.open else { continue };
            let Some((label, assignment)) = beliefs.label(open.label) else { continue };
            known.note_status(beliefs.status(open.status));
            let (name, users) = (label.name.clone(), assignment.users.clone());
            let entry = Entry { name, users, listed: 0, in_vain: 0, due: 0 };
            known.desktops.insert(Arc::clone(&desktop.id), entry);
        }
        known
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.desktops.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.desktops.is_empty()
    }

    /// How many requests of the next visit may go to users of whom nobody knows that they have more
    /// desktops: half as many after each visit in which that brought nothing, but never none.
    #[must_use]
    pub(in crate::workspace) fn suspicions(&self) -> usize {
        (MOST_SUSPICIONS >> self.fruitless.min(usize::BITS - 1)).max(FEWEST_SUSPICIONS)
    }

    /// Takes in whether asking on suspicion brought anything, where it was done.
    pub(in crate::workspace) fn note_suspicion(&mut self, has_found: Option<bool>) {
        match has_found {
            Some(true) => self.fruitless = 0,
            Some(false) => self.fruitless = self.fruitless.saturating_add(1),
            None => {}
        }
    }

    /// Takes in what a visit listed. What a whole listing leaves out is gone; what was asked
    /// for by name in vain probably is.
    pub(in crate::workspace) fn learn(
        &mut self,
        listed: &[Desktop],
        is_whole: bool,
        in_vain: &HashSet<Arc<str>>,
    ) {
        self.visits = self.visits.saturating_add(1);
        let visit = self.visits;
        for desktop in listed {
            self.note_status(desktop.status.as_deref());
            let (name, users) = (desktop.name.clone(), desktop.users.clone());
            let entry = Entry { name, users, listed: visit, in_vain: 0, due: visit };
            self.desktops.insert(Arc::clone(&desktop.id), entry);
        }
        if is_whole {
            self.desktops.retain(|_, entry| entry.listed == visit);
            return;
        }
        for id in in_vain {
            if let Some(entry) = self.desktops.get_mut(id)
                && entry.listed != visit
            {
                entry.in_vain = (entry.in_vain + 1).min(MOST_PATIENCE);
                // The first time may be bad luck: again at the next visit, then after 2, 4, 8 …
                entry.due = visit + (1 << entry.in_vain) / 2 - 1;
            }
        }
    }

    /// The desktop, with the texts of the same one as it was listed before as far as they have stayed: most of a fleet is as
    /// it was, and what is believed of it, the listing before and this one are to hold it once together.
    pub(in crate::workspace) fn share(&self, desktop: Desktop) -> Desktop {
        let Some((id, before)) = self.desktops.get_key_value(&desktop.id) else { return desktop };
        let is_same_name = before.name == desktop.name;
        Desktop {
            id: Arc::clone(id),
            name: if is_same_name { before.name.clone() } else { desktop.name },
            status: desktop.status,
            users: if before.users == desktop.users { before.users.clone() } else { desktop.users },
        }
    }

    /// The ids that were listed before, whether or not they are asked for.
    pub(super) fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.desktops.keys()
    }

    /// Whether it was listed before.
    pub(super) fn has(&self, id: &str) -> bool {
        self.desktops.contains_key(id)
    }

    /// The names that a desktop can be asked for by.
    pub(super) fn names(&self, id: &str) -> impl Iterator<Item = &Arc<str>> {
        let users = self.desktops.get(id).map(|entry| entry.users.entries());
        names(users.unwrap_or_default())
    }

    /// The desktops that are not among `seen`, those that were listed longest ago first; and apart from
    /// them, those that it is too early to ask for again.
    pub(super) fn missing(&self, seen: impl Fn(&str) -> bool) -> [Vec<Arc<str>>; 2] {
        let (mut due, mut early) = (Vec::new(), Vec::new());
        for (id, entry) in self.desktops.iter().filter(|(id, _)| !seen(id)) {
            let list = if entry.due <= self.visits { &mut due } else { &mut early };
            list.push((entry.listed, id));
        }
        [due, early].map(|mut list| {
            // By id as well, so that the same things happen in the same order.
            list.sort_unstable();
            list.into_iter().map(|(_, id)| Arc::clone(id)).collect()
        })
    }

    fn note_status(&mut self, status: Option<&str>) {
        let Some(status) = status.filter(|status| !STATUSES.contains(status)) else { return };
        if can_be_asked(status) && !self.statuses.contains(status) {
            self.statuses.insert(status.into());
        }
    }
}

/// The names that a desktop's users can be asked for by.
pub(super) fn names(users: &[crate::domain::AttachUser]) -> impl Iterator<Item = &Arc<str>> {
    users.iter().filter_map(|user| user.name.as_ref()).filter(|name| can_be_asked(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::listing::laws::desktop;

    #[test]
    fn what_is_asked_for_in_vain_is_asked_for_ever_more_rarely() {
        let [a, b] = [desktop(1, None, &["a"]), desktop(2, None, &["b"])];
        let mut known = Known::default();
        known.learn(&[a.clone(), b.clone()], true, &HashSet::new());
        let mut asked = Vec::new();
        for visit in 0..40 {
            let [due, _] = known.missing(|id| id == &*a.id);
            if !due.is_empty() {
                asked.push(visit);
            }
            known.learn(std::slice::from_ref(&a), false, &due.into_iter().collect());
        }
        assert_eq!(asked, [0, 1, 3, 7, 15, 31]);
        // Listed again, it is asked for again as soon as it is missing.
        known.learn(&[a.clone(), b.clone()], false, &HashSet::new());
        assert_eq!(known.missing(|id| id == &*a.id)[0], std::slice::from_ref(&b.id));
        // A whole listing knows better.
        known.learn(std::slice::from_ref(&a), true, &HashSet::new());
        assert_eq!(known.len(), 1);
    }

    #[test]
    fn what_stays_is_held_once() {
        let before = desktop(1, Some("CONNECTED"), &["a"]);
        let mut known = Known::default();
        known.learn(std::slice::from_ref(&before), true, &HashSet::new());
        let read = || {
            let desktop = desktop(1, Some("DISCONNECTED"), &["a"]);
            assert!(!Arc::ptr_eq(&desktop.id, &before.id));
            desktop
        };
        let seen = known.share(read());
        assert_eq!(seen, read());
        assert!(Arc::ptr_eq(&seen.id, &before.id));
        assert!(std::ptr::eq(seen.users.entries(), before.users.entries()));
        // What is another one is as it was read.
        let reassigned = desktop(1, None, &["b"]);
        assert_eq!(known.share(reassigned.clone()), reassigned);
        let renamed = Desktop { name: Some("another".into()), ..before };
        assert_eq!(known.share(renamed.clone()), renamed);
    }

    #[test]
    fn suspicion_fades_and_comes_back() {
        let mut known = Known::default();
        let mut most = Vec::new();
        for _ in 0..8 {
            most.push(known.suspicions());
            known.note_suspicion(Some(false));
        }
        assert_eq!(most, [100, 50, 25, 12, 6, 3, 3, 3]);
        known.note_suspicion(None);
        assert_eq!(known.suspicions(), 3);
        known.note_suspicion(Some(true));
        assert_eq!(known.suspicions(), 100);
    }
}
