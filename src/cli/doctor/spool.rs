//! Where snapshots wait while the database is away: whether they could, and whether some do.

use std::path::Path;

use indicatif::HumanBytes;
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, access};

use super::check::{Check, Group};
use crate::collector::spool::inspect;
use crate::config::{ConfigError, SpoolConfig};

const NAME: &str = "spool";

/// The check.
pub(super) fn check(config: &Result<SpoolConfig, ConfigError>) -> Check {
    let check = match config {
        Ok(config) => look(config),
        Err(error) => Check::failed(NAME, error.to_string(), "set the keys of `[spool]` right"),
    };
    check.of(Group::Database)
}

fn look(config: &SpoolConfig) -> Check {
    let shown = config.dir.display();
    let slots = match inspect(&config.dir) {
        Ok(slots) => slots,
        Err(error) => {
            let advice = "run it as the user that records, or let that user have the folder";
            return Check::failed(NAME, crate::error::Chain(&error).to_string(), advice);
        }
    };
    let sources = || slots.iter().flat_map(|slot| &slot.sources);
    let damaged = sources().filter(|source| source.is_damaged()).count();
    if damaged > 0 {
        return Check::failed(
            NAME,
            format!("files of {damaged} sources in {shown} do not check: snapshots are lost"),
            "`deskledger spool` names them; look after the disk, and take the files away",
        );
    }
    let waiting: usize = sources().map(|source| source.waiting).sum();
    if waiting > 0 {
        let is_left = slots.iter().any(|slot| !slot.is_in_use && !slot.sources.is_empty());
        let advice = if is_left {
            "`deskledger collect` records them when it starts"
        } else {
            "the recorder writes them as soon as the database answers: why does it not?"
        };
        return Check::warning(NAME, format!("{waiting} snapshots wait in {shown}"), advice);
    }
    room(config)
}

/// Whether snapshots could wait.
fn room(config: &SpoolConfig) -> Check {
    let shown = config.dir.display();
    // It is made when it is first needed.
    let Some(place) = config.dir.ancestors().find(|place| place.exists()) else {
        return Check::failed(NAME, format!("there is no place for {shown}"), "make its folder");
    };
    if access(place, AccessFlags::W_OK).is_err() {
        return Check::failed(
            NAME,
            format!("{} may not be written to by this user", place.display()),
            "let the user that records have it, or name another folder in `[spool] dir`",
        );
    }
    let Some(free) = free(place) else {
        return Check::warning(
            NAME,
            format!("it is not known how much is free at {shown}"),
            "look at the disk",
        );
    };
    if free < config.min_free {
        return Check::failed(
            NAME,
            format!("{} free at {shown}, less than is to stay free", HumanBytes(free)),
            "make room, or name another folder in `[spool] dir`: now nothing could wait there",
        );
    }
    let (max, free) = (HumanBytes(config.max_bytes), HumanBytes(free));
    Check::ok(NAME, format!("nothing waits in {shown}, which may take {max}; {free} free there"))
}

fn free(place: &Path) -> Option<u64> {
    let disk = statvfs(place).ok()?;
    // How wide these are depends on the system.
    let free = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    Some(u64::try_from(free).unwrap_or(u64::MAX))
}
