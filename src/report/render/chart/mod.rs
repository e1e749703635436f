//! A report's chart, drawn with characters, by the `Chart` section of its header.
//!
//! What was not observed is hatched, never a zero and never bridged by a line.

mod bars;
mod heat;
mod line;

use std::io::{self, Write};

use chrono_tz::Tz;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::legend::Legend;
use super::people::{NOTHING, Precision, length, number, text};
use super::{Look, heading};
use crate::domain::harmless;
use crate::report::header::ChartKind;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, ColumnKind};

/// The width of a picture that goes to no terminal.
const WIDTH: u16 = 100;

/// Narrower ones show nothing.
const NARROWEST: u16 = 40;

/// So many pictures at most; who wants more asks for one group or source.
const PICTURES: usize = 12;

/// So many rows of a picture at most: five years by the hour, as many bars as one looks at.
const LINE_ROWS: usize = 50_000;
const BAR_ROWS: usize = 60;

/// The column that says how much a row rests on.
const COVERAGE: &str = "coverage_pct";

/// Of so many bars each tells its own.
const SPELT_OUT: usize = 8;

/// One row of the result, as far as it is drawn.
struct Row {
    along: Vec<Cell>,
    /// `None`: not observed.
    figures: Vec<Option<f64>>,
    band: Option<(f64, f64)>,
    /// How much it rests on, in percent.
    coverage: Option<f64>,
}

/// The rows that are drawn together.
struct Picture {
    /// The value of the column that there is a picture for each of.
    name: Option<String>,
    rows: Vec<Row>,
}

/// A figure that is drawn.
struct Figure {
    name: String,
    kind: ColumnKind,
    is_lower_bound: bool,
}

/// What all pictures of a report have in common.
struct Canvas {
    kind: ChartKind,
    figures: Vec<Figure>,
    /// The names of the band's columns.
    band: Option<[String; 2]>,
    /// From when to when its buckets are, where it has some.
    buckets: Option<[f64; 2]>,
    tz: Tz,
    width: usize,
    is_styled: bool,
}

/// Where the columns of the chart are in a row.
#[derive(Default)]
struct Places {
    along: Vec<usize>,
    figures: Vec<usize>,
    band: Option<[usize; 2]>,
    per: Option<usize>,
    coverage: Option<usize>,
}

/// Gathers what is drawn, and draws it at the end.
pub(super) struct Drawing<W> {
    out: W,
    look: Look,
    canvas: Option<Canvas>,
    places: Places,
    legend: Legend,
    pictures: Vec<Picture>,
    /// Rows for which there was no room.
    left_out: usize,
}

impl<W: Write> Drawing<W> {
    pub fn new(out: W, look: Look) -> Self {
        let places = Places::default();
        let legend = Legend::default();
        Self { out, look, canvas: None, places, legend, pictures: Vec::new(), left_out: 0 }
    }

    fn picture(&mut self, name: Option<String>) -> Option<&mut Picture> {
        let known = self.pictures.iter().position(|picture| picture.name == name);
        if known.is_none() && self.pictures.len() < PICTURES {
            self.pictures.push(Picture { name, rows: Vec::new() });
            return self.pictures.last_mut();
        }
        self.pictures.get_mut(known?)
    }

    fn write_notes(&mut self, canvas: &Canvas) -> io::Result<()> {
        if self.pictures.is_empty() {
            writeln!(self.out, "(no rows)")?;
        }
        let width = Some(canvas.width);
        if self.left_out > 0 {
            let note = format!(
                "{} more rows are not drawn: a chart has at most {PICTURES} pictures of {} rows. Ask for less, or \
                 leave `--chart` out.",
                self.left_out,
                canvas.most_rows(),
            );
            for line in heading::wrapped(&note, width) {
                writeln!(self.out, "{line}")?;
            }
        }
        Ok(())
    }
}

impl Canvas {
    fn most_rows(&self) -> usize {
        if self.kind == ChartKind::Bars { BAR_ROWS } else { LINE_ROWS }
    }

    fn draw(&self, picture: &Picture) -> Vec<String> {
        match self.kind {
            ChartKind::Line => line::draw(self, &picture.rows),
            ChartKind::Bars => bars::draw(self, &picture.rows),
            ChartKind::Heat => heat::draw(self, &picture.rows),
        }
    }

