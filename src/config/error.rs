//! What can be wrong with the configuration; each one clear line, without secrets.

use std::io;

use super::Place;

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("read the configuration `{path}`")]
    Read {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The file is no TOML.
    #[error("{path}:{line}: no valid TOML: {message}")]
    Syntax {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What the parser expected.
        message: String,
    },
    /// A key that does not exist.
    #[error("{place} is no known key; did you mean `{nearest}`? (known here: {known})")]
    Unknown {
        /// The key as typed.
        place: Place,
        /// The nearest known one.
        nearest: &'static str,
        /// All known ones.
        known: String,
    },
    /// A value that is not allowed.
    #[error("{place} is {found}; {allowed}")]
    Value {
        /// The key.
        place: Place,
        /// What was given, or what kind of thing it is where it may be secret.
        found: String,
        /// What may be given.
        allowed: String,
    },
    /// Values that are allowed one by one, and not like this together.
    #[error("{place} is {found}; {allowed}")]
    Clash {
        /// The key.
        place: Place,
        /// What they are together.
        found: Box<str>,
        /// What may be given.
        allowed: Box<str>,
        /// What to add or to take out.
        advice: Box<str>,
    },
    /// The environment describes a source, and not all of it.
    #[error("the environment describes a source without {what}; set {set}")]
    Environment {
        /// What is missing.
        what: &'static str,
        /// The variables that give it.
        set: &'static str,
    },
    /// Something that is needed is not there.
    #[error("{place} has no {what}")]
    Missing {
        /// The table, or who gave the rest.
        place: Place,
        /// What is missing and how to give it.
        what: String,
    },
    /// No source is configured.
    #[error(
        "no source is configured; write a `[[source]]` into deskledger.toml, or set \
         HUAWEICLOUD_SDK_AK, HUAWEICLOUD_SDK_SK and DESKLEDGER_REGION"
    )]
    NoSource,
    /// A secret that is kept elsewhere cannot be had.
    #[error("{place} cannot be read")]
    Secret {
        /// The key.
        place: Place,
        /// Why.
        #[source]
        source: SecretError,
    },
}

/// Why a secret that is kept elsewhere cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// `env:NAME`, and no such variable.
    #[error("the environment variable `{0}` is not set or empty")]
    Unset(String),
    /// `file:PATH`, and no such file.
    #[error("read `{path}`")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("it is empty")]
    Empty,
}
