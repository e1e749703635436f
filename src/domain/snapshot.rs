//! One visit to a source: the whole listing of desktops and the statistics of its groups.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

use super::Desktop;

/// An instant in UTC, to the microsecond.
pub type Instant = DateTime<Utc>;

/// Cuts an instant to whole microseconds, the precision of the ledger, where it is born: otherwise
/// it would differ after a round trip through the database.
#[must_use]
pub fn to_micros(at: DateTime<Utc>) -> Instant {
    at.trunc_subsecs(6)
}

/// One project of one region behind one endpoint, with a name that its owner chose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The owner's name for it.
    pub name: String,
    /// The cloud's region, where known.
    pub region: Option<String>,
    /// The cloud's project, where known.
    pub project_id: Option<String>,
    /// The endpoint of the API, where known.
    pub endpoint: Option<String>,
}

/// Why a text cannot be a source's name.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "a source's name has 1 to 64 characters, all of them printable, neither begins nor ends with a space, and is not \
     `(all)`, as reports call all sources as one"
)]
pub struct SourceNameError;

/// What reports call all sources as one. No source may have this name.
pub const ALL_SOURCES_AS_ONE: &str = "(all)";

/// Checks the name of a source: it stands in every table, log and message.
///
/// # Errors
/// It is empty, too long, has characters that do not print, or is [`ALL_SOURCES_AS_ONE`].
pub fn check_source_name(name: &str) -> Result<(), SourceNameError> {
    let is_right = (1..=64).contains(&name.chars().count())
        && name.trim() == name
        && name != ALL_SOURCES_AS_ONE
        && !name.chars().any(|c| c.is_control() || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'));
    if is_right { Ok(()) } else { Err(SourceNameError) }
}

/// How a part of a snapshot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// Nothing was read.
    Failed,
    /// Something was read, and it is known or possible that something is missing (desktops only).
    Partial,
    /// Everything was read.
    Complete,
}

impl Outcome {
    /// The word as views and reports show it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Partial => "partial",
            Self::Complete => "complete",
        }
    }
}

/// Why a part of a snapshot is missing: the API's code and message where it gave any.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// The API's error code (`WKS.…`, `APIGW.…`, `IAM.…`) or a word of ours (`timeout`, `connect`, …).
    pub code: Option<String>,
    /// What is wrong, without secrets.
    pub message: Option<String>,
}

/// The desktops that one snapshot read: each id once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    desktops: Vec<Desktop>,
}

impl Listing {
    /// Keeps one record per id: of two with one id, the later.
    #[must_use]
    pub fn new(mut desktops: Vec<Desktop>) -> Self {
        // foldhash, because this runs over every record ever read and SipHash was a quarter of reading it.
        let hasher = foldhash::fast::RandomState::default();
        let mut seen = HashSet::with_capacity_and_hasher(desktops.len(), hasher);
        if !desktops.iter().all(|desktop| seen.insert(&*desktop.id)) {
            seen.clear();
            let mut is_latest: Vec<bool> =
                desktops.iter().rev().map(|desktop| seen.insert(&*desktop.id)).collect();
            desktops.retain(|_| is_latest.pop().expect("there is one for each"));
        }
        Self { desktops }
    }

    /// The records, in the order read.
    #[must_use]
    pub fn desktops(&self) -> &[Desktop] {
        &self.desktops
    }
}

/// The API's thirteen counters of a group, in the order of [`Counters`].
pub const COUNTERS: [&str; 13] = [
    "running_num",
    "stop_num",
    "hibernate_num",
    "other_num",
    "attached_num",
    "unattached_num",
    "cannot_attach_num",
    "in_process_num",
    "in_use_num",
    "unregistered_num",
    "ready_num",
    "disconnected_num",
    "unknown_num",
];

/// A group's counters in the order of [`COUNTERS`]; `None` where the API gave none.
pub type Counters = [Option<i64>; 13];

/// One group's row of `connections/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatistics {
    /// `static_name`; the group's only identity.
    pub name: Option<Arc<str>>,
    /// The counters.
    pub counters: Counters,
}

/// One visit to a source, whole or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The tick it belongs to, for snapshots of the recorder's own schedule.
    pub scheduled_at: Option<Instant>,
    /// When its first request was sent, unchanged by retries.
    pub observed_at: Instant,
    /// When its last answer was read.
    pub finished_at: Instant,
    /// The longest time that may lie between two observations that say something about what was
    /// between them; whole seconds.
    pub max_gap: TimeDelta,
    /// The API's `total_count`; `None` where it gave none or changed it on the way.
    pub total: Option<i64>,
    /// The desktops read; `None`: the listing failed.
    pub desktops: Option<Listing>,
    /// The groups read, in the order of the answer; `None`: the statistics failed.
    pub groups: Option<Vec<GroupStatistics>>,
    /// Why a part is missing.
    pub failure: Option<Failure>,
}

impl Snapshot {
    /// A listing is complete if and only if the number of distinct ids read equals `total_count`,
    /// and `total_count` did not change on the way (then [`Snapshot::total`] is `None`).
    #[must_use]
    pub fn desktops_outcome(&self) -> Outcome {
        match &self.desktops {
            None => Outcome::Failed,
            Some(listing) if i64::try_from(listing.desktops.len()).ok() == self.total => {
                Outcome::Complete
            }
            Some(_) => Outcome::Partial,
        }
    }

    /// The statistics come whole or not at all.
    #[must_use]
    pub fn groups_outcome(&self) -> Outcome {
        match self.groups {
            None => Outcome::Failed,
            Some(_) => Outcome::Complete,
        }
    }
}
