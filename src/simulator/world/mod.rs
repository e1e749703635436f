//! A fleet of desktops and what becomes of it, made from a seed.
//!
//! Pure: no clock, no I/O. Each desktop's day is a function of seed, desktop and day, so
//! a world can be stepped through or looked at anywhere, with the same result. Stepping touches only
//! what changes: a month of 10,000 desktops minute by minute is a million changes, not 432 million
//! looks.

mod config;
mod fleet;
mod index;
mod plan;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

pub use self::config::{MassDisconnect, WorldConfig};
use self::fleet::{Change, Slot};
pub(super) use self::index::Filter;
use self::index::Index;
use self::plan::{Planner, Status};
use crate::domain::{COUNTERS, Desktop, GroupStatistics, Instant};

/// A fleet at an instant.
#[derive(Clone, Debug)]
pub struct World {
    planner: Planner,
    slots: Vec<Slot>,
    now: i64,
    /// The desktops that are there, in the order of their slots.
    present: Vec<Desktop>,
    /// Beside `present`: each one's slot.
    slot_of: Vec<u32>,
    groups: Vec<GroupStatistics>,
    /// Each slot's next event.
    queue: BinaryHeap<Reverse<(i64, u32)>>,
    /// Beside `slots`.
    cursors: Vec<Cursor>,
    statuses: Statuses,
    /// Kept only for who asks by status or name.
    index: Option<Index>,
    /// What became of each desktop that something happened to, in order; only for who asks.
    journal: Option<Vec<Became>>,
}

/// A desktop's id, and what became of it; `None`: it is gone.
pub(super) type Became = (Arc<str>, Option<Desktop>);

/// One slot's day and how much of it has happened.
#[derive(Clone, Debug)]
struct Cursor {
    day: i64,
    planned: Vec<plan::Planned>,
    next: usize,
    next_change: usize,
    status: Status,
}

/// The statuses' texts, made once.
#[derive(Clone, Debug)]
struct Statuses([Option<Arc<str>>; 6]);

impl Statuses {
    fn new() -> Self {
        Self(Status::ALL.map(|status| status.text().map(Arc::from)))
    }

    fn text(&self, status: Status) -> Option<Arc<str>> {
        self.0[status as usize].clone()
    }
}

impl World {
    /// The world at its start.
    #[must_use]
    pub fn new(config: &WorldConfig) -> Self {
        let groups = fleet::group_names(config.groups)
            .into_iter()
            .map(|name| GroupStatistics { name: Some(name), counters: [Some(0); COUNTERS.len()] })
            .collect();
        let mut world = Self {
            planner: Planner::new(config),
            slots: fleet::slots(config),
            now: 0,
            present: Vec::new(),
            slot_of: Vec::new(),
            groups,
            queue: BinaryHeap::new(),
            cursors: Vec::new(),
            statuses: Statuses::new(),
            index: None,
            journal: None,
        };
        world.seek(config.start);
        world
    }

    /// Goes to an instant at once, forward or back, without what lies between.
    pub fn seek(&mut self, to: Instant) {
        self.now = to.timestamp();
        self.present.clear();
        self.slot_of.clear();
        self.queue.clear();
        self.cursors.clear();
        if let Some(index) = &mut self.index {
            *index = Index::default();
        }
        for group in &mut self.groups {
            group.counters = [Some(0); COUNTERS.len()];
        }
        let day = self.planner.day_of(self.now);
        for number in 0..self.slots.len() {
            let slot = u32::try_from(number).expect("slots are counted in 32 bits");
            let planned = self.planner.day(slot, day);
            let next = planned.partition_point(|(at, _)| *at <= self.now);
            let status = match next.checked_sub(1) {
                Some(last) => planned[last].1,
                None => self.planner.status_at(slot, self.now),
            };
            let changes = &self.slots[number].changes;
            let next_change = changes.partition_point(|(at, _)| *at <= self.now);
            let mut identity = self.slots[number].first.clone();
            for (_, change) in &changes[..next_change] {
                apply(&mut identity, change);
            }
            if let Some(identity) = identity {
                self.insert(self.present.len(), slot, identity, status);
            }
            self.cursors.push(Cursor { day, planned, next, next_change, status });
            self.enqueue(slot);
        }
    }

