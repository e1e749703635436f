//! The folder that everything of the private server lives in.
//!
//! ```text
//! <root>/               0700, the server's user
//!   deskledger-cluster  says that this is ours, and whether it may be trusted with a ledger
//!   data/               PostgreSQL's own (PGDATA); made elsewhere and renamed, so it is whole or absent
//!   log/                a file for each weekday, a week of them
//!   start.log           what the server said before its log was open
//!   socket/             if the path is short enough
//!   control.lock        held while starting or stopping
//!   users.lock          shared by all who use the server
//! ```
//!
//! There is no version in the path: with one, an upgrade of the system's PostgreSQL would begin a new and empty ledger
//! without a word. The data stays where it is, and needs the version that made it.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::{Pid, Uid};
use sha2::{Digest, Sha256};

use super::Durability;
use super::error::PrivateError;
use super::runner::{Runner, name_of};

/// `sun_path` has 108 bytes on Linux (104 elsewhere), the last of them a zero.
const SOCKET_PATH_LIMIT: usize = if cfg!(target_os = "linux") { 107 } else { 103 };
/// The port is only part of the socket's name: nothing listens on it.
pub(super) const PORT: u16 = 5432;

const MARKER: &str = "deskledger-cluster";

/// The folder, and the names in it.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    pub(super) root: PathBuf,
}

/// What `postmaster.pid` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Postmaster {
    pub(super) pid: Pid,
    pub(super) port: u16,
    pub(super) socket: PathBuf,
}

/// The folder that deskledger keeps its things in, private data and fetched binaries.
pub(super) fn home() -> Result<PathBuf, PrivateError> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    crate::home::data_home(variable).ok_or(PrivateError::NoHome)
}

impl Folder {
    /// Makes the folder if need be, and checks that it is ours and nobody else's.
    pub(super) fn prepare(root: &Path, runner: &Runner) -> Result<Self, PrivateError> {
        let bad = |reason: String| PrivateError::Folder { path: root.to_owned(), reason };
        let failed =
            |attempt| move |source| PrivateError::Io { attempt, path: root.to_owned(), source };
        if let Some(parent) = root.parent() {
            std::fs::create_dir_all(parent).map_err(failed("create the folders above"))?;
        }
        match std::fs::DirBuilder::new().mode(0o700).create(root) {
            Ok(()) => runner.own(root)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create")(error)),
        }
        // Resolved, because PostgreSQL and /proc report resolved paths, and the socket's name depends on it.
        let real = root.canonicalize().map_err(failed("open"))?;
        if let Some(barred) = runner.barred_from(&real) {
            return Err(bad(format!(
                "`{}`, who runs PostgreSQL, may not enter `{}`",
                runner.name,
                barred.display()
            )));
        }
        let folder = Self { root: real };
        // The marker first: whoever wrote it had handed the folder over by then.
        let ours = folder.marker().exists();
        let metadata = std::fs::metadata(&folder.root).map_err(failed("open"))?;
        let owner = Uid::from_raw(metadata.uid());
        if ours && owner != runner.uid {
            return Err(bad(format!("it belongs to {}", name_of(owner))));
        }
        // An existing folder is only taken over when it is empty: as root, `own` below would otherwise give away
        // whatever a mistyped path leads to. Asked twice, since another process may just have made it ours.
        if !ours && !folder.is_unused().map_err(failed("list"))? && !folder.marker().exists() {
            return Err(bad("it is neither empty nor made by deskledger".to_owned()));
        }
        if owner != runner.uid {
            runner.own(&folder.root)?;
        }
        if metadata.mode() & 0o777 != 0o700 {
            std::fs::set_permissions(&folder.root, std::fs::Permissions::from_mode(0o700))
                .map_err(failed("close to others"))?;
        }
        Ok(folder)
    }

