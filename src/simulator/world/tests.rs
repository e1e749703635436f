//! The same seed, the same world; and a fleet that looks like one.

use std::collections::{HashMap, HashSet};

use chrono::TimeDelta;

use super::*;
use crate::domain::Attribution;

fn start() -> Instant {
    // A Monday.
    "2026-10-05T00:00:00Z".parse().unwrap()
}

fn config(desktops: u32, days: u32) -> WorldConfig {
    WorldConfig::new(7, desktops, start(), days)
}

#[test]
fn stepping_and_looking_give_the_same_world() {
    let mut config = config(120, 30);
    config.churn = 0.5;
    config.mass_disconnects =
        vec![MassDisconnect { at: start() + TimeDelta::hours(27), share: 0.7 }];
    let mut coarse = World::new(&config);
    let mut fine = World::new(&config);
    let fresh = World::new(&config);
    for hour in (0..30 * 24).step_by(7) {
        let at = start() + TimeDelta::hours(hour) + TimeDelta::minutes(hour % 60);
        coarse.advance_to(at);
        while fine.now < at.timestamp() {
            let step = Instant::from_timestamp(fine.now + 600, 0).unwrap();
            fine.advance_to(step.min(at));
        }
        let seen = (coarse.desktops().to_vec(), coarse.groups().to_vec());
        assert_eq!(seen.0, fine.desktops());
        assert_eq!(seen, fresh.at(at), "{at}");
    }
}

#[test]
fn another_seed_is_another_world() {
    let at = start() + TimeDelta::days(1) + TimeDelta::hours(3);
    let one = World::new(&config(50, 30)).at(at);
    assert_eq!(one, World::new(&config(50, 30)).at(at));
    assert_ne!(one, World::new(&WorldConfig { seed: 8, ..config(50, 30) }).at(at));
}

#[test]
fn a_desktop_changes_about_four_times_a_day() {
    let config = WorldConfig { churn: 0.0, ..config(1_000, 28) };
    let mut world = World::new(&config);
    let changes = world.advance_to(start() + TimeDelta::days(28));
    let rate = changes as f64 / 28_000.0;
    assert!((3.4..4.6).contains(&rate), "{rate} changes per desktop and day");
}

#[test]
fn a_fleet_starts_with_as_many_desktops_as_asked_for_and_has_all_sorts() {
    let world = World::new(&config(100, 30));
    assert_eq!(world.desktops().len(), 100);
    let ids: HashSet<_> = world.desktops().iter().map(|desktop| &desktop.id).collect();
    assert_eq!(ids.len(), 100);
    for sort in
        [Attribution::Exclusive, Attribution::Shared, Attribution::Group, Attribution::Unassigned]
    {
        assert!(world.desktops().iter().any(|desktop| desktop.users.attribution() == sort));
    }
    let name = |desktop: &Desktop| desktop.name.clone().unwrap();
    assert!(world.desktops().iter().any(|desktop| !name(desktop).is_ascii()));
}

#[test]
fn counters_agree_with_the_desktops_at_every_hour() {
    let mut world = World::new(&config(100, 30));
    for hour in 0..7 * 24 {
        world.advance_to(start() + TimeDelta::hours(hour));
        let mut counted: HashMap<Option<&str>, i64> = HashMap::new();
        for desktop in world.desktops() {
            *counted.entry(desktop.status.as_deref()).or_default() += 1;
        }
        let sum = |name| {
            let at = COUNTERS.iter().position(|counter| *counter == name).unwrap();
            world.groups().iter().map(|group| group.counters[at].unwrap()).sum::<i64>()
        };
        let of = |status| counted.get(&Some(status)).copied().unwrap_or(0);
        assert_eq!(sum("in_use_num"), of("CONNECTED"));
        assert_eq!(sum("ready_num"), of("REGISTERED"));
        assert_eq!(sum("disconnected_num"), of("DISCONNECTED"));
        assert_eq!(sum("unregistered_num"), of("UNREGISTER"));
        let all = i64::try_from(world.desktops().len()).unwrap();
        assert_eq!(sum("running_num") + sum("stop_num"), all);
        assert_eq!(sum("attached_num") + sum("unattached_num"), all);
    }
}

#[test]
fn people_work_by_day_and_rest_at_night_and_at_weekends() {
    let world = World::new(&WorldConfig { churn: 0.0, ..config(500, 30) });
    let connected = |local: &str| {
        let at: Instant = format!("{local}:00+08:00").parse().unwrap();
        let (desktops, _) = world.at(at);
        desktops.iter().filter(|one| one.status.as_deref() == Some("CONNECTED")).count()
    };
    let morning = connected("2026-10-07T10:30");
    assert!(morning > 250, "{morning}");
    assert!(connected("2026-10-07T12:50") < morning);
    assert!(connected("2026-10-07T20:00") < morning / 3);
    assert!(connected("2026-10-08T03:30") < 50);
    assert!(connected("2026-10-10T10:30") < morning / 4);
}

#[test]
fn the_last_desktop_is_never_used() {
    let mut world = World::new(&config(50, 30));
    let unused = world.desktops()[49].clone();
    assert_eq!(unused.users.attribution(), Attribution::Exclusive);
    for hour in 0..30 * 24 {
        world.advance_to(start() + TimeDelta::hours(hour));
        let now = world.desktops().iter().find(|desktop| desktop.id == unused.id).unwrap();
        assert_ne!(now.status.as_deref(), Some("CONNECTED"));
    }
}

