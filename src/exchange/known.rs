//! What a parser remembers of the lines before: records by their bytes, and sets of users by theirs.
//!
//! Only ever a shorter way to what reading would give: a record is taken from here when its bytes are
//! the same to the last, whatever order or source they came in.

use std::collections::HashMap;
use std::hash::BuildHasher;

use super::record::UserRecord;
use crate::domain::text::Common;
use crate::domain::{AttachUsers, Desktop};

/// Bytes of assignments that a parser keeps; then it begins anew.
const KEPT_ASSIGNMENTS: usize = 16 << 20;
/// How many records may have been taken out of or put into a list at one place before the rest of it
/// is read instead of compared.
const LOOK_AHEAD: usize = 8;

/// Records of a line that were not where they were looked for before the line before is indexed.
const MISSES: usize = 64;

/// The desktops of a source's last line, as bytes and as read.
#[derive(Debug, Default)]
pub(super) struct Previous {
    pub(super) source: String,
    pub(super) bytes: Vec<u8>,
    pub(super) slots: Vec<Slot>,
}

/// One record: where its bytes stand, and what was read from them (`None`: it had no id).
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) desktop: Option<Desktop>,
    /// Whether the next line has it, so that its desktop moved there.
    pub(super) is_taken: bool,
}

impl Previous {
    /// The first of the slots after `next` that `wanted` holds for.
    pub(super) fn ahead(&self, next: usize, wanted: impl Fn(&Slot) -> bool) -> Option<usize> {
        let ahead = next..self.slots.len().min(next + LOOK_AHEAD);
        ahead.into_iter().find(|at| !self.slots[*at].is_taken && wanted(&self.slots[*at]))
    }

    /// Whether the line goes on with the bytes of a slot.
    pub(super) fn is_at(&self, slot: &Slot, rest: &[u8]) -> bool {
        rest.starts_with(&self.bytes[slot.from..slot.to])
    }
}

/// A line's records by their first bytes, for lists that come in another order each time.
#[derive(Default)]
pub(super) struct Index {
    hasher: foldhash::fast::RandomState,
    slots: Option<HashMap<u64, usize, foldhash::fast::RandomState>>,
    misses: usize,
}

impl Index {
    /// The slot whose bytes the line goes on with, wherever it is.
    pub(super) fn find(&mut self, last: &Previous, rest: &[u8]) -> Option<usize> {
        self.misses += 1;
        if self.misses < MISSES {
            return None;
        }
        let hasher = &self.hasher;
        let slots = self.slots.get_or_insert_with(|| {
            let slots = last.slots.iter().enumerate();
            slots.map(|(at, slot)| (hasher.hash_one(head(&last.bytes[slot.from..])), at)).collect()
        });
        let at = *slots.get(&hasher.hash_one(head(rest)))?;
        let slot = &last.slots[at];
        (!slot.is_taken && last.is_at(slot, rest)).then_some(at)
    }
}

/// Enough of a record to tell it from the others: an id of 36 and another field or two.
fn head(record: &[u8]) -> &[u8] {
    &record[..record.len().min(96)]
}

/// The sets of users already read, by the bytes they were read from.
#[derive(Debug, Default)]
pub(super) struct Assignments {
    known: HashMap<Box<str>, AttachUsers, foldhash::fast::RandomState>,
    bytes: usize,
    pub(super) nobody: AttachUsers,
}

impl Assignments {
    pub(super) fn read(
        &mut self,
        raw: &str,
        common: &mut Common,
    ) -> serde_json::Result<AttachUsers> {
        if let Some(known) = self.known.get(raw) {
            return Ok(known.clone());
        }
        let entries: Vec<Option<UserRecord<'_>>> = serde_json::from_str(raw)?;
        let users = entries.iter().flatten().map(|user| user.to_user(common)).collect();
        let users = AttachUsers::new(users);
        if self.bytes > KEPT_ASSIGNMENTS {
            self.known.clear();
            self.bytes = 0;
        }
        self.bytes += raw.len();
        self.known.insert(raw.into(), users.clone());
        Ok(users)
    }
}
