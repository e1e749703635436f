//! A fleet of desktops and what becomes of it, made from a seed.
//!
//! Pure: no clock, no I/O. Each desktop's day is a function of seed, desktop and day, so
//! a world can be stepped through or looked at anywhere, with the same result. Stepping touches only
//! what changes: a month of 10,000 desktops minute by minute is a million changes, not 432 million
//! looks.

mod dice;
mod fleet;
mod plan;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use chrono::TimeDelta;

use self::fleet::{Change, Slot};
use self::plan::{Planner, Status};
use crate::domain::{COUNTERS, Desktop, GroupStatistics, Instant};

/// What a world is made from. The same configuration always makes the same world.
#[derive(Clone, Debug, PartialEq)]
pub struct WorldConfig {
    /// The seed of everything that is left to chance.
    pub seed: u64,
    /// How many desktops there are at the start.
    pub desktops: u32,
    /// How many groups they are in.
    pub groups: u32,
    /// Where the world begins. Desktops join and leave from here on; what they do on a day depends
    /// on the day alone.
    pub start: Instant,
    /// For how many days the fleet itself changes.
    pub days: u32,
    /// The fleet's local time.
    pub utc_offset: TimeDelta,
    /// The share of desktops that something happens to within 30 days: half of them leave and most
    /// of those are replaced, others are renamed or assigned to somebody else; a few join. 0: the
    /// fleet stays as it is.
    pub churn: f64,
    /// Whether some desktops now and then show a status that no document lists, or none.
    pub oddities: bool,
    /// When many connections break at once.
    pub mass_disconnects: Vec<MassDisconnect>,
}

/// Many connections breaking at one instant; most come back within minutes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MassDisconnect {
    /// When.
    pub at: Instant,
    /// The share of the connected desktops that disconnect.
    pub share: f64,
}

impl WorldConfig {
    /// An ordinary fleet: five groups, eight hours east of Greenwich, 3 % churn a month, no outage.
    #[must_use]
    pub fn new(seed: u64, desktops: u32, start: Instant, days: u32) -> Self {
        Self {
            seed,
            desktops,
            groups: 5,
            start,
            days,
            utc_offset: TimeDelta::hours(8),
            churn: 0.03,
            oddities: true,
            mass_disconnects: Vec::new(),
        }
    }
}

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
}

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
        use Status::{Connected, Disconnected, Missing, Offline, Registered, Unregister};
        let all = [Connected, Disconnected, Registered, Unregister, Offline, Missing];
        Self(all.map(|status| status.text().map(Arc::from)))
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
        other.seek(instant);
        (other.present, other.groups)
    }

    /// Puts a slot's next event into the queue; a day that is over is followed by the next.
    fn enqueue(&mut self, slot: u32) {
        let cursor = &mut self.cursors[slot as usize];
        let change = self.slots[slot as usize]
            .changes
            .get(cursor.next_change)
            .map_or(i64::MAX, |(at, _)| *at);
        while cursor.next == cursor.planned.len() {
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
            let changed = cursor.status != status;
            cursor.status = status;
            let Ok(place) = place else { return false };
            if !changed {
                return false;
            }
            self.count(place, -1);
            self.present[place].status = self.statuses.text(status);
            self.count(place, 1);
            return true;
        }
        let status = cursor.status;
        let number = cursor.next_change;
        cursor.next_change += 1;
        let change = self.slots[slot as usize].changes[number].1.clone();
        match (change, place) {
            (Change::Appears(identity), Err(place)) => self.insert(place, slot, identity, status),
            (Change::Disappears, Ok(place)) => {
                self.count(place, -1);
                self.present.remove(place);
                self.slot_of.remove(place);
            }
            (Change::Renamed(name), Ok(place)) => self.present[place].name = Some(name),
            (Change::Reassigned(users), Ok(place)) => {
                self.count(place, -1);
                self.present[place].users = users;
                self.count(place, 1);
            }
            (Change::Appears(_), Ok(_)) | (_, Err(_)) => return false,
        }
        true
    }

    fn insert(&mut self, place: usize, slot: u32, identity: fleet::Identity, status: Status) {
        let desktop = Desktop {
            id: identity.id,
            name: Some(identity.name),
            status: self.statuses.text(status),
            users: identity.users,
        };
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
