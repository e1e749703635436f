//! `deskledger compact`: months that are over take a twentieth of the room, and every answer is the same.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::store::{Progress, Store};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::views;
use crate::support::ledger::{ledger, pack, record, report_sql, rows};
use crate::support::postgres::TestDatabase;
use crate::support::program::Home;

/// A visit every two hours of October, and of the first day of November: desktops that are used by day, each its own
/// way, one that is renamed, one that is renamed while it is connected across the month's end, one that is gone for a week, and
/// one listing that leaves one out. Of the groups one changes all the time, one is gone for a week, one is never the same size,
/// and one is very large; once nobody could say.
fn history(days: i64) -> String {
    history_from("2026-10-01T00:30:00Z", days)
}

fn history_from(begin: &str, days: i64) -> String {
    let begin: DateTime<Utc> = begin.parse().unwrap();
    let mut lines = String::new();
    for step in 0..days * 12 {
        let at = begin + TimeDelta::hours(2 * step);
        let mut desktops: Vec<Value> = (0..6)
            .map(|number: i64| {
                let status = match (step * (number + 3) + number) % 7 {
                    0..=2 => "CONNECTED",
                    3 => "DISCONNECTED",
                    _ => "REGISTERED",
                };
                let across = number == 5 && (364..376).contains(&step);
                let status = if across { "CONNECTED" } else { status };
                let is_renamed = number == 2 && step > 100 || number == 5 && step > 368;
                let name = if is_renamed { format!("new{number}") } else { format!("d{number}") };
                json!({ "desktop_id": format!("d-{number}"), "desktop_name": name, "connect_status": status,
                        "attach_users": [{ "id": "u", "name": "anna", "type": "USER" }] })
            })
            .collect();
        if (150..240).contains(&step) {
            desktops.remove(4);
        }
        let mut total = desktops.len();
        if step == 60 {
            total += 1;
            desktops[0]["desktop_name"] = json!("left alone");
            desktops.remove(1);
        }
        let mut groups = vec![
            json!({ "static_name": "busy", "in_use_num": step % 5, "ready_num": 9, "unknown_num": step % 3 }),
            json!({ "static_name": "large", "in_use_num": 40_000 + step / 50, "ready_num": 70_000 }),
            json!({ "static_name": "calm", "running_num": step / 100, "in_use_num": null }),
        ];
        if !(150..240).contains(&step) {
            groups.push(json!({ "static_name": "gone", "in_use_num": step / 7 }));
        }
        // For longer than max_gap.
        let groups = if (80..83).contains(&step) { Value::Null } else { groups.into() };
        let line = json!({ "source": "prod", "observed_at": at, "max_gap": "3h", "total_count": total,
                           "desktops": desktops, "statics": groups });
        lines += &format!("{line}\n");
    }
    lines
}

