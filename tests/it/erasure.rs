//! `erase-user`: nobody finds the name again, and everything else is as it was.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use deskledger::domain::{
    AttachUser, AttachUsers, Desktop, Failure, GroupStatistics, Listing, Snapshot,
};
use deskledger::store::{Late, Progress, Recorder, Store, StoreError};
use serde_json::Value;
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::{VIEWS, views};
use crate::support::ledger::{keep_late, ledger, lines, source};
use crate::support::program::Home;
use crate::verify::history;

/// Every row of every table and view that holds the text, whatever its case.
pub async fn found(pool: &PgPool, text: &str) -> Vec<String> {
    let places: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', n.nspname, c.relname) from pg_class c join pg_namespace n on n.oid = c.relnamespace
          where n.nspname like 'deskledger%' and c.relkind in ('r', 'p', 'v')
            and pg_get_viewdef(c.oid) is distinct from '' order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut found = Vec::new();
    for place in places {
        let sql = format!(
            "select left(format('{place}: %s', t), 200) from {place} t where t::text ilike '%{text}%' order by 1"
        );
        found.extend(
            sqlx::query_scalar::<_, String>(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap(),
        );
    }
    found
}

async fn assert_right(store: &Store) {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.fault.is_none()), "{verdicts:?}");
}

/// A row as text with one name in the place of another, sets of users in their new order.
fn with_pseudonym(row: &str, name: &str, pseudonym: &str) -> Value {
    let row = row.replace(&format!("id-{name}"), pseudonym).replace(name, pseudonym);
    let mut row: Value = serde_json::from_str(&row).unwrap();
    let text = |user: &Value, key: &str| user[key].as_str().map(str::to_owned);
    if let Some(users) = row["attach_users"].as_array_mut() {
        users.sort_by_key(|user| ["type", "id", "name", "user_group"].map(|key| text(user, key)));
    }
    if let Some(users) = row["users"].as_array_mut() {
        // All have an id that is made of their name, or one that is it.
        let id =
            |name: &str| if name == pseudonym { name.to_owned() } else { format!("id-{name}") };
        users.sort_by_key(|name| id(name.as_str().unwrap()));
    }
    row
}

fn sorted(rows: impl Iterator<Item = Value>) -> Vec<String> {
    let mut rows: Vec<String> = rows.map(|row| row.to_string()).collect();
    rows.sort();
    rows
}

/// The newest snapshot of a source, taken again so many minutes later.
fn again(history: &str, minutes: i64) -> Snapshot {
    let line = lines(history).into_iter().rfind(|line| line.source == "prod").unwrap();
    let mut snapshot = line.snapshot;
    snapshot.observed_at += TimeDelta::minutes(minutes);
    snapshot.finished_at += TimeDelta::minutes(minutes);
    snapshot.scheduled_at = None;
    snapshot
}

