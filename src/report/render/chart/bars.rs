//! Bars, one below the other.

use unicode_width::UnicodeWidthStr;

use super::super::bar::{HATCH, bar};
use super::super::people::NOTHING;
use super::{Canvas, Row, cut, padded};

/// The longest name in front of a bar.
const LONGEST: usize = 30;

/// Cyan.
const COLOUR: u8 = 36;

/// A line for each row and figure: what it is, its value, its bar.
pub(super) fn draw(canvas: &Canvas, rows: &[Row]) -> Vec<String> {
    let labels = canvas.labels(rows.iter().filter_map(|row| row.along.first()));
    let labels: Vec<String> = labels.iter().map(|label| cut(label, LONGEST)).collect();
    let label_width = labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let has_names = canvas.figures.len() > 1;
    let names = canvas.figures.iter().map(|figure| figure.name.width());
    let name_width = if has_names { names.max().unwrap_or(0) + 2 } else { 0 };
    let values: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let values = canvas.figures.iter().zip(&row.figures);
            let value = values.map(|(figure, value)| {
                value.map_or(NOTHING.to_owned(), |value| figure.label(value))
            });
            value.collect()
        })
        .collect();
    let value_width = values.iter().flatten().map(|value| value.width()).max().unwrap_or(0);
    let room = canvas.width.saturating_sub(label_width + 2 + name_width + value_width + 2).max(8);
    let most = rows.iter().flat_map(|row| row.figures.iter().flatten()).copied();
    let most = most.fold(0.0, f64::max);

    let mut lines = Vec::new();
    for ((row, label), values) in rows.iter().zip(&labels).zip(&values) {
        for (at, (figure, value)) in canvas.figures.iter().zip(&row.figures).enumerate() {
            let label = if at == 0 { label.as_str() } else { "" };
            let name = if has_names { padded(&figure.name, name_width) } else { String::new() };
            let gap = " ".repeat(value_width.saturating_sub(values[at].width()));
            let bar = canvas.coloured(&bar(*value, most, room), COLOUR);
            lines.push(format!("{}  {name}{gap}{}  {bar}", padded(label, label_width), values[at]));
        }
    }
    lines
}

pub(super) fn signs(canvas: &Canvas) -> Vec<String> {
    let figures: Vec<String> = canvas.figures.iter().map(|figure| figure.told()).collect();
    let hatch = HATCH.to_string().repeat(2);
    let full = canvas.coloured("██", COLOUR);
    vec![format!("{full} {}   {hatch} not observed", figures.join(", "))]
}
