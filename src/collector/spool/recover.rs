//! Opening a source's folder: what is there, what a process that ended without warning has left half done, and
//! what has rotted since.
//!
//! A write that was cut short can only be at the end of the last segment, because a segment is not written to once
//! there is a next one. Only there something may be cut off. Anything else that does not check was once on disk as
//! it should be: it is kept, beside, for whoever wants to look at it.

use std::fmt;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use super::disk::write_whole;
use super::error::failed;
use super::segment::{
    CORRUPT, End, SEGMENT, Segment, TEMPORARY, TORN, kind_of, number_of, path_of, scan,
};
use super::slot::list;
use super::{Shared, SpoolError};

/// What was found that is not as it should be, for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The last write was cut short, most likely by a kill or a power cut, and had not been promised; or the last
    /// record is whole and does not check.
    Torn {
        /// The segment, which goes on without it.
        segment: PathBuf,
        /// The bytes cut off.
        bytes: u64,
        /// Where they are kept, if all of them were there and their checksum was wrong.
        kept: Option<PathBuf>,
    },
    /// Part of a segment does not check: snapshots are lost.
    SetAside {
        /// Where the segment is, or will be.
        file: PathBuf,
        /// Where it is until the good snapshots before that part are recorded, if there are any.
        until_then: Option<PathBuf>,
        /// What does not check.
        reason: &'static str,
        /// So many snapshots are lost, or more.
        at_least: usize,
    },
    /// A folder or a segment that was in use is not there any more, and neither are the snapshots in it.
    Gone {
        /// The folder or file.
        path: PathBuf,
        /// How many snapshots waited in it.
        snapshots: usize,
        /// The folder that was made in its place.
        anew: Option<PathBuf>,
    },
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Torn { segment, bytes, kept } => {
                let segment = segment.display();
                match kept {
                    None => write!(
                        f,
                        "the last write to `{segment}` was cut short, and its {bytes} bytes are cut off"
                    ),
                    // Whole, but not what was written: a write that was not on disk yet, or rot.
                    Some(kept) => write!(
                        f,
                        "the last record of `{segment}` has a wrong checksum: its snapshot is LOST, unless its write \
                         was under way when the recorder ended; its {bytes} bytes are cut off, and kept as `{}`",
                        kept.display()
                    ),
                }
            }
            Self::SetAside { file, until_then, reason, at_least } => {
                write!(
                    f,
                    "{at_least} snapshots or more are LOST: {reason}; the segment is kept as "
                )?;
                let file = file.display();
                match until_then {
                    None => write!(f, "`{file}`"),
                    Some(now) => write!(
                        f,
                        "`{}`, and as `{file}` from when the good snapshots in it are recorded",
                        now.display()
                    ),
                }
            }
            Self::Gone { path, snapshots, anew } => {
                write!(f, "`{}` was taken away while it was in use, ", path.display())?;
                match snapshots {
                    0 => f.write_str("and nothing waited in it")?,
                    snapshots => {
                        write!(f, "and {snapshots} snapshots that waited in it are LOST")?;
                    }
                }
                match anew {
                    None => Ok(()),
                    Some(anew) => write!(f, "; what comes goes to `{}`, made anew", anew.display()),
                }
            }
        }
    }
}

/// What a folder held.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) segments: Vec<Segment>,
    /// The first number that was never used.
    pub(super) next_number: u64,
    /// The largest record.
    pub(super) largest: u64,
    pub(super) reports: Vec<Report>,
}

