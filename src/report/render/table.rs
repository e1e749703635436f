//! A table for the terminal.

use std::io::{self, Write};

use chrono_tz::Tz;
use comfy_table::presets::{NOTHING as NO_LINES, UTF8_HORIZONTAL_ONLY};
use comfy_table::{
    Attribute, CellAlignment, Color, ColumnConstraint, ContentArrangement, LineStyle, Width,
};
use unicode_width::UnicodeWidthStr;

use super::bar::bar;
use super::legend::Legend;
use super::people::{NOTHING, Precision, is_right_aligned, number, text};
use super::{Look, heading};
use crate::domain::harmless;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, ColumnKind};

/// Widths need all rows at hand. So that memory stays bounded, a longer result is a table again after so many rows.
const PAGE: usize = 5_000;

/// Text longer than this may break, at its blanks.
const BREAKABLE: usize = 12;

/// A word in it that is longer than this may break, too: it is an id, and not for reading.
const LONGEST_WORD: usize = 25;

/// What the table puts beside each cell.
const PADDING: usize = 1;

/// How long a bar may be: shorter ones say nothing, longer ones take the eye off the figures.
const BAR: std::ops::RangeInclusive<usize> = 10..=24;

/// How much of a word in a heading must stay together, from what is best to what is bearable.
const HEADINGS: [usize; 5] = [usize::MAX, 12, 9, 7, 5];

/// The leading columns that are said again where one table is cut into several.
const KEYS: usize = 2;

/// How narrow a column can be.
#[derive(Debug, Clone, Copy)]
struct Bound {
    values: usize,
    word: usize,
}

impl Bound {
    /// With so much of a heading's words in one piece.
    fn least(self, limit: usize) -> usize {
        self.values.max(self.word.min(limit)) + PADDING
    }
}

/// A column of bars.
struct Bars {
    /// Its heading: what is drawn, and from where to where.
    scale: String,
    rows: Vec<String>,
}

/// Gathers rows and writes them as tables.
pub(super) struct Table<W> {
    out: W,
    look: Look,
    tz: Tz,
    columns: Vec<Column>,
    legend: Legend,
    /// The column that gets a bar, where there is room for one.
    drawn: Option<usize>,
    page: Vec<Vec<Cell>>,
    rows: usize,
}

