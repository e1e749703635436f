//! Bars that stand along names or numbers.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use unicode_width::UnicodeWidthStr as _;

use super::part::Part;
use super::tip::Tip;
use super::{Drawn, Ink, drawn, number, short, words};
use crate::report::render::people;
use crate::report::value::Cell;

/// Pixels of bars with names: few, so that they can be read on a telephone without being moved.
const WIDTH: u32 = 440;

/// Pixels for names beside the bars, for the value behind a bar, and for what the row rests on.
const NAMES: i32 = 112;
const VALUES: i32 = 56;
const COVERAGE: i32 = 100;

/// Pixels of a line of names above the bars, where one is too long to stand beside them.
const LINE: i32 = 17;

/// The longest name that fits beside.
const BESIDE: usize = 16;

/// Pixels of a bar, and between rows.
const BAR: i32 = 14;
const AIR: i32 = 8;

/// A name must fit its room.
const LONGEST: usize = 40;

fn shortened(text: &str) -> String {
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(LONGEST - 1).collect();
    kept.push('…');
    kept
}

/// A row for each name, its bars beneath one another.
pub(super) fn rows(part: &Part<'_>, svg: &mut String) -> Drawn<Vec<Tip>> {
    let count = |of: usize| i32::try_from(of).unwrap_or(i32::MAX);
    let names: Vec<String> =
        part.rows.iter().map(|row| people::plain(&row[part.along[0]], part.tz)).collect();
    let is_beside = names.iter().all(|name| name.width() <= BESIDE);
    let (left, line) = if is_beside { (NAMES, 0) } else { (0, LINE) };
    let row_height = line + count(part.figures.len()) * BAR + AIR;
    let height = u32::try_from(count(part.rows.len()) * row_height + AIR).unwrap_or(u32::MAX);
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let (width, mut tips) = (count(WIDTH as usize), Vec::new());
    let coverage = if part.observed.is_some() && is_beside { COVERAGE } else { 0 };
    let room = f64::from(width - left - VALUES - coverage);
    let top = part.top();
    for (nth, (row, name)) in part.rows.iter().zip(&names).enumerate() {
        let begin = count(nth) * row_height + AIR;
        let bars = begin + line;
        let middle = if is_beside { begin + (row_height - AIR) / 2 } else { begin + LINE / 2 };
        let (at, side) = if is_beside { (left - 8, HPos::Right) } else { (0, HPos::Left) };
        let style = words(12.5, Ink::Text).pos(Pos::new(side, VPos::Center));
        drawn(root.draw(&Text::new(shortened(name), (at, middle), style)))?;
        for (figure, at) in part.figures.iter().enumerate() {
            let y = bars + count(figure) * BAR;
            let label = words(11.5, Ink::Text).pos(Pos::new(HPos::Left, VPos::Center));
            let Some(value) = number(&row[*at]) else {
                let corners = [(left, y + 1), (left + VALUES, y + BAR - 1)];
                drawn(root.draw(&Rectangle::new(corners, Ink::Hole.color().filled())))?;
                continue;
            };
            #[expect(clippy::cast_possible_truncation, reason = "within the picture")]
            let end = left + (room * value / top) as i32;
            let corners = [(left, y + 1), (end.max(left + 1), y + BAR - 1)];
            drawn(root.draw(&Rectangle::new(corners, Ink::Figure(figure).color().filled())))?;
            drawn(root.draw(&Text::new(part.label(*at, value), (end + 5, y + BAR / 2), label)))?;
        }
        if let Some(observed) = part.observed.and_then(|at| number(&row[at])) {
            let style = words(11.5, Ink::Text).pos(Pos::new(HPos::Right, VPos::Center));
            let text = format!("{} % observed", short(observed));
            drawn(root.draw(&Text::new(text, (width - 4, middle), style)))?;
        }
        let text = format!("{name}: {}", part.said(&[*row]));
        tips.push(Tip { from: (0, begin), to: (width, begin + row_height - AIR), text });
    }
    drawn(root.present())?;
    Ok(tips)
}

const HEIGHT: u32 = 250;

/// As many labels as can be read side by side.
const LABELS: usize = 14;

/// A bar for each row, labelled with what it stands along.
pub(super) fn columns(part: &Part<'_>, svg: &mut String) -> Drawn<Vec<Tip>> {
    if part.rows.is_empty() {
        return Ok(Vec::new());
    }
    let root = SVGBackend::with_string(svg, (super::WIDTH, HEIGHT)).into_drawing_area();
    #[expect(clippy::cast_precision_loss, reason = "a picture has a thousand pixels")]
    let place = |nth: usize| nth as f64;
    let count = part.rows.len();
    let every = count.div_ceil(LABELS);
    let points: Vec<f64> = (0..count).step_by(every).map(|nth| place(nth) + 0.5).collect();
    let label = |at: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a row's number"
        )]
        let row = part.rows.get(at.max(0.0) as usize);
        row.map(|row| people::plain(&row[part.along[0]], part.tz)).unwrap_or_default()
    };
    let mut plot = ChartBuilder::on(&root)
        .margin_top(8)
        .margin_right(14)
        .x_label_area_size(40)
        .y_label_area_size(66)
        .build_cartesian_2d(
            super::axis::Marked { range: 0.0..place(count), marks: points },
            0.0..part.top(),
        )?;
    plot.configure_mesh()
        .disable_x_mesh()
        .y_labels(5)
        .light_line_style(TRANSPARENT)
        .bold_line_style(Ink::Grid.color())
        .axis_style(Ink::Coverage.color())
        .label_style(words(12.0, Ink::Text))
        .x_label_formatter(&|at| label(*at))
        .y_label_formatter(&|value| short(*value))
        .x_desc(part.words.titled(part.along[0]))
        .y_desc(part.axis())
        .axis_desc_style(words(12.0, Ink::Text))
        .draw()?;
    let figures = place(part.figures.len());
    for (figure, at) in part.figures.iter().enumerate() {
        for (nth, row) in part.rows.iter().enumerate() {
            let (from, to) = (
                place(nth) + 0.06 + 0.88 * place(figure) / figures,
                place(nth) + 0.06 + 0.88 * (place(figure) + 1.0) / figures,
            );
            let (height, ink) = match number(&row[*at]) {
                Some(value) => (value, Ink::Figure(figure)),
                None if row[*at] == Cell::Null => (part.top(), Ink::Hole),
                None => continue,
            };
            plot.draw_series([Rectangle::new([(from, height), (to, 0.0)], ink.color().filled())])?;
        }
    }
    let tips = part.rows.iter().enumerate().map(|(nth, row)| {
        let (left, top) = plot.backend_coord(&(place(nth), part.top()));
        let (right, bottom) = plot.backend_coord(&(place(nth) + 1.0, 0.0));
        let along = part.words.name(part.along[0]);
        let text = format!("{along} {}: {}", part.which(&[*row]), part.said(&[*row]));
        Tip { from: (left, top), to: (right, bottom), text }
    });
    let tips = tips.collect();
    drop(plot);
    drawn(root.present())?;
    Ok(tips)
}
