//! `deskledger completions`: what a shell needs to complete a command line.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, report};
use crate::report::catalogue::Catalogue;

/// Arguments of `completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Runs the command.
///
/// # Errors
/// Nobody takes the output.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let mut command = Cli::command().mut_subcommand("report", report::completed);
    // Whole, before any of it is written: what generates it would panic where nobody reads on.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "deskledger", &mut script);
    if args.shell == Shell::Fish {
        // What is generated for it leaves the values of arguments without a name out.
        for report in Catalogue::built_in().reports() {
            let title = report.title.replace('\'', "\\'");
            writeln!(
                script,
                "complete -c deskledger -n \"__fish_deskledger_using_subcommand report\" -f -a \"{}\" -d '{title}'",
                report.name
            )?;
        }
    }
    std::io::stdout().write_all(&script)?;
    Ok(())
}
