//! The fleet that is recorded: 3.9 changes a desktop and day, most of them in working hours.

use chrono::TimeDelta;
use deskledger::domain::{Desktop, GroupStatistics, Instant, Listing, Snapshot, Source};
use deskledger::simulator::{World, WorldConfig};

use super::Asked;

/// A Monday, at midnight (UTC) of the month that the history begins in; the fleet is eight hours east.
pub fn start() -> Instant {
    Instant::from_timestamp(1_790_553_600, 0).expect("2026-09-28 is in range")
}

/// The fleet.
pub fn config(asked: &Asked, days: u32) -> WorldConfig {
    WorldConfig::new(1, asked.desktops, start(), days)
}

/// The time between two snapshots.
pub fn interval(asked: &Asked) -> TimeDelta {
    TimeDelta::seconds(asked.interval.into())
}

/// The one source.
pub fn source() -> Source {
    Source {
        name: "bench".to_owned(),
        region: Some("ap-southeast-3".to_owned()),
        project_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        endpoint: None,
    }
}

/// What a visit at `at` would read.
pub fn snapshot(world: &World, at: Instant, interval: TimeDelta) -> Snapshot {
    of(world.desktops().to_vec(), world.groups().to_vec(), at, interval)
}

/// A whole visit at `at` that read this.
pub fn of(
    desktops: Vec<Desktop>,
    groups: Vec<GroupStatistics>,
    at: Instant,
    interval: TimeDelta,
) -> Snapshot {
    Snapshot {
        scheduled_at: Some(at),
        observed_at: at,
        finished_at: at + TimeDelta::milliseconds(1_400),
        max_gap: interval * 3,
        total: i64::try_from(desktops.len()).ok(),
        desktops: Some(Listing::new(desktops)),
        groups: Some(groups),
        failure: None,
    }
}
