//! One source's queue: what is waiting, and putting one more behind it.
//!
//! Reading is in `read`, making room in `drop`. A segment that was not begun by this process is never written to:
//! its last line would have to be read back first, and a new one costs a few hundred kilobytes once.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use super::disk::write_whole;
use super::error::failed;
use super::read::Reader;
use super::record::{Kind, encode, is_prefix};
use super::recover::{Recovered, recover};
use super::segment::{RECORDS, Record, SEGMENT, Segment, TEMPORARY, path_of};
use super::{Claim, Report, Shared, SpoolError, slot};
use crate::config::WhenFull;
use crate::domain::{Instant, Snapshot};
use crate::exchange::{Pin, write_line};

/// What putting a snapshot in came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The bytes that it takes on disk.
    pub bytes: u64,
    /// How many older snapshots were dropped to make room for it.
    pub dropped: usize,
}

/// One source's queue. It is one owner's at a time.
#[derive(Debug)]
pub struct Queue {
    claim: Claim,
    pub(super) source: String,
    pin: Option<Pin>,
    pub(super) folder: PathBuf,
    /// Of the slot that the folder is in.
    generation: u64,
    pub(super) segments: VecDeque<Segment>,
    pub(super) writer: Option<Writer>,
    pub(super) reader: Reader,
    next_number: u64,
    /// The largest record: what the next may take.
    largest: u64,
    pub(super) reports: Vec<Report>,
}

/// The segment that is written to, always the last.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) number: u64,
    file: File,
    /// What the next line is compressed with.
    prefix: Vec<u8>,
    /// A write has failed, and what it left could not be cut off yet.
    is_torn: bool,
}

impl Queue {
    pub(super) fn recover(
        claim: Claim,
        (folder, generation): (PathBuf, u64),
        source: String,
        pin: Option<Pin>,
    ) -> Result<Self, SpoolError> {
        let Recovered { segments, next_number, largest, reports } =
            recover(&claim.shared, &folder)?;
        let segments = segments.into();
        let (writer, reader) = (None, Reader::default());
        Ok(Self {
            claim,
            source,
            pin,
            folder,
            generation,
            segments,
            writer,
            reader,
            next_number,
            largest,
            reports,
        })
    }

    pub(super) fn shared(&self) -> &Shared {
        &self.claim.shared
    }

    pub(super) fn path(&self, number: u64) -> PathBuf {
        path_of(&self.folder, number, SEGMENT)
    }

    /// Puts a snapshot in. When this returns it is on disk.
    ///
    /// # Errors
    /// There is no room, or the disk fails: then it is not in the queue, and the queue is as it was.
    pub fn append(&mut self, snapshot: &Snapshot) -> Result<Appended, SpoolError> {
        self.keep_place()?;
        self.mend()?;
        let line = self.line_of(snapshot)?;
        let kind = Kind::of(snapshot);
        if self.writer.is_some()
            && self.segments.back().is_some_and(|last| last.records.len() >= RECORDS)
        {
            self.writer = None;
        }
        let mut dropped = 0;
        let record = loop {
            let prefix = self.writer.as_ref().map(|writer| &*writer.prefix);
            let record = encode(&line, prefix, kind, snapshot.observed_at)?;
            let Some(shortage) = self.shared().reserve(record.len() as u64)? else { break record };
            // Nothing is dropped for a snapshot that would not fit all the same.
            let can_drop = self.shared().config.when_full == WhenFull::DropOldest
                && self.droppable() >= shortage.bytes;
            match if can_drop { self.drop_oldest()? } else { None } {
                Some(count) => dropped += count,
                None => {
                    let source_name = self.source.clone();
                    return Err(SpoolError::Full { source_name, bound: shortage.bound });
                }
            }
        };
        let bytes = record.len() as u64;
        let at = Record { offset: 0, kind, observed_at: snapshot.observed_at };
        let written = if self.writer.is_some() {
            self.extend(&record, line, at)
        } else {
            self.begin(&record, line, at)
        };
        written.inspect_err(|_| self.shared().release(bytes))?;
        self.largest = self.largest.max(bytes);
        Ok(Appended { bytes, dropped })
    }

    /// Makes sure that what is written is where others look for it. Somebody may have taken the folder away, or
    /// files out of it.
    pub(super) fn keep_place(&mut self) -> Result<(), SpoolError> {
        let (slot, generation) = self.shared().slot()?;
        if self.generation != generation || !self.folder.is_dir() {
            let (folder, snapshots) = (self.folder.clone(), self.len());
            if self.generation == generation {
                self.shared().release(self.bytes());
            }
            (self.writer, self.reader) = (None, Reader::default());
            self.segments.clear();
            self.folder = slot::source_folder(&slot, &self.source, &*self.shared().disk)?;
            self.generation = generation;
            let anew = Some(self.folder.clone());
            self.reports.push(Report::Gone { path: folder, snapshots, anew });
        }
        // What is written into a file without a name is nowhere once it is closed.
        let is_nameless = |writer: &Writer| writer.file.metadata().is_ok_and(|it| it.nlink() == 0);
        if self.writer.as_ref().is_some_and(is_nameless) {
            self.forget_gone(self.segments.len() - 1);
        }
        Ok(())
    }

