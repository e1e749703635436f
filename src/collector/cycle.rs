//! One cycle: visit a source, and keep what was read, whatever it is.
//!
//! A visit is not made where another recorder leads, and where its snapshot would have no place: the clock
//! stands before the newest one, or neither ledger nor spool takes any more. What kept visits from being made, and
//! what somebody did to the clock, is said by the next snapshot (`error_code` `clock` or `spool`), so that it
//! stands in the ledger and not only in a log.

use std::sync::Arc;
use std::time::Duration;

use chrono::{SecondsFormat, TimeDelta};

use super::keeper::{Keeper, Kept};
use super::succession::Standing;
use crate::clock::Clock;
use crate::domain::{Beliefs, Instant, Snapshot, format_duration};
use crate::workspace::{Client, Effort, Visit};

/// What can be visited: the API over HTTP, or a simulated fleet.
pub trait Visitor: Send {
    /// Reads both parts. What could not be read is part of the visit.
    fn visit(&mut self) -> impl Future<Output = Visit> + Send;

    /// Takes over what the ledger says of the source, before the first visit.
    fn learn(&mut self, _beliefs: &Beliefs) {}
}

impl Visitor for Client {
    async fn visit(&mut self) -> Visit {
        Client::visit(self).await
    }

    fn learn(&mut self, beliefs: &Beliefs) {
        Client::learn(self, beliefs);
    }
}

/// Visits a source, and says what was seen and when, and what it took.
pub async fn take(
    visitor: &mut impl Visitor,
    clock: &Clock,
    scheduled_at: Option<Instant>,
    max_gap: TimeDelta,
) -> (Snapshot, Effort) {
    let observed_at = clock.now();
    let visit = visitor.visit().await;
    let snapshot = Snapshot {
        scheduled_at,
        observed_at,
        // A clock that was set back meanwhile must not make the visit end before it began.
        finished_at: clock.now().max(observed_at),
        max_gap,
        total: visit.total,
        desktops: visit.desktops,
        groups: visit.groups,
        failure: visit.failure,
    };
    (snapshot, visit.effort)
}

/// What a cycle came to.
#[derive(Debug)]
pub enum Step {
    /// The source was visited.
    Visited(Box<Outcome>),
    /// Another recorder leads: nothing was visited.
    StoodBy {
        /// Its name.
        leader: String,
        /// Until when it leads at least.
        until: Instant,
    },
    /// Nothing was visited, since nothing could have been kept.
    Withheld(Withheld),
}

/// A visit, and where its snapshot is.
#[derive(Debug)]
pub struct Outcome {
    /// The snapshot taken.
    pub snapshot: Arc<Snapshot>,
    /// What it took.
    pub effort: Effort,
    /// Where it is.
    pub kept: Kept,
}

/// Why nothing was visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Withheld {
    /// The clock stands before the newest snapshot: history is written in time order.
    ClockBehind {
        /// What the clock says.
        now: Instant,
        /// When the newest snapshot was taken.
        newest: Instant,
    },
    /// Neither the ledger nor the spool takes anything.
    Full(String),
}

/// How far a clock may be corrected between two visits without that being worth a word: what is
/// left of a drift that is corrected once a day.
const CORRECTION: TimeDelta = TimeDelta::seconds(10);

/// One source that is recorded.
#[derive(Debug)]
pub struct Cycle<V> {
    /// The source's name.
    pub name: String,
    /// Where its snapshots go.
    pub keeper: Keeper,
    visitor: V,
    clock: Clock,
    max_gap: TimeDelta,
    has_learned: bool,
    listener: Option<Listener>,
    /// When the visit before began, by the clock and by what had passed.
    before: Option<(Instant, Duration)>,
    /// What the next snapshot has to say besides: why nothing was visited before it.
    notes: Vec<Note>,
}

/// Hears what the ledger says of the source, before each visit that follows another recorder's.
struct Listener(Box<dyn FnMut(&Beliefs) + Send>);

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener").finish_non_exhaustive()
    }
}

/// What a snapshot says of the time before it.
#[derive(Debug)]
struct Note {
    /// `clock` or `spool`.
    code: &'static str,
    message: String,
    /// Visits that were not made.
    missed: u64,
}

impl<V: Visitor> Cycle<V> {
    /// A source and whoever visits it and keeps what was read.
    pub fn new(
        name: impl Into<String>,
        visitor: V,
        keeper: Keeper,
        clock: Clock,
        max_gap: TimeDelta,
    ) -> Self {
        Self {
            name: name.into(),
            keeper,
            visitor,
            clock,
            max_gap,
            has_learned: false,
            listener: None,
            before: None,
            notes: Vec::new(),
        }
    }

