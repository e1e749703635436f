//! What is planted in simulated months of a fleet is found by the report meant for it, and little else is.
//!
//! `DESKLEDGER_PLANTED_RUNS=50 DESKLEDGER_PLANTED_SEED=1 cargo test --test it planted -- --nocapture` prints what
//! docs/reports.md says.

use std::collections::{BTreeSet, HashSet};
use std::ops::Range;
use std::sync::Arc;

use chrono::TimeDelta;
use deskledger::domain::{Instant, Listing, Snapshot};
use deskledger::simulator::{MassDisconnect, World, WorldConfig};
use deskledger::store::{Recorder, Store};
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Map, Value};

use crate::support::ledger::{ledger, parameter, report_sql, rows, source};
use crate::support::number;

/// A Monday, at midnight where the fleet is.
fn start() -> Instant {
    "2026-10-05T00:00:00+08:00".parse().unwrap()
}

const DESKTOPS: u32 = 150;
const DAYS: i64 = 28;

/// A desktop, and the time in which it is not what it would be.
struct Spell {
    desktop: Arc<str>,
    during: Range<Instant>,
}

/// What there is to be found.
struct Planted {
    outages: Vec<Instant>,
    /// Cut every other visit for two hours.
    flapping: Vec<Spell>,
    /// Left disconnected for 15 days.
    lingering: Vec<Spell>,
    /// Present in every visit and never connected, not even between two.
    idle: BTreeSet<String>,
}

/// An instant of a working day.
fn at_work(dice: &mut StdRng, minutes: Range<i64>) -> Instant {
    let day = [dice.random_range(2..5), dice.random_range(7..12), dice.random_range(14..19)];
    let day: i64 = day[dice.random_range(0..3)];
    start() + TimeDelta::minutes(day * 24 * 60 + dice.random_range(minutes))
}

/// Plants, and records four weeks of the fleet, visited every five minutes.
async fn record(store: &Store, seed: u64) -> Planted {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut config = WorldConfig::new(seed, DESKTOPS, start(), DAYS as u32);
    let outages: Vec<Instant> =
        [0, 1].map(|week| at_work(&mut dice, 570..990) + TimeDelta::days(7 * week)).to_vec();
    let share = |at: &Instant| MassDisconnect { at: *at, share: dice.random_range(0.3..0.9) };
    config.mass_disconnects = outages.iter().map(share).collect();
    let mut world = World::new(&config);

    // Anybody's desktop, but for the one that is never used.
    let chosen = index::sample(&mut dice, DESKTOPS as usize - 1, 4);
    let mut chosen = chosen.into_iter().map(|at| Arc::clone(&world.desktops()[at].id));
    let mut spell = |dice: &mut StdRng, minutes, hours| {
        let from = at_work(dice, minutes);
        let during = from..from + TimeDelta::hours(hours);
        Spell { desktop: chosen.next().unwrap(), during }
    };
    let mut flapping = Vec::from([(); 2].map(|()| spell(&mut dice, 540..900, 2)));
    let mut lingering = Vec::from([(); 2].map(|()| spell(&mut dice, 1020..1200, 15 * 24)));
    for spell in &mut lingering {
        // So that all of it lies in the four weeks.
        while spell.during.end > start() + TimeDelta::days(DAYS) {
            spell.during =
                spell.during.start - TimeDelta::days(7)..spell.during.end - TimeDelta::days(7);
        }
    }

    let mut idle: HashSet<Arc<str>> =
        world.desktops().iter().map(|desktop| Arc::clone(&desktop.id)).collect();
    let mut recorder = Recorder::open(store, &source("planted")).await.unwrap();
    for minute in 0..=DAYS * 24 * 60 {
        let at = start() + TimeDelta::minutes(minute);
        if world.advance_to(at) > 0 || minute == 0 {
            for desktop in world.desktops() {
                if desktop.status.as_deref() == Some("CONNECTED") {
                    idle.remove(&desktop.id);
                }
            }
        }
        if minute % 5 != 0 {
            continue;
        }
        let mut desktops = world.desktops().to_vec();
        let present: HashSet<&Arc<str>> = desktops.iter().map(|desktop| &desktop.id).collect();
        idle.retain(|id| present.contains(id));
        for spells in [&mut flapping, &mut lingering] {
            // Who is gone for good cannot be found.
            spells.retain(|spell| !spell.during.contains(&at) || present.contains(&spell.desktop));
        }
        for desktop in &mut desktops {
            let meets = |spell: &&Spell| spell.desktop == desktop.id && spell.during.contains(&at);
            if flapping.iter().any(|spell| meets(&spell)) {
                desktop.status =
                    Some(["CONNECTED", "DISCONNECTED"][minute as usize / 5 % 2].into());
            } else if lingering.iter().any(|spell| meets(&spell)) {
                desktop.status = Some("DISCONNECTED".into());
            }
        }
        let snapshot = Snapshot {
            scheduled_at: Some(at),
            observed_at: at,
            finished_at: at + TimeDelta::seconds(2),
            max_gap: TimeDelta::minutes(15),
            total: i64::try_from(desktops.len()).ok(),
            desktops: Some(Listing::new(desktops)),
            groups: None,
            failure: None,
        };
        recorder.add(&snapshot).await.unwrap();
        if minute % 2_000 == 0 {
            recorder.commit().await.unwrap();
        }
    }
    recorder.commit().await.unwrap();
    for spell in &flapping {
        idle.remove(&spell.desktop);
    }
    let idle = idle.into_iter().map(|id| id.to_string()).collect();
    Planted { outages, flapping, lingering, idle }
}

