//! What is known of a source, and what of it goes on now or is over: plain values, no clock and no disk.
//!
//! The rules are the contract's: covered time ends at the newest listing, complete or partial, that no other follows within
//! `max_gap`; what waits in the spool was seen, and is no gap. A recorder that stands by decides nothing.

use chrono::TimeDelta;
use serde_json::{Map, Value};

use super::event::{Condition, data, or_null};
use crate::collector::{Backlog, Standing};
use crate::config::Topic;
use crate::domain::Instant;
use crate::domain::beliefs::{Head, Mark};
use crate::store::FailedVisits;

/// A visit, as far as it matters here.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    /// When it was made, or when it was to be.
    pub at: Instant,
    /// The longest time to the next one that leaves no gap.
    pub max_gap: TimeDelta,
    /// Whether there is a listing, be it partial.
    pub has_listing: bool,
    /// Why there is none, in a word of the API or of ours.
    pub code: Option<String>,
}

/// A listing that came after a time without one, or without a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resumed {
    /// The end of the time that was covered before.
    pub since: Instant,
    /// The listing.
    pub at: Instant,
    /// Whether that left a gap.
    pub is_gap: bool,
    /// The longest time that would have left none.
    pub max_gap: TimeDelta,
    /// The visits between that had no listing.
    pub failed: FailedVisits,
}

/// One source.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub name: String,
    pub max_gap: TimeDelta,
    /// The newest listing.
    pub listing: Option<Mark>,
    /// The first visit that is known of, which had no listing.
    pub first_at: Option<Instant>,
    /// The visits without one since.
    pub failed: FailedVisits,
    /// When a visit began that has not ended.
    pub under_way: Option<Instant>,
    /// The newest visit that brought a listing after the one before it.
    pub resumed: Option<Resumed>,
    pub standing: Option<Standing>,
    pub backlog: Option<Backlog>,
}

/// Something that goes on, and what is told of its beginning.
#[derive(Clone, Debug)]
pub(super) struct Ongoing {
    pub condition: Condition,
    pub at: Instant,
    pub data: Map<String, Value>,
}

impl State {
    pub fn new(name: &str, max_gap: TimeDelta) -> Self {
        Self {
            name: name.to_owned(),
            max_gap,
            listing: None,
            first_at: None,
            failed: FailedVisits::default(),
            under_way: None,
            resumed: None,
            standing: None,
            backlog: None,
        }
    }

    /// Whether it is for this recorder to say what becomes of the source.
    pub fn decides(&self) -> bool {
        matches!(self.standing, Some(Standing::Leading | Standing::Unknown))
    }

    /// Takes over what the ledger says; `failed`: of the visits after its newest listing.
    pub fn learn(&mut self, head: &Head, failed: FailedVisits) {
        self.first_at = head.first_at.or(self.first_at);
        self.max_gap = head.newest.map_or(self.max_gap, |newest| newest.max_gap);
        // What waits in our spool is newer than what the ledger knows.
        if self.listing.is_none_or(|known| head.usable.is_some_and(|usable| usable.at > known.at)) {
            self.listing = head.usable;
            self.failed = failed;
        }
    }

    /// Takes over a visit that was made.
    pub fn visited(&mut self, visit: &Visit) {
        self.under_way = None;
        self.max_gap = visit.max_gap;
        self.first_at.get_or_insert(visit.at);
        if !visit.has_listing {
            self.failed.visits += 1;
            self.failed.first_at.get_or_insert(visit.at);
            self.failed.newest_at = Some(visit.at);
            self.failed.error_code.clone_from(&visit.code);
            return;
        }
        let mark = Mark { at: visit.at, max_gap: visit.max_gap };
        let is_gap = match &self.listing {
            Some(before) => !before.holds_until(&mark),
            // A source of which nothing was ever read before.
            None => self.failed.visits > 0,
        };
        let since = self.since().filter(|since| *since < visit.at);
        let failed = std::mem::take(&mut self.failed);
        let max_gap =
            self.listing.map_or(visit.max_gap, |before| before.max_gap.min(visit.max_gap));
        self.resumed = since.map(|since| Resumed { since, at: visit.at, is_gap, max_gap, failed });
        self.listing = Some(mark);
    }

