//! A result as a section of a page: its pictures, its table, and the words around them.

use chrono_tz::Tz;
use serde::Serialize;

use super::bucket::Edges;
use super::draw::{Drawing, Mark, Picture};
use super::figure::Figures;
use super::table::{Layout, Table};
use crate::domain::harmless;
use crate::report::header::{Chart, ChartKind, ColumnDoc};
use crate::report::render::heading::subtitle;
use crate::report::render::people::NOTHING;
use crate::report::run::{Asked, Head};
use crate::report::value::{Cell, Column};

/// More rows than this are not shown on a page of many sections.
pub(super) const MOST_ROWS: usize = 200;

/// What a template shows of one result.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Section {
    /// The report's name.
    pub id: String,
    pub title: String,
    /// What it answers, in a sentence or two.
    pub about: String,
    /// What was asked for.
    pub asked: String,
    /// From when to when it looks, where that is not what the page says of itself.
    pub looked_at: Option<String>,
    /// How to have it again.
    pub command: String,
    /// Where its SQL is to be seen.
    pub sql: Option<String>,
    pub pictures: Vec<Picture>,
    pub legend: Vec<Legend>,
    pub band: Option<String>,
    pub has_holes: bool,
    pub has_marks: bool,
    pub has_coverage: bool,
    /// Some of what is drawn belongs to buckets that the period cuts.
    pub has_cut: bool,
    pub left_out: Option<String>,
    pub table: Table,
    /// Columns and what they mean.
    pub definitions: Vec<Definition>,
    /// Why there is no result.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Legend {
    pub name: String,
    /// The style sheet's number of its colour.
    pub color: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Definition {
    pub name: String,
    pub meaning: String,
}

impl Definition {
    /// The reader sees the sign and not the value behind it.
    pub fn of(column: &ColumnDoc) -> Self {
        let meaning = harmless(&column.meaning).replace("null:", &format!("{NOTHING}:"));
        Self { name: harmless(&column.name), meaning }
    }
}

/// A result and how it is to be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'a> {
    /// The report's name.
    pub name: &'a str,
    /// What it answers.
    pub about: &'a str,
    pub head: &'a Head,
    pub columns: &'a [Column],
    pub rows: &'a [Vec<Cell>],
    /// Instead of the report's own.
    pub chart: Option<&'a Chart>,
    /// Drawn into pictures that go along instants.
    pub marks: &'a [Mark],
    /// How many rows of the table at most.
    pub most_rows: usize,
    /// Of the table's instants: of a report that knows no time zone, the page's.
    pub tz: Tz,
}

impl Shown<'_> {
    pub fn section(&self) -> Section {
        let chart = self.chart.or(self.head.chart.as_ref());
        let figures = Figures::new(self.head, self.columns, chart);
        let edges = self.columns.first().and_then(|first| Edges::of(self.head, &first.name));
        let drawn = chart.filter(|_| !self.rows.is_empty()).map(|chart| {
            let drawing = Drawing {
                chart,
                figures: &figures,
                rows: self.rows,
                head: self.head,
                marks: self.marks,
            };
            drawing.draw()
        });
        let (drawn, problem) = match drawn {
            None => (None, None),
            Some(Ok(drawn)) => (drawn, None),
            Some(Err(error)) => (None, Some(format!("It could not be drawn: {error}"))),
        };
        let pictures = drawn.unwrap_or_default();
        let legend = pictures.legend.into_iter().map(|(name, color)| Legend { name, color });
        let is_shown = |name: &str| self.columns.iter().any(|column| column.name == name);
        let layout = Layout::new(&figures, edges, self.tz);
        let field = chart.filter(|chart| chart.kind == ChartKind::Heat);
        let field = field.and_then(|chart| layout.field(chart, self.rows));
        let told = self.head.definitions.iter().filter(|column| is_shown(&column.name));
        Section {
            id: harmless(self.name),
            title: harmless(&self.head.title),
            about: harmless(self.about),
            asked: subtitle(self.head),
            looked_at: None,
            command: command(self.name, self.head),
            sql: None,
            legend: legend.collect(),
            band: pictures.band,
            has_holes: pictures.has_holes,
            has_marks: pictures.has_marks,
            has_coverage: pictures.has_coverage,
            has_cut: pictures.has_cut,
            left_out: pictures.left_out,
            pictures: pictures.pictures,
            table: field.unwrap_or_else(|| layout.table(self.rows, self.most_rows)),
            definitions: told.map(Definition::of).collect(),
            problem,
        }
    }
}

impl Section {
    /// A section that has nothing to show but why.
    pub fn failed(name: &str, title: &str, about: &str, problem: &str) -> Self {
        Self {
            id: harmless(name),
            title: harmless(title),
            about: harmless(about),
            problem: Some(harmless(problem)),
            ..Self::default()
        }
    }
}

/// What was asked for, in words that mean the same tomorrow: instants as the ledger read them, the time zone by the name
/// that all reports of ours give it.
pub(super) fn asked(head: &Head) -> Vec<(String, String)> {
    let value = |asked: &Asked| match asked {
        Asked::Instant(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
        Asked::Text(text) => text.clone(),
    };
    let given = head.asked.iter().map(|(name, asked)| (name.clone(), value(asked)));
    let mut given: Vec<_> = given.filter(|(_, value)| !value.is_empty()).collect();
    if head.time_zone != Tz::UTC {
        given.push(("tz".to_owned(), head.time_zone.name().to_owned()));
    }
    given
}

/// The line that gives the same result in a terminal, as long as the ledger stays as it is.
fn command(name: &str, head: &Head) -> String {
    let mut words = vec!["deskledger".to_owned(), "report".to_owned(), name.to_owned()];
    for (parameter, value) in asked(head) {
        words.push(format!("--{}", parameter.replace('_', "-")));
        words.push(quoted(&value));
    }
    harmless(&words.join(" "))
}

/// For a POSIX shell.
pub(super) fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn a_word_stays_one_word_for_the_shell() {
        assert_eq!(quoted("2026-10-01T00:00:00Z"), "2026-10-01T00:00:00Z");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted("$(reboot)"), "'$(reboot)'");
    }
}
