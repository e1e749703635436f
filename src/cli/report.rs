//! `deskledger report`: lists the reports, explains one, or runs it.
//!
//! A report's parameters are known only once its file has been read, so clap cannot know them: it takes the command's
//! own options and leaves `NAME --param value …` as words, which are read here. clap would also end the options at the
//! first word; [`arrange`] puts them before it, so that people may write them in any order.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono_tz::Tz;
use clap::Args as _;
use sqlx::PgPool;

use super::access::of_command;
use crate::clock::Clock;
use crate::domain::parse_duration;
use crate::report::catalogue::{Catalogue, Report};
use crate::report::header::Parameter;
use crate::report::page::{Asking, Page, Style};
use crate::report::params::{Values, unknown_parameter};
use crate::report::render::{Format, Look};
use crate::report::{self, Cell, Column, ColumnKind, Head, ReportError, Sink};
use crate::store::Access;

/// Answer a question from the ledger; without a name, list the questions
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to write it; without this the output file's ending decides, else `table`
    #[arg(long, short, value_enum)]
    format: Option<Format>,
    /// Write to a file, which appears when it is whole; `-` is standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Draw the report's chart instead of its table
    #[arg(long, conflicts_with = "format")]
    chart: bool,
    /// Leave out what the columns mean, under a table
    #[arg(long)]
    no_legend: bool,
    /// Every report for one period on one page, as HTML; takes --from, --to, --tz, --source and --bucket
    #[arg(long)]
    all: bool,
    /// With --all: leave out what names persons or desktops, as for the role `deskledger_planner`
    #[arg(long, requires = "all")]
    without_names: bool,
    /// Print the report's file instead of running it
    #[arg(long)]
    show_sql: bool,
    /// A folder with reports of your own, one `.sql` file each
    #[arg(long, value_name = "DIR", env = "DESKLEDGER_QUERIES")]
    queries: Option<PathBuf>,
    /// Give up after this long
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = timeout)]
    timeout: Duration,
    /// The report and its parameters; `report NAME --help` shows them
    #[arg(value_name = "NAME [--PARAMETER VALUE]", trailing_var_arg = true)]
    words: Vec<String>,
}

pub(super) fn timeout(text: &str) -> Result<Duration, String> {
    let given = parse_duration(text).map_err(|error| error.to_string())?;
    // PostgreSQL counts it in an int4 of milliseconds, and takes 0 for no limit at all.
    match given.to_std() {
        Ok(given) if !given.is_zero() && given.as_secs() <= 2_000_000 => Ok(given),
        _ => Err("must be at least 1s and at most 23d".to_owned()),
    }
}

/// What is to be done, once the words have been read.
#[derive(Debug)]
pub enum Plan {
    /// Needs no database.
    Local(Local),
    /// Needs the ledger.
    Run(Box<Job>),
    /// The whole report; needs the ledger.
    Page(Box<PageJob>),
}

/// Something to print that needs no database.
#[derive(Debug)]
pub enum Local {
    /// Text as it is: a report's help or its file.
    Text(String),
    /// The list of reports.
    List(Catalogue, Target),
}

/// A report with its values, ready to run.
#[derive(Debug)]
pub struct Job {
    report: Report,
    values: Values,
    timeout: Duration,
    target: Target,
}

/// All reports on one page.
#[derive(Debug)]
pub struct PageJob {
    /// Must be run with the rights of a planner.
    pub(super) is_without_names: bool,
    catalogue: Catalogue,
    asking: Asking,
    timeout: Duration,
    target: Target,
}

/// Where the result goes and in what form.
#[derive(Debug)]
pub struct Target {
    format: Format,
    output: Option<PathBuf>,
    is_bare: bool,
}