    /// Up to when it is covered; where nothing was ever read, since when that is tried.
    pub fn since(&self) -> Option<Instant> {
        self.listing.map(|listing| listing.at).or(self.first_at)
    }

    fn condition(&self, topic: Topic, since: Instant) -> Condition {
        Condition { topic, about: self.name.clone(), since }
    }

    /// That its visits fail, if so many in a row do.
    pub fn failing(&self, after: u32) -> Option<Ongoing> {
        let since = self.since()?;
        if self.failed.visits < i64::from(after) {
            return None;
        }
        let data = data([
            ("source", self.name.clone().into()),
            ("newest_listing_at", or_null(self.listing.map(|listing| listing.at))),
            ("failed_visits", self.failed.visits.into()),
            ("first_failed_at", or_null(self.failed.first_at)),
            ("newest_failed_at", or_null(self.failed.newest_at)),
            ("error_code", self.failed.error_code.clone().into()),
        ]);
        let at = self.failed.newest_at.unwrap_or(since);
        Some(Ongoing { condition: self.condition(Topic::Failing, since), at, data })
    }

    /// That its covered time has ended.
    pub fn gap(&self, now: Instant) -> Option<Ongoing> {
        let since = self.since()?;
        let max_gap = self.listing.map_or(self.max_gap, |listing| listing.max_gap);
        let ends = since + max_gap;
        // A visit that began in time may bring a listing that leaves none, however long it takes; but for ever it may not.
        let may_join = self.under_way.is_some_and(|begun| begun <= ends) && now <= ends + max_gap;
        (now > ends && !may_join).then(|| self.gap_since(since, max_gap, Some(&self.failed)))
    }

    /// That there is or was a gap; `failed`: of the visits in it, where that is known.
    pub fn gap_since(
        &self,
        since: Instant,
        max_gap: TimeDelta,
        failed: Option<&FailedVisits>,
    ) -> Ongoing {
        let data = data([
            ("source", self.name.clone().into()),
            ("gap_from", or_null(Some(since))),
            ("max_gap_seconds", max_gap.num_seconds().into()),
            ("failed_visits", failed.map(|failed| failed.visits).into()),
            ("error_code", failed.and_then(|failed| failed.error_code.clone()).into()),
        ]);
        Ongoing { condition: self.condition(Topic::Gap, since), at: since + max_gap, data }
    }

    /// That its snapshots wait for longer than a gap.
    pub fn waiting(&self, now: Instant) -> Option<Ongoing> {
        let backlog = self.backlog?;
        let oldest = backlog.oldest?;
        if self.max_gap.is_zero() || now - oldest <= self.max_gap {
            return None;
        }
        let data = data([
            ("source", self.name.clone().into()),
            ("snapshots", backlog.snapshots.into()),
            ("oldest_snapshot_at", or_null(Some(oldest))),
        ]);
        let at = oldest + self.max_gap;
        Some(Ongoing { condition: self.condition(Topic::SpoolWaiting, oldest), at, data })
    }

    /// Whether it is known that nothing of it waits.
    pub fn is_caught_up(&self) -> bool {
        self.backlog.is_some_and(|backlog| backlog.snapshots == 0)
    }
}

/// What is told where a listing ended that a source had none.
pub(super) fn recovered(condition: &Condition, at: Instant) -> Map<String, Value> {
    data([
        ("source", condition.about.clone().into()),
        ("failing_since", or_null(Some(condition.since))),
        ("recovered_at", or_null(Some(at))),
    ])
}

