//! The queue on disk in which fetched snapshots wait while the database is away.
//!
//! It knows what a snapshot is and how a line of it is written, and nothing of databases, clouds or tasks: whoever
//! records takes snapshots out, oldest first, and says when they are recorded. Everything here blocks.
//!
//! ```text
//! <the ledger's folder>/      0700
//!   1/                        a slot: one process's, held by `.lock`
//!     .lock
//!     prod/                   a source
//!       0000000001.seg        up to 32 snapshots
//!       0000000002.seg
//!       0000000003.corrupt    a segment that does not check, set aside
//!       0000000004.torn       the end of a write that was cut short, and did not check
//! ```
//!
//! Promises: what [`Queue::append`] has taken is on disk, also if the power fails the moment after; what
//! [`Queue::next`] gives was appended, whole and unchanged; what is lost is said ([`Queue::reports`]), never skipped
//! in silence. What was read and acknowledged is deleted a segment at a time, so that after a restart some of it
//! comes again: recording is idempotent, and a file that only ever grows and then goes cannot be half rewritten.
//!
//! Files that somebody takes away under a running recorder are lost, and that is said ([`Report::Gone`]); what comes
//! next is kept in folders that are made anew.
//!
//! Slots are what lets two recorders of one ledger share a machine without sharing a file: a slot is locked for as
//! long as its owner lives, and the next to come takes over what a killed one has left.

mod disk;
mod drop;
mod erase;
mod error;
mod inspect;
mod queue;
mod read;
mod record;
mod recover;
mod segment;
mod slot;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

pub use erase::{Rewritten, rewrite};
pub use error::{Bound, SpoolError};
pub use inspect::{SlotStatus, SourceStatus, free, inspect, nearest};
pub use queue::{Appended, Queue};
pub use recover::Report;

use crate::config::SpoolConfig;
use crate::domain::check_source_name;
use crate::exchange::Pin;
use disk::{Disk, RealDisk};
use error::failed;
use slot::{Slot, Wanted};

/// One process's part of a ledger's spool.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Shared>);

/// What the queues of a slot share.
#[derive(Debug)]
struct Shared {
    config: SpoolConfig,
    disk: Arc<dyn Disk>,
    slot: Mutex<Slot>,
    /// The bytes of all files in it, set aside ones too.
    used: AtomicU64,
    open: Mutex<HashSet<String>>,
}

impl Spool {
    /// Makes the ledger's folder if need be and takes a slot in it: one with snapshots that a process has left
    /// behind if there is one, else the first that is free.
    ///
    /// # Errors
    /// The folder cannot be made or worked in.
    pub fn open(config: &SpoolConfig) -> Result<Self, SpoolError> {
        Self::open_on(config, Arc::new(RealDisk))
    }

    /// Takes another slot of the same folder, in which a process that has ended left snapshots behind; `None`: there is none.
    ///
    /// # Errors
    /// The folder cannot be worked in.
    pub fn take_left(&self) -> Result<Option<Self>, SpoolError> {
        let Shared { config, disk, .. } = &*self.0;
        let (ours, _) = self.0.slot()?;
        let Some(slot) = slot::take_left(&config.dir, &ours)? else { return Ok(None) };
        Self::on(config, Arc::clone(disk), slot).map(Some)
    }

    fn open_on(config: &SpoolConfig, disk: Arc<dyn Disk>) -> Result<Self, SpoolError> {
        let slot = slot::take(&config.dir, &*disk, Wanted::Full, 0)?;
        Self::on(config, disk, slot)
    }

    fn on(config: &SpoolConfig, disk: Arc<dyn Disk>, slot: Slot) -> Result<Self, SpoolError> {
        let used = AtomicU64::new(slot::bytes(&slot.folder)?);
        let (config, slot, open) = (config.clone(), Mutex::new(slot), Mutex::default());
        Ok(Self(Arc::new(Shared { config, disk, slot, used, open })))
    }

    /// The number of the slot, which the next process takes that finds something waiting in it.
    ///
    /// # Errors
    /// The folder is gone, and another one cannot be taken.
    pub fn slot(&self) -> Result<String, SpoolError> {
        let (folder, _) = self.0.slot()?;
        Ok(folder.file_name().unwrap_or_default().to_string_lossy().into_owned())
    }

