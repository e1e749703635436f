//! What can be wrong with a line.

use crate::domain::{DurationError, Instant, SourceNameError};

/// Why a line is no snapshot. Columns count bytes of the line from 1.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// The line is no JSON object.
    #[error("no valid JSON at column {column}: {message}")]
    Json {
        /// Where reading stopped.
        column: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// A field holds something else than it may.
    #[error("`{path}` at column {column}: {message}")]
    Field {
        /// The field, as `desktops[3].desktop_name`.
        path: String,
        /// Where its value stands.
        column: usize,
        /// What was found and what was expected.
        message: String,
    },
    /// A key that every line needs is not there, null or empty.
    #[error("`{0}` is missing or empty")]
    Missing(&'static str),
    /// A key of the line comes twice, and it cannot be known which is meant.
    #[error("`{0}` comes twice")]
    Repeated(&'static str),
    /// The line has a key that nobody reads.
    #[error("`{key}` at column {column} is no known key; did you mean `{nearest}`?")]
    Unknown {
        /// As given, or its beginning.
        key: String,
        /// Where it stands.
        column: usize,
        /// The nearest known one.
        nearest: &'static str,
    },
    /// A text is no instant.
    #[error("`{key}` is `{value}`, no RFC 3339 instant like `2026-10-01T08:00:00Z`")]
    Instant {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
    },
    /// A text is no duration.
    #[error("`{key}` cannot be used")]
    Duration {
        /// The key.
        key: &'static str,
        /// What is wrong with its value.
        #[source]
        source: DurationError,
    },
    /// A gap of no length would make every observation hold for no time.
    #[error("`max_gap` is `0s`; it must be at least one second")]
    NoGap,
    /// A text cannot be a source's name.
    #[error("`source`")]
    SourceName(#[from] SourceNameError),
    /// No cloud was there to be visited.
    #[error("`observed_at` is {0}, before 1970: it was no visit to a cloud")]
    TooEarly(Instant),
    /// The visit ended before it began.
    #[error("`finished_at` {finished_at} is before `observed_at` {observed_at}")]
    FinishedBeforeObserved {
        /// When the visit began.
        observed_at: Instant,
        /// When it is said to have ended.
        finished_at: Instant,
    },
}

/// The message of an error of serde_json without its ` at line 1 column 5`: that position is relative
/// to the value read, not to the line.
pub(super) fn bare(message: &str) -> &str {
    message.rfind(" at line ").map_or(message, |at| &message[..at])
}
