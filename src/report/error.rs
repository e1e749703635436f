//! What can go wrong with a report, sorted by whose turn it is: the caller's or the database's.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::header::Kind;

/// Why there is no report. Each message is one line and names the value that it is about.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// All reports on one page were asked for in another form.
    #[error(
        "all reports on one page are HTML; give `--format html`, or an output file that ends in .html"
    )]
    WholeIsHtml,
    /// No such report.
    #[error("there is no report `{name}`{}", hint(nearest.as_deref(), known))]
    UnknownReport {
        /// As given.
        name: String,
        /// The one probably meant.
        nearest: Option<String>,
        /// All there are.
        known: Vec<String>,
    },
    /// The report has no such parameter, nor has the command such an option.
    #[error("`{report}` has no parameter `{name}`{}", hint(nearest.as_deref(), known))]
    UnknownParameter {
        /// The report's name.
        report: String,
        /// As given, with its hyphens.
        name: String,
        /// The one probably meant.
        nearest: Option<String>,
        /// All it has.
        known: Vec<String>,
    },
    /// A parameter without a default was not given.
    #[error("`{report}` needs `--{name}` ({kind}: {meaning})")]
    MissingParameter {
        /// The report's name.
        report: String,
        /// The parameter.
        name: String,
        /// What it takes.
        kind: Kind,
        /// What it means.
        meaning: String,
    },
    /// An option came last, without its value.
    #[error("`{0}` needs a value")]
    MissingValue(String),
    /// A parameter was given twice.
    #[error("`--{0}` is given twice")]
    GivenTwice(String),
    /// A word that belongs to no option.
    #[error("`{word}` belongs to no option; a parameter is written `--name value`")]
    StrayWord {
        /// As given.
        word: String,
    },
    /// A value outside a closed list: time zone, source, bucket.
    #[error("there is no {what} `{value}`{}", hint(nearest.as_deref(), known))]
    UnknownValue {
        /// What the value should have been.
        what: &'static str,
        /// As given.
        value: String,
        /// The one probably meant.
        nearest: Option<String>,
        /// All there are, unless they are too many to show.
        known: Vec<String>,
    },
    /// A name of somebody or something that the ledger knows nothing of.
    #[error(
        "the ledger never saw a {what} `{value}`{}{}",
        source_name.as_ref().map(|source| format!(" in `{source}`")).unwrap_or_default(),
        hint(nearest.as_deref(), &[])
    )]
    NeverSeen {
        /// What the name should have been of.
        what: &'static str,
        /// As given.
        value: String,
        /// The source that was asked for.
        source_name: Option<String>,
        /// The one probably meant.
        nearest: Option<String>,
    },
    /// A value that does not read as what its parameter takes.
    #[error("`--{parameter} {value}`: {problem}")]
    BadValue {
        /// The parameter.
        parameter: String,
        /// As given.
        value: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A period has no length, or ends before it begins.
    #[error("{}", no_period(names, from, to))]
    NoPeriod {
        /// The parameters of its ends.
        names: [&'static str; 2],
        /// RFC 3339.
        from: String,
        /// RFC 3339.
        to: String,
    },
    /// The working day ends in the hour in which it begins.
    #[error(
        "`--day-from {hour}` and `--day-to {hour}` leave no working hours; the whole day is `--day-from 0 --day-to 24`"
    )]
    NoWorkingHours {
        /// Both.
        hour: i64,
    },
    /// A time zone as a distance from UTC.
    #[error("there is no time zone `{value}`: zones have names, such as {example}, which know of summer time{}",
        same.as_ref().map(|same| format!("; {same}")).unwrap_or_default())]
    FixedOffset {
        /// As given.
        value: String,
        /// Names for it.
        example: &'static str,
        /// The one of that distance, where there is one.
        same: Option<String>,
    },
    /// The database refused a value in terms that are meant for the caller.
    #[error("{0}")]
    Refused(String),
    /// The report's file is not one.
    #[error("report `{report}` ({}): {problem}", path.display())]
    Defect {
        /// The report's name.
        report: String,
        /// Its file.
        path: PathBuf,
        /// What is wrong, with the line.
        problem: String,
    },
    /// A folder of reports cannot be read.
    #[error("could not read the queries in `{}`", path.display())]
    Folder {
        /// The folder, or the file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The ending of the output file names no format.
    #[error("`{}` does not end in a format's name; give `--format`, or end it in {known}", path.display())]
    UnknownEnding {
        /// The output file.
        path: PathBuf,
        /// The endings there are.
        known: &'static str,
    },
    /// The report's header does not say how it is drawn.
    #[error("`{report}` has no chart; there is one of {}", known.join(", "))]
    NoChart {
        /// The report's name.
        report: String,
        /// The reports that have one.
        known: Vec<String>,
    },
    /// A chart was asked for in a file that is to hold something else.
    #[error("a chart is text: end `{}` in .txt, or leave `--chart` out", .0.display())]
    ChartIsText(PathBuf),
    /// A terminal can show text alone.
    #[error("a workbook is nothing for a terminal; give `--output FILE.xlsx`")]
    BinaryToTerminal,
    /// The output cannot be written.
    #[error("could not write `{target}`")]
    Output {
        /// A path, or `standard output`.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The statement ran longer than allowed.
    #[error("the report took longer than {} s; a shorter period is faster, `--timeout` gives it more time", .0.as_secs())]
    Timeout(Duration),
    /// The database failed.
    #[error("could not run report `{report}`")]
    Database {
        /// The report's name.
        report: String,
        /// Why.
        source: sqlx::Error,
    },
}

impl ReportError {
    /// Whether the database login lacks a right.
    #[must_use]
    pub fn is_denied(&self) -> bool {
        let Self::Database { source, .. } = self else { return false };
        source
            .as_database_error()
            .and_then(|error| error.code())
            .is_some_and(|code| code == "42501")
    }

    /// Whether whoever takes the rows would not take as many.
    #[must_use]
    pub fn is_too_large(&self) -> bool {
        matches!(self, Self::Output { source, .. } if source.kind() == io::ErrorKind::FileTooLarge)
    }

    /// What a browser is told: the message without what is on this machine.
    #[must_use]
    pub fn for_others(&self) -> String {
        match self {
            Self::Defect { report, problem, .. } => format!("report `{report}`: {problem}"),
            other => other.to_string(),
        }
    }

    /// The caller can mend it: another value, another file. Exit code 2; everything else is 3.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::UnknownReport { .. }
            | Self::UnknownParameter { .. }
            | Self::MissingParameter { .. }
            | Self::MissingValue(_)
            | Self::GivenTwice(_)
            | Self::StrayWord { .. }
            | Self::UnknownValue { .. }
            | Self::NeverSeen { .. }
            | Self::BadValue { .. }
            | Self::NoPeriod { .. }
            | Self::NoWorkingHours { .. }
            | Self::FixedOffset { .. }
            | Self::Refused(_)
            | Self::Defect { .. }
            | Self::Folder { .. }
            | Self::UnknownEnding { .. }
            | Self::BinaryToTerminal
            | Self::ChartIsText(_)
            | Self::NoChart { .. }
            | Self::WholeIsHtml
            | Self::Output { .. } => true,
            Self::Timeout(_) | Self::Database { .. } => false,
        }
    }
}

