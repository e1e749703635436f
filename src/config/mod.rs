//! Configuration: what was typed, checked into what can be used.
//!
//! Flags win over the environment, the environment over `deskledger.toml`. Two stages: the file is read
//! with the type and the place of every value, unknown keys refused; then values are checked. A mistake
//! is one line that names the key, where it stands, its value, and what is allowed.
//!
//! The sources are checked, and their secrets read, only when asked for ([`Config::sources`]): whoever
//! runs a report needs neither the cloud's keys nor a file that they may read.

mod auth;
mod error;
mod kept;
mod key;
mod metrics;
mod place;
mod raw;
mod retention;
mod schedule;
mod secret;
mod section;
mod serve;
mod size;
mod source;
mod spool;
mod webhook;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

pub use error::{ConfigError, SecretError};
pub use kept::Kept;
pub use key::{Key, Length, Size, Takes, Whole, Without, key};
pub use metrics::{METRICS_LISTEN, MetricsSettings};
pub use place::{Located, Origin, Place};
pub use raw::TABLES;
pub use retention::{Archiving, RetentionSettings};
pub use schedule::{CronSchedule, Schedule};
pub use secret::Environment;
pub use serve::{LISTEN, ServeFlags, ServeSettings};
pub use size::{about_size, format_size, parse_size};
pub use source::{Auth, SourceConfig};
pub use spool::{SpoolConfig, SpoolSettings, WhenFull};
pub use webhook::{SECRET_PREFIX, Topic, WebhookConfig};

use raw::RawConfig;

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--database-url`.
    pub database_url: Option<SecretString>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
}

/// The whole configuration.
#[derive(Debug)]
pub struct Config {
    /// The file that was read, if any.
    pub file: Option<PathBuf>,
    /// Where the ledger is; `None`: in a private PostgreSQL of deskledger's own.
    pub database_url: Option<SecretString>,
    /// Where the private PostgreSQL keeps its data; `None`: under the XDG data home.
    pub data_dir: Option<PathBuf>,
    /// The user's own folder of queries.
    pub queries: Option<PathBuf>,
    /// Whether it is written down who runs which report.
    pub audits: bool,
    /// Where snapshots wait while the database is away, and how many.
    pub spool: SpoolSettings,
    /// How long what is kept.
    pub retention: RetentionSettings,
    raw: RawConfig,
    environment: Environment,
}

impl Config {
    /// Finds, reads and checks the configuration, the sources' own values excepted.
    ///
    /// # Errors
    /// The file is named and cannot be read, is no TOML, has an unknown key or a value of a wrong type;
    /// or the database's address cannot be used.
    pub fn load(flags: &Flags, environment: Environment) -> Result<Self, ConfigError> {
        let Some(path) = find(flags, &environment) else {
            return Self::check(RawConfig::default(), None, flags, environment);
        };
        let text = std::fs::read_to_string(&path)
            .map_err(|source| ConfigError::Read { path: path.display().to_string(), source })?;
        Self::from_text(&text, &path, flags, environment)
    }

    /// Checks the text of a file; relative paths in it are relative to `path`'s folder.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_text(
        text: &str,
        path: &Path,
        flags: &Flags,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        let raw = RawConfig::parse(text, path)?;
        Self::check(raw, Some(path.to_owned()), flags, environment)
    }

    fn check(
        mut raw: RawConfig,
        file: Option<PathBuf>,
        flags: &Flags,
        environment: Environment,
    ) -> Result<Self, ConfigError> {
        let folder = file.as_deref().and_then(Path::parent).unwrap_or(Path::new("")).to_owned();
        raw.overlay(&environment);
        let database_url = flags
            .database_url
            .clone()
            .map(|url| Located::new(url, Place::flag("--database-url or DATABASE_URL")))
            .or_else(|| raw.database.url.clone())
            .map(|url| database_url(&url, &environment, &folder))
            .transpose()?;
        let data_dir = flags
            .data_dir
            .clone()
            .or_else(|| raw.private.data_dir.as_ref().map(|path| path.path(&folder)));
        let queries = raw.reports.queries.as_ref().map(|path| path.path(&folder));
        let spool = SpoolSettings::check(&raw.spool, &folder)?;
        let audits = raw.access.audit.as_ref().is_some_and(|audit| audit.value);
        let retention = RetentionSettings::check(&raw.retention, &folder)?;
        Ok(Self {
            file,
            database_url,
            data_dir,
            queries,
            audits,
            spool,
            retention,
            raw,
            environment,
        })
    }

    /// The sources, checked and with their secrets.
    ///
    /// With no source in the file, the environment names one; with exactly one, the environment wins
    /// over its values; with several, it cannot be known which is meant and it is left alone.
    ///
    /// # Errors
    /// A value is not allowed, one is missing, a secret cannot be read, or there is no source at all.
    pub fn sources(&self) -> Result<Vec<SourceConfig>, ConfigError> {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        source::check(&self.raw, &self.environment, folder)
    }

    /// The names of the sources, also where something else of them is wrong.
    #[must_use]
    pub fn source_names(&self) -> HashSet<String> {
        self.raw
            .sources
            .iter()
            .filter_map(|source| Some(source.value.name.as_ref()?.value.clone()))
            .collect()
    }
}

/// The file to read: the one named, or the first that is there.
fn find(flags: &Flags, environment: &Environment) -> Option<PathBuf> {
    let named = || environment.get("DESKLEDGER_CONFIG").map(PathBuf::from);
    if let Some(path) = flags.config.clone().or_else(named) {
        return Some(path);
    }
    let here = PathBuf::from("deskledger.toml");
    let home = environment
        .get("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        // The XDG rules: a relative path is invalid and to be ignored.
        .filter(|path| path.is_absolute())
        .or_else(|| Some(PathBuf::from(environment.get("HOME")?).join(".config")));
    let there = home.map(|home| home.join("deskledger/deskledger.toml"));
    [Some(here), there].into_iter().flatten().find(|path| path.exists())
}

fn database_url(
    url: &Located<SecretString>,
    environment: &Environment,
    folder: &Path,
) -> Result<SecretString, ConfigError> {
    let value = secret::resolve(url, environment, folder)?;
    let is_postgres = ["postgres://", "postgresql://"]
        .iter()
        .any(|scheme| value.expose_secret().starts_with(scheme));
    if !is_postgres {
        // The value itself may hold a password, so it is not shown.
        return Err(url.place.wrong(
            "no address of a PostgreSQL",
            "write it as `postgres://user:password@host/database`",
        ));
    }
    Ok(value)
}

#[cfg(test)]
mod tests;
