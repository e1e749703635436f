//! Files for their owner alone: each is there whole or not at all.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file that is to be written.
#[derive(Debug)]
pub(super) struct NewFile {
    pub path: PathBuf,
    pub text: String,
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    /// A file has that name, and is to be kept.
    #[error("`{}` is there already", .0.display())]
    There(PathBuf),
    /// The system says no.
    #[error("write `{}`", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Writes all of them, or none where the first of them fails.
pub(super) fn write(files: &[NewFile], is_forced: bool) -> Result<(), WriteError> {
    // A secret that nothing names would be left behind.
    if let Some(there) =
        files.iter().find(|file| !is_forced && file.path.symlink_metadata().is_ok())
    {
        return Err(WriteError::There(there.path.clone()));
    }
    files.iter().try_for_each(|file| {
        write_one(file, is_forced).map_err(|source| match source.kind() {
            io::ErrorKind::AlreadyExists => WriteError::There(file.path.clone()),
            _ => WriteError::Io { path: file.path.clone(), source },
        })
    })
}

fn write_one(file: &NewFile, is_forced: bool) -> io::Result<()> {
    let folder = match file.path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    fs::create_dir_all(folder)?;
    let mut name = file.path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = folder.join(name);
    let written = fill(&partial, &file.text).and_then(|()| match is_forced {
        true => fs::rename(&partial, &file.path),
        // Unlike a rename it overwrites nothing, whoever was quicker.
        false => fs::hard_link(&partial, &file.path),
    });
    // After a rename it is gone already.
    let _ = fs::remove_file(&partial);
    written?;
    fs::File::open(folder)?.sync_all()
}

fn fill(path: &Path, text: &str) -> io::Result<()> {
    let _ = fs::remove_file(path);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn files_are_their_owners_and_overwrite_nothing_unasked() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("new/deskledger.toml");
        let file = |text: &str| NewFile { path: path.clone(), text: text.to_owned() };
        write(&[file("one")], false).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let other = NewFile { path: home.path().join("key"), text: "very-secret".to_owned() };
        let refused = write(&[other, file("two")], false).unwrap_err();
        assert!(matches!(refused, WriteError::There(there) if there == path));
        assert!(!home.path().join("key").exists(), "a secret is left behind");
        assert!(write_one(&file("two"), false).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "one");
        write(&[file("two")], true).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "two");
        let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "a part of a file is left behind");
    }
}
