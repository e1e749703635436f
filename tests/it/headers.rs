//! Headers of snapshots: what stays of them when they go, what is told from it, and how they come back.

use std::collections::BTreeMap;
use std::io::Read as _;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::domain::audit::Checkpoint;
use deskledger::domain::pruning::Class;
use deskledger::retention::{Archive, Outcome, prune, restore};
use deskledger::store::prune::Month;
use deskledger::store::{Late, Progress, Recorder, Store};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::views;
use crate::retention::{assert_verifies, header_rows, instant, prune_all, prune_headers};
use crate::support::ledger::{keep_late, keep_late_lines, ledger, lines, record, source};
use crate::support::postgres::TestDatabase;
use crate::support::program::Home;

/// A visit every six hours from January to the first days of April, some of which fail or see a part, with a gap within February, one
/// across the end of it, and a desktop that stays as it is.
fn spring() -> String {
    let begin = instant("2026-01-01T00:00:00Z");
    let lines = (0..4 * 93).filter_map(|step: i64| {
        let at = begin + TimeDelta::hours(6 * step);
        let day = at.format("%m-%d").to_string();
        if ["02-11", "02-12", "02-28", "03-01"].contains(&day.as_str()) {
            // Seen at the first instant of March all the same.
            if at != instant("2026-03-01T00:00:00Z") {
                return None;
            }
        }
        let mut line = json!({
            "source": "prod", "observed_at": at, "finished_at": at + TimeDelta::seconds(40), "max_gap": "7h",
        });
        if step % 3 == 0 {
            line["scheduled_at"] = json!(at);
        }
        if step % 17 == 5 || day == "02-10" {
            line["error"] = json!({ "code": "WKS.1", "message": format!("no {step}") });
            return Some(format!("{line}\n"));
        }
        let status = ["CONNECTED", "DISCONNECTED", "REGISTERED"][usize::try_from(step / 2 % 3).unwrap()];
        let user = |name: &str| json!([{ "id": name, "name": name, "type": "USER" }]);
        line["desktops"] = json!([
            { "desktop_id": "d-0", "desktop_name": "D0", "connect_status": status, "attach_users": user("anna") },
            { "desktop_id": "d-1", "desktop_name": "D1", "connect_status": "CONNECTED", "attach_users": user("ben") },
        ]);
        line["total_count"] = json!(if step % 13 == 2 { 3 } else { 2 });
        line["statics"] = json!([{ "static_name": "pool", "in_use_num": step % 5 }]);
        Some(format!("{line}\n"))
    });
    lines.collect()
}

const LATER: &str = r#"{"source":"prod","observed_at":"2026-04-20T00:00:00Z","desktops":[],"total_count":0,"statics":[]}"#;

/// What is told of coverage, and of those of whom something is known.
async fn told(home: &Home) -> Vec<String> {
    let mut all = Vec::new();
    for report in [
        &["coverage", "--bucket", "hour", "--from", "2026-02-01", "--to", "2026-03-15"][..],
        &["coverage", "--bucket", "day"],
        &[
            "coverage",
            "--bucket",
            "all",
            "--from",
            "2026-01-09T03:00:00Z",
            "--to",
            "2026-02-20T05:00:00Z",
        ],
        &["coverage", "--bucket", "week", "--to", "2026-03-01T00:00:00Z"],
        &["user-history", "--user", "ben"],
        &["user-hours"],
        &["user-hours", "--from", "2026-03-20"],
        &["connected-at", "--at", "2026-02-14T03:12:00Z"],
        &["connected-at", "--at", "2026-04-02T03:12:00Z"],
        &["desktop-history", "--desktop", "d-1"],
        &["outages"],
        &["disconnects", "--bucket", "day"],
    ] {
        let mut arguments = vec!["report"];
        arguments.extend(report);
        for (option, value) in [("--from", "2025-12-20"), ("--to", "2026-04-10")] {
            if !arguments.contains(&option) && !arguments.contains(&"--at") {
                arguments.extend([option, value]);
            }
        }
        let rows = home.run(&[&arguments[..], &["--format", "csv"]].concat()).await.expect(0);
        // And what stands above them, of how often was visited and from when on what is kept.
        let text = home.run(&arguments).await.expect(0);
        let above: Vec<&str> = text.out.lines().take(6).collect();
        all.push(format!("{arguments:?}\n{}{}\n{}", above.join("\n"), rows.err, rows.out));
    }
    all
}

