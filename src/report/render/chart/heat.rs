//! A field: one column across, one down, and for each pair a block as high as its figure.

use unicode_width::UnicodeWidthStr;

use super::super::bar::HATCH;
use super::{Canvas, Picture, Row, cut, padded};
use crate::report::value::Cell;

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Observed, and nothing.
const ZERO: char = '·';

/// Cyan.
const COLOUR: u8 = 36;

/// The widest that one field gets.
const WIDEST: usize = 4;

/// The values of one of the two columns, in the order in which they come.
fn distinct(rows: &[Row], at: usize) -> Vec<&Cell> {
    let mut found: Vec<&Cell> = Vec::new();
    for cell in rows.iter().filter_map(|row| row.along.get(at)) {
        if !found.contains(&cell) {
            found.push(cell);
        }
    }
    found
}

fn most<'a>(rows: impl Iterator<Item = &'a Row>) -> f64 {
    rows.flat_map(|row| row.figures.iter().flatten()).copied().fold(0.0, f64::max)
}

fn field(value: Option<f64>, most: f64) -> char {
    match value {
        None => HATCH,
        Some(value) if value <= 0.0 || most <= 0.0 => ZERO,
        Some(value) => {
            // Between 0 and 8.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is small"
            )]
            let level = (value / most * 8.0).ceil() as usize;
            LEVELS[level.clamp(1, 8) - 1]
        }
    }
}

pub(super) fn draw(canvas: &Canvas, rows: &[Row]) -> Vec<String> {
    let (across, down) = (distinct(rows, 0), distinct(rows, 1));
    let most = most(rows.iter());
    let down_labels = canvas.labels(down.iter().copied());
    let down_labels: Vec<String> = down_labels.iter().map(|label| cut(label, 20)).collect();
    let label_width = down_labels.iter().map(|label| label.width()).max().unwrap_or(0);
    let room = canvas.width.saturating_sub(label_width + 2);
    let wide = (room / across.len().max(1)).clamp(1, WIDEST);
    let shown = across.len().min(room / wide);

    let mut heading = " ".repeat(label_width + 2);
    let mut until = heading.width();
    for (at, label) in canvas.labels(across.iter().copied()).iter().take(shown).enumerate() {
        let from = label_width + 2 + at * wide;
        // A label that runs into the next one is left out.
        if from >= until {
            heading.push_str(&" ".repeat(from - heading.width()));
            heading.push_str(label);
            until = from + label.width() + 1;
        }
    }
    let mut lines = vec![heading];
    for (down, label) in down.iter().zip(&down_labels) {
        let mut fields = String::new();
        for across in &across[..shown] {
            let row = rows
                .iter()
                .find(|row| row.along.first() == Some(across) && row.along.get(1) == Some(down));
            let figure = row.map(|row| row.figures.first().copied().flatten());
            let sign = figure.map_or(' ', |figure| field(figure, most));
            let filled = if wide > 2 { wide - 1 } else { wide };
            fields.push_str(&sign.to_string().repeat(filled));
            fields.push_str(&" ".repeat(wide - filled));
        }
        let fields = canvas.coloured(fields.trim_end(), COLOUR);
        lines.push(format!("{}  {fields}", padded(label, label_width)));
    }
    if shown < across.len() {
        lines.push(format!("({} more columns do not fit)", across.len() - shown));
    }
    lines
}

pub(super) fn signs(canvas: &Canvas, pictures: &[Picture]) -> Vec<String> {
    let Some(figure) = canvas.figures.first() else { return Vec::new() };
    let most = most(pictures.iter().flat_map(|picture| &picture.rows));
    let scale: String = LEVELS.iter().collect();
    let scale = canvas.coloured(&scale, COLOUR);
    let end = if pictures.len() > 1 { "its most".to_owned() } else { figure.label(most) };
    let hatch = HATCH.to_string().repeat(2);
    vec![format!("{ZERO} 0   {scale} up to {end}: {}   {hatch} not observed", figure.told())]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_as_high_as_its_figure() {
        assert_eq!(
            [None, Some(0.0), Some(0.1), Some(4.0), Some(4.1), Some(8.0)]
                .map(|value| field(value, 8.0)),
            ['░', '·', '▁', '▄', '▅', '█']
        );
    }
}
