//! `deskledger status`: how each source's record stands, and how large the ledger is.

use std::io::Write as _;

use chrono::TimeDelta;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;

use super::ledger::{Ledger, is_away};
use super::{Globals, lease};
use crate::clock::Clock;
use crate::collector::spool::inspect;
use crate::config::Config;
use crate::domain::{Instant, format_duration, harmless};
use crate::error::{refusal, with_hint};
use crate::store::SourceStatus;

/// Arguments of `status`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Exit with code 1 if anything is wrong: for cron and health checks.
    #[arg(long)]
    pub check: bool,
}

/// Runs the command.
///
/// # Errors
/// The ledger cannot be read.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let ledger = Ledger::open_to_read(&config).await.map_err(|error| match waiting(&config) {
        Some(waiting) if is_away(&error) => with_hint(
            error,
            format!(
                "{waiting} snapshots wait on this machine for it: `deskledger spool` shows them"
            ),
        ),
        _ => error,
    })?;
    let result = async {
        let sources = ledger.store.source_status().await?;
        let size = ledger.store.size_bytes().await?;
        let now = Clock::System.now();
        let text =
            if args.json { as_json(&sources, size, now) } else { as_table(&sources, size, now) };
        std::io::stdout().write_all(text.as_bytes())?;
        let wrong = sources.iter().filter(|source| !complaints(source, now).is_empty()).count();
        anyhow::Ok((sources.len(), wrong))
    }
    .await;
    ledger.close().await?;
    match result? {
        (0, _) if args.check => Err(refusal(anyhow::anyhow!("no source is recorded yet"))),
        (all, wrong) if args.check && wrong > 0 => {
            Err(refusal(anyhow::anyhow!("something is wrong with {wrong} of {all} sources")))
        }
        _ => Ok(()),
    }
}

/// The table's width where it goes to no terminal.
const WIDTH: u16 = 110;
/// How far ahead of our clock another machine's may be without anything being wrong.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// How many snapshots wait on disk; `None`: nobody can tell.
fn waiting(config: &Config) -> Option<usize> {
    let slots = inspect(&config.spool_config().ok()?.dir).ok()?;
    Some(slots.iter().flat_map(|slot| &slot.sources).map(|source| source.waiting).sum())
}

/// What is wrong with a source, in the words of whoever is on call; empty: nothing.
fn complaints(status: &SourceStatus, now: Instant) -> Vec<String> {
    let mut complaints: Vec<String> =
        lease::complaint(status.leased_until, now).into_iter().collect();
    let Some(last) = status.last_snapshot_at else {
        complaints.push("nothing was ever recorded".to_owned());
        return complaints;
    };
    let max_gap = TimeDelta::seconds(status.max_gap.unwrap_or(0).into());
    let age = now - last;
    if age < -AHEAD {
        complaints.push(
            "the newest snapshot lies in the future: nothing can be recorded before it".to_owned(),
        );
    }
    if age > max_gap {
        complaints.push(format!(
            "nothing recorded for {}: is `deskledger collect` running?",
            format_age(age)
        ));
    }
    if status.desktops_outcome.as_deref() == Some("failed") {
        let since = status.usable_at.map_or_else(
            || "ever".to_owned(),
            |usable| format!("for {}", format_age(now - usable)),
        );
        complaints.push(format!("the newest visit failed, no listing {since}"));
    }
    if status.desktops_outcome.as_deref() == Some("partial") {
        complaints.push("the newest listing is partial".to_owned());
    }
    if status.groups_outcome.as_deref() == Some("failed")
        && status.desktops_outcome.as_deref() != Some("failed")
    {
        complaints.push("the newest group statistics failed".to_owned());
    }
    if let Some(error) = &status.last_error {
        // What is recorded may come from anywhere: an import takes it as it is.
        complaints.push(harmless(error));
    }
    complaints
}

fn as_table(sources: &[SourceStatus], size: i64, now: Instant) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        // Where there is no terminal to ask, what fits a mail.
        .set_width(WIDTH)
        .set_header([
            "source",
            "last seen",
            "recorded by",
            "desktops",
            "last 24 h",
            "what is wrong",
        ]);
    for status in sources {
        let seen = status.last_snapshot_at.map_or_else(
            || "never".to_owned(),
            |at| format!("{}\n{} ago", at.format("%Y-%m-%d %H:%M:%SZ"), format_age(now - at)),
        );
        let desktops = match (status.desktops_recorded, status.desktops_total) {
            (Some(recorded), Some(total)) => format!("{recorded} of {total}"),
            (Some(recorded), None) => format!("{recorded} of ?"),
            (None, _) => "–".to_owned(),
        };
        let day = format!(
            "{} visits\n{} failed, {} partial",
            status.snapshots, status.failed, status.partial
        );
        let wrong = complaints(status, now);
        let wrong = if wrong.is_empty() { "nothing".to_owned() } else { wrong.join("\n") };
        table.add_row([
            Cell::new(shown(&status.source)),
            Cell::new(seen),
            Cell::new(shown(&recorded_by(status, now))),
            Cell::new(desktops).set_alignment(CellAlignment::Right),
            Cell::new(day),
            Cell::new(shown(&wrong)),
        ]);
    }
    let size = indicatif::HumanBytes(u64::try_from(size).unwrap_or(0));
    if sources.is_empty() {
        return format!("No source is recorded yet. The ledger takes {size}.\n");
    }
    format!("{table}\nThe ledger takes {size}, indexes included.\n")
}

/// Who leads, in two lines; the rest of a leader's name only tells processes apart.
fn recorded_by(status: &SourceStatus, now: Instant) -> String {
    match (&status.leader, status.leased_until) {
        (Some(leader), Some(until)) if until > now => {
            let (host, process) = leader.split_once(", ").unwrap_or((leader, ""));
            let process = process.split(" in ").next().unwrap_or_default();
            format!("{host}\n{process}")
        }
        (Some(_), _) => "nobody: the lease\nhas run out".to_owned(),
        (None, _) => "nobody".to_owned(),
    }
}

fn as_json(sources: &[SourceStatus], size: i64, now: Instant) -> String {
    let rows: Vec<_> = sources
        .iter()
        .map(|status| {
            json!({
                "source": status.source,
                "last_snapshot_at": status.last_snapshot_at,
                "usable_at": status.usable_at,
                "desktops_outcome": status.desktops_outcome,
                "groups_outcome": status.groups_outcome,
                "desktops_recorded": status.desktops_recorded,
                "desktops_total": status.desktops_total,
                "max_gap": status.max_gap,
                "last_24_hours": {
                    "snapshots": status.snapshots, "failed": status.failed, "partial": status.partial,
                },
                "leader": status.leader,
                "led_since": status.led_since,
                "leased_until": status.leased_until,
                "wrong": complaints(status, now),
            })
        })
        .collect();
    format!("{:#}\n", json!({ "sources": rows, "size_bytes": size }))
}

/// Text from the API is data: control characters would move the terminal's cursor.
fn shown(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(harmless).collect();
    lines.join("\n")
}

/// An age in its two largest units.
fn format_age(age: TimeDelta) -> String {
    let seconds = age.num_seconds().max(0);
    let unit = match seconds {
        86_400.. => 3_600,
        3_600.. => 60,
        _ => 1,
    };
    format_duration(TimeDelta::seconds(seconds / unit * unit))
}
