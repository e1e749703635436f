//! A field of shades: the more, the darker.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::part::Part;
use super::tip::Tip;
use super::{Drawn, Ink, WIDTH, drawn, number, short, words};
use crate::report::render::people;
use crate::report::value::Cell;

const LEFT: i32 = 44;
const ABOVE: i32 = 20;
const CELL: i32 = 30;

/// The strip at the foot of a cell that shows coverage.
const STRIP: i32 = 3;

/// Monday first, as in the contract's `weekday`.
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// What stands at a line of the field.
pub(in crate::report::page) fn line_name(column: &str, cell: &Cell, tz: chrono_tz::Tz) -> String {
    let weekday = match cell {
        Cell::Integer(nth) if column == "weekday" => {
            usize::try_from(nth - 1).ok().and_then(|nth| WEEKDAYS.get(nth))
        }
        _ => None,
    };
    weekday.map_or_else(|| people::plain(cell, tz), |name| (*name).to_owned())
}

/// The values of a column, each once, in the order of the rows' own.
fn values<'a>(part: &Part<'a>, at: usize) -> Vec<&'a Cell> {
    let mut values: Vec<&Cell> = Vec::new();
    for row in &part.rows {
        if !values.contains(&&row[at]) {
            values.push(&row[at]);
        }
    }
    values.sort_by(|a, b| number(a).partial_cmp(&number(b)).unwrap_or(std::cmp::Ordering::Equal));
    values
}

pub(super) fn draw(part: &Part<'_>, svg: &mut String) -> Drawn<Vec<Tip>> {
    let [across, down] = [values(part, part.along[0]), values(part, part.along[1])];
    let count = |of: usize| i32::try_from(of).unwrap_or(i32::MAX);
    let width = (count(WIDTH as usize) - LEFT) / count(across.len().max(1));
    let height = u32::try_from(ABOVE + count(down.len()) * CELL + 2).unwrap_or(u32::MAX);
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    let middle = |text: String, at: (i32, i32), size: f64, ink: Ink| {
        let style = words(size, ink).pos(Pos::new(HPos::Center, VPos::Center));
        drawn(root.draw(&Text::new(text, at, style)))
    };
    for (nth, cell) in across.iter().enumerate() {
        let name = line_name(&part.words.columns[part.along[0]].name, cell, part.tz);
        middle(name, (LEFT + count(nth) * width + width / 2, ABOVE / 2), 12.0, Ink::Text)?;
    }
    for (nth, cell) in down.iter().enumerate() {
        let name = line_name(&part.words.columns[part.along[1]].name, cell, part.tz);
        middle(name, (LEFT / 2, ABOVE + count(nth) * CELL + CELL / 2), 12.0, Ink::Text)?;
    }
    let (top, mut tips) = (part.top(), Vec::new());
    for row in &part.rows {
        let place = |cells: &[&Cell], at: usize| cells.iter().position(|cell| **cell == row[at]);
        let Some((x, y)) = place(&across, part.along[0]).zip(place(&down, part.along[1])) else {
            continue;
        };
        let corner = (LEFT + count(x) * width, ABOVE + count(y) * CELL);
        let corners = [(corner.0 + 1, corner.1 + 1), (corner.0 + width - 1, corner.1 + CELL - 1)];
        let which = part.along.iter().rev().map(|at| {
            let column = &part.words.columns[*at].name;
            let name = line_name(column, &row[*at], part.tz);
            if column == "weekday" { name } else { format!("{} {name}", part.words.name(*at)) }
        });
        let which = which.collect::<Vec<_>>().join(", ");
        let text = format!("{which}: {}", part.said(&[*row]));
        tips.push(Tip { from: corners[0], to: corners[1], text });
        let Some(value) = number(&row[part.figures[0]]) else {
            drawn(root.draw(&Rectangle::new(corners, Ink::Hole.color().filled())))?;
            continue;
        };
        // Never so dark that the number upon it cannot be read.
        let strength = 0.05 + 0.5 * value / top;
        drawn(root.draw(&Rectangle::new(corners, Ink::Figure(0).color().mix(strength).filled())))?;
        middle(short(value), (corner.0 + width / 2, corner.1 + CELL / 2), 10.5, Ink::Text)?;
        if let Some(share) = part.observed.and_then(|at| number(&row[at])) {
            let [(left, _), (right, bottom)] = corners;
            #[expect(clippy::cast_possible_truncation, reason = "within the picture")]
            let seen =
                left + (f64::from(right - left) * (share / 100.0).clamp(0.0, 1.0)).round() as i32;
            let strip = |from: i32, to: i32| [(from, bottom - STRIP), (to, bottom)];
            drawn(root.draw(&Rectangle::new(strip(left, right), Ink::Hole.color().filled())))?;
            drawn(root.draw(&Rectangle::new(strip(left, seen), Ink::Coverage.color().filled())))?;
        }
    }
    drawn(root.present())?;
    Ok(tips)
}
