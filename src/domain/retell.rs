//! Tells a month of a source again, from its snapshots: the rows that recording filed in it.
//!
//! What was told of a month before it is pruned is what comes back when it is restored. It takes the month's snapshots, what
//! stood when it began ([`Standing`]), and of what went on beyond it, how it ended ([`Ends`]): what decided that came later.

use std::collections::HashMap;

use super::audit::Visit;
use super::beliefs::{
    Beliefs, Changes, ClosedGroupSpan, ClosedSpan, DesktopNo, Entry, GroupNo, Head, LabelNo,
    OpenGroupSpan, OpenSpan, StatusId, ended,
};
use super::history::HistoryError;
use super::months::{Piece, next_month};
use super::{Instant, Outcome, Snapshot};

/// What a source's history goes on from where a month ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The month's end.
    pub at: Instant,
    /// The head; its `sequence` and `digest` say nothing.
    pub head: Head,
    /// The present desktops. A span that goes on has its piece from `at`, any other from where its last one begins.
    pub desktops: Vec<(DesktopNo, OpenSpan)>,
    /// Desktops that are absent, since which complete listing, and the disconnect before that; where there was one.
    pub absent: Vec<(DesktopNo, Instant, Instant)>,
    /// The counters of the groups there are.
    pub groups: Vec<(GroupNo, OpenGroupSpan)>,
    /// What numbers were in use.
    pub used: Used,
}

/// The highest number in use, of each kind of name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Of desktops.
    pub desktops: DesktopNo,
    /// Of statuses.
    pub statuses: StatusId,
    /// Of labels; with them goes what they speak of.
    pub labels: LabelNo,
    /// Of groups.
    pub groups: GroupNo,
}

/// How the pieces end of what went on beyond the month.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Of spans that do not just go on, seen until the month's end: where, the last observation, and how.
    pub spans: HashMap<DesktopNo, (Instant, Instant, StatusId)>,
    /// Of counters likewise; and whether they go on all the same.
    pub groups: HashMap<GroupNo, (Instant, Instant, bool)>,
}

/// What a snapshot, or the month's end, filed in the month.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// The pieces of spans.
    pub spans: Vec<ClosedSpan>,
    /// The pieces of counters.
    pub groups: Vec<ClosedGroupSpan>,
    /// The stretches of partial listings that left a desktop out, as far as they begin in the month too.
    pub unlisted: Vec<(DesktopNo, Instant, Instant)>,
}

/// Why a snapshot is not the one that was recorded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlike {
    /// It cannot follow the one before.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// It names what the ledger never registered.
    #[error("it names a desktop, status, person, name or group that the ledger does not know")]
    Unknown,
    /// Its own row is another.
    #[error("`{0}` is another than in the ledger")]
    Row(&'static str),
    /// What it changes is not what was recorded.
    #[error("what it says of desktops and groups does not come to the digest in the ledger")]
    Body,
}

/// A month while it is told.
#[derive(Debug)]
pub struct Retelling {
    beliefs: Beliefs,
    used: Used,
    from: Instant,
    to: Instant,
}

impl Beliefs {
    /// Goes back to where a month began, or to where nothing was recorded. What was registered since is still known.
    pub fn stand_at(&mut self, source: &str, standing: Option<&Standing>) {
        for desktop in self.desktops.iter_mut() {
            (desktop.open, desktop.absent, desktop.listed_in) = (None, None, 0);
        }
        for group in self.groups.iter_mut() {
            (group.open, group.read_in) = (None, 0);
        }
        self.order = Vec::new();
        let Some(standing) = standing else {
            self.head = Self::none(source).head;
            return;
        };
        self.head = Head { sequence: 0, ..standing.head.clone() };
        for (no, span) in &standing.desktops {
            if let Some(desktop) = self.desktops.get_mut(*no) {
                desktop.open = Some(*span);
            }
        }
        for (no, since, disconnect) in &standing.absent {
            if let Some(desktop) = self.desktops.get_mut(*no) {
                desktop.absent = Some((*since, Some(*disconnect)));
            }
        }
        for (no, open) in &standing.groups {
            if let Some(group) = self.groups.get_mut(*no) {
                group.open = Some(*open);
            }
        }
    }
}

impl Retelling {
    /// Begins a month. `beliefs` know every name of the source; `standing`: what stood when the month began, `None`: nothing
    /// was recorded before it.
    #[must_use]
    pub fn begin(
        mut beliefs: Beliefs,
        source: &str,
        standing: Option<&Standing>,
        month: Instant,
    ) -> Self {
        beliefs.stand_at(source, standing);
        let used = standing.map(|standing| standing.used).unwrap_or_default();
        Self { beliefs, used, from: month, to: next_month(month) }
    }

