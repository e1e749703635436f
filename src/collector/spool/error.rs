//! What can go wrong with the spool.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{about_size, format_size};
use crate::domain::SourceNameError;

/// Why the spool cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file or folder cannot be worked on.
    #[error("{attempt} `{}`", .path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// There is no room for one more snapshot.
    #[error("the spool has no room for a snapshot of `{source_name}`: {bound}")]
    Full {
        /// Whose snapshot.
        source_name: String,
        /// What stands in the way.
        bound: Bound,
    },
    /// A snapshot's line is longer than a record can be.
    #[error("keep a snapshot of {0} bytes in the spool: a record has less than 4 GiB")]
    TooLong(usize),
    /// A line cannot be compressed.
    #[error("compress a snapshot for the spool")]
    Compress(#[source] io::Error),
    /// A source's queue is held by someone else of this process.
    #[error("open the queue of `{0}` a second time")]
    InUse(String),
    /// A text is no source's name.
    #[error("open the queue of `{name}`")]
    Name {
        /// The text.
        name: String,
        /// What is wrong with it.
        #[source]
        source: SourceNameError,
    },
}

/// A bound that has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// The spool's own: `max_size`.
    Size {
        /// The bytes that the spool takes.
        used: u64,
        /// The bytes that it may take.
        max: u64,
    },
    /// The disk's: `min_free`.
    Disk {
        /// The bytes that are free.
        free: u64,
        /// The bytes that have to stay free.
        min: u64,
    },
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size { used, max } => {
                let (used, max) = (about_size(*used), format_size(*max));
                write!(f, "it takes {used} of the {max} that it may (`max_size`)")
            }
            Self::Disk { free, min } => {
                let (free, min) = (about_size(*free), format_size(*min));
                write!(f, "its disk has {free} free, and {min} have to stay free (`min_free`)")
            }
        }
    }
}

/// Says of what the system says what was tried, and with what.
pub(super) fn failed(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { attempt, path, source }
}
