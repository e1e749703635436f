//! `deskledger restore`: brings a pruned month back from its archive.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Globals;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::domain::harmless;
use crate::domain::months::next_month;
use crate::error::{refusal, usage};
use crate::retention::{Archive, Restored, RetentionError, restore};

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
    let (source, from) = (archive.source.clone(), archive.month);
    let month = from.format("%Y-%m");
    let ledger = Ledger::open_to_read(&config).await?;
    let result = restore(&ledger.store, archive, Clock::System.now()).await;
    ledger.close().await?;
    let Restored { rows, lacks_counts } = result
        .map_err(|error| match error {
            error if error.is_refusal() => refusal(error),
            RetentionError::NotPruned { .. } | RetentionError::NoSource(_) => usage(error),
            error => error.into(),
        })
        .with_context(|| format!("restore `{}`", args.file.display()))?;
    let shown = harmless(&source);
    let text = match rows {
        None => format!("{month}  {shown}: its counts are back\n"),
        Some(0) => format!("{month}  {shown}: it is back; nothing was seen in it\n"),
        Some(rows) => format!(
            "{month}  {shown}: {rows} rows are back, and come to the digests of what was recorded\n"
        ),
    };
    std::io::stdout().write_all(text.as_bytes())?;
    if lacks_counts {
        eprintln!(
            "warning: utilisation and the like do not count {month} yet, since the counts of the next month are pruned: restore that, \
             and then this once more"
        );
    }
    let age = |age: chrono::TimeDelta| Clock::System.now() - next_month(from) > age;
    if config.retention.ages.spans.is_some_and(age) {
        eprintln!(
            "warning: by `[retention]` it goes again the next time that months are pruned, unless a hold keeps it: `deskledger hold add \
             --source {shown} --from {} --to {} --reason …`",
            from.format("%Y-%m-%d"),
            next_month(from).format("%Y-%m-%d")
        );
    }
    Ok(())
}
