//! A result as a table of a page.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use serde::Serialize;

use super::bucket::Edges;
use super::draw::{heat_line, number, short};
use super::figure::Figures;
use crate::report::header::Chart;
use crate::report::render::legend::AT_LEAST;
use crate::report::render::people::{self, Precision, is_right_aligned};
use crate::report::value::{Cell, ColumnKind};

/// More columns than this do not fit a narrow page side by side.
const NARROW: usize = 5;

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Table {
    /// What its cells are, where headings cannot say it.
    pub caption: Option<String>,
    pub headings: Vec<Heading>,
    pub rows: Vec<Vec<CellView>>,
    /// How many more rows the result has.
    pub left_out: usize,
    /// How many columns there are, if they are many.
    pub wide: Option<usize>,
    /// Some rows are of buckets that the period cuts.
    pub has_cut: bool,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct Heading {
    pub name: String,
    pub unit: Option<String>,
    /// The column that it names.
    pub column: Option<String>,
    pub is_number: bool,
    /// Stays in sight.
    pub is_kept: bool,
}

#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct CellView {
    pub text: String,
    /// What belongs to the figure and has no column of its own, and what it rests on.
    pub beside: Vec<String>,
    pub is_number: bool,
    pub is_instant: bool,
    /// A name that may be longer than its column.
    pub is_wordy: bool,
    /// A sentence rather than a word.
    pub is_long: bool,
    /// Not observed, or not known.
    pub is_nothing: bool,
    /// It names its row.
    pub is_name: bool,
    /// A bucket that the period cuts.
    pub is_cut: bool,
    /// Stays in sight.
    pub is_kept: bool,
}

/// How the rows of a result are laid out.
#[derive(Debug)]
pub(super) struct Layout<'a> {
    figures: &'a Figures<'a>,
    order: Vec<usize>,
    edges: Option<Edges>,
    tz: Tz,
}

impl<'a> Layout<'a> {
    pub fn new(figures: &'a Figures<'a>, edges: Option<Edges>, tz: Tz) -> Self {
        Self { figures, order: figures.order(), edges, tz }
    }

    pub fn headings(&self) -> Vec<Heading> {
        let heading = |at: &usize| {
            let column = &self.figures.columns[*at];
            Heading {
                name: self.figures.name(*at),
                unit: self.figures.unit_beside_name(*at).map(str::to_owned),
                column: Some(column.name.clone()),
                is_number: is_right_aligned(column.kind),
                is_kept: Some(*at) == self.figures.honest(),
            }
        };
        self.order.iter().map(heading).collect()
    }

    /// A row's cells, by the precision of each column.
    pub fn row(&self, cells: &[Cell], precision: impl Fn(usize) -> Precision) -> Vec<CellView> {
        let cell = |at: &usize| CellView {
            is_name: *at == 0,
            is_cut: self.edges.is_some_and(|edges| edges.cut(&cells[*at])) && *at == 0,
            is_kept: Some(*at) == self.figures.honest(),
            ..self.cell(*at, cells, precision(*at))
        };
        self.order.iter().map(cell).collect()
    }

    /// A row's cell; nothing where there is no row.
    fn cell(&self, at: usize, row: &[Cell], precision: Precision) -> CellView {
        let column = &self.figures.columns[at];
        let text = self.figures.text(at, row, precision, self.tz);
        let is_text = matches!(column.kind, ColumnKind::Text | ColumnKind::List | ColumnKind::Json);
        let length = text.chars().count();
        CellView {
            is_wordy: is_text && (15..=40).contains(&length),
            is_long: is_text && length > 40,
            text,
            is_number: is_right_aligned(column.kind),
            is_instant: column.kind == ColumnKind::Instant,
            is_nothing: row.get(at).is_none_or(|cell| *cell == Cell::Null),
            ..CellView::default()
        }
    }

    pub fn table(&self, rows: &[Vec<Cell>], most: usize) -> Table {
        let shown = &rows[..rows.len().min(most)];
        let precisions: Vec<Precision> = (0..self.figures.columns.len())
            .map(|at| Precision::of(shown.iter().map(|row| &row[at]), self.tz))
            .collect();
        let rows_shown: Vec<_> =
            shown.iter().map(|row| self.row(row, |at| precisions[at])).collect();
        Table {
            caption: None,
            headings: self.headings(),
            has_cut: rows_shown.iter().any(|row| row.iter().any(|cell| cell.is_cut)),
            rows: rows_shown,
            left_out: rows.len() - shown.len(),
            wide: Some(self.order.len()).filter(|columns| *columns > NARROW),
        }
    }

    /// A heat map's table: one line for each value that goes across, since a page is higher than it is wide.
    pub fn field(&self, chart: &Chart, rows: &[Vec<Cell>]) -> Option<Table> {
        let place = |name: &str| self.figures.place(name);
        let (across, down) = (place(&chart.along[0])?, place(&chart.along[1])?);
        let (figure, coverage) = (place(&chart.figures[0])?, place("coverage_pct"));
        let peaks = self.figures.undrawn_bounds(chart);
        let keys = |at: usize| -> Vec<&Cell> {
            let mut seen = BTreeSet::new();
            let mut keys: Vec<&Cell> = rows
                .iter()
                .map(|row| &row[at])
                .filter(|cell| seen.insert(people::plain(cell, self.tz)))
                .collect();
            keys.sort_by_key(|cell| match cell {
                Cell::Integer(number) => *number,
                _ => i64::MAX,
            });
            keys
        };
        let (lines, stacks) = (keys(across), keys(down));
        let name =
            |at: usize, cell: &Cell| heat_line(&self.figures.columns[at].name, cell, self.tz);
        let heading = |name: String, is_number| Heading {
            name,
            unit: None,
            column: None,
            is_number,
            is_kept: false,
        };
        let mut headings = vec![heading(self.figures.name(across), false)];
        headings.extend(stacks.iter().map(|cell| heading(name(down, cell), true)));
        let line = |key: &&Cell| {
            let first = CellView { text: name(across, key), is_name: true, ..CellView::default() };
            let cells = stacks.iter().map(|stack| {
                let found = rows.iter().find(|row| row[across] == **key && row[down] == **stack);
                let row = found.map_or(&[][..], Vec::as_slice);
                let seen =
                    peaks.iter().filter(|at| row.get(**at).is_some_and(|cell| *cell != Cell::Null));
                let seen = seen.map(|at| {
                    let name = self.figures.name(*at);
                    // The heading has the rest of its name.
                    let name = name.rsplit(' ').next().unwrap_or_default();
                    format!("{name} {}", self.figures.text(*at, row, Precision::Day, self.tz))
                });
                let share = coverage.and_then(|at| number(row.get(at)?));
                let beside = seen.chain(share.map(|share| format!("{} %", short(share)))).collect();
                CellView { beside, ..self.cell(figure, row, Precision::Day) }
            });
            std::iter::once(first).chain(cells).collect()
        };
        let told = self.figures.titled(figure);
        let beside = peaks.iter().map(|at| format!("its {} ({AT_LEAST})", self.figures.name(*at)));
        let beside: Vec<String> =
            beside.chain(coverage.map(|_| "its coverage".to_owned())).collect();
        let below = if beside.is_empty() { "" } else { "; below each, " };
        Some(Table {
            caption: Some(format!("{told}{below}{}", beside.join(" and "))),
            headings,
            rows: lines.iter().map(line).collect(),
            left_out: 0,
            wide: None,
            has_cut: false,
        })
    }
}