/// What is wrong with a period in which no instant lies.
fn no_period(names: &[&str; 2], from: &str, to: &str) -> String {
    let [first, last] = names;
    let period = if *first == "from" { "period" } else { "other period" };
    if from == to {
        format!("the {period} is empty: `{first}` and `{last}` are both {from}")
    } else {
        format!("the {period} ends before it begins: `{first}` is {from}, `{last}` is {to}")
    }
}

/// The end of a sentence about an unknown word: the one probably meant, or what there is.
fn hint(nearest: Option<&str>, known: &[String]) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean `{nearest}`?"),
        None if known.is_empty() => String::new(),
        None => format!("; there is {}", known.join(", ")),
    }
}

/// No name is longer.
const LONGEST_NAME: usize = 200;

/// The candidate closest to a word, if it is close enough to have been meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    // Nobody meant a name by that, and comparing takes as long as it is long.
    if word.len() > LONGEST_NAME {
        return None;
    }
    let word = word.to_lowercase();
    // Who writes the beginning of a name means it: all the more so if that is a whole word of it.
    let beginning = |candidate: &str| {
        let rest = candidate.strip_prefix(word.as_str())?;
        let next = rest.chars().next()?;
        let is_word = word.chars().count() >= 2 && !next.is_alphanumeric();
        let is_start = word.chars().count() >= 3;
        if is_word { Some(0.99) } else { is_start.then_some(0.86) }
    };
    let likeness = |candidate: &str| {
        let slips = strsim::osa_distance(&word, candidate);
        let is_near = slips <= (word.len() / 3).max(1) && slips < word.len();
        let likeness = strsim::jaro_winkler(&word, candidate);
        (is_near || likeness >= 0.85).then_some(likeness)
    };
    let scored = candidates.into_iter().filter_map(|candidate| {
        let lower = candidate.to_lowercase();
        // A city without its continent is nearly as good as the whole name.
        let city = lower.rsplit_once('/').and_then(|(_, city)| likeness(city)).map(|it| it - 0.01);
        let known = likeness(&lower).into_iter().chain(beginning(&lower)).chain(city);
        Some((candidate, known.reduce(f64::max)?))
    });
    // Of those that are as near, the one with the least that was not written.
    let best = scored.max_by(|(first, one), (second, other)| {
        one.total_cmp(other).then_with(|| second.len().cmp(&first.len()))
    });
    best.map(|(candidate, _)| candidate.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_is_near() {
        let zones = || chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        assert_eq!(nearest("Europe/Berln", zones()).as_deref(), Some("Europe/Berlin"));
        assert_eq!(nearest("berlin", zones()).as_deref(), Some("Europe/Berlin"));
        assert_eq!(
            nearest("utilization", ["utilisation", "coverage"]).as_deref(),
            Some("utilisation")
        );
        assert_eq!(nearest("dya", ["hour", "day", "week", "month"]).as_deref(), Some("day"));
        assert_eq!(nearest("qqq", ["hour", "day"]), None);
        // Who types a first name means the whole one, however long, and rather than another's.
        let people = [
            "alicia",
            "alice.smith@branch.example.org",
            "malice",
            "alice.smithson@branch.example.org",
        ];
        assert_eq!(nearest("alice", people).as_deref(), Some("alice.smith@branch.example.org"));
        assert_eq!(
            nearest("Desk", ["DESK-0001-of-the-third-floor"]).as_deref(),
            Some("DESK-0001-of-the-third-floor")
        );
        assert_eq!(nearest("a", ["alice.smith"]), None);
        assert_eq!(nearest(&"day".repeat(20_000), ["hour", "day"]), None);
    }
}