#[test]
fn a_mass_disconnect_breaks_its_share_and_most_come_back() {
    let at: Instant = "2026-10-07T10:30:00+08:00".parse().unwrap();
    let calm = WorldConfig { churn: 0.0, ..config(500, 30) };
    let struck =
        WorldConfig { mass_disconnects: vec![MassDisconnect { at, share: 0.8 }], ..calm.clone() };
    let connected = |config: &WorldConfig, at| {
        let (desktops, _) = World::new(config).at(at);
        let connected = desktops.iter().filter(|one| one.status.as_deref() == Some("CONNECTED"));
        connected.count() as f64
    };
    let second = TimeDelta::seconds(1);
    assert_eq!(connected(&struck, at - second), connected(&calm, at - second));
    let left = connected(&struck, at) / connected(&calm, at);
    assert!((0.1..0.3).contains(&left), "{left}");
    let later = at + TimeDelta::minutes(10);
    assert!(connected(&struck, later) / connected(&calm, later) > 0.85);
}

#[test]
fn the_fleet_itself_changes() {
    let mut world = World::new(&config(400, 30));
    let before: HashMap<_, _> =
        world.desktops().iter().map(|desktop| (desktop.id.clone(), desktop.clone())).collect();
    world.advance_to(start() + TimeDelta::days(30));
    let after: HashMap<_, _> =
        world.desktops().iter().map(|desktop| (desktop.id.clone(), desktop.clone())).collect();
    assert!(before.keys().any(|id| !after.contains_key(id)), "somebody left");
    assert!(after.keys().any(|id| !before.contains_key(id)), "somebody joined");
    let stayed = || before.iter().filter_map(|(id, old)| Some((old, after.get(id)?)));
    assert!(stayed().any(|(old, new)| old.name != new.name), "somebody was renamed");
    assert!(stayed().any(|(old, new)| old.users != new.users), "somebody got another's desktop");
}

/// What is looked up in the index is what a look at every desktop finds, whatever happened.
#[test]
fn the_index_finds_what_a_look_at_all_finds() {
    let mut config = config(300, 30);
    config.churn = 0.8;
    let mut indexed = World::new(&config);
    indexed.keep_index();
    let mut plain = World::new(&config);
    let mut names: Vec<String> = indexed
        .desktops()
        .iter()
        .flat_map(|desktop| desktop.users.entries())
        .filter_map(|user| user.name.as_deref().map(str::to_owned))
        .collect();
    names.push("nobody".to_owned());
    let statuses = Status::ALL.map(Status::text).into_iter().flatten().chain(["UNHEARD OF"]);
    let statuses: Vec<Option<&str>> = statuses.map(Some).chain([None]).collect();
    let mut found = 0;
    for hour in (0..30 * 24).step_by(5) {
        let at = start() + TimeDelta::hours(hour);
        assert_eq!(indexed.advance_to(at), plain.advance_to(at));
        assert_eq!(indexed.desktops(), plain.desktops());
        for status in &statuses {
            for chunk in [&names[..0], &names[..90], &names[200..], &names[names.len() - 1..]] {
                let filter = Filter { status: *status, names: chunk };
                for (offset, limit) in [(0, 1000), (7, 20), (500, 5)] {
                    let page = indexed.page(&filter, offset, limit);
                    assert_eq!(page, plain.page(&filter, offset, limit), "{filter:?} {at}");
                    found += page.0.len();
                }
            }
        }
    }
    assert!(found > 10_000, "{found}");
    // Both indexed and not, the order is that of the whole listing.
    let (connected, total) =
        indexed.page(&Filter { status: Some("REGISTERED"), names: &[] }, 0, usize::MAX);
    let all = indexed.desktops().iter();
    let expected: Vec<&Desktop> =
        all.filter(|one| one.status.as_deref() == Some("REGISTERED")).collect();
    assert_eq!(connected.iter().collect::<Vec<_>>(), expected);
    assert!(total == expected.len() && total > 5);
}

#[test]
fn the_journal_tells_everything_that_becomes_of_a_fleet() {
    let mut config = config(200, 30);
    config.churn = 0.8;
    let mut world = World::new(&config);
    let mut told: HashMap<_, _> =
        world.desktops().iter().map(|desktop| (desktop.id.clone(), desktop.clone())).collect();
    world.keep_journal();
    for day in 0..30 {
        world.advance_to(start() + TimeDelta::days(day) + TimeDelta::hours(3));
        for (id, became) in world.take_journal() {
            match became {
                Some(desktop) => told.insert(id, desktop),
                None => told.remove(&id),
            };
        }
        assert_eq!(told.len(), world.desktops().len());
        assert!(world.desktops().iter().all(|desktop| told[&desktop.id] == *desktop));
    }
    assert_eq!(world.take_journal(), []);
}

#[test]
fn a_still_fleet_has_the_shares_asked_for_and_never_changes() {
    let config = WorldConfig::still(1, 1_000, start(), [5, 0, 3, 2]);
    let mut world = World::new(&config);
    let before = world.desktops().to_vec();
    let count = |status| before.iter().filter(|one| one.status.as_deref() == Some(status)).count();
    let counts = ["CONNECTED", "DISCONNECTED", "REGISTERED", "UNREGISTER"].map(count);
    assert_eq!(counts, [500, 0, 300, 200]);
    assert!(before.iter().all(|one| one.users.attribution() == Attribution::Exclusive));
    let users: HashSet<_> = before.iter().map(|one| &one.users.entries()[0].name).collect();
    assert_eq!(users.len(), 1_000, "everybody has one of his own");
    assert_eq!(world.advance_to(start() + TimeDelta::days(400)), 0);
    assert_eq!(world.desktops(), before);
    assert_eq!(world.at(start() + TimeDelta::days(9)).0, before);
}
