//! A small fleet from a seed, and the visitors who read it and remember what they read.

use std::sync::{Arc, Mutex};

use chrono::TimeDelta;
use deskledger::clock::ManualClock;
use deskledger::collector::Visitor;
use deskledger::domain::{
    AttachUser, AttachUsers, Desktop, Failure, GroupStatistics, Instant, Listing, Snapshot,
};
use deskledger::workspace::{Effort, Visit};

use super::op::{Dice, Fault};

/// The code of visits that fail by themselves.
pub const CODE: &str = "WKS.0001";

/// A visit that was given out.
#[derive(Clone, Debug)]
pub struct Served {
    pub who: usize,
    pub observed_at: Instant,
    pub finished_at: Instant,
    pub scheduled_at: Option<Instant>,
    pub visit: Visit,
    /// Its cycle came to its end: from here on it must not be lost.
    pub is_kept: bool,
    /// All that was added to it, where its cycle came to its end.
    pub failure: Option<Failure>,
}

impl Served {
    /// Whether a snapshot is this visit, whole.
    pub fn is_of(&self, snapshot: &Snapshot) -> bool {
        let Visit { total, desktops, groups, .. } = &self.visit;
        (self.observed_at, self.finished_at) == (snapshot.observed_at, snapshot.finished_at)
            && self.scheduled_at == snapshot.scheduled_at
            && (total, desktops, groups) == (&snapshot.total, &snapshot.desktops, &snapshot.groups)
    }

    /// The snapshot that it has to be in the ledger, given what stands there as its failure.
    pub fn snapshot(&self, failure: Option<Failure>, is_dropped: bool) -> Snapshot {
        let Visit { total, desktops, groups, .. } = self.visit.clone();
        Snapshot {
            scheduled_at: self.scheduled_at,
            observed_at: self.observed_at,
            finished_at: self.finished_at,
            max_gap: TimeDelta::minutes(15),
            total: total.filter(|_| !is_dropped),
            desktops: desktops.filter(|_| !is_dropped),
            groups: groups.filter(|_| !is_dropped),
            failure: if self.is_kept && !is_dropped { self.failure.clone() } else { failure },
        }
    }
}

pub type Book = Arc<Mutex<Vec<Served>>>;

/// Where a recorder's visitor looks, across its processes.
#[derive(Clone, Debug)]
pub struct Eyes {
    pub seed: u64,
    pub who: usize,
    pub hands: ManualClock,
    /// What the time is, whatever the recorder's clock says: seconds.
    pub time: Arc<Mutex<i64>>,
    pub fault: Arc<Mutex<Option<Fault>>>,
    pub tick: Arc<Mutex<Option<Instant>>>,
    pub book: Book,
}

impl Visitor for Eyes {
    async fn visit(&mut self) -> Visit {
        let observed_at = self.hands.now();
        // No two visits take equally long, also if both recorders are at it.
        let number = self.book.lock().unwrap().len() as u64 * 2 + self.who as u64;
        let seconds = Dice::of(&[self.seed, 7, number]).below(20);
        let took = TimeDelta::microseconds((seconds * 1_000_000 + 1 + number) as i64);
        let visit = read(self.seed, *self.time.lock().unwrap(), self.fault.lock().unwrap().take());
        // Half-way another one may run.
        tokio::task::yield_now().await;
        self.hands.advance(took);
        self.book.lock().unwrap().push(Served {
            who: self.who,
            observed_at,
            finished_at: observed_at + took,
            scheduled_at: *self.tick.lock().unwrap(),
            visit: visit.clone(),
            is_kept: false,
            failure: None,
        });
        visit
    }
}

/// What the API answers at a moment.
fn read(seed: u64, time: i64, fault: Option<Fault>) -> Visit {
    let mut dice = Dice::of(&[seed, 2]);
    let (desktops, groups) = (5 + dice.below(8), dice.below(4));
    let mut desktops: Vec<Desktop> =
        (0..desktops).filter_map(|number| desktop(seed, number, time)).collect();
    let total = i64::try_from(desktops.len()).unwrap();
    let groups = (0..groups).filter_map(|number| group(seed, number, time)).collect();
    let mut visit = Visit {
        total: Some(total),
        desktops: None,
        groups: Some(groups),
        failure: None,
        effort: Effort::default(),
    };
    let failure = || Some(Failure { code: Some(CODE.to_owned()), message: None });
    let mut has_listing = true;
    match fault {
        None => {}
        Some(Fault::NoListing) => (has_listing, visit.failure) = (false, failure()),
        Some(Fault::NoStatistics) => (visit.groups, visit.failure) = (None, failure()),
        Some(Fault::Nothing) => {
            (has_listing, visit.groups, visit.failure) = (false, None, failure());
        }
        Some(Fault::Missing(missing)) => {
            desktops.truncate(desktops.len().saturating_sub(missing));
        }
        Some(Fault::UnknownTotal) => visit.total = None,
    }
    if has_listing {
        visit.desktops = Some(Listing::new(desktops));
    } else {
        visit.total = None;
    }
    visit
}

fn desktop(seed: u64, number: u64, time: i64) -> Option<Desktop> {
    let mut own = Dice::of(&[seed, 3, number]);
    let lasts = 200 + own.below(3_000);
    let mut now = Dice::of(&[seed, 4, number, time as u64 / lasts]);
    let mut long = Dice::of(&[seed, 5, number, time as u64 / (lasts * 7)]);
    if now.below(9) == 0 {
        return None;
    }
    let status = match now.below(9) {
        0..4 => Some("CONNECTED"),
        4..7 => Some("DISCONNECTED"),
        7 => Some("REGISTERED"),
        _ => None,
    };
    let user = |name: &str| AttachUser {
        kind: Some("USER".into()),
        id: Some(format!("u-{name}").into()),
        name: Some(name.into()),
        user_group: Some("users".into()),
    };
    let users = match long.below(5) {
        0 => vec![],
        1 => vec![user("alice"), user("bob")],
        _ => vec![user(["alice", "bob", "carol"][number as usize % 3])],
    };
    Some(Desktop {
        id: format!("d-{number}").into(),
        name: Some(format!("pc-{number}-{}", long.below(3)).into()),
        status: status.map(Into::into),
        users: AttachUsers::new(users),
    })
}

fn group(seed: u64, number: u64, time: i64) -> Option<GroupStatistics> {
    let mut now = Dice::of(&[seed, 6, number, time as u64 / 900]);
    if now.below(12) == 0 {
        return None;
    }
    let mut counters = [None; 13];
    for counter in &mut counters {
        *counter = (now.below(7) > 0).then(|| now.below(5) as i64);
    }
    // Two of them have one name.
    Some(GroupStatistics { name: Some(format!("pool-{}", number / 2).into()), counters })
}
