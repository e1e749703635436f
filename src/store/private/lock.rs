//! Locks that the kernel gives back when their holder dies.
//!
//! `flock` and not a file with a number in it: after `kill -9` or a power cut nothing is left to clean up, and no
//! number can be another process's by then.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};

use super::error::PrivateError;
use super::runner::Runner;

/// Alone, or together with others who say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Shared,
    Exclusive,
}

/// Takes the lock at once, or gives `None` if somebody else has it.
pub(super) fn try_lock(
    path: &Path,
    mode: Mode,
    runner: &Runner,
) -> Result<Option<Flock<File>>, PrivateError> {
    let failed = |source| PrivateError::Io { attempt: "lock", path: path.to_owned(), source };
    let fresh = !path.exists();
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        // Root works here in a folder that may be another user's: a link laid there must not lead anywhere.
        .custom_flags(OFlag::O_NOFOLLOW.bits())
        .open(path)
        .map_err(failed)?;
    if fresh {
        runner.own(path)?;
    }
    let argument = match mode {
        Mode::Shared => FlockArg::LockSharedNonblock,
        Mode::Exclusive => FlockArg::LockExclusiveNonblock,
    };
    match Flock::lock(file, argument) {
        Ok(lock) => Ok(Some(lock)),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, errno)) => Err(failed(errno.into())),
    }
}

/// Takes the lock, waiting for it as long as `patience` lasts.
///
/// By asking again rather than by waiting in the kernel, where a wait has no end. 20 ms is short beside starting a
/// server, and long enough that a hundred waiting processes are no load.
pub(super) fn lock(
    path: &Path,
    mode: Mode,
    patience: Duration,
    runner: &Runner,
) -> Result<Flock<File>, PrivateError> {
    let start = Instant::now();
    loop {
        if let Some(lock) = try_lock(path, mode, runner)? {
            return Ok(lock);
        }
        if start.elapsed() > patience {
            return Err(PrivateError::Busy { path: path.to_owned(), seconds: patience.as_secs() });
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