    /// Lets time pass up to an instant, and tells how many desktops something happened to, one
    /// counted as often as it did. An instant that is over already changes nothing.
    pub fn advance_to(&mut self, to: Instant) -> usize {
        let to = to.timestamp();
        let mut happened = 0;
        while let Some(Reverse((at, slot))) = self.queue.peek().copied() {
            if at > to {
                break;
            }
            self.queue.pop();
            happened += usize::from(self.happen(at, slot));
            self.enqueue(slot);
        }
        self.now = self.now.max(to);
        happened
    }

    /// The desktops that are there now, in an order that only comings and goings change.
    #[must_use]
    pub fn desktops(&self) -> &[Desktop] {
        &self.present
    }

    /// The groups' statistics now.
    #[must_use]
    pub fn groups(&self) -> &[GroupStatistics] {
        &self.groups
    }

    /// The world at an instant, without moving this one.
    #[must_use]
    pub fn at(&self, instant: Instant) -> (Vec<Desktop>, Vec<GroupStatistics>) {
        let mut other = self.clone();
        other.index = None;
        other.seek(instant);
        (other.present, other.groups)
    }

    /// From now on, finding desktops by status and name takes no look at all of them.
    pub(super) fn keep_index(&mut self) {
        let mut index = Index::default();
        for (desktop, slot) in self.present.iter().zip(&self.slot_of) {
            index.add(*slot, self.cursors[*slot as usize].status, desktop);
        }
        self.index = Some(index);
    }

    /// From now on, what happens is noted for [`take_journal`](Self::take_journal).
    pub(super) fn keep_journal(&mut self) {
        self.journal = Some(Vec::new());
    }

