//! A long history: its size, what reports on it take, and reading it back.

use std::time::{Duration, Instant};

use chrono::TimeDelta;
use deskledger::report::catalogue::Catalogue;
use deskledger::report::params::Values;
use deskledger::report::{Collected, run};
use deskledger::simulator::World;
use deskledger::store::{Recorder, Replay};

use super::figures::{Figures, median_and_max, millis};
use super::server::{Ledger, Server};
use super::{Args, Outcome, importing, workload};

/// What is asked of which report, with which values.
type Asked<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

/// A transaction holds so many snapshots, or so many rows.
const BATCH: (usize, usize) = (1_440, 50_000);

pub async fn measure(server: &Server, args: &Args, figures: &mut Figures) -> Outcome {
    figures.part(&format!("A ledger of {} days", args.days));
    let ledger = server.ledger("reading").await?;
    let snapshots = record(&ledger, args, figures).await?;
    // Nothing has been analysed yet: that is how a ledger looks right after an import.
    let fresh = time(&ledger, "utilisation", args, &[("bucket", "day")], 3).await?;
    figures.below("utilisation by day, before any vacuum: median", fresh, "ms", 1_000.0);
    ledger.run("vacuum (analyze)").await?;
    weigh(&ledger, args, figures, snapshots).await?;
    verify(&ledger, figures).await?;
    figures.part(&format!(
        "Reports on it: median of 5, {} days where nothing else is said",
        args.days
    ));
    report(&ledger, args, figures).await?;
    replay(&ledger, args, figures).await?;
    if args.hold {
        println!("\nEnter ends it: {}", ledger.url);
        std::io::stdin().read_line(&mut String::new())?;
    }
    ledger.drop().await
}

async fn record(ledger: &Ledger, args: &Args, figures: &mut Figures) -> Outcome<f64> {
    let interval = workload::interval(args);
    let end = workload::start() + TimeDelta::days(args.days.into());
    let mut world = World::new(&workload::config(args, args.days));
    let mut recorder = Recorder::open(&ledger.store, &workload::source()).await?;
    let mut at = workload::start();
    let (mut changes, mut observations, mut snapshots) = (0, 0, 0);
    let begun = Instant::now();
    while at < end {
        changes += world.advance_to(at);
        observations += world.desktops().len();
        snapshots += 1;
        recorder.add(&workload::snapshot(&world, at, interval)).await?;
        let (waiting, rows) = recorder.waiting();
        if waiting >= BATCH.0 || rows >= BATCH.1 {
            recorder.commit().await?;
        }
        at += interval;
    }
    recorder.commit().await?;
    let took = begun.elapsed().as_secs_f64();
    let desktop_days = f64::from(args.desktops) * f64::from(args.days);
    figures.note("recording it from memory", took, "s");
    figures.note("observations recorded a second", observations as f64 / took, "");
    figures.note("changes per desktop and day", changes as f64 / desktop_days, "");
    Ok(f64::from(snapshots))
}

/// The program checks all of it; one source, so one core checks, while others read and sort.
async fn verify(ledger: &Ledger, figures: &mut Figures) -> Outcome {
    let spans = ledger.figure("select count(*) from deskledger_data.span").await?;
    let verified = importing::run(&["verify".as_ref()], &ledger.url).await?;
    let seconds = verified.took.as_secs_f64();
    figures.note("`verify`: spans", spans, "");
    figures.note("`verify`", seconds, "s");
    figures.above("`verify`: spans a second", spans / seconds, "", 500_000.0);
    figures.note("`verify`: resident memory, most", verified.memory / 1e6, "MB");
    Ok(())
}

async fn weigh(ledger: &Ledger, args: &Args, figures: &mut Figures, snapshots: f64) -> Outcome {
    let desktop_days = f64::from(args.desktops) * f64::from(args.days);
    let mut all = 0.0;
    for table in ["span", "open_span", "desktop", "label", "assignment", "person", "unlisted"] {
        let bytes = size(ledger, table).await? / desktop_days;
        all += bytes;
        figures.note(&format!("  {table}, a desktop and day"), bytes, "bytes");
    }
    figures.below("desktops, a desktop and day", all, "bytes", 480.0);
    let mut bytes = 0.0;
    for table in ["group_span", "group_span_wide", "open_group_span", "desktop_group"] {
        bytes += size(ledger, table).await?;
    }
    let groups = ledger.figure("select count(*) from deskledger_data.desktop_group").await?;
    figures.below("groups, a group and snapshot", bytes / groups / snapshots, "bytes", 70.0);
    let bytes = size(ledger, "snapshot").await? + size(ledger, "coverage_run").await?;
    figures.below("headers, a snapshot", bytes / snapshots, "bytes", 250.0);
    let database = ledger.figure("pg_database_size(current_database())").await?;
    figures.note("the whole database", database / 1e6, "MB");
    Ok(())
}

