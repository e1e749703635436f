//! `deskledger collect`: records each source on its schedule, until told to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use chrono::TimeDelta;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Globals;
use super::ledger::Ledger;
use super::sources::{Prepared, Ready, Visits, prepare};
use crate::clock::Clock;
use crate::collector::spool::Spool;
use crate::collector::{
    Cycle, Keeper, Kept, Opening, Outcome, PATIENCE, Standing, Step, Tick, Ticker, Withheld,
    Written,
};
use crate::config::{SourceConfig, SpoolConfig};
use crate::domain::{Instant, Outcome as PartOutcome, Source, format_duration};
use crate::error::{Chain, FAILED, usage, with_hint};
use crate::exchange::Pin;
use crate::store::{Candidate, Recorder, Store, StoreError};
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

/// How long the lease of a source lasts that is not renewed: a step, so that another recorder takes over within
/// two, but at most a minute.
const SHORTEST_TERM: Duration = Duration::from_secs(2);
const LONGEST_TERM: Duration = Duration::from_secs(60);
/// How often one that stands by looks whether it is to lead.
const STANDBY: Duration = Duration::from_secs(1);
/// How often what waits in the spool is tried again between visits.
const RETRY: Duration = Duration::from_secs(5);
/// How much longer than its lease a leader is waited for after the database was away: as long as it may take to
/// connect again.
const GRACE_OF_LEADERS: Duration = Duration::from_secs(10);
/// How often one that records looks for what other processes have left in the spool.
const ADOPT: Duration = Duration::from_secs(30);
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
    let visits = if args.once { Visits::Once } else { Visits::OnSchedule };
    let halt = CancellationToken::new();
    let sources = prepare(config.sources()?, visits, &halt)?;
    let ledger = if args.once {
        Ledger::open(&config).await?
    } else {
        Ledger::open_or_await(&config).await?
    };
    let spool_config = config.spool_config()?;
    let result = collect(args, &ledger, &spool_config, sources, &halt, &mut signals).await;
    ledger.close().await?;
    result
}

async fn collect(
    args: Args,
    ledger: &Ledger,
    spool_config: &SpoolConfig,
    sources: Vec<Prepared>,
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
    let spool = open_spool(spool_config)?;
    let configured: Vec<&str> = sources.iter().map(|ready| &*ready.source.name).collect();
    if !ledger.is_away {
        empty_foreign(ledger, &spool, &configured).await?;
        empty_abandoned(ledger, spool_config, &[]).await?;
    }
    let configured: Vec<String> = configured.into_iter().map(str::to_owned).collect();
    let mut cycles = Vec::with_capacity(sources.len());
    for Ready { source, client, place } in sources {
        let keeper = keeper(ledger, &spool, &place, source.schedule.shortest_step()).await?;
        let cycle = Cycle::new(&source.name, client, keeper, Clock::System, source.max_gap);
        cycles.push((source, cycle));
    }
    if args.once {
        return once(cycles).await;
    }
    let adopting = adopt(ledger, spool_config, &configured);
    tokio::select! {
        ended = on_schedule(cycles, halt, signals) => ended,
        failed = adopting => failed,
    }
}

/// Where the snapshots of a source go.
///
/// # Errors
/// It is recorded from elsewhere, which is wrong use; or its part of the spool cannot be opened.
async fn keeper(
    ledger: &Ledger,
    spool: &Spool,
    place: &Source,
    step: TimeDelta,
) -> anyhow::Result<Keeper> {
    let pin = Pin {
        region: place.region.clone(),
        project_id: place.project_id.clone(),
        endpoint: place.endpoint.clone(),
    };
    let mut queue = spool.queue(&place.name, Some(pin))?;
    if !queue.is_empty() {
        let waiting = queue.len();
        tracing::info!(
            source.name = place.name,
            "{waiting} snapshots of source `{}` wait in the spool",
            place.name
        );
    }
    if !queue.has_room()? {
        tracing::error!(
            source.name = place.name,
            "the spool has no room: while the database is away, source `{}` would not be visited; look at \
             `deskledger doctor`",
            place.name
        );
    }
    let opened = match ledger.is_away {
        true => None,
        false => Some(Recorder::open(&ledger.store, place).await),
    };
    let first = match opened.transpose() {
        Ok(recorder) => recorder,
        Err(error @ StoreError::Pinned { .. }) => return Err(usage(error)),
        Err(error) if error.is_away() => None,
        Err(error) => return Err(error.into()),
    };
    let opening = opening(ledger.store.clone(), place.clone(), first);
    let term = step.to_std().unwrap_or(LONGEST_TERM).clamp(SHORTEST_TERM, LONGEST_TERM);
    let candidate = Candidate::this_process(term);
    let keeper = Keeper::new(&place.name, queue, opening, Some(candidate), Clock::System);
    Ok(keeper
        .visited_every(step.to_std().unwrap_or(PATIENCE))
        .giving_leaders(term + GRACE_OF_LEADERS))
}