    /// What happened since this was last asked.
    pub(super) fn take_journal(&mut self) -> Vec<Became> {
        self.journal.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// One page of the desktops that a filter takes, in their order, and how many it takes in all.
    pub(super) fn page(
        &self,
        filter: &Filter<'_>,
        offset: usize,
        limit: usize,
    ) -> (Vec<Desktop>, usize) {
        if filter.is_open() {
            let page = self.present.iter().skip(offset).take(limit);
            return (page.cloned().collect(), self.present.len());
        }
        let Some(index) = &self.index else {
            let taken = || self.present.iter().filter(|desktop| filter.takes(desktop));
            return (taken().skip(offset).take(limit).cloned().collect(), taken().count());
        };
        let at = |slot: &u32| {
            let place = self.slot_of.binary_search(slot).expect("only who is there is indexed");
            &self.present[place]
        };
        let slots = index.slots(filter, |slot| filter.has_status(at(slot)));
        (slots.iter().skip(offset).take(limit).map(at).cloned().collect(), slots.len())
    }

    /// Puts a slot's next event into the queue; a day that is over is followed by the next.
    fn enqueue(&mut self, slot: u32) {
        let cursor = &mut self.cursors[slot as usize];
        let change = self.slots[slot as usize]
            .changes
            .get(cursor.next_change)
            .map_or(i64::MAX, |(at, _)| *at);
        while cursor.next == cursor.planned.len() && self.planner.frozen(slot).is_none() {
            // A week without a plan does not exist: its Monday has one. But a world must not hang.
            cursor.day += 1;
            cursor.planned = self.planner.day(slot, cursor.day);
            cursor.next = 0;
            if cursor.planned.is_empty() && self.planner.begin_of(cursor.day) > change {
                break;
            }
        }
        let planned = cursor.planned.get(cursor.next).map_or(i64::MAX, |(at, _)| *at);
        self.queue.push(Reverse((planned.min(change), slot)));
    }

    /// One event; whether anything is different after it.
    fn happen(&mut self, at: i64, slot: u32) -> bool {
        let cursor = &mut self.cursors[slot as usize];
        let place = self.slot_of.binary_search(&slot);
        if let Some((when, status)) = cursor.planned.get(cursor.next).copied()
            && when == at
        {
            cursor.next += 1;
            let before = std::mem::replace(&mut cursor.status, status);
            let Ok(place) = place else { return false };
            if before == status {
                return false;
            }
            self.count(place, -1);
            self.present[place].status = self.statuses.text(status);
            self.count(place, 1);
            if let Some(index) = &mut self.index {
                index.change_status(slot, before, status);
            }
            self.note(place);
            return true;
        }
        let status = cursor.status;
        let number = cursor.next_change;
        cursor.next_change += 1;
        let change = self.slots[slot as usize].changes[number].1.clone();
        match (change, place) {
            (Change::Appears(identity), Err(place)) => {
                self.insert(place, slot, identity, status);
                self.note(place);
            }
            (Change::Disappears, Ok(place)) => {
                self.count(place, -1);
                let gone = self.present.remove(place);
                self.slot_of.remove(place);
                if let Some(index) = &mut self.index {
                    index.remove(slot, status, &gone);
                }
                if let Some(journal) = &mut self.journal {
                    journal.push((gone.id, None));
                }
            }
            (Change::Renamed(name), Ok(place)) => {
                self.present[place].name = Some(name);
                self.note(place);
            }
            (Change::Reassigned(users), Ok(place)) => {
                self.count(place, -1);
                let before = std::mem::replace(&mut self.present[place].users, users);
                self.count(place, 1);
                if let Some(index) = &mut self.index {
                    index.forget_names(slot, &before);
                    index.add_names(slot, &self.present[place].users);
                }
                self.note(place);
            }
            (Change::Appears(_), Ok(_)) | (_, Err(_)) => return false,
        }
        true
    }

    fn note(&mut self, place: usize) {
        if let Some(journal) = &mut self.journal {
            let desktop = &self.present[place];
            journal.push((Arc::clone(&desktop.id), Some(desktop.clone())));
        }
    }

    fn insert(&mut self, place: usize, slot: u32, identity: fleet::Identity, status: Status) {
        let desktop = Desktop {
            id: identity.id,
            name: Some(identity.name),
            status: self.statuses.text(status),
            users: identity.users,
        };
        if let Some(index) = &mut self.index {
            index.add(slot, status, &desktop);
        }
        self.present.insert(place, desktop);
        self.slot_of.insert(place, slot);
        self.count(place, 1);
    }

    /// Adds a desktop to its group's counters, or takes it out.
    fn count(&mut self, place: usize, by: i64) {
        let desktop = &self.present[place];
        let group = self.slots[self.slot_of[place] as usize].group;
        let counters = &mut self.groups[group].counters;
        let status = desktop.status.as_deref();
        let power = if status == Some("UNREGISTER") { "stop_num" } else { "running_num" };
        let attached =
            if desktop.users.entries().is_empty() { "unattached_num" } else { "attached_num" };
        let session = match status {
            Some("CONNECTED") => "in_use_num",
            Some("REGISTERED") => "ready_num",
            Some("DISCONNECTED") => "disconnected_num",
            Some("UNREGISTER") => "unregistered_num",
            _ => "unknown_num",
        };
        for name in [power, attached, session] {
            let at = COUNTERS
                .iter()
                .position(|counter| *counter == name)
                .expect("the names are the API's");
            counters[at] = counters[at].map(|count| count + by);
        }
    }
}

fn apply(identity: &mut Option<fleet::Identity>, change: &Change) {
    match change {
        Change::Appears(new) => {
            identity.get_or_insert_with(|| new.clone());
        }
        Change::Disappears => *identity = None,
        Change::Renamed(name) => {
            if let Some(identity) = identity {
                identity.name = Arc::clone(name);
            }
        }
        Change::Reassigned(users) => {
            if let Some(identity) = identity {
                identity.users = users.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests;
