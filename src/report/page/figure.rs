//! What a figure counts, and whether the true one may be greater: said wherever one is shown.

use chrono_tz::Tz;

use super::draw::spoken;
use crate::report::header::{Chart, ChartKind};
use crate::report::render::legend::{AT_LEAST, Legend};
use crate::report::render::people::{Precision, text};
use crate::report::run::Head;
use crate::report::value::{Cell, Column, ColumnKind};

/// The columns that say how much a row rests on; the first of them that a result has stays in sight.
const HONEST: [&str; 2] = ["coverage_pct", "certainty"];

/// What there is to say of the figures of a result.
#[derive(Debug, Clone)]
pub(super) struct Figures<'a> {
    pub columns: &'a [Column],
    chart: Option<&'a Chart>,
    legend: Legend,
}

impl<'a> Figures<'a> {
    pub fn new(head: &'a Head, columns: &'a [Column], chart: Option<&'a Chart>) -> Self {
        Self { columns, chart, legend: Legend::new(head, columns) }
    }

    /// The column's place.
    pub fn place(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// What it counts. By its name, where that says so; else a mean or a peak counts what the chart's figures do.
    pub fn unit(&self, at: usize) -> Option<&str> {
        let column = &self.columns[at];
        let name = column.name.as_str();
        let is_figure =
            matches!(column.kind, ColumnKind::Integer | ColumnKind::Number | ColumnKind::Duration);
        if !is_figure {
            return None;
        }
        if name.ends_with("_pct") {
            return Some("%");
        }
        let is_rate = name.contains("_per_");
        let last = name.rsplit('_').next().unwrap_or(name);
        if column.kind == ColumnKind::Duration || last == "hours" && !is_rate {
            return Some("hours");
        }
        if last == "days" {
            return Some("days");
        }
        let chart = self.chart?;
        let is_alike = chart.figures.iter().any(|figure| figure == name)
            || chart.kind == ChartKind::Bars && chart.along.iter().any(|along| along == name)
            || chart.between.iter().flatten().any(|bound| bound == name)
            || ["avg", "peak"].contains(&last);
        chart.unit.as_deref().filter(|_| is_alike)
    }

    /// Whether the true figures may be greater than those of this column.
    pub fn is_lower_bound(&self, at: usize) -> bool {
        self.legend.is_lower_bound(at)
    }

    /// The lower bounds that a chart of one figure has no room for: the peaks of what it draws.
    pub fn undrawn_bounds(&self, chart: &Chart) -> Vec<usize> {
        let drawn = |at: &usize| chart.columns().any(|name| name == self.columns[*at].name);
        (0..self.columns.len()).filter(|at| self.is_lower_bound(*at) && !drawn(at)).collect()
    }

    /// The sign of a lower bound, or nothing.
    pub fn sign(&self, at: usize) -> &'static str {
        if self.is_lower_bound(at) { "≥ " } else { "" }
    }

    /// A column's name for people, without its unit.
    pub fn name(&self, at: usize) -> String {
        let name = self.columns[at].name.as_str();
        spoken(name.strip_suffix("_pct").unwrap_or(name))
    }

    /// The unit, where the name does not say it.
    pub fn unit_beside_name(&self, at: usize) -> Option<&str> {
        let name = self.name(at);
        let is_said =
            |unit: &&str| name.contains(" per ") || name.split(' ').any(|word| word == *unit);
        self.unit(at).filter(|unit| !is_said(unit))
    }

    /// Name and unit, and whether it is a lower bound.
    pub fn titled(&self, at: usize) -> String {
        let bound = if self.is_lower_bound(at) { format!(" ({AT_LEAST})") } else { String::new() };
        match self.unit_beside_name(at) {
            Some(unit) => format!("{}{bound}, {unit}", self.name(at)),
            None => format!("{}{bound}", self.name(at)),
        }
    }

    /// The text of a row's cell, marked where it is a lower bound.
    pub fn text(&self, at: usize, row: &[Cell], precision: Precision, tz: Tz) -> String {
        let cell = row.get(at).unwrap_or(&Cell::Null);
        self.legend.marked(at, row, text(cell, precision, tz))
    }

    /// The column that says how much a row rests on.
    pub fn honest(&self) -> Option<usize> {
        HONEST.iter().find_map(|name| self.place(name)).filter(|at| *at > 0)
    }

    /// The order in which columns are shown: what a row rests on comes last, where it stays in sight however narrow the
    /// page is, and before it what says the like.
    pub fn order(&self) -> Vec<usize> {
        let is_kin = |at: &usize| {
            let name = &self.columns[*at].name;
            *at > 0 && (name.ends_with("coverage_pct") || name.ends_with("listed_pct"))
        };
        let honest = self.honest();
        let rest = (0..self.columns.len()).filter(|at| Some(*at) != honest);
        let (kin, others): (Vec<usize>, Vec<usize>) = rest.partition(is_kin);
        others.into_iter().chain(kin).chain(honest).collect()
    }
}
