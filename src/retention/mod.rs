//! Retention: months that are old enough are archived, read back and compared, and then pruned; and they come back from their
//! archives.
//!
//! An archive is two files of a folder: what `export` writes of the month, compressed, which `import` and everyone else reads;
//! and a manifest with its checksum, what stood when the month began, and how those spans ended that went on beyond it. The
//! manifest's own checksum is in the source's chain. So nobody can alter an archive and have it believed. The headers of a month's
//! snapshots have an archive of their own, a file whose checksum is in the chain likewise.

mod archive;
mod headers;
mod month;

pub use archive::{Archive, ArchiveError};
pub use headers::{Headers, restore_headers};
pub use month::{Outcome, Restored, RetentionError, prune, restore};
