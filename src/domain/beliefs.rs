//! What is believed of a source between two snapshots, and the changes that a snapshot makes to it.
//!
//! Beliefs are plain values. The store writes [`Changes`] and can restore [`Beliefs`] from what it
//! wrote; [`super::history`] is the only place that decides what changes.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;

use super::desktop::UserKey;
use super::digest::{Digest, Salt};
use super::months::Piece;
use super::numbered::{Identity, Numbered};
use super::{AttachUser, AttachUsers, Counters, Instant, Outcome};

/// A desktop's number in its source.
pub type DesktopNo = i32;
/// A label's number in its source.
pub type LabelNo = i32;
/// An assignment's number in its source.
pub type AssignmentNo = i32;
/// A person's number in its source.
pub type PersonNo = i32;
/// A group's number in its source.
pub type GroupNo = i32;
/// A status's number in its source.
pub type StatusId = i16;

/// The statuses that have the same number in every source, beginning with 0.
pub const STATUSES: [Option<&str>; 5] =
    [None, Some("CONNECTED"), Some("DISCONNECTED"), Some("REGISTERED"), Some("UNREGISTER")];
/// The number of `CONNECTED`.
pub const CONNECTED: StatusId = 1;
/// The number of `DISCONNECTED`.
pub const DISCONNECTED: StatusId = 2;
/// The first number for a status that no document lists.
pub const FIRST_OTHER_STATUS: StatusId = 16;

/// How a span ended, where it was not with another status: stored beside status numbers.
pub mod ended {
    use super::StatusId;

    /// The same connection went on under another label.
    pub const CONTINUES: StatusId = -1;
    /// Still connected, but other users.
    pub const REASSIGNED: StatusId = -2;
    /// Gone from a complete listing.
    pub const ABSENT: StatusId = -3;
    /// Nothing followed within `max_gap`.
    pub const UNKNOWN: StatusId = -4;
    /// The piece of the next month goes on.
    pub const CUT: StatusId = -5;
}

/// An observation's instant, and how long after it the next may come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When it was made.
    pub at: Instant,
    /// The `max_gap` of its snapshot.
    pub max_gap: TimeDelta,
}

impl Mark {
    /// Whether it holds until `next`: the smaller `max_gap` of the two decides, and exactly that
    /// long is not too long.
    #[must_use]
    pub fn holds_until(&self, next: &Self) -> bool {
        next.at - self.at <= self.max_gap.min(next.max_gap)
    }
}

/// The span that a present desktop is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSpan {
    /// Its status.
    pub status: StatusId,
    /// Its name and assignment.
    pub label: LabelNo,
    /// Where the part that is not filed yet begins.
    pub piece_from: Instant,
    /// Its first observation.
    pub first_seen: Instant,
    /// The desktop's observation before it, if within `max_gap`.
    pub started_after: Option<Instant>,
    /// Its last observation and the first partial listing that left the desktop out since;
    /// `None`: the newest usable snapshot lists it.
    pub unlisted: Option<(Mark, Instant)>,
    /// Where its connection began in an earlier span: that one's first observation, and the one
    /// before it.
    pub connection: Option<(Instant, Option<Instant>)>,
    /// The disconnect that it begins with, or follows with neither a gap nor a connected
    /// observation between.
    pub disconnected_at: Option<Instant>,
}

/// What is believed of one desktop.
#[derive(Clone, Debug)]
pub struct DesktopBelief {
    /// Its id.
    pub id: Arc<str>,
    /// Stands for the id in the digest chain.
    pub commitment: Digest,
    /// The span it is in; `None`: it was absent from the newest complete listing.
    pub open: Option<OpenSpan>,
    /// Where it is absent: since which complete listing, and the disconnect before that.
    pub absent: Option<(Instant, Option<Instant>)>,
    /// The sequence of the newest snapshot that listed it, while that is being looked at.
    pub(super) listed_in: i64,
}

/// An assignment that was seen.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// The set.
    pub users: AttachUsers,
    /// Each distinct user's number, in the order of the entries.
    pub persons: Vec<PersonNo>,
    /// Stands for it in the digest chain.
    pub hash: Digest,
}