async fn number(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

/// What reports that add up say of October, to the microsecond.
async fn october(pool: &PgPool) -> Vec<(&'static str, Vec<Map<String, Value>>)> {
    let period = [("from", "2026-10-01"), ("to", "2026-11-01"), ("tz", "UTC"), ("source", "")];
    let mut told = Vec::new();
    for (name, more) in [
        ("lingering", &[][..]),
        ("user-hours", &[("overlap", "each")]),
        ("disconnects", &[("bucket", "all"), ("reconnect_within", "15m")]),
        ("flapping", &[("times", "3"), ("within", "3d")]),
        ("group-utilisation", &[("bucket", "day"), ("group", "")]),
        (
            "capacity",
            &[("headroom_pct", "20"), ("workdays", "1-7"), ("day_from", "0"), ("day_to", "24")],
        ),
    ] {
        let sql = report_sql(name, &[&period[..], more].concat());
        told.push((name, rows(pool, &sql).await));
    }
    told
}

const SPANS: &str = "select count(*) from deskledger_data.span";
const RUNS: &str = "select count(*) from deskledger_data.group_span_2026_10";
const SIZE: &str = "select pg_relation_size('deskledger_data.span_2026_10')";

#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_over_is_packed_and_says_the_same_and_recording_goes_on() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    let all = history(32);
    let lines: Vec<&str> = all.lines().collect();
    let (first_day, others) = lines.split_at(12);
    record(&store, &first_day.join("\n"), 7, usize::MAX).await;
    let out = home.run(&["compact"]).await.expect(0).out;
    assert_eq!(out, "nothing to pack: of the days that are over all is packed that can be\n");
    record(&store, &others.join("\n"), 7, usize::MAX).await;

    let told = october(&database.pool).await;
    assert!(told.iter().all(|(_, rows)| !rows.is_empty()), "{told:?}");
    let (before, spans, size) = (
        views(&database.pool).await,
        number(&database.pool, SPANS).await,
        number(&database.pool, SIZE).await,
    );
    let exported = home.run(&["export"]).await.expect(0).out;
    let runs = number(&database.pool, RUNS).await;
    assert!(runs > 400, "{runs}");
    let out = home.run(&["compact", "--source", "prod"]).await.expect(0).out;
    let left = number(&database.pool, "select count(*) from deskledger_data.span_2026_10").await;
    let packed = spans - number(&database.pool, SPANS).await;
    assert_eq!(
        out,
        format!(
            "2026-10  prod: {packed} spans packed, {left} stay as they are\n2026-10  prod: headers of {} snapshots packed\n",
            31 * 12
        )
    );
    assert_eq!(
        number(
            &database.pool,
            "select count(*) from deskledger_data.snapshot where observed_at < '2026-11-01'"
        )
        .await,
        0
    );
    // What goes on under a new name says where its connection began, and what a listing left out is odd.
    assert!(packed > 800 && left > 0 && left < 20, "{out}");
    assert!(number(&database.pool, SIZE).await * 5 < size);
    // What ended in a gap is packed too.
    assert_eq!(number(&database.pool, RUNS).await, 0);
    assert_eq!(home.run(&["export"]).await.expect(0).out, exported);
    assert_eq!(views(&database.pool).await, before);
    assert_eq!(october(&database.pool).await, told);
    assert_eq!(home.run(&["verify"]).await.expect(0).out.matches("ok").count(), 1);

    let out = home.run(&["compact"]).await.expect(0).out;
    assert_eq!(out, "nothing to pack: of the days that are over all is packed that can be\n");
    // As an earlier version left it, which made no sums: they are made good.
    sqlx::raw_sql(
        "create table sums as select * from deskledger_data.packed;
         update deskledger_data.packed
            set observed = null, connected = null, less = null, more = null, last_connected = null, stretches = null,
                disconnected = null, longest = null, last_disconnected = null, loose = null,
                breaks = null, closest = null, edges = null;
         update deskledger_data.packed_month set is_done = false, is_whole = false",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    assert_eq!(home.run(&["verify"]).await.expect(0).out.matches("ok").count(), 1);
    let out = home.run(&["compact"]).await.expect(0).out;
    assert_eq!(out, format!("2026-10  prod: 0 spans packed, {left} stay as they are\n"));
    let odd = "select count(*) from ((table sums except table deskledger_data.packed)
                                     union all (table deskledger_data.packed except table sums)) odd";
    assert_eq!(number(&database.pool, odd).await, 0);
    let whole = "select count(*) from deskledger_data.packed_month where is_whole";
    assert_eq!(number(&database.pool, whole).await, 1);
    let refused = home.run(&["compact", "--source", "prd"]).await.expect(2);
    assert_eq!(refused.errors(), ["error: there is no source `prd` in the ledger"]);
}