/// Gives the recorder that was opened already; later ones are opened when the database answers.
fn opening(store: Store, place: Source, first: Option<Recorder>) -> Opening {
    let first = Mutex::new(first);
    Arc::new(move || {
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        let (store, place) = (store.clone(), place.clone());
        Box::pin(async move {
            if let Some(recorder) = ready {
                return Ok(recorder);
            }
            // It may have been away when we started.
            store.migrate().await?;
            Recorder::open(&store, &place).await
        })
    })
}

fn open_spool(config: &SpoolConfig) -> anyhow::Result<Spool> {
    Spool::open(config).map_err(|error| {
        with_hint(
            usage(error),
            "snapshots wait there while the database is away: `[spool] dir` names another folder",
        )
    })
}

/// Records what waits of sources that are no longer configured.
async fn empty_foreign(ledger: &Ledger, spool: &Spool, configured: &[&str]) -> anyhow::Result<()> {
    for name in spool.sources()? {
        if !configured.contains(&&*name) {
            empty(ledger, spool, name, false).await?;
        }
    }
    Ok(())
}

/// Records what waits in the slots of other processes that have ended; of the sources in `ours`, which are
/// being recorded by this process, under its lease.
async fn empty_abandoned(
    ledger: &Ledger,
    config: &SpoolConfig,
    ours: &[String],
) -> anyhow::Result<()> {
    let mut emptied = Vec::new();
    loop {
        // One that something waits in, if there is one; held until all are done, so that none comes twice.
        let spool = open_spool(config)?;
        let sources = spool.sources()?;
        if sources.is_empty() {
            return Ok(());
        }
        for name in sources {
            let is_ours = ours.contains(&name);
            empty(ledger, &spool, name, is_ours).await?;
        }
        emptied.push(spool);
    }
}

/// Looks now and then for slots whose process has ended since.
///
/// # Errors
/// Never: it goes on for as long as it is let.
async fn adopt(ledger: &Ledger, config: &SpoolConfig, ours: &[String]) -> anyhow::Result<()> {
    loop {
        tokio::time::sleep(ADOPT).await;
        if let Err(error) = empty_abandoned(ledger, config, ours).await {
            tracing::warn!("cannot record what another process has left in the spool: {error:#}");
        }
    }
}

async fn empty(ledger: &Ledger, spool: &Spool, name: String, is_ours: bool) -> anyhow::Result<()> {
    let place = Source { name: name.clone(), region: None, project_id: None, endpoint: None };
    let mut keeper = keeper(ledger, spool, &place, TimeDelta::minutes(1)).await?;
    if !keeper.finish(PATIENCE).await {
        tracing::warn!(
            source.name = name,
            "{} snapshots of source `{name}` wait in the spool still: they are recorded when `collect` starts \
             again",
            keeper.waiting()
        );
    }
    if !is_ours {
        keeper.step_down().await;
    }
    Ok(())
}

