//! What one desktop does on one day: a pure function of seed, desktop and day.
//!
//! A day runs from 04:00 to 04:00 local time, when hardly anybody works, so that one day's plan
//! rarely has to end in the middle of something. A desktop keeps its state until the next thing that
//! is planned for it, on whatever day that is. On Mondays everything is put to rest first: so no
//! state is older than a week, and to know a desktop's state one week has to be looked at.

use super::{MassDisconnect, WorldConfig};
use crate::simulator::dice::Dice;

/// The latest that something planned may be looked back for, in days.
const LOOK_BACK: i64 = 7;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;
/// The length of a day.
pub(super) const DAY: i64 = 86_400;
/// When a day begins, local time.
const MORNING: i64 = 4 * HOUR;

/// A desktop's state, before it is written as a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Connected,
    Disconnected,
    Registered,
    Unregister,
    /// Not documented for this call, but seen in its sibling.
    Offline,
    /// None given.
    Missing,
}

impl Status {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::Connected,
        Self::Disconnected,
        Self::Registered,
        Self::Unregister,
        Self::Offline,
        Self::Missing,
    ];

    pub fn text(self) -> Option<&'static str> {
        match self {
            Self::Connected => Some("CONNECTED"),
            Self::Disconnected => Some("DISCONNECTED"),
            Self::Registered => Some("REGISTERED"),
            Self::Unregister => Some("UNREGISTER"),
            Self::Offline => Some("OFFLINE"),
            Self::Missing => None,
        }
    }
}

/// How a desktop is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Habit {
    /// One person in office hours.
    Office,
    /// One person from the afternoon to midnight.
    Evening,
    /// A screen that shows something, day and night.
    AlwaysOn,
    /// Several persons in shifts, weekends too.
    Shared,
    /// A group's desktop, taken for an hour by whoever needs one.
    Pool,
    /// Assigned to nobody.
    Unassigned,
    /// Assigned, and never used.
    Unused,
}

impl Habit {
    /// By place in the fleet and not by chance, so that a small fleet has some of each.
    pub fn of(slot: u32, desktops: u32) -> Self {
        if slot + 1 == desktops && desktops > 1 {
            return Self::Unused;
        }
        match slot % 25 {
            3 | 15 => Self::Shared,
            7 | 19 => Self::Pool,
            11 => Self::Unassigned,
            13 | 22 => Self::Evening,
            17 => Self::AlwaysOn,
            _ => Self::Office,
        }
    }
}

/// Something planned: when, in seconds of Unix time, and into which state.
pub(super) type Planned = (i64, Status);

/// The questions that dice are thrown for.
#[repr(u64)]
enum About {
    Person = 1,
    Day,
    Week,
    MassDisconnect,
}

/// What everybody's days depend on.
#[derive(Clone, Debug)]
pub(super) struct Planner {
    seed: u64,
    desktops: u32,
    offset: i64,
    oddities: bool,
    disconnects: Vec<MassDisconnect>,
    spread: Option<[u32; 4]>,
}

impl Planner {
    pub fn new(config: &WorldConfig) -> Self {
        let mut disconnects = config.mass_disconnects.clone();
        disconnects.sort_by_key(|disconnect| disconnect.at);
        Self {
            seed: config.seed,
            desktops: config.desktops,
            offset: config.utc_offset.num_seconds(),
            oddities: config.oddities,
            disconnects,
            spread: config.spread,
        }
    }

    /// A desktop's state for ever, in a world where nothing happens.
    ///
    /// By place and not by chance, so that the shares are exact; the statuses alternate, so that
    /// they are mixed on every page.
    pub fn frozen(&self, slot: u32) -> Option<Status> {
        let shares = self.spread?;
        let all: u64 = shares.iter().copied().map(u64::from).sum();
        let mut place = u64::from(slot) % all.max(1);
        for (status, share) in Status::ALL.into_iter().zip(shares) {
            match place.checked_sub(share.into()) {
                Some(left) => place = left,
                None => return Some(status),
            }
        }
        // No share at all.
        Some(Status::Registered)
    }

    /// The day that an instant belongs to.
    pub fn day_of(&self, at: i64) -> i64 {
        (at + self.offset - MORNING).div_euclid(DAY)
    }

    /// When a day begins.
    pub fn begin_of(&self, day: i64) -> i64 {
        day * DAY + MORNING - self.offset
    }

