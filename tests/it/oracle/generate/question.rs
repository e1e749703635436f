//! What is asked of a history: every parameter that a report takes.

use chrono::DateTime;
use chrono_tz::Tz;
use deskledger::domain::months::{month_start, next_month};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::History;
use super::world::{DESKTOP_NAMES, GROUPS, SOURCES, USERS, desktop_id};
use crate::oracle::buckets::Unit;
use crate::oracle::coverage::{Period, runs};
use crate::oracle::fleet::ALL;
use crate::oracle::ledger::{DAY, HOUR, Ledger, MINUTE, Micros, SECOND};
use crate::oracle::reports::{Buckets, Work};

/// One value for each parameter of all reports, and `now` for the view `gaps`.
#[derive(Clone, Debug)]
pub struct Question {
    pub buckets: Buckets,
    pub at: Micros,
    pub now: Micros,
    pub source: String,
    pub user: String,
    /// The ends of the period that the range is compared with, where they are given.
    pub other: (Option<Micros>, Option<Micros>),
    pub bins: i64,
    /// Whether desktops that one user has at one time count once.
    pub once: bool,
    pub desktop: String,
    pub group: String,
    pub reconnect_within: Micros,
    /// Disconnects within `within`.
    pub times: usize,
    pub within: Micros,
    /// In percent.
    pub share: i64,
    /// What `capacity` is asked: percent, and when people work.
    pub headroom: i64,
    pub work: Work,
    /// Days ahead.
    pub horizon: usize,
    /// Hundredths of a day, up to an instant just after the newest snapshot.
    pub idle: Micros,
    pub idle_until: Micros,
}

/// A question before there is a history: instants are some way from one of its snapshots.
#[derive(Clone, Debug)]
pub struct Seed {
    from: Near,
    to: Near,
    at: Near,
    now: Micros,
    unit: Unit,
    tz: Tz,
    names: [String; 4],
    reconnect_within: Micros,
    counted: (usize, Micros, i64),
    idle: (Micros, Micros),
    planned: (i64, Work, usize),
    /// The range is the whole history: what is rare is then asked for.
    whole: bool,
    /// The range is all months that the history meets, give or take.
    months: Option<(Micros, Micros)>,
    other: (Option<Near>, Option<Near>),
    bins: i64,
    once: bool,
}

/// A place in a history, and the distance from it.
type Near = (Place, Micros);

#[derive(Clone, Debug)]
enum Place {
    Snapshot(Index),
    /// Where a run of covered time ends, and what goes on meets what is not known.
    RunEnd(Index),
}

const ZONES: [Tz; 4] = [Tz::UTC, Tz::Europe__Berlin, Tz::Asia__Kolkata, Tz::Australia__Lord_Howe];

/// Ordinary hours, all, those after midnight, and some of an odd week.
pub const WORK: [Work; 4] = [
    Work { workdays: "1-5", days: &[1, 2, 3, 4, 5], from: 8, to: 18 },
    Work { workdays: "1-7", days: &[1, 2, 3, 4, 5, 6, 7], from: 0, to: 24 },
    Work { workdays: "5-7,1", days: &[1, 5, 6, 7], from: 22, to: 6 },
    Work { workdays: "1, 3-4, 7", days: &[1, 3, 4, 7], from: 0, to: 12 },
];

pub fn seeds() -> impl Strategy<Value = Seed> {
    let range = (places(), offsets(), places(), offsets());
    let at = (places(), offsets(), 0..3 * HOUR);
    let unit = select(vec![Unit::Hour, Unit::Day, Unit::Week, Unit::Month, Unit::All]);
    let names = (sources(), users(), desktops(), groups());
    let within = select(vec![15 * MINUTE, 10 * MINUTE, 5 * MINUTE, HOUR, 0, 15 * MINUTE - 1]);
    let counted = (1_usize..4, select(vec![0, 5 * MINUTE, 10 * MINUTE, HOUR, DAY]), 0_i64..101);
    let idle = (select(vec![1, 2, 3, 5, 10, 100, 700]), select(vec![0, 0, 1, MINUTE, HOUR]));
    let planned =
        ((0_i64..60, select(WORK.to_vec()), 0_usize..4), (prop::bool::weighted(0.25), months()));
    let other = (option::of((places(), offsets())), option::of((places(), offsets())));
    let more = (other, select(vec![1, 2, 3, 20]), any::<bool>());
    let zones = select(ZONES.to_vec());
    (range, at, unit, zones, names, within, counted, idle, (planned, more)).prop_map(
        |(range, at, unit, tz, names, reconnect_within, counted, idle, (planned, more))| Seed {
            from: (range.0, range.1),
            to: (range.2, range.3),
            at: (at.0, at.1),
            now: at.2,
            unit,
            tz,
            names: [names.0, names.1, names.2, names.3],
            reconnect_within,
            counted,
            idle,
            planned: planned.0,
            whole: planned.1.0,
            months: planned.1.1,
            other: more.0,
            bins: more.1,
            once: more.2,
        },
    )
}