async fn ask(store: &Store, name: &str, more: &[(&str, &str)]) -> Vec<Map<String, Value>> {
    let end = start() + TimeDelta::days(DAYS);
    let (from, to) = (parameter(start().timestamp_micros()), parameter(end.timestamp_micros()));
    let mut given = vec![("from", from.as_str()), ("to", &to), ("tz", "UTC"), ("source", "")];
    given.extend(more);
    let sql = report_sql(name, &given).replace("now()", &format!("timestamptz '{to}'"));
    rows(store.pool(), &sql).await
}

/// How many were planted, found, and called so though nothing was planted.
#[derive(Debug, Default)]
struct Tally {
    planted: usize,
    found: usize,
    accused: usize,
    /// Outages alone: a second row of one that was planted.
    again: usize,
}

impl Tally {
    /// Of desktops: those named against those planted.
    fn count<'a>(&mut self, named: &[String], planted: impl Iterator<Item = &'a str>) {
        let planted: BTreeSet<&str> = planted.collect();
        self.planted += planted.len();
        self.found += planted.iter().filter(|id| named.iter().any(|name| name == *id)).count();
        self.accused += named.iter().filter(|name| !planted.contains(name.as_str())).count();
    }
}

fn names(rows: &[Map<String, Value>]) -> Vec<String> {
    rows.iter().filter_map(|row| row["desktop_id"].as_str().map(str::to_owned)).collect()
}

fn count_outages(tally: &mut Tally, rows: &[Map<String, Value>], planted: &[Instant]) {
    let shows = |row: &Map<String, Value>, at: i64| {
        row["after"].as_i64() < Some(at) && row["observed_at"].as_i64() >= Some(at)
    };
    let planted: Vec<i64> = planted.iter().map(Instant::timestamp_micros).collect();
    tally.planted += planted.len();
    tally.found += planted.iter().filter(|at| rows.iter().any(|row| shows(row, **at))).count();
    for row in rows.iter().filter(|row| !planted.iter().any(|at| shows(row, *at))) {
        let observed_at = row["observed_at"].as_i64().unwrap();
        let follows = |at: &i64| (0..=15 * 60_000_000).contains(&(observed_at - at));
        if planted.iter().any(follows) {
            tally.again += 1;
        } else {
            tally.accused += 1;
            println!("called an outage: {row:?}");
        }
    }
}

#[tokio::test]
async fn what_is_planted_is_found_and_little_else() {
    let runs = number("DESKLEDGER_PLANTED_RUNS", 2);
    let first = number("DESKLEDGER_PLANTED_SEED", 1);
    let (_database, store) = ledger().await;
    let [mut outages, mut flapping, mut lingering, mut ranked, mut idle] =
        [(); 5].map(|()| Tally::default());
    for seed in first..first + runs {
        store.forget_everything().await.unwrap();
        let planted = record(&store, seed).await;
        sqlx::query("analyze").execute(store.pool()).await.unwrap();

        let found = ask(&store, "outages", &[("share", "20")]).await;
        count_outages(&mut outages, &found, &planted.outages);
        let found = ask(&store, "flapping", &[("times", "3"), ("within", "1h")]).await;
        flapping.count(&names(&found), planted.flapping.iter().map(|spell| &*spell.desktop));
        // The report lists whoever was disconnected at all: by the longest stretch, and by all hours.
        let mut found = ask(&store, "lingering", &[]).await;
        let planted_there = || planted.lingering.iter().map(|spell| &*spell.desktop);
        let mut first = names(&found);
        first.truncate(planted.lingering.len());
        ranked.count(&first, planted_there());
        let week = TimeDelta::days(7).num_microseconds();
        found.retain(|row| row["longest_stretch"].as_i64() >= week);
        lingering.count(&names(&found), planted_there());
        let found = ask(&store, "idle-desktops", &[("days", "28")]).await;
        idle.count(&names(&found), planted.idle.iter().map(String::as_str));
        println!(
            "seed {seed}: outages {outages:?}, flapping {flapping:?}, lingering {lingering:?}, first in it \
             {ranked:?}, idle {idle:?}"
        );
    }
    println!("seeds {first} to {}, {DESKTOPS} desktops and {DAYS} days each", first + runs - 1);
    let runs = runs as usize;
    assert!(outages.planted == 2 * runs && flapping.planted > 0 && lingering.planted > 0);
    assert!(
        outages.found * 10 >= outages.planted * 9 && outages.accused * 4 <= runs,
        "{outages:?}"
    );
    assert!(flapping.found == flapping.planted && flapping.accused * 4 <= runs, "{flapping:?}");
    assert!(lingering.found == lingering.planted && lingering.accused == 0, "{lingering:?}");
    assert!(ranked.found * 10 >= ranked.planted * 8, "{ranked:?}");
    assert!(idle.planted > 0 && idle.found == idle.planted && idle.accused == 0, "{idle:?}");
}