    /// Tells the next snapshot, which is the one that `recorded` is the row of.
    ///
    /// # Errors
    /// It is not.
    pub fn tell(&mut self, snapshot: &Snapshot, recorded: &Visit) -> Result<Told, Unlike> {
        let changes = self.beliefs.observe(snapshot, &mut || [0; 16])?;
        let new = &changes.registered;
        let nothing_new = new.desktops.is_empty()
            && new.statuses.is_empty()
            && new.persons.is_empty()
            && new.assignments.is_empty()
            && new.labels.is_empty()
            && new.groups.is_empty();
        compare(&changes.entry, recorded)?;
        if !nothing_new {
            return Err(Unlike::Unknown);
        }
        if changes.entry.body_hash.map(Vec::from) != recorded.body_hash {
            return Err(Unlike::Body);
        }
        let Changes { closed, opened, unlisted, closed_groups, opened_groups, .. } = changes;
        for (no, span) in opened {
            self.used.desktops = self.used.desktops.max(no);
            self.used.labels = self.used.labels.max(span.label);
            self.used.statuses = self.used.statuses.max(span.status);
        }
        for (no, _) in opened_groups {
            self.used.groups = self.used.groups.max(no);
        }
        let (from, to) = (self.from, self.to);
        let is_filed_here = |piece: &Piece| piece.from >= from && piece.from < to;
        Ok(Told {
            spans: closed.into_iter().filter(|closed| is_filed_here(&closed.piece)).collect(),
            groups: closed_groups.into_iter().filter(|one| is_filed_here(&one.piece)).collect(),
            unlisted: unlisted.into_iter().filter(|(_, since, _)| *since >= from).collect(),
        })
    }

    /// The desktops and groups that went on beyond the month and have a piece in it.
    pub fn goes_on(
        &self,
    ) -> (impl Iterator<Item = (DesktopNo, Instant)>, impl Iterator<Item = (GroupNo, Instant)>)
    {
        let from = self.from;
        let desktops = (1..).zip(self.beliefs.desktops.iter()).filter_map(move |(no, desktop)| {
            desktop.open.filter(|open| open.piece_from >= from).map(|open| (no, open.piece_from))
        });
        let groups = (1..).zip(self.beliefs.groups.iter()).filter_map(move |(no, group)| {
            group.open.filter(|open| open.from >= from).map(|open| (no, open.from))
        });
        (desktops, groups)
    }

    /// Ends the month: what of it went on is filed as it ended; what stands then; and the beliefs, for their names.
    #[must_use]
    pub fn finish(self, ends: &Ends) -> (Told, Standing, Beliefs) {
        let Self { beliefs, used, from, to } = self;
        let just_before = to - chrono::TimeDelta::microseconds(1);
        let mut told = Told::default();
        let mut standing = Standing {
            at: to,
            head: Head { sequence: 0, digest: [0; 32], ..beliefs.head.clone() },
            desktops: Vec::new(),
            absent: Vec::new(),
            groups: Vec::new(),
            used,
        };
        for (no, desktop) in (1..).zip(beliefs.desktops.iter()) {
            let Some(mut span) = desktop.open else {
                if let Some((since, Some(disconnect))) = desktop.absent {
                    standing.absent.push((no, since, disconnect));
                }
                continue;
            };
            // What begins earlier was left out ever since, and ended there.
            if span.piece_from >= from {
                let (end, last_seen, code) =
                    ends.spans.get(&no).copied().unwrap_or((to, just_before, ended::CUT));
                let goes_on = code == ended::CUT;
                let piece = Piece { from: span.piece_from, to: end, last_seen, goes_on };
                told.spans.push(ClosedSpan { desktop: no, span, piece, ended: code });
                if goes_on {
                    span.piece_from = to;
                }
            }
            standing.desktops.push((no, span));
        }
        for (no, group) in (1..).zip(beliefs.groups.iter()) {
            let Some(mut open) = group.open else { continue };
            if open.from >= from {
                let (end, last_seen, goes_on) =
                    ends.groups.get(&no).copied().unwrap_or((to, just_before, true));
                let piece = Piece { from: open.from, to: end, last_seen, goes_on };
                let (counters, is_continued) = (open.counters, open.is_continued);
                told.groups.push(ClosedGroupSpan { group: no, counters, is_continued, piece });
                if goes_on {
                    (open.from, open.is_continued) = (to, true);
                }
            }
            standing.groups.push((no, open));
        }
        (told, standing, beliefs)
    }
}

/// The snapshot's own row, as told and as recorded.
fn compare(told: &Entry, recorded: &Visit) -> Result<(), Unlike> {
    let code = |outcome| match outcome {
        Outcome::Failed => 0,
        Outcome::Partial => 1,
        Outcome::Complete => 2,
    };
    let columns = [
        ("observed_at", told.observed_at == recorded.observed_at),
        ("finished_at", told.finished_at == recorded.finished_at),
        ("scheduled_at", told.scheduled_at == recorded.scheduled_at),
        ("max_gap", told.max_gap.num_seconds() == i64::from(recorded.max_gap)),
        ("desktops", code(told.desktops_outcome) == recorded.desktops_outcome),
        ("statics", code(told.groups_outcome) == recorded.groups_outcome),
        ("total_count", told.desktops_total == recorded.desktops_total),
        ("desktops", told.desktops_recorded == recorded.desktops_recorded),
        ("statics", told.groups_recorded == recorded.groups_recorded),
        ("desktops", told.changes == recorded.changes),
        ("error", told.error_code == recorded.error_code),
        ("error", told.error_message == recorded.error_message),
    ];
    match columns.into_iter().find(|(_, is_same)| !is_same) {
        None => Ok(()),
        Some((column, _)) => Err(Unlike::Row(column)),
    }
}
