//! Forecasts and capacity over weeks: held against the oracle, and forecasts against what came.

mod fleet;
mod trust;

use chrono::DateTime;
use chrono_tz::Tz;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use serde_json::json;

use crate::answers::work;
use crate::oracle::coverage::Period;
use crate::oracle::fleet::ALL;
use crate::oracle::generate::WORK;
use crate::oracle::ledger::{DAY, HOUR, Ledger, MINUTE, Micros};
use crate::oracle::reports::{self, Work};
use crate::oracle::rows::{Row, difference};
use crate::support::ledger::{ledger, parameter, record, report_sql, rows};
use crate::support::program::Home;

/// A history of weeks with a visit every six hours, and what is asked of it.
#[derive(Clone, Debug)]
struct Case {
    seed: u64,
    days: i64,
    /// From its first and its last day.
    hours: (i64, i64),
    tz: Tz,
    source: &'static str,
    horizon: usize,
    headroom: i64,
    work: Work,
}

fn cases() -> impl Strategy<Value = Case> {
    let zones = vec![Tz::UTC, Tz::Europe__Berlin, Tz::Australia__Lord_Howe, Tz::America__Santiago];
    let cut = || prop_oneof![3 => Just(0_i64), 1 => Just(1), 2 => -90_i64..90];
    let history = (any::<u64>(), 8_i64..75, cut(), cut());
    let sources = select(vec!["", "", "prod", ALL]);
    let asked = (select(zones), sources, 0_usize..30, 0_i64..100, select(WORK.to_vec()));
    (history, asked).prop_map(|((seed, days, from, to), asked)| {
        let (tz, source, horizon, headroom, work) = asked;
        Case { seed, days, hours: (from, to), tz, source, horizon, headroom, work }
    })
}

/// Before Berlin's, Santiago's and Lord Howe's clocks are changed.
const START: &str = "2026-03-02T00:00:00Z";

fn start() -> Micros {
    DateTime::parse_from_rfc3339(START).unwrap().timestamp_micros()
}

/// Few desktops, so that many peaks are equal; weekends, a drift, visits left out, and desktops that come late
/// or are never used.
fn history(case: &Case) -> String {
    let mut dice = StdRng::seed_from_u64(case.seed);
    let mut lines = Vec::new();
    let names = if dice.random_bool(0.5) { &["prod", "Qa"][..] } else { &["prod"] };
    let max_gap = if dice.random_bool(0.7) { "7h" } else { "13h" };
    for name in names {
        let (missed, drift) = (dice.random_range(0.0..0.06), dice.random_range(-0.01..0.01));
        let delay = dice.random_range(0..20) * MINUTE;
        let unused = dice.random_range(0..3);
        let mut out = 0;
        for visit in 0..case.days * 4 {
            let day = visit / 4;
            if out == 0 && dice.random_bool(missed) {
                out = if dice.random_bool(0.1) { 40 } else { 1 };
            }
            if out > 0 {
                out -= 1;
                continue;
            }
            let busy = if day % 7 < 5 { 0.7 } else { 0.15 };
            let busy = (busy + drift * day as f64).clamp(0.0, 1.0);
            let late = dice.random_bool(0.5);
            let desktops = (0..6).filter(|index| *index < 5 || day > 9 || late).map(|index| {
                let is_used = index >= unused && dice.random_bool(busy);
                let status = if is_used { "CONNECTED" } else { "REGISTERED" };
                json!({ "desktop_id": format!("d-{index}"), "connect_status": status })
            });
            let desktops: Vec<_> = desktops.collect();
            let at = start() + visit * 6 * HOUR + delay + dice.random_range(0..10) * MINUTE;
            lines.push(
                json!({
                    "source": name, "observed_at": parameter(at), "max_gap": max_gap,
                    "desktops": desktops, "statics": [],
                })
                .to_string(),
            );
        }
    }
    lines.join("\n")
}

/// The values are bound there, and stand in the text here.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_psql_says() {
    let (database, store) = ledger().await;
    let plain = Case {
        seed: 3,
        days: 40,
        hours: (0, 0),
        tz: Tz::Europe__Berlin,
        source: "",
        horizon: 3,
        headroom: 25,
        work: WORK[0],
    };
    record(&store, &history(&plain), 50, usize::MAX).await;
    let (from, to) = (parameter(start()), parameter(start() + 40 * DAY));
    let home = Home::new(&database);
    for (name, more) in [
        ("forecast", vec![("horizon_days", "3".to_owned())]),
        ("capacity", work(plain.headroom, plain.work).to_vec()),
    ] {
        let mut given =
            vec![("from", from.as_str()), ("to", &to), ("tz", plain.tz.name()), ("source", "")];
        given.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        let mut arguments = vec!["report".to_owned(), name.to_owned(), "--format=json".to_owned()];
        arguments.extend(
            given.iter().map(|(name, value)| format!("--{}={value}", name.replace('_', "-"))),
        );
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let done = home.run(&arguments).await.expect(0);
        let mut told: Vec<Row> = serde_json::from_str(&done.out).unwrap();
        let mut expected = rows(store.pool(), &report_sql(name, &given)).await;
        assert!(expected.len() >= 2, "{name}: {expected:?}");
        for row in told.iter_mut().chain(&mut expected) {
            // Written otherwise.
            row.shift_remove("day");
        }
        assert_eq!(difference(&expected, &told), None, "{name}");
    }
}

#[test]
fn weeks_are_foretold_and_summed_up_as_the_definitions_say() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (_database, store) = runtime.block_on(ledger());
    let cases_wanted = std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok());
    let config = Config {
        cases: cases_wanted.unwrap_or(16),
        source_file: Some(file!()),
        max_shrink_iters: 100,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&cases(), |case| {
        let text = history(&case);
        let oracle = Ledger::read(&text);
        let range = Period {
            from: start() + case.hours.0 * HOUR,
            to: start() + case.days * DAY + case.hours.1 * HOUR,
        };
        let (from, to) = (parameter(range.from), parameter(range.to));
        let horizon = case.horizon.to_string();
        let more = work(case.headroom, case.work);
        let mut given = vec![
            ("from", from.as_str()),
            ("to", &to),
            ("tz", case.tz.name()),
            ("source", case.source),
            ("horizon_days", &horizon),
        ];
        given.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        let found = runtime.block_on(async {
            store.forget_everything().await.unwrap();
            record(&store, &text, 50, usize::MAX).await;
            let forecast = rows(store.pool(), &report_sql("forecast", &given)).await;
            let capacity = rows(store.pool(), &report_sql("capacity", &given)).await;
            (forecast, capacity)
        });
        let (tz, source) = (case.tz, case.source);
        let forecast = reports::forecast(&oracle, range, case.horizon, tz, source);
        let capacity = reports::capacity(&oracle, range, tz, source, case.headroom, case.work);
        let wrong = difference(&forecast, &found.0).or(difference(&capacity, &found.1));
        wrong.map_or(Ok(()), |wrong| Err(TestCaseError::fail(wrong)))
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