/// Day by day it becomes what it becomes at once.
#[tokio::test]
async fn a_month_that_lasts_is_packed_as_its_days_are_over() {
    let (at_once, at_once_store) = ledger().await;
    let all = history(33);
    record(&at_once_store, &all, 7, usize::MAX).await;
    let home = Home::new(&at_once);
    home.run(&["compact"]).await.expect(0);

    let (database, store) = ledger().await;
    let home = Home::new(&database);
    let lines: Vec<&str> = all.lines().collect();
    let (mut packed, mut told) = (0, Vec::new());
    for (nth, visits) in lines.chunks(31).enumerate() {
        record(&store, &visits.join("\n"), 7, usize::MAX).await;
        let before = (views(&database.pool).await, october(&database.pool).await);
        let exported = home.run(&["export"]).await.expect(0).out;
        told.push(home.run(&["compact"]).await.expect(0).out);
        let rows = number(&database.pool, SPANS).await;
        assert!(rows < 60, "after {nth}: {rows}");
        let now =
            number(&database.pool, "select sum(cardinality(events)) from deskledger_data.packed")
                .await;
        assert!(now > packed, "after {nth}: {packed}, then {now}");
        packed = now;
        assert_eq!(
            (views(&database.pool).await, october(&database.pool).await),
            before,
            "after {nth}"
        );
        assert_eq!(home.run(&["export"]).await.expect(0).out, exported, "after {nth}");
        assert_eq!(
            home.run(&["verify"]).await.expect(0).out.matches("ok").count(),
            1,
            "after {nth}"
        );
    }
    assert!(told[3].starts_with("2026-10-01 to 2026-10-10  prod: "), "{told:?}");
    // The month that lasts has no sums, but says what breaks off.
    let forgotten = "update deskledger_data.packed set breaks = null where month_from >= '2026-11-01' and desktop_no = 1";
    assert!(sqlx::raw_sql(forgotten).execute(&database.pool).await.unwrap().rows_affected() > 0);
    let found = home.run(&["verify"]).await.expect(1).out;
    assert!(found.contains("a sum in `packed` of desktop number 1 in 2026-11"), "{found}");
    let right = forgotten.replace("null", "'{}'");
    sqlx::raw_sql(AssertSqlSafe(right)).execute(&database.pool).await.unwrap();
    home.run(&["verify"]).await.expect(0);
    let last: Vec<&str> = told[12].lines().collect();
    assert!(
        last[0].starts_with("2026-10  prod: ")
            && last[1].starts_with("2026-11-01 to 2026-11-01  prod: "),
        "{last:?}"
    );
    for table in ["packed", "packed_month", "packed_group", "packed_group_month", "span"] {
        let of = async |pool: &PgPool| {
            rows(pool, &format!("select t::text from deskledger_data.{table} t order by 1")).await
        };
        assert_eq!(of(&database.pool).await, of(&at_once.pool).await, "{table}");
    }
}

/// As many rows go whether a month was packed up to its end, half-way or not at all.
#[tokio::test]
async fn a_month_that_is_packed_in_part_is_pruned_as_a_whole() {
    let all = history(32);
    let lines: Vec<&str> = all.lines().collect();
    let (early, late) = lines.split_at(240);
    let mut told = Vec::new();
    for is_packed in [false, true] {
        let (database, store) = ledger().await;
        let home = Home::new(&database);
        record(&store, &early.join("\n"), 7, usize::MAX).await;
        if is_packed {
            home.run(&["compact"]).await.expect(0);
        }
        record(&store, &late.join("\n"), 7, usize::MAX).await;
        let plan = home.run(&["prune", "--spans", "1d", "--plan", "--format", "json"]).await;
        let plan: Vec<Value> = serde_json::from_str(&plan.expect(0).out).unwrap();
        let rows: Vec<Value> = plan.iter().map(|month| month["rows"].clone()).collect();
        // A hold of a name that nobody has any more: it is in what is packed alone.
        home.run(&["hold", "add", "--desktop", "d2", "--reason", "case"]).await.expect(0);
        let held = home.run(&["prune", "--spans", "1d", "--plan"]).await.expect(0).out;
        assert!(held.contains("hold 1: case"), "{held}");
        home.run(&["hold", "drop", "1", "--reason", "done"]).await.expect(0);
        let done = home.run(&["prune", "--spans", "1d", "--no-archive"]).await.expect(0).out;
        let left = "select count(*) from deskledger_data.filed where packed_to <= '2026-11-01'
                       or piece_to <= '2026-11-01'";
        assert_eq!(number(&database.pool, left).await, 0);
        home.run(&["verify"]).await.expect(0);
        told.push((rows, done));
    }
    assert!(told[0].0[0].as_i64().unwrap() > 800, "{told:?}");
    assert_eq!(told[0], told[1]);
}