#[tokio::test(flavor = "multi_thread")]
async fn an_erased_user_is_nowhere_and_stays_so_and_all_else_is_as_it_was() {
    let (database, store) = ledger().await;
    history::recorded(&store).await;
    let (home, pool) = (Home::new(&database), &database.pool);
    home.run(&["verify", "--new-key", "seal.key"]).await.expect(0);
    home.run(&["verify", "--seal", "before.seal", "--key", "seal.key"]).await.expect(0);
    let exported = home.run(&["export", "--output", "before.ndjson"]).await.expect(0);
    assert_eq!(exported.out, "");
    let before = views(pool).await;
    let everywhere = found(pool, "anna").await;
    assert!(everywhere.len() > 100, "{everywhere:?}");
    // Recorders at work: one that leads, and one that is about to hand in what is late.
    let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
    let mut other = Recorder::open(&store, &source("prod")).await.unwrap();
    recorder.record(&again(&history::history(), 5)).await.unwrap();
    let counts = |pool: PgPool| async move {
        let sql = "select (select count(*) from deskledger.desktop_states), (select count(*) from deskledger.connections)";
        sqlx::query_as::<_, (i64, i64)>(sql).fetch_one(&pool).await.unwrap()
    };
    let spans = counts(pool.clone()).await;

    // Nothing is done by looking, nor where nobody can be asked, nor for somebody who is not there.
    let all = found(pool, "").await;
    let plan = home.run(&["erase-user", "anna", "--plan"]).await.expect(0).out;
    for line in [
        "source `prod`",
        "USER `anna`, id `id-anna`",
        "1 pair of id and name, in 2 sets of users; assigned to 3 desktops, 2 of them present",
        "late snapshots",
    ] {
        assert!(plan.contains(line), "{plan}");
    }
    home.run(&["erase-user", "anna"]).await.expect(2);
    let nobody = home.run(&["erase-user", "mallory", "--yes"]).await.expect(1);
    assert!(nobody.err.contains("nobody of the name or id `mallory`"), "{}", nobody.err);
    home.run(&["erase-user", "anna", "--yes", "--source", "x"]).await.expect(2);
    assert_eq!(found(pool, "").await, all);

    let done = home.run(&["erase-user", "anna", "--yes"]).await.expect(0);
    assert!(!format!("{}{}", done.out, done.err).contains("anna"), "{done:?}");
    let pseudonym = done.out.split_whitespace().nth(3).unwrap().to_owned();
    assert!(pseudonym.starts_with("erased-") && pseudonym.len() == 19, "{}", done.out);
    assert_eq!(found(pool, "anna").await, Vec::<String>::new());
    assert_right(&store).await;
    // What was sealed before still holds.
    let verified = home.run(&["verify", "--against", "before.seal"]).await.expect(0).out;
    assert!(verified.contains("(2 are erasures of persons)"), "{verified}");
    let again_said = home.run(&["erase-user", "anna", "--yes"]).await.expect(0).out;
    assert!(again_said.contains(&pseudonym), "{again_said}");
    home.run(&["erase-user", &pseudonym, "--yes"]).await.expect(2);

    // Recorders go on, with what the API says: nothing has changed for it, and nobody is named again.
    let next = again(&history::history(), 10);
    let fenced = recorder.record(&next).await;
    assert!(matches!(fenced, Err(StoreError::Fenced { .. })), "{fenced:?}");
    assert_eq!(recorder.record(&next).await.unwrap().changes, 0);
    let late = again(&history::history(), 7);
    let kept = keep_late(&mut other, "prod", &late).await.unwrap();
    assert!(matches!(kept, Late::Kept { .. }), "{kept:?}");
    let mut restarted = Recorder::open(&store, &source("prod")).await.unwrap();
    let mut without_id = again(&history::history(), 15);
    assert_eq!(restarted.record(&without_id).await.unwrap().changes, 0);
    assert_eq!(counts(pool.clone()).await, spans);
    // By name where the API leaves out the id, inside the names of their desktops, and not as part of another's.
    without_id.observed_at += TimeDelta::minutes(5);
    without_id.finished_at += TimeDelta::minutes(5);
    let user = |id: Option<&str>, name: &str| AttachUser {
        kind: Some("USER".into()),
        id: id.map(Into::into),
        name: Some(name.into()),
        user_group: None,
    };
    let desktop = |id: &str, name: &str, user| Desktop {
        id: id.into(),
        name: Some(name.into()),
        status: None,
        users: AttachUsers::new(vec![user]),
    };
    without_id.desktops = Some(Listing::new(vec![
        desktop("d-x", "PC-Anna2", user(None, "anna")),
        desktop("d-y", "JOANNA-1", user(Some("id-other"), "joanna")),
    ]));
    restarted.record(&without_id).await.unwrap();
    let names: Vec<(String, Vec<String>)> = sqlx::query_as(
        "select distinct desktop_name, array(select jsonb_path_query(attach_users, '$[*].name') #>> '{}')
           from deskledger.desktop_snapshots where desktop_id in ('d-x', 'd-y') order by 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let expected = [
        ("JOANNA-1".to_owned(), vec!["joanna".to_owned()]),
        (format!("PC-{pseudonym}2"), vec![pseudonym.clone()]),
    ];
    assert_eq!(names, expected);
    assert_right(&store).await;

    // All else is as it was.
    let until = "2026-11-01T02:26:00Z";
    let after = views(pool).await;
    for view in VIEWS.iter().filter(|view| **view != "erasures") {
        let is_of_then = |row: &Value| {
            let at = ["observed_at", "last_seen", "covered_from", "gap_from"];
            let at = at.iter().find_map(|column| row[*column].as_str());
            at.is_none_or(|at| at < until) && row["ended_as"] != "ONGOING"
        };
        let then = before[view].iter().map(|row| with_pseudonym(row, "anna", &pseudonym));
        let now = after[view].iter().map(|row| with_pseudonym(row, "anna", &pseudonym));
        let is_open = |row: &Value| {
            ["ended_before", "gap_to"].iter().any(|column| row.get(*column) == Some(&Value::Null))
                || row.get("covered_to").is_some()
                || row.get("complete_until").is_some()
        };
        let keep = |row: &Value| is_of_then(row) && !is_open(row);
        let late_since = late.observed_at.to_rfc3339();
        let is_new =
            |row: &Value| row["observed_at"].as_str().is_some_and(|at| late_since.starts_with(at));
        assert_eq!(
            sorted(now.filter(|row| keep(row) && !is_new(row))),
            sorted(then.filter(keep)),
            "{view}"
        );
    }
    let reports = |user: String| {
        let home = &home;
        async move {
            let arguments = [
                "report",
                "user-history",
                "--user",
                &user,
                "--from",
                "2026-10-01",
                "--to",
                "2026-12-01",
            ];
            home.run(&[&arguments[..], &["--format", "csv"]].concat()).await
        }
    };
    let of_pseudonym = reports(pseudonym.clone()).await.expect(0).out;
    assert!(of_pseudonym.lines().count() > 3, "{of_pseudonym}");
    reports("anna".to_owned()).await.expect(2);

    // What was exported before is recorded already; what is exported now goes into another ledger, and is the same there.
    home.run(&["import", "before.ndjson"]).await.expect(0);
    assert_eq!(found(pool, "anna").await.len(), found(pool, "joanna").await.len());
    home.run(&["export", "--output", "after.ndjson"]).await.expect(0);
    let (copy, _) = ledger().await;
    let file = home.path().join("after.ndjson");
    let of_copy = Home::new(&copy);
    of_copy.run(&["import", file.to_str().unwrap()]).await.expect(0);
    let of_copy = of_copy.run(&["export"]).await.expect(0).out;
    assert_eq!(of_copy, std::fs::read_to_string(file).unwrap());
    assert!(of_copy.contains(&pseudonym));
}

/// What stands in the digests as it is, and is no person's name by what the API says of it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_erasure_leaves_is_counted_beforehand() {
    let (database, store) = ledger().await;
    let mut snapshot = again(&history::history(), 0);
    let user = |id: &str, name: &str, user_group: &str| AttachUser {
        kind: Some("USER".into()),
        id: Some(id.into()),
        name: Some(name.into()),
        user_group: Some(user_group.into()),
    };
    let desktop = |id: &str, user: AttachUser| Desktop {
        id: id.into(),
        name: None,
        status: None,
        users: AttachUsers::new(vec![user]),
    };
    let desktops = vec![
        desktop("d-1", user("u-1", "anna", "users")),
        desktop("d-2", user("u-2", "bert", "Anna")),
        desktop("d-3", user("u-2", "bert", "users")),
    ];
    snapshot.total = Some(3);
    snapshot.desktops = Some(Listing::new(desktops));
    snapshot.groups = Some(vec![
        GroupStatistics { name: Some("anna-s".into()), counters: [Some(1); 13] },
        GroupStatistics { name: Some("sales".into()), counters: [Some(2); 13] },
    ]);
    let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
    recorder.record(&snapshot).await.unwrap();
    snapshot.observed_at += TimeDelta::minutes(5);
    snapshot.finished_at += TimeDelta::minutes(5);
    snapshot.groups = None;
    let message = Some("no desktop of ANNA".to_owned());
    snapshot.failure = Some(Failure { code: Some("WKS.1".into()), message });
    recorder.record(&snapshot).await.unwrap();

    let home = Home::new(&database);
    let plan = home.run(&["erase-user", "anna", "--plan"]).await.expect(0).out;
    for line in [
        "stays: 1 group's name holds the user's, ",
        "stays: 1 set of users holds it as `user_group`, ",
        "stays: 1 error message holds it, ",
    ] {
        assert!(plan.contains(line), "{plan}");
    }
    home.run(&["erase-user", "anna", "--yes"]).await.expect(0);
    let bert = home.run(&["erase-user", "bert", "--plan"]).await.expect(0).out;
    assert!(!bert.contains("stays"), "{bert}");
}
