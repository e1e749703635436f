//! `deskledger spool`: what waits on disk for the database to come back, per slot and source. It needs no
//! database and may run beside a recorder.

use std::io::Write as _;
use std::path::Path;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;

use super::Globals;
use crate::collector::spool::{SlotStatus, SourceStatus, inspect};
use crate::domain::{Instant, harmless};
use crate::error::refusal;

/// Arguments of `spool`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Exit with code 1 if anything waits or was set aside: for cron and health checks.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
///
/// # Errors
/// The spool cannot be looked into.
pub fn run(args: &Args, globals: &Globals) -> anyhow::Result<()> {
    let dir = globals.configuration()?.spool_config()?.dir;
    let slots = inspect(&dir)?;
    let text = if args.json { as_json(&dir, &slots) } else { as_table(&dir, &slots) };
    std::io::stdout().write_all(text.as_bytes())?;
    let sources = || slots.iter().flat_map(|slot| &slot.sources);
    let waiting: usize = sources().map(|source| source.waiting).sum();
    let damaged: usize = sources().map(damaged).sum();
    match (waiting, damaged) {
        _ if !args.check => Ok(()),
        (0, 0) => Ok(()),
        (waiting, 0) => Err(refusal(anyhow::anyhow!("{waiting} snapshots wait in the spool"))),
        (waiting, damaged) => Err(refusal(anyhow::anyhow!(
            "{waiting} snapshots wait in the spool, and {damaged} of its files do not check"
        ))),
    }
}

fn damaged(source: &SourceStatus) -> usize {
    source.set_aside.len() + source.unsound.len()
}

/// The table's width where it goes to no terminal.
const WIDTH: u16 = 110;

fn as_table(dir: &Path, slots: &[SlotStatus]) -> String {
    let shown = harmless(&dir.display().to_string());
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(["slot", "source", "waiting", "oldest", "newest", "size", "what is wrong"]);
    let mut is_empty = true;
    for slot in slots {
        for source in &slot.sources {
            is_empty = false;
            let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
            let held = if slot.is_in_use { "in use" } else { "left behind" };
            let dropped = match source.dropped {
                0 => String::new(),
                dropped => format!("\n{dropped} dropped"),
            };
            table.add_row([
                Cell::new(format!("{}\n{held}", slot.slot)),
                Cell::new(harmless(&source.source)),
                number(format!("{}{dropped}", source.waiting)),
                Cell::new(instant(source.oldest)),
                Cell::new(instant(source.newest)),
                number(indicatif::HumanBytes(source.bytes).to_string()),
                Cell::new(wrong(source)),
            ]);
        }
    }
    if is_empty {
        return format!("nothing waits in {shown}\n");
    }
    format!("{table}\nThe spool is {shown}.\n")
}

fn instant(at: Option<Instant>) -> String {
    at.map_or_else(|| "–".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn wrong(source: &SourceStatus) -> String {
    let files = [
        ("does not check", &source.unsound),
        ("set aside", &source.set_aside),
        ("cut short", &source.torn),
    ];
    let lines: Vec<String> = files
        .into_iter()
        .flat_map(|(what, paths)| paths.iter().map(move |path| (what, path)))
        .map(|(what, path)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{what}: {}", harmless(&name))
        })
        .collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

fn as_json(dir: &Path, slots: &[SlotStatus]) -> String {
    let slots: Vec<_> = slots
        .iter()
        .map(|slot| {
            let sources: Vec<_> = slot
                .sources
                .iter()
                .map(|source| {
                    json!({
                        "source": source.source,
                        "waiting": source.waiting,
                        "dropped": source.dropped,
                        "oldest": source.oldest,
                        "newest": source.newest,
                        "size_bytes": source.bytes,
                        "segments": source.segments,
                        "unsound": source.unsound,
                        "set_aside": source.set_aside,
                        "torn": source.torn,
                    })
                })
                .collect();
            json!({ "slot": slot.slot, "in_use": slot.is_in_use, "sources": sources })
        })
        .collect();
    format!("{:#}\n", json!({ "dir": dir, "slots": slots }))
}