    /// Goes on without a segment whose file somebody has taken away.
    pub(super) fn forget_gone(&mut self, at: usize) {
        let Some(segment) = self.segments.remove(at) else { return };
        self.writer.take_if(|writer| writer.number == segment.number);
        self.reader.forget(segment.number);
        self.shared().release(segment.length);
        let (path, snapshots) = (self.path(segment.number), segment.waiting().len());
        self.reports.push(Report::Gone { path, snapshots, anew: None });
    }

    pub(super) fn line_of(&self, snapshot: &Snapshot) -> Result<Vec<u8>, SpoolError> {
        let mut line = Vec::new();
        write_line(&mut line, &self.source, self.pin.as_ref(), snapshot)
            .map_err(failed("write a line into", &self.folder))?;
        Ok(line)
    }

    /// Begins a segment.
    fn begin(&mut self, record: &[u8], line: Vec<u8>, at: Record) -> Result<(), SpoolError> {
        let number = self.next_number;
        self.next_number += 1;
        let path = self.path(number);
        let temporary = path_of(&self.folder, number, TEMPORARY);
        let disk = &*self.shared().disk;
        let file = write_whole(disk, &temporary, &path, record).map_err(failed("write", &path))?;
        if let Err(error) = disk.sync_folder(&self.folder) {
            // What is not promised must not come back; if it does all the same, it was observed.
            let _ = disk.remove(&path);
            return Err(failed("sync", &self.folder)(error));
        }
        let length = record.len() as u64;
        self.segments.push_back(Segment {
            number,
            records: vec![at],
            acknowledged: 0,
            length,
            is_bad: false,
        });
        self.writer = Some(Writer { number, file, prefix: line, is_torn: false });
        Ok(())
    }

    /// Writes on in the segment that was begun.
    fn extend(&mut self, record: &[u8], line: Vec<u8>, at: Record) -> Result<(), SpoolError> {
        let disk = &*self.claim.shared.disk;
        let writer = self.writer.as_mut().expect("the caller has looked");
        let segment = self.segments.back_mut().expect("the one that is written to is the last");
        let path = path_of(&self.folder, writer.number, SEGMENT);
        let offset = segment.length;
        let written = disk
            .write(&writer.file, &path, offset, record)
            .and_then(|()| disk.sync_data(&writer.file, &path));
        if let Err(error) = written {
            writer.is_torn = true;
            // What is said is what failed first. If this fails too, the next append begins with it.
            let _ = self.mend();
            return Err(failed("write", &path)(error));
        }
        if is_prefix(&line, Some(&writer.prefix)) {
            writer.prefix = line;
        }
        segment.records.push(Record { offset, ..at });
        segment.length += record.len() as u64;
        Ok(())
    }

    /// Cuts off what a failed write has left. The segment is not written to again: after a failed sync nobody
    /// knows what of it the system still holds for written.
    pub(super) fn mend(&mut self) -> Result<(), SpoolError> {
        let Some(writer) = self.writer.as_ref().filter(|writer| writer.is_torn) else {
            return Ok(());
        };
        let segment = self.segments.back().expect("the one that is written to is the last");
        let path = self.path(writer.number);
        let disk = &*self.shared().disk;
        disk.truncate(&writer.file, &path, segment.length)
            .and_then(|()| disk.sync(&writer.file, &path))
            .map_err(failed("cut off", &path))?;
        self.writer = None;
        Ok(())
    }

    /// Whether one more surely fits, be it as large as the largest so far.
    ///
    /// # Errors
    /// The system does not say how much is free.
    pub fn has_room(&mut self) -> Result<bool, SpoolError> {
        self.keep_place()?;
        let Some(shortage) = self.shared().shortage(self.largest)? else { return Ok(true) };
        let drops = self.shared().config.when_full == WhenFull::DropOldest;
        Ok(drops && self.droppable() >= shortage.bytes)
    }

    /// How many snapshots wait, dropped ones' places included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.segments.iter().map(|segment| segment.waiting().len()).sum()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes on disk of what waits.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// When the first that waits was taken.
    #[must_use]
    pub fn oldest(&self) -> Option<Instant> {
        let first = self.segments.iter().find_map(|segment| segment.waiting().first());
        first.map(|record| record.observed_at)
    }

    /// When the last that waits was taken.
    #[must_use]
    pub fn newest(&self) -> Option<Instant> {
        let last = self.segments.iter().rev().find_map(|segment| segment.waiting().last());
        last.map(|record| record.observed_at)
    }

    /// What was found since this was last asked that is not as it should be.
    pub fn reports(&mut self) -> Vec<Report> {
        std::mem::take(&mut self.reports)
    }
}

#[cfg(test)]
impl Writer {
    /// As a write leaves it that failed, and could not be cut off.
    pub(super) fn spoil(&mut self) {
        use std::os::unix::fs::FileExt as _;
        let end = self.file.metadata().expect("it is there").len();
        self.file.write_all_at(b"DLS1 and half a record", end).expect("there is room");
        self.is_torn = true;
    }
}
