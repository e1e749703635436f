//! The figures: a line each on the terminal when it is known, and in a file that is written anew with each part.
//!
//! A figure has a key that stays as it is, so that files of different days can be compared:
//! `figures.PART.KEY.value`, in `unit`.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::Outcome;

/// What was measured.
#[derive(Debug, Default)]
pub struct Figures {
    parts: Map<String, Value>,
    /// The part that figures go to now.
    part: String,
    missed: Vec<String>,
    /// What they depend on.
    pub facts: Value,
    file: Option<PathBuf>,
}

impl Figures {
    pub fn new(facts: Value, file: Option<PathBuf>) -> Self {
        Self { facts, file, ..Self::default() }
    }

    /// A new part of the table, or one that goes on under another title.
    pub fn part(&mut self, key: &str, title: &str) -> Outcome {
        println!("\n{title}");
        key.clone_into(&mut self.part);
        self.parts.entry(key).or_insert_with(|| json!({}));
        self.save()
    }

    /// A figure that is to stay below a target.
    pub fn below(&mut self, key: &str, what: &str, figure: f64, unit: &str, target: f64) {
        self.line(key, what, figure, unit, Some(("<", "below", target, figure <= target)));
    }

    /// A figure that is to reach a target.
    pub fn above(&mut self, key: &str, what: &str, figure: f64, unit: &str, target: f64) {
        self.line(key, what, figure, unit, Some((">", "above", target, figure >= target)));
    }

    /// A figure that is only to be known.
    pub fn note(&mut self, key: &str, what: &str, figure: f64, unit: &str) {
        self.line(key, what, figure, unit, None);
    }

    /// A figure that could not be had.
    pub fn failed(&mut self, key: &str, what: &str, error: &(dyn std::error::Error + 'static)) {
        let error = deskledger::error::Chain(error).to_string();
        println!("  {what:<58} {error}  FAILED");
        self.keep(key, json!({"what": what, "error": error}));
        self.missed.push(what.trim().to_owned());
    }

    /// What is no figure, such as the plan of what comes, for the file alone.
    pub fn remember(&mut self, key: &str, value: Value) {
        self.keep(key, value);
    }

    /// A figure that is known already, of this part.
    pub fn get(&self, part: &str, key: &str) -> Option<f64> {
        self.parts.get(part)?.get(key)?.get("value")?.as_f64()
    }

    fn keep(&mut self, key: &str, value: Value) {
        if let Some(Value::Object(part)) = self.parts.get_mut(&self.part) {
            part.insert(key.to_owned(), value);
        }
    }

    fn line(
        &mut self,
        key: &str,
        what: &str,
        figure: f64,
        unit: &str,
        target: Option<(&str, &str, f64, bool)>,
    ) {
        let mut kept = json!({"what": what.trim(), "value": figure, "unit": unit});
        let shown = written(figure);
        match target {
            None => println!("  {what:<58} {shown:>11} {unit}"),
            Some((sign, way, target, is_reached)) => {
                let verdict = if is_reached { "" } else { "  MISSED" };
                println!("  {what:<58} {shown:>11} {unit:<8} {sign} {}{verdict}", written(target));
                kept[way] = json!(target);
                kept["reached"] = json!(is_reached);
                if !is_reached {
                    self.missed.push(format!("{}: {}", self.part, what.trim()));
                }
            }
        }
        self.keep(key, kept);
    }

    /// A long run may be ended half-way: what is known by then is in the file.
    fn save(&self) -> Outcome {
        if let Some(file) = &self.file {
            let all = json!({"format": 1, "facts": self.facts, "figures": self.parts, "missed": self.missed});
            std::fs::write(file, serde_json::to_string_pretty(&all)? + "\n")?;
        }
        Ok(())
    }

    /// Says what was missed, and where everything is.
    pub fn end(&self) -> Outcome {
        match self.missed.as_slice() {
            [] => println!("\nEvery target measured here was reached."),
            missed => println!("\nMissed: {}.", missed.join("; ")),
        }
        self.save()?;
        if let Some(file) = &self.file {
            println!("All of it is in {}.", file.display());
        }
        Ok(())
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

/// The median and the largest; of nothing, no numbers.
pub fn median_and_max(mut all: Vec<f64>) -> (f64, f64) {
    all.sort_by(f64::total_cmp);
    let median = all.get(all.len() / 2).copied().unwrap_or(f64::NAN);
    (median, all.last().copied().unwrap_or(f64::NAN))
}
