//! What is planted in a simulated fleet is found by its report, and little else is.

use std::collections::BTreeSet;

use chrono::TimeDelta;
use deskledger::domain::{Instant, Listing, Snapshot, Source};
use deskledger::simulator::{MassDisconnect, World, WorldConfig};
use deskledger::store::{Recorder, Store};
use serde_json::{Map, Value};

use crate::support::ledger::{ledger, parameter, report_sql, rows};

/// A Monday, at midnight where the fleet is.
fn start() -> Instant {
    "2026-10-05T00:00:00+08:00".parse().unwrap()
}

const DAYS: u32 = 14;

/// Which desktop flaps, and from when.
const FLAPPING: usize = 5;

/// What there is to be found.
struct Planted {
    flapping: String,
    /// Present in every visit and never connected, not even between two.
    idle: BTreeSet<String>,
}

/// Records two weeks of a fleet, visited every five minutes. One desktop is cut every other visit for two
/// hours of the second Tuesday.
async fn record(store: &Store, config: &WorldConfig) -> Planted {
    let source =
        Source { name: "planted".to_owned(), region: None, project_id: None, endpoint: None };
    let mut recorder = Recorder::open(store, &source).await.unwrap();
    let mut world = World::new(config);
    let flapping = world.desktops()[FLAPPING].id.to_string();
    let mut idle: BTreeSet<String> =
        world.desktops().iter().map(|desktop| desktop.id.to_string()).collect();
    let flaps_from = start() + TimeDelta::hours(8 * 24 + 10);
    for minute in 0..=i64::from(DAYS) * 24 * 60 {
        let at = start() + TimeDelta::minutes(minute);
        world.advance_to(at);
        let status = |id: &str| {
            let desktop = world.desktops().iter().find(|desktop| *desktop.id == *id)?;
            Some(desktop.status.as_deref() == Some("CONNECTED"))
        };
        idle.retain(|id| status(id) == Some(false));
        if minute % 5 != 0 {
            continue;
        }
        let mut desktops = world.desktops().to_vec();
        if (flaps_from..flaps_from + TimeDelta::hours(2)).contains(&at) {
            let desktop = desktops.iter_mut().find(|desktop| *desktop.id == *flapping).unwrap();
            desktop.status = Some(["CONNECTED", "DISCONNECTED"][minute as usize / 5 % 2].into());
        }
        let snapshot = Snapshot {
            scheduled_at: Some(at),
            observed_at: at,
            finished_at: at + TimeDelta::seconds(2),
            max_gap: TimeDelta::minutes(15),
            total: i64::try_from(desktops.len()).ok(),
            desktops: Some(Listing::new(desktops)),
            groups: Some(world.groups().to_vec()),
            failure: None,
        };
        recorder.add(&snapshot).await.unwrap();
        if minute % 1000 == 0 {
            recorder.commit().await.unwrap();
        }
    }
    recorder.commit().await.unwrap();
    idle.remove(&flapping);
    Planted { flapping, idle }
}

async fn ask(store: &Store, name: &str, more: &[(&str, &str)]) -> Vec<Map<String, Value>> {
    let end = start() + TimeDelta::days(DAYS.into());
    let (from, to) = (parameter(start().timestamp_micros()), parameter(end.timestamp_micros()));
    let mut given = vec![("from", from.as_str()), ("to", &to), ("tz", "UTC"), ("source", "")];
    given.extend(more);
    let sql = report_sql(name, &given).replace("now()", &format!("timestamptz '{to}'"));
    rows(store.pool(), &sql).await
}

/// The seeds are fixed; docs/semantics.md says what came of them.
#[tokio::test]
async fn what_is_planted_is_found_and_nothing_else() {
    let (_database, store) = ledger().await;
    for (seed, share) in [(1, 0.3), (2, 0.4), (3, 0.6), (4, 0.9)] {
        store.forget_everything().await.unwrap();
        // The second Wednesday, at 10:33 in the morning.
        let at = start() + TimeDelta::hours(9 * 24 + 10) + TimeDelta::minutes(33);
        let mut config = WorldConfig::new(seed, 150, start(), DAYS);
        config.mass_disconnects = vec![MassDisconnect { at, share }];
        let planted = record(&store, &config).await;

        let outages = ask(&store, "outages", &[("share", "20")]).await;
        assert_eq!(outages.len(), 1, "seed {seed}: {outages:#?}");
        let at = at.timestamp_micros();
        assert!(outages[0]["after"].as_i64() < Some(at), "seed {seed}: {outages:#?}");
        assert!(outages[0]["observed_at"].as_i64() >= Some(at), "seed {seed}: {outages:#?}");
        assert!(
            outages[0]["reconnects"].as_i64()
                > outages[0]["disconnects"].as_i64().map(|all| all / 2)
        );

        let rows = ask(&store, "flapping", &[("times", "3"), ("within", "1h")]).await;
        assert_eq!(rows.len(), 1, "seed {seed}: {rows:#?}");
        assert_eq!(rows[0]["desktop_id"], *planted.flapping);

        let rows = ask(&store, "idle-desktops", &[("days", "14")]).await;
        let named = rows.iter().filter_map(|row| row["desktop_id"].as_str().map(str::to_owned));
        assert_eq!(named.collect::<BTreeSet<_>>(), planted.idle, "seed {seed}");
    }
}
