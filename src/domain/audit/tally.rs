//! How the counts of desktops change from instant to instant, worked out from the pieces of spans.

use std::collections::{BTreeMap, VecDeque};

use chrono::TimeDelta;

use super::rows::{End, SpanRow, TallyRow};
use super::{Shown as _, Wrong};
use crate::domain::Instant;
use crate::domain::beliefs::{CONNECTED, ended};

const DESKTOPS: usize = 0;
/// Behind the desktops, and those of the four statuses that are counted.
const STARTED: usize = 5;
const DISCONNECTS: usize = 6;
const ENDED: usize = 7;
/// Who comes back later than that after a disconnect is not counted.
const RECONNECT_LIMIT: TimeDelta = TimeDelta::hours(1);
/// By how many bits the time that it took stands above the number of desktops.
const RECONNECT_SHIFT: u32 = 20;

/// What begins and ends at an instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// As the columns of `tally`.
    numbers: [i64; 8],
    /// How many came back so many microseconds after their disconnect.
    reconnects: BTreeMap<i64, i64>,
}

impl Counts {
    fn hold(&mut self, status: i16, sign: i64) {
        self.numbers[DESKTOPS] += sign;
        let column = usize::try_from(status).unwrap_or(DESKTOPS);
        if (DESKTOPS + 1..STARTED).contains(&column) {
            self.numbers[column] += sign;
        }
    }

    fn add(&mut self, more: &Self) {
        for (number, more) in self.numbers.iter_mut().zip(more.numbers) {
            *number += more;
        }
        for (after, desktops) in &more.reconnects {
            *self.reconnects.entry(*after).or_default() += desktops;
        }
    }

    fn is_nothing(&self) -> bool {
        self.numbers == [0; 8] && self.reconnects.is_empty()
    }

    /// As its row.
    fn row(&self, at: Instant) -> TallyRow {
        let told = self.reconnects.iter();
        let told: Vec<_> =
            told.map(|(after, desktops)| Some(after << RECONNECT_SHIFT | desktops)).collect();
        TallyRow { at, counts: self.numbers, reconnects: (!told.is_empty()).then_some(told) }
    }
}

/// The counts of which the instant is still to come.
#[derive(Debug, Default)]
pub(super) struct Tally {
    counts: BTreeMap<Instant, Counts>,
    /// Those of the instant at which the newest piece begins: most begin at the same one as that before.
    newest: Option<(Instant, Counts)>,
    rows: VecDeque<TallyRow>,
}

impl Tally {
    /// Counts a piece where it begins, and where it ends.
    pub(super) fn piece(&mut self, row: &SpanRow) {
        let counts = self.beginning(row.from);
        counts.hold(row.status, 1);
        let is_first = match row.end {
            End::Filed { .. } => row.first_seen.is_none(),
            End::Open { .. } => row.first_seen == Some(row.from),
        };
        if is_first {
            if row.status == CONNECTED {
                let is_started = row.connection_first_seen.is_none() && row.started_after.is_some();
                counts.numbers[STARTED] += i64::from(is_started);
                let after = row.disconnected_at.map(|at| row.from - at);
                let after = after.filter(|after| *after <= RECONNECT_LIMIT);
                if let Some(after) = after.and_then(|after| after.num_microseconds()) {
                    *counts.reconnects.entry(after).or_default() += 1;
                }
            }
            counts.numbers[DISCONNECTS] += i64::from(row.disconnected_at == Some(row.from));
        }
        if let End::Filed { to, ended, .. } = row.end {
            let counts = self.counts.entry(to).or_default();
            counts.hold(row.status, -1);
            let is_seen = ![ended::UNKNOWN, ended::CONTINUES, ended::CUT].contains(&ended);
            counts.numbers[ENDED] += i64::from(row.status == CONNECTED && is_seen);
        }
    }

    fn beginning(&mut self, at: Instant) -> &mut Counts {
        if self.newest.as_ref().is_none_or(|(newest, _)| *newest != at) {
            self.settle();
        }
        &mut self.newest.get_or_insert_with(|| (at, Counts::default())).1
    }

    fn settle(&mut self) {
        if let Some((at, counts)) = self.newest.take() {
            self.counts.entry(at).or_default().add(&counts);
        }
    }

    /// A row of `tally`; they come in the order of time.
    pub(super) fn row(&mut self, row: TallyRow) {
        self.rows.push_back(row);
    }

    /// Holds against each other what the pieces and what the rows count up to an instant, or to the end; the first instant
    /// at which they do not agree. `is_known`: whether the pieces tell all of an instant.
    pub(super) fn check(
        &mut self,
        until: Option<Instant>,
        is_known: impl Fn(Instant) -> bool,
    ) -> Option<Wrong> {
        self.settle();
        let is_due = |at: Instant| until.is_none_or(|until| at <= until);
        let mut wrong = None;
        loop {
            let told = self.counts.first_key_value().map(|(at, _)| *at);
            let kept = self.rows.front().map(|row| row.at);
            let Some(at) = told.into_iter().chain(kept).min().filter(|at| is_due(*at)) else {
                return wrong;
            };
            let told = self.counts.remove(&at).filter(|counts| !counts.is_nothing());
            let told = told.map(|counts| counts.row(at));
            let kept = self.rows.pop_front_if(|row| row.at == at);
            if wrong.is_none() && told != kept && is_known(at) {
                wrong = Some(Wrong::new(
                    format!("`tally` of the desktops at {}", at.shown()),
                    told.map_or_else(|| "none".to_owned(), |row| row.shown()),
                    kept.map_or_else(|| "none".to_owned(), |row| row.shown()),
                ));
            }
        }
    }
}

impl TallyRow {
    fn shown(&self) -> String {
        let counts: Vec<String> = self.counts.iter().map(ToString::to_string).collect();
        let reconnects = self.reconnects.iter().map(|all| {
            let all =
                all.iter().map(|told| told.map_or("null".to_owned(), |told| told.to_string()));
            format!("{{{}}}", all.collect::<Vec<_>>().join(","))
        });
        counts.into_iter().chain(reconnects).collect::<Vec<_>>().join(", ")
    }
}
