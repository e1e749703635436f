//! Figures over time: steps that hold for their bucket, or bars; holes where nothing was observed; coverage below.

use chrono::{DateTime, Utc};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{Area, Drawn, Ink, Mark, Part, WIDTH, axis, drawn, number, short, words};
use crate::report::value::Cell;

/// How a figure stands in its bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A line that is level for as long as the bucket lasts: a mean holds for all of it.
    Steps,
    /// A bar.
    Bars,
}

const HEIGHT: u32 = 270;

/// Room for the strip that shows coverage.
const STRIP: i32 = 8;

type Plane = Cartesian2d<axis::Marked, RangedCoordf64>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;

/// A row's stretch of time.
struct Stretch<'a> {
    from: f64,
    to: f64,
    row: &'a [Cell],
}

#[expect(clippy::cast_precision_loss, reason = "a picture has a thousand pixels")]
fn place(instant: DateTime<Utc>) -> f64 {
    instant.timestamp_millis() as f64 / 1_000.0
}

/// Each row goes on to the next one's start; the last to the end, or as long as the one before it.
fn stretches<'a>(part: &Part<'a>) -> Vec<Stretch<'a>> {
    let mut starts: Vec<(f64, &[Cell])> = Vec::new();
    for row in &part.rows {
        if let Cell::Instant(at) = row[part.along[0]] {
            starts.push((place(at), row));
        }
    }
    starts.sort_by(|a, b| a.0.total_cmp(&b.0));
    let usual =
        starts.windows(2).map(|pair| pair[1].0 - pair[0].0).reduce(f64::max).unwrap_or(86_400.0);
    let ends =
        starts.iter().skip(1).map(|(start, _)| *start).map(Some).chain([None]).collect::<Vec<_>>();
    let last = |start: f64| match part.until.map(place) {
        // What it is worth goes on to the period's end, if that is in the bucket.
        Some(until) if until > start => until.min(start + usual.max(60.0)),
        _ => start + usual.max(60.0),
    };
    let stretch = |((from, row), to): ((f64, &'a [Cell]), Option<f64>)| Stretch {
        from,
        to: to.unwrap_or_else(|| last(from)),
        row,
    };
    starts.into_iter().zip(ends).map(stretch).collect()
}

pub(super) fn draw(part: &Part<'_>, svg: &mut String, shape: Shape) -> Drawn {
    let stretches = stretches(part);
    let Some((first, last)) = stretches.first().zip(stretches.last()) else { return Ok(()) };
    let (from, to) = (first.from, last.to);
    let instant = |at: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an instant that was read from the ledger"
        )]
        DateTime::from_timestamp_millis((at * 1_000.0) as i64).unwrap_or_default()
    };
    let marks = axis::marks(instant(from), instant(to), part.tz);
    let strip = if part.coverage.is_some() { STRIP + 6 } else { 0 };
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let points: Vec<f64> = marks.iter().map(|(at, _)| place(*at)).collect();
    let mut plot = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(26)
        .margin_bottom(strip)
        .x_label_area_size(22)
        .y_label_area_size(52)
        .build_cartesian_2d(axis::Marked { range: from..to, marks: points }, 0.0..part.top())?;
    for hole in holes(part, &stretches) {
        rectangle(&plot, hole, (0.0, part.top()), Ink::Hole, 1.0)?;
    }
    plot.configure_mesh()
        .disable_x_mesh()
        .y_labels(5)
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::Grid.color())
        .axis_style(Ink::Coverage.color())
        .label_style(words(12.0, Ink::Text))
        .x_label_formatter(&|at| {
            let found = marks.iter().find(|(mark, _)| (place(*mark) - at).abs() < 1.0);
            found.map(|(_, label)| label.clone()).unwrap_or_default()
        })
        .y_label_formatter(&|value| short(*value))
        .draw()?;
    if let Some(bounds) = part.between {
        band(&plot, &stretches, bounds)?;
    }
    for (nth, at) in part.figures.iter().enumerate().rev() {
        match shape {
            Shape::Steps => steps(&mut plot, &stretches, *at, nth)?,
            Shape::Bars => bars(&plot, &stretches, *at, nth)?,
        }
    }
    marked(&plot, &root, part.marks, (from, to), part.top())?;
    if let Some(at) = part.coverage {
        coverage(&plot, &root, &stretches, at)?;
    }
    drawn(root.present())
}

/// Where no figure is known, neighbours as one.
fn holes(part: &Part<'_>, stretches: &[Stretch<'_>]) -> Vec<(f64, f64)> {
    let mut holes: Vec<(f64, f64)> = Vec::new();
    for stretch in stretches
        .iter()
        .filter(|stretch| part.figures.iter().all(|at| stretch.row[*at] == Cell::Null))
    {
        match holes.last_mut() {
            Some(last) if last.1 >= stretch.from => last.1 = stretch.to,
            _ => holes.push((stretch.from, stretch.to)),
        }
    }
    holes
}

