//! Every view and every report, compared with what the oracle works out from the same snapshots.

use std::cell::Cell;

use deskledger::store::Store;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Map, Value};

use crate::oracle::generate::{Question, cases};
use crate::oracle::ledger::{Ledger, Micros};
use crate::oracle::reports::Work;
use crate::oracle::rows::{Row, difference, sorted};
use crate::oracle::{reports, views};
use crate::support::ledger::{ledger, pack, parameter, record, report_sql, rows};

const VIEWS: [&str; 8] = [
    "sources",
    "snapshots",
    "desktop_snapshots",
    "group_snapshots",
    "desktop_states",
    "connections",
    "coverage",
    "gaps",
];

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// Compares every view; says where one differs.
async fn compare_views(store: &Store, oracle: &Ledger) -> Result<(), String> {
    let now: Micros = sqlx::query_scalar("select (extract(epoch from now()) * 1000000)::bigint")
        .fetch_one(store.pool())
        .await
        .unwrap();
    for view in VIEWS {
        let mut actual = rows(store.pool(), &format!("select * from deskledger.{view}")).await;
        for row in &mut actual {
            row.shift_remove("snapshot_id");
            row.shift_remove("digest");
        }
        let expected = sorted(views::view(oracle, view, now));
        if let Some(difference) = difference(&expected, &sorted(actual)) {
            return Err(format!("view {view}: {difference}"));
        }
    }
    Ok(())
}

/// What each report says to a question that is asked `now`, and what it should.
fn questions(oracle: &Ledger, asked: &Question, now: Micros) -> Vec<(String, Vec<Row>)> {
    let range = asked.buckets.range;
    let (from, to) = (parameter(range.from), parameter(range.to));
    let zone = asked.buckets.tz;
    let (at, tz) = (parameter(asked.at), zone.name());
    let if_given = |at: Option<Micros>| at.map(parameter).unwrap_or_default();
    let (other_from, other_to) = (if_given(asked.other.0), if_given(asked.other.1));
    let unit = format!("{:?}", asked.buckets.unit).to_lowercase();
    let seconds = |time: Micros| format!("{}s", time / 1_000_000);
    let within = seconds(asked.reconnect_within);
    let whole = asked.reconnect_within / 1_000_000 * 1_000_000;
    let source = asked.source.as_str();
    let sql = |name: &str, more: &[(&str, &str)]| {
        let mut all = vec![
            ("from", from.as_str()),
            ("to", &to),
            ("at", &at),
            ("bucket", &unit),
            ("tz", tz),
            ("source", source),
        ];
        all.extend(more);
        report_sql(name, &all)
    };
    vec![
        (sql("utilisation", &[]), reports::utilisation(oracle, asked.buckets, source)),
        (
            sql("disconnects", &[("reconnect_within", &within)]),
            reports::disconnects(oracle, asked.buckets, source, whole),
        ),
        (
            sql("group-utilisation", &[("group", &asked.group)]),
            reports::group_utilisation(oracle, asked.buckets, source, &asked.group),
        ),
        (sql("busy-hours", &[]), reports::busy_hours(oracle, range, asked.buckets.tz, source)),
        (sql("concurrency", &[]), reports::concurrency(oracle, range, source)),
        (
            sql(
                "capacity",
                &work(asked.headroom, asked.work).each_ref().map(|(n, v)| (*n, v.as_str())),
            ),
            reports::capacity(oracle, range, asked.buckets.tz, source, asked.headroom, asked.work),
        ),
        (
            sql("forecast", &[("horizon_days", &asked.horizon.to_string())]),
            reports::forecast(oracle, range, asked.horizon, asked.buckets.tz, source),
        ),
        (sql("lingering", &[]), reports::lingering(oracle, range, source)),
        (
            sql(
                "flapping",
                &[("times", &asked.times.to_string()), ("within", &seconds(asked.within))],
            ),
            reports::flapping(oracle, range, source, asked.times, asked.within),
        ),
        (
            sql("outages", &[("share", &asked.share.to_string())]),
            reports::outages(oracle, range, source, asked.share),
        ),
        (
            idle_desktops(asked.idle, asked.idle_until, source),
            reports::idle_desktops(oracle, asked.idle_period(), source),
        ),
        (sql("coverage", &[]), reports::coverage(oracle, asked.buckets, source)),
        (
            sql("distribution", &[("bins", &asked.bins.to_string())]),
            reports::distribution(oracle, range, source, asked.bins),
        ),
        (
            sql("comparison", &[("other_from", &other_from), ("other_to", &other_to)]),
            reports::comparison(
                oracle,
                range,
                reports::other_period(range, asked.other.0, asked.other.1),
                source,
            ),
        ),
        (sql("user-days", &[("user", "")]), reports::user_days(oracle, "", range, zone, source)),
        (
            sql("user-days", &[("user", &asked.user)]),
            reports::user_days(oracle, &asked.user, range, zone, source),
        ),
        (
            sql("user-hours", &[("overlap", if asked.once { "once" } else { "each" })]),
            reports::user_hours(oracle, range, source, asked.once, now),
        ),
        (sql("connected-at", &[]), reports::connected_at(oracle, asked.at, source)),
        (
            sql("user-history", &[("user", &asked.user)]),
            reports::user_history(oracle, &asked.user, range, source),
        ),
        (
            sql("desktop-history", &[("desktop", &asked.desktop)]),
            reports::desktop_history(oracle, &asked.desktop, range, source),
        ),
    ]
}

