//! What the loops of a recorder say of themselves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant as Moment};

use prometheus_client::metrics::histogram::Histogram;

use crate::clock::Clock;
use crate::collector::{Backlog, Keeper, Standing, Step, Tally, Ticker, Withheld};
use crate::domain::{Instant, Outcome, Snapshot};
use crate::notify;
use crate::workspace::{Effort, Fate};

/// From a fleet on the same machine to a visit that takes all of the longest budget.
const CYCLE_BOUNDS: [f64; 13] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];

/// A source that is going to be recorded.
#[derive(Clone, Debug)]
pub struct WatchedSource {
    /// Its name.
    pub name: String,
    /// The shortest time between two visits.
    pub interval: Duration,
    /// The longest between two that leaves no gap.
    pub max_gap: Duration,
}

/// All that is known of a recorder from outside.
#[derive(Debug)]
pub struct Watch {
    pub(super) clock: Clock,
    pub(super) started_at: Instant,
    /// What the spool may take on disk.
    pub(super) spool_max_bytes: u64,
    sources: Mutex<Vec<Arc<Watched>>>,
    /// Once the schedule runs.
    pub(super) ticker: OnceLock<Arc<Ticker>>,
    /// Once it is told of anybody.
    pub(super) webhooks: OnceLock<Arc<notify::Tally>>,
    /// As far as it was told lately.
    database_bytes: Mutex<Option<u64>>,
    is_stopping: AtomicBool,
}

/// One source.
#[derive(Debug)]
pub(super) struct Watched {
    pub name: String,
    pub durations: Histogram,
    seen: Mutex<Seen>,
}

/// What was seen of a source's loop.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub interval: Duration,
    pub max_gap: Duration,
    pub pulse: Pulse,
    /// `None`: it was not asked yet who records the source.
    pub standing: Option<Standing>,
    pub obstacle: Option<Obstacle>,
    pub newest_complete: Option<Instant>,
    /// Visits by how the listing and the statistics ended.
    pub visits: BTreeMap<(&'static str, &'static str), u64>,
    pub requests: BTreeMap<Fate, u64>,
    pub retries: u64,
    pub throttled: u64,
    pub withheld_by_clock: u64,
    pub withheld_by_spool: u64,
    pub tally: Tally,
    /// `None`: nobody has looked into the spool yet.
    pub backlog: Option<Backlog>,
}

/// Whether a loop turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pulse {
    /// It has not begun.
    Waiting,
    /// It waits for the next thing to do, and came here then.
    Resting(Moment),
    /// It has something to do, and should be done by then.
    Working(Moment),
    /// It is over.
    Over,
}

/// Why what is read could not be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// Neither the ledger nor the spool takes anything.
    Full,
    /// The clock stands before the newest snapshot.
    Clock,
}

impl Seen {
    fn nothing(source: &WatchedSource) -> Self {
        let outcomes = [Outcome::Complete, Outcome::Partial, Outcome::Failed];
        let visits = outcomes.into_iter().flat_map(|desktops| {
            let groups = [Outcome::Complete, Outcome::Failed];
            groups.map(|groups| ((desktops.as_str(), groups.as_str()), 0))
        });
        Self {
            interval: source.interval,
            max_gap: source.max_gap,
            pulse: Pulse::Waiting,
            standing: None,
            obstacle: None,
            newest_complete: None,
            // A rate needs a series to begin at zero.
            visits: visits.collect(),
            requests: BTreeMap::from([(Fate::Status(200), 0)]),
            retries: 0,
            throttled: 0,
            withheld_by_clock: 0,
            withheld_by_spool: 0,
            tally: Tally::default(),
            backlog: None,
        }
    }

    fn visited(&mut self, snapshot: &Snapshot, effort: &Effort) {
        let (desktops, groups) = (snapshot.desktops_outcome(), snapshot.groups_outcome());
        *self.visits.entry((desktops.as_str(), groups.as_str())).or_default() += 1;
        if desktops == Outcome::Complete {
            self.newest_complete = self.newest_complete.max(Some(snapshot.observed_at));
        }
        for (fate, requests) in &effort.traffic.fates {
            *self.requests.entry(*fate).or_default() += u64::from(*requests);
        }
        self.retries += u64::from(effort.traffic.retries);
        self.throttled += u64::from(effort.traffic.throttled);
    }
}