    /// Nothing in it but what a process that is just starting, or was killed while starting, has left, snapshots that
    /// wait for a ledger elsewhere, and the folder of `demo`.
    fn is_unused(&self) -> io::Result<bool> {
        for entry in std::fs::read_dir(&self.root)? {
            let entry = entry?;
            let name = entry.file_name();
            let is_ours = [OsStr::new("control.lock"), OsStr::new("spool")].contains(&&*name)
                || name == OsStr::new("demo") && entry.path().join(MARKER).exists();
            if !is_ours && name != OsStr::new(&format!("{MARKER}.new")) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Writes or checks what the folder says of itself. Only with the control lock.
    pub(super) fn claim(
        &self,
        durability: Durability,
        runner: &Runner,
    ) -> Result<(), PrivateError> {
        let text = format!("layout = 1\ndurability = \"{}\"\n", durability.word());
        let path = self.marker();
        match std::fs::read_to_string(&path) {
            Ok(found) if found == text => Ok(()),
            Ok(found) if found.starts_with("layout = 1\n") => Err(PrivateError::Folder {
                path: self.root.clone(),
                reason: match durability {
                    Durability::Durable => {
                        "it was made for tests, with a server that does not wait for the disk"
                    }
                    Durability::Throwaway => "it holds a ledger that must not be put at risk",
                }
                .to_owned(),
            }),
            Ok(_) => Err(PrivateError::Folder {
                path: self.root.clone(),
                reason: "a newer deskledger made it, with a layout that this one does not know"
                    .to_owned(),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.write(&path, &text, runner)
            }
            Err(source) => Err(PrivateError::Io { attempt: "read", path, source }),
        }
    }

    /// Puts a file there whole, or not at all, owned by the server's user.
    pub(super) fn write(
        &self,
        path: &Path,
        text: &str,
        runner: &Runner,
    ) -> Result<(), PrivateError> {
        let failed = |source| PrivateError::Io { attempt: "write", path: path.to_owned(), source };
        let mut fresh = path.as_os_str().to_owned();
        fresh.push(".new");
        let fresh = PathBuf::from(fresh);
        match std::fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true) // never through a link
            .mode(0o600)
            .open(&fresh)
            .map_err(failed)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
        runner.own(&fresh)?;
        std::fs::rename(&fresh, path).map_err(failed)
    }

    pub(super) fn marker(&self) -> PathBuf {
        self.root.join(MARKER)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(super) fn start_log(&self) -> PathBuf {
        self.root.join("start.log")
    }

    pub(super) fn control_lock(&self) -> PathBuf {
        self.root.join("control.lock")
    }

    pub(super) fn users_lock(&self) -> PathBuf {
        self.root.join("users.lock")
    }

    /// The major version that made the data, if there is any.
    pub(super) fn made_by(&self) -> Result<Option<u32>, PrivateError> {
        let path = self.data().join("PG_VERSION");
        match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().map(Some).map_err(|_| PrivateError::Folder {
                path: self.data(),
                reason: format!("its PG_VERSION says `{}`", text.trim()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(PrivateError::Io { attempt: "read", path, source }),
        }
    }

    /// What `postmaster.pid` says, whether or not it is still true.
    pub(super) fn postmaster(&self) -> Option<Postmaster> {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        Some(Postmaster {
            pid: Pid::from_raw(lines.first()?.trim().parse().ok()?),
            port: lines.get(3)?.trim().parse().ok()?,
            socket: PathBuf::from(lines.get(4)?),
        })
    }

    /// Whether a postmaster runs on this data: what the pid file names may be long dead, or somebody else by now.
    pub(super) fn running(&self) -> Option<Postmaster> {
        let postmaster = self.postmaster()?;
        if kill(postmaster.pid, None) == Err(Errno::ESRCH) {
            return None;
        }
        // The postmaster's working folder is its data folder. A zombie has none.
        let process = PathBuf::from(format!("/proc/{}", postmaster.pid));
        if process.exists() {
            return match std::fs::read_link(process.join("cwd")) {
                Ok(folder) => {
                    (self.data().canonicalize().ok() == Some(folder)).then_some(postmaster)
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                // Not ours to look at, so not ours.
                Err(_) => None,
            };
        }
        if cfg!(target_os = "linux") {
            return None;
        }
        let name = std::process::Command::new("ps")
            .args(["-o", "comm=", "-p", &postmaster.pid.to_string()])
            .output()
            .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
            .unwrap_or_default();
        (name.ends_with("postgres") || name.ends_with("postmaster")).then_some(postmaster)
    }

    /// A folder for the socket whose path is short enough, made and checked.
    pub(super) fn socket(&self, runner: &Runner) -> Result<PathBuf, PrivateError> {
        let own = self.root.join("socket");
        let short = || {
            let digest = Sha256::digest(self.root.as_os_str().as_bytes());
            format!("deskledger-{}", hex::encode(&digest[..8]))
        };
        // As root the runtime folder is root's own, and the server's user could not enter it.
        let runtime = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let candidates = std::iter::once(own)
            .chain(runtime.filter(|_| !runner.dropped).map(|folder| folder.join(short())))
            .chain(std::iter::once(Path::new("/tmp").join(short())));
        let fitting = candidates
            .filter(|folder| fits(folder))
            .find(|folder| folder.parent().is_some_and(Path::is_dir))
            .expect("a name of 32 bytes in /tmp fits");
        let failed = |attempt| {
            let path = fitting.clone();
            move |source| PrivateError::Io { attempt, path, source }
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&fitting) {
            Ok(()) => runner.own(&fitting)?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed("create")(error)),
        }
        check_socket_folder(&fitting, runner)?;
        Ok(fitting)
    }
}

/// A folder in /tmp may have been laid there by anyone: only a real folder, of the right user, closed to others, will do.
pub(super) fn check_socket_folder(folder: &Path, runner: &Runner) -> Result<(), PrivateError> {
    let bad = |reason: String| PrivateError::SocketFolder { path: folder.to_owned(), reason };
    let metadata = std::fs::symlink_metadata(folder).map_err(|source| PrivateError::Io {
        attempt: "open",
        path: folder.to_owned(),
        source,
    })?;
    if !metadata.is_dir() {
        return Err(bad("it is not a folder".to_owned()));
    }
    if metadata.uid() != runner.uid.as_raw() {
        return Err(bad(format!("it belongs to {}", name_of(Uid::from_raw(metadata.uid())))));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(bad(format!("others may enter it (mode {:o})", metadata.mode() & 0o777)));
    }
    Ok(())
}

fn fits(folder: &Path) -> bool {
    let name = format!("/.s.PGSQL.{PORT}");
    folder.as_os_str().len() + name.len() <= SOCKET_PATH_LIMIT
        // In `unix_socket_directories` a comma separates, and postmaster.pid is read by line.
        && !folder.as_os_str().as_bytes().iter().any(|byte| matches!(byte, b',' | b'\n' | b'"' | b'\''))
}

#[cfg(test)]
mod tests {

    use super::*;

    fn me() -> Runner {
        let name = name_of(nix::unistd::geteuid());
        Runner { uid: nix::unistd::geteuid(), gid: nix::unistd::getegid(), name, dropped: false }
    }

    #[test]
    fn a_short_path_keeps_its_socket_and_a_long_one_goes_elsewhere() {
        let home = tempfile::tempdir().unwrap();
        let short = Folder { root: home.path().to_owned() };
        assert_eq!(short.socket(&me()).unwrap(), home.path().join("socket"));
        let long = Folder { root: home.path().join("x".repeat(120)) };
        std::fs::create_dir(&long.root).unwrap();
        let socket = long.socket(&me()).unwrap();
        assert!(fits(&socket) && !socket.starts_with(home.path()), "{}", socket.display());
        assert_eq!(std::fs::metadata(&socket).unwrap().mode() & 0o777, 0o700);
        assert_eq!(long.socket(&me()).unwrap(), socket);
        std::fs::remove_dir(socket).unwrap();
    }

    #[test]
    fn a_socket_folder_open_to_others_or_laid_as_a_link_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let open = home.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = check_socket_folder(&open, &me()).unwrap_err().to_string();
        assert!(error.ends_with("others may enter it (mode 777)"), "{error}");
        let link = home.path().join("link");
        std::os::unix::fs::symlink(home.path(), &link).unwrap();
        let error = check_socket_folder(&link, &me()).unwrap_err().to_string();
        assert!(error.ends_with("it is not a folder"), "{error}");
    }

    #[test]
    fn a_folder_with_other_things_in_it_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("letters.txt"), "dear").unwrap();
        let error = Folder::prepare(home.path(), &me()).unwrap_err().to_string();
        assert!(error.ends_with("it is neither empty nor made by deskledger"), "{error}");
    }

    #[test]
    fn the_folder_of_a_demo_leaves_room_for_a_ledger_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let demo = home.path().join("demo");
        std::fs::create_dir(&demo).unwrap();
        let error = Folder::prepare(home.path(), &me()).unwrap_err().to_string();
        assert!(error.ends_with("it is neither empty nor made by deskledger"), "{error}");
        std::fs::write(demo.join(MARKER), "layout = 1\n").unwrap();
        Folder::prepare(home.path(), &me()).unwrap();
    }

    #[test]
    fn a_pid_file_that_names_another_process_means_that_nothing_runs() {
        let home = tempfile::tempdir().unwrap();
        let folder = Folder { root: home.path().canonicalize().unwrap() };
        std::fs::create_dir(folder.data()).unwrap();
        let text = format!(
            "{}\n{}\n1760000000\n5432\n/tmp/s\n\n",
            std::process::id(),
            folder.data().display()
        );
        std::fs::write(folder.data().join("postmaster.pid"), text).unwrap();
        assert_eq!(folder.postmaster().unwrap().socket, Path::new("/tmp/s"));
        assert_eq!(folder.running(), None);
    }
}
