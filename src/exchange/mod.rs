//! The one-line-a-snapshot format: what `import` reads, `export` writes and the spool keeps.
//!
//! A line is a JSON object: the source's name, the instants of the visit, and the bodies of the two
//! API calls as they came. The format is a contract with scripts, so reading is tolerant where the
//! API itself is (nulls, numbers as texts, two spellings of a field, unknown keys in its records) and exact
//! where a mistake would put something false into the history (instants, totals, types, the line's own keys).
//!
//! The room knows `domain` and nothing else: no database, no async. Files are read by plain threads
//! ([`Lines`]), because the work is decompression and parsing, not waiting.

mod cursor;
mod error;
mod input;
mod known;
mod output;
mod pipeline;
mod pseudonyms;
mod read;
mod record;
mod write;

pub use error::LineError;
pub use input::{Input, Progress};
pub use output::Output;
pub use pipeline::{LONGEST_LINE, Lines, Numbered, ReadError};
pub use pseudonyms::{KeyTooShort, Pseudonyms};
pub use read::{Line, Parser, Pin, parse_line};
pub use write::{bare_line, write_line};
