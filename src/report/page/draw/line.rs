//! Figures over time: steps that hold for their bucket, or bars; holes where nothing was observed; coverage below.

use chrono::{DateTime, Utc};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::part::Part;
use super::tip::Tip;
use super::{Area, Drawn, Ink, Mark, WIDTH, axis, drawn, number, short, words};
use crate::report::render::people;
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

/// A pointer finds nothing that is narrower: buckets of fewer pixels share what is said of them.
const NARROWEST: i32 = 5;

type Plane = Cartesian2d<axis::Marked, RangedCoordf64>;
type Plot<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Plane>;

/// A row's stretch of time.
#[derive(Clone, Copy)]
struct Stretch<'a> {
    from: f64,
    to: f64,
    row: &'a [Cell],
}

#[expect(clippy::cast_precision_loss, reason = "a picture has a thousand pixels")]
fn place(instant: DateTime<Utc>) -> f64 {
    instant.timestamp_millis() as f64 / 1_000.0
}

/// Each row goes on to the next one's start; the last to the end, or as long as the one before it. The first begins with
/// the period.
fn stretches<'a>(part: &Part<'a>) -> Vec<Stretch<'a>> {
    let mut starts: Vec<(f64, &[Cell])> = Vec::new();
    for row in &part.rows {
        if let Cell::Instant(at) = row[part.along[0]] {
            let edge = part.edges.filter(|_| part.is_cut(row)).map(|edges| edges.from);
            starts.push((place(edge.map_or(at, |from| at.max(from))), row));
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

pub(super) fn draw(part: &Part<'_>, svg: &mut String, shape: Shape) -> Drawn<Vec<Tip>> {
    let stretches = stretches(part);
    let Some((first, last)) = stretches.first().zip(stretches.last()) else {
        return Ok(Vec::new());
    };
    let (from, to) = (first.from, last.to);
    let instant = |at: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "an instant that was read from the ledger"
        )]
        DateTime::from_timestamp_millis((at * 1_000.0) as i64).unwrap_or_default()
    };
    let marks = axis::marks(instant(from), instant(to), part.tz);
    let strip = if part.has_strip { STRIP + 6 } else { 0 };
    let root = SVGBackend::with_string(svg, (WIDTH, HEIGHT)).into_drawing_area();
    let points: Vec<f64> = marks.iter().map(|(at, _)| place(*at)).collect();
    let mut plot = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(26)
        .margin_bottom(strip)
        .x_label_area_size(22)
        .y_label_area_size(66)
        .build_cartesian_2d(axis::Marked { range: from..to, marks: points }, 0.0..part.top())?;
    for stretch in stretches.iter().filter(|stretch| part.is_cut(stretch.row)) {
        rectangle(&plot, (stretch.from, stretch.to), (0.0, part.top()), Ink::Cut, 1.0)?;
    }
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
        .y_desc(part.axis())
        .axis_desc_style(words(12.0, Ink::Text))
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
    if let Some(at) = part.observed.filter(|_| part.has_strip) {
        coverage(&plot, &root, &stretches, at)?;
    }
    let tips = tips(part, &plot, &stretches, (from, to));
    drawn(root.present())?;
    Ok(tips)
}

/// What is there, bucket by bucket from top to bottom, and above that what is marked.
fn tips(
    part: &Part<'_>,
    plot: &Plot<'_, '_>,
    stretches: &[Stretch<'_>],
    within: (f64, f64),
) -> Vec<Tip> {
    let bottom = i32::try_from(HEIGHT).unwrap_or(i32::MAX);
    let pixel = |at: f64| plot.backend_coord(&(at, part.top())).0;
    let mut tips = Vec::new();
    let mut rest = stretches;
    while let Some(first) = rest.first() {
        let left = pixel(first.from);
        let wide = rest.iter().position(|stretch| pixel(stretch.to) - left >= NARROWEST);
        let (group, others) = rest.split_at(wide.map_or(rest.len(), |at| at + 1));
        rest = others;
        let rows: Vec<&[Cell]> = group.iter().map(|stretch| stretch.row).collect();
        let right = group.last().map_or(left, |last| pixel(last.to));
        let text = format!("{}: {}", part.which(&rows), part.said(&rows));
        tips.push(Tip { from: (left, 0), to: (right.max(left + 1), bottom), text });
    }
    let (_, top) = plot.backend_coord(&(within.0, part.top()));
    for mark in part.marks.iter().filter(|mark| (within.0..=within.1).contains(&place(mark.0))) {
        let at = pixel(place(mark.0));
        let when = people::plain(&Cell::Instant(mark.0), part.tz);
        let text = format!("{when}: many disconnected at once");
        tips.push(Tip { from: (at - 6, top - 8), to: (at + 6, top + 4), text });
    }
    tips
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
        let corners = thinned(plot, corners);
        if !corners.is_empty() {
            let style = Ink::Figure(nth).color().stroke_width(width);
            plot.draw_series([PathElement::new(corners, style)])?;
        }
    }
    Ok(())
}

