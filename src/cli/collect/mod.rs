//! `deskledger collect`: records each source on its schedule, until told to stop.

mod housekeeping;
mod log;
mod outside;
mod retention;
mod slots;
mod vacancies;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use vacancies::Vacancies;

use super::Globals;
use super::ledger::Ledger;
use super::sources::{Prepared, Ready, Visits, prepare};
use crate::clock::Clock;
use crate::collector::{Cycle, Step, Ticker};
use crate::config::{SourceConfig, SpoolConfig};
use crate::domain::Source;
use crate::error::{FAILED, with_hint};
use crate::metrics::Watch;
use crate::workspace::Client;

/// Arguments of `collect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Visit each source once and end.
    #[arg(long)]
    pub once: bool,
    /// Where /metrics, /livez and /readyz are answered, or `off` [default: 127.0.0.1:9464]
    /// [env: DESKLEDGER_METRICS_LISTEN].
    #[arg(long, value_name = "ADDR", conflicts_with = "once")]
    pub metrics_listen: Option<String>,
}

/// How long a stop lets the visits under way go on asking: longer than one takes that nothing holds up.
/// From then on they end with what they have.
const UNHURRIED: Duration = Duration::from_secs(10);
/// How much longer a stop waits for them to be answered and written down.
const GRACE: Duration = Duration::from_secs(75);

/// How long an end waits for the database.
const LAST_PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
///
/// # Errors
/// The configuration cannot be used, or the ledger cannot be opened; with `--once` also when a
/// visit failed.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    // Taken first: who stops us while we start wants an orderly end too.
    let mut signals = Signals::new()?;
    let config = globals.configuration()?;
    allow_files();
    let visits = if args.once { Visits::Once } else { Visits::OnSchedule };
    let halt = CancellationToken::new();
    let spool_config = config.spool_config()?;
    let metrics = config.metrics(args.metrics_listen.clone())?;
    let sources = prepare(config.sources()?, visits, &halt)?;
    let watch = Arc::new(outside::watch(&sources, &spool_config));
    // Before the ledger is opened, which may take its time: who waits for us wants to know that we wait for it.
    let shown = if args.once { None } else { outside::show(metrics, &watch).await? };
    let ledger = if args.once {
        Ledger::open(&config).await?
    } else {
        Ledger::open_or_await(&config).await?
    };
    let is_once = args.once;
    let pruning = retention::daily(&ledger.store, &config.retention).filter(|_| !is_once);
    let result = collect(args, &ledger, &spool_config, sources, &watch, &halt, &mut signals).await;
    if let Some(pruning) = pruning {
        // A month goes as a whole or not at all.
        pruning.abort();
        let _ = pruning.await;
    }
    ledger.close().await?;
    drop(shown);
    if !is_once && result.is_ok() {
        tracing::info!("stopped");
    }
    result
}

/// Takes as many files as the system gives: hundreds of sources that do not answer have as many sockets open, and
/// services start with a thousand.
fn allow_files() {
    let Ok((now, most)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    if now < most && setrlimit(Resource::RLIMIT_NOFILE, most, most).is_err() {
        tracing::debug!(now, most, "cannot raise the limit of open files");
    }
}

async fn collect(
    args: Args,
    ledger: &Ledger,
    spool_config: &SpoolConfig,
    sources: Vec<Prepared>,
    watch: &Arc<Watch>,
    halt: &CancellationToken,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let recorded: Vec<Source> = if ledger.is_away {
        Vec::new()
    } else {
        ledger.store.sources().await?.into_iter().map(|(_, source)| source).collect()
    };
    let resolved = sources.into_iter().map(|source| source.resolve(&recorded));
    let looking = futures_util::future::try_join_all(resolved);
    let sources = tokio::select! {
        sources = looking => sources?,
        signal = signals.next() => {
            tracing::info!("{signal}: nothing was visited yet");
            return Ok(());
        }
    };
    let spool = slots::open_spool(spool_config)?;
    let configured: Vec<&str> = sources.iter().map(|ready| &*ready.source.name).collect();
    if !ledger.is_away {
        slots::empty_foreign(ledger, &spool, &configured).await?;
        slots::empty_abandoned(ledger, spool_config, &[]).await?;
    }
    let configured: Vec<String> = configured.into_iter().map(str::to_owned).collect();
    let mut cycles = Vec::with_capacity(sources.len());
    for Ready { source, client, place } in sources {
        let keeper = slots::keeper(ledger, &spool, &place, source.schedule.shortest_step()).await?;
        let cycle = Cycle::new(&source.name, client, keeper, Clock::System, source.max_gap);
        cycles.push((source, cycle));
    }
    if args.once {
        return once(cycles).await;
    }
    let adopting = slots::adopt(ledger, spool_config, &configured);
    tokio::select! {
        ended = on_schedule(cycles, ledger, watch, halt, signals) => ended,
        failed = adopting => failed,
        () = outside::look_at_ledger(&ledger.store, watch) => unreachable!("it goes on for ever"),
        () = housekeeping::keep(&ledger.store) => unreachable!("it goes on for ever"),
    }
}

/// Visits all sources at the same time, and fails if one of the visits did.
async fn once(cycles: Vec<(SourceConfig, Cycle<Client>)>) -> anyhow::Result<()> {
    let visits = cycles.into_iter().map(|(_, mut cycle)| async move {
        let name = cycle.name.clone();
        let step = cycle.run(None).await;
        log::step(&name, &step);
        let is_written = cycle.keeper.finish(LAST_PATIENCE).await;
        let waiting = cycle.keeper.waiting();
        cycle.keeper.step_down().await;
        match step {
            Step::StoodBy { .. } => Ok(()),
            Step::Withheld(withheld) => {
                anyhow::bail!("visit source `{name}`: {}", log::reason(&withheld))
            }
            Step::Visited(outcome) if !is_written => Err(with_hint(
                anyhow::anyhow!(
                    "record source `{name}`: {}",
                    log::why(&outcome.kept).unwrap_or("the database does not answer")
                ),
                format!("{waiting} snapshots wait in the spool: the next `collect` records them"),
            )),
            Step::Visited(outcome) if log::is_failed(&outcome) => Err(anyhow::anyhow!(
                "visit source `{name}`: {}",
                log::failure_text(&outcome).unwrap_or("a part could not be read")
            )),
            Step::Visited(_) => Ok(()),
        }
    });
    let results: Vec<anyhow::Result<()>> = futures_util::future::join_all(visits).await;
    results.into_iter().find(Result::is_err).unwrap_or(Ok(()))
}

async fn on_schedule(
    cycles: Vec<(SourceConfig, Cycle<Client>)>,
    ledger: &Ledger,
    watch: &Watch,
    halt: &CancellationToken,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let workers = TaskTracker::new();
    let ticker = Arc::new(Ticker::new(Clock::System));
    let vacancies = Arc::new(Vacancies::new(ledger.store.clone()));
    for (source, cycle) in cycles {
        let ticks = ticker.add(&source.name, source.schedule.clone());
        let (vacancies, seen) = (Arc::clone(&vacancies), watch.begin(&source.name));
        workers.spawn(worker::record(source, cycle, ticks, vacancies, seen, stop.clone()));
    }
    workers.close();
    watch.ticks(Arc::clone(&ticker));
    let ticking = tokio::spawn(Arc::clone(&ticker).run(stop.clone()));

    let signal = signals.next().await;
    tracing::info!("{signal}: finishing the visits under way");
    watch.stop();
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