impl Watched {
    fn new(source: WatchedSource) -> Arc<Self> {
        let seen = Mutex::new(Seen::nothing(&source));
        Arc::new(Self { name: source.name, durations: Histogram::new(CYCLE_BOUNDS), seen })
    }

    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Nothing is known yet of these sources.
    #[must_use]
    pub fn new(sources: Vec<WatchedSource>, spool_max_bytes: u64, clock: Clock) -> Self {
        Self {
            started_at: clock.now(),
            clock,
            spool_max_bytes,
            sources: Mutex::new(sources.into_iter().map(Watched::new).collect()),
            ticker: OnceLock::new(),
            webhooks: OnceLock::new(),
            database_bytes: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The schedule runs.
    pub fn ticks(&self, ticker: Arc<Ticker>) {
        let _ = self.ticker.set(ticker);
    }

    /// What becomes of events is counted there.
    pub fn webhooks(&self, tally: Arc<notify::Tally>) {
        let _ = self.webhooks.set(tally);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Watched>>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that are watched now.
    pub(super) fn sources(&self) -> Vec<Arc<Watched>> {
        self.lock().clone()
    }

    fn find(&self, source: &str) -> Option<Arc<Watched>> {
        self.lock().iter().find(|watched| watched.name == source).map(Arc::clone)
    }

    /// One more is going to be recorded.
    pub fn add(&self, source: WatchedSource) {
        self.lock().push(Watched::new(source));
    }

    /// One is recorded at other times from here on; what was counted goes on.
    pub fn change(&self, source: &WatchedSource) {
        if let Some(watched) = self.find(&source.name) {
            let mut seen = watched.seen();
            (seen.interval, seen.max_gap) = (source.interval, source.max_gap);
        }
    }

    /// One is not recorded any more: that its loop ends is right.
    pub fn remove(&self, source: &str) {
        self.lock().retain(|watched| watched.name != source);
    }

    /// The loop of a source, which begins.
    ///
    /// # Panics
    /// The source is none of those that are watched.
    #[must_use]
    pub fn begin(&self, source: &str) -> Loop {
        let watched = self.find(source).expect("every source that is configured");
        Loop { watched, clock: self.clock.clone() }
    }

    /// What the ledger knows of the newest complete snapshot of a source.
    pub fn recorded_complete(&self, source: &str, at: Instant) {
        if let Some(watched) = self.find(source) {
            let mut seen = watched.seen();
            seen.newest_complete = seen.newest_complete.max(Some(at));
        }
    }

    /// What the ledger takes on its server; `None`: it does not say.
    pub fn database(&self, bytes: Option<u64>) {
        *self.database_bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    pub(super) fn database_bytes(&self) -> Option<u64> {
        *self.database_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was told to stop: loops end from here on, and that is right.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// A source's loop, which says what it does. When this is dropped it is over.
#[derive(Debug)]
pub struct Loop {
    watched: Arc<Watched>,
    clock: Clock,
}

impl Loop {
    /// It has something to do, for so long at most.
    pub fn works(&self, longest: Duration) {
        self.watched.seen().pulse = Pulse::Working(Moment::now() + longest);
    }

    /// It made a cycle.
    pub fn made(&self, step: &Step, took: Duration) {
        let mut seen = self.watched.seen();
        match step {
            Step::Visited(outcome) => {
                seen.visited(&outcome.snapshot, &outcome.effort);
                drop(seen);
                self.watched.durations.observe(took.as_secs_f64());
            }
            Step::Withheld(Withheld::ClockBehind { .. }) => seen.withheld_by_clock += 1,
            Step::Withheld(Withheld::Full(_)) => seen.withheld_by_spool += 1,
            Step::StoodBy { .. } => {}
        }
    }

    /// It waits for the next thing to do.
    pub async fn rests(&self, keeper: &Keeper) {
        let obstacle = if keeper.is_full().await.is_some() {
            Some(Obstacle::Full)
        } else {
            let newest = keeper.newest();
            newest.filter(|newest| *newest >= self.clock.now()).map(|_| Obstacle::Clock)
        };
        let (tally, backlog) = (keeper.tally(), keeper.spooled());
        let mut seen = self.watched.seen();
        seen.pulse = Pulse::Resting(Moment::now());
        seen.standing = Some(keeper.standing());
        (seen.obstacle, seen.tally, seen.backlog) = (obstacle, tally, Some(backlog));
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.watched.seen().pulse = Pulse::Over;
    }
}