/// Of the corners that fall into one column of pixels, the first, the lowest, the highest and the last: that looks like all.
fn thinned(plot: &Plot<'_, '_>, corners: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let pixel = |corner: &(f64, f64)| plot.backend_coord(corner).0;
    let mut kept = Vec::new();
    for column in corners.chunk_by(|one, next| pixel(one) == pixel(next)) {
        let by_height = |one: &&(f64, f64), other: &&(f64, f64)| one.1.total_cmp(&other.1);
        let extremes = column.iter().min_by(by_height).zip(column.iter().max_by(by_height));
        match (column, extremes) {
            ([first, _, .., _, last], Some((lowest, highest))) if column.len() > 4 => {
                kept.extend([*first, *lowest, *highest, *last]);
            }
            _ => kept.extend_from_slice(column),
        }
    }
    kept
}

fn bars(plot: &Plot<'_, '_>, stretches: &[Stretch<'_>], at: usize, nth: usize) -> Drawn {
    let pixel = |stretch: &Stretch<'_>| plot.backend_coord(&(stretch.from, 0.0)).0;
    // Of bars in one column of pixels only the highest is seen.
    for column in stretches.chunk_by(|one, next| pixel(one) == pixel(next)) {
        let highest =
            column.iter().filter_map(|stretch| Some((number(&stretch.row[at])?, stretch)));
        let highest = highest.max_by(|(one, _), (other, _)| one.total_cmp(other));
        // One of no height is not seen either.
        let Some((value, stretch)) = highest.filter(|(value, _)| *value > 0.0) else { continue };
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
    // Neighbours alike are one rectangle: most of a year is covered. So are those in one column of pixels, of which the
    // least is shown: a gap stays to be seen.
    let mut runs: Vec<(i32, i32, f64)> = Vec::new();
    for stretch in stretches {
        let share = (number(&stretch.row[at]).unwrap_or(0.0) / 100.0).clamp(0.0, 1.0);
        let share = (share * 50.0).round() / 50.0;
        let (from, to) = place_of(stretch);
        match runs.last_mut() {
            Some(last) if (last.2 - share).abs() < f64::EPSILON && last.1 >= from => last.1 = to,
            Some(last) if from - last.0 < 2 => *last = (last.0, to, last.2.min(share)),
            _ => runs.push((from, to, share)),
        }
    }
    let ends = runs.first().zip(runs.last());
    if let Some((from, to)) = ends.map(|(first, last)| (first.0, last.1)) {
        let all = [(from, bottom - STRIP), (to, bottom)];
        drawn(root.draw(&Rectangle::new(all, Ink::Hole.color().filled())))?;
    }
    for (from, to, share) in runs {
        let corners = [(from, bottom - STRIP), (to, bottom)];
        drawn(root.draw(&Rectangle::new(corners, Ink::Coverage.color().mix(share).filled())))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use chrono_tz::Tz;

    use super::*;
    use crate::report::header::{ColumnDoc, read_chart_lines};
    use crate::report::page::draw::Drawing;
    use crate::report::page::figure::Figures;
    use crate::report::run::{Asked, Head};
    use crate::report::value::{Column, ColumnKind};

    #[test]
    fn a_quarter_of_hours_is_small_and_says_all_of_it() {
        let from: DateTime<Utc> = "2026-08-01T00:00:00Z".parse().expect("an instant");
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let columns = [
            column("bucket_start", ColumnKind::Instant),
            column("busy_avg", ColumnKind::Number),
            column("busy_peak", ColumnKind::Integer),
            column("coverage_pct", ColumnKind::Number),
        ];
        let row = |hour: i64| {
            let swing = (hour * 37 % 100) as f64;
            let at = Cell::Instant(from + TimeDelta::hours(hour));
            vec![at, Cell::Float(swing), Cell::Integer(hour * 53 % 190), Cell::Float(swing)]
        };
        let rows: Vec<Vec<Cell>> = (0..90 * 24).map(row).collect();
        let meaning = "the most: a lower bound".to_owned();
        let head = Head {
            report: "r".to_owned(),
            title: "R".to_owned(),
            description: String::new(),
            definitions: vec![ColumnDoc { name: "busy_peak".to_owned(), meaning }],
            chart: None,
            asked: vec![
                ("from".to_owned(), Asked::Instant(from)),
                ("to".to_owned(), Asked::Instant(from + TimeDelta::minutes(90 * 24 * 60 - 30))),
                ("bucket".to_owned(), Asked::Text("hour".to_owned())),
            ],
            stretches: Vec::new(),
            time_zone: Tz::UTC,
            sampling: Vec::new(),
        };
        for kind in ["line", "bars"] {
            let lines = [format!("{kind}  bucket_start  busy_avg, busy_peak")];
            let chart = read_chart_lines(&[&lines[0], "unit  seats"]).expect("a chart");
            let figures = Figures::new(&head, &columns, Some(&chart));
            let drawing =
                Drawing { chart: &chart, figures: &figures, rows: &rows, head: &head, marks: &[] };
            let pictures = drawing.draw().expect("it can be drawn").expect("it has a chart");
            let svg = &pictures.pictures[0].svg;
            assert!(svg.len() < 150_000, "{kind}: {} bytes", svg.len());
            assert!(pictures.has_cut && pictures.has_coverage);
            // From the first hour to the last, none left out.
            let told = svg.matches("<title>").count();
            assert!((100..200).contains(&told), "{kind}: {told}");
            let first = "<title>2026-08-01 00:00 to 2026-08-01 13:00: busy avg 0 to 96; busy peak ≥ 0 to ≥ 181; coverage";
            assert!(svg.contains(first), "{kind}: {}", svg.split("<title>").nth(1).unwrap_or(""));
            assert!(svg.contains("to 2026-10-29 23:00 (partial): busy avg"), "{kind}");
            assert!(svg.contains(">\nseats\n</text>"), "{kind}: the axis has no unit");
        }
    }

    #[test]
    fn the_legend_names_a_band_where_one_is_drawn() {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let number =
            ["peak", "low", "high", "band_pct"].map(|name| column(name, ColumnKind::Number));
        let columns = [&[column("day", ColumnKind::Instant)], number.as_slice()].concat();
        let head = Head {
            report: "r".to_owned(),
            title: "R".to_owned(),
            description: String::new(),
            definitions: Vec::new(),
            chart: None,
            asked: Vec::new(),
            stretches: Vec::new(),
            time_zone: Tz::UTC,
            sampling: Vec::new(),
        };
        let chart = read_chart_lines(&["line  day  peak", "between  low, high"]).expect("a chart");
        let figures = Figures::new(&head, &columns, Some(&chart));
        let band = |bounds: &[Option<f64>]| {
            let from: DateTime<Utc> = "2026-08-01T00:00:00Z".parse().expect("an instant");
            let row = |(day, low): (i64, &Option<f64>)| {
                let cell = |value: Option<f64>| value.map_or(Cell::Null, Cell::Float);
                let high = low.map(|low| low + 2.0);
                let told = [Some(5.0), *low, high, low.map(|_| 80.0)].map(cell);
                [&[Cell::Instant(from + TimeDelta::days(day))], told.as_slice()].concat()
            };
            let rows: Vec<Vec<Cell>> = (0..).zip(bounds).map(row).collect();
            let drawing =
                Drawing { chart: &chart, figures: &figures, rows: &rows, head: &head, marks: &[] };
            drawing.draw().expect("it can be drawn").expect("it has a chart").band
        };
        let told = band(&[Some(4.0), None, Some(3.0)]);
        assert_eq!(told.as_deref(), Some("low to high, meant to hold 80 % of what comes"));
        assert_eq!(band(&[None, None]), None);
    }
}
