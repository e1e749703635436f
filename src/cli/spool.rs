//! `deskledger spool`: what waits on disk for the database to come back, per slot and source. It needs no
//! database and may run beside a recorder.

use std::io::Write as _;

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;

use super::Globals;
use crate::collector::spool::{SlotStatus, SourceStatus, free, inspect};
use crate::config::{SpoolConfig, WhenFull, about_size, format_size};
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

/// The table's width where it goes to no terminal.
const WIDTH: u16 = 110;

/// Runs the command.
///
/// # Errors
/// The spool cannot be looked into.
pub fn run(args: &Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?.spool_config()?;
    let found = Found { slots: inspect(&config.dir)?, free: free(&config.dir), config };
    let text = if args.json { found.as_json() } else { found.as_table() };
    std::io::stdout().write_all(text.as_bytes())?;
    let complaints = found.complaints();
    if args.check && !complaints.is_empty() {
        return Err(refusal(anyhow::anyhow!(complaints.join(", and "))));
    }
    Ok(())
}

/// What was found, and what is configured.
struct Found {
    config: SpoolConfig,
    slots: Vec<SlotStatus>,
    /// The bytes that are free on its disk, as far as that is known.
    free: Option<u64>,
}

impl Found {
    /// What `--check` complains of; empty: nothing.
    fn complaints(&self) -> Vec<String> {
        let sources = || self.slots.iter().flat_map(|slot| &slot.sources);
        let waiting: usize = sources().map(|source| source.waiting).sum();
        let damaged: usize = sources().map(|source| source.damaged().count()).sum();
        let full = self.slots.iter().filter(|slot| self.full(slot).is_some()).count();
        let mut complaints = Vec::new();
        if waiting > 0 {
            complaints.push(format!("{waiting} snapshots wait in the spool"));
        }
        if damaged > 0 {
            complaints.push(format!("{damaged} of the spool's files do not check"));
        }
        if full > 0 {
            complaints.push("the spool is full".to_owned());
        }
        complaints
    }

    /// Why a slot takes no more, and what that means.
    fn full(&self, slot: &SlotStatus) -> Option<String> {
        let bound = slot.lacks(&self.config, self.free)?;
        let then = match self.config.when_full {
            WhenFull::Stop => "nothing is visited until there is room",
            WhenFull::DropOldest => "the oldest are dropped for new ones",
        };
        Some(format!("FULL, {then}: {bound}"))
    }

    /// Bound and use.
    fn room(&self) -> String {
        let max = format_size(self.config.max_bytes);
        let mut text = String::new();
        for slot in self.slots.iter().filter(|slot| slot.bytes > 0) {
            let bytes = about_size(slot.bytes);
            text += &format!("Slot {} takes {bytes} of the {max} that each may.\n", slot.slot);
        }
        if text.is_empty() {
            text +=
                &format!("Each recorder on this machine has a slot in it, which may take {max}.\n");
        }
        let min = format_size(self.config.min_free);
        text + &match self.free {
            Some(free) => {
                format!("Its disk has {} free, and {min} have to stay free.\n", about_size(free))
            }
            None => "Nobody can tell how much is free on its disk.\n".to_owned(),
        }
    }

    fn as_table(&self) -> String {
        let shown = harmless(&self.config.dir.display().to_string());
        let mut table = Table::new();
        table
            .load_style(presets::UTF8_HORIZONTAL_ONLY)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(WIDTH)
            .set_header(["slot", "source", "waiting", "oldest", "newest", "size", "what is wrong"]);
        let mut is_empty = true;
        for slot in &self.slots {
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
                    Cell::new(wrong(source, self.full(slot))),
                ]);
            }
        }
        let room = self.room();
        if is_empty {
            return format!("nothing waits in {shown}\n{room}");
        }
        format!("{table}\nThe spool is {shown}.\n{room}")
    }

    fn as_json(&self) -> String {
        let slots: Vec<_> = self
            .slots
            .iter()
            .map(|slot| {
                let sources: Vec<_> = slot.sources.iter().map(source_as_json).collect();
                json!({
                    "slot": slot.slot,
                    "in_use": slot.is_in_use,
                    "size_bytes": slot.bytes,
                    "full": self.full(slot),
                    "sources": sources,
                })
            })
            .collect();
        let SpoolConfig { dir, max_bytes, min_free, .. } = &self.config;
        let result = json!({
            "dir": dir,
            "max_size_bytes": max_bytes,
            "min_free_bytes": min_free,
            "free_bytes": self.free,
            "slots": slots,
        });
        format!("{result:#}\n")
    }
}

fn instant(at: Option<Instant>) -> String {
    at.map_or_else(|| "–".to_owned(), |at| at.format("%Y-%m-%d %H:%M:%SZ").to_string())
}

fn wrong(source: &SourceStatus, full: Option<String>) -> String {
    let files = [
        ("does not check", &source.unsound),
        ("set aside", &source.set_aside),
        ("cut off, does not check", &source.torn),
    ];
    let dropped = match source.dropped {
        0 => None,
        dropped => Some(format!("{dropped} were dropped, since it was full")),
    };
    let files = files
        .into_iter()
        .flat_map(|(what, paths)| paths.iter().map(move |path| (what, path)))
        .map(|(what, path)| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            format!("{what}: {}", harmless(&name))
        });
    let lines: Vec<String> = full.into_iter().chain(dropped).chain(files).collect();
    if lines.is_empty() { "nothing".to_owned() } else { lines.join("\n") }
}

fn source_as_json(source: &SourceStatus) -> serde_json::Value {
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
}
