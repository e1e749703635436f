//! `deskledger prune`: archives and prunes what is older than it is to be kept.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use chrono::TimeDelta;
use clap::ValueEnum;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use serde_json::json;

use super::Globals;
use super::ledger::Ledger;
use crate::clock::Clock;
use crate::config::{Archiving, RetentionSettings, about_size};
use crate::domain::pruning::{Ages, Class, OutOfOrder};
use crate::domain::{Instant, harmless, parse_duration};
use crate::error::{Chain, usage};
use crate::retention::{Outcome, RetentionError, prune};
use crate::store::Store;
use crate::store::prune::{Due, Kept};

/// Arguments of `prune`. What is not given is as configured in `[retention]`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only say what would go, and what stays and why.
    #[arg(long)]
    pub plan: bool,
    /// How the plan is written.
    #[arg(long, value_enum, default_value_t = Format::Table, requires = "plan")]
    pub format: Format,
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// How old spans may grow, such as `400d`; a month goes when all of it is older.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub spans: Option<TimeDelta>,
    /// How old the counters of groups may grow.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub groups: Option<TimeDelta>,
    /// How old the counts may grow that utilisation is reckoned from.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub rollups: Option<TimeDelta>,
    /// How old the headers of snapshots may grow; their digests stay.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub headers: Option<TimeDelta>,
    /// The folder that months are archived to before they go; `off` is `--no-archive`.
    #[arg(long, value_name = "DIR", conflicts_with = "no_archive")]
    pub archive: Option<PathBuf>,
    /// Archive nothing: what goes is gone for good.
    #[arg(long)]
    pub no_archive: bool,
}

/// How a plan is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON array.
    Json,
}

