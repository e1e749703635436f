//! Finding desktops by status and by user without a look at all of them.
//!
//! By slot and not by place: places move when somebody joins or leaves, slots do not, and both are
//! in the same order.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::plan::Status;
use crate::domain::{AttachUsers, Desktop};

/// Which desktops are asked for: those with this status, of these users.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::simulator) struct Filter<'a> {
    pub status: Option<&'a str>,
    /// Names of users, matched exactly; empty: all desktops.
    pub names: &'a [String],
}

impl Filter<'_> {
    pub fn is_open(&self) -> bool {
        self.status.is_none() && self.names.is_empty()
    }

    pub fn takes(&self, desktop: &Desktop) -> bool {
        let is_named = |name: &Arc<str>| self.names.iter().any(|one| **one == **name);
        let mut users = desktop.users.entries().iter();
        self.has_status(desktop)
            && (self.names.is_empty() || users.any(|user| user.name.as_ref().is_some_and(is_named)))
    }

    pub fn has_status(&self, desktop: &Desktop) -> bool {
        self.status.is_none() || self.status == desktop.status.as_deref()
    }
}

/// The slots of the desktops that are there, by what is asked for; each list in order.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_status: [Vec<u32>; Status::ALL.len()],
    by_name: HashMap<Arc<str>, Vec<u32>>,
}

impl Index {
    pub fn add(&mut self, slot: u32, status: Status, desktop: &Desktop) {
        put(&mut self.by_status[status as usize], slot);
        self.add_names(slot, &desktop.users);
    }

    pub fn remove(&mut self, slot: u32, status: Status, desktop: &Desktop) {
        take(&mut self.by_status[status as usize], slot);
        self.forget_names(slot, &desktop.users);
    }

    pub fn change_status(&mut self, slot: u32, from: Status, to: Status) {
        take(&mut self.by_status[from as usize], slot);
        put(&mut self.by_status[to as usize], slot);
    }

    pub fn add_names(&mut self, slot: u32, users: &AttachUsers) {
        for name in users.entries().iter().filter_map(|user| user.name.as_ref()) {
            put(self.by_name.entry(Arc::clone(name)).or_default(), slot);
        }
    }

    pub fn forget_names(&mut self, slot: u32, users: &AttachUsers) {
        for name in users.entries().iter().filter_map(|user| user.name.as_ref()) {
            if let Some(slots) = self.by_name.get_mut(name) {
                take(slots, slot);
            }
        }
    }

    /// The slots that a filter takes, in order. By name alone is looked up here; `has_status` tells
    /// of a slot whether the status is right as well.
    pub fn slots(&self, filter: &Filter<'_>, has_status: impl Fn(&u32) -> bool) -> Cow<'_, [u32]> {
        if filter.names.is_empty() {
            let status = Status::ALL.into_iter().find(|status| status.text() == filter.status);
            return match status {
                Some(status) => Cow::Borrowed(&self.by_status[status as usize]),
                None => Cow::Borrowed(&[]),
            };
        }
        let named = filter.names.iter().filter_map(|name| self.by_name.get(name.as_str()));
        let slots: BTreeSet<u32> = named.flatten().copied().collect();
        Cow::Owned(slots.into_iter().filter(has_status).collect())
    }
}

fn put(slots: &mut Vec<u32>, slot: u32) {
    if let Err(place) = slots.binary_search(&slot) {
        slots.insert(place, slot);
    }
}

fn take(slots: &mut Vec<u32>, slot: u32) {
    if let Ok(place) = slots.binary_search(&slot) {
        slots.remove(place);
    }
}
