//! Keeps what was fetched: in the ledger, or in the spool until the ledger can be reached.
//!
//! Writing goes on in a task of its own. Whoever fetches waits for it for a moment; a ledger that does not
//! answer by then, however slow or stuck it is, holds up no visit: the snapshot goes to the spool, and what comes
//! after it as well, until the task is done. What the task wrote after all is recognised when it comes again
//! from the spool.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant as Moment};

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::spool::{Queue, SpoolError};
use super::succession::{Standing, Succession};
use super::turns::Turns;
use super::writer::{
    Attempt, CaughtUp, Opening, Probe, SharedQueue, WriteError, Writer, Written, lock, on_queue,
};
use crate::clock::Clock;
use crate::domain::{Beliefs, Instant, Snapshot};
use crate::error::Chain;
use crate::store::{Candidate, StoreError};

/// How long a ledger may take to answer before it counts as away, where visits are not more frequent than that.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// How long a task may get nothing written before its connection counts as dead: a server that vanished with its
/// machine says nothing any more, and nobody else tells us.
const DEAD: Duration = Duration::from_mins(15);
/// How long one that was away is waited for.
const BRIEF_PATIENCE: Duration = Duration::from_millis(500);

/// Why a snapshot is not in a ledger that says nothing.
const AWAY: &str = "the database does not answer";
/// Why it is not in one that is busy with other sources for longer than there is time.
const BUSY: &str = "the database is busy with other sources";

/// Where a snapshot is now.
#[derive(Debug)]
pub enum Kept {
    /// It has reached the ledger.
    Written(Written),
    /// On disk, to be written as soon as the ledger answers.
    Spooled {
        /// Why it is not in the ledger.
        why: String,
        /// How many snapshots wait there now.
        waiting: usize,
        /// How many older ones were given up for it.
        dropped: usize,
    },
    /// In memory alone: nothing is visited until it has found a place.
    Held {
        /// Why it is not in the ledger.
        why: String,
        /// Why it is not in the spool.
        error: SpoolError,
    },
}

/// What became of snapshots since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// They became part of the history.
    pub recorded: u64,
    /// What those changed.
    pub changes: u64,
    /// They came too late for it, and are kept outside of it.
    pub late: u64,
    /// They went to the spool first.
    pub spooled: u64,
    /// They were given up for newer ones, since the spool was full.
    pub dropped: u64,
}

impl Tally {
    fn add(&mut self, attempt: &Attempt) {
        let CaughtUp { recorded, late, changes, already: _ } = attempt.caught_up;
        self.recorded += recorded as u64;
        self.late += late as u64;
        self.changes += changes;
        match attempt.written {
            Ok(Some(Written::Recorded { changes })) => {
                self.recorded += 1;
                self.changes += u64::try_from(changes).unwrap_or(0);
            }
            Ok(Some(Written::Late)) => self.late += 1,
            Ok(Some(Written::Already) | None) | Err(_) => {}
        }
    }
}

/// What waits in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// How many snapshots.
    pub snapshots: usize,
    /// What they take on disk.
    pub bytes: u64,
    /// When the first of them was taken.
    pub oldest: Option<Instant>,
}

/// Keeps one source's snapshots.
#[derive(Debug)]
pub struct Keeper {
    source: String,
    queue: SharedQueue,
    /// Away with the task while one goes on.
    writer: Option<Writer>,
    task: Option<JoinHandle<(Writer, Attempt)>>,
    /// When the snapshot was taken that the task writes after what waits.
    written: Option<Instant>,
    /// When the task was last seen to have written something, and how much by then.
    alive: (Moment, u64),
    /// What found a place neither in the ledger nor in the spool.
    held: Option<Arc<Snapshot>>,
    succession: Succession,
    newest: Option<Instant>,
    patience: Duration,
    /// How long others are waited for at the ledger.
    longest: Duration,
    turns: Turns,
    /// Whether the task has had its turn.
    has_turn: watch::Receiver<bool>,
    /// The ledger did not answer when it was last asked.
    is_away: bool,
    probe: Option<Asking>,
    tally: Tally,
    make: Make,
}

/// Asks why a ledger says nothing.
struct Asking(Probe);

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Asking").finish_non_exhaustive()
    }
}

/// What a writer is made from, should one be lost to a panic.
#[derive(Clone)]
struct Make {
    opening: Opening,
    candidate: Option<Candidate>,
    clock: Clock,
    /// How often something was written.
    progress: Arc<AtomicU64>,
}