/// What `capacity` is asked besides.
pub fn work(headroom: i64, work: Work) -> [(&'static str, String); 4] {
    [
        ("headroom_pct", headroom.to_string()),
        ("workdays", work.workdays.to_owned()),
        ("day_from", work.from.to_string()),
        ("day_to", work.to.to_string()),
    ]
}

/// `idle-desktops` as it is asked at another instant than now.
fn idle_desktops(hundredths: Micros, until: Micros, source: &str) -> String {
    let days = format!("{}.{:02}", hundredths / 100, hundredths % 100);
    let sql = report_sql("idle-desktops", &[("days", days.as_str()), ("source", source)]);
    sql.replace("now()", &format!("timestamptz '{}'", parameter(until)))
}

/// Compares every report, in the order of its rows.
async fn compare_reports(store: &Store, oracle: &Ledger, asked: &Question) -> Result<(), String> {
    // In one transaction, in which it is one moment.
    let mut moment = store.pool().begin().await.unwrap();
    let now: Micros = sqlx::query_scalar("select (extract(epoch from now()) * 1000000)::bigint")
        .fetch_one(&mut *moment)
        .await
        .unwrap();
    for (sql, expected) in questions(oracle, asked, now) {
        let actual: Vec<Map<String, Value>> = rows(&mut *moment, &sql).await;
        if let Some(difference) = difference(&expected, &actual) {
            let title = sql.lines().next().unwrap_or_default();
            return Err(format!("{title}: {difference}\nasked {asked:?}"));
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_worked_example_comes_out_of_every_view() {
    let (_database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    compare_views(&store, &Ledger::read(EXAMPLE)).await.unwrap();
}

/// Of how many of the months that a question asks for reports read the sums.
async fn summed(store: &Store, asked: &Question) -> i64 {
    sqlx::query_scalar(
        "select count(*) from deskledger_report.whole_months($1::timestamptz, $2::timestamptz, $3) w
          where whole_from > '-infinity'",
    )
    .bind(parameter(asked.buckets.range.from))
    .bind(parameter(asked.buckets.range.to))
    .bind(&asked.source)
    .fetch_one(store.pool())
    .await
    .unwrap()
}

/// The law of the whole program: whatever was fed in, in whatever portions, with whatever restarts
/// between, every view and every report answers what the definitions say.
#[test]
fn every_view_and_every_report_answers_what_the_definitions_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_database, store) = runtime.block_on(ledger());
    let wanted = |variable: &str| std::env::var(variable).ok().and_then(|n| n.parse().ok());
    let cases_wanted = wanted("PROPTEST_CASES");
    let config = Config {
        cases: cases_wanted.unwrap_or(20),
        source_file: Some(file!()),
        max_shrink_iters: wanted("PROPTEST_MAX_SHRINK_ITERS").unwrap_or(400),
        ..Config::default()
    };
    let portions = (1_usize..6, 1_usize..12);
    let packed = Cell::new(0);
    let from_sums = Cell::new(0);
    let result =
        TestRunner::new(config).run(&(cases(), portions), |((history, asked), portions)| {
            let oracle = Ledger::read(&history.0);
            let difference = runtime.block_on(async {
                store.forget_everything().await.unwrap();
                // Most of them are packed: as a whole, and in the midst of them, where recorders read back what is, and add to it.
                let lines: Vec<&str> = history.0.lines().collect();
                for part in lines.chunks(lines.len().div_ceil(4).max(1)) {
                    record(&store, &part.join("\n"), portions.0, portions.1).await;
                    if portions.0 == 2 {
                        packed.set(packed.get() + pack(&store).await);
                    }
                }
                if ![1, 3].contains(&portions.0) {
                    packed.set(packed.get() + pack(&store).await);
                }
                from_sums.set(from_sums.get() + summed(&store, &asked).await);
                compare_views(&store, &oracle).await?;
                compare_reports(&store, &oracle, &asked).await
            });
            difference.map_err(TestCaseError::fail)
        });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    let (packed, from_sums) = (packed.get(), from_sums.get());
    println!("{packed} spans packed, {from_sums} questions answered from sums");
    assert!(cases_wanted.is_some() || packed > 50 && from_sums > 0, "hardly any");
}
