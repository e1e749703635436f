//! `deskledger restore`: brings a pruned month back from its archive.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Globals;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::domain::harmless;
use crate::error::{refusal, usage};
use crate::retention::{Archive, RetentionError, restore};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: its manifest (`.json`), or the file of snapshots beside it.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The archive cannot be read, or does not say what was recorded; or the ledger fails. Then nothing came back.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let archive = Archive::read(&args.file).map_err(usage)?;
    let (source, month) = (archive.source.clone(), archive.month.format("%Y-%m"));
    let ledger = Ledger::open_to_read(&config).await?;
    let result = restore(&ledger.store, archive, Clock::System.now()).await;
    ledger.close().await?;
    let rows = result
        .map_err(|error| match error {
            error if error.is_refusal() => refusal(error),
            RetentionError::NotPruned { .. } | RetentionError::NoSource(_) => usage(error),
            error => error.into(),
        })
        .with_context(|| format!("restore `{}`", args.file.display()))?;
    writeln!(
        std::io::stdout(),
        "{month}  {}: {rows} rows are back, and come to the digests of what was recorded",
        harmless(&source)
    )?;
    Ok(())
}
