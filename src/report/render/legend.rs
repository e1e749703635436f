//! What the columns mean, under the rows: the report's own words, and a word about the two signs that stand for no
//! plain figure.

use crate::domain::harmless;
use crate::report::run::Head;
use crate::report::value::{Cell, Column, ColumnKind};

/// Stands before a figure that the true one may exceed.
pub(in crate::report) const AT_LEAST: &str = "≥";

/// Which figures of a column are lower bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Bound {
    None,
    All,
    /// Those of the rows in which the column with this number has this value.
    Where(usize, String),
}

impl Bound {
    /// From what a header says of a column: `a lower bound`, or `a lower bound where figure is connected_peak`.
    fn of(meaning: &str, columns: &[Column]) -> Self {
        let Some((_, rest)) = meaning.split_once("a lower bound") else { return Self::None };
        let told = rest.strip_prefix(" where ").and_then(|rest| rest.split_once(" is "));
        let told = told.and_then(|(name, rest)| {
            let at = columns.iter().position(|column| column.name == name)?;
            let value = rest.split([' ', ',', ';']).next()?;
            Some(Self::Where(at, value.to_owned()))
        });
        told.unwrap_or(Self::All)
    }

    fn holds(&self, row: &[Cell]) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::Where(at, value) => {
                matches!(row.get(*at), Some(Cell::Text(text)) if text == value)
            }
        }
    }
}

/// Gathers, while rows are written, what has to be said under them.
#[derive(Debug, Clone, Default)]
pub(in crate::report) struct Legend {
    definitions: Vec<(String, String)>,
    lower_bounds: Vec<Bound>,
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
        let bound = |column: &Column| match column.kind {
            ColumnKind::Integer | ColumnKind::Number | ColumnKind::Duration => {
                meaning(column).map_or(Bound::None, |meaning| Bound::of(meaning, columns))
            }
            _ => Bound::None,
        };
        Self {
            definitions: columns.iter().filter_map(definition).collect(),
            lower_bounds: columns.iter().map(bound).collect(),
            has_nothing: false,
            has_lower_bound: false,
        }
    }

    /// Whether all figures of the column with this number are lower bounds.
    pub fn is_lower_bound(&self, at: usize) -> bool {
        self.lower_bounds.get(at) == Some(&Bound::All)
    }

    /// Whether a row's figure in the column with this number is one.
    pub fn is_lower_bound_in(&self, at: usize, row: &[Cell]) -> bool {
        let is_told = row.get(at).is_some_and(|cell| *cell != Cell::Null);
        is_told && self.lower_bounds.get(at).is_some_and(|bound| bound.holds(row))
    }

    /// Takes note of what a row shows.
    pub fn note(&mut self, row: &[Cell]) {
        for (at, cell) in row.iter().enumerate() {
            if *cell == Cell::Null {
                self.has_nothing = true;
            } else if self.is_lower_bound_in(at, row) {
                self.has_lower_bound = true;
            }
        }
    }

    /// The text of a row's cell, marked where it is a lower bound.
    pub fn marked(&self, at: usize, row: &[Cell], text: String) -> String {
        if self.is_lower_bound_in(at, row) { format!("{AT_LEAST} {text}") } else { text }
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