/// Brings the options of `report` and the global ones before the report's name, where clap sees them; what is left is
/// the name and its parameters. Leaves the arguments of other commands alone.
#[must_use]
pub fn arrange(arguments: Vec<OsString>, command: &clap::Command) -> Vec<OsString> {
    let Some(own) = command.find_subcommand("report") else { return arguments };
    let global = || command.get_arguments().filter(|option| option.is_global_set());
    let mut rest = arguments.into_iter();
    let mut arranged: Vec<OsString> = rest.by_ref().take(1).collect();
    // Up to the command's name.
    while let Some(word) = rest.next() {
        let found = word.to_str().and_then(|text| option(text, command.get_arguments()));
        let is_command = found.is_none() && !word.to_string_lossy().starts_with('-');
        let is_report = word == "report";
        arranged.push(word);
        if found.is_some_and(|takes_next| takes_next) {
            arranged.extend(rest.next());
        }
        if is_command && !is_report {
            arranged.extend(rest);
            return arranged;
        }
        if is_command {
            break;
        }
    }
    let mut words = Vec::new();
    let mut has_name = false;
    while let Some(word) = rest.next() {
        let text = word.to_str().unwrap_or("").to_owned();
        if let Some(takes_next) = option(&text, own.get_arguments().chain(global())) {
            arranged.push(word);
            if takes_next {
                arranged.extend(rest.next());
            }
        } else if text.starts_with("--") && !text.contains('=') && text != "--help" {
            words.push(word);
            words.extend(rest.next());
        } else if !text.starts_with('-') && !has_name {
            has_name = true;
            words.insert(0, word);
        } else {
            words.push(word);
        }
    }
    // The whole report has no name before its parameters, which clap would take for its own.
    if arranged.iter().any(|word| word == "--all") {
        arranged.push("--".into());
    }
    arranged.extend(words);
    arranged
}

/// Whether a word is one of these options and, if so, whether the next word is its value.
fn option<'a>(word: &str, options: impl Iterator<Item = &'a clap::Arg>) -> Option<bool> {
    let mut options = options.filter(|option| !option.is_positional() && option.get_id() != "help");
    if let Some(long) = word.strip_prefix("--") {
        let (name, is_joined) =
            long.split_once('=').map_or((long, false), |(name, _)| (name, true));
        let known = options.find(|option| option.get_long() == Some(name))?;
        return Some(known.get_action().takes_values() && !is_joined);
    }
    let mut letters = word.strip_prefix('-')?.chars();
    let letter = letters.next()?;
    let known = options.find(|option| option.get_short() == Some(letter))?;
    Some(known.get_action().takes_values() && letters.as_str().is_empty())
}

impl Args {
    /// Reads the words. `queries` is the folder that the configuration names, where no option does.
    ///
    /// # Errors
    /// Wrong use, with the nearest right answer.
    pub fn plan(self, queries: Option<&Path>) -> Result<Plan, ReportError> {
        if self.all {
            return self.plan_page();
        }
        let format = match (self.format, &self.output) {
            (Some(format), _) => format,
            (None, Some(path)) if path != "-" => match Format::of_file(path)? {
                Format::Table if self.chart => Format::Chart,
                _ if self.chart => return Err(ReportError::ChartIsText(path.clone())),
                format => format,
            },
            (None, _) if self.chart => Format::Chart,
            (None, _) => Format::Table,
        };
        let output = self.output.filter(|path| path != "-");
        let target = Target { format, output, is_bare: self.no_legend };
        let mut catalogue = Catalogue::built_in();
        if let Some(folder) = self.queries.as_deref().or(queries) {
            catalogue.add_folder(folder)?;
        }
        let drawn: Vec<String> = catalogue
            .reports()
            .iter()
            .filter(|report| report.chart.is_some())
            .map(|report| report.name.clone())
            .collect();
        let mut words = self.words.into_iter();
        let Some(name) = words.next() else {
            if self.chart {
                return Err(ReportError::NoChart { report: "report".to_owned(), known: drawn });
            }
            return Ok(Plan::Local(Local::List(catalogue, target)));
        };
        let report = catalogue.take(&name)?;
        if self.show_sql {
            return Ok(Plan::Local(Local::Text(report.text)));
        }
        let Some(given) = read_parameters(&report, words)? else {
            return Ok(Plan::Local(Local::Text(help(&report))));
        };
        if self.chart && report.chart.is_none() {
            return Err(ReportError::NoChart { report: report.name, known: drawn });
        }
        let values = Values::new(&report, given)?;
        Ok(Plan::Run(Box::new(Job { report, values, timeout: self.timeout, target })))
    }
}

