//! Which desktops there are and when: names, assignments, and what changes about them.

use std::sync::Arc;

use chrono::TimeDelta;

use super::WorldConfig;
use super::plan::{DAY, Habit};
use crate::domain::{AttachUser, AttachUsers};
use crate::simulator::dice::Dice;

/// The questions that dice are thrown for; none that a plan asks.
#[repr(u64)]
enum About {
    Id = 101,
    User,
    Life,
}

/// Something that happens to a desktop itself.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Appears(Identity),
    Disappears,
    Renamed(Arc<str>),
    Reassigned(AttachUsers),
}

/// Who a desktop is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub users: AttachUsers,
}

/// A place in the fleet: one desktop after another may fill it.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub group: usize,
    /// Whoever is there from the start.
    pub first: Option<Identity>,
    /// What happens to it, in time order.
    pub changes: Vec<(i64, Change)>,
}

/// The names of the groups; some need care in a path, a table or a terminal.
pub(super) fn group_names(groups: u32) -> Vec<Arc<str>> {
    const NAMES: [&str; 6] = [
        "Office Singapore",
        "研发桌面组",
        "Service desk, late shift",
        "Training/Zürich",
        "Finance & Tax",
        "VM_TEMPLATE_01",
    ];
    (0..groups.max(1) as usize)
        .map(|at| match NAMES.get(at) {
            Some(name) => Arc::from(*name),
            None => Arc::from(format!("Group {:02}", at + 1)),
        })
        .collect()
}

/// Lays the fleet out.
pub(super) fn slots(config: &WorldConfig) -> Vec<Slot> {
    let churn = config.churn.clamp(0.0, 1.0);
    let months = f64::from(config.days) / 30.0;
    // A few join later: beyond those there are at the start, so that a fleet of N starts with N, and
    // about as many as leave without being replaced, so that it keeps its size.
    let later = f64::from(config.desktops) * churn / 10.0 * months;
    let later = if churn > 0.0 && config.desktops > 1 { (later.round() as u32).max(1) } else { 0 };
    let mut shared = Shared::default();
    (0..config.desktops + later)
        .map(|slot| {
            let mut made = slot_of(config, slot, churn * months, &mut shared);
            if slot >= config.desktops {
                let mut dice = Dice::new(config.seed, &[About::Life as u64, slot.into(), 9]);
                let joins = instant(config, &mut dice);
                // Nothing may happen to it before it is there.
                made.changes.retain(|(at, _)| *at > joins);
                let first = made.first.take().expect("every slot is made with a desktop");
                made.changes.insert(0, (joins, Change::Appears(first)));
            }
            made
        })
        .collect()
}

/// Texts that many desktops have in common.
#[derive(Default)]
struct Shared {
    users: std::collections::HashMap<String, Arc<str>>,
}

impl Shared {
    fn text(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.users.get(text) {
            return Arc::clone(known);
        }
        let made: Arc<str> = Arc::from(text);
        self.users.insert(text.to_owned(), Arc::clone(&made));
        made
    }
}

fn slot_of(config: &WorldConfig, slot: u32, share: f64, shared: &mut Shared) -> Slot {
    let mut dice = Dice::new(config.seed, &[About::Life as u64, slot.into()]);
    // Where nothing happens, everybody has a desktop to himself.
    let habit = match config.spread {
        Some(_) => Habit::Office,
        None => Habit::of(slot, config.desktops),
    };
    let first = identity(config, slot, 0, habit, shared);
    let mut changes = Vec::new();
    // The one that nobody uses stays, so that it can be found.
    if habit != Habit::Unused && share > 0.0 {
        if dice.chance(share * 0.5) {
            let gone = instant(config, &mut dice);
            changes.push((gone, Change::Disappears));
            if dice.chance(0.8) {
                let next = gone + dice.between(60, 2 * DAY);
                changes.push((next, Change::Appears(identity(config, slot, 1, habit, shared))));
            }
        } else if dice.chance(share * 0.3) {
            let name = format!("{}-new", first.name);
            changes.push((instant(config, &mut dice), Change::Renamed(name.into())));
        } else if habit == Habit::Office && dice.chance(share * 0.3) {
            let users = identity(config, slot, 2, habit, shared).users;
            changes.push((instant(config, &mut dice), Change::Reassigned(users)));
        }
    }
    let groups = config.groups.max(1);
    Slot { group: (slot % groups) as usize, first: Some(first), changes }
}

/// Some instant of the world, not quite at its start.
fn instant(config: &WorldConfig, dice: &mut Dice) -> i64 {
    let days = TimeDelta::days(config.days.max(1).into());
    config.start.timestamp() + dice.between(HOURS_UNTOUCHED, days.num_seconds())
}

/// A world does not change its fleet in its first hour: a test that looks once sees it whole.
const HOURS_UNTOUCHED: i64 = 3_600;

fn identity(
    config: &WorldConfig,
    slot: u32,
    generation: u64,
    habit: Habit,
    shared: &mut Shared,
) -> Identity {
    let mut dice = Dice::new(config.seed, &[About::Id as u64, slot.into(), generation]);
    let (high, low) = (dice.next(), dice.next());
    let id = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    );
    let prefix = match slot % 40 {
        9 => "设计",
        29 => "Büro",
        _ => dice.pick(&["WS", "WS", "DEV", "CAD"]),
    };
    let generation_mark = if generation == 0 { String::new() } else { format!("-{generation}") };
    let name = format!("{prefix}-{slot:05}{generation_mark}");

    let user = |shared: &mut Shared, number: u64| {
        let mut dice =
            Dice::new(config.seed, &[About::User as u64, slot.into(), generation, number]);
        let name = match slot % 50 {
            6 => format!("李娜-{slot:05}"),
            8 => format!("Müller, Jörg {slot:05}"),
            _ => format!(
                "{}{slot:05}{}",
                dice.pick(&["anna", "ben", "chen", "dara", "emil", "fatima", "wei", "zoe"]),
                if generation + number == 0 {
                    String::new()
                } else {
                    format!("-{}", generation * 10 + number)
                }
            ),
        };
        let id = format!("{:016x}{:016x}", dice.next(), dice.next());
        // The API is known to leave the id out.
        let id = (!dice.chance(0.02)).then(|| Arc::from(id));
        let user_group = dice.pick(&["users", "users", "administrators", "sudo"]);
        AttachUser {
            kind: Some(shared.text("USER")),
            id,
            name: Some(name.into()),
            user_group: Some(shared.text(user_group)),
        }
    };
    let users = match habit {
        Habit::Unassigned => Vec::new(),
        Habit::Office | Habit::Evening | Habit::AlwaysOn | Habit::Unused => vec![user(shared, 0)],
        Habit::Shared => (0..2 + u64::from(slot % 2)).map(|at| user(shared, at)).collect(),
        Habit::Pool => {
            let name = dice.pick(&["培训教室", "interns", "contractors"]);
            vec![AttachUser {
                kind: Some(shared.text("GROUP")),
                id: Some(shared.text(&format!("{:032x}", name.len()))),
                name: Some(shared.text(name)),
                user_group: Some(shared.text("users")),
            }]
        }
    };
    Identity { id: id.into(), name: name.into(), users: AttachUsers::new(users) }
}
