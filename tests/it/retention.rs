//! Retention: what is pruned and restored again is what it was, and what is pruned is claimed by nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chrono::{DateTime, Months, SecondsFormat, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::domain::pruning::{Ages, Class};
use deskledger::retention::{Archive, Headers, Outcome, prune, restore, restore_headers};
use deskledger::store::prune::Due;
use deskledger::store::{Progress, Store};
use nix::sys::signal::Signal;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, PgPool};

use crate::exchange::views;
use crate::oracle::generate::histories;
use crate::support::ledger::{keep_late_lines, ledger, pack, record};
use crate::support::program::{Done, Home, PATIENCE};
use crate::verify::digests;

/// All that a ledger holds of filed months, row by row.
async fn tables(pool: &PgPool) -> BTreeMap<&'static str, Vec<String>> {
    let mut all = BTreeMap::new();
    for (table, sql) in [
        (
            "filed",
            "select (to_jsonb(t) - 'packed_from' - 'packed_to')::text as line from deskledger_data.filed t",
        ),
        ("open_span", "select t::text as line from deskledger_data.open_span t"),
        ("unlisted", "select t::text as line from deskledger_data.unlisted t"),
        (
            "filed_group",
            "select (to_jsonb(t) - 'packed_from' - 'packed_to')::text as line from deskledger_data.filed_group t",
        ),
        ("group_span_wide", "select t::text as line from deskledger_data.group_span_wide t"),
        ("tally", "select t::text as line from deskledger_data.tally t"),
        ("late", "select (line, observed_at)::text as line from deskledger_data.late t"),
        // What is recorded after something was pruned has other numbers and digests; salts differ everywhere.
        (
            "visit",
            "select (to_jsonb(t) - 'snapshot_id' - 'sequence' - 'digest' - 'body_hash')::text as line from deskledger_data.visit t",
        ),
        // What stays of those whose header is pruned.
        (
            "visit_day",
            "select t::text as line from deskledger_data.visit_day t where snapshot_id is null",
        ),
    ] {
        let sql = format!("select line from ({sql}) t order by 1");
        all.insert(table, sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap());
    }
    all
}

pub fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A history that lies around a month's end, which is `off` after one of its visits; and once more a month later, and again.
fn months(history: &str, off: TimeDelta) -> String {
    let lines: Vec<Value> =
        history.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |line: &Value| instant(line["observed_at"].as_str().unwrap());
    let Some(middle) = lines.get(lines.len() / 2) else { return String::new() };
    let end = instant("2026-03-01T00:00:00Z");
    let mut text = String::new();
    for month in 0..3 {
        let later = end + Months::new(month);
        for line in &lines {
            let mut line = line.clone();
            for key in ["observed_at", "finished_at", "scheduled_at"] {
                if let Some(told) = line[key].as_str() {
                    let moved = instant(told) + (later - at(middle)) + off;
                    line[key] = moved.to_rfc3339_opts(SecondsFormat::Micros, true).into();
                }
            }
            text += &format!("{line}\n");
        }
    }
    text
}

pub async fn assert_verifies(store: &Store, when: &str) {
    let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
    for verdict in verdicts {
        let wrong = verdict.fault.map(|fault| fault.wrong.to_string());
        assert_eq!(wrong, None, "{when}");
    }
}

pub async fn everything_due(store: &Store) -> Vec<Due> {
    let day = Some(TimeDelta::days(1));
    let ages = Ages { spans: day, groups: day, rollups: day, headers: day };
    store.plan(&ages, None, instant("2027-01-01T00:00:00Z")).await.unwrap()
}

/// Prunes the headers of every month of which the rest is pruned; returns their archives.
pub async fn prune_headers(store: &Store, folder: &std::path::Path) -> Vec<Headers> {
    let mut archives = Vec::new();
    for of_month in everything_due(store).await.chunk_by(|one, other| one.month == other.month) {
        // Nothing else of the month is left.
        if let [due] = of_month
            && (due.class, &due.kept) == (Class::Headers, &None)
        {
            let outcome =
                prune(store, &due.month, &[Class::Headers], Some(folder), Clock::System.now());
            let Outcome::Gone(_, Some(path)) = outcome.await.unwrap() else { panic!("busy") };
            archives.push(Headers::read(&path).unwrap());
        }
    }
    store.drop_empty_partitions().await.unwrap();
    archives
}

/// Prunes every month that is over, but for each `skip`th, of all but its headers; returns the manifests.
pub async fn prune_all(
    store: &Store,
    folder: &std::path::Path,
    skip: usize,
    classes: &[Class],
) -> Vec<Archive> {
    let plan = everything_due(store).await;
    let mut archives = Vec::new();
    for (nth, of_month) in plan.chunk_by(|one, other| one.month == other.month).enumerate() {
        if nth % skip == skip - 1 {
            continue;
        }
        let due: Vec<Class> = of_month
            .iter()
            .filter(|due| due.kept.is_none() && due.class != Class::Headers)
            .filter(|due| classes.contains(&due.class))
            .map(|due| due.class)
            .collect();
        let are_spans_kept = of_month.iter().any(|due| due.class == Class::Spans);
        if due.is_empty() || (are_spans_kept && !due.contains(&Class::Spans)) {
            continue;
        }
        let outcome = prune(store, &of_month[0].month, &due, Some(folder), Clock::System.now())
            .await
            .unwrap();
        let Outcome::Gone(_, archive) = outcome else { panic!("busy") };
        archives.extend(archive.map(|lines| Archive::read(&lines).unwrap()));
    }
    store.drop_empty_partitions().await.unwrap();
    archives
}

/// The rows of `snapshot`, with every column.
pub async fn header_rows(pool: &PgPool) -> BTreeSet<String> {
    let rows = "select t::text from deskledger_data.snapshot t";
    sqlx::query_scalar(rows).fetch_all(pool).await.unwrap().into_iter().collect()
}