impl<W: Write> Table<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self {
            out,
            look,
            tz: Tz::UTC,
            columns: Vec::new(),
            legend: Legend::default(),
            drawn: None,
            page: Vec::new(),
            rows: 0,
        }
    }

    fn write_page(&mut self) -> io::Result<()> {
        let page = std::mem::take(&mut self.page);
        let precisions: Vec<Precision> = (0..self.columns.len())
            .map(|at| Precision::of(page.iter().map(|row| &row[at]), self.tz))
            .collect();
        let written: Vec<Vec<String>> = page
            .iter()
            .map(|row| {
                let cells = row.iter().zip(&precisions).enumerate();
                let text = |(at, (cell, precision)): (usize, (&Cell, &Precision))| {
                    self.legend.marked(at, row, text(cell, *precision, self.tz))
                };
                cells.map(text).collect()
            })
            .collect();
        let bounds = self.bounds(&written);
        let bars = self.bars(&page, &bounds);
        for columns in self.blocks(&bounds) {
            self.write_block(&columns, &written, &bounds, bars.as_ref())?;
        }
        Ok(())
    }

    /// One table of some of the columns.
    fn write_block(
        &mut self,
        columns: &[usize],
        written: &[Vec<String>],
        bounds: &[Bound],
        bars: Option<&Bars>,
    ) -> io::Result<()> {
        let mut table = self.blank(UTF8_HORIZONTAL_ONLY);
        let headings = columns.iter().map(|at| self.columns[*at].name.as_str());
        let scale = bars.map(|bars| bars.scale.as_str());
        table.set_header(headings.chain(scale).map(|name| self.heading(name)));
        for (nth, row) in written.iter().enumerate() {
            let bar = bars.map(|bars| comfy_table::Cell::new(&bars.rows[nth]));
            let bar = bar.map(|bar| if self.look.is_styled { bar.fg(Color::Cyan) } else { bar });
            table.add_row(columns.iter().map(|at| comfy_table::Cell::new(&row[*at])).chain(bar));
        }
        for (nth, laid_out) in table.column_iter_mut().enumerate() {
            laid_out.set_padding((0, 1));
            let column = columns.get(nth).map(|at| &self.columns[*at]);
            if column.is_some_and(|column| is_right_aligned(column.kind)) {
                laid_out.set_cell_alignment(CellAlignment::Right);
            }
        }
        let bounds: Vec<Bound> = columns.iter().map(|at| bounds[*at]).collect();
        self.fit(&mut table, &bounds, bars.is_some());
        writeln!(self.out, "{}", table.trim_fmt())
    }

    /// All columns in one table if they fit, else in several below one another, each with the leading columns, by
    /// which rows are known.
    fn blocks(&self, bounds: &[Bound]) -> Vec<Vec<usize>> {
        let all = || vec![(0..bounds.len()).collect()];
        let Some(width) = self.look.width.map(usize::from) else { return all() };
        // Another table is easier to read than words that break.
        let needs: Vec<usize> = bounds.iter().map(|bound| bound.least(usize::MAX) + 1).collect();
        if needs.iter().sum::<usize>() < width {
            return all();
        }
        // No more than half the width for what is said again in each.
        let mut keys = KEYS.min(bounds.len());
        while keys > 0 && needs[..keys].iter().sum::<usize>() * 2 > width {
            keys -= 1;
        }
        let room = width.saturating_sub(needs[..keys].iter().sum());
        let mut blocks: Vec<Vec<usize>> = Vec::new();
        let mut left = 0;
        for (at, need) in needs.iter().enumerate().skip(keys) {
            match blocks.last_mut() {
                Some(block) if *need < left => {
                    block.push(at);
                    left -= need;
                }
                _ => {
                    blocks.push((0..keys).chain([at]).collect());
                    left = room.saturating_sub(*need);
                }
            }
        }
        if blocks.is_empty() { all() } else { blocks }
    }

    fn blank(&self, preset: comfy_table::TableStyle) -> comfy_table::Table {
        let mut table = comfy_table::Table::new();
        table.load_style(preset.row_separator(LineStyle::none())).force_no_tty();
        if self.look.is_styled {
            table.enforce_styling();
        }
        table
    }

    /// How narrow each column can be: what its values need, and the longest word of its heading.
    fn bounds(&self, written: &[Vec<String>]) -> Vec<Bound> {
        let bound = |(at, column): (usize, &Column)| {
            let widest = written.iter().map(|row| row[at].width()).max().unwrap_or(0);
            let breaks =
                matches!(column.kind, ColumnKind::Text | ColumnKind::List | ColumnKind::Json);
            let word = column.name.split('_').map(UnicodeWidthStr::width).max();
            let values = if breaks {
                let words = written.iter().flat_map(|row| row[at].split(' '));
                let words = words.map(UnicodeWidthStr::width).filter(|word| *word <= LONGEST_WORD);
                words.max().unwrap_or(0).max(widest.min(BREAKABLE))
            } else {
                widest
            };
            Bound { values, word: word.unwrap_or(0) }
        };
        self.columns.iter().enumerate().map(bound).collect()
    }

    /// A bar for each row and the heading above them, if the terminal has room for bars beside whole words.
    fn bars(&self, page: &[Vec<Cell>], bounds: &[Bound]) -> Option<Bars> {
        let (at, width) = (self.drawn?, usize::from(self.look.width?));
        let taken: usize =
            bounds.iter().map(|bound| bound.least(usize::MAX) + 1).sum::<usize>() + 2;
        let room = (width.checked_sub(taken)? / 2).min(*BAR.end());
        if room < *BAR.start() {
            return None;
        }
        let values: Vec<Option<f64>> = page.iter().map(|row| number(&row[at])).collect();
        let (most, most_at) = values
            .iter()
            .enumerate()
            .filter_map(|(nth, value)| Some(((*value)?, nth)))
            .max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        if most <= 0.0 {
            return None;
        }
        let end = text(&page[most_at][at], Precision::Day, self.tz);
        let scale = format!("{} 0 to {end}", self.columns[at].name);
        let rows = values.into_iter().map(|value| bar(value, most, room)).collect();
        Some(Bars { scale, rows })
    }

    /// Makes the table as narrow as the terminal: headings and texts break, figures and instants never do. Where not
    /// even that fits, the lines are as long as they must be.
    fn fit(&self, table: &mut comfy_table::Table, bounds: &[Bound], has_bars: bool) {
        let Some(width) = self.look.width else { return };
        let bars = table.column_cells_iter(bounds.len()).flatten();
        let bars = bars.map(|cell| cell.content().width()).max().unwrap_or(0);
        let bars = if has_bars { bars.max(*BAR.start()) + PADDING } else { 0 };
        // Whole words in the headings if there is room for them, else less and less of them.
        for limit in HEADINGS {
            let bounds = bounds.iter().map(|bound| bound.least(limit));
            if bounds.clone().sum::<usize>() + bars + table.column_count() >= usize::from(width) {
                continue;
            }
            let bounds = bounds.chain((bars > 0).then_some(bars));
            for (column, bound) in table.column_iter_mut().zip(bounds) {
                // It is less than the width of a terminal.
                let bound = u16::try_from(bound).unwrap_or(u16::MAX);
                column.set_constraint(ColumnConstraint::LowerBoundary(Width::Fixed(bound)));
            }
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
            return;
        }
    }

    fn heading(&self, name: &str) -> comfy_table::Cell {
        // Where the terminal is narrow, `disconnects_per_100_hours` breaks at its words.
        let heading = comfy_table::Cell::new(harmless(name)).set_delimiter('_');
        if self.look.is_styled { heading.add_attribute(Attribute::Bold) } else { heading }
    }

    fn write_legend(&mut self) -> io::Result<()> {
        let entries = self.legend.entries(NOTHING);
        if self.look.is_bare || entries.is_empty() {
            return Ok(());
        }
        let mut table = self.blank(NO_LINES);
        for (name, meaning) in entries {
            table.add_row([name, meaning].map(|text| {
                let cell = comfy_table::Cell::new(text);
                if self.look.is_styled { cell.add_attribute(Attribute::Dim) } else { cell }
            }));
        }
        if let Some(width) = self.look.width {
            table.set_width(width).set_content_arrangement(ContentArrangement::Dynamic);
        }
        if let Some(names) = table.column_mut(0) {
            names.set_padding((0, 2)).set_constraint(ColumnConstraint::ContentWidth);
        }
        if let Some(meanings) = table.column_mut(1) {
            meanings.set_padding((0, 0));
        }
        writeln!(self.out, "\n{}", table.trim_fmt())
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
        for line in heading::lines(head) {
            for line in heading::wrapped(&line, self.look.width.map(usize::from)) {
                writeln!(self.out, "{line}")?;
            }
        }
        let drawn = head.chart.as_ref().and_then(|chart| chart.figures.first());
        self.drawn = drawn.and_then(|name| columns.iter().position(|column| column.name == *name));
        self.columns = columns.to_vec();
        self.tz = head.time_zone;
        self.legend = Legend::new(head, columns);
        Ok(())
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.legend.note(&cells);
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
        self.write_legend()?;
        self.out.flush()
    }
}