/// A plan that expects one row of what is packed reads all snapshots for each that there is.
#[tokio::test]
async fn views_are_planned_for_as_many_rows_as_are_packed() {
    let (database, store) = ledger().await;
    record(&store, &history(32), 7, usize::MAX).await;
    pack(&store).await;
    sqlx::raw_sql("analyze").execute(&database.pool).await.unwrap();
    for view in ["desktop_states", "connections"] {
        let sql = format!("explain (format json) select * from deskledger.{view}");
        let plan: Value =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap();
        let expected = plan[0]["Plan"]["Plan Rows"].as_f64().unwrap();
        let sql = format!("select count(*) from deskledger.{view}");
        let rows: i64 =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&database.pool).await.unwrap();
        assert!(rows > 300 && expected * 50.0 > rows as f64, "{view}: {rows}, not {expected}");
    }
}

/// Who reads since before it was packed may see it still: then its room is given back the next time.
#[tokio::test]
async fn the_room_of_what_someone_may_still_see_is_given_back_later() {
    let (database, store) = ledger().await;
    record(&store, &history(32), 7, usize::MAX).await;
    let home = Home::new(&database);
    let size = number(&database.pool, SIZE).await;
    let mut reader = database.pool.begin().await.unwrap();
    sqlx::raw_sql(
        "set transaction isolation level repeatable read; select from deskledger_data.head",
    )
    .execute(&mut *reader)
    .await
    .unwrap();
    let out = home.run(&["compact"]).await.expect(0).out;
    assert!(out.contains("spans packed"), "{out}");
    assert!(out.contains("deskledger_data.span_2026_10 is in use: "), "{out}");
    assert_eq!(number(&database.pool, SIZE).await, size);
    reader.rollback().await.unwrap();
    // As PostgreSQL does by itself after a while.
    sqlx::raw_sql("vacuum (analyze) deskledger_data.span_2026_10")
        .execute(&database.pool)
        .await
        .unwrap();
    let out = home.run(&["compact"]).await.expect(0).out;
    assert_eq!(out, "nothing to pack: of the days that are over all is packed that can be\n");
    assert!(number(&database.pool, SIZE).await * 5 < size);
}

/// A month into which something open reaches is said to stay, and until when.
#[tokio::test]
async fn a_month_whose_source_was_not_listed_again_stays_as_it_is() {
    let (database, store) = ledger().await;
    let listed = history(31);
    let failed: String = (0..3)
        .map(|hour| {
            let line = json!({ "source": "prod", "observed_at": format!("2026-11-01T0{}:30:00Z", hour + 1), "max_gap": "3h",
                               "error": { "code": "WKS.2", "message": "gone" } });
            format!("{line}\n")
        })
        .collect();
    record(&store, &format!("{}\n{failed}", listed.trim_end()), 7, usize::MAX).await;
    let home = Home::new(&database);
    let left = number(&database.pool, "select count(*) from deskledger_data.span_2026_10").await;
    let out = home.run(&["compact"]).await.expect(0).out;
    let stay = format!("2026-10  prod: {left} spans stay as they are, until it is listed again: ");
    assert!(left > 800 && out.contains(&stay), "{left}: {out}");
    // A recorder goes on from its newest listing.
    assert_eq!(number(&database.pool, "select count(*) from deskledger_data.visit_day").await, 0);
}

