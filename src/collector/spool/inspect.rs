//! Looking into a spool from outside: for people, while a recorder may be at work in it. Nothing is changed, and
//! what is gone by the time it is looked at is passed over.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk as _, RealDisk};
use super::error::failed;
use super::record::Kind;
use super::segment::{CORRUPT, End, Record, SEGMENT, TORN, kind_of, number_of, scan};
use super::slot::{bytes, folders, is_held, list, slots, source_of};
use super::{Bound, SpoolError};
use crate::config::SpoolConfig;
use crate::domain::Instant;

/// A slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotStatus {
    /// Its number.
    pub slot: u32,
    /// Whether a process holds it.
    pub is_in_use: bool,
    /// The bytes of all its files, those that were set aside too: what `max_size` bounds.
    pub bytes: u64,
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
    /// The bytes of the largest snapshot: what the next may take.
    pub largest: u64,
    /// Segments with something in them that does not check, which nobody has set aside yet.
    pub unsound: Vec<PathBuf>,
    /// Segments that were set aside.
    pub set_aside: Vec<PathBuf>,
    /// Last records with a wrong checksum, cut off and kept.
    pub torn: Vec<PathBuf>,
}

impl SlotStatus {
    /// What keeps it from taking one more snapshot, be it as large as the largest in it; `free`: the bytes that are
    /// free on its disk, as far as that is known.
    #[must_use]
    pub fn lacks(&self, config: &SpoolConfig, free: Option<u64>) -> Option<Bound> {
        let next = self.sources.iter().map(|source| source.largest).max().unwrap_or(0);
        let (used, max, min) = (self.bytes, config.max_bytes, config.min_free);
        match free {
            Some(free) if free < min.saturating_add(next) => Some(Bound::Disk { free, min }),
            _ if used.saturating_add(next) > max => Some(Bound::Size { used, max }),
            _ => None,
        }
    }
}

impl SourceStatus {
    /// Whether snapshots are lost, which someone should look at.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !(self.unsound.is_empty() && self.set_aside.is_empty())
    }

    /// The files with something in them that does not check.
    pub fn damaged(&self) -> impl Iterator<Item = &PathBuf> {
        self.unsound.iter().chain(&self.set_aside).chain(&self.torn)
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
    for (slot, folder_of_slot) in slots(dir)? {
        let is_in_use = is_held(&folder_of_slot)?;
        let mut sources = Vec::new();
        for folder in folders(&folder_of_slot)? {
            let Some(source) = source_of(&folder) else { continue };
            let status = look(&folder, source, is_in_use)?;
            if !status.is_nothing() {
                sources.push(status);
            }
        }
        sources.sort_by(|one, other| one.source.cmp(&other.source));
        let bytes = bytes(&folder_of_slot)?;
        found.push(SlotStatus { slot, is_in_use, bytes, sources });
    }
    Ok(found)
}

/// The bytes that are free where a ledger's spool is, or will be; `None`: nobody can tell.
#[must_use]
pub fn free(dir: &Path) -> Option<u64> {
    RealDisk.free(&nearest(dir)?).ok()
}

/// The folder itself, or the nearest above it that is there; `None`: not even the root is.
#[must_use]
pub fn nearest(dir: &Path) -> Option<PathBuf> {
    let dir = std::path::absolute(dir).ok()?;
    dir.ancestors().find(|place| place.exists()).map(Path::to_owned)
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
        status.largest = status.largest.max(scan.longest as u64);
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
