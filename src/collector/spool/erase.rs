//! Erasing persons from what waits: segments that no process holds are written anew.
//!
//! What a running recorder holds is its own. It hands that in, now that the database answers, and on the way into the ledger
//! the erased are known again.

use std::path::PathBuf;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use super::disk::RealDisk;
use super::error::failed;
use super::queue::Queue;
use super::segment::{CORRUPT, Fault, TORN, kind_of};
use super::{Shared, Spool, SpoolError, slot};
use crate::config::SpoolConfig;
use crate::domain::Snapshot;

/// What became of a ledger's spool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// How many snapshots were written anew.
    pub snapshots: usize,
    /// The slots in which something waits that processes hold.
    pub in_use: Vec<u32>,
    /// Files that do not check, and so cannot be written anew.
    pub unread: Vec<PathBuf>,
}

/// Writes the snapshots anew for which `change` gives another one, in all slots that no process holds.
///
/// # Errors
/// The files cannot be worked with.
pub fn rewrite(
    config: &SpoolConfig,
    change: &dyn Fn(&str, &Snapshot) -> Option<Snapshot>,
) -> Result<Rewritten, SpoolError> {
    let mut done = Rewritten::default();
    for (number, folder) in slot::slots(&config.dir)? {
        let sources = slot::folders(&folder)?;
        let mut is_waited_for = false;
        for source in &sources {
            is_waited_for |= slot::has_segments(source)?;
        }
        if is_waited_for {
            match slot::hold(&folder)? {
                None => done.in_use.push(number),
                Some(slot) => {
                    let spool = Spool(Arc::new(Shared {
                        used: AtomicU64::new(slot::bytes(&folder)?),
                        config: config.clone(),
                        disk: Arc::new(RealDisk),
                        slot: Mutex::new(slot),
                        open: Mutex::default(),
                    }));
                    for source in spool.sources()? {
                        let mut queue = spool.queue(&source, None)?;
                        queue.replace(&|snapshot| change(&source, snapshot), &mut done)?;
                    }
                }
            }
        }
        for source in sources {
            let is_aside = |path: &PathBuf| matches!(kind_of(path), Some(CORRUPT | TORN));
            done.unread.extend(slot::list(&source)?.into_iter().filter(is_aside));
        }
    }
    Ok(done)
}

impl Queue {
    /// Writes the segments anew in which `change` gives another snapshot for one.
    fn replace(
        &mut self,
        change: &dyn Fn(&Snapshot) -> Option<Snapshot>,
        done: &mut Rewritten,
    ) -> Result<(), SpoolError> {
        let mut at = 0;
        while at < self.segments.len() {
            let number = self.segments[at].number;
            let (mut snapshots, mut of_segment) = (Vec::new(), 0);
            let mut fault = None;
            for index in 0..self.segments[at].records.len() {
                let kind = self.segments[at].records[index].kind;
                match self.load(at, index) {
                    Ok(snapshot) => {
                        let other = change(&snapshot);
                        of_segment += usize::from(other.is_some());
                        snapshots.push((other.unwrap_or(snapshot), kind));
                    }
                    Err(found) => {
                        fault = Some((index, found));
                        break;
                    }
                }
            }
            match fault {
                None => {}
                Some((_, Fault::Gone)) => {
                    self.forget_gone(at);
                    continue;
                }
                Some((_, Fault::Io(error))) => {
                    return Err(failed("read", &self.path(number))(error));
                }
                // It is set aside once what is good of it is recorded.
                Some((index, Fault::Bad(reason))) => {
                    self.give_up(at, index, reason)?;
                    continue;
                }
            }
            if self.segments[at].is_bad {
                done.unread.push(self.path(number));
            } else if of_segment > 0 {
                self.rewrite(at, &snapshots)?;
                done.snapshots += of_segment;
            }
            at += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{all, config, folder, snapshot};
    use super::*;

    #[test]
    fn what_nobody_holds_is_written_anew_and_the_rest_is_said() {
        let folder = folder();
        let config = config(folder.path());
        let number = |snapshot: &Snapshot| {
            (0..).find(|of| super::super::tests::snapshot(*of).observed_at == snapshot.observed_at)
        };
        let change = |_: &str, seen: &Snapshot| {
            number(seen)
                .filter(|number| number % 3 == 0)
                .map(|_| Snapshot { total: Some(7), ..seen.clone() })
        };
        let spool = Spool::open(&config).expect("there is a disk");
        let mut queue = spool.queue("prod", None).expect("nobody has it");
        for number in 0..70 {
            queue.append(&snapshot(number)).expect("there is room");
        }
        // Its owner lives.
        let done = rewrite(&config, &change).expect("the disk works");
        assert_eq!(done, Rewritten { in_use: vec![1], ..Rewritten::default() });
        drop((queue, spool));
        let done = rewrite(&config, &change).expect("the disk works");
        assert_eq!(done, Rewritten { snapshots: 24, ..Rewritten::default() });
        let spool = Spool::open(&config).expect("it is free again");
        let mut queue = spool.queue("prod", None).expect("nobody has it");
        assert!(queue.reports().is_empty());
        let expected: Vec<Snapshot> = (0..70)
            .map(|of| change("prod", &snapshot(of)).unwrap_or_else(|| snapshot(of)))
            .collect();
        assert_eq!(all(&mut queue), expected);
        drop((queue, spool));
        // One that does not check stays, and is named.
        let segment = config.dir.join("1/prod/0000000001.seg");
        let mut bytes = std::fs::read(&segment).expect("it is there");
        bytes[40] ^= 1;
        std::fs::write(&segment, bytes).expect("there is room");
        let done = rewrite(&config, &change).expect("the disk works");
        assert_eq!(done.unread.len(), 1, "{done:?}");
    }
}
