//! A small history in which every table of a ledger has rows.

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use deskledger::store::{LineFormat, Store, ToErase};
use serde_json::{Value, json};

use crate::support::ledger::{lines, record_with_late};

/// Two sources around the end of a month: changes of status, name and assignment; a reconnect; desktops that
/// come, go and come back; partial listings that leave one out, across the month's end too; a gap; failures;
/// counters that need more than two bytes.
pub fn history() -> String {
    let mut lines = Vec::new();
    let begin: DateTime<Utc> = "2026-10-31T23:00:00Z".parse().unwrap();
    for step in 0..30_i64 {
        // A gap of an hour after the 20th.
        let gap = if step > 20 { 60 } else { 0 };
        let at = begin + TimeDelta::minutes(5 * step + gap);
        lines.push(line("prod", step, at));
        if step % 3 == 0 {
            lines.push(line("qa", step, at + TimeDelta::seconds(7)));
        }
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// How late snapshots are kept.
pub const FORMAT: LineFormat = LineFormat {
    read: |line| Some(lines(line)[0].snapshot.clone()),
    write: deskledger::exchange::bare_line,
};

/// Records it, with late snapshots in its midst and at its end; packs the month that is over, and erases somebody.
pub async fn recorded(store: &Store) {
    let kept = record_with_late(store, &history(), 1, usize::MAX).await;
    assert_eq!(kept, 12);
    for month in store.packable(None, 1).await.unwrap() {
        assert!(
            store.pack(&month, async |_, _| ()).await.unwrap().unwrap().packed > 0,
            "{month:?}"
        );
    }
    for month in store.packable_visits(None).await.unwrap() {
        assert!(store.pack_visits(&month, async |_| ()).await.unwrap().unwrap() > 0, "{month:?}");
    }
    let wanted = ToErase {
        name_or_id: "zoe",
        source: None,
        pseudonym: "erased-1",
        is_in_desktop_names: true,
    };
    let at = "2026-11-01T06:00:00Z".parse().unwrap();
    let held = store.erase(wanted, FORMAT, at).await.unwrap();
    let prod = &held.sources[0];
    let (users, names, late) = (prod.users.len(), prod.desktop_names.len(), prod.late.len());
    assert_eq!((users, prod.assignments, names), (1, 1, 1), "{prod:?}");
    assert!(late > 0, "{prod:?}");
}

fn line(source: &str, step: i64, at: DateTime<Utc>) -> Value {
    let mut desktops = vec![
        desktop(
            "d-a",
            status(step, 4),
            if step < 9 { "A" } else { "A2" },
            json!([user("anna", "users")]),
        ),
        desktop(
            "d-b",
            json!("REGISTERED"),
            "B",
            json!([user("ben", "users"), user("anna", "users")]),
        ),
        desktop(
            "d-c",
            status(step, 7),
            "C",
            if step < 14 { json!([user("ben", "sudo")]) } else { json!(null) },
        ),
        desktop(
            "d-d",
            json!("CONNECTED"),
            "D",
            if step < 5 { json!([user("anna", "users")]) } else { json!([user("cleo", "users")]) },
        ),
        desktop(
            "d-e",
            if step < 26 { json!("DISCONNECTED") } else { json!("OFFLINE") },
            if matches!(step, 22..=24) { "zoe-pc" } else { "E" },
            if matches!(step, 22..=24) {
                json!([user("ben", "users"), user("zoe", "users")])
            } else {
                json!([])
            },
        ),
    ];
    // Gone twice, in the midst of a disconnect.
    if matches!(step, 6 | 7 | 18) {
        desktops.retain(|desktop| desktop["desktop_id"] != "d-a");
    }
    let all = desktops.len();
    // Left out: listed again as before; across the month's end, and then changed; to the end.
    let left_out = match step {
        2 | 3 => Some("d-b"),
        11 | 12 => Some("d-e"),
        28 | 29 => Some("d-c"),
        _ => None,
    };
    desktops.retain(|desktop| desktop["desktop_id"].as_str() != left_out);
    let failed = step == 16;
    json!({
        "source": source,
        "region": if source == "qa" && step == 0 { json!("ap-southeast-3") } else { Value::Null },
        "observed_at": at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "finished_at": (at + TimeDelta::seconds(3)).to_rfc3339_opts(SecondsFormat::Micros, true),
        "scheduled_at": at.to_rfc3339_opts(SecondsFormat::Micros, true),
        "max_gap": "15m",
        "total_count": if failed { Value::Null } else { json!(all) },
        "desktops": if failed { Value::Null } else { json!(desktops) },
        "statics": if step == 17 { Value::Null } else { json!(groups(step)) },
        "error": if failed { json!({ "code": "WKS.0001", "message": "no answer" }) } else { Value::Null },
    })
}

fn status(step: i64, every: i64) -> Value {
    let all = ["CONNECTED", "DISCONNECTED", "CONNECTED", "UNREGISTER", "AWAY"];
    json!(all[usize::try_from(step / every).unwrap() % all.len()])
}

fn user(name: &str, group: &str) -> Value {
    json!({ "id": format!("id-{name}"), "name": name, "type": "USER", "user_group": group })
}

fn desktop(id: &str, status: Value, name: &str, users: Value) -> Value {
    json!({ "desktop_id": id, "desktop_name": name, "connect_status": status, "attach_users": users })
}

fn groups(step: i64) -> Vec<Value> {
    let mut groups = vec![
        json!({ "static_name": "pool", "in_use_num": step / 2, "ready_num": 5 }),
        json!({ "static_name": "wide", "in_use_num": if step < 8 { 70_000 } else { 5_000_000_000_i64 } }),
    ];
    if step % 10 < 8 {
        groups.push(json!({ "static_name": "pool", "in_use_num": 1 }));
    }
    groups
}