/// One ledger is recorded to its end; the other is pruned in its midst, goes on, and is restored. Then they say the same.
#[test]
fn what_is_pruned_and_restored_is_what_it_was() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let ((one, one_store), (other, other_store)) =
        runtime.block_on(async { (ledger().await, ledger().await) });
    let runs = std::env::var("DESKLEDGER_RETENTION_RUNS");
    let runs = runs.map_or(2, |runs| runs.parse().unwrap());
    let config = Config {
        cases: runs,
        source_file: Some(file!()),
        max_shrink_iters: 25,
        ..Config::default()
    };
    let shapes = (histories(), 0_usize..4, 1_usize..4, any::<bool>());
    let result = TestRunner::new(config).run(&shapes, |(history, off, skip, backwards)| {
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let off = [0, 1, -150_000_000, 1_000_000][off];
            let history = months(&history.0, TimeDelta::microseconds(off));
            let lines: Vec<&str> = history.lines().collect();
            let (first, rest) = lines.split_at(lines.len() * 9 / 10);
            let (first, rest) = (first.join("\n"), rest.join("\n"));
            for store in [&one_store, &other_store] {
                store.forget_everything().await.unwrap();
                record(store, &first, 3, 7).await;
                keep_late_lines(store, &first, 9).await;
            }
            if lines.len().is_multiple_of(2) {
                pack(&other_store).await;
            }
            let skip = skip + usize::from(skip == 1) * 100;
            let mut archives = prune_all(&other_store, folder.path(), skip, &[Class::Spans]).await;
            prune_all(&other_store, folder.path(), 100, &[Class::Groups, Class::Rollups]).await;
            archives.extend(prune_all(&other_store, folder.path(), 100, &Class::ALL).await);
            let headers_before = header_rows(&other.pool).await;
            // Not always: what stands behind pruned months is looked for in one way or the other.
            let mut headers = match lines.len() % 3 {
                0 => Vec::new(),
                _ => prune_headers(&other_store, folder.path()).await,
            };
            assert_verifies(&other_store, "pruned").await;
            record(&one_store, &rest, 3, 7).await;
            record(&other_store, &rest, 3, 7).await;
            headers.extend(prune_headers(&other_store, folder.path()).await);
            assert_verifies(&other_store, "pruned, and gone on").await;
            if backwards {
                headers.reverse();
            }
            let half = headers.len() / 2;
            for (nth, archive) in headers.into_iter().enumerate() {
                restore_headers(&other_store, archive, Clock::System.now()).await.unwrap();
                if nth == half {
                    assert_verifies(&other_store, "some headers restored").await;
                }
            }

            let headers_after = header_rows(&other.pool).await;
            prop_assert!(headers_before.is_subset(&headers_after), "{:#?}", headers_before);
            archives.sort_by_key(|archive| archive.month);
            if !backwards {
                // Rollups come back from the newest on.
                archives.reverse();
            }
            let half = archives.len() / 2;
            for (nth, archive) in archives.into_iter().enumerate() {
                restore(&other_store, archive, Clock::System.now()).await.unwrap();
                if nth == half {
                    assert_verifies(&other_store, "restored in part").await;
                }
            }
            assert_verifies(&other_store, "restored").await;
            // Cut where the other one was, which says the same.
            for source in [1, 2] {
                for month in 2..=5 {
                    let at = instant(&format!("2026-{month:02}-01T00:00:00Z"));
                    one_store.split_at(source, at).await.unwrap();
                    other_store.split_at(source, at).await.unwrap();
                }
            }
            let (expected, actual) = (views(&one.pool).await, views(&other.pool).await);
            for (view, rows) in &expected {
                prop_assert_eq!(rows, &actual[view], "view {}", view);
            }
            let (expected, actual) = (tables(&one.pool).await, tables(&other.pool).await);
            for (table, rows) in &expected {
                if !(backwards && *table == "tally") {
                    prop_assert_eq!(rows, &actual[table], "table {}", table);
                }
            }
            Ok(())
        })
    });
    result.unwrap_or_else(|failure| {
        panic!("{}", failure.to_string().chars().take(3000).collect::<String>())
    });
}

/// What was seen at the first instant of a month alone, and not for long enough to reach any further, ends with the month before.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_only_seen_at_the_first_instant_of_a_month_comes_back() {
    let (database, store) = ledger().await;
    let history: String = (3..=6)
        .map(|month| {
            let at = format!("2026-0{month}-01T00:00:00Z");
            let line = json!({
                "source": "prod", "observed_at": at, "max_gap": "1h",
                "desktops": [{ "desktop_id": "d", "desktop_name": "D", "connect_status": "CONNECTED", "attach_users": [] }],
                "statics": [{ "static_name": "pool", "in_use_num": month }],
            });
            format!("{line}\n")
        })
        .collect();
    record(&store, &history, 1, usize::MAX).await;
    let before = (views(&database.pool).await, tables(&database.pool).await);
    let folder = tempfile::tempdir().unwrap();
    let mut archives = prune_all(&store, folder.path(), 100, &Class::ALL).await;
    assert!(archives.len() > 2, "{archives:?}");
    archives.reverse();
    for archive in archives {
        restore(&store, archive, Clock::System.now()).await.unwrap();
        assert_verifies(&store, "restored in part").await;
    }
    let after = (views(&database.pool).await, tables(&database.pool).await);
    assert!(before == after, "{before:#?} {after:#?}");
}

/// A visit every six hours from January to the first days of April, and one desktop more that is only there in February.
fn winter() -> String {
    let begin = instant("2026-01-01T00:30:00Z");
    let lines = (0..4 * 93).map(|step: i64| {
        let at = begin + TimeDelta::hours(6 * step);
        let mut desktops: Vec<Value> = (0..3)
            .map(|number: i64| {
                let status = ["CONNECTED", "DISCONNECTED", "REGISTERED"][((step / (number + 2)) % 3) as usize];
                json!({ "desktop_id": format!("d-{number}"), "desktop_name": format!("D{number}"), "connect_status": status,
                        "attach_users": [{ "id": "u", "name": "anna", "type": "USER" }] })
            })
            .collect();
        if at.format("%m").to_string() == "02" {
            desktops.push(json!({ "desktop_id": "d-x", "desktop_name": "X", "connect_status": "CONNECTED",
                                  "attach_users": [{ "id": "v", "name": "ben", "type": "USER" }] }));
        }
        let line = json!({ "source": "prod", "observed_at": at, "max_gap": "7h", "desktops": desktops,
                           "statics": [{ "static_name": "pool", "in_use_num": step % 5 }] });
        format!("{line}\n")
    });
    lines.collect()
}

