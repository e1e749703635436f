//! `deskledger restore`: brings a pruned month back from its archive.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use chrono::TimeDelta;

use super::Globals;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::domain::months::next_month;
use crate::domain::{Instant, harmless};
use crate::error::{refusal, usage};
use crate::retention::{Archive, Headers, Restored, RetentionError, restore, restore_headers};

/// Arguments of `restore`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The archive: its manifest (`.json`), the file of snapshots beside it, or the file of headers.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The archive cannot be read, or does not say what was recorded; or the ledger fails. Then nothing came back.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let now = Clock::System.now();
    let ages = config.retention.ages;
    if Headers::are_in(&args.file) {
        let headers = Headers::read(&args.file).map_err(usage)?;
        let (source, from) = (headers.source.clone(), headers.month);
        let ledger = Ledger::open_to_read(&config).await?;
        let result = restore_headers(&ledger.store, headers, now).await;
        ledger.close().await?;
        let rows = told(result, &args)?;
        let text = format!(
            "{}  {}: {rows} headers are back, and come to the digests of what was recorded\n",
            from.format("%Y-%m"),
            harmless(&source)
        );
        std::io::stdout().write_all(text.as_bytes())?;
        warn_of_age(ages.headers, &source, from, now);
        return Ok(());
    }
    let archive = Archive::read(&args.file).map_err(usage)?;
    let (source, from) = (archive.source.clone(), archive.month);
    let month = from.format("%Y-%m");
    let ledger = Ledger::open_to_read(&config).await?;
    let result = restore(&ledger.store, archive, now).await;
    ledger.close().await?;
    let Restored { rows, lacks_counts } = told(result, &args)?;
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
    warn_of_age(ages.spans, &source, from, now);
    Ok(())
}

/// What came of it, or why nothing did.
fn told<T>(result: Result<T, RetentionError>, args: &Args) -> anyhow::Result<T> {
    result
        .map_err(|error| match error {
            error if error.is_refusal() => refusal(error),
            RetentionError::NotPruned { .. }
            | RetentionError::NoSource(_)
            | RetentionError::HeadersFirst { .. }
            | RetentionError::HeadersThere { .. } => usage(error),
            error => error.into(),
        })
        .with_context(|| format!("restore `{}`", args.file.display()))
}

/// What is back and is older than it is to be kept does not stay.
fn warn_of_age(age: Option<TimeDelta>, source: &str, from: Instant, now: Instant) {
    let to = next_month(from);
    if age.is_some_and(|age| now - to > age) {
        eprintln!(
            "warning: by `[retention]` it goes again the next time that months are pruned, unless a hold keeps it: `deskledger hold add \
             --source {} --from {} --to {} --reason …`",
            harmless(source),
            from.format("%Y-%m-%d"),
            to.format("%Y-%m-%d")
        );
    }
}
