//! `deskledger simulate`.

use super::Globals;

/// Arguments of `simulate`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// What the command could not do.
#[expect(clippy::unused_async, reason = "a placeholder until its room is merged")]
pub async fn run(_args: Args, _globals: &Globals) -> anyhow::Result<()> {
    anyhow::bail!("`simulate` is not in this build")
}