    /// Tells `listener` what the ledger says of the source, each time that the visitor learns it.
    pub fn heard_by(&mut self, listener: impl FnMut(&Beliefs) + Send + 'static) {
        self.listener = Some(Listener(Box::new(listener)));
    }

    /// Visits the source otherwise from here on; what was read is kept where it was.
    pub fn change(&mut self, visitor: V, max_gap: TimeDelta) {
        self.visitor = visitor;
        self.max_gap = max_gap;
        self.has_learned = false;
    }

    /// Visits the source once, if we lead and what is read can be kept, and keeps it.
    pub async fn run(&mut self, scheduled_at: Option<Instant>) -> Step {
        if let Standing::StandingBy { leader, until } = self.keeper.lead().await {
            // What the leader did not know of yet.
            self.keeper.catch_up().await;
            self.has_learned = false;
            return Step::StoodBy { leader, until };
        }
        if self.keeper.is_full().await.is_some() {
            self.keeper.catch_up().await;
        }
        if let Some(withheld) = self.withheld().await {
            return Step::Withheld(withheld);
        }
        if !self.has_learned
            && let Some(beliefs) = self.keeper.beliefs().await
        {
            self.visitor.learn(beliefs);
            if let Some(Listener(listener)) = &mut self.listener {
                listener(beliefs);
            }
            self.has_learned = true;
        }
        self.look_at_clock();
        let (mut snapshot, effort) =
            take(&mut self.visitor, &self.clock, scheduled_at, self.max_gap).await;
        self.add_notes(&mut snapshot);
        let snapshot = Arc::new(snapshot);
        let kept = self.keeper.keep(&snapshot).await;
        Step::Visited(Box::new(Outcome { snapshot, effort, kept }))
    }

    /// Why nothing may be visited now.
    async fn withheld(&mut self) -> Option<Withheld> {
        let now = self.clock.now();
        if let Some(newest) = self.keeper.newest().filter(|newest| *newest >= now) {
            self.note("clock", || {
                format!(
                    "the clock was set back to {}, and nothing visited until it had passed the newest snapshot",
                    shown(now)
                )
            });
            return Some(Withheld::ClockBehind { now, newest });
        }
        let full = self.keeper.is_full().await?;
        self.note("spool", || format!("nothing was visited from {} on: {full}", shown(now)));
        Some(Withheld::Full(full))
    }

    /// Notes what happened before the next snapshot; of a reason that goes on, when it began.
    fn note(&mut self, code: &'static str, message: impl FnOnce() -> String) {
        match self.notes.iter_mut().find(|note| note.code == code) {
            Some(note) => note.missed += 1,
            None => self.notes.push(Note { code, message: message(), missed: 1 }),
        }
    }

    /// Compares what the clock says has passed since the visit before with what has.
    fn look_at_clock(&mut self) {
        let (now, uptime) = (self.clock.now(), self.clock.uptime());
        let Some((before, uptime_before)) = self.before.replace((now, uptime)) else { return };
        let passed = TimeDelta::from_std(uptime.saturating_sub(uptime_before));
        let step = (now - before) - passed.unwrap_or(TimeDelta::MAX);
        if step.abs() <= CORRECTION || self.notes.iter().any(|note| note.code == "clock") {
            return;
        }
        let (way, by) = if step > TimeDelta::zero() { ("forward", step) } else { ("back", -step) };
        let by = format_duration(TimeDelta::seconds(by.num_seconds()));
        let message =
            format!("the clock was set {way} by {by} since the visit of {}", shown(before));
        tracing::warn!(source.name = self.name, "source `{}`: {message}", self.name);
        self.notes.push(Note { code: "clock", message, missed: 0 });
    }

    /// Has the snapshot say what happened before it, beside what happened in it.
    fn add_notes(&mut self, snapshot: &mut Snapshot) {
        for Note { code, message, missed } in self.notes.drain(..) {
            let message = match missed {
                0 => message,
                missed => format!("{message} ({missed} visits not made)"),
            };
            let failure = snapshot.failure.get_or_insert_default();
            failure.code.get_or_insert_with(|| code.to_owned());
            failure.message = Some(match failure.message.take() {
                None => message,
                Some(first) => format!("{first}; {code}: {message}"),
            });
        }
    }
}

fn shown(at: Instant) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}
