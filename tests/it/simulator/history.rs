//! The history of what was served is what the pages showed.

use std::collections::{BTreeSet, HashMap};

use deskledger::domain::Desktop;

use super::*;

fn shows(record: &Value, desktop: &Desktop) -> bool {
    let names = |users: Vec<Option<&str>>| {
        let mut users: Vec<_> = users.into_iter().map(|name| name.map(str::to_owned)).collect();
        users.sort();
        users
    };
    let shown = record["attach_users"].as_array().unwrap();
    record["desktop_id"] == *desktop.id
        && record["desktop_name"].as_str() == desktop.name.as_deref()
        && record["connect_status"].as_str() == desktop.status.as_deref()
        && names(shown.iter().map(|user| user["name"].as_str()).collect())
            == names(desktop.users.entries().iter().map(|user| user.name.as_deref()).collect())
}

#[tokio::test]
async fn every_page_is_in_the_history_as_it_was_while_the_world_moves_in_between() {
    let (mut config, _) = config(300);
    config.world.churn = 0.9;
    config.keep_history = true;
    let simulator = Simulator::start(config).await.unwrap();
    set(&simulator, &["move=40m,on=listing"]);
    let mut pages: Vec<Value> = Vec::new();
    for round in 0..60 {
        // Filtered pages move it and are numbered as well.
        let filter = ["", "&connect_status=CONNECTED"][round % 2];
        for offset in [0, 100, 200] {
            assert_eq!(simulator.pages(), pages.len() as u64);
            let target = format!("{LISTING}?limit=100&offset={offset}{filter}");
            pages.push(get(&simulator, &target).await.json());
        }
        let statistics = get(&simulator, STATISTICS).await.json();
        let history = simulator.history();
        let (page, groups) = history.statistics().last().unwrap();
        assert_eq!((*page, history.statistics().len()), (pages.len() as u64, round + 1));
        assert_eq!(statistics["statics"].as_array().unwrap().len(), groups.len());
    }
    let history = simulator.history();
    let mut seen: HashMap<String, BTreeSet<Option<String>>> = HashMap::new();
    for (number, page) in pages.iter().enumerate() {
        let at = number as u64;
        for record in page["desktops"].as_array().unwrap() {
            let id = record["desktop_id"].as_str().unwrap();
            let states = history.states(id, at..at + 1);
            assert!(states.len() == 1 && shows(record, states[0].unwrap()), "{record} {states:?}");
            let status = record["connect_status"].as_str().map(str::to_owned);
            seen.entry(id.to_owned()).or_default().insert(status);
        }
        let there = || history.ids().filter_map(|id| history.states(id, at..at + 1)[0]);
        let is_filtered = number / 3 % 2 == 1;
        let is_counted =
            |one: &&Desktop| !is_filtered || one.status.as_deref() == Some("CONNECTED");
        assert_eq!(page["total_count"], there().filter(is_counted).count(), "page {number}");
    }
    assert!(seen.values().any(|statuses| statuses.len() > 2), "nothing moved");
    let all = 0..simulator.pages();
    let gone = history.ids().filter(|id| history.states(id, all.clone()).contains(&None)).count();
    assert!(gone > 10, "{gone} joined or left");
    assert_eq!(history.always_there(all).count() + gone, history.ids().count());
}

/// In the middle of a listing desktops change their place, so that one is seen twice or never.
#[tokio::test]
async fn a_moving_world_shifts_pages() {
    let (mut config, _) = config(300);
    config.world.churn = 0.9;
    let simulator = Simulator::start(config).await.unwrap();
    set(&simulator, &["move=2d,on=listing"]);
    let mut shifted = 0;
    for _ in 0..3 {
        let mut ids = Vec::new();
        for offset in [0, 100, 200] {
            let page =
                get(&simulator, &format!("{LISTING}?limit=100&offset={offset}")).await.json();
            let records = page["desktops"].as_array().unwrap().clone();
            ids.extend(records.into_iter().map(|record| record["desktop_id"].to_string()));
        }
        let there: BTreeSet<String> =
            simulator.served().0.iter().map(|one| format!("\"{}\"", one.id)).collect();
        let read: BTreeSet<String> = ids.iter().cloned().collect();
        shifted += usize::from(read.len() < ids.len() || !there.is_subset(&read));
    }
    assert!(shifted > 0, "every listing was whole all the same");
    assert!(simulator.history().ids().next().is_none(), "no history unless it was asked for");
}