/// The views, without what pruned headers say alone.
async fn views_beside_headers(pool: &PgPool) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = views(pool).await;
    all.retain(|view, _| !["snapshots", "desktop_snapshots", "group_snapshots"].contains(view));
    let gaps = "select (to_jsonb(g) - 'last_error' - 'reason' - 'reason_message')::text from deskledger.gaps g order by 1";
    all.insert("gaps", sqlx::query_scalar(gaps).fetch_all(pool).await.unwrap());
    all
}

/// A ledger with three months of which everything but the headers is pruned.
async fn pruned() -> (TestDatabase, Store, Home, Vec<Archive>) {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &spring(), 50, usize::MAX).await;
    assert!(keep_late_lines(&store, &spring(), 40).await > 5);
    let archives = prune_all(&store, &home.path().join("kept"), 100, &Class::ALL).await;
    assert_eq!(archives.len(), 3);
    (database, store, home, archives)
}

async fn fault(store: &Store) -> Option<String> {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    verdicts[0].fault.as_ref().map(|fault| fault.wrong.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_of_pruned_headers_tells_what_they_did_and_they_come_back() {
    let (database, store, home, archives) = pruned().await;
    let pool = &database.pool;
    let before = (views_beside_headers(pool).await, told(&home).await, header_rows(pool).await);
    let late: i64 = sqlx::query_scalar("select count(*) from deskledger_data.late")
        .fetch_one(pool)
        .await
        .unwrap();
    assert!(late > 5);
    let entry: (i64, DateTime<Utc>, Vec<u8>) = sqlx::query_as(
        "select sequence, observed_at, digest from deskledger_data.snapshot where observed_at = '2026-02-06T06:00:00Z'",
    )
    .fetch_one(pool)
    .await
    .unwrap();

    let plan = home.run(&[
        "prune",
        "--plan",
        "--spans",
        "1d",
        "--groups",
        "1d",
        "--rollups",
        "1d",
        "--headers",
        "1d",
    ]);
    let plan = plan.await.expect(0).out;
    assert_eq!(plan.matches("headers").count(), 3, "{plan}");
    let sealed = async |name: &str| {
        home.run(&["verify", "--seal", name, "--key", "key.pem"]).await.expect(0);
    };
    home.run(&["verify", "--new-key", "key.pem"]).await.expect(0);
    sealed("before.seal").await;
    let headers = prune_headers(&store, &home.path().join("kept")).await;
    assert_eq!(headers.len(), 3);
    sealed("after.seal").await;
    // What is left of visits is held by what came after the first seal.
    for (seal, is_lost) in [("before.seal", true), ("after.seal", false)] {
        let done = home.run(&["verify", "--against", seal]).await.expect(0);
        assert!(done.out.contains("headers from 2026-04-01T00:00:00Z on"), "{}", done.out);
        let but = "unchanged, but for visits whose headers were pruned after it";
        assert_eq!(done.out.contains(but), is_lost, "{}", done.out);
        let done = home.run(&["verify", "--against", seal, "--format", "json"]).await.expect(0);
        let done: Value = serde_json::from_str(&done.out).unwrap();
        assert_eq!(done["sources"][0]["seal_holds"], true);
        assert_eq!(done["sources"][0]["headers_pruned_since_seal"], is_lost);
        assert_eq!(done["sources"][0]["headers_from"], "2026-04-01T00:00:00Z");
    }
    assert_verifies(&store, "without headers").await;
    let (code, said) = crate::verify::digests::check(pool).await;
    assert_eq!(code, Some(0), "{said}");
    let left: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
          where i.inhparent = 'deskledger_data.snapshot'::regclass order by 1 limit 1",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    assert_eq!(left, ["snapshot_2026_04"]);
    let size: i64 = sqlx::query_scalar(
        "select sum(pg_column_size(d)) / sum(cardinality(sequence)) from deskledger_data.visit_day d",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert!(size < 150, "{size} bytes a visit, of four a day");

    assert_eq!(views_beside_headers(pool).await, before.0);
    for (now, then) in told(&home).await.iter().zip(&before.1) {
        assert_eq!(now, then);
    }
    // A seal of a time of which there are no headers.
    for (digest, is_right) in [(entry.2.clone(), true), (vec![7; 32], false)] {
        let checkpoint = Checkpoint {
            sequence: entry.0,
            observed_at: Some(entry.1),
            digest: digest.try_into().unwrap(),
        };
        let checkpoints = BTreeMap::from([("prod".to_owned(), checkpoint)]);
        let verdicts = store.verify(None, &checkpoints, &Progress::default()).await.unwrap();
        assert_eq!(verdicts[0].fault.is_none(), is_right, "{:?}", verdicts[0].fault);
        assert_eq!(verdicts[0].summary.passed_checkpoint, is_right);
    }

    // What comes again is known by what is left of it; what is not the same is kept as late.
    let mut recorder = Recorder::open(&store, &source("prod")).await.unwrap();
    for mut line in lines(&spring()).into_iter().take(300).step_by(25) {
        let again = keep_late(&mut recorder, "prod", &line.snapshot).await.unwrap();
        assert!(!matches!(again, Late::Kept { .. }), "{again:?}");
        line.snapshot.finished_at += TimeDelta::seconds(1);
        let other = keep_late(&mut recorder, "prod", &line.snapshot).await.unwrap();
        assert!(matches!(other, Late::Kept { .. }), "{other:?}");
    }
    drop(recorder);

    // It goes on.
    record(&store, LATER, 1, 1).await;
    assert_verifies(&store, "gone on").await;

    // A month is told from its headers.
    let done = home.run(&["restore", "kept/prod-2026-02.json"]).await.expect(2);
    assert!(done.errors()[0].contains("restore those first"), "{}", done.err);
    for month in ["02", "01", "03"] {
        let file = format!("kept/prod-2026-{month}.headers.ndjson.zst");
        let done = home.run(&["restore", &file]).await.expect(0);
        assert!(done.out.starts_with(&format!("2026-{month}  prod: 1")), "{}", done.out);
        assert!(done.out.contains("headers are back, and come to the digests"), "{}", done.out);
        assert_verifies(&store, "some are back").await;
        let again = home.run(&["restore", &file]).await.expect(2);
        assert!(again.errors()[0].contains("are there already"), "{}", again.err);
    }
    assert!(before.2.is_subset(&header_rows(pool).await));
    let (code, said) = crate::verify::digests::check(pool).await;
    assert_eq!(code, Some(0), "{said}");
    for archive in archives.into_iter().rev() {
        restore(&store, archive, Clock::System.now()).await.unwrap();
    }
    assert_verifies(&store, "all is back").await;
}

/// Whatever is changed of what stays, or of the entry that says so, `verify` finds it, and so does who reads the page on digests.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_what_stays_of_headers_is_found() {
    let (database, store, home, _) = pruned().await;
    let pool = &database.pool;
    let one = "create table one as select * from deskledger_data.snapshot where observed_at = '2026-02-06T06:00:00Z'";
    sqlx::query(one).execute(pool).await.unwrap();
    prune_headers(&store, &home.path().join("kept")).await;
    sqlx::raw_sql(
        "create table days as select * from deskledger_data.visit_day; create table entries as select * from deskledger_data.pruning",
    )
    .execute(pool)
    .await
    .unwrap();
    let day = "where day_from = '2026-02-06T00:00:00Z'";
    let of_day = |change: &str| format!("update deskledger_data.visit_day set {change} {day}");
    let changes = [
        of_day("day_from = day_from + interval '1 hour'"),
        of_day("scheduled_at = scheduled_at - interval '1 us'"),
        of_day("scheduled_at = null"),
        of_day("sequence[2] = sequence[2] + 1"),
        of_day("sequence[2] = null"),
        of_day("observed_at[2] = observed_at[2] + interval '1 us'"),
        of_day("observed_at[2] = null"),
        of_day("finished_at[2] = finished_at[2] + interval '1 us'"),
        of_day("finished_at[2] = null"),
        of_day("max_gap[2] = max_gap[2] + 1"),
        of_day("max_gap[2] = null"),
        of_day("desktops_outcome[2] = 0"),
        of_day("desktops_outcome[2] = null"),
        of_day("groups_outcome[2] = 0"),
        of_day("groups_outcome[2] = null"),
        of_day("desktops_total[2] = desktops_total[2] + 1"),
        of_day("desktops_total[2] = null"),
        of_day("desktops_recorded[2] = desktops_recorded[2] + 1"),
        of_day("desktops_recorded[2] = null"),
        of_day("digest = overlay(digest placing '\\x00' from 40)"),
        format!("delete from deskledger_data.visit_day {day}"),
        "delete from deskledger_data.visit_day where day_from >= '2026-03-01'".to_owned(),
        format!(
            "insert into deskledger_data.visit_day
             select source_id, '2026-04-01T00:00:00Z', scheduled_at, sequence, observed_at, finished_at, max_gap, desktops_outcome,
                    groups_outcome, desktops_total, desktops_recorded, digest from deskledger_data.visit_day {day}"
        ),
        "update deskledger_data.pruning set kept = digest where class = 'headers' and month_from = '2026-02-01'".to_owned(),
        "update deskledger_data.pruning set archive = digest where class = 'headers' and month_from = '2026-02-01'".to_owned(),
        "delete from deskledger_data.pruning where class = 'headers' and month_from = '2026-02-01'".to_owned(),
    ];
    for change in changes {
        let done = sqlx::query(AssertSqlSafe(change.clone())).execute(pool).await.unwrap();
        assert!(done.rows_affected() > 0, "{change}");
        assert!(fault(&store).await.is_some(), "not found: {change}");
        let (code, said) = crate::verify::digests::check(pool).await;
        assert_eq!(code, Some(1), "{change}: {said}");
        sqlx::raw_sql(
            "truncate deskledger_data.visit_day, deskledger_data.pruning;
             insert into deskledger_data.visit_day select * from days;
             insert into deskledger_data.pruning select * from entries",
        )
        .execute(pool)
        .await
        .unwrap();
    }
    assert_eq!(fault(&store).await, None);
    // Nothing that a constraint refuses: arrays of different lengths, or a day without visits.
    for change in ["max_gap = max_gap || 1", "digest = digest || '\\x00'", "sequence = '{}'"] {
        let refused = sqlx::query(AssertSqlSafe(of_day(change))).execute(pool).await.unwrap_err();
        assert!(refused.to_string().contains("violates check constraint"), "{refused}");
    }
    // A header that is put back by hand.
    sqlx::raw_sql(
        "create table deskledger_data.snapshot_2026_02 partition of deskledger_data.snapshot
             for values from ('2026-02-01 00:00:00+00') to ('2026-03-01 00:00:00+00');
         insert into deskledger_data.snapshot select * from one",
    )
    .execute(pool)
    .await
    .unwrap();
    let found = fault(&store).await.unwrap();
    assert!(found.contains("none may be missing"), "{found}");
    let (code, said) = crate::verify::digests::check(pool).await;
    assert_eq!(code, Some(1), "{said}");
}

/// An archive that does not say what was recorded brings nothing back, and the message says where it differs.
#[tokio::test(flavor = "multi_thread")]
async fn headers_that_were_altered_do_not_come_back() {
    let (database, store, home, _) = pruned().await;
    prune_headers(&store, &home.path().join("kept")).await;
    let name = "kept/prod-2026-02.headers.ndjson.zst";
    let file = home.path().join(name);
    let packed = std::fs::read(&file).unwrap();
    let mut text = String::new();
    zstd::Decoder::new(packed.as_slice()).unwrap().read_to_string(&mut text).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let place =
        lines.iter().position(|line| line["observed_at"] == "2026-02-06T06:00:00Z").unwrap();
    assert!(lines[0].get("deskledger_headers").is_some() && lines.len() > 90);
    let id = lines[place]["snapshot_id"].to_string();
    let altered = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut lines = lines.clone();
        change(&mut lines);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        zstd::encode_all(text.as_bytes(), 3).unwrap()
    };
    let with = |key: &'static str, value: Value| {
        altered(&move |lines: &mut Vec<Value>| lines[place][key] = value.clone())
    };
    let named = format!("snapshot {id} of 2026-02-06T06:00:00Z");
    let cases = [
        (with("changes", json!(77)), named.as_str(), 1),
        (with("error_message", json!("all well")), &named, 1),
        (with("scheduled_at", json!("2026-02-06T05:59:59Z")), &named, 1),
        (with("finished_at", json!("2026-02-06T06:00:41Z")), &named, 1),
        (with("desktops_total", json!(9)), &named, 1),
        (with("digest", json!("ab".repeat(32))), &named, 1),
        (with("body_hash", json!("ab".repeat(32))), &named, 1),
        // In no digest: the checksum is another.
        (with("snapshot_id", json!(1)), "is not the archive that the chain", 1),
        (
            altered(&|lines| {
                lines.remove(place);
                lines[0]["snapshots"] = json!(lines.len() - 1);
            }),
            "snapshot ",
            1,
        ),
        (
            altered(&|lines| {
                lines.pop();
                lines[0]["snapshots"] = json!(lines.len() - 1);
            }),
            "as many snapshots",
            1,
        ),
        (
            altered(&|lines| {
                lines.pop();
            }),
            "not as many lines",
            2,
        ),
        (with("digest", json!("x")), "no archive of headers", 2),
        (with("surprise", json!(1)), "no archive of headers", 2),
        (altered(&|lines| lines[0]["deskledger_headers"] = json!(2)), "another version", 2),
        (altered(&|lines| lines[0]["month"] = json!("2026-13")), "`month` is none", 2),
        (altered(&|lines| lines[0]["source"] = json!("other")), "no source `other`", 2),
        (packed[..packed.len() / 2].to_vec(), "it was cut off or altered", 2),
        ([&packed[..], &b"x"[..]].concat(), "it was cut off or altered", 2),
        (Vec::new(), "it is empty", 2),
    ];
    for (bytes, words, code) in cases {
        std::fs::write(&file, bytes).unwrap();
        let done = home.run(&["restore", name]).await.expect(code);
        assert!(done.errors()[0].contains(words), "`{words}` is not in {}", done.err);
        assert_verifies(&store, words).await;
    }
    std::fs::write(&file, packed).unwrap();
    home.run(&["restore", name]).await.expect(0);
    let left: i64 = sqlx::query_scalar("select count(*) from deskledger_data.visit_day where day_from < '2026-03-01' and day_from >= '2026-02-01'")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    assert_eq!(left, 0);
    // Pruned once more without an archive, it is proved by none.
    let month = instant("2026-02-01T00:00:00Z");
    let month = Month { source_id: 1, source: "prod".to_owned(), month };
    let gone = prune(&store, &month, &[Class::Headers], None, Clock::System.now()).await.unwrap();
    assert!(matches!(gone, Outcome::Gone(_, None)), "{gone:?}");
    let done = home.run(&["restore", name]).await.expect(1);
    assert!(done.errors()[0].contains("went without an archive"), "{}", done.err);
}

