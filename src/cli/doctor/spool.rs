//! Where snapshots wait while the database is away: whether they could, and whether some do.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use indicatif::HumanBytes;
use nix::unistd::{AccessFlags, access, geteuid};

use super::check::{Check, Group, State};
use crate::collector::spool::{free, inspect, nearest};
use crate::config::{ConfigError, SpoolConfig, WhenFull};

const NAME: &str = "spool";

/// The checks: the spool, and where others could get at it, its folder. `keeper` is the user who keeps the ledger on this
/// machine: as root runs PostgreSQL it is another one, to whom the folder of both belongs.
pub(super) fn check(config: &Result<SpoolConfig, ConfigError>, keeper: Option<u32>) -> Vec<Check> {
    let checks = match config {
        Ok(config) => [look(config)].into_iter().chain(exposed(&config.dir, keeper)).collect(),
        Err(error) => {
            vec![Check::failed(NAME, error.to_string(), "set the keys of `[spool]` right")]
        }
    };
    checks.into_iter().map(|check| check.of(Group::Database)).collect()
}

/// Whether somebody else could take the folder away, or put another one in its place: what waits there names people,
/// and what is read from there goes into the ledger.
fn exposed(dir: &Path, keeper: Option<u32>) -> Option<Check> {
    const NAME: &str = "spool folder";
    const ADVICE: &str = "give `[spool] dir` a folder that only the user that records may write to";
    // What is not there yet is made for its user alone.
    let nearest = nearest(dir)?.canonicalize().ok()?;
    let is_made = dir.exists();
    // Root could anyway, and who has the ledger need not go this way.
    let trusted: Vec<u32> = [0, geteuid().as_raw()].into_iter().chain(keeper).collect();
    let mut risks = nearest.ancestors().filter_map(|place| {
        let metadata = place.metadata().ok()?;
        // In a sticky folder nobody takes away what another one has made.
        let is_held = metadata.mode() & 0o1000 != 0 && (is_made || place != nearest);
        let is_open = metadata.mode() & 0o002 != 0 && !is_held;
        risk(is_open, metadata.uid(), &trusted).map(|risk| format!("{} {risk}", place.display()))
    });
    risks.next().map(|found| Check::warning(NAME, found, ADVICE))
}

/// What is wrong with a folder on the way, where these users are `trusted`.
fn risk(is_open: bool, owner: u32, trusted: &[u32]) -> Option<String> {
    if is_open {
        return Some(
            "may be written to by everybody, who could put another spool there".to_owned(),
        );
    }
    (!trusted.contains(&owner)).then(|| {
        format!("belongs to the user with number {owner}, who could put another spool there")
    })
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
    let (waiting, dropped) = sources()
        .fold((0, 0), |(waiting, dropped), of| (waiting + of.waiting, dropped + of.dropped));
    let bound = slots.iter().find_map(|slot| slot.lacks(config, free(&config.dir)));
    if let Some(bound) = bound.filter(|_| waiting > 0) {
        let then = match config.when_full {
            WhenFull::Stop => "nothing is visited until there is room".to_owned(),
            WhenFull::DropOldest => format!("{dropped} were dropped for newer ones"),
        };
        let advice =
            "see why the database does not answer; until then make room, or raise `max_size`";
        let found = format!("{waiting} snapshots wait in {shown}, which is full, {then}: {bound}");
        return Check::failed(NAME, found, advice);
    }
    if waiting > 0 {
        let is_left = slots.iter().any(|slot| !slot.is_in_use && !slot.sources.is_empty());
        let advice = if is_left {
            "`deskledger collect` records them when it starts"
        } else {
            "the recorder writes them as soon as the database answers: why does it not?"
        };
        let dropped = match dropped {
            0 => String::new(),
            dropped => format!(", of which {dropped} were dropped when it was full"),
        };
        return Check::warning(
            NAME,
            format!("{waiting} snapshots wait in {shown}{dropped}"),
            advice,
        );
    }
    let torn = sources().map(|source| source.torn.len()).sum::<usize>();
    let check = room(config);
    if torn > 0 && check.state == State::Ok {
        return Check::warning(
            NAME,
            format!(
                "{torn} last records in {shown} had a wrong checksum: they are kept, and not recorded"
            ),
            "`deskledger spool` names the files; look after the disk, and take them away",
        );
    }
    check
}

/// Whether snapshots could wait.
fn room(config: &SpoolConfig) -> Check {
    let shown = config.dir.display();
    // It is made when it is first needed.
    let Some(place) = nearest(&config.dir) else {
        return Check::failed(NAME, format!("there is no place for {shown}"), "make its folder");
    };
    if access(&place, AccessFlags::W_OK).is_err() {
        return Check::failed(
            NAME,
            format!("{} may not be written to by this user", place.display()),
            "let the user that records have it, or name another folder in `[spool] dir`",
        );
    }
    let Some(free) = free(&config.dir) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_safe_with_those_who_are_trusted() {
        for (is_open, owner, trusted, is_safe) in [
            (false, 1000, &[0, 1000][..], true),
            (false, 0, &[0, 1000], true),
            (false, 1001, &[0, 1000], false),
            (false, 1000, &[0, 0], false),
            // The private PostgreSQL's user, as root runs it.
            (false, 65_534, &[0, 0, 65_534], true),
            (true, 1000, &[0, 1000], false),
            (true, 0, &[0, 0], false),
        ] {
            let found = risk(is_open, owner, trusted);
            assert_eq!(found.is_none(), is_safe, "{is_open} {owner} {trusted:?}");
        }
    }
}
