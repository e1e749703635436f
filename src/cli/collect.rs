//! `deskledger collect`: records each source on its schedule, until told to stop.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Globals;
use super::ledger::Ledger;
use super::sources::{Prepared, Ready, Visits, prepare};
use crate::clock::Clock;
use crate::collector::{Cycle, CycleError, Outcome, Tick, Ticker, next_tick};
use crate::config::SourceConfig;
use crate::domain::{HistoryError, Instant, Outcome as PartOutcome, Source, format_duration};
use crate::error::{Chain, FAILED, usage};
use crate::store::{Recorder, Store, StoreError};
use crate::workspace::{Client, Skew};

/// Arguments of `collect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Visit each source once and end.
    #[arg(long)]
    pub once: bool,
}

/// How long a stop lets the visits under way go on asking: longer than one takes that nothing holds up.
/// From then on they end with what they have.
const UNHURRIED: Duration = Duration::from_secs(10);
/// How much longer a stop waits for them to be answered and written down.
const GRACE: Duration = Duration::from_secs(75);

/// Runs the command.
///
/// # Errors
/// The configuration cannot be used, or the ledger cannot be opened; with `--once` also when a
/// visit failed.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    // Taken first: who stops us while we start wants an orderly end too.
    let mut signals = Signals::new()?;
    let config = globals.configuration()?;
    let visits = if args.once { Visits::Once } else { Visits::OnSchedule };
    let halt = CancellationToken::new();
    let sources = prepare(config.sources()?, visits, &halt)?;
    let ledger = Ledger::open(&config).await?;
    let result = collect(args, &ledger.store, sources, &halt, &mut signals).await;
    ledger.close().await?;
    result
}

async fn collect(
    args: Args,
    store: &Store,
    sources: Vec<Prepared>,
    halt: &CancellationToken,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let recorded = store.sources().await?;
    let recorded: Vec<Source> = recorded.into_iter().map(|(_, source)| source).collect();
    let resolved = sources.into_iter().map(|source| source.resolve(&recorded));
    let looking = futures_util::future::try_join_all(resolved);
    let sources = tokio::select! {
        sources = looking => sources?,
        signal = signals.next() => {
            tracing::info!("{signal}: nothing was visited yet");
            return Ok(());
        }
    };
    let mut cycles = Vec::with_capacity(sources.len());
    for Ready { source, client, place } in sources {
        let recorder = Recorder::open(store, &place).await.map_err(refused)?;
        let cycle = Cycle::new(&source.name, client, recorder, Clock::System, source.max_gap);
        cycles.push((source, cycle));
    }
    if args.once { once(cycles).await } else { on_schedule(cycles, halt, signals).await }
}

fn refused(error: StoreError) -> anyhow::Error {
    match error {
        StoreError::Pinned { .. } => usage(error),
        error => error.into(),
    }
}