impl Args {
    fn plan_page(self) -> Result<Plan, ReportError> {
        let format = match (self.format, &self.output) {
            (None, Some(path)) if path != "-" => Format::of_file(path)?,
            (format, _) => format.unwrap_or(Format::Html),
        };
        if format != Format::Html {
            return Err(ReportError::WholeIsHtml);
        }
        let output = self.output.filter(|path| path != "-");
        let target = Target { format, output, is_bare: false };
        let catalogue = Catalogue::built_in();
        // It has each parameter that all reports are asked with.
        let model = catalogue.get("utilisation")?;
        let Some(given) = read_parameters(model, self.words.into_iter())? else {
            return Ok(Plan::Local(Local::Text(help(model))));
        };
        Values::new(model, given.iter().cloned())?;
        let mut asking = Asking::default();
        for (name, value) in given {
            match name.as_str() {
                "from" => asking.from = value,
                "to" => asking.to = value,
                "tz" => asking.tz = value,
                "source" => asking.source = value,
                _ => asking.bucket = value,
            }
        }
        Ok(Plan::Page(Box::new(PageJob {
            is_without_names: self.without_names,
            catalogue,
            asking,
            timeout: self.timeout,
            target,
        })))
    }
}

impl PageJob {
    /// What is written down of its run.
    pub(super) fn access(&self) -> Access {
        let Asking { from, to, tz, source, bucket } = &self.asking;
        let given =
            [("from", from), ("to", to), ("tz", tz), ("source", source), ("bucket", bucket)];
        let given = given.map(|(name, value)| (name.to_owned(), value.as_str().into()));
        of_command("report --all", None, given)
    }

    /// Answers everything and writes the page.
    ///
    /// # Errors
    /// See [`ReportError`].
    pub async fn run(self, pool: &PgPool) -> Result<(), ReportError> {
        let Self { is_without_names, catalogue, asking, timeout, target } = self;
        let now = Clock::System.now();
        let catalogue = &catalogue;
        let page = Page { pool, catalogue, timeout, now, is_without_names, at_once: 2 };
        let html = page.html(&asking, &Style::default()).await?;
        target.write_whole(html.as_bytes())
    }
}

/// `--name value` and `--name=value`, as often as there are; `None` if help is asked for.
fn read_parameters(
    report: &Report,
    mut words: impl Iterator<Item = String>,
) -> Result<Option<Vec<(String, String)>>, ReportError> {
    let mut given = Vec::new();
    while let Some(word) = words.next() {
        if word == "--help" || word == "-h" {
            return Ok(None);
        }
        let Some(option) = word.strip_prefix("--") else {
            return Err(ReportError::StrayWord { word });
        };
        let (name, joined) = match option.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (option, None),
        };
        if report.parameter(name).is_none() {
            return Err(unknown_parameter(
                report,
                name,
                &["format", "output", "chart", "no-legend", "show-sql", "queries", "timeout"],
            ));
        }
        let value = joined
            .or_else(|| words.next())
            .ok_or_else(|| ReportError::MissingValue(word.clone()))?;
        given.push((name.to_owned(), value));
    }
    Ok(Some(given))
}

/// A report's help: what its header says, in the form of all other help.
fn help(report: &Report) -> String {
    explained(report).render_help().to_string()
}

/// A report as if it were a command: what its header says becomes its help and its page of the manual.
#[must_use]
pub fn explained(report: &Report) -> clap::Command {
    let command = clap::Command::new("report")
        .bin_name(format!("deskledger report {}", report.name))
        .display_name(format!("deskledger-report-{}", report.name));
    let command = Args::augment_args(command)
        // After the arguments, whose own description it replaces.
        .about(format!("{}\n\n{}", report.title, unwrapped(&report.description)))
        .mut_arg("words", |words| words.hide(true))
        // clap's own would promise that `--help` says more than `-h`.
        .disable_help_flag(true)
        .arg(
            clap::Arg::new("help")
                .long("help")
                .short('h')
                .help("Print help")
                .action(clap::ArgAction::HelpShort),
        );
    let command = report.parameters.iter().map(option_of).fold(command, clap::Command::arg);
    let width = report.columns.iter().map(|column| column.name.len()).max().unwrap_or(0);
    let mut after = String::new();
    if !report.columns.is_empty() {
        after.push_str("Columns:\n");
    }
    for column in &report.columns {
        after.push_str(&format!("  {:width$}  {}\n", column.name, column.meaning));
    }
    command.after_help(after)
}