    /// A desktop's state at an instant, worked out from nothing.
    pub fn status_at(&self, slot: u32, at: i64) -> Status {
        if let Some(status) = self.frozen(slot) {
            return status;
        }
        let today = self.day_of(at);
        (0..=LOOK_BACK)
            .find_map(|back| {
                let planned = self.day(slot, today - back);
                planned.iter().rev().find(|(when, _)| *when <= at).map(|(_, status)| *status)
            })
            .unwrap_or(Status::Registered)
    }

    /// Everything that is planned for a desktop on a day, in time order.
    pub fn day(&self, slot: u32, day: i64) -> Vec<Planned> {
        if self.spread.is_some() {
            return Vec::new();
        }
        let mut planned = self.undisturbed(slot, day);
        let begin = self.begin_of(day);
        for (number, disconnect) in self.disconnects.iter().enumerate() {
            let at = disconnect.at.timestamp();
            if !(begin..begin + DAY).contains(&at) {
                continue;
            }
            let next = planned.partition_point(|(when, _)| *when <= at);
            let before = match next.checked_sub(1) {
                Some(last) => planned[last].1,
                None => self.status_at(slot, begin - 1),
            };
            let about = [About::MassDisconnect as u64, number as u64, slot.into()];
            let mut dice = Dice::new(self.seed, &about);
            if before != Status::Connected || !dice.chance(disconnect.share) {
                continue;
            }
            planned.insert(next, (at, Status::Disconnected));
            let back = at + dice.between(MINUTE, 9 * MINUTE);
            // Whoever had something else planned meanwhile does that instead.
            let free = planned.get(next + 1).is_none_or(|(when, _)| *when > back);
            if dice.chance(0.92) && free {
                planned.insert(next + 1, (back, Status::Connected));
            }
        }
        planned
    }

    fn undisturbed(&self, slot: u32, day: i64) -> Vec<Planned> {
        // Day 0 of Unix time was a Thursday; 0 is Monday here.
        let weekday = (day + 3).rem_euclid(7);
        let person = Person::new(self.seed, slot);
        let about = [About::Day as u64, slot.into(), day.cast_unsigned()];
        let mut dice = Dice::new(self.seed, &about);
        let mut plan = Plan { begin: self.begin_of(day), planned: Vec::with_capacity(8) };
        let habit = Habit::of(slot, self.desktops);
        if weekday == 0 && habit != Habit::AlwaysOn {
            let rest = person.rest(habit);
            plan.add(dice.between(4 * HOUR, 5 * HOUR), rest);
        }
        if self.oddities && habit == Habit::Office && dice.chance(0.003) {
            let odd = if dice.chance(0.7) { Status::Offline } else { Status::Missing };
            plan.add(dice.between(5 * HOUR, 6 * HOUR), odd);
            plan.add(dice.between(6 * HOUR, 6 * HOUR + 20 * MINUTE), person.rest(habit));
        }
        match habit {
            Habit::Office | Habit::Evening => {
                let week = (day + 3).div_euclid(7).cast_unsigned();
                let about = [About::Week as u64, slot.into(), week];
                let away = Dice::new(self.seed, &about).chance(0.05) || dice.chance(0.02);
                let works = if weekday < 5 { !away } else { dice.chance(0.04) };
                if works {
                    plan.working_day(&person, habit, &mut dice);
                }
            }
            Habit::AlwaysOn => {
                plan.add(dice.between(4 * HOUR, 5 * HOUR), Status::Connected);
                if dice.chance(0.6) {
                    let at = dice.between(6 * HOUR, 27 * HOUR);
                    plan.add(at, Status::Disconnected);
                    plan.add(at + dice.between(MINUTE, 20 * MINUTE), Status::Connected);
                }
            }
            Habit::Shared => plan.shifts(&mut dice),
            Habit::Pool if weekday < 5 => plan.visits(&mut dice),
            Habit::Unassigned if dice.chance(0.1) => {
                // Started for an hour to be patched.
                let at = dice.between(9 * HOUR, 16 * HOUR);
                plan.add(at, Status::Registered);
                plan.add(at + HOUR, Status::Unregister);
            }
            Habit::Pool | Habit::Unassigned | Habit::Unused => {}
        }
        plan.planned
    }
}

