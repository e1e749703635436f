//! The rows of a ledger, as they are stored.

use crate::domain::beliefs::{DesktopNo, GroupNo, LabelNo, PersonNo, StatusId};
use crate::domain::digest::{Digest, Erased, ErasureHeader};
use crate::domain::pruning::Pruning;
use crate::domain::{AttachUsers, Counters, Instant};

/// A row of `snapshot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Unique in the ledger.
    pub snapshot_id: i64,
    /// Its place in the source's chain.
    pub sequence: i64,
    /// See [`crate::domain::Snapshot::observed_at`].
    pub observed_at: Instant,
    /// See [`crate::domain::Snapshot::finished_at`].
    pub finished_at: Instant,
    /// See [`crate::domain::Snapshot::scheduled_at`].
    pub scheduled_at: Option<Instant>,
    /// Seconds.
    pub max_gap: i32,
    /// 0 failed, 1 partial, 2 complete.
    pub desktops_outcome: i16,
    /// 0 failed, 2 complete.
    pub groups_outcome: i16,
    /// The API's `total_count`.
    pub desktops_total: Option<i64>,
    /// The desktops recorded.
    pub desktops_recorded: Option<i32>,
    /// The groups recorded.
    pub groups_recorded: Option<i32>,
    /// The desktops whose span begins here, or that are gone.
    pub changes: i32,
    /// The API's error code.
    pub error_code: Option<String>,
    /// Its message.
    pub error_message: Option<String>,
    /// The stored hash of what changed.
    pub body_hash: Option<Vec<u8>>,
    /// The stored digest.
    pub digest: Vec<u8>,
}

/// A row of `late`.
#[derive(Clone, Debug)]
pub struct LateRow {
    /// The columns that it has in common with a snapshot in the history; it changes nothing.
    pub visit: Visit,
    /// When the ledger took it in.
    pub received_at: Instant,
    /// The commitment to its line, worked out of line and salt; `None`: one of them is not there.
    pub commitment: Option<Digest>,
    /// Whether the line, where it is there, says what the columns say.
    pub agrees: bool,
    /// The hash of the line as it stands there now.
    pub now: Digest,
    /// Whether there is a salt; without one, an erasure says what stands there.
    pub is_salted: bool,
}

/// A row of `erasure`, with its rows of `erased`.
#[derive(Clone, Debug)]
pub struct ErasureRow {
    /// Its place in the source's chain.
    pub sequence: i64,
    /// What its own columns say.
    pub header: ErasureHeader,
    /// Of each row that it replaced, in the order of kinds and numbers: the commitment that stayed, and the hash of what
    /// stands there since. `None`: one of them is not there, or no hash.
    pub records: Option<Vec<(Erased, i64, Digest, Digest)>>,
    /// The stored hash of them.
    pub body_hash: Vec<u8>,
    /// The stored digest.
    pub digest: Vec<u8>,
}

/// A row of `pruning`.
#[derive(Clone, Debug)]
pub struct PruningRow {
    /// Its place in the source's chain.
    pub sequence: i64,
    /// What it says.
    pub pruning: Pruning,
    /// The stored digest.
    pub digest: Vec<u8>,
}

/// A row of `span` or `open_span`: a piece of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanRow {
    /// Whose it is.
    pub desktop: DesktopNo,
    /// Name and assignment.
    pub label: LabelNo,
    /// The status.
    pub status: StatusId,
    /// Where the piece begins.
    pub from: Instant,
    /// The span's first observation, where an earlier piece holds it.
    pub first_seen: Option<Instant>,
    /// The observation before the span.
    pub started_after: Option<Instant>,
    /// The first observation of the connection, where an earlier span holds it.
    pub connection_first_seen: Option<Instant>,
    /// The observation before that.
    pub connection_started_after: Option<Instant>,
    /// The disconnect that the span begins with or follows.
    pub disconnected_at: Option<Instant>,
    /// How the piece ends.
    pub end: End,
}

/// How a piece of a span ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It is filed in `span`.
    Filed {
        /// Where it ends.
        to: Instant,
        /// The last observation in it.
        last_seen: Instant,
        /// A status or a code of [`crate::domain::beliefs::ended`].
        ended: StatusId,
    },
    /// It is in `open_span`.
    Open {
        /// The last observation, and the first partial listing since that left the desktop out.
        left_out: Option<(Instant, Instant)>,
    },
}

/// A row of `unlisted`.
#[derive(Clone, Copy, Debug)]
pub struct UnlistedRow {
    /// Who was left out.
    pub desktop: DesktopNo,
    /// The first of the partial listings.
    pub from: Instant,
    /// The last.
    pub to: Instant,
}

/// A row of `tally`: how counts of desktops change at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TallyRow {
    /// When they do.
    pub at: Instant,
    /// Desktops, those of the four statuses that are counted, connections started, disconnects, connections ended.
    pub counts: [i64; 8],
    /// After how long how many came back.
    pub reconnects: Option<Vec<Option<i64>>>,
}

/// A row of `group_span` or `open_group_span`: a piece of a group's counters.
#[derive(Clone, Copy, Debug)]
pub struct GroupRow {
    /// Whose they are.
    pub group: GroupNo,
    /// Where the piece begins.
    pub from: Instant,
    /// Whether an earlier piece is filed.
    pub is_continued: bool,
    /// The counters.
    pub counters: Counters,
    /// How it ends; `None`: it is open.
    pub end: Option<GroupEnd>,
}

/// How a piece of a group's counters ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEnd {
    /// Where it ends.
    pub to: Instant,
    /// The last observation in it.
    pub last_seen: Instant,
}

/// A row of `assignment`, read.
#[derive(Clone, Debug)]
pub struct AssignmentRow {
    /// `attach_users`, where it is written as deskledger writes it.
    pub attach_users: Option<AttachUsers>,
    /// `users`.
    pub users: Vec<Option<String>>,
    /// `person_nos`.
    pub person_nos: Vec<PersonNo>,
    /// `entry_person_nos`.
    pub entry_person_nos: Vec<PersonNo>,
    /// `attribution`.
    pub attribution: String,
    /// `chain_order`.
    pub chain_order: Option<Vec<i32>>,
}

/// A row of `head`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRow {
    /// The entries recorded so far.
    pub sequence: i64,
    /// The newest entry's digest.
    pub digest: Vec<u8>,
    /// The first snapshot.
    pub first_at: Option<Instant>,
    /// The newest snapshot.
    pub observed_at: Option<Instant>,
    /// Its `max_gap` in seconds.
    pub max_gap: Option<i32>,
    /// The newest tick.
    pub scheduled_at: Option<Instant>,
    /// The newest snapshot with a listing.
    pub usable_at: Option<Instant>,
    /// The run of coverage that it ends.
    pub run_from: Option<Instant>,
    /// Its snapshots.
    pub run_snapshots: Option<i32>,
    /// Its partial ones.
    pub run_partial: Option<i32>,
    /// The newest complete listing.
    pub complete_at: Option<Instant>,
    /// The first of the run of complete listings that it ends.
    pub complete_run_from: Option<Instant>,
    /// The newest snapshot whose statistics were read.
    pub groups_at: Option<Instant>,
}

/// A digest out of a column; `None`: it has not 32 bytes.
pub(super) fn digest(bytes: &[u8]) -> Option<Digest> {
    Digest::try_from(bytes).ok()
}