fn age(text: &str) -> Result<TimeDelta, String> {
    match parse_duration(text) {
        Ok(age) if age > TimeDelta::zero() => Ok(age),
        Ok(_) => Err("that is no time at all".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Runs the command.
///
/// # Errors
/// Nothing says how old what may grow, or where to archive; or the ledger or an archive fails. What was pruned by then is pruned.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let ages = ages(&args, &config.retention)?;
    let archive = match (&args.archive, args.no_archive, &config.retention.archive) {
        // As the configuration has it.
        (Some(folder), ..) if folder.as_os_str() == "off" => Some(Archiving::Off),
        (Some(folder), ..) => Some(Archiving::Folder(folder.clone())),
        (None, true, _) => Some(Archiving::Off),
        (None, false, configured) => configured.clone(),
    };
    if archive.is_none() && !args.plan {
        return Err(usage(anyhow::anyhow!(
            "nothing says where months are archived before they go: give `--archive DIR`, or `--no-archive` if they are to be \
             gone for good"
        )));
    }
    let ledger = Ledger::open_to_read(&config).await?;
    let result = run_on(&args, &ages, archive.as_ref(), &ledger.store).await;
    ledger.close().await?;
    result
}

/// What is configured, with what is given in its place.
fn ages(args: &Args, configured: &RetentionSettings) -> anyhow::Result<Ages> {
    let ages = Ages {
        spans: args.spans.or(configured.ages.spans),
        groups: args.groups.or(configured.ages.groups),
        rollups: args.rollups.or(configured.ages.rollups),
        headers: args.headers.or(configured.ages.headers),
    };
    if ages.keep_all() {
        return Err(usage(anyhow::anyhow!(
            "everything is kept for ever: give `--spans AGE`, or configure `[retention]`"
        )));
    }
    Ok(ages)
}

async fn run_on(
    args: &Args,
    ages: &Ages,
    archive: Option<&Archiving>,
    store: &Store,
) -> anyhow::Result<()> {
    if let Some(name) = &args.source
        && !store.sources().await?.iter().any(|(_, source)| source.name == *name)
    {
        return Err(usage(anyhow::anyhow!(
            "there is no source `{}` in the ledger",
            harmless(name)
        )));
    }
    let now = Clock::System.now();
    let plan = store.plan(ages, args.source.as_deref(), now).await?;
    // An age alone will do where what needs it is gone already.
    if ages.check().is_err()
        && let Some(wrong) = plan.iter().find_map(out_of_order)
    {
        return Err(usage(wrong));
    }
    let mut output = std::io::stdout();
    if args.plan {
        let text = match args.format {
            Format::Table => as_table(&plan),
            Format::Json => as_json(&plan),
        };
        output.write_all(text.as_bytes())?;
        return Ok(());
    }
    let folder = match archive {
        Some(Archiving::Folder(folder)) => Some(folder.as_path()),
        _ => None,
    };
    let text = carry_out(store, &plan, folder, now, |line| {
        // As it goes: months take their time.
        drop(writeln!(std::io::stdout(), "{line}"));
    })
    .await?;
    if text == 0 {
        writeln!(output, "nothing to prune: nothing is older than it is kept, or it is held")?;
    }
    Ok(())
}

fn out_of_order(due: &Due) -> Option<OutOfOrder> {
    let Some(Kept::Needed(needs_it)) = due.kept else { return None };
    Some(OutOfOrder { sooner: due.class, needs_it })
}

/// Prunes what a plan says, month by month; says how many months went.
///
/// # Errors
/// The ledger or an archive failed. What was pruned by then is pruned.
pub(crate) async fn carry_out(
    store: &Store,
    plan: &[Due],
    folder: Option<&Path>,
    now: Instant,
    mut say: impl FnMut(&str),
) -> Result<usize, RetentionError> {
    let mut months = 0;
    for of_month in plan.chunk_by(|one, other| one.month == other.month) {
        let classes: Vec<Class> =
            of_month.iter().filter(|due| due.kept.is_none()).map(|due| due.class).collect();
        let month = &of_month[0].month;
        for due in of_month {
            if let Some(kept) = &due.kept {
                say(&format!("{}, kept, {kept}", name(due)));
            }
        }
        if classes.is_empty() {
            continue;
        }
        // Headers have an archive of their own, and go last.
        let (headers, rest): (Vec<Class>, Vec<Class>) =
            classes.into_iter().partition(|class| *class == Class::Headers);
        let mut is_gone = false;
        for classes in [rest, headers].iter().filter(|classes| !classes.is_empty()) {
            let outcome = prune(store, month, classes, folder, now).await?;
            is_gone |= matches!(outcome, Outcome::Gone(..));
            let line = match &outcome {
                Outcome::Gone(rows, None) => format!("{rows} rows pruned"),
                Outcome::Gone(rows, Some(path)) => {
                    let path = path.display().to_string();
                    format!("{rows} rows pruned, archived as {}", harmless(&path))
                }
                Outcome::Busy => {
                    "kept for now: someone else packs, prunes or restores it, or it was held just now"
                        .to_owned()
                }
            };
            let names: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
            say(&format!(
                "{}  {}, {}: {line}",
                month.month.format("%Y-%m"),
                harmless(&month.source),
                names.join(", ")
            ));
            if outcome == Outcome::Busy {
                break;
            }
        }
        months += usize::from(is_gone);
    }
    // Whatever is in use stays for the next time.
    if let Err(error) = store.drop_empty_partitions().await {
        tracing::warn!("empty partitions stay for now: {}", Chain(&error));
    }
    Ok(months)
}

fn name(due: &Due) -> String {
    format!("{}  {}, {}", due.month.month.format("%Y-%m"), harmless(&due.month.source), due.class)
}

fn as_table(plan: &[Due]) -> String {
    if plan.is_empty() {
        return "nothing to prune: nothing is older than it is kept\n".to_owned();
    }
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_HORIZONTAL_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(super::terminal_width().unwrap_or(WIDTH))
        .set_header(["source", "class", "month", "rows", "size", "kept"]);
    let number = |text: String| Cell::new(text).set_alignment(CellAlignment::Right);
    for due in plan {
        table.add_row([
            Cell::new(harmless(&due.month.source)),
            Cell::new(due.class),
            Cell::new(due.month.month.format("%Y-%m")),
            number(due.rows.to_string()),
            number(about_size(due.bytes.unsigned_abs())),
            Cell::new(due.kept.as_ref().map(ToString::to_string).unwrap_or_default()),
        ]);
    }
    format!("{table}\n")
}

/// The table's width where it goes to no terminal.
const WIDTH: u16 = 110;

fn as_json(plan: &[Due]) -> String {
    let rows: Vec<_> = plan
        .iter()
        .map(|due| {
            json!({
                "source": due.month.source,
                "class": due.class.as_str(),
                "month": due.month.month.format("%Y-%m").to_string(),
                "rows": due.rows,
                "bytes": due.bytes,
                "kept": due.kept.as_ref().map(ToString::to_string),
            })
        })
        .collect();
    format!("{:#}\n", serde_json::Value::from(rows))
}