/// A month in an archive names whoever was erased from the ledger since, and comes back with what stands there now.
#[tokio::test(flavor = "multi_thread")]
async fn who_is_erased_after_a_month_was_archived_does_not_come_back_with_it() {
    let winter = winter();
    let mut both = Vec::new();
    for is_pruned in [false, true] {
        let (database, store) = ledger().await;
        let home = Home::new(&database);
        record(&store, &winter, 50, usize::MAX).await;
        assert!(keep_late_lines(&store, &winter, 40).await > 5);
        // Ben is erased before, so that what late snapshots of February say is no more what they said.
        home.run(&["erase-user", "ben", "--yes"]).await.expect(0);
        let mut archives = Vec::new();
        if is_pruned {
            let kept = "create table kept as select sequence, line from deskledger_data.late order by sequence limit 1";
            sqlx::query(kept).execute(&database.pool).await.unwrap();
            let folder = home.path().join("archive");
            archives = prune_all(&store, &folder, 100, &Class::ALL).await;
            assert_eq!(archives.len(), 3);
            assert_verifies(&store, "pruned").await;
            // Nobody puts anything back by hand, be it what stood there.
            for (line, is_wrong) in [("kept.line", true), ("null", false)] {
                let change = format!(
                    "update deskledger_data.late l set line = {line} from kept where l.sequence = kept.sequence"
                );
                sqlx::query(AssertSqlSafe(change)).execute(&database.pool).await.unwrap();
                let verdicts =
                    store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
                let wrong = verdicts[0].fault.as_ref().map(|fault| fault.wrong.to_string());
                assert_eq!(wrong.is_some(), is_wrong, "{wrong:?}");
                assert!(wrong.is_none_or(|wrong| wrong.contains("whose month is pruned")));
            }
            sqlx::query("drop table kept").execute(&database.pool).await.unwrap();
            let (code, said) = digests::check(&database.pool).await;
            assert_eq!(code, Some(0), "{said}");
        }
        home.run(&["erase-user", "anna", "--yes"]).await.expect(0);
        assert_verifies(&store, "erased").await;
        archives.reverse();
        for archive in archives {
            restore(&store, archive, Clock::System.now()).await.unwrap();
            assert_verifies(&store, "restored").await;
        }
        let (code, said) = digests::check(&database.pool).await;
        assert_eq!(code, Some(0), "{said}");
        for name in ["anna", "\"ben\""] {
            let found = crate::erasure::found(&database.pool, name).await;
            assert_eq!(found, Vec::<String>::new());
        }
        let pseudonyms: Vec<String> =
            sqlx::query_scalar("select pseudonym from deskledger.erasures order by erased_at")
                .fetch_all(&database.pool)
                .await
                .unwrap();
        let plain =
            |row: String| row.replace(&pseudonyms[0], "BEN").replace(&pseudonyms[1], "ANNA");
        let mut all = tables(&database.pool).await;
        all.remove("late");
        let late = "select line from deskledger_data.late order by sequence";
        all.insert("late", sqlx::query_scalar(late).fetch_all(&database.pool).await.unwrap());
        for view in ["desktop_snapshots", "desktop_states", "connections", "gaps"] {
            let rows = format!("select to_jsonb(v)::text from deskledger.{view} v order by 1");
            let rows =
                sqlx::query_scalar(AssertSqlSafe(rows)).fetch_all(&database.pool).await.unwrap();
            all.insert(view, rows);
        }
        let all = all.into_iter().map(|(table, rows)| {
            let mut rows: Vec<String> = rows.into_iter().map(plain).collect();
            rows.sort();
            (table, rows)
        });
        both.push(all.collect::<BTreeMap<_, _>>());
    }
    for (table, rows) in &both[0] {
        assert!(
            !rows.is_empty() || ["unlisted", "group_span_wide", "visit_day"].contains(table),
            "{table}"
        );
        assert_eq!(rows, &both[1][table], "{table}");
    }
}

/// The rows of a report as CSV.
async fn as_csv(home: &Home, report: &[&str]) -> String {
    home.run(&[&["report"], report, &["--format", "csv"]].concat()).await.expect(0).out
}

/// A report as people read it.
async fn as_text(home: &Home, report: &[&str]) -> String {
    home.run(&[&["report"], report].concat()).await.expect(0).out
}

/// Counts are reckoned from later ones: of months that come back oldest first they are told to be missing, and come once those are there.
#[tokio::test(flavor = "multi_thread")]
async fn counts_come_back_once_those_of_the_next_month_are_there() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter(), 50, usize::MAX).await;
    let utilisation = ["utilisation", "--from", "2026-01-01", "--to", "2026-04-01"];
    let before = as_csv(&home, &utilisation).await;
    let ages = ["--spans", "30d", "--groups", "30d", "--rollups", "30d", "--archive", "kept"];
    home.run(&[&["prune"], &ages[..]].concat()).await.expect(0);
    let restore = async |month: u32| {
        home.run(&["restore", &format!("kept/prod-2026-0{month}.json")]).await.expect(0)
    };
    for month in 1..=3 {
        let done = restore(month).await;
        assert_eq!(
            done.err.contains("restore that, and then this once more"),
            month < 3,
            "{}",
            done.err
        );
    }
    home.run(&["restore", "kept/prod-2026-01.json"]).await.expect(2);
    for month in [2, 1] {
        let done = restore(month).await;
        assert_eq!(
            (done.out, done.err),
            (format!("2026-0{month}  prod: its counts are back\n"), String::new())
        );
    }
    assert_eq!(as_csv(&home, &utilisation).await, before);
    home.run(&["verify"]).await.expect(0);
    let refused = home.run(&["restore", "/dev/zero"]).await.expect(2);
    assert!(refused.errors()[0].contains("it is no file"), "{}", refused.err);
}

/// The counts of a month's first instant stay, since the month before ends there: they say nothing of the day.
#[tokio::test(flavor = "multi_thread")]
async fn what_ended_with_a_months_first_instant_is_not_told_of_a_day_that_is_pruned() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter().replace(":30:00", ":00:00"), 50, usize::MAX).await;
    let day = ["--from", "2026-02-01", "--to", "2026-02-02"];
    let disconnects = [&["disconnects"], &day[..]].concat();
    let comparison = [
        "comparison",
        "--from",
        "2026-02-01",
        "--to",
        "2026-02-02",
        "--other-from",
        "2026-02-03",
        "--other-to",
        "2026-02-04",
    ];
    let before = as_csv(&home, &disconnects).await;
    assert!(before.ends_with("prod,3,1,1,100,48,2.0833333333333335,0,0,100\n"), "{before}");
    let ages = ["--spans", "30d", "--groups", "30d", "--rollups", "30d", "--no-archive"];
    home.run(&[&["prune"], &ages[..]].concat()).await.expect(0);
    let after = as_csv(&home, &disconnects).await;
    assert!(after.ends_with("prod,,,,,,,,,0\n"), "{after}");
    let after = as_csv(&home, &comparison).await;
    assert!(after.contains("prod,disconnects,,,,"), "{after}");
    let set =
        home.run(&["hold", "add", "--source", "prod", "--reason", "too late"]).await.expect(0);
    let gone =
        "of source `prod` 3 months from 2026-01 to 2026-03 are pruned already, and not held: ";
    assert!(set.out.contains(gone), "{}", set.out);
}

