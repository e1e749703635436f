//! Charts as SVG, drawn by `plotters`, so that a page needs no script: it prints as it looks, and opens anywhere.
//!
//! A style sheet cannot reach into `plotters`, but what it writes are presentation attributes, which any rule of a style
//! sheet overrides. So each role has a colour of its own ([`Ink`]), good on white paper; `page.css` gives the same roles
//! other colours where it is dark, and turns what was not observed into hatching.

mod axis;
mod bars;
mod heat;
mod line;
mod part;
mod tip;

pub(super) use heat::line_name as heat_line;

use chrono::{DateTime, Utc};
use plotters::prelude::*;

use serde::Serialize;

use self::part::Part;
use super::bucket::Edges;
use super::figure::Figures;
use crate::domain::harmless;
use crate::report::header::{Chart, ChartKind};
use crate::report::render::heading::instant;
use crate::report::render::people::{self, Precision};
use crate::report::run::Head;
use crate::report::value::{Cell, ColumnKind};

/// What a stroke or an area stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// Words and axes.
    Text,
    /// Lines to read values off.
    Grid,
    /// Not observed.
    Hole,
    /// How much was observed.
    Coverage,
    /// A bucket that the period cuts.
    Cut,
    /// Something happened here.
    Mark,
    /// One of the figures, counted from 0.
    Figure(usize),
}

/// How many figures have a colour of their own; more begin again.
const FIGURES: [RGBColor; 5] = [
    RGBColor(0x0B, 0x5C, 0xAD),
    RGBColor(0xB8, 0x4A, 0x00),
    RGBColor(0x4F, 0x6B, 0x1F),
    RGBColor(0x7A, 0x3E, 0x9D),
    RGBColor(0x8A, 0x1C, 0x3C),
];

impl Ink {
    fn color(self) -> RGBColor {
        match self {
            Self::Text => RGBColor(0x22, 0x26, 0x2B),
            Self::Grid => RGBColor(0xDD, 0xE1, 0xE6),
            Self::Hole => RGBColor(0xC9, 0xC4, 0xB8),
            Self::Coverage => RGBColor(0x6B, 0x72, 0x7B),
            Self::Cut => RGBColor(0xEC, 0xEE, 0xF1),
            Self::Mark => RGBColor(0xC2, 0x18, 0x2B),
            Self::Figure(nth) => FIGURES[nth % FIGURES.len()],
        }
    }
}

/// The drawing area of a picture.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

/// `plotters` fails where a value is not finite or an area has no room; neither comes from what was asked.
type Drawn<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn drawn<E: std::error::Error + Send + Sync + 'static>(
    outcome: Result<(), DrawingAreaErrorKind<E>>,
) -> Drawn {
    outcome.map_err(Into::into)
}

/// Words of a picture: size in pixels.
fn words(size: f64, ink: Ink) -> TextStyle<'static> {
    // What the backend writes is smaller by this factor.
    TextStyle {
        font: ("sans-serif", size * 1.24).into_font(),
        color: ink.color().to_backend_color(),
        pos: plotters::style::text_anchor::Pos::default(),
    }
}

/// Pixels; the page scales it.
const WIDTH: u32 = 800;

/// More bars than this are not drawn, but named.
const MOST_BARS: usize = 40;

/// More pictures than this are not drawn.
const MOST_PICTURES: usize = 12;

/// Something at an instant that a picture marks.
#[derive(Debug, Clone, Copy)]
pub struct Mark(pub DateTime<Utc>);

/// A chart for one value of the column that it is drawn for each of.
#[derive(Debug, Clone, Serialize)]
pub struct Picture {
    /// That value, harmless; `None`: there is only one picture.
    pub of: Option<String>,
    /// An `svg` element.
    pub svg: String,
    /// What it shows, for those who do not see it.
    pub summary: String,
    /// Bars with names, which fit a narrow page.
    pub is_narrow: bool,
    /// How much all of it rests on, where that is the same everywhere.
    pub coverage: Option<String>,
}

