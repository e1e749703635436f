//! `deskledger demo`: a simulated month, recorded through the code that records the real API.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::{DurationRound as _, TimeDelta};
use clap::Parser as _;

use super::ledger::Ledger;
use super::progress::Bar;
use super::{Cli, Command, Globals, report};
use crate::clock::{Clock, ManualClock};
use crate::collector::{Visitor, take};
use crate::domain::{Failure, Instant, Listing, Source};
use crate::simulator::{MassDisconnect, World, WorldConfig};
use crate::store::{Recorder, Store, private};
use crate::workspace::{Effort, Visit};

/// Arguments of `demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many desktops the fleet has.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub desktops: u32,
    /// How many days are simulated, up to now.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=730))]
    pub days: u32,
    /// The seed that the fleet is made from.
    #[arg(long, value_name = "S", default_value_t = 1)]
    pub seed: u64,
}

/// The fleet's time zone, and where it is.
const TIME_ZONE: &str = "Asia/Singapore";
const UTC_OFFSET: TimeDelta = TimeDelta::hours(8);
const SOURCE: &str = "demo";
const INTERVAL: TimeDelta = TimeDelta::minutes(5);
/// Visits in one transaction.
const BATCH: usize = 144;

/// Runs the command.
///
/// # Errors
/// The private server does not start, or the ledger fails.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    // A ledger of its own, whatever is configured: made-up desktops have no place among real ones.
    let data_dir = match &globals.data_dir {
        Some(folder) => folder.join("demo"),
        None => private::home()?.join("demo"),
    };
    let mut config = globals.configuration()?;
    if config.database_url.take().is_some() {
        eprintln!(
            "The database that is configured is left alone: a demo has a ledger of its own. The commands at its end would ask \
             that database, for it wins over --data-dir: unset DATABASE_URL before, or go where no configuration names one."
        );
    }
    config.data_dir = Some(data_dir.clone());
    eprintln!("Starting a private PostgreSQL in {} …", data_dir.display());
    let ledger = Ledger::open(&config).await?;
    let result = demonstrate(&args, &ledger.store, data_dir).await;
    ledger.close().await?;
    result
}

async fn demonstrate(args: &Args, store: &Store, data_dir: PathBuf) -> anyhow::Result<()> {
    store.forget_everything().await?;
    let (start, end) = record(args, store).await?;
    store.analyze().await?;

    let mut out = std::io::stdout().lock();
    let (from, to) = (start.to_rfc3339(), end.to_rfc3339());
    let period = ["--from", &from, "--to", &to, "--bucket", "day", "--tz", TIME_ZONE];
    for name in ["utilisation", "disconnects", "coverage"] {
        out.flush()?;
        let words = ["deskledger", "report", name].into_iter().chain(period);
        let Command::Report(words) = Cli::try_parse_from(words)?.command else {
            unreachable!("the words say `report`")
        };
        if let report::Plan::Run(job) = words.plan(None)? {
            job.run(store.pool()).await?;
        }
        writeln!(out)?;
    }
    let page = data_dir.join("report.html");
    let path = page.display().to_string();
    let words = [
        "deskledger",
        "report",
        "--all",
        "--output",
        &path,
        "--",
        "--from",
        &from,
        "--to",
        &to,
        "--tz",
        TIME_ZONE,
    ];
    let Command::Report(words) = Cli::try_parse_from(words)?.command else {
        unreachable!("the words say `report`")
    };
    if let report::Plan::Page(job) = words.plan(None)? {
        job.run(store.pool()).await?;
    }
    let program = std::env::args().next().unwrap_or_else(|| "deskledger".to_owned());
    let command = format!("{program} --data-dir {}", quoted(&data_dir.display().to_string()));
    writeln!(
        out,
        "All reports of the month on one page, for a browser: {path}\n\n\
         Look further:\n  \
         {command} serve\n  \
         {command} report\n  \
         {command} report connected-at --at '-1d' --tz {TIME_ZONE}\n  \
         {command} report group-utilisation --bucket week\n  \
         {command} status\n  \
         {command} psql"
    )?;
    Ok(())
}

