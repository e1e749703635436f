//! `deskledger import`: snapshots that were taken elsewhere, through the same pipeline.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant as Moment};

use anyhow::Context as _;
use chrono::TimeDelta;

use super::Globals;
use super::ledger::Ledger;
use super::progress::Bar;
use crate::clock::Clock;
use crate::domain::months::month_start;
use crate::domain::{
    Desktop, DurationError, GroupStatistics, Instant, Snapshot, Source, parse_duration,
};
use crate::error::{Chain, usage};
use crate::exchange::{Input, Lines, Numbered, Pin, Progress, ReadError};
use crate::store::{Candidate, Leadership, Recorder, Replay, Store, StoreError};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, compressed with gzip or zstd or not; `-` for standard input.
    pub file: PathBuf,
    /// The gap rule of lines that give none.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = gap)]
    pub max_gap: TimeDelta,
}

/// A duration as `--max-gap` takes it.
fn gap(text: &str) -> Result<TimeDelta, GapError> {
    let gap = parse_duration(text)?;
    if gap <= TimeDelta::zero() { Err(GapError::None) } else { Ok(gap) }
}

#[derive(Debug, thiserror::Error)]
enum GapError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("it must be at least one second")]
    None,
}

/// How far ahead of our clock another machine's may have been.
const AHEAD: TimeDelta = TimeDelta::minutes(5);
/// Lines that wait for the recorder; each may hold a hundred thousand desktops.
const QUEUE: usize = 4;
/// A transaction holds at most so many snapshots, so many rows, or what came in so much time.
const BATCH_SNAPSHOTS: usize = 256;
const BATCH_ROWS: usize = 50_000;
const BATCH_TIME: Duration = Duration::from_secs(2);
/// How long a source stays ours if this process dies.
const TERM: Duration = Duration::from_secs(60);

/// Runs the command.
///
/// # Errors
/// A line is wrong or does not fit what is recorded, the file cannot be read, or the ledger fails.
/// Everything before the line is recorded.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let name = args.file.display().to_string();
    let input = Input::open(&args.file)
        .map_err(|error| usage(anyhow::Error::from(error).context(format!("open `{name}`"))))?;
    let mut lines = Lines::new(input, args.max_gap).context("start reading")?;
    let progress = lines.progress();
    // Read before there is a ledger: what is refused at its first line makes none. It waits, which an async task must not.
    let reading = tokio::task::spawn_blocking(move || (lines.next(), lines));
    let (first, rest) = reading.await.context("read the first line")?;
    let Some(first) = first.transpose().map_err(usage)? else {
        // A file that was cut off at its very start, more likely than one that was meant.
        return Err(usage(anyhow::anyhow!("`{name}` holds no snapshot, so nothing was imported")));
    };
    let lines = std::iter::once(Ok(first)).chain(rest);
    let ledger = Ledger::open(&config).await?;
    let result = import(lines, &progress, &ledger.store).await;
    ledger.close().await?;
    let counts = result?;
    eprintln!("{} snapshots recorded, {} were recorded already", counts.recorded, counts.skipped);
    Ok(())
}

#[derive(Default)]
struct Counts {
    recorded: u64,
    skipped: u64,
}

async fn import(
    lines: impl Iterator<Item = Result<Numbered, ReadError>> + Send + 'static,
    progress: &Progress,
    store: &Store,
) -> anyhow::Result<Counts> {
    let bar = Bar::bytes(progress.total());
    // The reader's iterator waits, which an async task must not.
    let (sender, mut receiver) = tokio::sync::mpsc::channel(QUEUE);
    let reading = tokio::task::spawn_blocking(move || {
        for line in lines {
            if sender.blocking_send(line).is_err() {
                break;
            }
        }
    });
    let mut targets =
        Targets { store, open: HashMap::new(), counts: Counts::default(), warned: Vec::new() };
    let mut shown = Moment::now();
    let mut outcome = Ok(());
    while let Some(line) = receiver.recv().await {
        outcome = match line {
            Ok(line) => targets.take(line).await,
            // Also where its compression ends too early: the file is to blame.
            Err(error) => Err(usage(error)),
        };
        if outcome.is_err() {
            break;
        }
        if shown.elapsed() > Duration::from_millis(200) {
            shown = Moment::now();
            bar.at(progress.read(), format!("{} snapshots", targets.counts.recorded));
        }
    }
    drop(receiver);
    // What came before a bad line is recorded all the same.
    let written = targets.commit().await;
    targets.step_down().await;
    reading.await.context("end reading")?;
    bar.finish();
    if targets.counts.recorded > 0
        && let Err(error) = targets.store.analyze().await
    {
        // Recorded all the same; reports are slower until the server gets round to it.
        tracing::warn!(error = %Chain(&error), "could not bring the statistics up to date");
    }
    outcome?;
    written?;
    Ok(targets.counts)
}

