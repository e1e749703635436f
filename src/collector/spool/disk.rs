//! What the spool does to the disk, and nothing else: the seam at which tests see which step follows which,
//! and make one fail.
//!
//! Whoever gives out a promise ("it is on disk") calls, in this order: write, sync, rename, sync the folder.
//! Nothing here is clever, so that the order is visible where it matters.

use std::fmt::Debug;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::Path;

use nix::fcntl::OFlag;

/// The steps.
pub(super) trait Disk: Debug + Send + Sync {
    /// Makes a new file, which nobody else may read.
    fn create(&self, path: &Path) -> io::Result<File>;
    /// Writes at an offset.
    fn write(&self, file: &File, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Puts a file's content on the disk, and of what is known about it what reading needs.
    fn sync_data(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Puts a file on the disk.
    fn sync(&self, file: &File, path: &Path) -> io::Result<()>;
    /// Cuts a file off.
    fn truncate(&self, file: &File, path: &Path, length: u64) -> io::Result<()>;
    /// Renames a file; what had the new name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Puts a folder's names on the disk.
    fn sync_folder(&self, path: &Path) -> io::Result<()>;
    /// The bytes that are free for us where `path` is.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The disk itself.
#[derive(Debug)]
pub(super) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
    }

    fn write(&self, file: &File, _: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync_data(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_data()
    }

    fn sync(&self, file: &File, _: &Path) -> io::Result<()> {
        file.sync_all()
    }

    fn truncate(&self, file: &File, _: &Path, length: u64) -> io::Result<()> {
        file.set_len(length)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_folder(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let found = nix::sys::statvfs::statvfs(path)?;
        #[expect(clippy::useless_conversion, reason = "the types differ between systems")]
        let (blocks, size) =
            (u64::from(found.blocks_available()), u64::from(found.fragment_size()));
        Ok(blocks.saturating_mul(size))
    }
}

/// Makes a folder, and those above it, which nobody else may enter; and puts its name on the disk.
pub(super) fn make_folder(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    path.parent().map_or(Ok(()), |parent| disk.sync_folder(parent))
}

/// Writes a whole file under a temporary name and gives it its own: it is there as a whole or not at all.
/// The folder is the caller's to sync.
pub(super) fn write_whole(
    disk: &dyn Disk,
    temporary: &Path,
    path: &Path,
    bytes: &[u8],
) -> io::Result<File> {
    let write = || {
        // What an attempt before this one may have left.
        match disk.remove(temporary) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.create(temporary)?;
        disk.write(&file, temporary, 0, bytes)?;
        disk.sync(&file, temporary)?;
        disk.rename(temporary, path)?;
        Ok(file)
    };
    write().inspect_err(|_| {
        // Else recovery does it; what failed is said by the error that is on its way.
        let _ = disk.remove(temporary);
    })
}
