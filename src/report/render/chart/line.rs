//! Lines over time. A figure of a bucket holds for the whole of it, so lines are steps; a bucket without one is hatched.

use ratatui_core::buffer::Buffer;
use ratatui_core::layout::Rect;
use ratatui_core::style::Color;
use ratatui_core::symbols::Marker;
use ratatui_core::widgets::Widget;
use ratatui_widgets::canvas::{Canvas as Painting, Line};
use unicode_width::UnicodeWidthStr;

use super::super::bar::HATCH;
use super::{Canvas, Row};
use crate::report::value::{Cell, ColumnKind};

/// Lines of text that a picture is high.
const HEIGHT: u16 = 10;

/// How figures are told apart where there is no colour.
const MARKERS: [(Marker, &str); 5] = [
    (Marker::Braille, "⠤⠤"),
    (Marker::Dot, "••"),
    (Marker::Custom('+'), "++"),
    (Marker::Custom('x'), "xx"),
    (Marker::Custom('o'), "oo"),
];

const COLOURS: [(Color, u8); 5] = [
    (Color::Cyan, 36),
    (Color::Yellow, 33),
    (Color::Magenta, 35),
    (Color::Green, 32),
    (Color::Red, 31),
];

const BAND: char = '▒';

/// A row more than this many times as far from the next one as is usual has a hole behind it.
const HOLE: f64 = 1.5;

/// From where to where a row reaches, and how it is drawn.
struct Step<'a> {
    from: f64,
    to: f64,
    row: Option<&'a Row>,
}

/// Rows side by side without holes: what no row speaks of is a step of its own.
fn steps(rows: &[Row]) -> Vec<Step<'_>> {
    let place = |(at, row): (usize, &Row)| match row.along.first() {
        Some(Cell::Instant(instant)) => instant.timestamp_micros() as f64,
        Some(Cell::Integer(number)) => *number as f64,
        Some(Cell::Float(number)) if number.is_finite() => *number,
        _ => at as f64,
    };
    let places: Vec<f64> = rows.iter().enumerate().map(place).collect();
    let mut distances: Vec<f64> = places.windows(2).map(|pair| pair[1] - pair[0]).collect();
    distances.sort_by(f64::total_cmp);
    let usual = distances.get(distances.len() / 2).copied().filter(|usual| *usual > 0.0);
    let usual = usual.unwrap_or(1.0);
    let mut steps = Vec::new();
    for (at, row) in rows.iter().enumerate() {
        let from = places[at];
        let next = places.get(at + 1).copied();
        match next {
            Some(next) if next - from > HOLE * usual => {
                steps.push(Step { from, to: from + usual, row: Some(row) });
                steps.push(Step { from: from + usual, to: next, row: None });
            }
            Some(next) => steps.push(Step { from, to: next.max(from), row: Some(row) }),
            None => steps.push(Step { from, to: from + usual, row: Some(row) }),
        }
    }
    steps
}

/// The end of the scale: a number that is easily read, or the greatest value itself.
fn scale_end(most: f64, kind: ColumnKind) -> f64 {
    if most <= 0.0 {
        return 1.0;
    }
    if kind == ColumnKind::Duration {
        return most;
    }
    let unit = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let fits = |step: &f64| step * unit >= most * (1.0 - 1e-9);
    steps.into_iter().find(fits).unwrap_or(10.0) * unit
}