    /// How much a picture rests on: all of it, and what is least and most.
    fn coverage(&self, picture: &Picture, is_whole: bool) -> Option<String> {
        let shares: Vec<f64> = picture.rows.iter().filter_map(|row| row.coverage).collect();
        let least = shares.iter().copied().reduce(f64::min)?;
        let most = shares.iter().copied().reduce(f64::max)?;
        let range = format!("{least:.2} to {most:.2}");
        let said = if format!("{least:.2}") == format!("{most:.2}") {
            format!("{most:.2}")
        } else if let Some(share) = self.of_period(picture).filter(|_| is_whole) {
            format!("{share:.2} of the period, {range} of its buckets")
        } else if self.kind == ChartKind::Bars && picture.rows.len() <= SPELT_OUT {
            let names = self.labels(picture.rows.iter().filter_map(|row| row.along.first()));
            let named = names.iter().zip(&picture.rows);
            let named =
                named.filter_map(|(name, row)| Some(format!("{name} {:.2}", row.coverage?)));
            named.collect::<Vec<_>>().join(", ")
        } else {
            range
        };
        Some(format!("{COVERAGE}  {said}"))
    }

    /// What of the whole period is covered, from the share of each bucket.
    fn of_period(&self, picture: &Picture) -> Option<f64> {
        let [from, to] = self.buckets?;
        let start = |row: &Row| match row.along.first() {
            Some(Cell::Instant(at)) => Some(at.timestamp_micros() as f64),
            _ => None,
        };
        let starts: Vec<f64> = picture.rows.iter().map(start).collect::<Option<_>>()?;
        let ends = starts.iter().skip(1).copied().chain([to]);
        let mut covered = 0.0;
        for ((start, end), row) in starts.iter().zip(ends).zip(&picture.rows) {
            covered += (end.min(to) - start.max(from)).max(0.0) * row.coverage?;
        }
        (to > from).then(|| covered / (to - from))
    }

    /// What the signs in the pictures mean.
    fn signs(&self, pictures: &[Picture]) -> Vec<String> {
        match self.kind {
            ChartKind::Line => line::signs(self),
            ChartKind::Bars => bars::signs(self),
            ChartKind::Heat => heat::signs(self, pictures),
        }
    }