/// Where the spans of the next month are pruned and its groups are not, a month's end keeps a hash of its desktops.
/// A run that was seen with a month's last microsecond, and that the next month's first instant ended, did not go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_groups_run_that_ends_between_two_months_keeps_neither_from_being_pruned() {
    // Counters at that microsecond, and after it; before both it is 1.
    let counters = [(1, 1), (2, 2), (2, 1), (1, 2)];
    // What goes on into February ends with it, or is open still.
    for ((then, after), days) in counters.into_iter().flat_map(|of| [(of, 30), (of, 8)]) {
        let (database, store) = ledger().await;
        let home = Home::new(&database);
        let begin = instant("2026-01-31T20:00:00Z");
        let mut instants: Vec<_> =
            (0..24 * days).map(|hour| begin + TimeDelta::hours(hour)).collect();
        let last = instant("2026-01-31T23:59:59.999999Z");
        instants.insert(4, last);
        let history: String = instants
            .iter()
            .map(|at| {
                let count = if *at < last { 1 } else if *at == last { then } else { after };
                let statics = [json!({ "static_name": "pool", "in_use_num": count })];
                let line = json!({ "source": "prod", "observed_at": at.to_rfc3339_opts(SecondsFormat::Micros, true),
                                   "max_gap": "2h", "desktops": [], "total_count": 0, "statics": statics });
                format!("{line}\n")
            })
            .collect();
        record(&store, &history, 50, usize::MAX).await;
        let ages = ["prune", "--spans", "1d", "--groups", "1d", "--no-archive"];
        let done = home.run(&ages).await.expect(0);
        for (month, is_over) in [("2026-01  prod", true), ("2026-02  prod", days == 30)] {
            assert_eq!(done.out.contains(month), is_over, "{then}, {after}: {}", done.out);
        }
        home.run(&["verify"]).await.expect(0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_is_proved_also_where_its_desktops_are_pruned() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter(), 50, usize::MAX).await;
    home.run(&["prune", "--spans", "30d", "--archive", "kept"]).await.expect(0);
    let proved = async |when: &str| {
        assert_verifies(&store, when).await;
        let (code, said) = digests::check(&database.pool).await;
        assert_eq!(code, Some(0), "{when}: {said}");
    };
    proved("pruned").await;
    let standings: Vec<(DateTime<Utc>, Value)> =
        sqlx::query_as("select at, state from deskledger_data.standing order by at")
            .fetch_all(&database.pool)
            .await
            .unwrap();
    let emptied: Vec<bool> =
        standings.iter().map(|(_, state)| state.get("desktops_hash").is_some()).collect();
    assert_eq!(emptied, [true, true, false]);
    let put = async |at: &DateTime<Utc>, state: &Value| {
        sqlx::query("update deskledger_data.standing set state = $2 where at = $1")
            .bind(at)
            .bind(state)
            .execute(&database.pool)
            .await
            .unwrap();
    };
    let (at, standing) = &standings[1];
    let with_desktops = {
        let mut state = standing.clone();
        state["desktops"] = standings[2].1["desktops"].clone();
        state
    };
    for other in altered(standing).iter().chain([&with_desktops]) {
        put(at, other).await;
        let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
        assert!(verdicts[0].fault.is_some(), "{other}");
        assert_eq!(digests::check(&database.pool).await.0, Some(1), "{other}");
    }
    put(at, standing).await;
    proved("as before").await;
    for month in ["02", "03", "01"] {
        home.run(&["restore", &format!("kept/prod-2026-{month}.json")]).await.expect(0);
        proved(&format!("restored, {month}")).await;
    }
}

/// No archive stays behind that nothing was pruned with.
#[tokio::test(flavor = "multi_thread")]
async fn a_pruning_that_is_refused_leaves_no_file() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter(), 50, usize::MAX).await;
    let folder = tempfile::tempdir().unwrap();
    let month = everything_due(&store).await[0].month.clone();
    let classes = [Class::Spans, Class::Groups];
    let pruned = async || {
        let outcome = prune(&store, &month, &classes, Some(folder.path()), Clock::System.now());
        (outcome.await, std::fs::read_dir(folder.path()).unwrap().count())
    };
    // Whatever is refused, it is put right by the same once more.
    for change in [
        "update deskledger_data.span set status_id = 4 - status_id where ended = 2",
        "update deskledger_data.group_span set in_use_num = 9 - in_use_num",
    ] {
        sqlx::query(change).execute(&database.pool).await.unwrap();
        let (outcome, files) = pruned().await;
        assert!(outcome.is_err() && files == 0, "{change}: {outcome:?}, {files} files");
        sqlx::query(change).execute(&database.pool).await.unwrap();
    }
    home.run(&["hold", "add", "--source", "prod", "--reason", "case 3"]).await.expect(0);
    let (outcome, files) = pruned().await;
    assert_eq!((outcome.unwrap(), files), (Outcome::Busy, 0));
    home.run(&["hold", "drop", "1", "--reason", "closed"]).await.expect(0);
    let (outcome, files) = pruned().await;
    assert!(matches!(outcome, Ok(Outcome::Gone(..))) && files == 2, "{outcome:?}, {files} files");
}