/// A name and an assignment that were seen together.
#[derive(Clone, Debug)]
pub struct Label {
    /// The desktop's name.
    pub name: Option<Arc<str>>,
    /// Whom it was assigned to.
    pub assignment: AssignmentNo,
    /// Stands for the name in the digest chain.
    pub commitment: Digest,
}

/// A user or user group that was seen.
#[derive(Clone, Debug)]
pub struct Person {
    /// Type, id and name; `user_group` is `None` here.
    pub user: AttachUser,
    /// Stands for it in the digest chain.
    pub commitment: Digest,
}

/// What is believed of one group.
#[derive(Clone, Debug)]
pub struct GroupBelief {
    /// Its name.
    pub name: Option<Arc<str>>,
    /// 1; 2 … where a name came again in one answer.
    pub ordinal: i32,
    /// Its counters and since when; `None`: it is absent.
    pub open: Option<OpenGroupSpan>,
    pub(super) read_in: i64,
}

/// A run of a group's equal counters that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenGroupSpan {
    /// Where the part that is not filed yet begins.
    pub from: Instant,
    /// Whether an earlier piece is filed.
    pub is_continued: bool,
    /// The counters.
    pub counters: Counters,
}

/// A run of covered time that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its first usable snapshot.
    pub from: Instant,
    /// Its newest.
    pub to: Instant,
    /// Its complete and partial snapshots.
    pub snapshots: i32,
    /// Its partial ones.
    pub partial: i32,
}

/// Where a source's record stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The entries recorded so far.
    pub sequence: i64,
    /// The newest entry's digest.
    pub digest: Digest,
    /// The source's first snapshot.
    pub first_at: Option<Instant>,
    /// The newest snapshot of any outcome.
    pub newest: Option<Mark>,
    /// The newest tick.
    pub scheduled_at: Option<Instant>,
    /// The newest snapshot whose listing was complete or partial.
    pub usable: Option<Mark>,
    /// The run of coverage that it ends.
    pub run: Option<Run>,
    /// The newest complete listing.
    pub complete: Option<Mark>,
    /// The first of the run of complete listings that it ends.
    pub complete_run_from: Option<Instant>,
    /// The newest snapshot whose statistics were read.
    pub groups: Option<Mark>,
}

/// All that is believed of a source.
#[derive(Clone, Debug)]
pub struct Beliefs {
    /// Where its record stands.
    pub head: Head,
    pub(super) desktops: Numbered<DesktopBelief>,
    pub(super) statuses: Vec<Arc<str>>,
    pub(super) status_ids: HashMap<Arc<str>, StatusId>,
    pub(super) persons: Numbered<Person>,
    pub(super) assignments: Numbered<Assignment>,
    pub(super) labels: Numbered<Label>,
    pub(super) groups: Numbered<GroupBelief>,
    /// The desktops in the order of the newest listing: the next one usually has the same.
    pub(super) order: Vec<DesktopNo>,
}

/// Everything that a ledger holds of a source's beliefs, each list in the order of its numbers from 1.
#[derive(Debug)]
pub struct Restored {
    /// Where its record stands.
    pub head: Head,
    /// Its desktops.
    pub desktops: Vec<DesktopBelief>,
    /// The statuses that no document lists, numbered from [`FIRST_OTHER_STATUS`].
    pub statuses: Vec<Arc<str>>,
    /// Its persons.
    pub persons: Vec<Person>,
    /// Its assignments.
    pub assignments: Vec<Assignment>,
    /// Its labels.
    pub labels: Vec<Label>,
    /// Its groups.
    pub groups: Vec<GroupBelief>,
}

impl Identity for DesktopBelief {
    type Key<'a> = &'a str;

    fn key(&self) -> &str {
        &self.id
    }
}

impl Identity for Assignment {
    type Key<'a> = &'a AttachUsers;

    fn key(&self) -> &AttachUsers {
        &self.users
    }
}

impl Identity for Label {
    type Key<'a> = (Option<&'a str>, AssignmentNo);

    fn key(&self) -> Self::Key<'_> {
        (self.name.as_deref(), self.assignment)
    }
}

impl Identity for Person {
    type Key<'a> = UserKey<'a>;

