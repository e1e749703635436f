//! `deskledger man`: the pages of the manual, one for each command, each command in it, and each report.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::{Cli, report};
use crate::error::usage;
use crate::report::catalogue::Catalogue;

/// Arguments of `man`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The command, or two words: `hold add`, `report outages`; without one, the program.
    #[arg(value_name = "COMMAND", num_args = 0..=2)]
    pub command: Vec<String>,
    /// Write every page into this folder, which is made if it is not there.
    #[arg(long, short, value_name = "DIR", conflicts_with = "command")]
    pub output: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// There is no such command, or the pages cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let pages = pages();
    if let Some(folder) = &args.output {
        return write_all(&pages, folder);
    }
    let wanted: Vec<&str> =
        std::iter::once("deskledger").chain(args.command.iter().map(String::as_str)).collect();
    let name = wanted.join("-");
    let Some(page) = pages.iter().find(|page| page.name == name) else {
        let nearest =
            pages.iter().min_by_key(|page| strsim::damerau_levenshtein(&page.name, &name));
        let nearest = nearest.map_or("deskledger", |page| &page.name);
        return Err(usage(anyhow::anyhow!("no page `{name}`; did you mean `{nearest}`?")));
    };
    std::io::stdout().write_all(&page.text)?;
    Ok(())
}

/// One page.
struct Page {
    /// `deskledger-collect`
    name: String,
    text: Vec<u8>,
}

fn pages() -> Vec<Page> {
    let mut program = Cli::command().disable_help_subcommand(true);
    program.build();
    let catalogue = Catalogue::built_in();
    let reports = catalogue.reports().iter().map(|one| {
        let mut command = report::explained(one);
        command.build();
        // The first line is what `apropos` shows.
        command.about(one.title.clone()).long_about(format!("{}\n\n{}", one.title, one.description))
    });
    with_those_below(&program).into_iter().chain(reports).map(page).collect()
}

/// A command, and the commands in it: `hold`, `hold add`.
fn with_those_below(command: &Command) -> Vec<Command> {
    // What only shows help is no command to read about.
    let below = command.get_subcommands().filter(|below| below.get_name() != "help");
    std::iter::once(command.clone()).chain(below.flat_map(with_those_below)).collect()
}

fn page(command: Command) -> Page {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let man = Man::new(command)
        .title(name.to_uppercase())
        // An empty date is left out, and what follows would take its place.
        .date(" ")
        .source(concat!("deskledger ", env!("CARGO_PKG_VERSION")))
        .manual("deskledger");
    let mut text = Vec::new();
    man.render(&mut text).expect("nothing hinders writing into memory");
    Page { name, text }
}

fn write_all(pages: &[Page], folder: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder).with_context(|| format!("make `{}`", folder.display()))?;
    for page in pages {
        let path = folder.join(format!("{}.1", page.name));
        std::fs::write(&path, &page.text).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_and_every_report_has_a_page_that_says_what_it_is() {
        let pages = pages();
        let named = |name: &str| pages.iter().find(|page| page.name == name).expect(name);
        for command in Cli::command().get_subcommands() {
            let page = named(&format!("deskledger-{}", command.get_name()));
            let text = String::from_utf8_lossy(&page.text);
            assert!(text.contains(".SH SYNOPSIS") && text.contains(".SH DESCRIPTION"), "{text}");
        }
        // A command in another one has its own page, with its own options.
        for (name, option) in [
            ("deskledger-hold-add", "reason"),
            ("deskledger-hold-drop", "NUMBER"),
            ("deskledger-hold-list", "verbose"),
            ("deskledger-webhook-test", "NAME"),
            ("deskledger-webhook-secret", "verbose"),
        ] {
            let text = String::from_utf8_lossy(&named(name).text);
            assert!(text.contains(".SH SYNOPSIS") && text.contains(option), "{text}");
        }
        for parent in Cli::command().get_subcommands() {
            let name = format!("deskledger-{}", parent.get_name());
            let text = String::from_utf8_lossy(&named(&name).text).replace('\\', "");
            for command in parent.get_subcommands() {
                let name = format!("{name}-{}", command.get_name());
                assert!(text.contains(&format!("{name}(1)")), "{name}: {text}");
                named(&name);
            }
        }
        assert!(pages.iter().all(|page| !page.name.ends_with("-help")), "help has no page");
        let text = String::from_utf8_lossy(&named("deskledger-report-outages").text);
        assert!(text.contains("within") || text.contains("share"), "{text}");
        assert!(text.contains(".SH PARAMETERS"), "{text}");
        let head = format!(".TH DESKLEDGER 1 \" \" \"deskledger {}\"", env!("CARGO_PKG_VERSION"));
        assert!(String::from_utf8_lossy(&named("deskledger").text).contains(&head));
    }
}