/// A held month between pruned ones: reports say what of it is known, and that it is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_that_is_held_between_pruned_ones_is_told_as_far_as_it_was_seen() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    // One desktop more, which is always there and has two spans: the second begins in February.
    let lines = winter();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let status = if line["observed_at"].as_str().unwrap() < "2026-02-10" {
            "REGISTERED"
        } else {
            "CONNECTED"
        };
        line["desktops"].as_array_mut().unwrap().push(json!({
            "desktop_id": "d-y", "desktop_name": "Y", "connect_status": status,
            "attach_users": [{ "id": "w", "name": "cleo", "type": "USER" }],
        }));
        line["max_gap"] = json!("13h");
        // The last listing of February leaves out one that goes on into March.
        if line["observed_at"] == "2026-02-28T18:30:00Z" {
            let desktops = line["desktops"].as_array_mut().unwrap();
            let all = desktops.len();
            desktops.retain(|desktop| desktop["desktop_id"] != "d-1");
            assert_eq!(desktops.len() + 1, all);
            line["total_count"] = json!(all);
        }
        format!("{line}\n")
    });
    record(&store, &lines.collect::<String>(), 50, usize::MAX).await;
    home.run(&["hold", "add", "--from", "2026-02-01", "--to", "2026-03-01", "--reason", "case 9"])
        .await
        .expect(0);
    let history =
        ["desktop-history", "--desktop", "d-y", "--from", "2026-01-01", "--to", "2026-05-01"];
    let whole = as_csv(&home, &history).await;
    home.run(&["prune", "--spans", "30d", "--no-archive"]).await.expect(0);

    let (code, said) = digests::check(&database.pool).await;
    assert_eq!(code, Some(0), "{said}");
    // What goes on from there into a pruned month ended nobody knows when.
    let csv = as_csv(&home, &["connected-at", "--at", "2026-02-28T20:00:00Z"]).await;
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let column = |name: &str| rows[0].iter().position(|column| *column == name).unwrap();
    let of = |desktop: &str| {
        let row = rows.iter().find(|row| row[column("desktop_id")] == desktop).unwrap();
        (row[column("last_seen")], row[column("ended_before")])
    };
    assert_eq!(of("d-0"), ("2026-02-28T18:30:00Z", ""), "{csv}");
    // The last listing left it out.
    assert_eq!(of("d-1"), ("2026-02-28T12:30:00Z", ""), "{csv}");
    // What outlived it says so by itself.
    assert_eq!(of("d-y"), ("2026-04-03T18:30:00Z", ""), "{csv}");

    let told = "detail from 2026-04-01 UTC on and from 2026-02-01 to 2026-03-01: what else is older was pruned";
    for period in
        [["2026-01-01", "2026-05-01"], ["2026-03-01", "2026-04-01"], ["2026-01-01", "2026-01-10"]]
    {
        let asked = ["disconnects", "--from", period[0], "--to", period[1]];
        let shown = as_text(&home, &asked).await;
        assert!(shown.contains(told), "{shown}");
        for format in ["csv", "json", "ndjson"] {
            let done = home
                .run(&[&["report"], &asked[..], &["--format", format]].concat())
                .await
                .expect(0);
            assert_eq!(done.err, format!("source `prod`: {told}\n"));
        }
    }
    // Nothing is missing there.
    for period in [["2026-02-02", "2026-03-01"], ["2026-04-01", "2026-05-01"]] {
        let done = home
            .run(&[
                "report",
                "disconnects",
                "--from",
                period[0],
                "--to",
                period[1],
                "--format",
                "csv",
            ])
            .await
            .expect(0);
        assert_eq!(done.err, "");
    }

    let pruned = as_csv(&home, &history).await;
    let rows = |csv: &str| -> Vec<String> { csv.lines().skip(1).map(str::to_owned).collect() };
    // The span that was open all the time says by itself since when.
    assert_eq!(rows(&pruned), rows(&whole), "{pruned}");
    for (desktop, last_seen) in [("d-0", "2026-02-28T18:30:00Z"), ("d-1", "2026-02-28T12:30:00Z")] {
        let of =
            ["desktop-history", "--desktop", desktop, "--from", "2026-02-25", "--to", "2026-03-20"];
        let csv = as_csv(&home, &of).await;
        let columns: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
        let at = |name: &str| columns.iter().position(|column| *column == name).unwrap();
        let last: Vec<&str> =
            csv.lines().rfind(|line| line.contains("present")).unwrap().split(',').collect();
        assert_eq!(last[at("last_seen")], last_seen, "{csv}");
        assert_eq!(last[at("held_until")], "2026-03-01T00:00:00Z", "{csv}");
    }
}

/// A month of which every span is packed has no rows of its own, and keeps no partition: what stands in it is still there.
#[tokio::test(flavor = "multi_thread")]
async fn months_that_are_packed_as_a_whole_outlive_the_pruning_of_one_before() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    // The same desktops all the time, by day: that leaves nothing over.
    let winter = winter();
    let lines = winter.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        let is_day = line["observed_at"].as_str().unwrap().contains("T12:");
        let desktops = line["desktops"].as_array_mut().unwrap();
        desktops.truncate(3);
        for desktop in desktops {
            desktop["connect_status"] = if is_day { "CONNECTED" } else { "REGISTERED" }.into();
        }
        format!("{line}\n")
    });
    record(&store, &lines.collect::<String>(), 50, usize::MAX).await;
    home.run(&["compact"]).await.expect(0);
    home.run(&["hold", "add", "--from", "2026-02-01", "--reason", "case 8"]).await.expect(0);
    let rows = "select count(*) from deskledger.desktop_states where first_seen >= '2026-02-01'";
    let count =
        async || sqlx::query_scalar::<_, i64>(rows).fetch_one(&database.pool).await.unwrap();
    let before = count().await;
    home.run(&["prune", "--spans", "30d", "--no-archive"]).await.expect(0);
    // Unless someone was reading just then.
    store.drop_empty_partitions().await.unwrap();
    home.run(&["verify"]).await.expect(0);
    assert_eq!((count().await, before > 0), (before, true));
    let left: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
          where i.inhparent = 'deskledger_data.span'::regclass order by 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert!(!left.contains(&"span_2026_02".to_owned()), "nothing is put to the test: {left:?}");
}

/// A document with each of its values changed in turn; of the elements of an array those of the first.
fn altered(document: &Value) -> Vec<Value> {
    let within = |inner: &Value, put: &dyn Fn(Value) -> Value| -> Vec<Value> {
        altered(inner).into_iter().map(put).collect()
    };
    match document {
        Value::Null => vec![7.into()],
        Value::Bool(yes) => vec![(!yes).into()],
        Value::Number(number) => vec![(number.as_i64().unwrap() + 1).into()],
        Value::String(text) => vec![text.replacen('2', "1", 1).into()],
        Value::Array(elements) => elements
            .iter()
            .enumerate()
            // Of tuples each element, of lists the first.
            .filter(|(nth, element)| *nth == 0 || !element.is_object())
            .flat_map(|(nth, element)| {
                within(element, &|other| {
                    let mut elements = elements.clone();
                    elements[nth] = other;
                    elements.into()
                })
            })
            .collect(),
        Value::Object(keys) => keys
            .iter()
            .flat_map(|(key, value)| {
                within(value, &|other| {
                    let mut keys = keys.clone();
                    keys.insert(key.clone(), other);
                    keys.into()
                })
            })
            .collect(),
    }
}