    fn key(&self) -> UserKey<'_> {
        self.user.key()
    }
}

impl Identity for GroupBelief {
    type Key<'a> = (Option<&'a str>, i32);

    fn key(&self) -> Self::Key<'_> {
        (self.name.as_deref(), self.ordinal)
    }
}

impl DesktopBelief {
    /// A belief as the ledger holds it.
    #[must_use]
    pub fn restored(id: Arc<str>, commitment: Digest) -> Self {
        Self { id, commitment, open: None, absent: None, listed_in: 0 }
    }
}

impl GroupBelief {
    /// A belief as the ledger holds it.
    #[must_use]
    pub fn restored(name: Option<Arc<str>>, ordinal: i32, open: Option<OpenGroupSpan>) -> Self {
        Self { name, ordinal, open, read_in: 0 }
    }
}

impl Beliefs {
    /// Beliefs as the ledger holds them.
    #[must_use]
    pub fn restore(restored: Restored) -> Self {
        let Restored { head, desktops, statuses, persons, assignments, labels, groups } = restored;
        Self {
            status_ids: (FIRST_OTHER_STATUS..)
                .zip(&statuses)
                .map(|(id, status)| (Arc::clone(status), id))
                .collect(),
            order: Vec::new(),
            head,
            desktops: Numbered::new(desktops),
            statuses,
            persons: Numbered::new(persons),
            assignments: Numbered::new(assignments),
            labels: Numbered::new(labels),
            groups: Numbered::new(groups),
        }
    }

    /// Beliefs about a source of which nothing is recorded.
    #[must_use]
    pub fn none(source: &str) -> Self {
        let head = Head {
            sequence: 0,
            digest: super::digest::genesis(source),
            first_at: None,
            newest: None,
            scheduled_at: None,
            usable: None,
            run: None,
            complete: None,
            complete_run_from: None,
            groups: None,
        };
        Self::restore(Restored {
            head,
            desktops: Vec::new(),
            statuses: Vec::new(),
            persons: Vec::new(),
            assignments: Vec::new(),
            labels: Vec::new(),
            groups: Vec::new(),
        })
    }

    /// The status's text; `None`: the API gave none.
    #[must_use]
    pub fn status(&self, id: StatusId) -> Option<&str> {
        if id < FIRST_OTHER_STATUS {
            STATUSES[usize::try_from(id).expect("a span's status is no end code")]
        } else {
            Some(&self.statuses[usize::try_from(id - FIRST_OTHER_STATUS).expect("at least 0")])
        }
    }

    /// The desktop of that number.
    #[must_use]
    pub fn desktop(&self, no: DesktopNo) -> Option<&DesktopBelief> {
        self.desktops.get(no)
    }

    /// All desktops that were ever seen, in the order of their numbers.
    pub fn desktops(&self) -> impl Iterator<Item = &DesktopBelief> {
        self.desktops.iter()
    }

    /// The name and the assignment of that label's number.
    #[must_use]
    pub fn label(&self, no: LabelNo) -> Option<(&Label, &Assignment)> {
        let label = self.labels.get(no)?;
        Some((label, self.assignments.get(label.assignment)?))
    }

    /// The group of that number.
    #[must_use]
    pub fn group(&self, no: GroupNo) -> Option<&GroupBelief> {
        self.groups.get(no)
    }

    /// The text of a status that no document lists, to be shared.
    #[must_use]
    pub fn status_text(&self, id: StatusId) -> Option<Arc<str>> {
        match self.statuses.get(usize::try_from(id - FIRST_OTHER_STATUS).unwrap_or(usize::MAX)) {
            Some(text) => Some(Arc::clone(text)),
            None => self.status(id).map(Arc::from),
        }
    }

    /// The number of desktops that are believed present.
    #[must_use]
    pub fn present(&self) -> usize {
        self.desktops.iter().filter(|desktop| desktop.open.is_some()).count()
    }
}

/// A label's number, name, assignment, salt and commitment.
pub type RegisteredLabel = (LabelNo, Option<Arc<str>>, AssignmentNo, Salt, Digest);