impl std::fmt::Debug for Make {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Make").field("candidate", &self.candidate).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Keeps a source's snapshots in `queue` until they are in the ledger that `opening` gives, where they are
    /// recorded as `candidate`'s; without one, without a lease.
    pub fn new(
        source: impl Into<String>,
        queue: Queue,
        opening: Opening,
        candidate: Option<Candidate>,
        clock: Clock,
    ) -> Self {
        let source = source.into();
        let newest = queue.newest();
        let queue = Arc::new(Mutex::new(queue));
        let make = Make { opening, candidate, clock, progress: Arc::default() };
        let mut keeper = Self {
            source,
            queue,
            writer: None,
            task: None,
            written: None,
            alive: (Moment::now(), 0),
            held: None,
            succession: Succession::new(Duration::ZERO),
            newest,
            patience: PATIENCE,
            longest: PATIENCE,
            turns: Turns::default(),
            has_turn: watch::channel(false).1,
            is_away: false,
            probe: None,
            tally: Tally::default(),
            make,
        };
        keeper.writer = Some(keeper.new_writer());
        keeper.report_damage();
        keeper
    }

    /// Waits no longer for the ledger, and for others there, than half the time between two visits, so that none is
    /// late for it.
    #[must_use]
    pub fn visited_every(mut self, step: Duration) -> Self {
        self.visit_every(step);
        self
    }

    /// The same from here on.
    pub fn visit_every(&mut self, step: Duration) {
        self.patience = PATIENCE.min(step / 2);
        self.longest = step / 2;
    }

    /// Takes turns at the ledger with others that share it.
    #[must_use]
    pub fn taking_turns(mut self, turns: Turns) -> Self {
        self.turns = turns;
        self
    }

    /// Gives a leader so much time to show itself again after the ledger was away. Its lease has run out
    /// meanwhile, whether it lives or not; and if it does, it has on disk what belongs into the history.
    #[must_use]
    pub fn giving_leaders(mut self, grace: Duration) -> Self {
        self.succession = Succession::new(grace);
        self
    }

    /// Asks so why the ledger says nothing: a pool of connections only says that it has waited.
    #[must_use]
    pub fn asking_why_with(mut self, probe: Probe) -> Self {
        self.probe = Some(Asking(probe));
        self
    }

    /// That the ledger says nothing, and why, as far as that can be learnt at once.
    async fn silence(&self) -> String {
        let Some(Asking(probe)) = &self.probe else { return AWAY.to_owned() };
        match tokio::time::timeout(BRIEF_PATIENCE, probe()).await {
            Ok(Err(error)) => format!("{AWAY}: {}", root(&error)),
            Ok(Ok(())) => format!("{AWAY}, though it can be connected to"),
            Err(_) => AWAY.to_owned(),
        }
    }

    /// How long the ledger is waited for now.
    fn patience(&self) -> Duration {
        if self.is_away { self.patience.min(BRIEF_PATIENCE) } else { self.patience }
    }

    /// Says what of the spool was found damaged.
    fn report_damage(&self) {
        let reports = lock(&self.queue).reports();
        for report in reports {
            tracing::error!(
                source.name = self.source,
                "the spool of source `{}`: {report}",
                self.source
            );
        }
    }

    fn new_writer(&self) -> Writer {
        let Make { opening, candidate, clock, progress } = self.make.clone();
        Writer::new(&self.source, opening, candidate, clock, Arc::clone(&self.queue), progress)
    }

    /// When the newest snapshot that is known of was taken, in the ledger or in the spool.
    #[must_use]
    pub fn newest(&self) -> Option<Instant> {
        self.newest
    }

    /// How many snapshots wait, in the spool or for it.
    #[must_use]
    pub fn waiting(&self) -> usize {
        lock(&self.queue).len() + usize::from(self.held.is_some())
    }

    /// What waits in the spool.
    #[must_use]
    pub fn spooled(&self) -> Backlog {
        let queue = lock(&self.queue);
        Backlog { snapshots: queue.len(), bytes: queue.bytes(), oldest: queue.oldest() }
    }

    /// What became of snapshots so far.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }

