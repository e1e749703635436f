//! Who runs the server.
//!
//! PostgreSQL refuses to run as root, rightly. So root runs it as the owner of the data folder, else as `postgres`,
//! else as `nobody`; everybody else runs it as themselves.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Uid, User, geteuid};

use super::error::PrivateError;

/// The user whom the server belongs to.
#[derive(Debug, Clone)]
pub(super) struct Runner {
    pub(super) uid: Uid,
    pub(super) gid: Gid,
    pub(super) name: String,
    /// We are root and this is somebody else.
    pub(super) dropped: bool,
}

impl Runner {
    /// The user for a data folder, which need not exist yet.
    pub(super) fn for_folder(folder: &Path) -> Result<Self, PrivateError> {
        let owner = std::fs::metadata(folder).ok().map(|metadata| Uid::from_raw(metadata.uid()));
        let me = geteuid();
        if !me.is_root() {
            if let Some(owner) = owner.filter(|owner| *owner != me) {
                let reason = format!("it belongs to {}", name_of(owner));
                return Err(PrivateError::Folder { path: folder.to_owned(), reason });
            }
            // initdb and postgres both look the user up and give up without an entry, with a less clear message.
            let user = find(User::from_uid(me))?.ok_or_else(|| PrivateError::NoRunner {
                reason: format!(
                    "uid {me} has no entry in the user database, and PostgreSQL needs one"
                ),
            })?;
            return Ok(Self::of(user, false));
        }
        if let Some(owner) = owner.filter(|owner| !owner.is_root()) {
            let user = find(User::from_uid(owner))?.ok_or_else(|| PrivateError::NoRunner {
                reason: format!(
                    "`{}` belongs to uid {owner}, which has no entry in the user database",
                    folder.display()
                ),
            })?;
            return Ok(Self::of(user, true));
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = find(User::from_name(name))? {
                return Ok(Self::of(user, true));
            }
        }
        Err(PrivateError::NoRunner {
            reason: "this is root, and there is neither `postgres` nor `nobody`".to_owned(),
        })
    }

    fn of(user: User, dropped: bool) -> Self {
        Self { uid: user.uid, gid: user.gid, name: user.name, dropped }
    }

    /// A command that runs as this user, in its own process group, away from our terminal and our environment's `PG*`.
    ///
    /// Its own group, because Ctrl-C goes to all of the terminal's foreground group: the recorder wants to write its
    /// last snapshot then, and the server must still be there for it.
    pub(super) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| name.starts_with("PG")) {
                command.env_remove(name);
            }
        }
        command
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .current_dir("/") // ours may be one that the user cannot enter
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        if self.dropped {
            // The standard library also drops root's supplementary groups when it sets a uid.
            command.gid(self.gid.as_raw()).uid(self.uid.as_raw());
        }
        command
    }

    /// Hands a file or folder that we made over to the user. Links are not followed: the folder may be theirs.
    pub(super) fn own(&self, path: &Path) -> Result<(), PrivateError> {
        if !self.dropped {
            return Ok(());
        }
        std::os::unix::fs::lchown(path, Some(self.uid.as_raw()), Some(self.gid.as_raw())).map_err(
            |source| PrivateError::Io { attempt: "hand over", path: path.to_owned(), source },
        )
    }

    /// The first folder on the way to `path` that the user may not enter.
    pub(super) fn barred_from(&self, path: &Path) -> Option<PathBuf> {
        if !self.dropped {
            return None;
        }
        let barred = |folder: &Path| {
            let metadata = std::fs::metadata(folder).ok()?;
            (!self.may_enter(&metadata)).then(|| folder.to_owned())
        };
        // From the root down, so that the one named is the one to open.
        path.ancestors().skip(1).collect::<Vec<_>>().into_iter().rev().find_map(barred)
    }

    fn may_enter(&self, metadata: &Metadata) -> bool {
        let bit = if metadata.uid() == self.uid.as_raw() {
            0o100
        } else if metadata.gid() == self.gid.as_raw() {
            0o010
        } else {
            0o001
        };
        metadata.mode() & bit != 0
    }
}

/// A user's name for messages, or the number.
pub(super) fn name_of(uid: Uid) -> String {
    User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| format!("uid {uid}"), |user| format!("`{}`", user.name))
}

fn find(answer: nix::Result<Option<User>>) -> Result<Option<User>, PrivateError> {
    answer.map_err(|error| PrivateError::NoRunner {
        reason: format!("the user database cannot be read: {error}"),
    })
}