/// Reads a folder, and puts right what may be put right.
pub(super) fn recover(shared: &Shared, folder: &Path) -> Result<Recovered, SpoolError> {
    let mut found =
        Recovered { segments: Vec::new(), next_number: 1, largest: 0, reports: Vec::new() };
    let mut numbers = Vec::new();
    for path in list(folder)? {
        if kind_of(&path) == Some(TEMPORARY) {
            let bytes = path.symlink_metadata().map_err(failed("look at", &path))?.len();
            shared.disk.remove(&path).map_err(failed("remove", &path))?;
            shared.release(bytes);
            continue;
        }
        let Some(number) = number_of(&path) else { continue };
        // Of files that were set aside too: a number is never used again while anything has it.
        found.next_number = found.next_number.max(number + 1);
        if kind_of(&path) == Some(SEGMENT) {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    for (at, number) in numbers.iter().enumerate() {
        let is_last = at + 1 == numbers.len();
        found.take(shared, folder, *number, is_last)?;
    }
    Ok(found)
}

impl Recovered {
    fn take(
        &mut self,
        shared: &Shared,
        folder: &Path,
        number: u64,
        is_last: bool,
    ) -> Result<(), SpoolError> {
        let path = path_of(folder, number, SEGMENT);
        let bytes = std::fs::read(&path).map_err(failed("read", &path))?;
        let scan = scan(&bytes);
        self.largest = self.largest.max(scan.longest as u64);
        let mut segment = Segment {
            number,
            records: scan.records,
            acknowledged: 0,
            length: bytes.len() as u64,
            is_bad: false,
        };
        let end = match scan.end {
            End::Clean if bytes.is_empty() => End::Short,
            end => end,
        };
        match end {
            End::Clean => {}
            End::Short | End::Unsound if is_last => {
                let (good, cut) = bytes.split_at(scan.good);
                let kept = end == End::Unsound;
                self.cut(shared, folder, &mut segment, good.len() as u64, cut, kept)?;
            }
            End::Short => self.bad(folder, &mut segment, "it was cut short", 1),
            End::Unsound => self.bad(folder, &mut segment, "a record's checksum is wrong", 1),
            End::Bad { reason, lost } => self.bad(folder, &mut segment, reason, lost),
        }
        if segment.is_bad && segment.records.is_empty() {
            let aside = path_of(folder, number, CORRUPT);
            shared.disk.rename(&path, &aside).map_err(failed("set aside", &path))?;
            shared.disk.sync_folder(folder).map_err(failed("sync", folder))?;
        } else if !segment.records.is_empty() {
            self.segments.push(segment);
        }
        Ok(())
    }

    fn bad(&mut self, folder: &Path, segment: &mut Segment, reason: &'static str, at_least: usize) {
        segment.is_bad = true;
        let of_kind = |kind| path_of(folder, segment.number, kind);
        let until_then = (!segment.records.is_empty()).then(|| of_kind(SEGMENT));
        let file = of_kind(CORRUPT);
        self.reports.push(Report::SetAside { file, until_then, reason, at_least });
    }

    /// Cuts off what a write has left that was cut short. What has to be kept is kept before it is cut.
    fn cut(
        &mut self,
        shared: &Shared,
        folder: &Path,
        segment: &mut Segment,
        good: u64,
        cut: &[u8],
        is_kept: bool,
    ) -> Result<(), SpoolError> {
        let disk = &*shared.disk;
        let path = path_of(folder, segment.number, SEGMENT);
        let kept = path_of(folder, segment.number, TORN);
        if is_kept {
            let temporary = path_of(folder, segment.number, TEMPORARY);
            write_whole(disk, &temporary, &kept, cut)
                .and_then(|_| disk.sync_folder(folder))
                .map_err(failed("write", &kept))?;
        } else {
            shared.release(cut.len() as u64);
        }
        if good == 0 {
            disk.remove(&path).map_err(failed("remove", &path))?;
            disk.sync_folder(folder).map_err(failed("sync", folder))?;
        } else {
            let file = OpenOptions::new().write(true).open(&path).map_err(failed("open", &path))?;
            disk.truncate(&file, &path, good)
                .and_then(|()| disk.sync(&file, &path))
                .map_err(failed("cut off", &path))?;
        }
        segment.length = good;
        let kept = is_kept.then_some(kept);
        self.reports.push(Report::Torn { segment: path, bytes: cut.len() as u64, kept });
        Ok(())
    }
}
