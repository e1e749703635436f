//! Faults of what an answer holds, beside the same answer without them.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;

/// What a reader of the documents understands: id, name, status and users of each record, with
/// null, missing and an empty list the same, and other fields unseen.
fn understood(page: &Value) -> Vec<BTreeMap<String, Value>> {
    let known = |record: &Value, names: &[&str]| -> BTreeMap<String, Value> {
        let fields = names.iter().map(|name| ((*name).to_owned(), record[*name].clone()));
        fields.filter(|(_, value)| !value.is_null() && *value != json!([])).collect()
    };
    let record = |record: &Value| {
        let names = ["desktop_id", "desktop_name", "connect_status", "attach_users"];
        let mut record = known(record, &names);
        if let Some(users) = record.get_mut("attach_users") {
            let kept = users.as_array().unwrap().iter();
            *users = kept
                .map(|user| json!(known(user, &["id", "name", "type", "user_group"])))
                .collect();
        }
        record
    };
    page["desktops"].as_array().unwrap().iter().map(record).collect()
}

fn ids(page: &Value) -> Vec<Value> {
    let records = page["desktops"].as_array().unwrap().iter();
    records.map(|record| record["desktop_id"].clone()).collect()
}

/// A page of twenty, with and without a fault.
async fn pages(simulator: &Simulator, fault: &str) -> (Value, Value) {
    let target = format!("{LISTING}?offset=20&limit=20");
    set(simulator, &[]);
    let right = get(simulator, &target).await.json();
    set(simulator, &[fault]);
    (right, get(simulator, &target).await.json())
}

#[tokio::test]
async fn records_come_twice_not_at_all_or_without_an_id() {
    let simulator = server(450).await;
    let (right, wrong) = pages(&simulator, "duplicate").await;
    let all = ids(&right);
    assert_eq!(all.len(), 20);
    assert_eq!(ids(&wrong), [&all[..], &all[..1]].concat());

    let (_, wrong) = pages(&simulator, "short-page=7").await;
    assert_eq!(ids(&wrong), all[..7]);
    assert_eq!(wrong["total_count"], 450);

    let (_, wrong) = pages(&simulator, "lose=3").await;
    assert_eq!(ids(&wrong), [&all[..8], &all[11..]].concat());
    assert_eq!(wrong["total_count"], 450);

    let (_, wrong) = pages(&simulator, "no-id").await;
    let mut expected = all.clone();
    expected[10] = Value::Null;
    assert_eq!(ids(&wrong), expected);
    assert_eq!(wrong["desktops"][10]["desktop_name"], right["desktops"][10]["desktop_name"]);

    let (_, wrong) = pages(&simulator, "repeat").await;
    let first = get(&simulator, &format!("{LISTING}?limit=20")).await.json();
    assert_eq!(ids(&wrong), ids(&first));
    assert_ne!(ids(&wrong), all);
}

#[tokio::test]
async fn totals_are_wrong_or_none() {
    let simulator = server(450).await;
    let (right, wrong) = pages(&simulator, "total=-1").await;
    assert_eq!((&right["total_count"], &wrong["total_count"]), (&json!(450), &json!(449)));
    let (_, wrong) = pages(&simulator, "null-total").await;
    assert_eq!(wrong["total_count"], Value::Null);
    assert_eq!(ids(&wrong), ids(&right));
}

#[tokio::test]
async fn the_same_is_said_in_other_ways() {
    let simulator = server(450).await;
    let (right, extra) = pages(&simulator, "extra").await;
    assert_ne!(right, extra);
    assert_eq!(understood(&right), understood(&extra));

    let (_, nulls) = pages(&simulator, "nulls").await;
    assert_eq!(nulls["total_count"], "450");
    assert_eq!(understood(&right), understood(&nulls));
    let pairs =
        right["desktops"].as_array().unwrap().iter().zip(nulls["desktops"].as_array().unwrap());
    assert_eq!(pairs.filter(|(one, other)| one != other).count(), 7, "a third of twenty");

    let (_, odd) = pages(&simulator, "odd-names").await;
    for (odd, right) in
        odd["desktops"].as_array().unwrap().iter().zip(right["desktops"].as_array().unwrap())
    {
        assert_eq!(odd["desktop_id"], right["desktop_id"]);
        assert_eq!(odd["login_status"], right["connect_status"]);
        assert_eq!(odd["attach_infos"], right["attach_users"]);
        assert!(odd.get("connect_status").is_none() && odd.get("attach_users").is_none());
    }

    // Also where something is missing, which is rare.
    let whole = |limit: u32| format!("{LISTING}?limit={limit}");
    set(&simulator, &[]);
    let right = get(&simulator, &whole(1000)).await.json();
    set(&simulator, &["nulls", "extra"]);
    assert_eq!(understood(&right), understood(&get(&simulator, &whole(1000)).await.json()));
}

#[tokio::test]
async fn statistics_are_wild_and_written_in_other_ways() {
    let simulator = server(450).await;
    let right = get(&simulator, STATISTICS).await.json();
    let asked = async |fault| {
        set(&simulator, &[fault]);
        get(&simulator, STATISTICS).await.json()
    };
    let wild = asked("wild-counters").await;
    assert_eq!(wild["statics"][1], right["statics"][1]);
    let numbers = || wild["statics"][0].as_object().unwrap().values().filter_map(Value::as_i64);
    assert!(numbers().any(|number| number < 0) && numbers().any(|number| number > i32::MAX.into()));
    let (nulls, extra) = (asked("nulls").await, asked("extra").await);
    let count = &right["statics"][0]["running_num"];
    assert!(count.is_i64());
    assert_eq!(nulls["statics"][0]["running_num"], count.to_string());
    assert_eq!(&extra["statics"][0]["running_num"], count);
    assert!(extra["statics"][0].get("x_id").is_some());
}