impl Seed {
    /// The question, once there is a history.
    pub fn question(&self, history: &History) -> Question {
        let ledger = Ledger::read(&history.0);
        let visits = ledger.sources.iter().flat_map(|source| &source.visits);
        let snapshots: Vec<Micros> = visits.map(|visit| visit.observed_at).collect();
        let runs = ledger.sources.iter().flat_map(runs);
        let run_ends: Vec<Micros> = runs.map(|run| run.period().to).collect();
        let near = |(place, offset): &Near| match place {
            Place::RunEnd(index) if !run_ends.is_empty() => index.get(&run_ends) + offset,
            Place::Snapshot(index) | Place::RunEnd(index) => index.get(&snapshots) + offset,
        };
        let (first, last) = (*snapshots.iter().min().unwrap(), *snapshots.iter().max().unwrap());
        let (from, to) = match self.months {
            Some((before, after)) => {
                let month = |at| DateTime::from_timestamp_micros(at).map(month_start).unwrap();
                let (first, last) = (month(first), next_month(month(last)));
                (first.timestamp_micros() + before, last.timestamp_micros() + after)
            }
            None if self.whole => (first, last + 1),
            None => (near(&self.from), near(&self.to)),
        };
        let other = match (self.other.0.as_ref().map(near), self.other.1.as_ref().map(near)) {
            (Some(from), Some(to)) => (Some(from.min(to)), Some(from.max(to))),
            given => given,
        };
        let [source, user, desktop, group] = self.names.clone();
        // Of months, hours are thousands.
        let is_long = (to - from).abs() > 20 * DAY;
        let unit = if is_long && self.unit == Unit::Hour { Unit::Day } else { self.unit };
        Question {
            buckets: Buckets {
                range: Period { from: from.min(to), to: from.max(to) },
                unit,
                tz: self.tz,
            },
            at: near(&self.at),
            now: last + self.now,
            source,
            user,
            other,
            bins: self.bins,
            once: self.once,
            desktop,
            group,
            reconnect_within: self.reconnect_within,
            times: self.counted.0,
            within: self.counted.1,
            share: self.counted.2,
            headroom: self.planned.0,
            work: self.planned.1,
            horizon: self.planned.2,
            idle: self.idle.0,
            idle_until: last + self.idle.1,
        }
    }
}

impl Question {
    /// The days that `idle-desktops` looks at.
    pub fn idle_period(&self) -> Period {
        Period { from: self.idle_until - self.idle * DAY / 100, to: self.idle_until }
    }
}

/// How far off the first month's start and the last one's end.
fn months() -> impl Strategy<Value = Option<(Micros, Micros)>> {
    let off = || select(vec![0, 0, 0, 1, -1, 3 * DAY, -3 * DAY]);
    option::weighted(0.25, (off(), off()))
}

fn places() -> impl Strategy<Value = Place> {
    prop_oneof![
        2 => any::<Index>().prop_map(Place::Snapshot),
        1 => any::<Index>().prop_map(Place::RunEnd),
    ]
}

/// On a snapshot, a breath beside it, between two, or far away.
fn offsets() -> impl Strategy<Value = Micros> {
    prop_oneof![
        4 => Just(0),
        1 => Just(1),
        1 => Just(-1),
        2 => -10 * MINUTE..10 * MINUTE,
        1 => select(vec![15 * MINUTE, 15 * MINUTE + 1, -MINUTE, SECOND]),
        2 => select(vec![-DAY, DAY, -5 * HOUR, 5 * HOUR]),
    ]
}

/// Half of the time all; else one of those, or one that there is not.
fn all_or(names: Vec<String>) -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 4 => select(names), 1 => Just("nowhere".to_owned())]
}

fn sources() -> impl Strategy<Value = String> {
    let names = SOURCES.iter().copied().chain([ALL]);
    all_or(names.map(String::from).collect())
}

fn groups() -> impl Strategy<Value = String> {
    let again = GROUPS.map(|name| format!("{name} (2)"));
    all_or(GROUPS.map(String::from).into_iter().chain(again).collect())
}

/// A name or an id.
fn users() -> impl Strategy<Value = String> {
    let words = USERS.iter().flat_map(|[_, id, name, _]| [*id, *name]).flatten();
    select(words.map(as_stored).collect::<Vec<_>>())
}

/// A name or an id.
fn desktops() -> impl Strategy<Value = String> {
    let names = DESKTOP_NAMES.iter().flatten().map(|name| as_stored(name));
    select(names.chain((0..7).map(desktop_id)).collect::<Vec<_>>())
}

/// Nobody can ask for U+0000: PostgreSQL does not take it.
fn as_stored(text: &str) -> String {
    text.replace('\0', "\u{2400}")
}