    /// In bold, where that is wanted.
    fn bold(&self, text: &str) -> String {
        if self.is_styled { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// In colour, where that is wanted; `colour` is what SGR calls it.
    fn coloured(&self, text: &str, colour: u8) -> String {
        if self.is_styled && !text.is_empty() {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// The texts of what rows stand along, as short as tells them apart.
    fn labels<'a>(&self, cells: impl Iterator<Item = &'a Cell> + Clone) -> Vec<String> {
        let precision = Precision::of(cells.clone(), self.tz);
        cells.map(|cell| text(cell, precision, self.tz)).collect()
    }
}

impl Figure {
    /// A value of it, rounded as in tables.
    fn label(&self, value: f64) -> String {
        match self.kind {
            // It was a whole number of microseconds, or lies between two.
            #[expect(clippy::cast_possible_truncation, reason = "rounded")]
            ColumnKind::Duration => length(value.round() as i64),
            ColumnKind::Integer => format!("{value:.0}"),
            _ => format!("{value:.2}"),
        }
    }

    fn told(&self) -> String {
        let name = harmless(&self.name);
        if self.is_lower_bound { format!("{name} (a lower bound)") } else { name }
    }
}

/// Cut at the width, with a sign that it is.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    let mut taken = 1;
    for c in text.chars() {
        taken += c.width().unwrap_or(0);
        if taken > width {
            break;
        }
        kept.push(c);
    }
    kept.push('…');
    kept
}

/// Filled up with spaces, by what it takes on a terminal.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

impl<W: Write + Send> Sink for Drawing<W> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        let wrong = |problem: String| io::Error::new(io::ErrorKind::InvalidInput, problem);
        let chart =
            head.chart.as_ref().ok_or_else(|| wrong("the report has no chart".to_owned()))?;
        let place = |name: &String| {
            let place = columns.iter().position(|column| column.name == *name);
            place.ok_or_else(|| wrong(format!("its chart names `{name}`, which is no column")))
        };
        let figure = |name: &String| {
            let at = place(name)?;
            match columns[at].kind {
                ColumnKind::Integer | ColumnKind::Number | ColumnKind::Duration => Ok(at),
                _ => Err(wrong(format!("its chart draws `{name}`, which is no figure"))),
            }
        };
        self.places = Places {
            along: chart.along.iter().map(place).collect::<Result<_, _>>()?,
            figures: chart.figures.iter().map(figure).collect::<Result<_, _>>()?,
            band: match &chart.between {
                Some([low, high]) => Some([figure(low)?, figure(high)?]),
                None => None,
            },
            per: chart.per.as_ref().map(place).transpose()?,
            // Where it is drawn it need not be said.
            coverage: columns
                .iter()
                .position(|column| column.name == COVERAGE)
                .filter(|_| !chart.columns().any(|name| name == COVERAGE)),
        };
        let drawn: Vec<Column> = columns
            .iter()
            .filter(|column| {
                column.name == COVERAGE || chart.columns().any(|name| name == column.name)
            })
            .cloned()
            .collect();
        let told = Legend::new(head, columns);
        let figures = self.places.figures.iter().map(|at| Figure {
            name: columns[*at].name.clone(),
            kind: columns[*at].kind,
            is_lower_bound: told.is_lower_bound(*at),
        });
        let canvas = Canvas {
            kind: chart.kind,
            figures: figures.collect(),
            band: chart.between.clone(),
            buckets: heading::instant(head, "from")
                .zip(heading::instant(head, "to"))
                .filter(|_| chart.along[0] == "bucket_start")
                .map(|(from, to)| [from, to].map(|at| at.timestamp_micros() as f64)),
            tz: head.time_zone,
            width: usize::from(self.look.width.unwrap_or(WIDTH).max(NARROWEST)),
            is_styled: self.look.is_styled,
        };
        self.legend = Legend::new(head, &drawn);
        writeln!(self.out, "{}", canvas.bold(&harmless(&head.title)))?;
        for line in heading::lines(head) {
            for line in heading::wrapped(&line, Some(canvas.width)) {
                writeln!(self.out, "{line}")?;
            }
        }
        writeln!(self.out)?;
        self.canvas = Some(canvas);
        Ok(())
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        let Some(canvas) = &self.canvas else { return Ok(()) };
        let (most, tz) = (canvas.most_rows(), canvas.tz);
        let name = self.places.per.map(|at| text(&cells[at], Precision::Second, tz));
        let band = self
            .places
            .band
            .and_then(|[low, high]| Some((number(&cells[low])?, number(&cells[high])?)));
        let row = Row {
            along: self.places.along.iter().map(|at| cells[*at].clone()).collect(),
            figures: self.places.figures.iter().map(|at| number(&cells[*at])).collect(),
            band,
            coverage: self.places.coverage.and_then(|at| number(&cells[at])),
        };
        match self.picture(name).filter(|picture| picture.rows.len() < most) {
            Some(picture) => picture.rows.push(row),
            None => self.left_out += 1,
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if let Some(canvas) = self.canvas.take() {
            for picture in &self.pictures {
                if let Some(name) = &picture.name {
                    writeln!(self.out, "{}", canvas.bold(&cut(name, canvas.width)))?;
                }
                for line in canvas.draw(picture) {
                    writeln!(self.out, "{}", line.trim_end())?;
                }
                let coverage = canvas.coverage(picture, self.left_out == 0);
                for line in
                    coverage.iter().flat_map(|said| heading::wrapped(said, Some(canvas.width)))
                {
                    writeln!(self.out, "{line}")?;
                }
                writeln!(self.out)?;
            }
            for line in canvas.signs(&self.pictures) {
                writeln!(self.out, "{line}")?;
            }
            self.write_notes(&canvas)?;
            if !self.look.is_bare {
                let entries = self.legend.entries(NOTHING);
                let names = entries.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
                let room = canvas.width.saturating_sub(names + 2).max(20);
                if !entries.is_empty() {
                    writeln!(self.out)?;
                }
                for (name, meaning) in entries {
                    let lines = heading::wrapped(&meaning, Some(room));
                    for (at, line) in lines.iter().enumerate() {
                        let name = if at == 0 { name.as_str() } else { "" };
                        writeln!(self.out, "{}  {line}", padded(name, names))?;
                    }
                }
            }
        }
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cut_by_what_they_take() {
        assert_eq!(cut("DESK-1", 6), "DESK-1");
        assert_eq!(cut("DESK-100", 6), "DESK-…");
        assert_eq!(cut("桌面桌面", 6), "桌面…");
        assert_eq!(padded("桌面", 6), "桌面  ");
    }
}
