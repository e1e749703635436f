//! The dashboard of docs/grafana: the SQL of each panel runs, is that of the reports, and shows gaps as gaps.

use std::str::FromStr as _;

use deskledger::store::Store;
use serde_json::{Map, Value, json};
use sqlx::postgres::PgConnectOptions;

use crate::support::ledger::{ledger, record, rows};
use crate::support::program::Home;

const DASHBOARD: &str = include_str!("../../docs/grafana/deskledger.json");
const LOGIN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/grafana/login.sql");
const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// An hour before the first snapshot of the example.
const FROM: &str = "2026-10-05T07:00:00Z";
const TO: &str = "2026-10-05T12:00:00Z";

fn dashboard() -> Value {
    serde_json::from_str(DASHBOARD).unwrap()
}

fn sql(panel: &Value) -> String {
    assert_eq!(panel["targets"].as_array().unwrap().len(), 1);
    panel["targets"][0]["rawSql"].as_str().unwrap().to_owned()
}

/// What Grafana makes of it.
fn expanded(sql: &str, source: &str) -> String {
    let mut sql = sql.to_owned();
    while let Some((before, rest)) = sql.split_once("$__timeFilter(") {
        let (column, after) = rest.split_once(')').unwrap();
        sql = format!("{before}{column} BETWEEN '{FROM}' AND '{TO}'{after}");
    }
    for (variable, value) in [
        ("$__timeFrom()", FROM),
        ("$__timeTo()", TO),
        ("${bucket:sqlstring}", "hour"),
        ("${tz:sqlstring}", "UTC"),
        ("${source:sqlstring}", source),
    ] {
        sql = sql.replace(variable, &format!("'{value}'"));
    }
    assert!(!sql.contains('$'), "{sql}");
    sql
}

fn micros(at: &str) -> Value {
    json!(chrono::DateTime::parse_from_rfc3339(at).unwrap().timestamp_micros())
}

/// The figures of a row: all but the first two columns.
fn figures(row: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    row.iter().skip(2)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_runs_for_a_reader_and_shows_gaps_as_gaps() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    // The login of the dashboard, made as it is meant to be; again is no mistake.
    let home = Home::new(&database);
    for _ in 0..2 {
        let psql = ["psql", "--", "-X", "-q", "-v", "password=it's", "-f", LOGIN];
        home.run(&psql).await.expect(0);
    }
    let right = "select rolcanlogin and not rolsuper as may_log_in, pg_has_role(oid, 'deskledger_reader', 'member') as reads
                   from pg_roles where rolname = 'deskledger_grafana'";
    let right = &rows(&database.pool, right).await[0];
    assert_eq!((&right["may_log_in"], &right["reads"]), (&json!(true), &json!(true)));

    let options = PgConnectOptions::from_str(&database.url).unwrap();
    let reader =
        Store::connect_to_read(options.options([("role", "deskledger_grafana")]), 2).await.unwrap();
    let dashboard = dashboard();
    let source = &dashboard["templating"]["list"][0];
    let sources = rows(reader.pool(), source["query"].as_str().unwrap()).await;
    let sources: Vec<&str> =
        sources.iter().map(|row| row.values().next().unwrap().as_str().unwrap()).collect();
    assert_eq!(sources, ["(each)", "(all)", "prod"]);
    for panel in dashboard["panels"].as_array().unwrap() {
        let (title, statement) = (panel["title"].as_str().unwrap(), sql(panel));
        for source in &sources {
            let found = rows(reader.pool(), &expanded(&statement, source)).await;
            assert!(!found.is_empty(), "{title} of {source} is empty");
            if panel["type"] != "timeseries" {
                continue;
            }
            let custom = &panel["fieldConfig"]["defaults"]["custom"];
            assert_eq!(custom["spanNulls"], json!(false), "{title} draws over gaps");
            assert!(found.iter().all(|row| row.keys().take(2).eq(["time", "metric"])), "{title}");
            assert!(figures(&found[0]).count() > 0);
            // Nothing was observed yet, or not any more: a share of it is 0, and nothing else is.
            let is_unknown = |row: &&Map<String, Value>| {
                figures(row).all(|(name, value)| {
                    value.is_null() || (name == "coverage_pct" && *value == json!(0.0))
                })
            };
            let is_seen = |row: &&Map<String, Value>| {
                figures(row).any(|(_, value)| value.as_f64() > Some(0.0))
            };
            if title == "Desktops listed at each visit" {
                let gap = micros("2026-10-05T08:30:00Z").as_i64()
                    ..micros("2026-10-05T09:10:00Z").as_i64();
                let inside = |row: &&Map<String, Value>| {
                    let at = row["time"].as_i64();
                    gap.start < at && at < gap.end
                };
                let inside: Vec<_> = found.iter().filter(inside).collect();
                assert!(inside.len() == 1 && is_unknown(&inside[0]), "{title}: {inside:?}");
            } else {
                let first: Vec<_> =
                    found.iter().filter(|row| row["time"] == micros(FROM)).collect();
                assert!(!first.is_empty() && first.iter().all(is_unknown), "{title}: {first:?}");
            }
            assert!(found.iter().any(|row| is_seen(&row)), "{title} of {source} shows nothing");
        }
    }
    reader.pool().close().await;
}

/// A panel that shows a report's figures asks as the report does, so that the two cannot part.
#[test]
fn panels_ask_as_the_reports_do() {
    let panels = dashboard();
    let panels = panels["panels"].as_array().unwrap();
    let mut reports = 0;
    for panel in panels.iter().map(sql).filter(|sql| sql.contains(") report")) {
        let (_, inner) = panel.split_once("\n  from (\n").unwrap();
        let (inner, _) = inner.split_once("\n  ) report").unwrap();
        let mut inner = inner.to_owned();
        for (variable, parameter) in [
            ("$__timeFrom()", "from"),
            ("$__timeTo()", "to"),
            ("${bucket:sqlstring}", "bucket"),
            ("${tz:sqlstring}", "tz"),
            ("coalesce(nullif(${source:sqlstring}, '(each)'), '')", "source"),
            (
                "case when ${source:sqlstring} in ('(each)', '(all)') then '' else ${source:sqlstring} end",
                "source",
            ),
        ] {
            inner = inner.replace(variable, &format!(":'{parameter}'"));
        }
        let is_it = |name: &&str| {
            let path = format!("{}/queries/{name}.sql", env!("CARGO_MANIFEST_DIR"));
            let file = std::fs::read_to_string(path).unwrap();
            let body: Vec<&str> = file.lines().filter(|line| !line.starts_with("--")).collect();
            let body =
                body.join("\n").replace(":'group'", "''").replace(":'reconnect_within'", "'15m'");
            body.trim() == inner
        };
        let names = ["utilisation", "coverage", "disconnects", "group-utilisation"];
        assert!(names.iter().any(is_it), "no report asks so:\n{inner}");
        reports += 1;
    }
    assert_eq!(reports, 6);
}
