//! The slots of a ledger's folder, and the sources' folders in them.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use sha2::{Digest as _, Sha256};

use super::SpoolError;
use super::disk::{Disk, make_folder, write_whole};
use super::error::failed;
use super::segment::{SEGMENT, kind_of, number_of};
use crate::domain::check_source_name;

/// Beside the sources' folders, none of whose names holds a full stop.
const LOCK: &str = ".lock";
/// Says the source's name where the folder's is too short for it.
const NAME: &str = "source";
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
/// File names have 255 bytes at most; a source's name of 64 characters can take 768 when it is encoded.
const LONGEST: usize = 200;
/// Whoever inspects the spool holds a slot's lock for a moment. So often it is asked for again before the slot
/// counts as another's: taking the next one would leave what waits in this one.
const ATTEMPTS: usize = 5;

/// A slot that is held.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) folder: PathBuf,
    lock: Flock<File>,
    /// Another number for each slot that a process takes in turn, since one was taken away.
    pub(super) generation: u64,
}

impl Slot {
    /// Whether the lock that is held is the one that others find in the folder: not once somebody has taken the folder
    /// away, be there another one by now or not.
    pub(super) fn is_there(&self) -> bool {
        let (held, found) =
            (self.lock.metadata(), std::fs::symlink_metadata(self.folder.join(LOCK)));
        let key = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        matches!((held.map(key), found.map(key)), (Ok(held), Ok(found)) if held == found)
    }
}

/// Which slots are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Before all others one that something waits in.
    Full,
    /// None of those: of what waits there nothing is known here.
    Empty,
}

/// Takes a slot.
pub(super) fn take(
    dir: &Path,
    disk: &dyn Disk,
    wanted: Wanted,
    generation: u64,
) -> Result<Slot, SpoolError> {
    make_folder(disk, dir).map_err(failed("make the folder", dir))?;
    let found = slots(dir)?;
    let with_content = with_content(&found)?;
    // After those with content the lowest number that is free, be there a folder or not.
    let last = found.iter().map(|(number, _)| *number).max().unwrap_or(0);
    let rest = (1..=last).filter(|number| !with_content.contains(number));
    let full = if wanted == Wanted::Full { &*with_content } else { &[] };
    for number in full.iter().copied().chain(rest).chain(last + 1..) {
        let folder = dir.join(number.to_string());
        make_folder(disk, &folder).map_err(failed("make the folder", &folder))?;
        let path = folder.join(LOCK);
        if let Some(lock) = try_lock(&path).map_err(failed("lock", &path))? {
            return Ok(Slot { folder, lock, generation });
        }
    }
    unreachable!("the numbers have no end")
}

/// Takes a slot that something waits in, but for `ours`; `None`: there is none, or other processes hold them.
pub(super) fn take_left(dir: &Path, ours: &Path) -> Result<Option<Slot>, SpoolError> {
    let found = slots(dir)?;
    let with_content = with_content(&found)?;
    for (number, folder) in found {
        if with_content.contains(&number)
            && folder != ours
            && let Some(slot) = hold(&folder)?
        {
            return Ok(Some(slot));
        }
    }
    Ok(None)
}

/// The numbers of the slots that something waits in.
fn with_content(found: &[(u32, PathBuf)]) -> Result<Vec<u32>, SpoolError> {
    let mut with_content = Vec::new();
    for (number, folder) in found {
        let mut is_waited_for = false;
        for source in folders(folder)? {
            is_waited_for |= has_segments(&source)?;
        }
        if is_waited_for {
            with_content.push(*number);
        }
    }
    Ok(with_content)
}

fn try_lock(path: &Path) -> io::Result<Option<Flock<File>>> {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)?;
    for attempt in 1.. {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Some(lock)),
            Err((again, Errno::EWOULDBLOCK)) if attempt < ATTEMPTS => file = again,
            Err((_, Errno::EWOULDBLOCK)) => break,
            Err((_, errno)) => return Err(errno.into()),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(None)
}