/// The sources that lines speak of.
struct Targets<'a> {
    store: &'a Store,
    open: HashMap<String, Target>,
    counts: Counts,
    warned: Vec<String>,
}

struct Target {
    recorder: Recorder,
    pin: Option<Pin>,
    /// The newest snapshot when `replay` was begun, which reads no further.
    recorded_until: Option<Instant>,
    /// Reads back what is recorded, beside the lines that come again; and how far it has come.
    replay: Option<(Replay, Instant)>,
    /// The month that was last asked for, and whether it is pruned.
    pruned: Option<(Instant, bool)>,
    since: Moment,
}

impl Targets<'_> {
    async fn take(&mut self, Numbered { number, line }: Numbered) -> anyhow::Result<()> {
        let at_line = || format!("line {number}: source `{}`", line.source);
        let observed_at = line.snapshot.observed_at;
        if observed_at > Clock::System.now() + AHEAD {
            self.warn_of_the_future(&line.source, number, observed_at);
        }
        let is_known = self
            .open
            .get(&line.source)
            .is_some_and(|target| line.pin.is_none() || line.pin == target.pin);
        if !is_known {
            self.open(&line.source, line.pin.clone())
                .await
                .with_context(at_line)
                .map_err(refused)?;
        }
        let target = self.open.get_mut(&line.source).expect("opened above");
        let newest = target.recorder.beliefs().await?.head.newest.map(|mark| mark.at);
        if newest.is_some_and(|newest| observed_at <= newest) {
            // It may be one of those that came before it in this file: they are read back too.
            target.recorder.commit().await.with_context(at_line).map_err(refused)?;
            if target.recorded_until != newest {
                (target.recorded_until, target.replay) = (newest, None);
            }
            // Recorded is what does not name those who were erased.
            let given = target.recorder.veiled(&line.snapshot).await?;
            target.check(self.store, &given).await.with_context(at_line).map_err(refused)?;
            self.counts.skipped += 1;
            return Ok(());
        }
        if target.recorder.waiting().0 == 0 {
            target.since = Moment::now();
        }
        target.recorder.add(&line.snapshot).await.with_context(at_line).map_err(refused)?;
        self.counts.recorded += 1;
        let (snapshots, rows) = target.recorder.waiting();
        if snapshots >= BATCH_SNAPSHOTS || rows >= BATCH_ROWS || target.since.elapsed() > BATCH_TIME
        {
            target.recorder.commit().await.with_context(at_line).map_err(refused)?;
        }
        Ok(())
    }

    /// Says so once a source: nothing can be recorded of it until that time has come.
    fn warn_of_the_future(&mut self, source: &str, line: u64, observed_at: Instant) {
        if !self.warned.iter().any(|warned| warned == source) {
            eprintln!(
                "warning: line {line}: source `{source}`: the snapshot of {observed_at} lies in the future: \
                 `collect` can record nothing before it"
            );
            self.warned.push(source.to_owned());
        }
    }

    async fn open(&mut self, name: &str, pin: Option<Pin>) -> anyhow::Result<()> {
        let given = pin.clone().unwrap_or_default();
        let source = Source {
            name: name.to_owned(),
            region: given.region,
            project_id: given.project_id,
            endpoint: given.endpoint,
        };
        if let Some(target) = self.open.get_mut(name) {
            self.store.register_source(&source).await?;
            target.pin = pin;
            return Ok(());
        }
        let mut recorder = Recorder::open(self.store, &source).await?;
        let candidate = Candidate::this_process(TERM);
        if let Leadership::Others { leader, .. } = recorder.lead(&candidate).await? {
            return Err(Misfit::Led(leader).into());
        }
        let (recorded_until, replay, pruned) = (None, None, None);
        let since = Moment::now();
        let target = Target { recorder, pin, recorded_until, replay, pruned, since };
        self.open.insert(name.to_owned(), target);
        Ok(())
    }

    async fn commit(&mut self) -> anyhow::Result<()> {
        for (name, target) in &mut self.open {
            target.recorder.commit().await.with_context(|| format!("source `{name}`"))?;
        }
        Ok(())
    }

    /// Lets others record the sources.
    async fn step_down(&mut self) {
        for (name, target) in &mut self.open {
            if let Err(error) = target.recorder.step_down().await {
                tracing::warn!(
                    "the lease of source `{name}` runs out by itself: {}",
                    Chain(&error)
                );
            }
        }
    }
}