/// What is told where covered time goes on.
pub(super) fn closed(condition: &Condition, at: Instant) -> Map<String, Value> {
    data([
        ("source", condition.about.clone().into()),
        ("gap_from", or_null(Some(condition.since))),
        ("gap_to", or_null(Some(at))),
        ("gap_seconds", ((at - condition.since).as_seconds_f64()).into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Instant {
        Instant::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn visit(seconds: i64, has_listing: bool) -> Visit {
        let max_gap = TimeDelta::seconds(30);
        let code = (!has_listing).then(|| "timeout".to_owned());
        Visit { at: at(seconds), max_gap, has_listing, code }
    }

    fn state() -> State {
        let mut state = State::new("prod", TimeDelta::seconds(30));
        state.visited(&visit(0, true));
        state
    }

    #[test]
    fn a_gap_begins_when_nothing_that_comes_can_be_joined() {
        let mut state = state();
        assert!(state.gap(at(30)).is_none(), "exactly that long is not too long");
        let gap = state.gap(at(31)).unwrap();
        assert_eq!((gap.condition.since, gap.at), (at(0), at(30)));
        // A visit that began in time is waited for, but not for ever.
        state.under_way = Some(at(29));
        assert!(state.gap(at(31)).is_none() && state.gap(at(61)).is_some());
        state.under_way = Some(at(31));
        assert!(state.gap(at(32)).is_some());
        state.visited(&visit(31, false));
        assert_eq!(state.gap(at(40)).unwrap().condition, gap.condition);
        state.visited(&visit(50, true));
        let resumed = |state: &State| {
            state.resumed.as_ref().map(|resumed| (resumed.since, resumed.at, resumed.is_gap))
        };
        assert_eq!(resumed(&state), Some((at(0), at(50), true)));
        assert!(state.gap(at(51)).is_none());
        state.visited(&visit(80, true));
        assert_eq!(resumed(&state), Some((at(50), at(80), false)));
    }

    #[test]
    fn visits_in_a_row_without_a_listing_are_a_failing_source() {
        let mut state = state();
        for (seconds, has_listing, is_failing) in [
            (10, false, false),
            (20, false, false),
            (25, true, false),
            (30, false, false),
            (40, false, false),
            (50, false, true),
            (60, false, true),
            (70, true, false),
        ] {
            state.visited(&visit(seconds, has_listing));
            assert_eq!(state.failing(3).is_some(), is_failing, "{seconds}");
        }
        let mut never = State::new("new", TimeDelta::seconds(30));
        assert!(never.failing(1).is_none() && never.gap(at(99)).is_none(), "nothing is known");
        never.visited(&visit(5, false));
        let failing = never.failing(1).unwrap();
        assert_eq!(
            (failing.condition.since, &failing.data["newest_listing_at"]),
            (at(5), &Value::Null)
        );
        never.visited(&visit(6, true));
        let resumed = never.resumed.unwrap();
        assert_eq!((resumed.since, resumed.at, resumed.failed.visits), (at(5), at(6), 1));
    }

    #[test]
    fn what_waits_in_the_spool_is_newer_than_what_the_ledger_knows() {
        let mut state = state();
        state.visited(&visit(10, false));
        let mut head = crate::domain::Beliefs::none("prod").head;
        head.usable = Some(Mark { at: at(-50), max_gap: TimeDelta::seconds(30) });
        state.learn(&head, FailedVisits { visits: 9, ..FailedVisits::default() });
        assert_eq!((state.since(), state.failed.visits), (Some(at(0)), 1));
        head.usable = Some(Mark { at: at(60), max_gap: TimeDelta::seconds(30) });
        state.learn(&head, FailedVisits::default());
        assert_eq!((state.since(), state.failed.visits), (Some(at(60)), 0));
    }

    #[test]
    fn what_waits_for_longer_than_a_gap_is_told_until_nothing_waits() {
        let mut state = state();
        let backlog = |snapshots, oldest| Some(Backlog { snapshots, bytes: 9, oldest });
        state.backlog = backlog(2, Some(at(0)));
        assert!(state.waiting(at(30)).is_none() && state.waiting(at(31)).is_some());
        assert!(!state.is_caught_up());
        state.backlog = backlog(0, None);
        assert!(state.waiting(at(99)).is_none() && state.is_caught_up());
    }
}