    /// Who records the source, as far as that is known without asking.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.succession.standing()
    }

    /// Whether a snapshot has found a place neither in the ledger nor on disk.
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.held.is_some()
    }

    /// Why nothing more can be kept; `None`: it can.
    #[must_use]
    pub async fn is_full(&self) -> Option<String> {
        if self.held.is_some() {
            return Some("the last snapshot has found no place on disk".to_owned());
        }
        // While nothing waits, the ledger is what snapshots go to.
        if lock(&self.queue).is_empty() && self.task.is_none() {
            return None;
        }
        match on_queue(&self.queue, Queue::has_room).await {
            Ok(true) => None,
            Ok(false) => Some("the spool is full".to_owned()),
            Err(error) => Some(Chain(&error).to_string()),
        }
    }

    /// Sees to it that we lead, or learns who does.
    pub async fn lead(&mut self) -> Standing {
        self.settle(Duration::ZERO).await;
        let (patience, longest) = (self.patience(), self.longest);
        let Some(writer) = &mut self.writer else { return self.succession.standing() };
        if self.succession.is_settled(writer.leads()) {
            return Standing::Leading;
        }
        self.succession.ask(self.is_away);
        let is_patient = self.succession.is_patient();
        let asked = match self.turns.next_while_others_do(patience, longest).await {
            None => None,
            Some(turn) => {
                let asking = async {
                    let other = writer.lead(is_patient).await?;
                    let newest = writer.newest().await?;
                    turn.answered();
                    Ok::<_, StoreError>((other, newest))
                };
                tokio::time::timeout(patience, asking).await.ok()
            }
        };
        let why = match asked {
            Some(Ok((other, newest))) => {
                self.is_away = false;
                self.newest = self.newest.max(newest);
                self.succession.answered(other);
                return self.succession.standing();
            }
            Some(Err(error)) => Chain(&error).to_string(),
            None => "no answer".to_owned(),
        };
        self.is_away = true;
        tracing::debug!(source.name = self.source, "cannot tell who leads: {why}");
        self.succession.unanswered(writer.leads());
        self.succession.standing()
    }

    /// What is believed of the source, if the ledger answers.
    pub async fn beliefs(&mut self) -> Option<&Beliefs> {
        if self.is_away {
            return None;
        }
        let turn = self.turns.next_while_others_do(self.patience, self.longest).await?;
        let beliefs = self.writer.as_mut()?.beliefs();
        let beliefs = tokio::time::timeout(self.patience, beliefs).await.ok()?.ok()?;
        turn.answered();
        Some(&*beliefs)
    }

    /// Keeps a snapshot.
    pub async fn keep(&mut self, snapshot: &Arc<Snapshot>) -> Kept {
        self.newest = self.newest.max(Some(snapshot.observed_at));
        self.settle(Duration::ZERO).await;
        let why = if self.task.is_some() {
            if self.is_away {
                self.silence().await
            } else {
                "the ledger is busy with what came before".to_owned()
            }
        } else {
            self.start(Some(Arc::clone(snapshot)));
            match self.settle(self.patience()).await {
                None if self.is_away => self.silence().await,
                None => BUSY.to_owned(),
                Some(Ok(Some(written))) => return Kept::Written(written),
                Some(Ok(None)) => unreachable!("a snapshot was given"),
                Some(Err(WriteError::Store(error))) if error.is_silence() => self.silence().await,
                Some(Err(error)) => Chain(&error).to_string(),
            }
        };
        self.spool(snapshot, why).await
    }

    async fn spool(&mut self, snapshot: &Arc<Snapshot>, why: String) -> Kept {
        let appending = Arc::clone(snapshot);
        let appended = on_queue(&self.queue, move |queue| {
            let appended = queue.append(&appending);
            appended.map(|appended| (appended, queue.len()))
        });
        let appended = appended.await;
        // Somebody may have taken files away.
        self.report_damage();
        match appended {
            Ok((appended, waiting)) => {
                self.tally.spooled += 1;
                self.tally.dropped += appended.dropped as u64;
                Kept::Spooled { why, waiting, dropped: appended.dropped }
            }
            Err(error) => {
                self.held = Some(Arc::clone(snapshot));
                Kept::Held { why, error }
            }
        }
    }

    /// Writes what waits, if anything does; gives up waiting for the ledger after a moment.
    pub async fn catch_up(&mut self) {
        self.settle(Duration::ZERO).await;
        if self.task.is_some() || self.waiting() == 0 {
            return;
        }
        let held = self.held.take();
        self.start(held.clone());
        match self.settle(self.patience()).await {
            Some(Ok(_)) => {}
            failed => {
                if let Some(Err(error)) = failed {
                    tracing::debug!(source.name = self.source, "not caught up: {}", Chain(&error));
                }
                if let Some(held) = held {
                    self.spool(&held, String::new()).await;
                }
            }
        }
    }

    /// Waits for the ledger for as long as that; says whether all that was fetched is in it.
    pub async fn finish(&mut self, patience: Duration) -> bool {
        self.settle(patience).await;
        if self.task.is_none() && self.waiting() > 0 {
            let held = self.held.take();
            self.start(held.clone());
            let written = self.settle(patience).await;
            if let (Some(held), Some(Err(_)) | None) = (held, written) {
                self.spool(&held, String::new()).await;
            }
        }
        self.task.is_none() && self.waiting() == 0
    }

    /// Lets others lead.
    pub async fn step_down(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        match tokio::time::timeout(self.patience, writer.step_down()).await {
            Ok(Ok(())) => self.succession.forget(),
            Ok(Err(error)) => tracing::debug!(
                source.name = self.source,
                "did not give the lease back, so it runs out by itself: {}",
                Chain(&error)
            ),
            Err(_) => tracing::debug!(source.name = self.source, "the lease runs out by itself"),
        }
    }

    fn start(&mut self, snapshot: Option<Arc<Snapshot>>) {
        let mut writer = self.writer.take().expect("no task is under way");
        self.written = snapshot.as_ref().map(|snapshot| snapshot.observed_at);
        self.alive = (Moment::now(), self.make.progress.load(Ordering::Relaxed));
        let is_patient = self.succession.is_patient();
        let turns = self.turns.clone();
        let (has_turn, seen) = watch::channel(false);
        self.has_turn = seen;
        self.task = Some(tokio::spawn(async move {
            let turn = turns.next().await;
            has_turn.send_replace(true);
            let attempt = writer.attempt(snapshot.as_deref(), is_patient).await;
            if attempt.written.is_ok() {
                turn.answered();
            }
            (writer, attempt)
        }));
    }

    /// Takes over what a task came to; `None`: there is none that is done.
    async fn settle(&mut self, patience: Duration) -> Option<Result<Option<Written>, WriteError>> {
        let mut task = self.task.take()?;
        if patience.is_zero() && !task.is_finished() {
            self.bury_dead(task);
            return None;
        }
        let mut waiting = self.turns.begin(patience, self.longest);
        while !*self.has_turn.borrow() {
            let Some(wait) = waiting.wait() else {
                // Where others get done, it is they who are waited for.
                self.is_away = waiting.is_in_vain();
                self.task = Some(task);
                return None;
            };
            // A task that is gone has no turn to come.
            if let Ok(Err(_)) = tokio::time::timeout(wait, self.has_turn.changed()).await {
                break;
            }
        }
        let Ok(joined) = tokio::time::timeout(patience, &mut task).await else {
            self.is_away = true;
            self.task = Some(task);
            return None;
        };
        let (writer, attempt) = match joined {
            Ok(done) => done,
            Err(error) => {
                tracing::error!(source.name = self.source, "writing broke off: {error}");
                self.writer = Some(self.new_writer());
                lock(&self.queue).rewind();
                return None;
            }
        };
        self.writer = Some(writer);
        self.report(&attempt);
        self.tally.add(&attempt);
        if let (Ok(Some(_)), Some(at)) = (&attempt.written, self.written)
            && let Err(error) =
                on_queue(&self.queue, move |queue| queue.acknowledge_first(at)).await
        {
            tracing::debug!(source.name = self.source, "left in the spool: {}", Chain(&error));
        }
        self.is_away = false;
        match &attempt.written {
            Ok(_) => {}
            Err(WriteError::Standby { .. } | WriteError::Store(StoreError::Deposed { .. })) => {
                self.succession.forget();
            }
            Err(_) => self.is_away = true,
        }
        Some(attempt.written)
    }

    /// Goes on waiting for a task, unless it has got nothing written for too long: then another one begins, with
    /// another connection.
    fn bury_dead(&mut self, task: JoinHandle<(Writer, Attempt)>) {
        let written = self.make.progress.load(Ordering::Relaxed);
        if written != self.alive.1 {
            self.alive = (Moment::now(), written);
        }
        if self.alive.0.elapsed() < DEAD {
            self.task = Some(task);
            return;
        }
        tracing::error!(
            source.name = self.source,
            "the connection of source `{}` to the ledger is dead: beginning with another one",
            self.source
        );
        task.abort();
        lock(&self.queue).rewind();
        self.writer = Some(self.new_writer());
    }

    fn report(&self, attempt: &Attempt) {
        self.report_damage();
        let CaughtUp { recorded, late, already, .. } = attempt.caught_up;
        if recorded + late + already > 0 {
            let left = lock(&self.queue).len();
            tracing::info!(
                source.name = self.source,
                spool.recorded = recorded,
                spool.late = late,
                spool.already = already,
                spool.left = left,
                "caught up with the spool of source `{}`: {recorded} snapshots recorded, {late} kept as late ones, \
                 {already} were there already, {left} wait still",
                self.source
            );
        }
        if let Err(error @ WriteError::Spool(_)) = &attempt.written {
            tracing::error!(source.name = self.source, "cannot read the spool: {}", Chain(error));
        }
    }
}

/// What is behind all else that an error says.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(cause) = root.source() {
        root = cause;
    }
    root.to_string()
}
