//! Several recorders of one source, and what somebody does to their clocks.

mod beliefs;
mod clocks;
// A small disk is a mount of the recorder's own.
#[cfg(target_os = "linux")]
mod disks;
mod leases;
#[cfg(target_os = "linux")]
mod many;
mod outages;
mod processes;
// The proxy finds its server by a socket.
#[cfg(target_os = "linux")]
mod wires;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::{Clock, ManualClock};
use deskledger::collector::spool::Queue;
use deskledger::collector::{Cycle, Visitor};
use deskledger::domain::{Desktop, Listing, Source};
use deskledger::store::{Candidate, Store};
use deskledger::workspace::{Effort, Visit};
use sqlx::{AssertSqlSafe, PgPool};
use tempfile::TempDir;

use crate::support::cycle::{keeper_of, spool};

/// A fleet whose desktops connect and disconnect in turn.
struct Fleet {
    visits: usize,
    desktops: usize,
}

/// As small as one can be.
const ONE: Fleet = Fleet { visits: 0, desktops: 1 };

impl Visitor for Fleet {
    async fn visit(&mut self) -> Visit {
        self.visits += 1;
        let desktop = |nth: usize| {
            // Without a pattern, so that a listing takes some room however it is compressed.
            let dice = (nth * self.visits * 7919 + nth * 104_729) % 1009;
            Desktop {
                id: format!("d-{nth}").into(),
                name: Some(format!("DESK-{}", nth * 7919 % 1009).into()),
                status: Some(
                    if (self.visits + dice).is_multiple_of(2) {
                        "CONNECTED"
                    } else {
                        "DISCONNECTED"
                    }
                    .into(),
                ),
                users: Default::default(),
            }
        };
        Visit {
            total: i64::try_from(self.desktops).ok(),
            desktops: Some(Listing::new((0..self.desktops).map(desktop).collect())),
            groups: Some(Vec::new()),
            failure: None,
            effort: Effort::default(),
        }
    }
}

struct Recording {
    cycle: Cycle<Fleet>,
    hands: ManualClock,
    /// Where its spool is; of a queue that the test has opened, the test knows.
    folder: Option<TempDir>,
}

fn start() -> DateTime<Utc> {
    "2026-10-05T08:00:00Z".parse().unwrap()
}

fn prod() -> Source {
    Source { name: "prod".to_owned(), region: None, project_id: None, endpoint: None }
}

/// A recorder of the fleet with a name of its own, which steps five minutes on with [`Recording::tick`].
fn recording(store: &Store, name: &str, term: std::time::Duration) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    let queue = spool(folder.path()).queue("prod", None).unwrap();
    let recording = recording_with(store, name, term, queue);
    Recording { folder: Some(folder), ..recording }
}

/// The same, with a queue that the test has opened itself.
fn recording_with(store: &Store, name: &str, term: std::time::Duration, queue: Queue) -> Recording {
    let (clock, hands) = Clock::manual(start());
    let candidate = Candidate { name: name.into(), term };
    let keeper = keeper_of(store, &prod(), queue, &clock, Some(candidate))
        .giving_leaders(std::time::Duration::from_secs(60));
    let cycle = Cycle::new("prod", ONE, keeper, clock, TimeDelta::minutes(15));
    Recording { cycle, hands, folder: None }
}

/// Takes a table away that every recording needs, or brings it back.
pub async fn set_away(pool: &PgPool, is_away: bool) {
    let (from, to) = if is_away { ("head", "away") } else { ("away", "head") };
    let sql = format!("alter table deskledger_data.{from} rename to {to}");
    sqlx::query(AssertSqlSafe(sql)).execute(pool).await.unwrap();
}

impl Recording {
    async fn tick(&mut self) -> deskledger::collector::Step {
        self.hands.advance(TimeDelta::minutes(5));
        self.cycle.run(Some(self.hands.now())).await
    }
}
