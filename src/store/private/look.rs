//! Looks at the private server without making, fetching or starting anything.

use std::path::{Path, PathBuf};

use super::binaries::{Found, Places};
use super::folder::Folder;
use super::runner::Runner;
use super::{Binaries, Options, PrivateError, blocking, explain_missing, folder, root};

/// What there is of the private server.
#[derive(Debug)]
pub struct Look {
    /// The folder that everything is kept in, whether or not it is there.
    pub root: PathBuf,
    /// The major version that made the data; `None`: there is no data yet.
    pub made_by: Option<u32>,
    /// Whether the server runs.
    pub is_running: bool,
    /// The programs that would run it, already on this system; or why there are none.
    pub binaries: Result<Binaries, PrivateError>,
    /// Whether missing programs would be fetched at the first use.
    pub would_fetch: bool,
}

/// Looks what there is.
///
/// # Errors
/// The user has no home, or the folder may not be looked into.
pub async fn look(options: Options) -> Result<Look, PrivateError> {
    let root = root(options.data_dir)?;
    // As `acquire` finds it, which a link may lead to.
    let root = root.canonicalize().unwrap_or(root);
    let folder = Folder { root };
    blocking(move || {
        let made_by = folder.made_by()?;
        let is_running = folder.running().is_some();
        let fetched = folder::home()
            .map_or_else(|_| folder.root.join("binaries"), |home| home.join("binaries"));
        let places = Places::of_this_system(options.bin_dir, fetched);
        let is_forced = places.explicit.is_some();
        let binaries = match places.search(made_by) {
            Ok(Found::Binaries(binaries)) => Ok(binaries),
            Ok(Found::None { other, refused }) => {
                Err(explain_missing(&folder, made_by, &other, &refused, None))
            }
            Err(error) => Err(error),
        };
        let would_fetch = cfg!(feature = "fetch-postgresql") && !is_forced && made_by.is_none();
        Ok(Look { root: folder.root, made_by, is_running, binaries, would_fetch })
    })
    .await
}

/// The number of the user whom the private server belongs to, and all that is kept in its folder; `None`: nobody can
/// say.
#[must_use]
pub fn keeper(options: Options) -> Option<u32> {
    let root = root(options.data_dir).ok()?;
    Runner::for_folder(&root).ok().map(|runner| runner.uid.as_raw())
}

/// How many bytes may still be written where a folder is, or will be; `None` where nobody can say.
#[must_use]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let there = folder.ancestors().find(|folder| folder.exists())?;
    let disk = nix::sys::statvfs::statvfs(there).ok()?;
    let bytes = u128::from(disk.blocks_available()) * u128::from(disk.fragment_size());
    Some(u64::try_from(bytes).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn looking_at_nothing_makes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let data_dir = home.path().join("a/b");
        let options = Options { data_dir: Some(data_dir.clone()), ..Options::default() };
        let found = look(options).await.unwrap();
        assert_eq!((found.made_by, found.is_running, &found.root), (None, false, &data_dir));
        assert!(free_bytes(&data_dir).is_some_and(|bytes| bytes > 0));
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
    }
}