pub(super) fn draw(canvas: &Canvas, rows: &[Row]) -> Vec<String> {
    let steps = steps(rows);
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else { return Vec::new() };
    let (left, right) = (first.from, last.to);
    let values = rows.iter().flat_map(|row| {
        let band = row.band.into_iter().flat_map(|(low, high)| [low, high]);
        row.figures.iter().flatten().copied().chain(band)
    });
    let (least, most) =
        values.fold((0.0_f64, 0.0_f64), |(least, most), value| (least.min(value), most.max(value)));
    let kind = canvas.figures.first().map_or(ColumnKind::Number, |figure| figure.kind);
    let most = scale_end(most, kind);

    let label = |value: f64| {
        canvas.figures.first().map_or(String::new(), |figure| {
            if value == value.round() && kind != ColumnKind::Duration {
                format!("{value:.0}")
            } else {
                figure.label(value)
            }
        })
    };
    let middle = least + (most - least) / 2.0;
    let scale = [(0, label(most)), (HEIGHT / 2, label(middle)), (HEIGHT - 1, label(least))];
    let margin = scale.iter().map(|(_, label)| label.width()).max().unwrap_or(0);
    // Widths of a terminal, all of them.
    let margin = u16::try_from(margin).unwrap_or(u16::MAX).saturating_add(2);
    let width = u16::try_from(canvas.width).unwrap_or(u16::MAX).max(margin.saturating_add(8));
    let plot = Rect::new(margin, 0, width - margin, HEIGHT);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, HEIGHT + 2));

    let plan = Plan { plot, x: [left, right], y: [least, most] };
    plan.paint_band(&mut buffer, &steps);
    for nth in (0..canvas.figures.len()).rev() {
        plan.paint_figure(&mut buffer, &steps, nth);
    }
    plan.hatch(&mut buffer, &steps);
    for (row, label) in scale {
        let indent = usize::from(margin - 2).saturating_sub(label.width());
        set(&mut buffer, u16::try_from(indent).unwrap_or(0), row, &label);
    }
    for row in 0..HEIGHT {
        let is_tick = row == 0 || row == HEIGHT / 2 || row == HEIGHT - 1;
        set(&mut buffer, margin - 1, row, if is_tick { "┤" } else { "│" });
    }
    let labels = canvas.labels(rows.iter().filter_map(|row| row.along.first()));
    let starts = steps.iter().filter(|step| step.row.is_some()).map(|step| step.from);
    plan.label_along(&mut buffer, &starts.zip(&labels).collect::<Vec<_>>());
    lines(&buffer, canvas.is_styled)
}

/// Where things are in the picture.
struct Plan {
    plot: Rect,
    x: [f64; 2],
    y: [f64; 2],
}

impl Plan {
    /// The column of characters that a place along the picture falls into, not rounded.
    fn column(&self, x: f64) -> f64 {
        (x - self.x[0]) / (self.x[1] - self.x[0]).max(f64::MIN_POSITIVE)
            * f64::from(self.plot.width)
    }

    /// The columns of characters that a step touches.
    fn columns(&self, step: &Step<'_>) -> std::ops::Range<u16> {
        // Inside the picture.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let bounded = |column: f64| column.clamp(0.0, f64::from(self.plot.width)) as u16;
        let from = bounded((self.column(step.from) + 1e-6).floor());
        let to = bounded((self.column(step.to) - 1e-6).ceil()).max(from + 1).min(self.plot.width);
        self.plot.x + from..self.plot.x + to
    }

    /// The line of characters that a value falls into.
    fn line(&self, value: f64) -> u16 {
        let share = (self.y[1] - value) / (self.y[1] - self.y[0]).max(f64::MIN_POSITIVE);
        // Inside the picture.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let line = (share * f64::from(self.plot.height - 1))
            .round()
            .clamp(0.0, f64::from(self.plot.height - 1)) as u16;
        self.plot.y + line
    }