/// `report` as shells know it: with the names of the reports, and the parameters of all of them.
#[must_use]
pub fn completed(command: clap::Command) -> clap::Command {
    let catalogue = Catalogue::built_in();
    let names = catalogue.reports().iter().map(|report| {
        clap::builder::PossibleValue::new(report.name.clone()).help(report.title.clone())
    });
    let names = clap::builder::PossibleValuesParser::new(names);
    let mut known = BTreeSet::new();
    let parameters = catalogue.reports().iter().flat_map(|report| &report.parameters);
    let parameters = parameters.filter(|parameter| known.insert(parameter.name.as_str()));
    // Some are required by one report and not known to another.
    let options = parameters.map(|parameter| option_of(parameter).required(false));
    options.fold(
        // One name, not as many as there are words.
        command.mut_arg("words", |words| {
            words.value_parser(names).trailing_var_arg(false).num_args(1)
        }),
        clap::Command::arg,
    )
}

/// A report's parameter as an option.
fn option_of(parameter: &Parameter) -> clap::Arg {
    let default = match parameter.default.as_deref() {
        None => " [required]".to_owned(),
        Some("") => String::new(),
        Some(default) => format!(" [default: {default}]"),
    };
    let range = parameter.range.map(|range| format!(" [{range}]")).unwrap_or_default();
    clap::Arg::new(format!("parameter {}", parameter.name))
        .long(parameter.name.clone())
        .value_name(parameter.kind.to_string().to_uppercase())
        .help(format!("{}{range}{default}", parameter.meaning))
        .help_heading("Parameters")
        .required(parameter.default.is_none())
}

/// Paragraphs on one line each, for clap to fit to the terminal; what is set in stays as it is.
fn unwrapped(prose: &str) -> String {
    let mut text = String::new();
    let mut goes_on = false;
    for line in prose.lines() {
        let is_prose = !line.is_empty() && !line.starts_with(' ');
        if !text.is_empty() {
            text.push(if goes_on && is_prose { ' ' } else { '\n' });
        }
        text.push_str(line);
        goes_on = is_prose;
    }
    text
}

impl Local {
    /// Prints it.
    ///
    /// # Errors
    /// The output cannot be written.
    pub fn print(self) -> Result<(), ReportError> {
        match self {
            Self::Text(text) => {
                let written = io::stdout().write_all(text.as_bytes());
                unless_nobody_reads(written.map_err(|source| unwritable("standard output", source)))
            }
            Self::List(catalogue, target) => {
                for defect in catalogue.defects() {
                    eprintln!("warning: {defect}");
                }
                target.write(|sink| {
                    list(&catalogue, sink).map_err(|source| unwritable("the list", source))
                })
            }
        }
    }
}

fn list(catalogue: &Catalogue, sink: &mut dyn Sink) -> io::Result<()> {
    let text = |name: &str| Column { name: name.to_owned(), kind: ColumnKind::Text };
    let head = Head {
        report: "reports".to_owned(),
        title: "Reports".to_owned(),
        description: String::new(),
        definitions: Vec::new(),
        chart: None,
        asked: Vec::new(),
        stretches: Vec::new(),
        time_zone: Tz::UTC,
        sampling: Vec::new(),
    };
    sink.begin(&head, &["name", "title", "file"].map(text))?;
    for report in catalogue.reports() {
        let cells = [&report.name, &report.title, &report.path.display().to_string()];
        sink.row(cells.map(|text| Cell::Text(text.clone())).to_vec())?;
    }
    sink.end()
}

impl Job {
    /// What is written down of its run.
    pub(super) fn access(&self) -> Access {
        let given = self.values.all().map(|(name, value)| (name.to_owned(), value.into()));
        of_command("report", Some(self.report.name.clone()), given)
    }

    /// Runs the report and writes its result.
    ///
    /// # Errors
    /// See [`ReportError`]. A reader that has gone away (`| head`) is none.
    pub async fn run(self, pool: &PgPool) -> Result<(), ReportError> {
        let Self { report, values, timeout, target } = self;
        let has_heading = target.format.has_heading();
        let mut open = target.open()?;
        let outcome = if has_heading {
            report::run(pool, &report, &values, timeout, open.sink.as_mut()).await
        } else {
            let mut telling = Telling(open.sink.as_mut());
            report::run(pool, &report, &values, timeout, &mut telling).await
        };
        open.finish(outcome)
    }
}

