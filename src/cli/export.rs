//! `deskledger export`: recorded snapshots, in the format that `import` reads.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

use super::Globals;
use super::ledger::Ledger;
use super::progress::Bar;
use crate::domain::Instant;
use crate::error::usage;
use crate::exchange::{Output, Pin, write_line};
use crate::report::params::time_zone;
use crate::store::{LateLines, Replay, Store};

/// Arguments of `export`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The first instant: RFC 3339, a date, a local time, or a distance such as `-30d`.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// The instant before which it ends.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// The time zone of dates and times given without one.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub tz: String,
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Only the late snapshots, which came after newer ones were recorded; without this, only the others.
    #[arg(long)]
    pub late: bool,
    /// The file, compressed if it ends in `.gz` or `.zst`; `-` for standard output.
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// The ledger cannot be read, the output cannot be written, or a parameter is wrong.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    time_zone(&args.tz).map_err(usage)?;
    let ledger = Ledger::open_to_read(&config).await?;
    let result = export(args, &ledger.store).await;
    ledger.close().await?;
    result
}

async fn export(args: Args, store: &Store) -> anyhow::Result<()> {
    let from = instant(store, args.from.as_deref(), &args.tz).await?;
    let to = instant(store, args.to.as_deref(), &args.tz).await?;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(usage(anyhow::anyhow!("`--from` is after `--to`")));
    }
    let mut sources = store.sources().await?;
    if let Some(name) = &args.source {
        sources.retain(|(_, source)| source.name == *name);
        if sources.is_empty() {
            return Err(usage(anyhow::anyhow!("there is no source `{name}` in the ledger")));
        }
    }
    let failed = || format!("write `{}`", args.output.display());
    let mut output = Output::create(&args.output).with_context(failed)?;
    let bar = Bar::counting("snapshots");
    for (source_id, source) in sources {
        if args.late {
            let mut lines = LateLines::open(store, source_id, from, to);
            while let Some(line) = lines.next().await? {
                writeln!(output, "{line}").with_context(failed)?;
                bar.step();
            }
            continue;
        }
        let mut replay = Replay::open(store, source_id, from, to).await?;
        let mut pin = Some(Pin {
            region: source.region,
            project_id: source.project_id,
            endpoint: source.endpoint,
        })
        .filter(|pin| *pin != Pin::default());
        while let Some(snapshot) = replay.next().await? {
            // On a source's first line alone.
            write_line(&mut output, &source.name, pin.take().as_ref(), &snapshot)
                .with_context(failed)?;
            bar.step();
        }
    }
    output.finish().with_context(failed)?;
    bar.finish();
    Ok(())
}

/// Reads an instant as every report does: in the database.
async fn instant(store: &Store, text: Option<&str>, tz: &str) -> anyhow::Result<Option<Instant>> {
    let Some(text) = text else { return Ok(None) };
    let read = sqlx::query_scalar("select deskledger.instant($1, $2)")
        .bind(text)
        .bind(tz)
        .fetch_one(store.pool())
        .await;
    match read {
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| code.starts_with("DL")) =>
        {
            Err(usage(anyhow::anyhow!("{}", error.message())))
        }
        other => Ok(Some(other.context("read an instant")?)),
    }
}
