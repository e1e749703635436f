//! Taking snapshots out: oldest first, each checked once more, and deleted only when they are recorded.

use std::io;

use chrono::TimeDelta;

use super::error::failed;
use super::queue::Queue;
use super::segment::{CORRUPT, Fault, Lines, path_of};
use super::{Report, SpoolError};
use crate::domain::{Instant, Snapshot};
use crate::exchange::Parser;

/// Every line of ours says its own.
const NO_DEFAULT_GAP: TimeDelta = TimeDelta::seconds(1);

/// How far has been read.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The segment, and the record in it, that comes next; records before it were given. A segment that is gone
    /// stands for the next there is.
    pub(super) number: u64,
    pub(super) index: usize,
    lines: Option<Lines>,
    parser: Option<Parser>,
}

impl Reader {
    /// Forgets a segment's file, which is not the same any more.
    pub(super) fn forget(&mut self, number: u64) {
        self.lines.take_if(|lines| lines.number == number);
    }
}

impl Queue {
    /// Reads on: the next that waits, the oldest first.
    ///
    /// # Errors
    /// The disk fails. What was read and does not check is no error: it is set aside and reported, and the next
    /// one is given.
    #[expect(clippy::should_implement_trait, reason = "an iterator could not be rewound")]
    pub fn next(&mut self) -> Result<Option<Snapshot>, SpoolError> {
        if !self.is_empty() {
            self.keep_place()?;
        }
        while let Some((at, index)) = self.position() {
            let number = self.segments[at].number;
            match self.load(at, index) {
                Ok(snapshot) => {
                    (self.reader.number, self.reader.index) = (number, index + 1);
                    return Ok(Some(snapshot));
                }
                Err(Fault::Gone) => self.forget_gone(at),
                Err(Fault::Io(error)) => return Err(failed("read", &self.path(number))(error)),
                Err(Fault::Bad(reason)) => self.give_up(at, index, reason)?,
            }
        }
        // Two lines of a large fleet are not kept for the next outage.
        (self.reader.lines, self.reader.parser) = (None, None);
        Ok(None)
    }

    /// Begins again with the first that is not acknowledged.
    pub fn rewind(&mut self) {
        (self.reader.number, self.reader.index) = (0, 0);
    }

    /// All that [`next`](Self::next) gave are recorded and not needed any more. Segments that were read to their end
    /// are deleted; of the one that was not, it is remembered how far it was, as long as this process lives.
    ///
    /// # Errors
    /// The disk fails: at worst they come again after a restart.
    pub fn acknowledge(&mut self) -> Result<(), SpoolError> {
        let (number, index) = (self.reader.number, self.reader.index);
        for segment in &mut self.segments {
            if segment.number < number {
                segment.acknowledged = segment.records.len();
            } else if segment.number == number {
                segment.acknowledged = index.max(segment.acknowledged);
            }
        }
        self.clear_away()
    }

    /// The snapshot of this instant is recorded: if it is the first that waits, it need not be read again to find that
    /// out.
    ///
    /// # Errors
    /// The disk fails: at worst it comes again after a restart.
    pub fn acknowledge_first(&mut self, observed_at: Instant) -> Result<(), SpoolError> {
        let waiting = self.segments.iter_mut().find(|segment| !segment.waiting().is_empty());
        let Some(segment) = waiting else { return Ok(()) };
        if segment.waiting()[0].observed_at != observed_at {
            return Ok(());
        }
        segment.acknowledged += 1;
        self.clear_away()
    }

    /// Where reading goes on: the segment's place and the record's.
    fn position(&self) -> Option<(usize, usize)> {
        let (number, index) = (self.reader.number, self.reader.index);
        self.segments.iter().enumerate().find_map(|(at, segment)| {
            let index = if segment.number == number { index } else { 0 };
            let index = index.max(segment.acknowledged);
            (segment.number >= number && index < segment.records.len()).then_some((at, index))
        })
    }

    /// Reads a record of a segment.
    pub(super) fn load(&mut self, at: usize, index: usize) -> Result<Snapshot, Fault> {
        let segment = &self.segments[at];
        let (number, path) = (segment.number, self.path(segment.number));
        let lines = match self.reader.lines.take() {
            Some(lines) if lines.number == number && lines.next <= index => lines,
            _ => Lines::open(&path, number).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Fault::Gone,
                _ => Fault::Io(error),
            })?,
        };
        let lines = self.reader.lines.insert(lines);
        while lines.next < index {
            lines.read(&segment.records[lines.next])?;
        }
        let record = &segment.records[index];
        let line = lines.read(record)?;
        let parser = self.reader.parser.get_or_insert_with(|| Parser::new(NO_DEFAULT_GAP));
        let line = parser.parse(line).map_err(|_| Fault::Bad("a record is no snapshot's line"))?;
        if line.source != self.source {
            return Err(Fault::Bad("a record is another source's"));
        }
        if line.snapshot.observed_at != record.observed_at {
            return Err(Fault::Bad("a record's head is another snapshot's"));
        }
        Ok(line.snapshot)
    }

    /// Leaves a segment from a record on, which does not check and which the later ones need.
    pub(super) fn give_up(
        &mut self,
        at: usize,
        index: usize,
        reason: &'static str,
    ) -> Result<(), SpoolError> {
        let segment = &mut self.segments[at];
        let number = segment.number;
        let at_least = segment.records.len() - index;
        segment.records.truncate(index);
        segment.is_bad = true;
        self.writer.take_if(|writer| writer.number == number);
        self.reader.forget(number);
        let file = path_of(&self.folder, number, CORRUPT);
        let until_then = (!self.segments[at].waiting().is_empty()).then(|| self.path(number));
        self.reports.push(Report::SetAside { file, until_then, reason, at_least });
        self.clear_away()
    }

    /// Deletes the segments that are not needed any more; bad ones are kept under another name.
    fn clear_away(&mut self) -> Result<(), SpoolError> {
        let mut is_changed = false;
        let mut at = 0;
        while at < self.segments.len() {
            let segment = &self.segments[at];
            if !segment.waiting().is_empty() {
                at += 1;
                continue;
            }
            let (number, length, is_bad) = (segment.number, segment.length, segment.is_bad);
            let path = self.path(number);
            let disk = &*self.shared().disk;
            if is_bad {
                let aside = path_of(&self.folder, number, CORRUPT);
                unless_gone(disk.rename(&path, &aside)).map_err(failed("set aside", &path))?;
            } else {
                unless_gone(disk.remove(&path)).map_err(failed("remove", &path))?;
                self.shared().release(length);
            }
            self.writer.take_if(|writer| writer.number == number);
            self.reader.forget(number);
            self.segments.remove(at);
            is_changed = true;
        }
        if is_changed {
            let folder = &self.folder;
            unless_gone(self.shared().disk.sync_folder(folder)).map_err(failed("sync", folder))?;
        }
        Ok(())
    }
}

/// What is not needed any more may be gone already.
fn unless_gone(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
