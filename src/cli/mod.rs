//! The command line: types and help text. Each command's work is a function in its own file.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::{ArgAction, CommandFactory as _, Parser, Subcommand};
use ledger::Ledger;
use secrecy::{ExposeSecret as _, SecretString};

use crate::config::{Config, ConfigError, Environment, Flags};
use crate::error::usage;
use crate::report::{ReportError, has_no_source};
use crate::telemetry::Verbosity;

pub mod access;
pub mod collect;
pub mod compact;
pub mod completions;
pub mod demo;
pub mod doctor;
#[cfg(test)]
mod documentation;
pub mod erase_user;
pub mod export;
pub mod hold;
pub mod import;
pub mod init;
mod lease;
pub mod ledger;
pub mod man;
pub mod migrate;
pub mod progress;
pub mod prune;
pub mod psql;
pub mod report;
pub mod restore;
pub mod serve;
pub mod simulate;
pub mod sources;
pub mod spool;
pub mod status;
pub mod verify;
pub mod webhook;

const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 the answer is \"no\"; 2 wrong use or configuration; 3 the API or the database failed.
Data goes to stdout, everything else to stderr.";

/// Remembers who was connected to which Huawei Cloud Workspace desktop, and never claims what it did
/// not see.
#[derive(Debug, Parser)]
#[command(name = "deskledger", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// What holds for every command.
    #[command(flatten)]
    pub globals: Globals,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// How much is logged. What the doctor finds is its report, and the demo is for people: beside them nothing is said
    /// unless asked for.
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        let Verbosity { more, quiet } = self.globals.verbosity();
        let is_report = matches!(self.command, Command::Doctor(_) | Command::Demo(_));
        Verbosity { more, quiet: quiet || (is_report && more == 0) }
    }
}

/// What holds for every command.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub struct Globals {
    /// The configuration [default: ./deskledger.toml, else the one in the XDG configuration home].
    #[arg(long, global = true, value_name = "FILE", env = "DESKLEDGER_CONFIG")]
    pub config: Option<PathBuf>,
    /// The PostgreSQL that holds the ledger [default: a private one].
    #[arg(long, global = true, value_name = "URL", env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
    /// Where the private PostgreSQL keeps its data [default: under the XDG data home; for root
    /// /var/lib/deskledger].
    #[arg(long, global = true, value_name = "DIR", env = "DESKLEDGER_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Say more; twice, still more.
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Log only what went wrong; what a command answers is printed all the same.
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

impl Globals {
    /// How much is logged.
    #[must_use]
    pub fn verbosity(&self) -> Verbosity {
        Verbosity { more: self.verbose, quiet: self.quiet }
    }

    /// The configuration under these flags and this process's environment.
    ///
    /// # Errors
    /// See [`Config::load`].
    pub fn configuration(&self) -> Result<Config, ConfigError> {
        Config::load(&self.flags(), Environment::of_process())
    }

    /// What of the configuration the command line says.
    fn flags(&self) -> Flags {
        Flags {
            // Set to nothing, as compose files leave variables, is not set.
            config: self.config.clone().filter(|path| !path.as_os_str().is_empty()),
            database_url: self.database_url.clone().filter(|url| {
                use secrecy::ExposeSecret;
                !url.expose_secret().is_empty()
            }),
            data_dir: self.data_dir.clone().filter(|path| !path.as_os_str().is_empty()),
        }
    }
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Record a simulated month of a fleet through the real pipeline, and print reports of it.
    Demo(demo::Args),
    /// Ask what is to be recorded, try it on the API, and write a configuration.
    Init(Box<init::Args>),
    /// Record, on each source's schedule, until SIGTERM or SIGINT.
    Collect(collect::Args),
    /// Run a report; without a name, list them.
    Report(report::Args),
    /// Record snapshots that were taken elsewhere, one JSON object a line.
    Import(import::Args),
    /// Write recorded snapshots in the format that import reads.
    Export(export::Args),
    /// Recheck the whole ledger: digests, spans, coverage; with a seal, also that nothing was cut off or
    /// rewritten.
    Verify(verify::Args),
    /// Bring the ledger to this version's schema; with `--plan`, say what is left, and how long it will take.
    Migrate(migrate::Args),
    /// Pack the days that are over, to a tenth of the room.
    Compact(compact::Args),
    /// Put a pseudonym in the place of a person, everywhere and for good.
    EraseUser(erase_user::Args),
    /// Show who ran which report, where that is written down.
    Access(access::Args),
    /// Archive and prune the months that are older than the configuration keeps them; with `--plan`, say what would go.
    Prune(prune::Args),
    /// Bring a pruned month back from its archive.
    Restore(restore::Args),
    /// Set, list and drop holds: what must not be pruned.
    #[command(subcommand)]
    Hold(hold::Command),
    /// Open a psql shell on the ledger.
    Psql(psql::Args),
    /// Serve the reports to browsers.
    Serve(serve::Args),
    /// Serve a simulated Workspace API.
    Simulate(Box<simulate::SimulateArgs>),
    /// Say per source up to when it is recorded, by whom, how complete, what waits, and what is wrong.
    Status(status::Args),
    /// Say what waits on disk for the database to come back.
    Spool(spool::Args),
    /// Make a webhook's secret, prove that its receiver takes what is posted, and say what waits for it.
    #[command(subcommand)]
    Webhook(webhook::Command),
    /// Check configuration, database, API, credentials and clocks, and say what to do about each.
    Doctor(doctor::Args),
    /// Write what a shell needs to complete deskledger's command lines.
    Completions(completions::Args),
    /// Write pages of the manual: one to standard output, or all of them into a folder.
    Man(man::Args),
}

