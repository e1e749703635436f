//! A table for the terminal.

use std::io::{self, Write};

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{
    Attribute, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Width,
};

use super::Look;
use super::people::{Precision, is_right_aligned, sampled, subtitle, text};
use crate::domain::harmless;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, ColumnKind};

/// Widths need all rows at hand. So that memory stays bounded, a longer result is a table again after so many rows.
const PAGE: usize = 5_000;

/// Text longer than this may break.
const BREAKABLE: usize = 12;

/// What the table puts beside each cell.
const PADDING: usize = 1;

/// Gathers rows and writes them as tables.
pub(super) struct Table<W> {
    out: W,
    look: Look,
    head: Option<Head>,
    columns: Vec<Column>,
    page: Vec<Vec<Cell>>,
    rows: usize,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self { out, look, head: None, columns: Vec::new(), page: Vec::new(), rows: 0 }
    }

    fn write_page(&mut self) -> io::Result<()> {
        let tz = self.head.as_ref().map_or(chrono_tz::UTC, |head| head.time_zone);
        let mut table = comfy_table::Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY.row_separator(LineStyle::none())).force_no_tty();
        if self.look.is_styled {
            table.enforce_styling();
        }
        table.set_header(self.columns.iter().map(|column| self.heading(column)));
        let precisions: Vec<Precision> = (0..self.columns.len())
            .map(|at| Precision::of(self.page.iter().map(|row| &row[at]), tz))
            .collect();
        for row in self.page.drain(..) {
            table.add_row(
                row.iter().zip(&precisions).map(|(cell, precision)| text(cell, *precision, tz)),
            );
        }
        for (at, column) in self.columns.iter().enumerate() {
            let Some(laid_out) = table.column_mut(at) else { continue };
            laid_out.set_padding((0, 1));
            if is_right_aligned(column.kind) {
                laid_out.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.fit(&mut table);
        writeln!(self.out, "{}", table.trim_fmt())
    }

    /// Makes the table as narrow as the terminal: headings and texts break, figures and instants never do. Where not
    /// even that fits, the lines are as long as they must be.
    fn fit(&self, table: &mut comfy_table::Table) {
        let Some(width) = self.look.width else { return };
        let least: Vec<(usize, usize)> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| {
                let cells = table.column_cells_iter(at).flatten();
                let widest = cells.map(|cell| cell.content().chars().count()).max().unwrap_or(0);
                let breaks =
                    matches!(column.kind, ColumnKind::Text | ColumnKind::List | ColumnKind::Json);
                let word = column.name.split('_').map(|word| word.chars().count()).max();
                (if breaks { widest.min(BREAKABLE) } else { widest }, word.unwrap_or(0))
            })
            .collect();
        // Whole words in the headings if there is room for them, else less and less of them.
        for limit in [usize::MAX, 12, 9, 7, 5, 4, 3] {
            let bounds = least.iter().map(|(values, word)| values.max(word.min(&limit)) + PADDING);
            if bounds.clone().sum::<usize>() + self.columns.len() >= usize::from(width) {
                continue;
            }
            for (column, bound) in table.column_iter_mut().zip(bounds) {
                // It is less than the width of a terminal.
                let bound = u16::try_from(bound).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(bound)));
            }
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
            return;
        }
    }

    fn heading(&self, column: &Column) -> comfy_table::Cell {
        // Where the terminal is narrow, `disconnects_per_100_hours` breaks at its words.
        let heading = comfy_table::Cell::new(harmless(&column.name)).set_delimiter('_');
        if self.look.is_styled { heading.add_attribute(Attribute::Bold) } else { heading }
    }
}

impl<W: Write + Send> Sink for Table<W> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        let title = harmless(&head.title);
        if self.look.is_styled {
            writeln!(self.out, "\x1b[1m{title}\x1b[0m")?;
        } else {
            writeln!(self.out, "{title}")?;
        }
        let subtitle = subtitle(head);
        if !subtitle.is_empty() {
            writeln!(self.out, "{subtitle}")?;
        }
        if let Some(sampled) = sampled(head) {
            writeln!(self.out, "{sampled}")?;
        }
        self.columns = columns.to_vec();
        self.head = Some(head.clone());
        Ok(())
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.page.push(cells);
        self.rows += 1;
        if self.page.len() == PAGE { self.write_page() } else { Ok(()) }
    }

    fn end(&mut self) -> io::Result<()> {
        if !self.page.is_empty() || self.rows == 0 {
            self.write_page()?;
        }
        if self.rows == 0 {
            writeln!(self.out, "(no rows)")?;
        }
        self.out.flush()
    }
}