/// All pictures of a result.
#[derive(Debug, Clone, Default)]
pub struct Pictures {
    /// In the order of the rows.
    pub pictures: Vec<Picture>,
    /// Name and colour's number of each figure.
    pub legend: Vec<(String, usize)>,
    /// What the band shows, if there is one.
    pub band: Option<String>,
    /// Has stretches that were not observed.
    pub has_holes: bool,
    /// Has marks.
    pub has_marks: bool,
    /// Has a strip that shows coverage.
    pub has_coverage: bool,
    /// Has buckets that the period cuts.
    pub has_cut: bool,
    /// What was left out, for people.
    pub left_out: Option<String>,
}

/// What is drawn: a result with its chart.
#[derive(Debug, Clone, Copy)]
pub(super) struct Drawing<'a> {
    /// By which names.
    pub chart: &'a Chart,
    /// The result's columns.
    pub figures: &'a Figures<'a>,
    /// The result's rows.
    pub rows: &'a [Vec<Cell>],
    /// What was asked for.
    pub head: &'a Head,
    /// Drawn where the picture goes along instants.
    pub marks: &'a [Mark],
}

impl Drawing<'_> {
    /// Draws it; `None` where the result lacks a column that the chart names.
    ///
    /// # Errors
    /// `plotters` failed.
    pub fn draw(&self) -> Result<Option<Pictures>, Box<dyn std::error::Error + Send + Sync>> {
        let place = |name: &String| self.figures.place(name);
        let places = |names: &[String]| names.iter().map(place).collect::<Option<Vec<usize>>>();
        let Some((along, figures)) = places(&self.chart.along).zip(places(&self.chart.figures))
        else {
            return Ok(None);
        };
        let between =
            self.chart.between.as_ref().and_then(|[low, high]| Some([place(low)?, place(high)?]));
        let per = self.chart.per.as_ref().and_then(place);
        let observed = self.figures.place("coverage_pct").filter(|at| !figures.contains(at));
        let columns = self.figures.columns;
        let is_timed = columns[along[0]].kind == ColumnKind::Instant;
        let is_worded = columns[along[0]].kind == ColumnKind::Text;
        // Below a bucket stands how much of that bucket was covered; elsewhere the column says it of other times.
        let has_strip = observed.is_some() && self.chart.along[0] == "bucket_start" && is_timed;
        let edges = Edges::of(self.head, &self.chart.along[0]);

        let mut groups: Vec<(Option<&Cell>, Vec<&[Cell]>)> = Vec::new();
        for row in self.rows {
            let of = per.map(|at| &row[at]);
            match groups.iter_mut().find(|(known, _)| *known == of) {
                Some((_, rows)) => rows.push(row),
                None => groups.push((of, vec![row])),
            }
        }
        let is_alone = groups.len() == 1;
        let legend = figures.iter().enumerate().map(|(nth, at)| (self.figures.titled(*at), nth));
        let mut pictures = Pictures { legend: legend.collect(), ..Pictures::default() };
        pictures.band =
            between.filter(|bounds| self.has_band(*bounds)).map(|bounds| self.band(bounds));
        if groups.len() > MOST_PICTURES {
            pictures.left_out =
                Some(format!("the first {MOST_PICTURES} of {} are drawn", groups.len()));
        }
        let tz = self.head.time_zone;
        let precision = Precision::of(self.rows.iter().map(|row| &row[along[0]]), tz);
        for (of, rows) in groups.into_iter().take(MOST_PICTURES) {
            let mut part = Part {
                rows,
                along: along.clone(),
                figures: figures.clone(),
                between,
                more: if self.chart.kind == ChartKind::Heat {
                    self.figures.undrawn_bounds(self.chart)
                } else {
                    Vec::new()
                },
                observed,
                has_strip,
                words: self.figures,
                tz,
                precision,
                until: instant(self.head, "to"),
                edges,
                marks: self.marks,
            };
            if self.chart.kind == ChartKind::Bars && is_worded && part.rows.len() > MOST_BARS {
                pictures.left_out =
                    Some(format!("the first {MOST_BARS} of {} rows are drawn", part.rows.len()));
                part.rows.truncate(MOST_BARS);
            }
            let mut svg = String::new();
            // Where each row shows it, no caption has to.
            let mut is_told = false;
            let tips = match self.chart.kind {
                ChartKind::Line if is_timed => line::draw(&part, &mut svg, line::Shape::Steps)?,
                ChartKind::Bars if is_timed => line::draw(&part, &mut svg, line::Shape::Bars)?,
                ChartKind::Bars if is_worded => {
                    is_told = true;
                    bars::rows(&part, &mut svg)?
                }
                ChartKind::Bars | ChartKind::Line => bars::columns(&part, &mut svg)?,
                ChartKind::Heat => {
                    is_told = true;
                    heat::draw(&part, &mut svg)?
                }
            };
            tip::put(&mut svg, &tips);
            pictures.has_holes |= part.has_holes();
            pictures.has_marks |= is_timed && !self.marks.is_empty();
            pictures.has_coverage |=
                has_strip || self.chart.kind == ChartKind::Heat && observed.is_some();
            pictures.has_cut |= is_timed && part.rows.iter().any(|row| part.is_cut(row));
            pictures.pictures.push(Picture {
                of: of.filter(|_| !is_alone).map(|of| people::plain(of, part.tz)),
                svg,
                summary: part.summary(),
                is_narrow: self.chart.kind == ChartKind::Bars && is_worded,
                coverage: if is_told || has_strip { None } else { part.even_coverage() },
            });
        }
        Ok(Some(pictures))
    }
}