/// Visits all sources at the same time, and fails if one of the visits did.
async fn once(cycles: Vec<(SourceConfig, Cycle<Client>)>) -> anyhow::Result<()> {
    let visits = cycles.into_iter().map(|(_, mut cycle)| async move {
        let name = cycle.name.clone();
        let outcome = cycle.run(None).await;
        log(&name, &outcome);
        let failure = match outcome {
            Ok(outcome) if refusal(&outcome).is_some() => refusal(&outcome)
                .map(|error| anyhow::Error::from(error).context(format!("record source `{name}`"))),
            Ok(outcome) if is_failed(&outcome) => Some(anyhow::anyhow!(
                "visit source `{name}`: {}",
                failure_text(&outcome).unwrap_or("a part could not be read")
            )),
            Ok(_) => None,
            Err(error) => Some(error.into()),
        };
        failure.map_or(Ok(()), Err)
    });
    let results = futures_util::future::join_all(visits).await;
    results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

async fn on_schedule(
    cycles: Vec<(SourceConfig, Cycle<Client>)>,
    halt: &CancellationToken,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let workers = TaskTracker::new();
    let ticker = Arc::new(Ticker::new(Clock::System));
    for (source, cycle) in cycles {
        let ticks = ticker.add(&source.name, source.schedule.clone());
        tracing::info!(
            source.name = source.name,
            "recording source `{}` {}; observations hold for up to {}",
            source.name,
            source.schedule,
            format_duration(source.max_gap)
        );
        workers.spawn(record(source, cycle, ticks, stop.clone()));
    }
    workers.close();
    let ticking = tokio::spawn(Arc::clone(&ticker).run(stop.clone()));

    let signal = signals.next().await;
    tracing::info!("{signal}: finishing the visits under way");
    stop.cancel();
    let hurried = async {
        tokio::time::sleep(UNHURRIED).await;
        tracing::info!("asking for nothing more: the visits under way end with what they have");
        halt.cancel();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = workers.wait() => {}
        () = hurried => {
            let waited = UNHURRIED + GRACE;
            anyhow::bail!("stopped by force: a visit was still under way after {waited:?}");
        }
        signal = signals.next() => {
            tracing::error!("{signal} again: stopping by force");
            std::process::exit(i32::from(FAILED));
        }
    }
    ticking.await.context("stop the ticks")?.context("tick")?;
    for (name, skipped) in ticker.skipped() {
        if skipped.busy + skipped.late > 0 {
            tracing::info!(
                source.name = name,
                skipped.busy = skipped.busy,
                skipped.late = skipped.late,
                "source `{name}`: skipped {} ticks while a visit was under way, {} late ones",
                skipped.busy,
                skipped.late
            );
        }
    }
    Ok(())
}

/// A source's worker: a visit at once if the newest is a step old, then one at each tick.
async fn record(
    source: SourceConfig,
    mut cycle: Cycle<Client>,
    mut ticks: tokio::sync::mpsc::Receiver<Tick>,
    stop: CancellationToken,
) {
    let is_recent = match cycle.newest().await {
        Ok(newest) => {
            newest.is_some_and(|at| Clock::System.now() - at < source.schedule.shortest_step())
        }
        Err(_) => false,
    };
    if !is_recent && !stop.is_cancelled() {
        log(&source.name, &cycle.run(None).await);
    }
    while let Some(tick) = next_tick(&mut ticks, &stop).await {
        log(&source.name, &cycle.run(Some(tick.scheduled_at)).await);
    }
}

/// One line a cycle.
fn log(name: &str, outcome: &Result<Outcome, CycleError>) {
    let outcome = match outcome {
        Ok(outcome) => outcome,
        Err(error) => {
            tracing::error!(
                source.name = name,
                "{}; it waits in memory and is recorded with the next",
                Chain(error)
            );
            return;
        }
    };
    let snapshot = &outcome.snapshot;
    let desktops = snapshot.desktops.as_ref().map_or(0, |listing| listing.desktops().len());
    let groups = snapshot.groups.as_ref().map_or(0, Vec::len);
    let (listing, statistics) = (snapshot.desktops_outcome(), snapshot.groups_outcome());
    let duration_ms = (snapshot.finished_at - snapshot.observed_at).num_milliseconds();
    let listed = match snapshot.total {
        Some(total) => format!("{desktops} of {total} desktops"),
        None => format!("{desktops} desktops of an unknown number"),
    };
    let summary = format!(
        "source `{name}`: {listed} ({}), {groups} groups ({}), {}",
        listing.as_str(),
        statistics.as_str(),
        match (&outcome.recorded, refusal(outcome)) {
            (Ok(changes), _) => format!("{changes} changes"),
            (Err(_), None) => "recorded by another recorder meanwhile".to_owned(),
            (Err(_), Some(error)) => {
                format!("NOT recorded: {error}; is this machine's clock right?")
            }
        },
    );
    let why = failure_text(outcome).or(outcome.effort.lack.as_deref());
    let failure = why.map(|text| format!(": {text}")).unwrap_or_default();
    // A level must be known when it is compiled; what is said is the same on each.
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                source.name = name,
                desktops,
                groups,
                duration_ms,
                requests = outcome.effort.traffic.requests,
                plan = outcome.effort.plan,
                error.code = snapshot.failure.as_ref().and_then(|failure| failure.code.as_deref()),
                "{summary}{failure}"
            )
        };
    }
    if let Some(skew) = outcome.effort.traffic.skew.filter(|skew| skew.is_noticeable()) {
        warn_of_skew(name, skew);
    }
    if refusal(outcome).is_some() {
        say!(error);
    } else if listing == PartOutcome::Complete && statistics == PartOutcome::Complete {
        say!(info);
    } else {
        say!(warn);
    }
}

/// One line a visit, before the clock is so far off that nothing is let in any more.
fn warn_of_skew(name: &str, skew: Skew) {
    let time = |at: Instant| at.format("%H:%M:%SZ").to_string();
    tracing::warn!(
        source.name = name,
        skew_s = skew.ahead().num_seconds(),
        "source `{name}`: this machine says {}, the server {}; signatures die at 15 minutes: set the clock right",
        time(skew.machine),
        time(skew.server)
    );
}

/// Why history has no place for the snapshot, where that is no other recorder's doing: one that has
/// taken the tick, or that visited later and was done before us. What remains is a newest snapshot that
/// lies ahead of our clock.
fn refusal(outcome: &Outcome) -> Option<HistoryError> {
    match outcome.recorded.as_ref().err()? {
        HistoryError::TickTaken { .. } => None,
        HistoryError::NotNewer { newest, .. } if *newest <= outcome.snapshot.finished_at => None,
        error => Some(error.clone()),
    }
}

fn is_failed(outcome: &Outcome) -> bool {
    outcome.snapshot.desktops.is_none() || outcome.snapshot.groups.is_none()
}

fn failure_text(outcome: &Outcome) -> Option<&str> {
    let failure = outcome.snapshot.failure.as_ref()?;
    failure.message.as_deref().or(failure.code.as_deref())
}

/// The two signals that ask for an orderly end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("watch for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("watch for SIGINT")?,
        })
    }

    /// Waits for the next, and names it.
    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