/// What needs headers keeps them: other classes, a hold, and the newest listing.
#[tokio::test(flavor = "multi_thread")]
async fn headers_stay_while_something_needs_them() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    // After the second of March nothing is read any more; but visits are made.
    let history: String = spring()
        .lines()
        .map(|line| {
            let mut line: Value = serde_json::from_str(line).unwrap();
            if instant(line["observed_at"].as_str().unwrap()) > instant("2026-03-02T00:00:00Z") {
                for key in ["desktops", "statics", "total_count"] {
                    line.as_object_mut().unwrap().remove(key);
                }
                line["error"] = json!({ "code": "WKS.2", "message": "gone" });
            } else if instant(line["observed_at"].as_str().unwrap())
                > instant("2026-02-27T00:00:00Z")
                && line.get("desktops").is_some()
            {
                line["desktops"] = json!([]);
                line["total_count"] = json!(0);
                line["statics"] = json!([]);
            }
            format!("{line}\n")
        })
        .collect();
    record(&store, &history, 50, usize::MAX).await;
    let wrong = home
        .run(&["prune", "--spans", "1d", "--groups", "1d", "--headers", "1d", "--no-archive"])
        .await
        .expect(2);
    assert!(wrong.errors()[0].contains("`headers` may not go before `rollups`"), "{}", wrong.err);
    let ages = ["--spans", "1d", "--groups", "1d", "--rollups", "1d", "--headers", "1d"];
    home.run(&["hold", "add", "--from", "2026-01-05", "--to", "2026-01-06", "--reason", "case 4"])
        .await
        .expect(0);
    // Of each month, why its headers stay; null: they go.
    let kept = async || {
        let asked = [&["prune", "--plan", "--format", "json"], &ages[..]].concat();
        let plan = home.run(&asked).await.expect(0).out;
        let plan: Vec<Value> = serde_json::from_str(&plan).unwrap();
        let of_headers = plan.into_iter().filter(|row| row["class"] == "headers");
        of_headers.map(|row| row["kept"].clone()).collect::<Vec<_>>()
    };
    // The counts of an older month stay, so that those of the later ones do.
    let (held, needed) = (json!("hold 1: case 4"), json!("its rollups stay"));
    assert_eq!(kept().await, [held, needed.clone(), needed]);
    home.run(&["hold", "drop", "1", "--reason", "done"]).await.expect(0);
    assert_eq!(kept().await, [Value::Null, Value::Null, json!("nothing newer was read")]);
    let done = home.run(&[&["prune", "--no-archive"], &ages[..6]].concat()).await.expect(0);
    assert!(done.out.contains("2026-01  prod, spans, groups, rollups: "), "{}", done.out);
    // What needs them is gone already, and no age of it has to be given.
    let done = home.run(&["prune", "--headers", "1d", "--no-archive"]).await.expect(0);
    let again = home.run(&["prune", "--headers", "1d", "--no-archive", "--source", "prod"]).await;
    assert!(again.expect(0).out.contains("nothing to prune"));
    assert!(done.out.contains("2026-01  prod, headers: 1"), "{}", done.out);
    assert!(
        done.out.contains("2026-03  prod, headers, kept, nothing newer was read"),
        "{}",
        done.out
    );
    assert_verifies(&store, "pruned").await;
    // A recorder that begins now believes what it did.
    record(&store, LATER, 1, 1).await;
    assert_verifies(&store, "gone on").await;
}