    fn paint_band(&self, buffer: &mut Buffer, steps: &[Step<'_>]) {
        for step in steps {
            let Some((low, high)) = step.row.and_then(|row| row.band) else { continue };
            for column in self.columns(step) {
                for line in self.line(high)..=self.line(low) {
                    buffer[(column, line)].set_char(BAND).set_fg(Color::DarkGray);
                }
            }
        }
    }

    fn paint_figure(&self, buffer: &mut Buffer, steps: &[Step<'_>], nth: usize) {
        let (colour, marker) = (COLOURS[nth % COLOURS.len()].0, MARKERS[nth % MARKERS.len()].0);
        let value =
            |step: &Step<'_>| step.row.and_then(|row| row.figures.get(nth).copied().flatten());
        let painting =
            Painting::default().x_bounds(self.x).y_bounds(self.y).marker(marker).paint(|paint| {
                let mut before: Option<f64> = None;
                for step in steps {
                    let now = value(step);
                    if let Some(now) = now {
                        paint.draw(&Line::new(step.from, now, step.to, now, colour));
                        if let Some(before) = before {
                            paint.draw(&Line::new(step.from, before, step.from, now, colour));
                        }
                    }
                    before = now;
                }
            });
        painting.render(self.plot, buffer);
    }

    /// Whatever is left blank where no figure was observed.
    fn hatch(&self, buffer: &mut Buffer, steps: &[Step<'_>]) {
        let is_nothing =
            |step: &&Step<'_>| step.row.is_none_or(|row| row.figures.iter().all(Option::is_none));
        for step in steps.iter().filter(is_nothing) {
            for column in self.columns(step) {
                for line in self.plot.y..self.plot.bottom() {
                    let cell = &mut buffer[(column, line)];
                    if cell.symbol() == " " {
                        cell.set_char(HATCH).set_fg(Color::DarkGray);
                    }
                }
            }
        }
    }

    /// The axis below, with as many labels as there is room for, each where its row begins.
    fn label_along(&self, buffer: &mut Buffer, rows: &[(f64, &String)]) {
        let axis = self.plot.bottom();
        set(buffer, self.plot.x - 1, axis, "└");
        for column in self.plot.x..self.plot.right() {
            set(buffer, column, axis, "─");
        }
        let widest = rows.iter().map(|(_, label)| label.width()).max().unwrap_or(0);
        let fit = (usize::from(self.plot.width) / (widest + 3)).max(1);
        let each = rows.len().div_ceil(fit).max(1);
        let mut free = 0;
        for (x, label) in rows.iter().step_by(each) {
            let column = self.columns(&Step { from: *x, to: *x, row: None }).start;
            let end = usize::from(column) + label.width();
            if usize::from(column) >= free && end <= usize::from(self.plot.right()) {
                free = end + 2;
                set(buffer, column, axis, "┬");
                set(buffer, column, axis + 1, label);
            }
        }
    }
}

fn set(buffer: &mut Buffer, column: u16, line: u16, text: &str) {
    buffer.set_string(column, line, text, ratatui_core::style::Style::default());
}

/// The grid of characters as text.
fn lines(buffer: &Buffer, is_styled: bool) -> Vec<String> {
    let area = buffer.area;
    let line = |y: u16| {
        let mut line = String::new();
        let mut colour = 0;
        let mut x = 0;
        while x < area.width {
            let cell = &buffer[(x, y)];
            let wanted = sgr(cell.fg);
            if is_styled && wanted != colour && cell.symbol() != " " {
                line.push_str(&format!("\x1b[{wanted}m"));
                colour = wanted;
            }
            line.push_str(cell.symbol());
            // A wide character takes the next cell as well.
            x += u16::try_from(cell.symbol().width().max(1)).unwrap_or(1);
        }
        let mut line = line.trim_end().to_owned();
        if colour != 0 {
            line.push_str("\x1b[0m");
        }
        line
    };
    (0..area.height).map(line).collect()
}

fn sgr(colour: Color) -> u8 {
    match COLOURS.iter().find(|(known, _)| *known == colour) {
        Some((_, sgr)) => *sgr,
        None if colour == Color::DarkGray => 90,
        None => 0,
    }
}

pub(super) fn signs(canvas: &Canvas) -> Vec<String> {
    let figures = canvas.figures.iter().enumerate().map(|(nth, figure)| {
        let sign = MARKERS[nth % MARKERS.len()].1;
        format!("{} {}", canvas.coloured(sign, COLOURS[nth % COLOURS.len()].1), figure.told())
    });
    let pair = |sign: char| canvas.coloured(&sign.to_string().repeat(2), 90);
    let band = canvas.band.as_ref().map(|[low, high]| format!("{} {low} to {high}", pair(BAND)));
    let hatch = format!("{} not observed", pair(HATCH));
    vec![figures.chain(band).chain([hatch]).collect::<Vec<_>>().join("   ")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_an_easy_number() {
        for (most, end) in [(0.0, 1.0), (7.3, 8.0), (100.0, 100.0), (101.0, 150.0), (0.03, 0.03)] {
            let found = scale_end(most, ColumnKind::Number);
            assert!((found - end).abs() < 1e-9, "{most}: {found}");
        }
        assert!((scale_end(101.0, ColumnKind::Duration) - 101.0).abs() < 1e-9);
    }

    fn row(at: i64, value: Option<f64>) -> Row {
        Row { along: vec![Cell::Integer(at)], figures: vec![value], band: None, coverage: None }
    }

    #[test]
    fn what_no_row_speaks_of_is_a_hole() {
        let rows = [row(0, Some(1.0)), row(1, None), row(2, Some(1.0)), row(5, Some(2.0))];
        let found: Vec<(f64, f64, bool)> =
            steps(&rows).iter().map(|step| (step.from, step.to, step.row.is_some())).collect();
        assert_eq!(
            found,
            [
                (0.0, 1.0, true),
                (1.0, 2.0, true),
                (2.0, 3.0, true),
                (3.0, 5.0, false),
                (5.0, 6.0, true)
            ]
        );
    }
}
