//! Where a value was given, so that every message can say it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ConfigError;

/// Who gave a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// A line of the file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
}

/// A key and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The flag, the variable, or the key with its tables: `source.prod.auth.token`.
    pub key: String,
    /// Who gave it.
    pub origin: Origin,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`", self.key)?;
        match &self.origin {
            Origin::Flag => Ok(()),
            Origin::Environment => f.write_str(" in the environment"),
            Origin::File { path, line } => write!(f, " ({}:{line})", path.display()),
        }
    }
}

impl Place {
    pub(super) fn flag(name: &str) -> Self {
        Self { key: name.to_owned(), origin: Origin::Flag }
    }

    pub(super) fn environment(name: &str) -> Self {
        Self { key: name.to_owned(), origin: Origin::Environment }
    }

    /// The error that what stands here is `found`.
    pub(super) fn wrong(
        &self,
        found: impl Into<String>,
        allowed: impl Into<String>,
    ) -> ConfigError {
        ConfigError::Value { place: self.clone(), found: found.into(), allowed: allowed.into() }
    }

    /// The error that what stands here goes with something else that is given, or without something that
    /// is not.
    pub(super) fn clash(
        &self,
        found: impl Into<Box<str>>,
        allowed: impl Into<Box<str>>,
        advice: impl Into<Box<str>>,
    ) -> ConfigError {
        ConfigError::Clash {
            place: self.clone(),
            found: found.into(),
            allowed: allowed.into(),
            advice: advice.into(),
        }
    }
}

/// A value and its place.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it was given.
    pub place: Place,
}

impl<T> Located<T> {
    pub(super) fn new(value: T, place: Place) -> Self {
        Self { value, place }
    }
}

impl Located<String> {
    /// The path that is meant: one of the file is relative to the file's folder.
    pub(super) fn path(&self, folder: &Path) -> PathBuf {
        match self.place.origin {
            Origin::File { .. } => folder.join(&self.value),
            Origin::Flag | Origin::Environment => PathBuf::from(&self.value),
        }
    }
}

impl<T: fmt::Display> Located<T> {
    /// The error that this value is not allowed, showing it; never for secrets.
    pub(super) fn refuse(&self, allowed: impl Into<String>) -> ConfigError {
        self.place.wrong(format!("`{}`", self.value), allowed)
    }
}