/// A month is packed by what stays of the visits before it, as by their headers.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_behind_pruned_headers_is_packed_as_ever() {
    let mut packed = Vec::new();
    for is_pruned in [false, true] {
        let (database, store) = ledger().await;
        let home = Home::new(&database);
        record(&store, &spring(), 50, usize::MAX).await;
        home.run(&["hold", "add", "--from", "2026-02-10", "--reason", "case 5"]).await.expect(0);
        let mut prune =
            vec!["prune", "--spans", "1d", "--groups", "1d", "--rollups", "1d", "--no-archive"];
        if is_pruned {
            prune.extend(["--headers", "1d"]);
        }
        home.run(&prune).await.expect(0);
        let kept: bool = sqlx::query_scalar(
            "select exists (select from deskledger_data.snapshot where observed_at < '2026-02-01')",
        )
        .fetch_one(&database.pool)
        .await
        .unwrap();
        assert_eq!(kept, !is_pruned);
        home.run(&["compact"]).await.expect(0);
        assert_verifies(&store, "packed").await;
        let rows: Vec<String> = sqlx::query_scalar(
            "select p::text from deskledger_data.packed p union all select m::text from deskledger_data.packed_month m
              union all select g::text from deskledger_data.packed_group_month g
              union all select f::text from deskledger_data.span f order by 1",
        )
        .fetch_all(&database.pool)
        .await
        .unwrap();
        packed.push((rows, views_beside_headers(&database.pool).await));
    }
    assert!(packed[0].0.len() > 5);
    assert_eq!(packed[0], packed[1]);
}
