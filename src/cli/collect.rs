//! `deskledger collect`.

use super::Globals;

/// Arguments of `collect`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Visit each source once and end.
    #[arg(long)]
    pub once: bool,
}

/// Runs the command.
///
/// # Errors
/// What the command could not do.
#[expect(clippy::unused_async, reason = "a placeholder until its room is merged")]
pub async fn run(_args: Args, _globals: &Globals) -> anyhow::Result<()> {
    anyhow::bail!("`collect` is not in this build")
}