    /// Opens a source's queue, and puts right what an end of its last owner without warning has left. `pin` goes
    /// into every line, for whoever imports a segment's lines by hand.
    ///
    /// # Errors
    /// It is open already, the name is no source's, or the files cannot be worked with.
    pub fn queue(&self, source: &str, pin: Option<Pin>) -> Result<Queue, SpoolError> {
        check_source_name(source)
            .map_err(|error| SpoolError::Name { name: source.to_owned(), source: error })?;
        let claim = Claim::new(&self.0, source)?;
        let (slot, generation) = self.0.slot()?;
        let folder = slot::source_folder(&slot, source, &*self.0.disk)?;
        Queue::recover(claim, (folder, generation), source.to_owned(), pin)
    }

    /// The sources of which something waits in this slot, configured or not.
    ///
    /// # Errors
    /// The slot's folder cannot be read.
    pub fn sources(&self) -> Result<Vec<String>, SpoolError> {
        let mut sources = Vec::new();
        for folder in slot::folders(&self.0.slot()?.0)? {
            if slot::has_segments(&folder)?
                && let Some(source) = slot::source_of(&folder)
            {
                sources.push(source);
            }
        }
        sources.sort();
        Ok(sources)
    }
}

/// A source's queue is one owner's: two would write into the same segments.
#[derive(Debug)]
struct Claim {
    shared: Arc<Shared>,
    source: String,
}

impl Claim {
    fn new(shared: &Arc<Shared>, source: &str) -> Result<Self, SpoolError> {
        let mut open = shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        if !open.insert(source.to_owned()) {
            return Err(SpoolError::InUse(source.to_owned()));
        }
        Ok(Self { shared: Arc::clone(shared), source: source.to_owned() })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.source);
    }
}

/// What is missing for a write.
#[derive(Clone, Copy, Debug)]
struct Shortage {
    bytes: u64,
    bound: Bound,
}

impl Shared {
    /// The slot's folder, and which of those it is that this process has had; another one is taken where it is gone.
    fn slot(&self) -> Result<(PathBuf, u64), SpoolError> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if !slot.is_there() {
            let generation = slot.generation + 1;
            *slot = slot::take(&self.config.dir, &*self.disk, Wanted::Empty, generation)?;
            self.used.store(slot::bytes(&slot.folder)?, Ordering::SeqCst);
        }
        Ok((slot.folder.clone(), slot.generation))
    }

    /// Whether so many bytes more would fit.
    fn shortage(&self, bytes: u64) -> Result<Option<Shortage>, SpoolError> {
        let (folder, _) = self.slot()?;
        let free = self.disk.free(&folder).map_err(failed("ask for the room on", &folder))?;
        let (used, max) = (self.used.load(Ordering::SeqCst), self.config.max_bytes);
        Ok(self.over_disk(bytes, free).or_else(|| {
            let over = used.saturating_add(bytes).checked_sub(max).filter(|over| *over > 0)?;
            Some(Shortage { bytes: over, bound: Bound::Size { used, max } })
        }))
    }

    fn over_disk(&self, bytes: u64, free: u64) -> Option<Shortage> {
        let min = self.config.min_free;
        let short = min.saturating_add(bytes).checked_sub(free).filter(|short| *short > 0)?;
        Some(Shortage { bytes: short, bound: Bound::Disk { free, min } })
    }

    /// Takes so many bytes for a write, or says what is missing.
    fn reserve(&self, bytes: u64) -> Result<Option<Shortage>, SpoolError> {
        loop {
            let used = self.used.load(Ordering::SeqCst);
            if let Some(shortage) = self.shortage(bytes)? {
                return Ok(Some(shortage));
            }
            // Another source's queue may have taken some between the two lines above.
            let taken =
                self.used.compare_exchange(used, used + bytes, Ordering::SeqCst, Ordering::SeqCst);
            if taken.is_ok() {
                return Ok(None);
            }
        }
    }

    fn release(&self, bytes: u64) {
        // What is released was counted; files that someone else put here or took away were not, or still are.
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self.used.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
}

#[cfg(test)]
mod faults_tests;
#[cfg(test)]
mod tests;
