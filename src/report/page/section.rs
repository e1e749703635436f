//! A result as a section of a page: its pictures, its table, and the words around them.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use serde::Serialize;

use super::draw::{Drawing, Mark, heat_line, spoken};
use crate::domain::harmless;
use crate::report::header::{Chart, ChartKind};
use crate::report::render::heading::{instant, subtitle};
use crate::report::render::people::{self, Precision, is_right_aligned};
use crate::report::run::{Asked, Head};
use crate::report::value::{Cell, Column, ColumnKind};

/// More rows than this are not shown on a page of many sections.
pub(super) const MOST_ROWS: usize = 200;

/// What a template shows of one result.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Section {
    /// The report's name.
    pub id: String,
    pub title: String,
    /// What it answers, in a sentence or two.
    pub about: String,
    /// What was asked for.
    pub asked: String,
    /// How to have it again.
    pub command: String,
    /// Where its SQL is to be seen.
    pub sql: Option<String>,
    pub pictures: Vec<PictureView>,
    pub legend: Vec<Legend>,
    pub has_holes: bool,
    pub has_marks: bool,
    pub has_coverage: bool,
    pub left_out: Option<String>,
    pub table: Table,
    /// Columns and what they mean.
    pub definitions: Vec<Definition>,
    /// Why there is no result.
    pub problem: Option<String>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct PictureView {
    pub of: Option<String>,
    pub svg: String,
    pub summary: String,
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

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Table {
    pub headings: Vec<Heading>,
    pub rows: Vec<Vec<CellView>>,
    /// How many more rows the result has.
    pub left_out: usize,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Heading {
    pub name: String,
    pub is_number: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct CellView {
    pub text: String,
    pub is_number: bool,
    pub is_instant: bool,
    /// A sentence rather than a word.
    pub is_long: bool,
    /// Not observed, or not known.
    pub is_nothing: bool,
    /// It names its row.
    pub is_name: bool,
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
}

impl Shown<'_> {
    pub fn section(&self) -> Section {
        let tz = self.head.time_zone;
        let chart = self.chart.or(self.head.chart.as_ref());
        let drawn = chart.filter(|_| !self.rows.is_empty()).map(|chart| {
            let drawing = Drawing {
                chart,
                columns: self.columns,
                rows: self.rows,
                tz,
                until: instant(self.head, "to"),
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
        let definition = |column: &crate::report::header::ColumnDoc| Definition {
            name: column.name.clone(),
            meaning: harmless(&column.meaning),
        };
        let is_shown = |name: &str| self.columns.iter().any(|column| column.name == name);
        Section {
            id: harmless(self.name),
            title: harmless(&self.head.title),
            about: harmless(self.about),
            asked: subtitle(self.head),
            command: command(self.name, self.head),
            sql: None,
            legend: legend.collect(),
            has_holes: pictures.has_holes,
            has_marks: pictures.has_marks,
            has_coverage: pictures.has_coverage,
            left_out: pictures.left_out,
            pictures: pictures
                .pictures
                .into_iter()
                .map(|picture| PictureView {
                    of: picture.of,
                    svg: picture.svg,
                    summary: picture.summary,
                })
                .collect(),
            table: match chart {
                Some(chart) if chart.kind == ChartKind::Heat => {
                    field(chart, self.columns, self.rows, tz)
                }
                _ => table(self.columns, self.rows, tz, self.most_rows),
            },
            definitions: self
                .head
                .definitions
                .iter()
                .filter(|column| is_shown(&column.name))
                .map(definition)
                .collect(),
            problem,
        }
    }
}

impl Section {
    /// A section that has nothing to show but why.
    pub fn failed(name: &str, title: &str, about: &str, problem: String) -> Self {
        Self {
            id: harmless(name),
            title: harmless(title),
            about: harmless(about),
            asked: String::new(),
            command: String::new(),
            sql: None,
            pictures: Vec::new(),
            legend: Vec::new(),
            has_holes: false,
            has_marks: false,
            has_coverage: false,
            left_out: None,
            table: Table::default(),
            definitions: Vec::new(),
            problem: Some(harmless(&problem)),
        }
    }
}

/// The line that gives the same result in a terminal, as long as the ledger stays as it is.
fn command(name: &str, head: &Head) -> String {
    let mut words = vec!["deskledger".to_owned(), "report".to_owned(), name.to_owned()];
    for (parameter, asked) in &head.asked {
        let value = match asked {
            Asked::Instant(at) => at.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true),
            Asked::Text(text) if text.is_empty() => continue,
            Asked::Text(text) => text.clone(),
        };
        words.push(format!("--{}", parameter.replace('_', "-")));
        words.push(quoted(&value));
    }
    if head.time_zone != Tz::UTC {
        words.extend(["--tz".to_owned(), head.time_zone.name().to_owned()]);
    }
    harmless(&words.join(" "))
}

/// For a POSIX shell.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:+,@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A cell as it stands in a table.
pub(super) fn cell_view(
    column: &Column,
    cell: &Cell,
    precision: Precision,
    tz: Tz,
    is_name: bool,
) -> CellView {
    CellView {
        is_long: matches!(cell, Cell::Text(text) if text.len() > 40),
        text: people::text(cell, precision, tz),
        is_number: is_right_aligned(column.kind),
        is_instant: column.kind == ColumnKind::Instant,
        is_nothing: *cell == Cell::Null,
        is_name,
    }
}

pub(super) fn headings(columns: &[Column]) -> Vec<Heading> {
    let heading = |column: &Column| Heading {
        name: spoken(&column.name),
        is_number: is_right_aligned(column.kind),
    };
    columns.iter().map(heading).collect()
}

fn table(columns: &[Column], rows: &[Vec<Cell>], tz: Tz, most: usize) -> Table {
    let shown = &rows[..rows.len().min(most)];
    let precisions: Vec<Precision> =
        (0..columns.len()).map(|at| Precision::of(shown.iter().map(|row| &row[at]), tz)).collect();
    let row = |row: &Vec<Cell>| {
        let cells = columns.iter().zip(row).zip(&precisions).enumerate();
        cells
            .map(|(at, ((column, cell), precision))| {
                cell_view(column, cell, *precision, tz, at == 0)
            })
            .collect()
    };
    Table {
        headings: headings(columns),
        rows: shown.iter().map(row).collect(),
        left_out: rows.len() - shown.len(),
    }
}

/// A heat map's table: one line for each value that goes across, since a page is higher than it is wide.
fn field(chart: &Chart, columns: &[Column], rows: &[Vec<Cell>], tz: Tz) -> Table {
    let place = |name: &str| columns.iter().position(|column| column.name == name);
    let Some(((across, down), figure)) =
        place(&chart.along[0]).zip(place(&chart.along[1])).zip(place(&chart.figures[0]))
    else {
        return table(columns, rows, tz, MOST_ROWS);
    };
    let keys = |at: usize| -> Vec<&Cell> {
        let mut seen = BTreeSet::new();
        let mut keys: Vec<&Cell> = rows
            .iter()
            .map(|row| &row[at])
            .filter(|cell| seen.insert(people::plain(cell, tz)))
            .collect();
        keys.sort_by_key(|cell| match cell {
            Cell::Integer(number) => *number,
            _ => i64::MAX,
        });
        keys
    };
    let (lines, stacks) = (keys(across), keys(down));
    let name = |at: usize, cell: &Cell| heat_line(&columns[at].name, cell, tz);
    let mut headings = vec![Heading { name: spoken(&columns[across].name), is_number: false }];
    headings.extend(stacks.iter().map(|cell| Heading { name: name(down, cell), is_number: true }));
    let line = |key: &&Cell| {
        let first = CellView {
            text: name(across, key),
            is_number: false,
            is_instant: false,
            is_long: false,
            is_nothing: false,
            is_name: true,
        };
        let cells = stacks.iter().map(|stack| {
            let found = rows.iter().find(|row| row[across] == **key && row[down] == **stack);
            let cell = found.map_or(&Cell::Null, |row| &row[figure]);
            cell_view(&columns[figure], cell, Precision::Day, tz, false)
        });
        std::iter::once(first).chain(cells).collect()
    };
    Table { headings, rows: lines.iter().map(line).collect(), left_out: 0 }
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