/// What stays the same about one desktop's user.
struct Person {
    start: i64,
    end: i64,
    /// The desktop is shut down for the night.
    powers_off: bool,
    /// Closes the client at the end of the day and leaves the session behind.
    leaves_session: bool,
}

impl Person {
    fn new(seed: u64, slot: u32) -> Self {
        let mut dice = Dice::new(seed, &[About::Person as u64, slot.into()]);
        Self {
            start: dice.around(8 * HOUR + 40 * MINUTE, 80 * MINUTE),
            end: dice.around(17 * HOUR + 20 * MINUTE, 70 * MINUTE),
            powers_off: dice.chance(0.35),
            leaves_session: dice.chance(0.4),
        }
    }

    fn rest(&self, habit: Habit) -> Status {
        match habit {
            Habit::Unassigned => Status::Unregister,
            Habit::Office | Habit::Evening if self.powers_off => Status::Unregister,
            _ => Status::Registered,
        }
    }
}

/// One day's plan in the making.
struct Plan {
    begin: i64,
    planned: Vec<Planned>,
}

impl Plan {
    /// Adds a state at a time of the local day: up to 28:00, which is 04:00 of the next. It comes
    /// after what was added before it, and within the day.
    fn add(&mut self, time: i64, status: Status) {
        let last = self.planned.last().map_or(self.begin - 1, |(at, _)| *at);
        let at = (self.begin + time - MORNING).max(last + 1);
        if at < self.begin + DAY {
            self.planned.push((at, status));
        }
    }

    fn working_day(&mut self, person: &Person, habit: Habit, dice: &mut Dice) {
        // The evening shift is the same day, seven hours later.
        let shift = if habit == Habit::Evening { 7 * HOUR } else { 0 };
        let start = dice.around(person.start + shift, 25 * MINUTE);
        let end = dice.around(person.end + shift, 35 * MINUTE).min(27 * HOUR);
        if person.powers_off {
            self.add(start - dice.between(10 * MINUTE, 40 * MINUTE), Status::Registered);
        }
        self.add(start, Status::Connected);
        let mut away = |plan: &mut Self, chance: f64, at: i64, length: i64| {
            if dice.chance(chance) {
                let length = dice.around(length, length / 2).max(MINUTE);
                plan.add(at, Status::Disconnected);
                plan.add(at + length, Status::Connected);
            }
        };
        // A meeting, lunch, another meeting, and a network that fails now and then.
        away(self, 0.32, start + 90 * MINUTE, 30 * MINUTE);
        away(self, 0.7, (start + end) / 2 - 45 * MINUTE, 45 * MINUTE);
        away(self, 0.06, (start + end) / 2 + 20 * MINUTE, 3 * MINUTE);
        away(self, 0.32, end - 150 * MINUTE, 35 * MINUTE);
        let leaves = person.leaves_session || person.powers_off;
        self.add(end, if leaves { Status::Disconnected } else { Status::Registered });
        if person.powers_off && dice.chance(0.85) {
            self.add(end + dice.between(10 * MINUTE, 70 * MINUTE), Status::Unregister);
        } else if person.leaves_session && dice.chance(0.6) {
            // The session that was left behind is ended by the idle policy, but not always.
            self.add(end + dice.between(2 * HOUR, 3 * HOUR), Status::Registered);
        }
    }

    fn shifts(&mut self, dice: &mut Dice) {
        for (from, to) in [(7 * HOUR, 14 * HOUR), (14 * HOUR, 21 * HOUR)] {
            self.add(from + dice.between(MINUTE, 15 * MINUTE), Status::Connected);
            if dice.chance(0.6) {
                let at = dice.between(from + 2 * HOUR, to - 2 * HOUR);
                self.add(at, Status::Disconnected);
                self.add(at + dice.between(15 * MINUTE, 45 * MINUTE), Status::Connected);
            }
            self.add(to - dice.between(MINUTE, 15 * MINUTE), Status::Registered);
        }
    }

    fn visits(&mut self, dice: &mut Dice) {
        let mut at = 8 * HOUR + dice.between(0, 2 * HOUR);
        while at < 18 * HOUR {
            self.add(at, Status::Connected);
            at += dice.between(20 * MINUTE, 2 * HOUR);
            self.add(at, Status::Registered);
            at += dice.between(30 * MINUTE, 4 * HOUR);
        }
    }
}