fn rectangle(
    plot: &Plot<'_, '_>,
    along: (f64, f64),
    up: (f64, f64),
    ink: Ink,
    strength: f64,
) -> Drawn {
    let corners = [(along.0, up.1), (along.1, up.0)];
    drawn(plot.plotting_area().draw(&Rectangle::new(corners, ink.color().mix(strength).filled())))
}

/// A figure, interrupted where it is not known.
fn steps(plot: &mut Plot<'_, '_>, stretches: &[Stretch<'_>], at: usize, nth: usize) -> Drawn {
    let width = if nth == 0 { 2 } else { 1 };
    for run in stretches.split(|stretch| number(&stretch.row[at]).is_none()) {
        let corners: Vec<(f64, f64)> = run
            .iter()
            .filter_map(|stretch| Some((stretch, number(&stretch.row[at])?)))
            .flat_map(|(stretch, value)| [(stretch.from, value), (stretch.to, value)])
            .collect();
        if !corners.is_empty() {
            let style = Ink::Figure(nth).color().stroke_width(width);
            plot.draw_series([PathElement::new(corners, style)])?;
        }
    }
    Ok(())
}

fn bars(plot: &Plot<'_, '_>, stretches: &[Stretch<'_>], at: usize, nth: usize) -> Drawn {
    for stretch in stretches {
        let Some(value) = number(&stretch.row[at]) else { continue };
        let air = (stretch.to - stretch.from) * 0.1;
        rectangle(
            plot,
            (stretch.from + air, stretch.to - air),
            (0.0, value),
            Ink::Figure(nth),
            1.0,
        )?;
    }
    Ok(())
}

fn band(plot: &Plot<'_, '_>, stretches: &[Stretch<'_>], [low, high]: [usize; 2]) -> Drawn {
    for stretch in stretches {
        let bounds = number(&stretch.row[low]).zip(number(&stretch.row[high]));
        if let Some((low, high)) = bounds {
            rectangle(plot, (stretch.from, stretch.to), (low, high), Ink::Figure(0), 0.22)?;
        }
    }
    Ok(())
}

fn marked(
    plot: &Plot<'_, '_>,
    root: &Area<'_>,
    marks: &[Mark],
    within: (f64, f64),
    top: f64,
) -> Drawn {
    for mark in
        marks.iter().map(|mark| place(mark.0)).filter(|at| (within.0..=within.1).contains(at))
    {
        let (x, y) = plot.backend_coord(&(mark, top));
        let (_, floor) = plot.backend_coord(&(mark, 0.0));
        let style = Ink::Mark.color();
        drawn(
            root.draw(&PathElement::new(vec![(x, y), (x, floor)], style.mix(0.6).stroke_width(1))),
        )?;
        drawn(root.draw(&Polygon::new(
            vec![(x - 5, y - 7), (x + 5, y - 7), (x, y + 2)],
            style.filled(),
        )))?;
    }
    Ok(())
}

/// Below the axis: as dark as much was covered.
fn coverage(plot: &Plot<'_, '_>, root: &Area<'_>, stretches: &[Stretch<'_>], at: usize) -> Drawn {
    let bottom = i32::try_from(HEIGHT).unwrap_or(i32::MAX) - 2;
    let place_of = |stretch: &Stretch<'_>| {
        let (from, _) = plot.backend_coord(&(stretch.from, 0.0));
        let (to, _) = plot.backend_coord(&(stretch.to, 0.0));
        (from, to)
    };
    // Neighbours alike are one rectangle: most of a year is covered.
    let mut runs: Vec<(i32, i32, f64)> = Vec::new();
    for stretch in stretches {
        let share = (number(&stretch.row[at]).unwrap_or(0.0) / 100.0).clamp(0.0, 1.0);
        let share = (share * 50.0).round() / 50.0;
        let (from, to) = place_of(stretch);
        match runs.last_mut() {
            Some(last) if (last.2 - share).abs() < f64::EPSILON && last.1 >= from => last.1 = to,
            _ => runs.push((from, to, share)),
        }
    }
    for (from, to, share) in runs {
        let corners = [(from, bottom - STRIP), (to, bottom)];
        drawn(root.draw(&Rectangle::new(corners, Ink::Hole.color().filled())))?;
        drawn(root.draw(&Rectangle::new(corners, Ink::Coverage.color().mix(share).filled())))?;
    }
    Ok(())
}
