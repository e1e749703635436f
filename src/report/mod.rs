//! Answers from the ledger: one SQL file a report, and nothing about desktops in Rust.
//!
//! ```text
//!  queries/*.sql ─▶ catalogue (header, sql) ─▶ params ─▶ run ─▶ render ─▶ people
//! ```
//!
//! - [`catalogue`] knows the reports: those built in, and those in a folder of the user's own.
//! - [`params`] puts values to their parameters and refuses wrong ones with the nearest right answer.
//! - [`run()`] binds and runs in a read-only transaction, and hands typed rows on as they come.
//! - [`render`] writes them: for people, for programs.
//!
//! What a figure means is in its SQL and the header above it. Headings come from the statement, never from here.

pub mod catalogue;
mod error;
pub mod header;
pub mod page;
pub mod params;
mod period;
mod range;
pub mod render;
mod run;
mod sampling;
mod seen;
mod sql;
mod value;

pub use error::ReportError;
pub use period::Stretch;
pub use range::Range;
pub use render::heading::pruned;
pub use run::{Asked, Collected, DEFAULT_TIMEOUT, Head, Sink, describe, run};
pub use sampling::{Kept, Sampling, has_no_source};
pub use value::{Cell, Column, ColumnKind};