/// Records the month: a visit every five minutes, but for an outage of the recorder. Gives its first
/// and its last visit.
async fn record(args: &Args, store: &Store) -> anyhow::Result<(Instant, Instant)> {
    let end = Clock::System.now().duration_trunc(INTERVAL).context("cut the present to a tick")?;
    let start = end - TimeDelta::days(args.days.into());
    let at = |share: f64, hour: i64| {
        // So far into the month, on that hour of the fleet's day.
        let days = TimeDelta::days((f64::from(args.days) * share) as i64);
        let midnight = (start + days + UTC_OFFSET).duration_trunc(TimeDelta::days(1));
        midnight.map(|midnight| midnight - UTC_OFFSET + TimeDelta::hours(hour))
    };
    let outage = at(0.4, 9)?..at(0.4, 14)?;
    let mut config = WorldConfig::new(args.seed, args.desktops, start, args.days);
    config.utc_offset = UTC_OFFSET;
    config.mass_disconnects = vec![MassDisconnect { at: working_day(at(0.7, 10)?), share: 0.8 }];
    let mut world = World::new(&config);
    world.seek(start);

    let (clock, hands) = Clock::manual(start);
    let mut fleet = Fleet { world, hands, visits: 0 };
    let source = Source {
        name: SOURCE.to_owned(),
        region: None,
        project_id: None,
        endpoint: Some("simulated".to_owned()),
    };
    let mut recorder = Recorder::open(store, &source).await?;
    let ticks = (end - start).num_seconds() / INTERVAL.num_seconds();
    let bar = Bar::steps(ticks.unsigned_abs(), "visits");
    let mut tick = start;
    while tick < end {
        tick += INTERVAL;
        bar.step();
        if outage.contains(&tick) {
            continue;
        }
        fleet.hands.set(tick);
        let (snapshot, ..) = take(&mut fleet, &clock, Some(tick), INTERVAL * 3).await;
        recorder.add(&snapshot).await?;
        if recorder.waiting().0 >= BATCH {
            recorder.commit().await?;
        }
    }
    recorder.commit().await?;
    bar.finish();
    Ok((start + INTERVAL, end))
}

/// The same hour of the next day that is worked on, where this one is not.
fn working_day(at: Instant) -> Instant {
    use chrono::{Datelike as _, Weekday};

    match (at + UTC_OFFSET).weekday() {
        Weekday::Sat => at + TimeDelta::days(2),
        Weekday::Sun => at + TimeDelta::days(1),
        _ => at,
    }
}

/// The simulated fleet, visited without a network between; now and then a visit goes wrong.
struct Fleet {
    world: World,
    hands: ManualClock,
    visits: usize,
}

impl Visitor for Fleet {
    async fn visit(&mut self) -> Visit {
        self.visits += 1;
        self.world.advance_to(self.hands.now());
        // An answer takes its time.
        self.hands.advance(TimeDelta::milliseconds(1_400));
        let mut desktops = self.world.desktops().to_vec();
        let total = i64::try_from(desktops.len()).ok();
        if self.visits.is_multiple_of(701) {
            return Visit {
                total: None,
                desktops: None,
                groups: None,
                failure: failure("APIGW.0308", "the throttling threshold has been reached"),
                effort: Effort::default(),
            };
        }
        let is_cut = self.visits.is_multiple_of(397);
        if is_cut {
            desktops.truncate(desktops.len() * 9 / 10);
        }
        Visit {
            total,
            desktops: Some(Listing::new(desktops)),
            groups: Some(self.world.groups().to_vec()),
            failure: is_cut.then(|| failure("timeout", "the last page did not come")).flatten(),
            effort: Effort::default(),
        }
    }
}

fn failure(code: &str, message: &str) -> Option<Failure> {
    Some(Failure { code: Some(code.to_owned()), message: Some(message.to_owned()) })
}

/// A word as a shell reads it back.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}
