//! Whether stored rows are what recording would have written: the other direction of
//! [`super::history`].
//!
//! The rows of one source go in, in the order of time; each snapshot's digest is worked out again from
//! them, and every column that no digest holds (where a span ended and how, its connection, the runs of
//! coverage, the head) from the rows before it. This is a second reading of the same rules, not a call
//! of the first: what one of them gets wrong, the other finds.
//!
//! Memory is of the size of what is believed: the present desktops and the registered names, however
//! long the history is.

mod chain;
mod desktops;
mod groups;
mod names;
mod pieces;
mod pruned;
mod rows;
mod tally;

use std::fmt;

use chrono::SecondsFormat;

pub use crate::domain::pruning::KeptVisit;
pub use chain::{Audit, Checkpoint, Summary};
pub use names::Names;
pub use pruned::PrunedMonths;
pub use rows::{
    AssignmentRow, End, ErasureRow, GroupEnd, GroupRow, HeadRow, LateRow, PruningRow, SpanRow,
    TallyRow, UnlistedRow, Visit,
};

use super::Instant;
use super::digest::Digest;

/// What is wrong, in words: what it is about, what had to be there, and what is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What it is about, without any person's or desktop's name.
    pub what: String,
    /// What the rest of the ledger says it must be.
    pub expected: String,
    /// What is stored.
    pub found: String,
}

impl Wrong {
    /// Something stored is another than it has to be.
    pub fn new(
        what: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self { what: what.into(), expected: expected.into(), found: found.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, found {}", self.what, self.expected, self.found)
    }
}

/// The entry at which something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The snapshot's number, unique in the ledger; `None`: it has none.
    pub snapshot_id: Option<i64>,
    /// Whether it is the erasure of a person. Else, without a number, it is a snapshot whose header is pruned.
    pub is_erasure: bool,
    /// Its place in the source's chain.
    pub sequence: i64,
    /// When it was taken, or done.
    pub observed_at: Instant,
}

/// The first thing that is wrong in a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The snapshot at which it is; `None`: the source has none.
    pub at: Option<Place>,
    /// That snapshot is right, and the last there is: what is wrong is that others are missing behind it.
    pub is_after: bool,
    /// What it is.
    pub wrong: Wrong,
}

impl Fault {
    /// What is wrong at a snapshot.
    pub fn at(at: Option<Place>, wrong: Wrong) -> Self {
        Self { at, is_after: false, wrong }
    }

    /// What is missing after the last snapshot there is.
    pub fn after(at: Option<Place>, wrong: Wrong) -> Self {
        Self { at, is_after: true, wrong }
    }
}

/// Fails unless `found` is `expected`; `what` says what both are of.
fn same<T: PartialEq + Shown>(
    expected: &T,
    found: &T,
    what: impl FnOnce() -> String,
) -> Result<(), Wrong> {
    if expected == found {
        return Ok(());
    }
    Err(Wrong::new(what(), expected.shown(), found.shown()))
}

/// A stored value, as messages show it.
trait Shown {
    fn shown(&self) -> String;
}

impl Shown for Instant {
    fn shown(&self) -> String {
        self.to_rfc3339_opts(SecondsFormat::AutoSi, true)
    }
}

impl<T: Shown> Shown for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| "nothing".to_owned(), Shown::shown)
    }
}

impl Shown for Digest {
    fn shown(&self) -> String {
        self.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

macro_rules! shown {
    ($($type:ty),*) => {$(
        impl Shown for $type {
            fn shown(&self) -> String {
                self.to_string()
            }
        }
    )*};
}
shown!(i16, i32, i64, usize, bool);
