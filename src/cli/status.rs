//! `deskledger status`: how each source's record stands, what waits on this machine, and how large the ledger is.

use std::collections::{HashMap, HashSet};
use std::io::Write as _;

use chrono::TimeDelta;
use comfy_table::{CellAlignment, ColumnConstraint, ContentArrangement, Table, presets};
use serde_json::json;
use unicode_width::UnicodeWidthStr;

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
    let ledger =
        Ledger::open_to_read(&config).await.map_err(|error| match Spooled::of(&config) {
            Some(spooled) if is_away(&error) => with_hint(
                error,
                format!(
                    "{} snapshots wait on this machine for it: `deskledger spool` shows them",
                    spooled.all()
                ),
            ),
            _ => error,
        })?;
    let result = async {
        let sources = ledger.store.source_status().await?;
        let size = ledger.store.size_bytes().await?;
        let shown = Shown {
            size,
            spooled: Spooled::of(&config),
            ours: config.source_names(),
            now: Clock::System.now(),
        };
        let text =
            if args.json { as_json(&sources, &shown) } else { as_text(&sources, &shown, width()) };
        std::io::stdout().write_all(text.as_bytes())?;
        let wrong = sources.iter().filter(|source| !complaints(source, &shown).is_empty()).count();
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

/// The width where it goes to no terminal.
const WIDTH: u16 = 110;
/// With less room for what is wrong no table is readable.
const LEAST_WRONG: usize = 24;
/// How far ahead of our clock another machine's may be without anything being wrong.
const AHEAD: TimeDelta = TimeDelta::minutes(5);

/// The terminal's width; where there is none to ask, what fits a mail.
fn width() -> u16 {
    super::terminal_width().unwrap_or(WIDTH)
}

/// What is shown beside the sources.
struct Shown {
    /// Bytes of the ledger.
    size: i64,
    /// `None`: nobody can tell.
    spooled: Option<Spooled>,
    /// The sources that this configuration names; empty: it is no recorder's.
    ours: HashSet<String>,
    now: Instant,
}

/// What waits on this machine's disk, by source.
#[derive(Default)]
struct Spooled(HashMap<String, Backlog>);

#[derive(Clone, Copy, Default)]
struct Backlog {
    snapshots: usize,
    oldest: Option<Instant>,
    newest: Option<Instant>,
}

impl Spooled {
    /// `None`: nobody can tell.
    fn of(config: &Config) -> Option<Self> {
        let slots = inspect(&config.spool_config().ok()?.dir).ok()?;
        let mut spooled = Self::default();
        for source in slots.into_iter().flat_map(|slot| slot.sources) {
            let backlog = spooled.0.entry(source.source).or_default();
            backlog.snapshots += source.waiting;
            backlog.oldest = [backlog.oldest, source.oldest].into_iter().flatten().min();
            backlog.newest = backlog.newest.max(source.newest);
        }
        Some(spooled)
    }

    fn of_source(&self, source: &str) -> Backlog {
        self.0.get(source).copied().unwrap_or_default()
    }

    fn all(&self) -> usize {
        self.0.values().map(|backlog| backlog.snapshots).sum()
    }

    fn oldest(&self) -> Option<Instant> {
        self.0.values().filter_map(|backlog| backlog.oldest).min()
    }
}

/// Whether a source is nobody's to record any more: it was taken out of the configuration, and no recorder elsewhere
/// holds its lease.
fn is_retired(status: &SourceStatus, shown: &Shown) -> bool {
    !shown.ours.is_empty()
        && !shown.ours.contains(&status.source)
        && status.leased_until.is_none_or(|until| until <= shown.now)
}

/// What waits on this machine for longer than it should.
fn waiting(status: &SourceStatus, shown: &Shown) -> Option<String> {
    let Backlog { snapshots, oldest, newest } = shown.spooled.as_ref()?.of_source(&status.source);
    let waited = shown.now - oldest?;
    // What is recorded already is taken off the disk a little later.
    let is_new = newest > status.last_snapshot_at;
    let max_gap = TimeDelta::seconds(status.max_gap.unwrap_or(0).into());
    (is_new && waited > max_gap).then(|| {
        format!(
            "{snapshots} snapshots wait in the spool, the first for {}: `deskledger spool` says more",
            format_age(waited)
        )
    })
}

/// What is wrong with a source, in the words of whoever is on call; empty: nothing.
fn complaints(status: &SourceStatus, shown: &Shown) -> Vec<String> {
    let now = shown.now;
    let waiting = waiting(status, shown);
    if is_retired(status, shown) {
        return waiting.into_iter().collect();
    }
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
    complaints.extend(waiting);
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

/// What is said of a source, by column. Only the last may break anywhere.
struct Line {
    source: String,
    until: String,
    recorded_by: String,
    desktops: String,
    day: String,
    wrong: String,
}

const HEADINGS: [&str; 6] =
    ["source", "complete until", "recorded by", "desktops", "last 24 h", "what is wrong"];

impl Line {
    fn of(status: &SourceStatus, shown: &Shown) -> Self {
        let now = shown.now;
        let instant = |at: Instant| at.format("%Y-%m-%d %H:%M:%SZ").to_string();
        let mut until = status.complete_until.map_or_else(
            || "never".to_owned(),
            |at| format!("{}\n{} ago", instant(at), format_age(now - at)),
        );
        if let Some(newest) =
            status.last_snapshot_at.filter(|at| Some(*at) != status.complete_until)
        {
            until = format!("{until}\nnewest {}", instant(newest));
        }
        let desktops = match (status.desktops_recorded, status.desktops_total) {
            (Some(recorded), Some(total)) => format!("{recorded} of {total}"),
            (Some(recorded), None) => format!("{recorded} of ?"),
            (None, _) => "–".to_owned(),
        };
        let day = format!(
            "{} {}\n{} failed, {} partial",
            status.snapshots,
            if status.snapshots == 1 { "visit" } else { "visits" },
            status.failed,
            status.partial
        );
        let wrong = complaints(status, shown);
        let wrong = match wrong[..] {
            [] if is_retired(status, shown) => "not in the configuration".to_owned(),
            [] => "nothing".to_owned(),
            _ => wrong.join("\n"),
        };
        let recorded_by = harmless_lines(&recorded_by(status, now));
        Self {
            source: harmless_lines(&status.source),
            until,
            recorded_by,
            desktops,
            day,
            wrong: harmless_lines(&wrong),
        }
    }

    fn cells(self) -> [String; 6] {
        [self.source, self.until, self.recorded_by, self.desktops, self.day, self.wrong]
    }
}

/// As a table where its columns fit, else with a block for each source.
fn as_text(sources: &[SourceStatus], shown: &Shown, width: u16) -> String {
    let size = indicatif::HumanBytes(u64::try_from(shown.size).unwrap_or(0));
    let spool = spool_line(shown);
    if sources.is_empty() {
        return format!("No source is recorded yet. The ledger takes {size}.\n{spool}\n");
    }
    let lines: Vec<[String; 6]> =
        sources.iter().map(|status| Line::of(status, shown).cells()).collect();
    let widest = |column: usize| {
        let cells = lines.iter().flat_map(|cells| cells[column].lines());
        cells.chain([HEADINGS[column]]).map(UnicodeWidthStr::width).max().unwrap_or(0)
    };
    let last = HEADINGS.len() - 1;
    // With a blank on either side of each.
    let needed: usize = (0..last).map(|column| widest(column) + 2).sum();
    let is_table = needed + LEAST_WRONG + 2 <= usize::from(width);
    let said = if is_table { as_table(lines, width) } else { as_blocks(lines, width) };
    format!("{said}\nThe ledger takes {size}, indexes included.\n{spool}\n")
}

fn spool_line(shown: &Shown) -> String {
    match &shown.spooled {
        None => "This machine's spool cannot be looked into.".to_owned(),
        Some(spooled) => match (spooled.all(), spooled.oldest()) {
            (all @ 1.., Some(oldest)) => format!(
                "{all} snapshots wait in the spool, the first for {}.",
                format_age(shown.now - oldest)
            ),
            _ => "Nothing waits in this machine's spool.".to_owned(),
        },
    }
}

fn as_table(lines: Vec<[String; 6]>, width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(HEADINGS);
    for cells in lines {
        table.add_row(cells);
    }
    let last = HEADINGS.len() - 1;
    for (at, column) in table.column_iter_mut().enumerate() {
        if at != last {
            column.set_constraint(ColumnConstraint::ContentWidth);
        }
        if HEADINGS[at] == "desktops" {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

fn as_blocks(lines: Vec<[String; 6]>, width: u16) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    let label = HEADINGS.into_iter().map(UnicodeWidthStr::width).max().unwrap_or(0) + 2;
    let room = usize::from(width).saturating_sub(label);
    for (nth, cells) in lines.into_iter().enumerate() {
        if nth > 0 {
            table.add_row(["", ""]);
        }
        for (heading, cell) in HEADINGS.into_iter().zip(cells) {
            // In one line where there is room, so that a few sources fit a small terminal; complaints are a list.
            let line = cell.replace('\n', ", ");
            let is_list = heading == HEADINGS[HEADINGS.len() - 1];
            let is_line = !is_list && UnicodeWidthStr::width(&*line) <= room;
            table.add_row([heading, if is_line { &line } else { &cell }]);
        }
    }
    if let Some(headings) = table.column_mut(0) {
        headings.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
    }
    if let Some(said) = table.column_mut(1) {
        said.set_padding((0, 0));
    }
    format!("{}\n", table.trim_fmt())
}

/// Who leads, in two lines; the rest of a leader's name only tells processes apart.
fn recorded_by(status: &SourceStatus, now: Instant) -> String {
    match (&status.leader, status.leased_until) {
        (Some(leader), Some(until)) if until > now => {
            let (host, process) = leader.split_once(", ").unwrap_or((leader, ""));
            let process = process.split(" in ").next().unwrap_or_default();
            format!("{host}\n{process}")
        }
        (Some(_), _) => "nobody\nthe lease has run out".to_owned(),
        (None, _) => "nobody".to_owned(),
    }
}

fn as_json(sources: &[SourceStatus], shown: &Shown) -> String {
    let spool =
        |backlog: Backlog| json!({ "snapshots": backlog.snapshots, "oldest": backlog.oldest });
    let rows: Vec<_> = sources
        .iter()
        .map(|status| {
            json!({
                "source": status.source,
                "last_snapshot_at": status.last_snapshot_at,
                "complete_until": status.complete_until,
                "lag": status.complete_until.map(|until| (shown.now - until).num_seconds()),
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
                "spool": shown.spooled.as_ref().map(|spooled| spool(spooled.of_source(&status.source))),
                "retired": is_retired(status, shown),
                "wrong": complaints(status, shown),
            })
        })
        .collect();
    let all = shown
        .spooled
        .as_ref()
        .map(|spooled| json!({ "snapshots": spooled.all(), "oldest": spooled.oldest() }));
    format!("{:#}\n", json!({ "sources": rows, "size_bytes": shown.size, "spool": all }))
}

/// Text from the API is data: control characters would move the terminal's cursor.
fn harmless_lines(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Instant {
        "2026-11-25T22:56:00Z".parse().expect("an instant")
    }

    fn status(source: &str, error: Option<&str>) -> SourceStatus {
        let (now, seen) = (now(), Some(now() - TimeDelta::minutes(3)));
        SourceStatus {
            source: source.to_owned(),
            last_snapshot_at: seen,
            complete_until: seen,
            usable_at: seen,
            desktops_outcome: Some("complete".to_owned()),
            groups_outcome: Some("complete".to_owned()),
            desktops_recorded: Some(12_345),
            desktops_total: Some(12_345),
            max_gap: Some(900),
            snapshots: 288,
            failed: 1,
            partial: 2,
            last_error: error.map(str::to_owned),
            leader: Some("recorder-1.example.org, process 4711 in x".to_owned()),
            led_since: Some(now),
            leased_until: Some(now + TimeDelta::minutes(5)),
        }
    }

    /// Two snapshots of `prod` wait, the first for so many minutes.
    fn shown(minutes: i64) -> Shown {
        let oldest = Some(now() - TimeDelta::minutes(minutes));
        let backlog = Backlog { snapshots: 2, oldest, newest: Some(now()) };
        let spooled = Spooled(HashMap::from([("prod".to_owned(), backlog)]));
        Shown { size: 1 << 20, spooled: Some(spooled), ours: HashSet::new(), now: now() }
    }

    #[test]
    fn a_terminal_of_any_width_has_room() {
        let error =
            "APIGW.0308: the throttling threshold has been reached: policy user over ratelimit";
        let sources = [status("prod", None), status("ap-southeast-3", Some(error))];
        for (width, is_table) in [(140, true), (110, false), (80, false), (60, false), (50, false)]
        {
            let text = as_text(&sources, &shown(2), width);
            let widest = text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0);
            assert!(widest <= usize::from(width), "{width}\n{text}");
            assert_eq!(text.contains('─'), is_table, "{width}\n{text}");
            for word in [
                "2026-11-25 22:53:00Z",
                "3m ago",
                "12345 of 12345",
                "1 failed, 2 partial",
                "process 4711",
                "1.00 MiB",
                "2 snapshots wait in the spool, the first for 2m.",
            ] {
                assert!(text.contains(word), "{word} {width}\n{text}");
            }
        }
        let sources = ["prod", "test", "ap-southeast-3"].map(|source| status(source, None));
        let text = as_text(&sources, &shown(2), 80);
        assert!(text.lines().count() <= 24, "{text}");
    }

    #[test]
    fn what_nobody_is_to_record_any_more_is_not_wrong() {
        let of = |names: &[&str]| Shown {
            ours: names.iter().map(|name| (*name).to_owned()).collect(),
            now: now() + TimeDelta::days(1),
            ..shown(0)
        };
        let test = status("test", None);
        // Who reads the ledger from elsewhere has no sources, and cannot tell.
        assert_eq!(complaints(&test, &of(&[])).len(), 1);
        assert_eq!(complaints(&test, &of(&["test"])).len(), 1);
        assert_eq!(complaints(&test, &of(&["prod"])), [""; 0]);
        assert!(
            as_text(std::slice::from_ref(&test), &of(&["prod"]), 140)
                .contains("not in the configuration")
        );
        // Another recorder has it.
        let shown = Shown { now: now() + TimeDelta::minutes(4), ..of(&["prod"]) };
        let failed = SourceStatus { desktops_outcome: Some("partial".to_owned()), ..test };
        assert_eq!(complaints(&failed, &shown), ["the newest listing is partial"]);
        // What waits here is ours.
        let prod = status("prod", None);
        let shown = Shown { ours: HashSet::from(["test".to_owned()]), ..self::shown(30_000) };
        let shown = Shown { now: now() + TimeDelta::days(1), ..shown };
        let wrong = complaints(&prod, &shown);
        assert!(wrong.len() == 1 && wrong[0].contains("wait in the spool"), "{wrong:?}");
    }

    #[test]
    fn what_waits_in_the_spool_for_longer_than_a_gap_is_wrong() {
        let [prod, test] = ["prod", "test"].map(|source| status(source, None));
        assert!(complaints(&prod, &shown(15)).is_empty());
        let wrong = complaints(&prod, &shown(16));
        assert!(
            wrong[0].starts_with("2 snapshots wait in the spool, the first for 16m"),
            "{wrong:?}"
        );
        assert!(complaints(&test, &shown(16)).is_empty());
        // They have been recorded meanwhile.
        let recorded = SourceStatus { last_snapshot_at: Some(now()), ..prod };
        assert!(complaints(&recorded, &shown(16)).is_empty());
        let unknown = Shown { spooled: None, ..shown(16) };
        assert!(complaints(&recorded, &unknown).is_empty());
        assert!(as_text(&[], &unknown, 80).contains("cannot be looked into"));

        let json: serde_json::Value =
            serde_json::from_str(&as_json(&[test, recorded], &shown(16))).expect("JSON");
        let [test, recorded] = [&json["sources"][0], &json["sources"][1]];
        assert_eq!(
            (&test["lag"], &test["complete_until"]),
            (&json!(180), &json!("2026-11-25T22:53:00Z"))
        );
        assert_eq!(test["spool"], json!({ "snapshots": 0, "oldest": null }));
        assert_eq!(recorded["spool"], json!({ "snapshots": 2, "oldest": "2026-11-25T22:40:00Z" }));
        assert_eq!(
            (&json["spool"]["snapshots"], &json["size_bytes"]),
            (&json!(2), &json!(1 << 20))
        );
    }
}
