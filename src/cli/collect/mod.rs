//! `deskledger collect`: records each source on its schedule, until told to stop.

mod housekeeping;
mod log;
mod outside;
mod recording;
mod retention;
mod service;
mod slots;
mod vacancies;
mod worker;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use recording::{Origin, Ours, Recording, Taken};

use super::Globals;
use super::ledger::Ledger;
use super::sources::{Prepared, Visits, prepare};
use super::webhook::outboxes;
use crate::clock::Clock;
use crate::collector::Step;
use crate::config::{SpoolConfig, WebhookConfig};
use crate::domain::Source;
use crate::error::{Chain, FAILED, hints, with_hint};
use crate::metrics::Watch;
use crate::notify::{Notifier, SpoolPart};
use crate::workspace::Accounts;

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
    let mut signals = Signals::new(args.once)?;
    let config = globals.configuration()?;
    allow_files();
    let visits = if args.once { Visits::Once } else { Visits::OnSchedule };
    let halt = CancellationToken::new();
    let spool_config = config.spool_config()?;
    let metrics = config.metrics(args.metrics_listen.clone())?;
    let webhooks = config.webhooks()?;
    let accounts = Accounts::default();
    let sources = prepare(config.sources()?, &accounts, visits, &halt)?;
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
    let origin = Origin { globals, metrics_listen: args.metrics_listen, config: &config, metrics };
    let start = Start { origin, is_once, spool_config, sources, accounts, webhooks };
    let result = collect(start, &ledger, &watch, &halt, &mut signals).await;
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

/// What is begun with.
struct Start<'a> {
    origin: Origin<'a>,
    is_once: bool,
    spool_config: SpoolConfig,
    sources: Vec<Prepared>,
    accounts: Accounts,
    webhooks: Vec<WebhookConfig>,
}

async fn collect(
    start: Start<'_>,
    ledger: &Ledger,
    watch: &Arc<Watch>,
    halt: &CancellationToken,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let Start { origin, is_once, spool_config, sources, accounts, webhooks } = start;
    let recorded: Vec<Source> = if ledger.is_away {
        Vec::new()
    } else {
        ledger.store.sources().await?.into_iter().map(|(_, source)| source).collect()
    };
    let resolved = sources.into_iter().map(|source| source.resolve(&recorded));
    let looking = futures_util::future::try_join_all(resolved);
    let sources = tokio::select! {
        sources = looking => sources?,
        signal = signals.end() => {
            tracing::info!("{signal}: nothing was visited yet");
            return Ok(());
        }
    };
    let spool = slots::open_spool(&spool_config)?;
    let configured: Vec<&str> = sources.iter().map(|ready| &*ready.source.name).collect();
    if !ledger.is_away {
        slots::empty_foreign(ledger, &spool, &configured).await?;
        slots::empty_abandoned(ledger, &spool, &Ours::default()).await?;
    }
    let ours = Ours::default();
    for name in configured {
        ours.insert(name);
    }
    let mut taken = Vec::with_capacity(sources.len());
    for ready in sources {
        taken.push(Taken::up(ledger, &spool, ready).await?);
    }
    if is_once {
        return once(taken).await;
    }
    let adopting = slots::adopt(ledger, &spool, &ours);
    let part = SpoolPart { slot: spool.slot()?, max_bytes: spool_config.max_bytes };
    let (folder, store) = (outboxes(&spool_config), ledger.store.clone());
    let notifier = Notifier::start(folder, webhooks.clone(), store, part, Clock::System);
    watch.webhooks(Arc::clone(&notifier.tally));
    let told = (notifier.teller.clone(), webhooks);
    let mut recording = Recording::new(ledger, &spool, watch, (ours.clone(), accounts), told, halt);
    for taken in taken {
        recording.begin(taken);
    }
    let ended = tokio::select! {
        ended = on_schedule(recording, &origin, signals) => ended,
        failed = adopting => failed,
        () = outside::look_at_ledger(&ledger.store, watch) => unreachable!("it goes on for ever"),
        () = housekeeping::keep(&ledger.store) => unreachable!("it goes on for ever"),
        () = service::vouch(watch) => unreachable!("it goes on for ever"),
    };
    notifier.end().await;
    ended
}

/// Visits all sources at the same time, and fails if one of the visits did.
async fn once(taken: Vec<Taken>) -> anyhow::Result<()> {
    let visits = taken.into_iter().map(|Taken { mut cycle, .. }| async move {
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
    mut recording: Recording<'_>,
    origin: &Origin<'_>,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let (watch, halt, stop) = (recording.watch, recording.halt, recording.stop().clone());
    let ticker = Arc::clone(recording.ticker());
    watch.ticks(Arc::clone(&ticker));
    let ticking = tokio::spawn(Arc::clone(&ticker).run(stop.clone()));

    service::ready(watch);
    let signal = loop {
        match signals.next().await {
            Asked::ToEnd(signal) => break signal,
            Asked::ToReload => {}
        }
        tracing::info!("SIGHUP: reading the configuration again");
        service::reloading();
        // Nothing is half done where it is given up.
        tokio::select! {
            signal = signals.end() => break signal,
            reloaded = recording.reload(origin) => {
                if let Err(error) = reloaded {
                    let (error, hints) = (Chain(error.as_ref()), hints(&error));
                    tracing::error!(
                        hint = (!hints.is_empty()).then(|| hints.join("; ")),
                        "the configuration was NOT taken over, and the one before holds: {error}"
                    );
                }
                service::ready(watch);
            }
        }
    };
    tracing::info!("{signal}: finishing the visits under way");
    service::stopping();
    watch.stop();
    stop.cancel();
    let hurried = async {
        tokio::time::sleep(UNHURRIED).await;
        tracing::info!("asking for nothing more: the visits under way end with what they have");
        halt.cancel();
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        () = recording.end() => {}
        () = hurried => {
            let waited = UNHURRIED + GRACE;
            anyhow::bail!("stopped by force: a visit was still under way after {waited:?}");
        }
        signal = signals.end() => {
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

/// The signals that ask for something.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Not for who visits once and ends.
    hangup: Option<Signal>,
    /// Whether logs go to a terminal, which may go away.
    is_on_terminal: bool,
}

/// What is asked for.
enum Asked {
    /// An orderly end, by this signal.
    ToEnd(&'static str),
    /// Another configuration.
    ToReload,
}

impl Signals {
    fn new(is_once: bool) -> anyhow::Result<Self> {
        let watch = |kind, name| signal(kind).with_context(|| format!("watch for {name}"));
        Ok(Self {
            terminate: watch(SignalKind::terminate(), "SIGTERM")?,
            interrupt: watch(SignalKind::interrupt(), "SIGINT")?,
            hangup: (!is_once).then(|| watch(SignalKind::hangup(), "SIGHUP")).transpose()?,
            is_on_terminal: std::io::stderr().is_terminal(),
        })
    }

    /// Waits for the next that asks for an end, and names it.
    async fn end(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }

    /// Waits for the next.
    async fn next(&mut self) -> Asked {
        let Some(hangup) = &mut self.hangup else { return Asked::ToEnd(self.end().await) };
        tokio::select! {
            _ = self.terminate.recv() => Asked::ToEnd("SIGTERM"),
            _ = self.interrupt.recv() => Asked::ToEnd("SIGINT"),
            // A terminal that is gone says so by the same signal.
            _ = hangup.recv() => match self.is_on_terminal && !std::io::stderr().is_terminal() {
                true => Asked::ToEnd("SIGHUP, and the terminal is gone"),
                false => Asked::ToReload,
            },
        }
    }
}
