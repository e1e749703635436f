//! `deskledger export`: recorded snapshots, in the format that `import` reads.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::TimeDelta;

use super::Globals;
use super::access::{noted, of_command};
use super::ledger::Ledger;
use super::progress::Bar;
use crate::domain::{Instant, harmless};
use crate::error::{usage, with_hint};
use crate::exchange::{Output, Pin, Pseudonyms, bare_line, parse_line, write_line};
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
    /// Replace names and ids of users and desktops under the key in this file, at least 32 bytes: the same text by the same
    /// pseudonym in every export with that key. Messages of errors are left out; names of groups and sources stay.
    #[arg(long, value_name = "KEYFILE")]
    pub pseudonymise: Option<PathBuf>,
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
    let pseudonyms = args.pseudonymise.as_deref().map(pseudonyms).transpose()?;
    let ledger = Ledger::open_to_read(&config).await?;
    let access = || {
        let text = |text: &Option<String>| text.clone().unwrap_or_default().into();
        let given = [
            ("from", text(&args.from)),
            ("to", text(&args.to)),
            ("source", text(&args.source)),
            ("late", args.late.into()),
            ("pseudonymise", args.pseudonymise.is_some().into()),
        ];
        of_command("export", None, given.map(|(name, value)| (name.to_owned(), value)))
    };
    let run = export(&args, &ledger.store, pseudonyms.as_ref());
    let result = noted(&config, &ledger.store, access, run).await;
    ledger.close().await?;
    result
}

async fn export(args: &Args, store: &Store, pseudonyms: Option<&Pseudonyms>) -> anyhow::Result<()> {
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
            while let Some(mut line) = lines.next().await? {
                if let Some(pseudonyms) = pseudonyms {
                    let parsed = parse_line(line.as_bytes(), TimeDelta::seconds(1))
                        .context("read a late snapshot, as it is kept")?;
                    line = bare_line(&source.name, &pseudonyms.over(&parsed.snapshot));
                }
                writeln!(output, "{line}").with_context(failed)?;
                bar.step();
            }
            continue;
        }
        if let Some(until) = store.pruned_until(source_id, from, to).await? {
            bar.say(&format!(
                "source `{}`: months before {} are pruned, and left out",
                harmless(&source.name),
                until.format("%Y-%m-%d")
            ));
        }
        let mut replay = Replay::open(store, source_id, from, to).await?;
        let mut pin = Some(Pin {
            region: source.region,
            project_id: source.project_id,
            endpoint: source.endpoint,
        })
        .filter(|pin| *pin != Pin::default());
        while let Some(mut snapshot) = replay.next().await? {
            if let Some(pseudonyms) = pseudonyms {
                snapshot = pseudonyms.over(&snapshot);
            }
            // On a source's first line alone.
            write_line(&mut output, &source.name, pin.take().as_ref(), &snapshot)
                .with_context(failed)?;
            bar.step();
        }
    }
    output.finish().with_context(failed)?;
    bar.finish();
    if pseudonyms.is_some() {
        eprintln!(
            "names of groups and sources, regions, projects and endpoints are as they are; messages of errors are left out"
        );
    }
    Ok(())
}

fn pseudonyms(key: &Path) -> anyhow::Result<Pseudonyms> {
    let failed = || format!("read the key `{}`", key.display());
    let bytes = std::fs::read(key).map_err(usage).with_context(failed)?;
    Pseudonyms::new(&bytes)
        .map_err(|error| {
            with_hint(
                usage(error),
                format!("`openssl rand -hex -out {} 32` makes one", key.display()),
            )
        })
        .with_context(failed)
}

/// Reads an instant as every report does: in the database.
pub(super) async fn instant(
    store: &Store,
    text: Option<&str>,
    tz: &str,
) -> anyhow::Result<Option<Instant>> {
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
