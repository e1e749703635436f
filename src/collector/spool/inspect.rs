//! Looking into a spool from outside: for people, while a recorder may be at work in it. Nothing is changed, and
//! what is gone by the time it is looked at is passed over.

use std::io;
use std::path::{Path, PathBuf};

use super::SpoolError;
use super::error::failed;
use super::record::Kind;
use super::segment::{CORRUPT, End, Record, SEGMENT, TORN, kind_of, number_of, scan};
use super::slot::{folders, is_held, list, slots, source_of};
use crate::domain::Instant;

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Its number.
    pub slot: u32,
    /// Whether a process holds it.
    pub is_in_use: bool,
    /// The sources that have something in it.
    pub sources: Vec<SourceStatus>,
}

/// What there is of a source in a slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceStatus {
    /// The source's name.
    pub source: String,
    /// The snapshots that wait. Some may be recorded already: that is known to the process that holds the slot.
    pub waiting: usize,
    /// How many of them were dropped, and wait to say so.
    pub dropped: usize,
    /// When the first was taken.
    pub oldest: Option<Instant>,
    /// When the last was taken.
    pub newest: Option<Instant>,
    /// The bytes of the segments.
    pub bytes: u64,
    /// How many segments there are.
    pub segments: usize,
    /// Segments with something in them that does not check, which nobody has set aside yet.
    pub unsound: Vec<PathBuf>,
    /// Segments that were set aside.
    pub set_aside: Vec<PathBuf>,
    /// Ends of writes that were cut short, kept.
    pub torn: Vec<PathBuf>,
}

impl SourceStatus {
    /// Whether someone should look at something.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !(self.unsound.is_empty() && self.set_aside.is_empty())
    }

    fn is_nothing(&self) -> bool {
        self.segments == 0 && self.torn.is_empty() && !self.is_damaged()
    }
}

/// What a ledger's spool holds, slot by slot.
///
/// # Errors
/// Its folder may not be looked into.
pub fn inspect(dir: &Path) -> Result<Vec<SlotStatus>, SpoolError> {
    let mut found = Vec::new();
    for (slot, folder) in slots(dir)? {
        let is_in_use = is_held(&folder)?;
        let mut sources = Vec::new();
        for folder in folders(&folder)? {
            let Some(source) = source_of(&folder) else { continue };
            let status = look(&folder, source, is_in_use)?;
            if !status.is_nothing() {
                sources.push(status);
            }
        }
        sources.sort_by(|one, other| one.source.cmp(&other.source));
        found.push(SlotStatus { slot, is_in_use, sources });
    }
    Ok(found)
}

fn look(folder: &Path, source: String, is_in_use: bool) -> Result<SourceStatus, SpoolError> {
    let mut status = SourceStatus { source, ..SourceStatus::default() };
    let mut paths = list(folder)?;
    paths.retain(|path| number_of(path).is_some());
    paths.sort();
    let last = paths.iter().rfind(|path| kind_of(path) == Some(SEGMENT)).cloned();
    for path in paths {
        match kind_of(&path) {
            Some(SEGMENT) => {}
            Some(CORRUPT) => {
                status.set_aside.push(path);
                continue;
            }
            Some(TORN) => {
                status.torn.push(path);
                continue;
            }
            _ => continue,
        }
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("read", &path)(error)),
        };
        let scan = scan(&bytes);
        status.segments += 1;
        status.bytes += bytes.len() as u64;
        status.count(&scan.records);
        match scan.end {
            End::Clean => {}
            // The recorder is writing at this very moment.
            End::Short | End::Unsound if is_in_use => {}
            // What the next recorder will cut off.
            End::Short | End::Unsound if last.as_ref() == Some(&path) => {}
            _ => status.unsound.push(path),
        }
    }
    Ok(status)
}

impl SourceStatus {
    fn count(&mut self, records: &[Record]) {
        self.waiting += records.len();
        self.dropped += records.iter().filter(|record| record.kind == Kind::Dropped).count();
        self.oldest = self.oldest.or(records.first().map(|record| record.observed_at));
        self.newest = records.last().map(|record| record.observed_at).or(self.newest);
    }
}
