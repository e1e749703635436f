//! The table: a figure a line, printed when it is known.

use std::time::Duration;

/// What was measured.
#[derive(Debug, Default)]
pub struct Figures {
    missed: Vec<String>,
}

impl Figures {
    /// A new part of the table.
    pub fn part(&self, title: &str) {
        println!("\n{title}");
    }

    /// A figure that is to stay below a target.
    pub fn below(&mut self, what: &str, figure: f64, unit: &str, target: f64) {
        self.line(what, figure, unit, Some(("<", target, figure <= target)));
    }

    /// A figure that is to reach a target.
    pub fn above(&mut self, what: &str, figure: f64, unit: &str, target: f64) {
        self.line(what, figure, unit, Some((">", target, figure >= target)));
    }

    /// A figure that is only to be known.
    pub fn note(&mut self, what: &str, figure: f64, unit: &str) {
        self.line(what, figure, unit, None);
    }

    /// A figure that could not be had.
    pub fn failed(&mut self, what: &str, error: &dyn std::error::Error) {
        println!("  {what:<58} {error}  FAILED");
        self.missed.push(what.to_owned());
    }

    fn line(&mut self, what: &str, figure: f64, unit: &str, target: Option<(&str, f64, bool)>) {
        let figure = written(figure);
        let Some((sign, target, is_reached)) = target else {
            println!("  {what:<58} {figure:>11} {unit}");
            return;
        };
        let verdict = if is_reached { "" } else { "  MISSED" };
        println!("  {what:<58} {figure:>11} {unit:<8} {sign} {}{verdict}", written(target));
        if !is_reached {
            self.missed.push(what.trim().to_owned());
        }
    }

    /// Says what was missed.
    pub fn end(&self) {
        match self.missed.as_slice() {
            [] => println!("\nEvery target measured here was reached."),
            missed => println!("\nMissed: {}.", missed.join("; ")),
        }
    }
}

/// Three figures, or all of them before the point, in groups.
fn written(figure: f64) -> String {
    let places = if figure < 10.0 { 2 } else { usize::from(figure < 100.0) };
    let plain = format!("{figure:.places$}");
    let (whole, rest) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped + rest
}

/// Milliseconds.
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// The median and the largest.
pub fn median_and_max(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    (all[all.len() / 2], all[all.len() - 1])
}