/// Visits all sources at the same time, and fails if one of the visits did.
async fn once(cycles: Vec<(SourceConfig, Cycle<Client>)>) -> anyhow::Result<()> {
    let visits = cycles.into_iter().map(|(_, mut cycle)| async move {
        let name = cycle.name.clone();
        let step = cycle.run(None).await;
        log(&name, &step);
        let is_written = cycle.keeper.finish(LAST_PATIENCE).await;
        let waiting = cycle.keeper.waiting();
        cycle.keeper.step_down().await;
        match step {
            Step::StoodBy { .. } => Ok(()),
            Step::Withheld(withheld) => {
                anyhow::bail!("visit source `{name}`: {}", reason(&withheld))
            }
            Step::Visited(outcome) if !is_written => Err(with_hint(
                anyhow::anyhow!(
                    "record source `{name}`: {}",
                    why(&outcome.kept).unwrap_or("the database does not answer")
                ),
                format!("{waiting} snapshots wait in the spool: the next `collect` records them"),
            )),
            Step::Visited(outcome) if is_failed(&outcome) => Err(anyhow::anyhow!(
                "visit source `{name}`: {}",
                failure_text(&outcome).unwrap_or("a part could not be read")
            )),
            Step::Visited(_) => Ok(()),
        }
    });
    let results: Vec<anyhow::Result<()>> = futures_util::future::join_all(visits).await;
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

/// A source's worker: a visit at once if the newest is a step old, then one at each tick; between them it
/// writes what waits, and looks whether it is to lead.
async fn record(
    source: SourceConfig,
    mut cycle: Cycle<Client>,
    mut ticks: tokio::sync::mpsc::Receiver<Tick>,
    stop: CancellationToken,
) {
    let mut standby = Standby::default();
    let step = source.schedule.shortest_step();
    let mut is_due = true;
    loop {
        if std::mem::take(&mut is_due) {
            cycle.keeper.lead().await;
            let is_recent =
                cycle.keeper.newest().is_some_and(|at| (Clock::System.now() - at).abs() < step);
            if !is_recent && !stop.is_cancelled() {
                standby.follow(&source.name, &cycle.run(None).await);
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            tick = ticks.recv() => match tick {
                Some(tick) => {
                    standby.follow(&source.name, &cycle.run(Some(tick.scheduled_at)).await);
                }
                None => break,
            },
            () = tokio::time::sleep(STANDBY), if standby.leader.is_some() => {
                is_due = cycle.keeper.lead().await == Standing::Leading;
            }
            () = tokio::time::sleep(RETRY), if cycle.keeper.waiting() > 0 => {
                cycle.keeper.catch_up().await;
            }
        }
    }
    if !cycle.keeper.finish(LAST_PATIENCE).await {
        if cycle.keeper.is_holding() {
            tracing::error!(
                source.name = source.name,
                "source `{}`: the last snapshot is LOST: it has found a place neither in the ledger nor on disk",
                source.name
            );
        }
        tracing::warn!(
            source.name = source.name,
            "source `{}`: {} snapshots wait in the spool until the next start",
            source.name,
            cycle.keeper.waiting()
        );
    }
    cycle.keeper.step_down().await;
}

/// Whom we stand by for, so that it is said once.
#[derive(Debug, Default)]
struct Standby {
    leader: Option<String>,
}

impl Standby {
    fn follow(&mut self, name: &str, step: &Step) {
        match step {
            Step::StoodBy { leader, .. } if self.leader.as_ref() == Some(leader) => {}
            Step::StoodBy { leader, .. } => {
                self.leader = Some(leader.clone());
                log(name, step);
            }
            _ => {
                if self.leader.take().is_some() {
                    tracing::info!(source.name = name, "leading now: recording source `{name}`");
                }
                log(name, step);
            }
        }
    }
}

/// One line a cycle.
fn log(name: &str, step: &Step) {
    match step {
        Step::Visited(outcome) => log_visit(name, outcome),
        Step::StoodBy { leader, .. } => tracing::info!(
            source.name = name,
            leader,
            "source `{name}`: standing by, it is recorded by {leader}"
        ),
        Step::Withheld(withheld) => tracing::error!(
            source.name = name,
            "source `{name}`: NOT visited: {}",
            reason(withheld)
        ),
    }
}

fn reason(withheld: &Withheld) -> String {
    match withheld {
        Withheld::ClockBehind { now, newest } => format!(
            "this machine's clock says {now}, and the newest snapshot is of {newest}: nothing can be recorded \
             before it; is the clock right?"
        ),
        Withheld::Full(why) => {
            format!(
                "{why}, and the database takes nothing: what is read now would be lost; make room on the disk or \
                 raise `max_size` of `[spool]`, and look why the database does not answer"
            )
        }
    }
}

/// Why a snapshot is not in the ledger.
fn why(kept: &Kept) -> Option<&str> {
    match kept {
        Kept::Written(_) => None,
        Kept::Spooled { why, .. } | Kept::Held { why, .. } => Some(why),
    }
}

fn log_visit(name: &str, outcome: &Outcome) {
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
        match &outcome.kept {
            Kept::Written(Written::Recorded { changes }) => format!("{changes} changes"),
            Kept::Written(Written::Already) => "recorded by another recorder meanwhile".to_owned(),
            Kept::Written(Written::Late) => {
                "kept as a late one: another recorder has recorded newer ones".to_owned()
            }
            Kept::Spooled { why, waiting, dropped: 0 } => {
                format!("in the spool as number {waiting}, since {why}")
            }
            Kept::Spooled { why, waiting, dropped } => format!(
                "in the spool as number {waiting}, since {why}; the spool is full, and {dropped} OLDER ONES WERE DROPPED"
            ),
            Kept::Held { why, error } =>
                format!("in memory ALONE, since {why}, and: {}", Chain(error)),
        },
    );
    let lack = failure_text(outcome).or(outcome.effort.lack.as_deref());
    let failure = lack.map(|text| format!(": {text}")).unwrap_or_default();
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
    if why(&outcome.kept).is_some() {
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