/// What people see of it: plan, holds, archive, what reports say of a pruned month, an archive that was altered, and restoring.
#[tokio::test(flavor = "multi_thread")]
async fn a_month_is_archived_and_pruned_and_nobody_claims_to_know_it_and_it_comes_back() {
    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter(), 50, usize::MAX).await;
    store.pack(&store.packable(None, 1).await.unwrap()[0], async |_, _| ()).await.unwrap();
    let before = (views(&database.pool).await, tables(&database.pool).await);
    let utilisation =
        ["utilisation", "--from", "2026-01-01", "--to", "2026-02-01", "--bucket", "all"];
    let told = as_csv(&home, &utilisation).await;

    // By age alone January and February go, and March stays: all of a month is older, or none of it goes.
    let age = format!("{}d", (Clock::System.now() - instant("2026-03-15T00:00:00Z")).num_days());
    let folder = home.path().join("archive");
    let folder = folder.to_str().unwrap();
    let how = ["prune", "--spans", &age, "--groups", &age, "--archive", folder];
    let refused = home.run(&["prune", "--groups", "9d", "--no-archive"]).await.expect(2);
    assert!(refused.errors()[0].contains("`groups` may not go before `spans`"), "{}", refused.err);
    let refused = home.run(&["prune", "--spans", &age]).await.expect(2);
    assert!(refused.errors()[0].contains("--archive DIR"), "{}", refused.err);
    let set = home.run(&["hold", "add", "--user", "ben", "--reason", "case 7"]).await.expect(0);
    assert_eq!(set.out, "hold 1 is set\n");
    // What would hold nothing is none, and who is held keeps the name.
    for (what, problem) in [
        (&["--user", "Ben"][..], "never saw a user `Ben`"),
        (&["--desktop", "D9"], "never saw a desktop `D9`"),
        (&[], "--user <USER>"),
    ] {
        let refused =
            home.run(&[&["hold", "add", "--reason", "case 7"], what].concat()).await.expect(2);
        assert!(refused.err.contains(problem), "{}", refused.err);
    }
    let refused = home.run(&["erase-user", "ben", "--yes"]).await.expect(1);
    assert!(refused.errors()[0].contains("hold 1 is on that user (case 7)"), "{}", refused.err);
    let plan = home.run(&["erase-user", "v", "--plan"]).await.expect(0).out;
    assert!(plan.contains("hold 1 is on that user"), "{plan}");
    let plan = home
        .run(&["prune", "--spans", &age, "--groups", &age, "--plan", "--format", "json"])
        .await
        .expect(0);
    let plan: Vec<Value> = serde_json::from_str(&plan.out).unwrap();
    let short: Vec<_> = plan
        .iter()
        .map(|due| {
            (due["month"].as_str().unwrap(), due["class"].as_str().unwrap(), due["kept"].as_str())
        })
        .collect();
    let kept = Some("hold 1: case 7");
    assert_eq!(
        short,
        [
            ("2026-01", "spans", None),
            ("2026-01", "groups", None),
            ("2026-02", "spans", kept),
            ("2026-02", "groups", kept)
        ]
    );
    assert!(
        plan.iter().all(|due| due["rows"].as_i64() > Some(20) && due["bytes"].as_i64() > Some(200))
    );
    let table =
        home.run(&["prune", "--spans", &age, "--groups", &age, "--plan"]).await.expect(0).out;
    assert!(table.contains("2026-02") && table.contains("case 7"), "{table}");
    assert_eq!((views(&database.pool).await, tables(&database.pool).await), before);

    let out = home.run(&how).await.expect(0).out;
    assert!(
        out.contains("2026-01  prod, spans, groups: ") && out.contains("prod-2026-01.ndjson.zst"),
        "{out}"
    );
    assert!(out.contains("2026-02  prod, spans, kept, hold 1: case 7"), "{out}");
    assert!(
        home.run(&["verify"]).await.expect(0).out.contains("detail from 2026-02-01T00:00:00Z on")
    );
    // Whatever is changed of what says so, and of what stood then, is found.
    let standing: Value = sqlx::query_scalar("select state from deskledger_data.standing")
        .fetch_one(&database.pool)
        .await
        .unwrap();
    let others = altered(&standing);
    assert!(others.len() > 30, "{standing}");
    let others =
        others.iter().map(|state| format!("update deskledger_data.standing set state = '{state}'"));
    let changes = [
        "update deskledger_data.pruning set at = at + interval '1 s'",
        "update deskledger_data.pruning set is_restored = true, kept = null",
        "update deskledger_data.pruning set rows = rows + 1",
        "update deskledger_data.pruning set archive = null",
        "update deskledger_data.pruning set kept = null where class = 'spans'",
        "update deskledger_data.pruning set kept = set_byte(kept, 0, 255 - get_byte(kept, 0)) where class = 'spans'",
        "delete from deskledger_data.pruning where class = 'groups'",
        "delete from deskledger_data.standing",
        "update deskledger_data.standing set at = at + interval '1 month'",
        "insert into deskledger_data.standing select source_id, at + interval '1 month', state from deskledger_data.standing",
        "update deskledger_data.standing set state = '{}'",
        // What tells of desktops that are gone may stand for them only where they are.
        "update deskledger_data.standing
            set state = state || '{\"desktops\": [], \"absent\": []}'
                        || jsonb_build_object('desktops_hash', deskledger_data.standing_desktops(state))",
        "update deskledger_data.standing
            set state = state || jsonb_build_object('desktops_hash', deskledger_data.standing_desktops(state))",
    ];
    for change in changes.into_iter().map(str::to_owned).chain(others) {
        let mut copied = String::new();
        for table in ["pruning", "standing"] {
            copied +=
                &format!("create table copy_{table} as select * from deskledger_data.{table};");
        }
        sqlx::raw_sql(AssertSqlSafe(copied)).execute(&database.pool).await.unwrap();
        let changed =
            sqlx::query(AssertSqlSafe(change.clone())).execute(&database.pool).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let verdicts = store.verify(None, &BTreeMap::new(), &Progress::default()).await.unwrap();
        assert!(verdicts[0].fault.is_some(), "{change}");
        assert_eq!(digests::check(&database.pool).await.0, Some(1), "{change}");
        let mut back = String::new();
        for table in ["pruning", "standing"] {
            back += &format!(
                "delete from deskledger_data.{table}; insert into deskledger_data.{table} select * from copy_{table};
                 drop table copy_{table};"
            );
        }
        sqlx::raw_sql(AssertSqlSafe(back)).execute(&database.pool).await.unwrap();
    }
    assert_verifies(&store, "as before").await;
    // Who holds what is pruned is told so.
    let late = ["hold", "add", "--source", "prod", "--to", "2026-02-01", "--reason", "too late"];
    let set = home.run(&late).await.expect(0);
    assert_eq!(
        set.out,
        "hold 2 is set\nof source `prod` 2026-01 is pruned already, and not held: `restore` what is needed of it\n"
    );
    home.run(&["hold", "drop", "2", "--reason", "too late"]).await.expect(0);
    // The partition is gone with the month, unless someone was reading just then.
    store.drop_empty_partitions().await.unwrap();

    // Utilisation is told from counts, which stay; who was connected is not known, and nobody says that nobody was.
    assert_eq!(as_csv(&home, &utilisation).await, told);
    let shown = as_text(&home, &utilisation).await;
    assert!(shown.contains("detail from 2026-02-01 UTC on: what is older was pruned"), "{shown}");
    let csv = as_csv(&home, &["connected-at", "--at", "2026-01-20T12:00:00Z"]).await;
    assert_eq!(csv.lines().count(), 2, "{csv}");
    assert!(csv.contains("prod") && csv.contains("not observed"), "{csv}");
    let january = ["--from", "2026-01-02", "--to", "2026-01-30"];
    let csv =
        as_csv(&home, &[&["desktop-history", "--desktop", "d-0"], &january[..]].concat()).await;
    assert!(!csv.contains("absent") && csv.contains("not observed"), "{csv}");
    let csv = as_csv(&home, &[&["disconnects", "--bucket", "all"], &january[..]].concat()).await;
    let columns: Vec<&str> = csv.lines().next().unwrap().split(',').collect();
    let figures: Vec<&str> = csv.lines().nth(1).unwrap().split(',').collect();
    let figure = |name: &str| figures[columns.iter().position(|column| *column == name).unwrap()];
    assert_eq!((figure("reconnects"), figure("reconnect_pct")), ("", ""), "{csv}");
    assert!(figure("disconnects").parse::<i64>().unwrap() > 3, "{csv}");
    let csv = as_csv(&home, &["user-hours", "--from", "2026-01-15", "--to", "2026-02-15"]).await;
    let coverage: f64 = csv.lines().nth(1).unwrap().rsplit(',').next().unwrap().parse().unwrap();
    assert!((40.0..50.0).contains(&coverage), "{csv}");
    let csv = as_csv(&home, &["lingering", "--from", "2026-01-15", "--to", "2026-02-15"]).await;
    assert!(csv.lines().count() > 2, "{csv}");
    for line in csv.lines().skip(1) {
        let coverage: f64 = line.rsplit(',').next().unwrap().parse().unwrap();
        assert!((40.0..50.0).contains(&coverage), "{csv}");
    }
    assert!(
        as_csv(
            &home,
            &["coverage", "--from", "2026-01-02", "--to", "2026-01-30", "--bucket", "all"]
        )
        .await
        .contains(",100")
    );
    // What is exported begins where detail does, and what is imported again is not compared with what nobody knows.
    let exported = home.run(&["export"]).await.expect(0);
    assert!(exported.err.contains("months before 2026-02-01 are pruned"), "{}", exported.err);
    let exported = exported.out;
    assert!(exported.lines().next().unwrap().contains("2026-02-01"), "{}", &exported[..200]);
    let file = home.write("winter.ndjson", winter().as_bytes());
    home.run(&["import", file.to_str().unwrap()]).await.expect(0);

    // An archive that says something else, wherever it does, is refused; and nothing comes back.
    let manifest = format!("{folder}/prod-2026-01.json");
    let lines = format!("{folder}/prod-2026-01.ndjson.zst");
    for file in [&manifest, &lines] {
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(file).unwrap().permissions(),
        );
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let original = std::fs::read(&lines).unwrap();
    let text = zstd::decode_all(&original[..]).unwrap();
    let text = String::from_utf8(text).unwrap().replacen(
        "\"connect_status\":\"REGISTERED\"",
        "\"connect_status\":\"CONNECTED\"",
        1,
    );
    std::fs::write(&lines, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
    let refused = home.run(&["restore", &manifest]).await.expect(1);
    assert!(
        refused.errors()[0].contains("snapshot ")
            && refused.errors()[0].contains("of 2026-01-02T00:30:00Z"),
        "{}",
        refused.err
    );
    std::fs::write(&lines, &original).unwrap();
    let whole = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, whole.replace("\"month\"", " \"month\"")).unwrap();
    let refused = home.run(&["restore", &lines]).await.expect(1);
    assert!(refused.errors()[0].contains("the chain of the source names"), "{}", refused.err);
    std::fs::write(&manifest, &whole).unwrap();
    assert!(views(&database.pool).await["desktop_states"].len() < before.0["desktop_states"].len());

    let restored = home.run(&["restore", &lines]).await.expect(0).out;
    assert!(
        restored.contains("2026-01  prod: ") && restored.contains("rows are back"),
        "{restored}"
    );
    assert_eq!((views(&database.pool).await, tables(&database.pool).await), before);
    assert!(!home.run(&["verify"]).await.expect(0).out.contains("detail from"));
    let refused = home.run(&["restore", &lines]).await.expect(2);
    assert!(
        refused.errors()[0].contains("nothing of source `prod` in 2026-01 is pruned"),
        "{}",
        refused.err
    );

    // Without the hold February goes too, and that it was held and why no longer stays.
    home.run(&["hold", "drop", "1", "--reason", "closed"]).await.expect(0);
    let list = home.run(&["hold", "list"]).await.expect(0).out;
    assert!(
        list.contains("1  user `ben`; set ")
            && list.contains("; dropped ")
            && list.contains(": closed"),
        "{list}"
    );
    // Who is erased then is named there no more.
    home.run(&["erase-user", "ben", "--yes"]).await.expect(0);
    let list = home.run(&["hold", "list"]).await.expect(0).out;
    assert!(list.contains("1  user `erased-") && !list.contains("ben"), "{list}");
    // So it does where a recorder is told once how long what is kept.
    home.configure(&format!(
        "[metrics]\nlisten = \"off\"\n[retention]\nspans = \"{age}\"\nrollups = \"{age}\"\n\
         archive = \"off\"\n[[source]]\nname = \"other\"\ninterval = \"1d\"\nproject_id = \"p\"\nendpoint = \"http://127.0.0.1:9\"\n\
         auth = {{ token = \"t\" }}\n"
    ));
    let running = home.start(&["collect"]);
    running.says("2026-02  prod, spans, rollups: ").await;
    assert!(running.said().contains(" rows pruned"), "{}", running.said());
    // Killed, since a visit to nobody is under way.
    running.signal(Signal::SIGKILL);
    running.end().await;
    assert_verifies(&store, "pruned for good").await;
    let csv = as_csv(&home, &utilisation).await;
    assert!(
        csv.lines().find(|line| line.contains(",prod,")).unwrap().contains(",prod,,,,"),
        "{csv}"
    );
    let shown = as_text(&home, &utilisation).await;
    assert!(shown.contains("counts from 2026-03-01 UTC on"), "{shown}");
}

