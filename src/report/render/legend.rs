//! What the columns mean, under the rows: the report's own words, and a word about the two signs that stand for no
//! plain figure.

use crate::domain::harmless;
use crate::report::run::Head;
use crate::report::value::{Cell, Column, ColumnKind};

/// Stands before a figure that the true one may exceed.
pub(in crate::report) const AT_LEAST: &str = "≥";

/// Gathers, while rows are written, what has to be said under them.
#[derive(Debug, Clone, Default)]
pub(in crate::report) struct Legend {
    definitions: Vec<(String, String)>,
    lower_bounds: Vec<bool>,
    has_nothing: bool,
    has_lower_bound: bool,
}

impl Legend {
    pub fn new(head: &Head, columns: &[Column]) -> Self {
        let meaning = |column: &Column| {
            let told = head.definitions.iter().find(|told| told.name == column.name)?;
            Some(told.meaning.as_str())
        };
        let definition =
            |column: &Column| Some((harmless(&column.name), harmless(meaning(column)?)));
        let is_lower_bound = |column: &Column| {
            let is_figure = matches!(
                column.kind,
                ColumnKind::Integer | ColumnKind::Number | ColumnKind::Duration
            );
            is_figure && meaning(column).is_some_and(|meaning| meaning.contains("a lower bound"))
        };
        Self {
            definitions: columns.iter().filter_map(definition).collect(),
            lower_bounds: columns.iter().map(is_lower_bound).collect(),
            has_nothing: false,
            has_lower_bound: false,
        }
    }

    /// Whether the figures of the column with this number are lower bounds.
    pub fn is_lower_bound(&self, at: usize) -> bool {
        self.lower_bounds.get(at).copied().unwrap_or(false)
    }

    /// Takes note of what a row shows.
    pub fn note(&mut self, row: &[Cell]) {
        for (at, cell) in row.iter().enumerate() {
            if *cell == Cell::Null {
                self.has_nothing = true;
            } else if self.is_lower_bound(at) {
                self.has_lower_bound = true;
            }
        }
    }

    /// A cell's text, marked where it is a lower bound.
    pub fn marked(&self, at: usize, cell: &Cell, text: String) -> String {
        if self.is_lower_bound(at) && *cell != Cell::Null {
            format!("{AT_LEAST} {text}")
        } else {
            text
        }
    }

    /// What each column and each sign means, in the order of the columns; `nothing` is how NULL is shown.
    pub fn entries(&self, nothing: &str) -> Vec<(String, String)> {
        // The reader sees the sign and not the value behind it.
        let shown = |(name, meaning): &(String, String)| {
            (name.clone(), meaning.replace("null:", &format!("{nothing}:")))
        };
        let mut entries: Vec<(String, String)> = self.definitions.iter().map(shown).collect();
        if self.has_lower_bound {
            let meaning = "a lower bound: what happened between two visits was not seen";
            entries.push((AT_LEAST.to_owned(), meaning.to_owned()));
        }
        if self.has_nothing {
            let meaning = "not observed, or not known; never 0";
            entries.push((nothing.to_owned(), meaning.to_owned()));
        }
        entries
    }
}
