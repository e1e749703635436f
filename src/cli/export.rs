//! `deskledger export`: recorded snapshots, in the format that `import` reads.

use std::path::PathBuf;

use super::Globals;

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first instant: RFC 3339, a date, a local time, or a distance such as `-30d`.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// The instant before which it ends.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// The file, compressed if it ends in `.gz` or `.zst`; `-` for standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// What the command could not do.
#[expect(clippy::unused_async, reason = "a placeholder until its room is merged")]
pub async fn run(_args: Args, _globals: &Globals) -> anyhow::Result<()> {
    anyhow::bail!("`export` is not in this build")
}