/// Takes a slot that is there; `None`: a process holds it.
pub(super) fn hold(folder: &Path) -> Result<Option<Slot>, SpoolError> {
    let path = folder.join(LOCK);
    let lock = try_lock(&path).map_err(failed("lock", &path))?;
    Ok(lock.map(|lock| Slot { folder: folder.to_owned(), lock, generation: 0 }))
}

/// Whether a process holds a slot.
pub(super) fn is_held(folder: &Path) -> Result<bool, SpoolError> {
    let path = folder.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed("open", &path)(error)),
    };
    match Flock::lock(file, FlockArg::LockSharedNonblock) {
        Ok(_) => Ok(false),
        Err((_, Errno::EWOULDBLOCK)) => Ok(true),
        Err((_, errno)) => Err(failed("lock", &path)(errno.into())),
    }
}

/// The slots there are, the lowest first.
pub(super) fn slots(dir: &Path) -> Result<Vec<(u32, PathBuf)>, SpoolError> {
    let mut slots: Vec<(u32, PathBuf)> = folders(dir)?
        .into_iter()
        .filter_map(|folder| {
            let name = folder.file_name()?.to_str()?;
            let number: u32 = name.parse().ok()?;
            // `01` and `+1` are nobody's.
            (number > 0 && number.to_string() == name).then_some((number, folder))
        })
        .collect();
    slots.sort();
    Ok(slots)
}

/// The folders in a folder; none if it is not there.
pub(super) fn folders(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    Ok(list(folder)?.into_iter().filter(|path| path.is_dir()).collect())
}

/// What is in a folder; nothing if it is not there.
pub(super) fn list(folder: &Path) -> Result<Vec<PathBuf>, SpoolError> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    let paths: io::Result<Vec<PathBuf>> = entries.map(|entry| Ok(entry?.path())).collect();
    paths.map_err(failed("list", folder))
}

/// Whether anything waits in a source's folder.
pub(super) fn has_segments(folder: &Path) -> Result<bool, SpoolError> {
    let is_segment = |path: &PathBuf| kind_of(path) == Some(SEGMENT) && number_of(path).is_some();
    Ok(list(folder)?.iter().any(is_segment))
}

/// The bytes of all files of a slot.
pub(super) fn bytes(folder: &Path) -> Result<u64, SpoolError> {
    let mut bytes = 0;
    for source in folders(folder)? {
        for path in list(&source)? {
            let metadata = match path.symlink_metadata() {
                Ok(metadata) => metadata,
                // Its owner may be at work.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(failed("look at", &path)(error)),
            };
            // A link is nothing of ours.
            bytes += if metadata.is_file() { metadata.len() } else { 0 };
        }
    }
    Ok(bytes)
}

/// A source's folder, made if need be.
pub(super) fn source_folder(
    slot: &Path,
    source: &str,
    disk: &dyn Disk,
) -> Result<PathBuf, SpoolError> {
    let encoded = utf8_percent_encode(source, ENCODED).to_string();
    if encoded.len() <= LONGEST {
        let folder = slot.join(encoded);
        make_folder(disk, &folder).map_err(failed("make the folder", &folder))?;
        return Ok(folder);
    }
    // `~` is in no encoded name.
    let digest = hex::encode(&Sha256::digest(source)[..16]);
    let folder = slot.join(format!("{}~{digest}", &encoded[..LONGEST - 40]));
    make_folder(disk, &folder).map_err(failed("make the folder", &folder))?;
    let path = folder.join(NAME);
    if !path.exists() {
        let temporary = folder.join(format!("{NAME}.tmp"));
        write_whole(disk, &temporary, &path, source.as_bytes())
            .and_then(|_| disk.sync_folder(&folder))
            .map_err(failed("write", &path))?;
    }
    Ok(folder)
}

/// Whose folder it is; `None`: nobody's.
pub(super) fn source_of(folder: &Path) -> Option<String> {
    let name = folder.file_name()?.to_str()?;
    let source = if name.contains('~') {
        std::fs::read_to_string(folder.join(NAME)).ok()?
    } else {
        percent_decode_str(name).decode_utf8().ok()?.into_owned()
    };
    check_source_name(&source).is_ok().then_some(source)
}
