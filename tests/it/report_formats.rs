//! What stands above the rows of a report, and how each format writes them.

use std::io;
use std::path::Path;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::report::catalogue::{Catalogue, Report};
use deskledger::report::params::Values;
use deskledger::report::render::{Format, Look};
use deskledger::report::{Cell, Column, DEFAULT_TIMEOUT, Head, Sampling, Sink, run};
use serde_json::json;
use sqlx::PgPool;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};

use crate::support::ledger::{ledger, record};
use crate::support::postgres::TestDatabase;

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// The worked example, and a source that was never visited.
async fn example() -> TestDatabase {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    store.register_source(&crate::support::ledger::source("lab")).await.unwrap();
    database
}

fn built_in(name: &str) -> Report {
    Catalogue::built_in().take(name).unwrap()
}

fn own(text: &str) -> Report {
    Report::read("own", Path::new("own.sql"), text, true).unwrap()
}

/// Keeps what stands above the rows.
#[derive(Default)]
struct Heading(Option<Head>);

impl Sink for Heading {
    fn begin(&mut self, head: &Head, _: &[Column]) -> io::Result<()> {
        self.0 = Some(head.clone());
        Ok(())
    }

    fn row(&mut self, _: Vec<Cell>) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

async fn sampling(pool: &PgPool, report: &Report, given: &[(&str, &str)]) -> Vec<Sampling> {
    let values = Values::new(report, given.iter().copied()).unwrap();
    let mut heading = Heading::default();
    run(pool, report, &values, DEFAULT_TIMEOUT, &mut heading).await.unwrap();
    heading.0.unwrap().sampling
}

/// `minutes` from visit to visit, `max_gap` minutes at most.
fn visited(source: &str, minutes: Option<i64>, max_gap: Option<i64>) -> Sampling {
    let micros = |minutes: i64| minutes * 60_000_000;
    Sampling {
        source: source.to_owned(),
        interval: minutes.map(micros),
        max_gap: max_gap.map(micros),
        detail: None,
        counts_from: None,
    }
}

#[tokio::test]
async fn every_report_knows_how_often_its_sources_were_visited() {
    let database = example().await;
    let pool = &database.pool;
    let (lab, prod) = (visited("lab", None, None), visited("prod", Some(5), Some(15)));
    let report = built_in("utilisation");
    assert_eq!(sampling(pool, &report, &[]).await, [lab.clone(), prod.clone()]);
    assert_eq!(sampling(pool, &report, &[("source", "prod")]).await, std::slice::from_ref(&prod));
    let mine = own("select 1 as one");
    assert_eq!(sampling(pool, &mine, &[]).await, [lab.clone(), prod.clone()]);
    // What came after the period says nothing about it: one visit by then, and none.
    for (to, interval, max_gap) in
        [("2026-10-05T08:00:00Z", None, Some(15)), ("2026-10-05T07:59:59Z", None, None)]
    {
        let given = [("from", "2026-10-05"), ("to", to), ("source", "prod")];
        assert_eq!(
            sampling(pool, &report, &given).await,
            [visited("prod", interval, max_gap)],
            "{to}"
        );
    }
    let at = [("at", "2026-10-05T08:07:00Z"), ("source", "prod")];
    assert_eq!(sampling(pool, &built_in("connected-at"), &at).await, [prod]);
}

async fn written(pool: &PgPool, name: &str, given: &[(&str, &str)], format: Format) -> String {
    let report = built_in(name);
    let values = Values::new(&report, given.iter().copied()).unwrap();
    let mut bytes = Vec::new();
    let mut sink = format.sink(&mut bytes, Look::default());
    run(pool, &report, &values, DEFAULT_TIMEOUT, sink.as_mut()).await.unwrap();
    drop(sink);
    String::from_utf8(bytes).unwrap()
}

/// What nobody gave as `from` and `to` is said, too: the period compared with, and how far back was looked.
#[tokio::test]
async fn every_heading_says_from_when_to_when_was_looked() {
    let database = example().await;
    let pool = &database.pool;
    let period = [("from", "2026-10-05 08:00"), ("to", "2026-10-05 11:00"), ("source", "prod")];
    for (other, said) in [
        (vec![], "2026-10-05 05:00 to 2026-10-05 08:00"),
        (vec![("other_from", "2026-10-04")], "2026-10-04 00:00 to 2026-10-04 03:00"),
        (vec![("other_to", "2026-10-04")], "2026-10-03 21:00 to 2026-10-04 00:00"),
        (
            vec![("other_from", "2026-10-03"), ("other_to", "2026-10-04")],
            "2026-10-03 00:00 to 2026-10-04 00:00",
        ),
    ] {
        let given = [period.as_slice(), &other].concat();
        let said =
            format!("2026-10-05 08:00 to 2026-10-05 11:00 · compared with {said} · source prod");
        for format in [Format::Table, Format::Markdown, Format::Html] {
            let text = written(pool, "comparison", &given, format).await;
            assert!(text.contains(&said), "{format:?}: {said}: {}", &text[..600]);
        }
    }
    // Of all figures the peaks alone are lower bounds, in both periods.
    let given = [period.as_slice(), &[("other_from", "2026-10-05 08:00")]].concat();
    let table = written(pool, "comparison", &given, Format::Table).await;
    let bounds: Vec<&str> = table.lines().filter(|line| line.contains("≥ ")).collect();
    assert_eq!(bounds.len(), 2, "{table}");
    assert!(
        bounds[0].contains("connected_peak") && bounds[0].matches("≥ ").count() == 2,
        "{table}"
    );
    assert!(bounds[1].starts_with('≥'), "{table}");
    let markdown = written(pool, "comparison", &given, Format::Markdown).await;
    assert!(markdown.contains("connected\\_peak | ≥ 3.00 | ≥ 3.00 | "), "{markdown}");
    let page = written(pool, "comparison", &given, Format::Html).await;
    assert_eq!(page.matches("<td class=\"n\">≥ 3.00</td>").count(), 2);

    let before = Clock::System.now();
    for format in [Format::Table, Format::Markdown, Format::Html] {
        let text = written(pool, "idle-desktops", &[("days", "0.5")], format).await;
        let line = text.lines().find(|line| line.contains(" · days 0.5")).expect("a heading");
        let line = line.trim_start_matches("<p>");
        let at = |text: &str| {
            let form = "%Y-%m-%d %H:%M:%S";
            chrono::NaiveDateTime::parse_from_str(text.trim(), form).unwrap().and_utc()
        };
        let (from, to) = line.split(" · ").next().unwrap().split_once(" to ").expect("a period");
        let (from, to) = (at(from), at(to));
        assert_eq!(to - from, TimeDelta::hours(12), "{line}");
        assert!((to - before).abs() < TimeDelta::minutes(2), "{line}");
    }
}

/// Visits to `prod` that found nothing, `minutes` apart.
fn visits(from: &str, minutes: i64, count: i32, max_gap: &str) -> String {
    let from: DateTime<Utc> = from.parse().unwrap();
    let line = |nth| {
        let at = from + TimeDelta::minutes(minutes) * nth;
        let line = json!({
            "source": "prod", "observed_at": at, "max_gap": max_gap, "total_count": 0,
            "desktops": [], "statics": [],
        });
        format!("{line}\n")
    };
    (0..count).map(line).collect()
}

/// A changed interval shows soon, and does not change what was.
#[tokio::test]
async fn the_newest_visits_decide_how_often() {
    let (database, store) = ledger().await;
    let history = visits("2026-09-01T00:00:00Z", 60, 600, "3h")
        + &visits("2026-10-01T00:00:00Z", 1, 600, "3m");
    record(&store, &history, 100, usize::MAX).await;
    let report = built_in("utilisation");
    let mut found = Vec::new();
    for to in ["2026-10-02", "2026-10-01 00:01", "2026-10-01 04:00", "2026-10-01 05:00"] {
        let given = [("from", "2026-09-30"), ("to", to), ("bucket", "month")];
        found.extend(sampling(&database.pool, &report, &given).await);
    }
    let expected = [(1, 3), (60, 3), (60, 3), (1, 3)];
    assert_eq!(
        found,
        expected.map(|(minutes, max_gap)| visited("prod", Some(minutes), Some(max_gap)))
    );
}

#[tokio::test]
async fn a_planner_knows_it_too_and_who_may_see_nothing_is_not_refused() {
    let database = example().await;
    let options = PgConnectOptions::clone(&database.pool.connect_options());
    let planner = PgPoolOptions::new()
        .connect_with(options.clone().options([("role", "deskledger_planner")]))
        .await
        .unwrap();
    let prod = [visited("prod", Some(5), Some(15))];
    let given = [("source", "prod")];
    assert_eq!(sampling(&planner, &built_in("utilisation"), &given).await, prod);

    sqlx::raw_sql(
        "do $$ begin
           create role deskledger_test_stranger;
         exception when duplicate_object or unique_violation then null;
         end $$",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let stranger = PgPoolOptions::new()
        .connect_with(options.options([("role", "deskledger_test_stranger")]))
        .await
        .unwrap();
    assert_eq!(sampling(&stranger, &own("select 1 as one"), &[]).await, []);
}
