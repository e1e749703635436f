//! `deskledger compact`: packs the months that are over, and the days that are over of the one that lasts.

use std::io::Write as _;

use super::Globals;
use super::ledger::Ledger;
use super::progress::Bar;
use crate::domain::harmless;
use crate::error::usage;
use crate::store::{Packable, Packed, Store, Why};

/// Arguments of `compact`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no such source, or the ledger cannot be opened or fails. What was packed by then is packed.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let ledger = Ledger::open_to_read(&config).await?;
    let result = compact(&ledger.store, args.source.as_deref()).await;
    ledger.close().await?;
    std::io::stdout().write_all(result?.as_bytes())?;
    Ok(())
}

/// Packs what can be packed, and says what was.
async fn compact(store: &Store, source: Option<&str>) -> anyhow::Result<String> {
    let sources = store.sources().await?;
    if let Some(source) =
        source.filter(|name| !sources.iter().any(|(_, source)| source.name == *name))
    {
        return Err(usage(anyhow::anyhow!(
            "there is no source `{}` in the ledger",
            harmless(source)
        )));
    }
    let months = store.packable(source, 1).await?;
    let mut text = String::new();
    for of_month in months.chunk_by(Packable::goes_with) {
        let mut packed_any = false;
        for what in of_month {
            let desktops = what.desktops.unsigned_abs().into();
            let bar = Bar::steps(desktops, &format!("desktops, {}", what.days()));
            let packed = store.pack(what, async |desktops, _| bar.advance(desktops)).await;
            bar.finish();
            text += &match packed? {
                // Of a source without desktops, each time.
                Some(Packed { packed: 0, left: 0 }) => continue,
                Some(packed) => {
                    packed_any |= packed.packed > 0;
                    line(&what.days(), &what.source, &outcome(packed))
                }
                None => line(&what.days(), &what.source, "someone else is packing it"),
            };
        }
        if packed_any {
            store.tidy(&of_month[0]).await?;
        }
    }
    let visits = store.packable_visits(source).await?;
    for of_month in visits.chunk_by(|one, other| one.month == other.month) {
        let mut packed_any = false;
        for what in of_month {
            let month = what.month.format("%Y-%m").to_string();
            let outcome = match store.pack_visits(what, async |_| ()).await? {
                // What stays for good was altered, and `verify` says so.
                Some(0) => continue,
                Some(packed) => {
                    packed_any = true;
                    format!("headers of {packed} snapshots packed")
                }
                None => "someone else is packing it".to_owned(),
            };
            text += &line(&month, &what.source, &outcome);
        }
        if packed_any {
            store.tidy_visits(of_month[0].month).await?;
        }
    }
    if text.is_empty() {
        text += "nothing to pack: of the days that are over all is packed that can be\n";
    }
    store.drop_empty_partitions().await?;
    for table in store.shrink().await? {
        text += &format!(
            "deskledger_data.{table} is in use: the room of what was packed of it is given back the next time, or by `vacuum full`\n"
        );
    }
    for month in store.unpackable(source).await?.iter().filter(|month| month.spans > 0) {
        let why = match month.why {
            Why::Open => "until it is listed again: what it was listed with last goes on",
            Why::LastMicrosecond => "since it was visited at the month's last microsecond",
            Why::TooManyVisits => "since it was visited more often than packing can number",
        };
        let spans = format!("{} spans stay as they are, {why}", month.spans);
        text += &line(&month.month.format("%Y-%m").to_string(), &month.source, &spans);
    }
    Ok(text)
}

fn outcome(packed: Packed) -> String {
    match packed.left {
        0 => format!("{} spans packed", packed.packed),
        left => format!("{} spans packed, {left} stay as they are", packed.packed),
    }
}

fn line(days: &str, source: &str, outcome: &str) -> String {
    format!("{days}  {}: {outcome}\n", harmless(source))
}
