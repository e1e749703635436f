//! Where snapshots wait on disk while the database is away, and how many.
//!
//! What waits belongs to one ledger: written into another it would be a history that never was. So each ledger
//! has a folder of its own, named after where it is, whoever logs in to it.

use std::path::{Path, PathBuf};
use std::str::FromStr as _;

use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use sqlx::postgres::PgConnectOptions;

use super::raw::RawSpool;
use super::{Config, ConfigError, Located, Place, Size};
use crate::home::data_home;

/// What happens to a snapshot that the spool has no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// It is not taken.
    #[default]
    Stop,
    /// The oldest make room: what is left of each says that it was dropped.
    DropOldest,
}

/// What is configured, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolSettings {
    /// The folder of all ledgers' spools; `None`: under the data folder.
    pub dir: Option<PathBuf>,
    /// The bytes that a ledger's spool may take.
    pub max_bytes: u64,
    /// The bytes that have to stay free on its disk.
    pub min_free: u64,
    /// What happens when there is no room.
    pub when_full: WhenFull,
}

/// One ledger's spool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The ledger's folder.
    pub dir: PathBuf,
    /// The bytes that it may take.
    pub max_bytes: u64,
    /// The bytes that have to stay free on its disk.
    pub min_free: u64,
    /// What happens when there is no room.
    pub when_full: WhenFull,
}

/// Smaller than the least, and one snapshot of a large fleet would not fit.
pub(super) const MAX_SIZE: Size = Size { default: 2 << 30, least: 1 << 20 };
pub(super) const MIN_FREE: Size = Size { default: 256 << 20, least: 0 };

impl WhenFull {
    /// As the configuration has them, the default first.
    pub(super) const NAMES: [&str; 2] = ["stop", "drop-oldest"];
    const ALL: [Self; 2] = [Self::Stop, Self::DropOldest];

    fn of(text: &Located<String>) -> Result<Self, ConfigError> {
        let mut all = Self::NAMES.into_iter().zip(Self::ALL);
        let found = all.find(|(name, _)| *name == text.value);
        found
            .map(|(_, when_full)| when_full)
            .ok_or_else(|| text.refuse(format!("allowed are `{}`", Self::NAMES.join("` and `"))))
    }
}

impl SpoolSettings {
    pub(super) fn check(raw: &RawSpool, folder: &Path) -> Result<Self, ConfigError> {
        Ok(Self {
            dir: raw.dir.as_ref().map(|path| path.path(folder)),
            max_bytes: MAX_SIZE.check(raw.max_size.as_ref())?,
            when_full: raw.when_full.as_ref().map(WhenFull::of).transpose()?.unwrap_or_default(),
            min_free: MIN_FREE.check(raw.min_free.as_ref())?,
        })
    }
}

impl Config {
    /// The spool of the ledger that is configured.
    ///
    /// # Errors
    /// The database's address cannot be read, or there is no folder to put the spool in.
    pub fn spool_config(&self) -> Result<SpoolConfig, ConfigError> {
        let SpoolSettings { dir, max_bytes, min_free, when_full } = self.spool.clone();
        let dir = match (dir, &self.data_dir) {
            (Some(dir), _) => dir,
            (None, Some(data_dir)) => data_dir.join("spool"),
            (None, None) => {
                let home = data_home(|name| self.environment.get(name).map(PathBuf::from));
                let home = home.ok_or_else(|| ConfigError::Missing {
                    place: Place::flag("spool.dir"),
                    what: "folder: set it, or XDG_DATA_HOME or HOME".to_owned(),
                })?;
                home.join("spool")
            }
        };
        let key =
            self.database_url.as_ref().map_or_else(|| Ok("private".to_owned()), ledger_key)?;
        Ok(SpoolConfig { dir: dir.join(key), max_bytes, min_free, when_full })
    }
}

/// What a ledger's folder is called: `host-port-database` for people, and a digest of the three so that no two
/// ledgers share one.
fn ledger_key(url: &SecretString) -> Result<String, ConfigError> {
    // As whoever connects reads it, so that two ways to write an address are one ledger. The driver's error may
    // repeat the URL, and with it the password.
    let options = PgConnectOptions::from_str(url.expose_secret()).map_err(|_| {
        Place::flag("database.url").wrong(
            "no address that can be read",
            "write it as `postgres://user:password@host:5432/database`",
        )
    })?;
    let socket = options.get_socket().map(|path| path.display().to_string());
    let host = socket.unwrap_or_else(|| options.get_host().to_owned());
    let port = options.get_port().to_string();
    // Without a database PostgreSQL takes the one that is named after the user: it is the database's name then.
    let database = options.get_database().unwrap_or_else(|| options.get_username());
    let mut digest = Sha256::new();
    for part in [&*host, &*port, database] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = hex::encode(&digest.finalize()[..4]);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let readable: String = format!("{host}-{port}-{database}")
        .trim_start_matches(['/', '.'])
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        // File names have 255 bytes at most.
        .take(120)
        .collect();
    Ok(format!("{readable}-{digest}"))
}