/// The visits of a month become a row a day, whatever came of them; but not a day that would not come out as it goes in.
#[tokio::test(flavor = "multi_thread")]
async fn visits_are_packed_day_by_day_and_one_that_does_not_come_out_as_it_was_stays() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    let mut lines: Vec<String> = history(32).lines().map(str::to_owned).collect();
    for (at, error) in [
        ("2026-10-03T01:00:00Z", json!({ "code": "WKS.2", "message": "gone" })),
        ("2026-10-09T01:00:00Z", json!({ "message": "nothing but a message: \u{e9}" })),
    ] {
        lines.push(json!({ "source": "prod", "observed_at": at, "scheduled_at": at, "max_gap": "3h", "error": error }).to_string());
    }
    lines.sort_by_key(|line| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["observed_at"].as_str().unwrap().parse::<DateTime<Utc>>().unwrap()
    });
    record(&store, &lines.join("\n"), 7, usize::MAX).await;
    let before = views(&database.pool).await;
    let exported = home.run(&["export"]).await.expect(0).out;
    // No digest is so short; and no hash is of zeros, which stand for none in a day.
    let altered = "update deskledger_data.snapshot
          set digest = case when observed_at < '2026-10-06' then substr(digest, 2) else digest end,
              body_hash = case when observed_at > '2026-10-06' then decode(repeat('00', 32), 'hex') else body_hash end
        where observed_at in ('2026-10-05T02:30:00Z', '2026-10-07T02:30:00Z')";
    sqlx::query("create table whole as select * from deskledger_data.snapshot")
        .execute(&database.pool)
        .await
        .unwrap();
    sqlx::query(altered).execute(&database.pool).await.unwrap();
    let out = home.run(&["compact"]).await.expect(0).out;
    assert!(out.contains("2026-10  prod: headers of 350 snapshots packed\n"), "{out}");
    let left = "select count(*) from deskledger_data.snapshot where observed_at < '2026-11-01'";
    assert_eq!(number(&database.pool, left).await, 24);
    // That is no day that anything else could be said of.
    let out = home.run(&["compact"]).await.expect(0).out;
    assert!(!out.contains("headers"), "{out}");
    sqlx::query(
        "update deskledger_data.snapshot s set digest = w.digest, body_hash = w.body_hash from whole w where w.snapshot_id = s.snapshot_id",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let out = home.run(&["compact"]).await.expect(0).out;
    assert_eq!(out, "2026-10  prod: headers of 24 snapshots packed\n");
    assert_eq!(number(&database.pool, left).await, 0);
    // And their table goes, as soon as nobody reads the ledger, PostgreSQL's own processes neither.
    let tables = "select count(*) from pg_class where relname = 'snapshot_2026_10'";
    let begun = std::time::Instant::now();
    while number(&database.pool, tables).await > 0 {
        assert!(begun.elapsed() < std::time::Duration::from_secs(20), "the table stays");
        home.run(&["compact"]).await.expect(0);
    }
    assert!(views(&database.pool).await == before, "another answer than before");
    assert_eq!(home.run(&["export"]).await.expect(0).out, exported);
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    assert!(verdicts.iter().all(|verdict| verdict.fault.is_none()), "{verdicts:?}");
}

/// What was packed is not looked for where it was: rows of later days are not read for an earlier one.
#[tokio::test]
async fn blocks_whose_spans_are_packed_are_not_read_for_their_days() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    let all = history(31);
    let lines: Vec<&str> = all.lines().collect();
    let blocks = async || {
        // By the index alone that is about it.
        let mut transaction = database.pool.begin().await.unwrap();
        sqlx::raw_sql(
            "set local enable_seqscan = off;
             drop index deskledger_data.span_by_end, deskledger_data.span_by_break, deskledger_data.span_by_desktop",
        )
        .execute(&mut *transaction)
        .await
        .unwrap();
        let plan: Value = sqlx::query_scalar(
            "explain (analyze, format json)
             select * from deskledger_data.span_2026_10
              where piece_from <= '2026-10-05 12:00' and piece_to > '2026-10-05 12:00' and piece_to <= '2026-11-01'",
        )
        .fetch_one(&mut *transaction)
        .await
        .unwrap();
        // Dropped alone, it is ended later, and holds until then what `compact` has to tidy up.
        transaction.rollback().await.unwrap();
        let scan = &plan[0]["Plan"]["Plans"][0];
        assert_eq!(scan["Node Type"], "Bitmap Index Scan", "{plan}");
        // It takes a block for ten rows.
        (scan["Actual Rows"].as_f64().unwrap() / 10.0) as i64
    };
    let mut told = Vec::new();
    // Each time the rooms of the days before are given to those of the next.
    for days in lines.chunks(12 * 6) {
        record(&store, &days.join("\n"), 7, usize::MAX).await;
        told.push(blocks().await);
        home.run(&["compact"]).await.expect(0);
    }
    println!("so many blocks are read for a day: {told:?}");
    // Whether the rows of some days need another block, which no range is about yet, depends on what was freed before.
    let none = told[1..].iter().filter(|blocks| **blocks == 0).count();
    assert!(told[0] > 1 && none >= 2, "{told:?}");
}