/// How often a command is killed before it may end.
const KILLS: u32 = 6;

/// Runs a command that is killed at random moments of the time that it takes, and then again until it ends by itself with `done`;
/// looks after each time whether all is well.
async fn through_kills(
    home: &Home,
    dice: &mut StdRng,
    arguments: &[&str],
    takes: Duration,
    done: impl Fn(&Done) -> bool,
    mut looks_well: impl AsyncFnMut(),
) {
    let mut killed = 0;
    for nth in 0..KILLS {
        let running = home.start(arguments);
        let moment = (f64::from(nth) + dice.random::<f64>()) / f64::from(KILLS);
        tokio::time::sleep(takes.mul_f64(moment)).await;
        running.signal(Signal::SIGKILL);
        killed += u32::from(running.end().await.code.is_none());
        looks_well().await;
    }
    assert!(killed > 0, "{arguments:?} was over each time before it was killed");
    // What a killed one began PostgreSQL may not have given up yet.
    let began = Instant::now();
    loop {
        let last = home.run(arguments).await;
        if done(&last) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{arguments:?} never ends: {}{}", last.out, last.err);
    }
    looks_well().await;
}

/// Whoever packs, prunes or restores may be killed at any moment: no answer changes by it, and whoever comes next goes on.
#[tokio::test(flavor = "multi_thread")]
async fn who_packs_prunes_or_restores_may_be_killed_at_any_moment() {
    const SEED: u64 = 20_261_127;
    println!("seed {SEED}");
    let mut dice = StdRng::seed_from_u64(SEED);
    // How long each takes that nobody kills.
    let (twin, twin_store) = ledger().await;
    let twin_home = Home::new(&twin);
    record(&twin_store, &winter(), 50, usize::MAX).await;
    let time = async |arguments: &[&str]| {
        let began = Instant::now();
        twin_home.run(arguments).await.expect(0);
        began.elapsed()
    };
    let compact = ["compact"];
    let mut prune = vec!["prune", "--archive", "archive"];
    for class in ["--spans", "--groups", "--rollups", "--headers"] {
        prune.extend([class, "1d"]);
    }
    let headers = ["restore", "archive/prod-2026-03.headers.ndjson.zst"];
    let first = ["restore", "archive/prod-2026-03.json"];
    let took = (time(&compact).await, time(&prune).await, time(&headers).await, time(&first).await);

    let (database, store) = ledger().await;
    let home = Home::new(&database);
    record(&store, &winter(), 50, usize::MAX).await;
    let before = (views(&database.pool).await, tables(&database.pool).await);
    let is_as_before = async || {
        let now = (views(&database.pool).await, tables(&database.pool).await);
        assert!(now == before, "another answer than before");
        assert_verifies(&store, "killed").await;
    };
    let is_done = |done: &Done| done.out.starts_with("nothing to pack");
    through_kills(&home, &mut dice, &compact, took.0, is_done, is_as_before).await;

    let verifies = async || assert_verifies(&store, "killed").await;
    let is_done = |done: &Done| done.code == Some(0) && !done.out.contains("prod-2026");
    through_kills(&home, &mut dice, &prune, took.1, is_done, verifies).await;
    let left: i64 = sqlx::query_scalar(
        "select count(*) from deskledger_data.filed where piece_to < '2026-04-01'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(left, 0);

    let left: i64 = sqlx::query_scalar(
        "select count(*) from deskledger_data.snapshot where observed_at < '2026-04-01'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!(left, 0);

    // Of a month that was archived twice, the chain names one.
    let named: Vec<(bool, DateTime<Utc>, Vec<u8>)> = sqlx::query_as(
        "select distinct class = 'headers', month_from, archive from deskledger_data.pruning order by 1 desc, 2 desc",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(named.len(), 6);
    let files = std::fs::read_dir(home.path().join("archive")).unwrap();
    let manifests: Vec<String> = files
        .map(|file| format!("archive/{}", file.unwrap().file_name().to_str().unwrap()))
        .filter(|file| file.ends_with(".json") || file.ends_with(".headers.ndjson.zst"))
        .collect();
    for (is_of_headers, month, archive) in named {
        let is_named = |file: &&String| {
            let bytes = std::fs::read(home.path().join(file)).unwrap();
            Sha256::digest(bytes).as_slice() == archive
        };
        let manifest = manifests.iter().find(is_named).unwrap();
        assert!(manifest.contains(&month.format("prod-%Y-%m").to_string()), "{manifest}");
        // One that was killed once all was there has brought it back.
        let is_done = |done: &Done| {
            done.code == Some(0)
                || ["nothing of source `prod` in 2026-0", "are there already"]
                    .iter()
                    .any(|text| done.err.contains(text))
        };
        let restore = ["restore", manifest.as_str()];
        let takes = if is_of_headers { took.2 } else { took.3 };
        through_kills(&home, &mut dice, &restore, takes, is_done, verifies).await;
    }
    is_as_before().await;
}
