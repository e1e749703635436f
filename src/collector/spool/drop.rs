//! Making room when the spool is full: the oldest snapshots become *markers*, failed visits that say that they were
//! dropped.
//!
//! Deleting them would leave a hole of which nobody could tell whether the recorder was running. A marker is
//! recorded in its snapshot's place: what was not kept is not observed, and the ledger says why.

use std::sync::atomic::Ordering;

use super::SpoolError;
use super::disk::write_whole;
use super::error::failed;
use super::queue::Queue;
use super::record::{DROPPED, Kind, encode, is_prefix};
use super::segment::{Fault, Record, Segment, TEMPORARY, path_of};
use crate::config::format_size;
use crate::domain::{Failure, Snapshot};

/// A snapshot, and what its record is.
type Marked = (Snapshot, Kind);

impl Queue {
    /// The bytes that dropping everything would free, at most.
    pub(super) fn droppable(&self) -> u64 {
        let worth = self.segments.iter().filter(|segment| segment.is_worth_dropping());
        worth.map(|segment| segment.length).sum()
    }

    /// Drops the snapshots of the oldest segment that has any, and says how many; `None`: there are none left.
    pub(super) fn drop_oldest(&mut self) -> Result<Option<usize>, SpoolError> {
        loop {
            let Some(at) = self.segments.iter().position(Segment::is_worth_dropping) else {
                return Ok(None);
            };
            let number = self.segments[at].number;
            // It is not written to any more: what follows is another file of the same name.
            self.writer.take_if(|writer| writer.number == number);
            match self.markers(at) {
                Ok((markers, dropped)) => {
                    self.rewrite(at, &markers)?;
                    return Ok(Some(dropped));
                }
                Err((_, Fault::Gone)) => self.forget_gone(at),
                Err((_, Fault::Io(error))) => {
                    return Err(failed("read", &self.path(number))(error));
                }
                Err((index, Fault::Bad(reason))) => self.give_up(at, index, reason)?,
            }
        }
    }

    /// What stands for each snapshot of a segment that is still needed, and for how many of them; or which could not be read.
    fn markers(&mut self, at: usize) -> Result<(Vec<Marked>, usize), (usize, Fault)> {
        let reason = format!(
            "dropped from the spool, which was full: {}",
            format_size(self.shared().config.max_bytes)
        );
        let (mut markers, mut dropped) = (Vec::new(), 0);
        for index in self.segments[at].acknowledged..self.segments[at].records.len() {
            let kind = self.segments[at].records[index].kind;
            let snapshot = self.load(at, index).map_err(|fault| (index, fault))?;
            // A visit that failed by itself keeps its own reason.
            if kind == Kind::Whole {
                markers.push((marker(snapshot, &reason), Kind::Dropped));
                dropped += 1;
            } else {
                markers.push((snapshot, kind));
            }
        }
        Ok((markers, dropped))
    }

    /// Writes a segment anew, under its own number.
    pub(super) fn rewrite(&mut self, at: usize, snapshots: &[Marked]) -> Result<(), SpoolError> {
        let (mut bytes, mut records) = (Vec::new(), Vec::new());
        let mut prefix: Option<Vec<u8>> = None;
        for (snapshot, kind) in snapshots {
            let line = self.line_of(snapshot)?;
            let record = encode(&line, prefix.as_deref(), *kind, snapshot.observed_at)?;
            let offset = bytes.len() as u64;
            records.push(Record { offset, kind: *kind, observed_at: snapshot.observed_at });
            bytes.extend(record);
            if is_prefix(&line, prefix.as_deref()) {
                prefix = Some(line);
            }
        }
        let number = self.segments[at].number;
        let path = self.path(number);
        let temporary = path_of(&self.folder, number, TEMPORARY);
        let disk = &*self.shared().disk;
        write_whole(disk, &temporary, &path, &bytes).map_err(failed("write", &path))?;
        let length = bytes.len() as u64;
        let segment = &mut self.segments[at];
        let (old, acknowledged) = (segment.length, segment.acknowledged);
        *segment = Segment { number, records, acknowledged: 0, length, is_bad: false };
        self.reader.forget(number);
        if self.reader.number == number {
            // Those that were acknowledged are not in the file any more.
            self.reader.index = self.reader.index.saturating_sub(acknowledged);
        }
        self.shared().used.fetch_add(length, Ordering::SeqCst);
        self.shared().release(old);
        self.shared().disk.sync_folder(&self.folder).map_err(failed("sync", &self.folder))
    }
}

fn marker(snapshot: Snapshot, reason: &str) -> Snapshot {
    let failure = Failure { code: Some(DROPPED.to_owned()), message: Some(reason.to_owned()) };
    Snapshot { total: None, desktops: None, groups: None, failure: Some(failure), ..snapshot }
}
