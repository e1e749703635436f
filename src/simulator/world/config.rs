//! What a fleet is made from.

use chrono::TimeDelta;

use crate::domain::Instant;

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
    /// Where given, nobody works: every desktop is assigned to a user of its own and keeps its
    /// status for ever, and these are the shares of CONNECTED, DISCONNECTED, REGISTERED and
    /// UNREGISTER. Churn is another matter.
    pub spread: Option<[u32; 4]>,
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
            spread: None,
        }
    }

    /// A fleet in which nothing ever happens: see [`spread`](Self::spread).
    #[must_use]
    pub fn still(seed: u64, desktops: u32, start: Instant, spread: [u32; 4]) -> Self {
        Self { churn: 0.0, spread: Some(spread), ..Self::new(seed, desktops, start, 1) }
    }
}
