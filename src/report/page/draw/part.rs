//! The rows of one picture, by the places of what is drawn.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{Mark, number, short};
use crate::report::page::bucket::Edges;
use crate::report::page::figure::Figures;
use crate::report::render::people::{Precision, text};
use crate::report::value::Cell;

/// The rows of one picture.
pub(super) struct Part<'a> {
    pub rows: Vec<&'a [Cell]>,
    pub along: Vec<usize>,
    pub figures: Vec<usize>,
    pub between: Option<[usize; 2]>,
    /// Said beside what is drawn.
    pub more: Vec<usize>,
    /// How much each row rests on.
    pub observed: Option<usize>,
    /// That is shown below the axis.
    pub has_strip: bool,
    pub words: &'a Figures<'a>,
    pub tz: Tz,
    /// Of the instants that the picture goes along.
    pub precision: Precision,
    /// Where the last bucket ends, if the report has an end.
    pub until: Option<DateTime<Utc>>,
    pub edges: Option<Edges>,
    pub marks: &'a [Mark],
}

impl Part<'_> {
    /// The greatest value drawn, with some air above it; at least 1.
    pub fn top(&self) -> f64 {
        let places = self.figures.iter().chain(self.between.iter().flatten());
        let values = places.flat_map(|at| self.rows.iter().filter_map(|row| number(&row[*at])));
        let greatest = values.fold(0.0_f64, f64::max);
        if greatest > 0.0 { greatest * 1.06 } else { 1.0 }
    }

    pub fn has_holes(&self) -> bool {
        self.rows.iter().any(|row| self.figures.iter().all(|at| row[*at] == Cell::Null))
    }

    /// Whether a row's bucket is cut by the period.
    pub fn is_cut(&self, row: &[Cell]) -> bool {
        self.edges.is_some_and(|edges| edges.cut(&row[self.along[0]]))
    }

    /// What stands at the axis of figures: what they count, or what the only one is.
    pub fn axis(&self) -> String {
        let first = self.figures[0];
        match self.words.unit(first) {
            Some(unit) => unit.to_owned(),
            None if self.figures.len() == 1 => self.words.name(first),
            None => String::new(),
        }
    }

    /// A figure at a mark of its own: `≥ 12`, `31.2 %`.
    pub fn label(&self, at: usize, value: f64) -> String {
        let unit = match self.words.unit(at) {
            Some("%") => " %",
            Some("hours") => " h",
            _ => "",
        };
        format!("{}{}{unit}", self.words.sign(at), short(value))
    }

    /// The figures of some rows in words, each from its least to its greatest, and what they rest on.
    pub fn said(&self, rows: &[&[Cell]]) -> String {
        let mut told: Vec<String> = Vec::new();
        let bounds = self.between.iter().flatten();
        for at in self.figures.iter().chain(bounds).chain(&self.more) {
            let name = self.words.name(*at);
            told.push(match self.range(rows, *at) {
                Some((least, most)) if short(least) == short(most) => {
                    format!("{name} {}", self.label(*at, most))
                }
                Some((least, most)) => {
                    format!(
                        "{name} {}{} to {}",
                        self.words.sign(*at),
                        short(least),
                        self.label(*at, most)
                    )
                }
                None => format!("{name} not observed"),
            });
        }
        told.extend(self.coverage(rows));
        told.join("; ")
    }

    /// `coverage 91.4 %`, or from the least to the greatest.
    fn coverage(&self, rows: &[&[Cell]]) -> Option<String> {
        let (least, most) = self.range(rows, self.observed?)?;
        Some(if short(least) == short(most) {
            format!("coverage {} %", short(most))
        } else {
            format!("coverage {} to {} %", short(least), short(most))
        })
    }

    /// What all rows rest on, if that is the same.
    pub fn even_coverage(&self) -> Option<String> {
        self.coverage(&self.rows).filter(|coverage| !coverage.contains(" to "))
    }

    fn range(&self, rows: &[&[Cell]], at: usize) -> Option<(f64, f64)> {
        let values = rows.iter().filter_map(|row| number(&row[at]));
        values.fold(None, |range, value| match range {
            None => Some((value, value)),
            Some((least, most)) => Some((least.min(value), most.max(value))),
        })
    }

    /// Which rows these are: by what they stand along.
    pub fn which(&self, rows: &[&[Cell]]) -> String {
        let name = |row: &[Cell]| text(&row[self.along[0]], self.precision, self.tz);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else { return String::new() };
        let partial = if rows.iter().any(|row| self.is_cut(row)) { " (partial)" } else { "" };
        if rows.len() == 1 {
            format!("{}{partial}", name(first))
        } else {
            format!("{} to {}{partial}", name(first), name(last))
        }
    }

    /// Least and greatest of each figure, in words.
    pub fn summary(&self) -> String {
        let mut told = self.said(&self.rows);
        let is_hole = |row: &&&[Cell]| self.figures.iter().all(|at| row[*at] == Cell::Null);
        let holes = self.rows.iter().filter(is_hole).count();
        if holes > 0 {
            told.push_str(&format!("; {holes} of {} not observed", self.rows.len()));
        }
        told
    }
}