impl Drawing<'_> {
    fn has_band(&self, bounds: [usize; 2]) -> bool {
        self.rows.iter().any(|row| bounds.iter().all(|at| number(&row[*at]).is_some()))
    }

    /// What the band shows: between which columns it lies, and how much it is meant to hold, where the result says so.
    fn band(&self, [low, high]: [usize; 2]) -> String {
        let bounds = format!("{} to {}", self.figures.name(low), self.figures.name(high));
        let mut shares = self
            .figures
            .place("band_pct")
            .map(|at| self.rows.iter().filter_map(|row| number(&row[at])).collect::<Vec<_>>())
            .unwrap_or_default();
        shares.dedup();
        match shares[..] {
            [share] => format!("{bounds}, meant to hold {} % of what comes", short(share)),
            _ => bounds,
        }
    }
}

/// A value that can be drawn; lengths of time in hours.
pub(super) fn number(cell: &Cell) -> Option<f64> {
    let number = match cell {
        #[expect(clippy::cast_precision_loss, reason = "a picture has a thousand pixels")]
        Cell::Integer(number) => *number as f64,
        Cell::Float(number) => *number,
        Cell::Decimal(text) => text.parse().ok()?,
        #[expect(clippy::cast_precision_loss, reason = "a picture has a thousand pixels")]
        Cell::Duration(micros) => *micros as f64 / 3_600e6,
        Cell::Null
        | Cell::Text(_)
        | Cell::Bool(_)
        | Cell::Instant(_)
        | Cell::List(_)
        | Cell::Json(_) => return None,
    };
    number.is_finite().then_some(number)
}

/// A column's name as it is said.
pub(super) fn spoken(name: &str) -> String {
    let name = match name.strip_suffix("_pct") {
        Some(share) => format!("{share} %"),
        None => name.to_owned(),
    };
    harmless(&name.replace('_', " "))
}

/// A number on an axis: no more digits than tell something.
pub(super) fn short(value: f64) -> String {
    let magnitude = value.abs();
    let text = if magnitude >= 100.0 || value.fract() == 0.0 {
        format!("{value:.0}")
    } else if magnitude >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    };
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}