/// Rows for programs have no heading, and what is pruned would look like what never was: whoever runs the report is told.
struct Telling<'a>(&'a mut dyn Sink);

impl Sink for Telling<'_> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        for line in report::pruned(head) {
            eprintln!("{line}");
        }
        self.0.begin(head, columns)
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.0.row(cells)
    }

    fn end(&mut self) -> io::Result<()> {
        self.0.end()
    }
}

/// An output that has been opened.
struct Open {
    sink: Box<dyn Sink>,
    /// Where it is written to until it is whole, and where it belongs.
    rename: Option<(PathBuf, PathBuf)>,
    name: String,
}

impl Target {
    fn write(
        &self,
        fill: impl FnOnce(&mut dyn Sink) -> Result<(), ReportError>,
    ) -> Result<(), ReportError> {
        let mut open = self.open()?;
        let outcome = fill(open.sink.as_mut());
        open.finish(outcome)
    }

    fn open(&self) -> Result<Open, ReportError> {
        let Some(path) = &self.output else {
            let is_terminal = io::stdout().is_terminal();
            if is_terminal && self.format.is_binary() {
                return Err(ReportError::BinaryToTerminal);
            }
            let look = Look {
                is_terminal,
                width: super::terminal_width(),
                is_styled: is_terminal
                    && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
                is_bare: self.is_bare,
            };
            let sink = self.format.sink(BufWriter::new(io::stdout()), look);
            return Ok(Open { sink, rename: None, name: "standard output".to_owned() });
        };
        let name = path.display().to_string();
        // A pipe or a device is written as it is; a file must never be taken for whole when it is not.
        let is_file = fs::metadata(path).map_or(true, |found| found.is_file());
        let written = if is_file { partial(path) } else { path.clone() };
        let file = File::create(&written).map_err(|source| unwritable(&name, source))?;
        let look = Look { is_bare: self.is_bare, ..Look::default() };
        let sink = self.format.sink(BufWriter::new(file), look);
        Ok(Open { sink, rename: is_file.then(|| (written, path.clone())), name })
    }
}

impl Target {
    /// Writes what is whole already.
    fn write_whole(&self, whole: &[u8]) -> Result<(), ReportError> {
        let Some(path) = &self.output else {
            let written = io::stdout().write_all(whole).and_then(|()| io::stdout().flush());
            return unless_nobody_reads(
                written.map_err(|source| unwritable("standard output", source)),
            );
        };
        let name = path.display().to_string();
        let is_file = fs::metadata(path).map_or(true, |found| found.is_file());
        let written = if is_file { partial(path) } else { path.clone() };
        let outcome = fs::write(&written, whole)
            .and_then(|()| if is_file { fs::rename(&written, path) } else { Ok(()) });
        if outcome.is_err() && is_file {
            let _ = fs::remove_file(written);
        }
        outcome.map_err(|source| unwritable(&name, source))
    }
}

/// Beside the file, so that it can be renamed.
fn partial(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

impl Open {
    fn finish(self, outcome: Result<(), ReportError>) -> Result<(), ReportError> {
        let Self { sink, rename, name } = self;
        drop(sink);
        let outcome = match (outcome, rename) {
            (Ok(()), Some((written, path))) => {
                fs::rename(written, path).map_err(|source| unwritable(&name, source))
            }
            (Err(error), Some((written, _))) => {
                // Nothing is gained by a second error about a file that nobody asked for.
                let _ = fs::remove_file(written);
                Err(error)
            }
            (outcome, None) => outcome,
        };
        let outcome = outcome.map_err(|error| match error {
            ReportError::Output { source, .. } => unwritable(&name, source),
            other => other,
        });
        unless_nobody_reads(outcome)
    }
}

fn unwritable(target: &str, source: io::Error) -> ReportError {
    ReportError::Output { target: target.to_owned(), source }
}

/// `deskledger report … | head` has done what was asked of it.
fn unless_nobody_reads(outcome: Result<(), ReportError>) -> Result<(), ReportError> {
    match outcome {
        Err(ReportError::Output { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            Ok(())
        }
        other => other,
    }
}