/// A recorder waits for three days to be over.
#[tokio::test]
async fn a_recorder_packs_the_days_of_a_month_that_lasts() {
    let (database, store) = ledger().await;
    let all = history(4);
    let lines: Vec<&str> = all.lines().collect();
    record(&store, &lines[..36].join("\n"), 7, usize::MAX).await;
    assert_eq!(store.packable(None, 3).await.unwrap(), []);
    record(&store, &lines[36..].join("\n"), 7, usize::MAX).await;
    let words = "2026-10-01 to 2026-10-03 is over: packed ";
    a_recorder_says_and_answers_stay(&database, words).await;
}

/// What ends at the first visit of a month was seen last before the month.
#[tokio::test]
async fn a_month_that_goes_on_from_the_one_before_is_packed_as_well_as_that() {
    let (database, store) = ledger().await;
    record(&store, &history_from("2026-09-01T00:30:00Z", 62), 50, usize::MAX).await;
    let before = views(&database.pool).await;
    let mut left = Vec::new();
    for month in store.packable(None, 1).await.unwrap() {
        let packed = store.pack(&month, async |_, _| ()).await.unwrap().unwrap();
        assert!(packed.packed > 800, "{packed:?}");
        left.push(packed.left);
    }
    assert!(left.len() == 2 && left.iter().all(|left| *left < 20), "{left:?}");
    assert_eq!(
        number(&database.pool, "select count(*) from deskledger_data.group_span_2026_10").await,
        0
    );
    assert_eq!(views(&database.pool).await, before);
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await;
    assert!(verdicts.unwrap().iter().all(|verdict| verdict.fault.is_none()));
}

/// A recorder of `prod`, which it cannot visit, packs and says so; what was recorded is answered as before.
async fn a_recorder_says_and_answers_stay(database: &TestDatabase, words: &str) {
    let home = Home::configured(
        database,
        "[metrics]\nlisten = \"off\"\n[[source]]\nname = \"prod\"\nproject_id = \"p\"\n\
         endpoint = \"http://127.0.0.1:9\"\nauth = { token = \"t\" }\n",
    );
    let before = views(&database.pool).await;
    let running = home.start(&["collect"]);
    running.says(words).await;
    // Its visit would be waited for, and nothing that is packed depends on an orderly end.
    running.signal(Signal::SIGKILL);
    running.end().await;
    let after = views(&database.pool).await;
    // The others say that it tried to visit, and could not.
    for view in ["desktop_snapshots", "desktop_states", "coverage"] {
        assert_eq!(after[view], before[view], "{view}");
    }
}

#[tokio::test]
async fn a_recorder_packs_by_itself_what_is_over() {
    let (database, store) = ledger().await;
    record(&store, &history(32), 7, usize::MAX).await;
    a_recorder_says_and_answers_stay(&database, "2026-10 is over: packed ").await;
    let left = number(&database.pool, "select count(*) from deskledger_data.span_2026_10").await;
    assert!(left < 20, "{left}");
}

