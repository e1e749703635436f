//! `deskledger doctor`: would recording succeed, and if not, what is to be done?
//!
//! Each check is made by itself where it can be: without a configuration the database is looked at all the
//! same, and without a database the API. What could not be looked at is a line too. Nothing is changed: no
//! schema, no server that was not there before, and every session with the database may only read. A private
//! server that stands still is started for the look, as for any command, and stopped again.
//!
//! | file | what it does |
//! |---|---|
//! | `check` | what a check says |
//! | `configuration` | what was typed, and who else may read it |
//! | `database` | the way to the ledger's server: asks it |
//! | `server` | what it answered means: version, schema, rights, size, room |
//! | `record` | how far each source is recorded |
//! | `api` | the way to a source's API: asks, in ten requests at most |
//! | `answers` | what the API's answers mean |
//! | `paging` | how far listings reach, and how many requests a visit takes |
//! | `pace` | whether they fit into its time, those of all sources of a credential together |
//! | `render` | how it is shown |

mod answers;
mod api;
mod check;
mod configuration;
mod database;
mod pace;
mod paging;
mod record;
mod render;
mod server;
mod spool;

use std::io::{IsTerminal as _, Write as _};

use clap::ValueEnum;
use futures_util::StreamExt as _;

use super::Globals;
use crate::clock::Clock;
use crate::error::{NO, usage};
use crate::workspace::Accounts;
use check::{Check, Group, Summary};
use configuration::Configured;

/// Arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only this source.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// How the report is written.
    #[arg(long, value_name = "FORMAT", default_value = "text")]
    pub format: Format,
}

/// How the report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines for people, in 80 columns.
    Text,
    /// One object.
    Json,
}

/// Runs the command; with something that failed it ends the process with code 1.
///
/// # Errors
/// There is no such source, or the report cannot be written.
pub async fn run(args: Args, globals: &Globals) -> anyhow::Result<()> {
    let configured = Configured::read(&globals.flags(), args.source.as_deref());
    if let Some(known) = configured.lacks_the_source() {
        let wanted = args.source.unwrap_or_default();
        return Err(usage(anyhow::anyhow!(
            "no source `{wanted}` is configured; there are {known}"
        )));
    }
    let mut report = Report::new(args.format);
    report.add(configured.checks.clone())?;

    let clock = Clock::System;
    let mut database = database::check(&configured, &clock).await;
    let keeper = database.keeper;
    let of_spool = |config| spool::check(config, keeper);
    database.checks.extend(configured.spool.iter().flat_map(of_spool));
    report.add(std::mem::take(&mut database.checks))?;

    // Sources of one credential know of each other, so that none of them tries what another one saw refused.
    let accounts = Accounts::default();
    let (accounts, known) = (&accounts, &database.known);
    let looks = configured.sources.iter().map(|source| async move {
        let api::Found { mut checks, place, demand } = api::check(source, accounts, known).await;
        checks.push(match place {
            Some(place) => answers::pinned(&place, known),
            None => Check::skipped("pinned", "it is not known where the source is"),
        });
        checks.extend(record::check(source, known));
        let checks: Vec<_> = checks.into_iter().map(|check| check.about(&source.name)).collect();
        (checks, demand)
    });
    // At once, and shown in their order.
    let mut looks = futures_util::stream::iter(looks).buffered(8);
    let mut demands = Vec::new();
    while let Some((checks, demand)) = looks.next().await {
        report.add(checks)?;
        demands.extend(demand);
    }
    report
        .add(pace::shared(&demands).into_iter().map(|check| check.of(Group::Source)).collect())?;
    if !report.finish()? {
        // The report has said what is wrong; there is nothing to add on stderr.
        std::process::exit(i32::from(NO));
    }
    Ok(())
}

/// What a source's API said of it.
#[derive(Debug)]
pub(super) struct Heard {
    /// Nothing failed.
    pub is_well: bool,
    /// Its project, where it is known by now.
    pub project_id: Option<String>,
}

/// Asks a source's API as the doctor does, and shows on stderr what it says: for whoever is about to write a
/// configuration, where there is no ledger yet.
///
/// # Errors
/// Nobody takes the output.
pub(super) async fn ask(source: &crate::config::SourceConfig) -> std::io::Result<Heard> {
    let no_ledger = Err("no ledger is looked at".to_owned());
    let api::Found { checks, place, .. } =
        api::check(source, &Accounts::default(), &no_ledger).await;
    let checks: Vec<_> = checks.into_iter().map(|check| check.about(&source.name)).collect();
    let mut err = std::io::stderr().lock();
    err.write_all(render::section(&checks, false).as_bytes())?;
    Ok(Heard {
        is_well: Summary::of(&checks).failed == 0,
        project_id: place.and_then(|place| place.project_id),
    })
}

/// What is shown so far: people see each part as soon as it is known.
struct Report {
    format: Format,
    is_coloured: bool,
    checks: Vec<Check>,
}

impl Report {
    fn new(format: Format) -> Self {
        let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let is_coloured = std::io::stdout().is_terminal() && !is_set("NO_COLOR") && !is_dumb;
        Self { format, is_coloured, checks: Vec::new() }
    }

    fn add(&mut self, checks: Vec<Check>) -> std::io::Result<()> {
        if self.format == Format::Text {
            write(&render::section(&checks, self.is_coloured))?;
        }
        self.checks.extend(checks);
        Ok(())
    }

    /// Ends the report, and says whether nothing failed.
    fn finish(self) -> std::io::Result<bool> {
        let summary = Summary::of(&self.checks);
        write(&match self.format {
            Format::Text => render::summary(summary),
            Format::Json => render::as_json(&self.checks),
        })?;
        Ok(summary.failed == 0)
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