/// A table with its indexes, and its partitions with theirs.
async fn size(ledger: &Ledger, table: &str) -> Outcome<f64> {
    let tables =
        "select inhrelid from pg_inherits where inhparent = parent union all select parent";
    ledger
        .figure(&format!(
            "select sum(pg_total_relation_size(relid))
               from (values ('deskledger_data.{table}'::regclass)) named (parent),
                    lateral ({tables}) parts (relid)"
        ))
        .await
}

async fn report(ledger: &Ledger, args: &Args, figures: &mut Figures) -> Outcome {
    let day = TimeDelta::days(1);
    let end = workload::start() + TimeDelta::days(args.days.into());
    let noon = (end - day * 4 + TimeDelta::hours(4)).to_rfc3339();
    let yesterday = (end - day).to_rfc3339();
    let desktop: String =
        sqlx::query_scalar("select desktop_id from deskledger_data.desktop where desktop_no = 77")
            .fetch_one(ledger.store.pool())
            .await?;
    let user: String = sqlx::query_scalar(
        "select name from deskledger_data.person where type = 'USER' order by person_no limit 1 offset 77",
    )
    .fetch_one(ledger.store.pool())
    .await?;
    let by_day = time(ledger, "utilisation", args, &[("bucket", "day")], 5).await?;
    figures.below("utilisation by day", by_day, "ms", 1_000.0);
    let others: [Asked<'_>; 18] = [
        ("utilisation by hour", "utilisation", &[("bucket", "hour")]),
        (
            "utilisation of a day by hour",
            "utilisation",
            &[("bucket", "hour"), ("from", &yesterday)],
        ),
        ("disconnects by day", "disconnects", &[("bucket", "day")]),
        (
            "disconnects of a day by hour",
            "disconnects",
            &[("bucket", "hour"), ("from", &yesterday)],
        ),
        ("group-utilisation by day", "group-utilisation", &[("bucket", "day")]),
        ("busy-hours", "busy-hours", &[]),
        ("concurrency", "concurrency", &[]),
        ("capacity", "capacity", &[]),
        ("forecast", "forecast", &[]),
        ("outages", "outages", &[]),
        ("flapping", "flapping", &[]),
        ("lingering", "lingering", &[]),
        ("idle-desktops", "idle-desktops", &[("days", "365")]),
        ("coverage by day", "coverage", &[("bucket", "day")]),
        ("connected-at, four days ago", "connected-at", &[("at", &noon)]),
        ("desktop-history", "desktop-history", &[("desktop", &desktop)]),
        ("user-history", "user-history", &[("user", &user)]),
        ("user-history of a day", "user-history", &[("user", &user), ("from", &yesterday)]),
    ];
    for (what, name, given) in others {
        match time(ledger, name, args, given, 5).await {
            Ok(took) => figures.note(what, took, "ms"),
            Err(error) => figures.failed(what, &*error),
        }
    }
    Ok(())
}

/// The report's values: the whole history unless something else is given.
fn values(name: &str, args: &Args, given: &[(&str, &str)]) -> Vec<(String, String)> {
    let from = workload::start();
    let to = from + TimeDelta::days(args.days.into());
    let mut values: Vec<(String, String)> =
        given.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if !["connected-at", "idle-desktops"].contains(&name) {
        for (name, at) in [("from", from), ("to", to)] {
            if !values.iter().any(|(given, _)| given == name) {
                values.push((name.to_owned(), at.to_rfc3339()));
            }
        }
    }
    values
}

async fn time(
    ledger: &Ledger,
    name: &str,
    args: &Args,
    given: &[(&str, &str)],
    times: usize,
) -> Outcome<f64> {
    let report = Catalogue::built_in().take(name)?;
    let values = Values::new(&report, values(name, args, given))?;
    let mut took = Vec::new();
    for _ in 0..times {
        let mut sink = Collected::default();
        let begun = Instant::now();
        run(ledger.store.pool(), &report, &values, Duration::from_secs(60), &mut sink).await?;
        took.push(millis(begun.elapsed()));
        assert!(!sink.rows.is_empty(), "{name} has an answer");
    }
    Ok(median_and_max(took).0)
}

async fn replay(ledger: &Ledger, args: &Args, figures: &mut Figures) -> Outcome {
    let until = workload::start() + TimeDelta::days(1);
    let id = ledger.figure("select source_id from deskledger_data.source").await? as i32;
    let begun = Instant::now();
    let mut replay = Replay::open(&ledger.store, id, None, Some(until)).await?;
    let mut observations = 0;
    while let Some(snapshot) = replay.next().await? {
        observations += snapshot.desktops.map_or(0, |listing| listing.desktops().len());
    }
    assert!(observations > 0 || args.days == 0, "there is a first day");
    let rate = observations as f64 / begun.elapsed().as_secs_f64();
    figures.note("reading a day back: observations a second", rate, "");
    Ok(())
}