#[tokio::test]
async fn what_does_not_come_out_as_it_went_in_stays_as_it_was() {
    let (database, store) = ledger().await;
    record(&store, &history(32), 7, usize::MAX).await;
    let spans = number(&database.pool, SPANS).await;
    // As a server might that reckons otherwise than ours: what ends DISCONNECTED comes out as something else.
    sqlx::raw_sql(
        "do $$ declare earlier text := pg_get_functiondef('deskledger_report.unpack'::regproc); begin
             if earlier not like '%WHEN ((e.over & 8192) = 0) THEN ((e.over >> 8) & 31)%' then raise 'otherwise'; end if;
             execute replace(earlier, 'WHEN ((e.over & 8192) = 0) THEN ((e.over >> 8) & 31)',
                             'WHEN ((e.over & 8192) = 0) THEN greatest((e.over >> 8) & 31, 3)');
         end $$",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let months = store.packable(None, 1).await.unwrap();
    let packed = store.pack(&months[0], async |_, _| ()).await.unwrap().unwrap();
    let stay = number(&database.pool, SPANS).await;
    assert!(packed.packed < 10 && packed.left > 800, "{packed:?}");
    assert_eq!(stay.unsigned_abs() + packed.packed, spans.unsigned_abs());
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await;
    assert!(verdicts.unwrap().iter().all(|verdict| verdict.fault.is_none()));
}

/// `verify` unpacks by itself; reports do not.
#[tokio::test]
async fn a_server_that_unpacks_something_else_than_was_packed_is_found() {
    let (database, store) = ledger().await;
    record(&store, &history(32), 7, usize::MAX).await;
    let months = store.packable(None, 1).await.unwrap();
    store.pack(&months[0], async |_, _| ()).await.unwrap().unwrap();
    let faults = async || {
        let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await;
        verdicts.unwrap().into_iter().filter_map(|verdict| verdict.fault).collect::<Vec<_>>()
    };
    assert_eq!(faults().await, []);
    let (unpacks, sums) = ("the view `filed` of 2026-10", "the function `sums` says of desktop");
    for (function, right, wrong, words) in [
        ("unpack", "((e.begun & 128) = 0)", "((e.begun & 128) <> 0)", unpacks),
        ("unpack", "THEN ((e.over >> 8) & 31)", "THEN ((e.over >> 8) & 1)", unpacks),
        (
            "unpack",
            "WHERE ((e.begun & 8192) <> 8192)",
            "WHERE ((e.begun & 8192) <> 8192) AND e.nth <> 100",
            unpacks,
        ),
        ("unpack_these", "((e.begun & 128) = 0)", "((e.begun & 128) <> 0)", sums),
        ("sums", "max(t.last_seen)", "min(t.last_seen)", sums),
    ] {
        sqlx::raw_sql(AssertSqlSafe(format!(
            "do $$ declare earlier text := pg_get_functiondef('deskledger_report.{function}'::regproc); begin
                 if position('{right}' in earlier) = 0 then raise '%', earlier; end if;
                 create table right_one as select earlier as definition;
                 execute replace(earlier, '{right}', '{wrong}');
             end $$"
        )))
        .execute(&database.pool)
        .await
        .unwrap();
        let found = faults().await;
        assert_eq!(found.len(), 1, "{wrong}");
        let (place, told) = (found[0].at.unwrap(), found[0].wrong.to_string());
        assert_eq!(place.sequence, 1, "{wrong}");
        assert!(told.contains(words), "{wrong}: {told}");
        sqlx::raw_sql(
            "do $$ begin execute (select definition from right_one); end $$; drop table right_one",
        )
        .execute(&database.pool)
        .await
        .unwrap();
    }
    assert_eq!(faults().await, []);
}

/// A visit of the very last microsecond of a month is one of its visits, and what was seen then was there: packed or not.
#[tokio::test]
async fn what_is_seen_at_the_last_microsecond_of_a_month_stays_what_it_was() {
    let seen = json!([{ "desktop_id": "d-0", "desktop_name": "D0", "connect_status": "CONNECTED", "attach_users": [] }]);
    let groups = json!([{ "static_name": "pool", "in_use_num": 1 }]);
    let history: String = [
        ("2026-10-31T23:40:00Z", true),
        ("2026-10-31T23:55:00Z", true),
        ("2026-10-31T23:59:59.999999Z", true),
        // Nothing is known from here on.
        ("2026-11-01T00:05:00Z", false),
        ("2026-11-01T00:30:00Z", true),
    ]
    .iter()
    .map(|(at, is_read)| {
        let mut line = json!({ "source": "prod", "observed_at": at, "max_gap": "16m" });
        if *is_read {
            line["desktops"] = seen.clone();
            // Something to be packed before that visit.
            if at.contains("23:40") {
                line["desktops"][0]["connect_status"] = json!("REGISTERED");
            }
            line["total_count"] = json!(1);
            line["statics"] = groups.clone();
        }
        format!("{line}\n")
    })
    .collect();
    let (early, late) = history.split_at(history.match_indices('\n').nth(1).unwrap().0 + 1);
    for is_packed_before in [false, true] {
        let (database, store) = ledger().await;
        record(&store, early, 1, usize::MAX).await;
        if is_packed_before {
            assert_eq!(pack(&store).await, 1);
        }
        record(&store, late, 1, usize::MAX).await;
        let before = views(&database.pool).await;
        assert_eq!(before["desktop_snapshots"].len(), 4);
        assert_eq!(before["group_snapshots"].len(), 4);
        pack(&store).await;
        let left =
            number(&database.pool, "select count(*) from deskledger_data.span_2026_10").await;
        let out = Home::new(&database).run(&["compact"]).await.expect(0).out;
        let stay = format!(
            "2026-10  prod: {left} spans stay as they are, since it was visited at the month's last microsecond\n"
        );
        assert!(out.starts_with("nothing to pack: ") && out.ends_with(&stay), "{out}");
        let after = views(&database.pool).await;
        for (view, rows) in &before {
            assert_eq!(rows, &after[view], "{view}");
        }
        let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
        assert_eq!(verdicts[0].fault, None);
    }
}

/// Compiling a plan takes longer than any statement of ours, whatever the database is set to.
#[tokio::test]
async fn nothing_of_ours_is_compiled() {
    let (database, _) = ledger().await;
    sqlx::raw_sql(
        "do $$ begin execute format('alter database %I set jit = on', current_database()); end $$",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let options = PgConnectOptions::clone(&database.pool.connect_options());
    let store = Store::connect(options).await.unwrap();
    let jit: String = sqlx::query_scalar("show jit").fetch_one(store.pool()).await.unwrap();
    assert_eq!(jit, "off");
}

/// What a recorder goes on from is looked up among the rows of visits: a month that has any of it stays rows.
#[tokio::test(flavor = "multi_thread")]
async fn visits_that_a_recorder_goes_on_from_stay_rows() {
    let desktop = |id: &str| json!({ "desktop_id": id, "desktop_name": id, "connect_status": "CONNECTED", "attach_users": [] });
    let groups = json!([{ "static_name": "all", "in_use_num": 1 }]);
    let (none, one, two) = (json!([]), json!([desktop("a")]), json!([desktop("a"), desktop("b")]));
    // What is listed and counted in October, and from November on; how many there are.
    let cases = [
        ("nothing was listed since", (&none, &groups, 0), (&Value::Null, &groups, 0)),
        ("no statistics were read since", (&one, &groups, 1), (&one, &Value::Null, 1)),
        ("it was not listed completely since", (&one, &groups, 1), (&one, &groups, 2)),
        ("a desktop that no listing shows is left out", (&two, &groups, 3), (&one, &groups, 3)),
    ];
    let begin: DateTime<Utc> = "2026-10-30T00:30:00Z".parse().unwrap();
    for (why, october, november) in cases {
        let (database, store) = ledger().await;
        let mut lines = String::new();
        for step in 0..40 {
            let at = begin + TimeDelta::hours(2 * step);
            let (desktops, statics, total) = if step < 24 { october } else { november };
            let mut line =
                json!({ "source": "prod", "observed_at": at, "max_gap": "3h", "statics": statics });
            if desktops.is_null() {
                line["error"] = json!({ "code": "WKS.2", "message": "gone" });
            } else {
                line["desktops"] = desktops.clone();
                line["total_count"] = json!(total);
            }
            lines += &format!("{line}\n");
        }
        record(&store, &lines, 7, usize::MAX).await;
        Home::new(&database).run(&["compact"]).await.expect(0);
        let packed = "select count(*) from deskledger_data.visit_day";
        assert_eq!(number(&database.pool, packed).await, 0, "{why}");
    }
}
