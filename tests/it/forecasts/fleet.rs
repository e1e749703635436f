//! A simulated fleet with what no forecast knows of: growth, a department that comes or goes, holidays, days on
//! which many are away, and a recorder that fails.

use chrono::TimeDelta;
use deskledger::domain::{Desktop, Instant};
use deskledger::simulator::{World, WorldConfig};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// How many days a history has: five and a half months.
pub const DAYS: usize = 168;

/// A Monday, at midnight where the fleet is.
pub fn start() -> Instant {
    "2026-03-02T00:00:00+08:00".parse().unwrap()
}

/// One day's fate.
struct Day {
    /// The share of all desktops that are there.
    grown: f64,
    /// The share of those that would be connected who are not.
    away: f64,
    /// The hours without a visit.
    dark: std::ops::Range<usize>,
}

/// What one seed makes of a fleet.
pub struct Fleet {
    seed: u64,
    world: World,
    days: Vec<Day>,
    /// From this day on a quarter of the desktops are there, or no longer.
    move_on: usize,
    moves_in: Option<bool>,
    /// What is wrong with this history, for people.
    pub story: String,
}

impl Fleet {
    pub fn new(seed: u64) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let desktops = dice.random_range(60..=130);
        let drift = [-0.002, -0.001, 0.0, 0.0, 0.001, 0.002, 0.003][dice.random_range(0..7)];
        let move_on = dice.random_range(40..DAYS - 20);
        let moves_in = [None, Some(true), Some(false)][dice.random_range(0..3)];
        let mut off = vec![0.0_f64; DAYS];
        let holidays = dice.random_range(2..8);
        for _ in 0..holidays {
            off[dice.random_range(0..DAYS)] = 0.92;
        }
        // A week in which half of them are on holiday.
        let quiet = dice.random_bool(0.5).then(|| dice.random_range(20..DAYS - 10));
        for day in quiet.into_iter().flat_map(|from| from..from + 7) {
            off[day] = off[day].max(0.5);
        }
        let broken = dice.random_bool(0.3).then(|| dice.random_range(30..DAYS - 10));
        let mut wave = 0.0;
        let day = |number: usize| {
            wave = 0.7 * wave + dice.random_range(-0.06..0.06);
            let whole = broken.is_some_and(|from| (from..from + 3).contains(&number));
            let dark = if whole {
                0..24
            } else if dice.random_bool(0.04) {
                let from = dice.random_range(0..22);
                from..from + dice.random_range(2..13)
            } else {
                0..0
            };
            let away: f64 = 0.08 + wave;
            Day {
                grown: (0.75 + drift * (number as f64 - DAYS as f64 / 2.0)).clamp(0.0, 1.0),
                away: away.clamp(0.0, 0.6).max(off[number]),
                dark,
            }
        };
        let days = (0..DAYS).map(day).collect();
        let story = format!(
            "{desktops} desktops, {:+.1} % a week, {holidays} holidays{}{}{}",
            drift * 700.0,
            quiet.map_or(String::new(), |day| format!(", a quiet week from day {day}")),
            moves_in.map_or(String::new(), |is_in| {
                let way = if is_in { "in" } else { "out" };
                format!(", a department moves {way} on day {move_on}")
            }),
            broken.map_or(String::new(), |day| format!(
                ", nothing recorded on days {day} to {}",
                day + 2
            )),
        );
        let world = World::new(&WorldConfig::new(seed, desktops, start(), DAYS as u32));
        Self { seed, world, days, move_on, moves_in, story }
    }

    /// The desktops at an hour of the history, and whether a recorder sees them.
    pub fn visit(&mut self, hour: usize) -> (Vec<Desktop>, bool) {
        let (number, of_day) = (hour / 24, hour % 24);
        self.world.advance_to(start() + TimeDelta::hours(hour as i64));
        let day = &self.days[number];
        let mut desktops = Vec::new();
        for desktop in self.world.desktops() {
            let moves = self.chance(&desktop.id, 1) < 0.25;
            let is_gone =
                moves && self.moves_in.is_some_and(|is_in| is_in != (number >= self.move_on));
            if is_gone || self.chance(&desktop.id, 2) >= day.grown {
                continue;
            }
            let mut desktop = desktop.clone();
            let is_away = self.chance(&desktop.id, 1_000 + number as u64) < day.away;
            if is_away && desktop.status.as_deref() == Some("CONNECTED") {
                desktop.status = Some("REGISTERED".into());
            }
            desktops.push(desktop);
        }
        (desktops, !day.dark.contains(&of_day))
    }

    /// A number below 1 that a desktop has drawn for a question, the same each time.
    fn chance(&self, id: &str, about: u64) -> f64 {
        let mut drawn = self.seed ^ about.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in id.bytes() {
            drawn = (drawn ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        drawn = (drawn ^ (drawn >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (drawn >> 11) as f64 / (1_u64 << 53) as f64
    }
}
