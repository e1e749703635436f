//! The vocabulary and the rules: desktops, snapshots, and what a snapshot changes in what was believed.
//!
//! Pure: no clock, no I/O, no async, no logging. Everything that ends up in the history is decided
//! here, so it can be tested without a database or a network.

pub mod audit;
pub mod beliefs;
pub mod desktop;
pub mod digest;
pub mod duration;
pub mod erasure;
pub mod history;
pub mod months;
mod numbered;
pub mod packed;
pub mod pruning;
pub mod retell;
pub mod snapshot;
pub mod text;

pub use beliefs::{Beliefs, Changes};
pub use desktop::{AttachUser, AttachUsers, Attribution, Desktop};
pub use duration::{DurationError, format_duration, parse_duration};
pub use history::HistoryError;
pub use snapshot::{
    ALL_SOURCES_AS_ONE, COUNTERS, Counters, Failure, GroupStatistics, Instant, Listing, Outcome,
    Snapshot, Source, SourceNameError, check_source_name, to_micros,
};
pub use text::harmless;
