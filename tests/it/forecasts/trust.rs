//! What forecasts are worth: each is held against the days that came, in simulated months with things in them that
//! the method knows nothing of.
//!
//! `DESKLEDGER_FORECAST_RUNS=40 DESKLEDGER_FORECAST_SEED=1 cargo test --test it forecasts -- --nocapture` prints what
//! docs/reports.md says.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use deskledger::domain::{Listing, Snapshot};
use deskledger::store::{Recorder, Store};

use super::fleet::{DAYS, Fleet, start};
use crate::support::ledger::{ledger, parameter, report_sql, rows, source};
use crate::support::number;

/// Records a history, one visit an hour; gives each day's true peak, also where nobody looked.
async fn record(store: &Store, fleet: &mut Fleet) -> Vec<f64> {
    let mut recorder = Recorder::open(store, &source("s")).await.unwrap();
    let mut peaks = vec![0.0_f64; DAYS];
    for hour in 0..DAYS * 24 {
        let (desktops, is_seen) = fleet.visit(hour);
        let is_connected = |status: Option<&str>| status == Some("CONNECTED");
        let connected = desktops.iter().filter(|each| is_connected(each.status.as_deref())).count();
        peaks[hour / 24] = peaks[hour / 24].max(connected as f64);
        if !is_seen {
            continue;
        }
        let at = start() + TimeDelta::hours(hour as i64);
        let snapshot = Snapshot {
            scheduled_at: Some(at),
            observed_at: at,
            finished_at: at + TimeDelta::seconds(2),
            max_gap: TimeDelta::minutes(90),
            total: i64::try_from(desktops.len()).ok(),
            desktops: Some(Listing::new(desktops)),
            groups: None,
            failure: None,
        };
        recorder.add(&snapshot).await.unwrap();
        if hour % 480 == 0 {
            recorder.commit().await.unwrap();
        }
    }
    recorder.commit().await.unwrap();
    peaks
}

/// How forecasts of one kind came out.
#[derive(Default)]
struct Tally {
    forecasts: f64,
    banded: f64,
    inside: f64,
    above: f64,
    width: f64,
    error: f64,
    /// Of the peak of the same weekday in the last week before the forecast.
    naive_error: f64,
    peaks: f64,
    /// What the reports said themselves.
    claimed: f64,
    claims: f64,
    claimed_error: f64,
}

impl Tally {
    fn inside_pct(&self) -> f64 {
        100.0 * self.inside / self.banded
    }
}

/// Asks for a forecast at the end of each week, from the third on, and holds it against what came.
async fn judge(
    store: &Store,
    seed: u64,
    peaks: &[f64],
    tallies: &mut BTreeMap<(&'static str, i64), Tally>,
) {
    for week in 3..(DAYS - 14) / 7 {
        // Not always on a Monday.
        let today = week * 7 + seed as usize % 7;
        let end = start() + TimeDelta::days(today as i64);
        let from = end - TimeDelta::days(90);
        let given = [
            ("from", parameter(from.timestamp_micros())),
            ("to", parameter(end.timestamp_micros())),
            ("horizon_days", "14".to_owned()),
            ("tz", "Asia/Singapore".to_owned()),
            ("source", String::new()),
        ];
        let given = given.each_ref().map(|(name, value)| (*name, value.as_str()));
        let known = if today < 56 { "3 to 8 weeks" } else { "8 to 13 weeks" };
        for row in rows(store.pool(), &report_sql("forecast", &given)).await {
            let Some(expected) = row["expected_peak"].as_f64() else { continue };
            let at = row["day"].as_i64().unwrap() - start().timestamp_micros();
            let day = (at / 86_400_000_000) as usize;
            let ahead = (day - today) / 7;
            let peak = peaks[day];
            let tally = tallies.entry((known, ahead as i64 + 1)).or_default();
            tally.forecasts += 1.0;
            tally.error += (peak - expected).abs();
            tally.naive_error += (peak - peaks[day - 7 * (ahead + 1)]).abs();
            tally.peaks += peak;
            if let (Some(low), Some(high)) = (row["low"].as_f64(), row["high"].as_f64()) {
                assert!(low <= high && row["band_pct"] == 80, "seed {seed}, day {today}: {row:?}");
                tally.banded += 1.0;
                tally.inside += f64::from(low <= peak && peak <= high);
                tally.above += f64::from(peak > high);
                tally.width += high - low;
                tally.claimed_error += row["method_error"].as_f64().unwrap();
            }
            if let Some(claimed) = row["in_band_pct"].as_f64() {
                tally.claims += 1.0;
                tally.claimed += claimed;
            }
        }
    }
}

fn print(tallies: &BTreeMap<(&'static str, i64), Tally>) {
    for ((known, week), tally) in tallies {
        println!(
            "{known} of history, week {week}: {} forecasts, {} with a band; inside {:.1} %, above {:.1} %, as the \
             report said {:.1} %; error {:.1} % of the mean peak (report {:.1} %, last week's day {:.1} %); band {:.0} % \
             of the mean peak wide",
            tally.forecasts,
            tally.banded,
            tally.inside_pct(),
            100.0 * tally.above / tally.banded,
            tally.claimed / tally.claims,
            100.0 * tally.error / tally.peaks,
            100.0 * tally.claimed_error / tally.banded / (tally.peaks / tally.forecasts),
            100.0 * tally.naive_error / tally.peaks,
            100.0 * tally.width / tally.banded / (tally.peaks / tally.forecasts),
        );
    }
}

/// The band is stated to hold four days of five. Days near one another fare alike, so few histories say little.
#[tokio::test]
async fn bands_hold_about_as_many_days_as_they_say() {
    let runs = number("DESKLEDGER_FORECAST_RUNS", 2);
    let first = number("DESKLEDGER_FORECAST_SEED", 1);
    let (_database, store) = ledger().await;
    let mut tallies = BTreeMap::new();
    for seed in first..first + runs {
        store.forget_everything().await.unwrap();
        let mut fleet = Fleet::new(seed);
        let peaks = record(&store, &mut fleet).await;
        sqlx::query("analyze").execute(store.pool()).await.unwrap();
        judge(&store, seed, &peaks, &mut tallies).await;
        println!("seed {seed}: {}", fleet.story);
    }
    print(&tallies);
    let sum = |of: fn(&Tally) -> f64| tallies.values().map(of).sum::<f64>();
    let (inside, naive) = (
        100.0 * sum(|tally| tally.inside) / sum(|tally| tally.banded),
        sum(|tally| tally.naive_error),
    );
    println!("seeds {first} to {}: inside {inside:.1} %", first + runs - 1);
    let (tolerance, of_each) = if runs >= 20 { (5.0, 10.0) } else { (12.0, 20.0) };
    let is_near = |inside: f64, tolerance: f64| (inside - 80.0).abs() <= tolerance;
    assert!(is_near(inside, tolerance), "{inside:.1} % of the days lay in the band");
    assert!(tallies.values().all(|tally| is_near(tally.inside_pct(), of_each)));
    assert!(sum(|tally| tally.error) < naive, "no better than last week's day");
}