/// A line that does not fit what is recorded.
#[derive(Debug, thiserror::Error)]
enum Misfit {
    #[error(
        "the snapshot of {0} is older than the newest recorded, and not recorded: history is written in time order"
    )]
    Unrecorded(Instant),
    #[error("the snapshot of {0} is recorded already, and differs: {1}")]
    Differs(Instant, &'static str),
    #[error(
        "the source is recorded just now by {0}: history is written by one at a time, so stop that one first"
    )]
    Led(String),
}

impl Target {
    /// Checks that a snapshot is recorded as it is given now.
    async fn check(&mut self, store: &Store, given: &Snapshot) -> anyhow::Result<()> {
        let at = given.observed_at;
        let month = month_start(at);
        let is_pruned = match self.pruned {
            Some((known, is_pruned)) if known == month => is_pruned,
            _ => store.is_pruned(self.recorder.source_id(), at).await?,
        };
        self.pruned = Some((month, is_pruned));
        if is_pruned {
            // What was said then is gone, and nobody can compare.
            return Ok(());
        }
        // Reading goes forward only: for a line that goes back it begins anew.
        if self.replay.as_ref().is_none_or(|(_, reached)| *reached >= at) {
            let id = self.recorder.source_id();
            self.replay = Some((Replay::open(store, id, Some(at), None).await?, at));
        }
        let (replay, reached) = self.replay.as_mut().expect("opened above");
        while let Some(recorded) = replay.next().await? {
            *reached = recorded.observed_at;
            if recorded.observed_at < at {
                continue;
            }
            if recorded.observed_at > at {
                break;
            }
            return match difference(&recorded, given) {
                None => Ok(()),
                Some(what) => Err(Misfit::Differs(at, what).into()),
            };
        }
        Err(Misfit::Unrecorded(at).into())
    }
}

/// What differs between a snapshot as it is recorded and as it is given. The order of desktops says
/// nothing, and that of groups only among those of one name.
fn difference(recorded: &Snapshot, given: &Snapshot) -> Option<&'static str> {
    let instants = |snapshot: &Snapshot| (snapshot.finished_at, snapshot.max_gap);
    let failure = |snapshot: &Snapshot| {
        snapshot
            .failure
            .clone()
            .filter(|failure| failure.code.is_some() || failure.message.is_some())
    };
    if instants(recorded) != instants(given) {
        return Some("`finished_at` or `max_gap`");
    }
    if given.scheduled_at.is_some() && recorded.scheduled_at != given.scheduled_at {
        return Some("`scheduled_at`");
    }
    if failure(recorded) != failure(given) {
        return Some("`error`");
    }
    if recorded.total != given.total {
        return Some("`total_count`");
    }
    if sorted_desktops(recorded) != sorted_desktops(given) {
        return Some("`desktops`");
    }
    (sorted_groups(recorded) != sorted_groups(given)).then_some("`statics`")
}

fn sorted_desktops(snapshot: &Snapshot) -> Option<Vec<&Desktop>> {
    let mut desktops: Vec<_> = snapshot.desktops.as_ref()?.desktops().iter().collect();
    desktops.sort_unstable_by(|one, other| one.id.cmp(&other.id));
    Some(desktops)
}

fn sorted_groups(snapshot: &Snapshot) -> Option<Vec<&GroupStatistics>> {
    let mut groups: Vec<_> = snapshot.groups.as_ref()?.iter().collect();
    groups.sort_by(|one, other| one.name.cmp(&other.name));
    Some(groups)
}

/// What the file is to blame for is wrong use; what the database is, is not.
fn refused(error: anyhow::Error) -> anyhow::Error {
    let is_misfit = error.downcast_ref::<Misfit>().is_some()
        || matches!(
            error.downcast_ref::<StoreError>(),
            Some(StoreError::History(_) | StoreError::Pinned { .. })
        );
    if is_misfit { usage(error) } else { error }
}