/// What was not known before: the store adds a row for each, under the number given.
#[derive(Clone, Debug, Default)]
pub struct Registered {
    /// Desktops: number, id, salt, commitment.
    pub desktops: Vec<(DesktopNo, Arc<str>, Salt, Digest)>,
    /// Statuses: number, text.
    pub statuses: Vec<(StatusId, Arc<str>)>,
    /// Persons: number, type, id and name, salt, commitment.
    pub persons: Vec<(PersonNo, AttachUser, Salt, Digest)>,
    /// Assignments: number, the set, its distinct persons, the person of each entry.
    pub assignments: Vec<(AssignmentNo, AttachUsers, Vec<PersonNo>, Vec<PersonNo>)>,
    /// Labels: number, name, assignment, salt, commitment.
    pub labels: Vec<RegisteredLabel>,
    /// Desktops whose label is another now than before, if they had one; they may have had this one still earlier.
    pub desktop_labels: Vec<(DesktopNo, LabelNo)>,
    /// Groups: number, name, ordinal.
    pub groups: Vec<(GroupNo, Option<Arc<str>>, i32)>,
}

/// A span that is over, or the piece of one that goes on in the next month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSpan {
    /// Whose it is.
    pub desktop: DesktopNo,
    /// The span as it was open.
    pub span: OpenSpan,
    /// The piece of it that is filed.
    pub piece: Piece,
    /// How it ended: a status number or a code of [`ended`].
    pub ended: StatusId,
}

/// The counters of a group that are over, or the piece of them that goes on in the next month.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedGroupSpan {
    /// Whose they are.
    pub group: GroupNo,
    /// The counters.
    pub counters: Counters,
    /// Whether an earlier piece is filed.
    pub is_continued: bool,
    /// The piece that is filed.
    pub piece: Piece,
}

/// A snapshot's own row.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its number in the source's chain.
    pub sequence: i64,
    /// The snapshot's instants, outcomes and counts.
    pub scheduled_at: Option<Instant>,
    /// See [`super::Snapshot::observed_at`].
    pub observed_at: Instant,
    /// See [`super::Snapshot::finished_at`].
    pub finished_at: Instant,
    /// See [`super::Snapshot::max_gap`].
    pub max_gap: TimeDelta,
    /// How the listing ended.
    pub desktops_outcome: Outcome,
    /// How the statistics ended.
    pub groups_outcome: Outcome,
    /// The API's `total_count`.
    pub desktops_total: Option<i64>,
    /// The desktops recorded; `None` where the listing failed.
    pub desktops_recorded: Option<i32>,
    /// The groups recorded; `None` where the statistics failed.
    pub groups_recorded: Option<i32>,
    /// The desktops whose span begins here, or that are gone since the last listing.
    pub changes: i32,
    /// The API's error code.
    pub error_code: Option<String>,
    /// Its message.
    pub error_message: Option<String>,
    /// The hash of what changed; `None`: nothing.
    pub body_hash: Option<Digest>,
    /// The entry's digest.
    pub digest: Digest,
}

/// What one snapshot makes of a source's record.
#[derive(Clone, Debug)]
pub struct Changes {
    /// The snapshot's own row.
    pub entry: Entry,
    /// What was not known before.
    pub registered: Registered,
    /// The pieces of spans that are over.
    pub closed: Vec<ClosedSpan>,
    /// The desktops whose open span is another, or differs in what partial listings leave out.
    pub opened: Vec<(DesktopNo, OpenSpan)>,
    /// The desktops that are in no span any more.
    pub gone: Vec<DesktopNo>,
    /// The stretches of partial listings that left a desktop out while its span went on: the
    /// first and the last of those listings.
    pub unlisted: Vec<(DesktopNo, Instant, Instant)>,
    /// The pieces of group counters that are over.
    pub closed_groups: Vec<ClosedGroupSpan>,
    /// The groups whose counters are others now.
    pub opened_groups: Vec<(GroupNo, OpenGroupSpan)>,
    /// The groups that are absent now.
    pub gone_groups: Vec<GroupNo>,
    /// The run of coverage that a gap ended.
    pub ended_run: Option<Run>,
    /// Where the record stands now.
    pub head: Head,
}