/// Reads a command line. Wrong use ends the process with code 2, and help with 0.
pub fn parse() -> Cli {
    Cli::parse_from(report::arrange(std::env::args_os().collect(), &Cli::command()))
}

/// Runs a command.
///
/// # Errors
/// What the command could not do.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { globals, command } = cli;
    match command {
        Command::Demo(args) => demo::run(args, &globals).await,
        Command::Init(args) => init::run(*args, &globals).await,
        Command::Collect(args) => collect::run(args, &globals).await,
        Command::Report(args) => run_report(args, &globals).await,
        Command::Import(args) => import::run(args, &globals).await,
        Command::Export(args) => export::run(args, &globals).await,
        Command::Migrate(args) => migrate::run(args, &globals).await,
        Command::Compact(args) => compact::run(args, &globals).await,
        Command::EraseUser(args) => erase_user::run(args, &globals).await,
        Command::Access(args) => access::run(args, &globals).await,
        Command::Prune(args) => prune::run(args, &globals).await,
        Command::Restore(args) => restore::run(args, &globals).await,
        Command::Hold(command) => hold::run(command, &globals).await,
        Command::Psql(args) => run_psql(&args, &globals).await,
        Command::Serve(args) => serve::run(args, &globals).await,
        Command::Simulate(args) => simulate::run(*args).await,
        Command::Verify(args) => verify::run(args, &globals).await,
        Command::Status(args) => status::run(args, &globals).await,
        Command::Spool(args) => spool::run(&args, &globals),
        Command::Webhook(command) => webhook::run(command, &globals).await,
        Command::Doctor(args) => doctor::run(args, &globals).await,
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
    }
}

/// Runs a report on the ledger; what needs none is answered without one.
async fn run_report(args: report::Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let refused = |error: ReportError| if error.is_usage() { usage(error) } else { error.into() };
    match args.plan(config.queries.as_deref()).map_err(refused)? {
        report::Plan::Local(local) => local.print().map_err(refused),
        report::Plan::Run(job) => {
            let ledger = Ledger::open_to_read(&config).await?;
            let reading = ledger.reading().await?;
            let access = job.access();
            let run = job.run(reading.pool());
            let result =
                access::noted(&config, &ledger.store, || access, run).await.map_err(refused);
            // An empty answer must not read as if nothing had happened.
            if result.is_ok() && has_no_source(reading.pool()).await {
                eprintln!("no source is recorded in this ledger yet: nothing was observed");
            }
            reading.pool().close().await;
            ledger.close().await?;
            result
        }
        report::Plan::Page(job) => {
            let ledger = Ledger::open_to_read(&config).await?;
            let reading = if job.is_without_names {
                ledger.planning(&config).await?
            } else {
                ledger.reading().await?
            };
            let access = job.access();
            let run = job.run(reading.pool());
            let result =
                access::noted(&config, &ledger.store, || access, run).await.map_err(refused);
            reading.pool().close().await;
            ledger.close().await?;
            result
        }
    }
}

/// Opens psql on the ledger, and ends with its exit code.
async fn run_psql(args: &psql::Args, globals: &Globals) -> anyhow::Result<()> {
    let config = globals.configuration()?;
    let code = if let Some(url) = &config.database_url {
        psql::run(psql::Target::Url(url.expose_secret()), args).await?
    } else {
        // Who writes may also want to put a ledger back where there is none.
        let ledger = if args.write {
            Ledger::open(&config).await?
        } else {
            Ledger::open_to_read(&config).await?
        };
        let private = ledger.private().expect("no other is configured");
        let code = psql::run(psql::Target::Private(private), args).await;
        ledger.close().await?;
        code?
    };
    if code == 0 { Ok(()) } else { std::process::exit(i32::from(code)) }
}

/// How wide the terminal is that data goes to; `None`: it is none, or does not know, which it says as 0.
fn terminal_width() -> Option<u16> {
    let is_terminal = std::io::stdout().is_terminal();
    comfy_table::Table::new().width().filter(|width| is_terminal && *width > 0)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent_and_every_part_of_it_explained() {
        Cli::command().debug_assert();
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{} {argument}", command.get_name());
            }
        }
    }

    #[test]
    fn global_options_stand_on_either_side_of_the_command() {
        for line in ["deskledger -q --data-dir x status", "deskledger status -q --data-dir x"] {
            let cli = Cli::try_parse_from(line.split(' ')).expect(line);
            assert!(cli.globals.quiet);
            assert_eq!(cli.globals.data_dir, Some("x".into()));
        }
        assert!(Cli::try_parse_from(["deskledger", "-q", "-v", "status"]).is_err());
    }
}
