//! `deskledger import`: snapshots that were taken elsewhere, through the same pipeline.

use std::path::PathBuf;

use chrono::TimeDelta;

use super::Globals;
use crate::domain::{DurationError, parse_duration};

/// Arguments of `import`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, compressed with gzip or zstd or not; `-` for standard input.
    pub file: PathBuf,
    /// The gap rule of lines that give none.
    #[arg(long, value_name = "DURATION", default_value = "15m", value_parser = gap)]
    pub max_gap: TimeDelta,
}

/// A duration as `--max-gap` takes it.
fn gap(text: &str) -> Result<TimeDelta, GapError> {
    let gap = parse_duration(text)?;
    if gap <= TimeDelta::zero() { Err(GapError::None) } else { Ok(gap) }
}

#[derive(Debug, thiserror::Error)]
enum GapError {
    #[error(transparent)]
    Duration(#[from] DurationError),
    #[error("it must be at least one second")]
    None,
}

/// Runs the command.
///
/// # Errors
/// What the command could not do.
#[expect(clippy::unused_async, reason = "a placeholder until its room is merged")]
pub async fn run(_args: Args, _globals: &Globals) -> anyhow::Result<()> {
    anyhow::bail!("`import` is not in this build")
}
