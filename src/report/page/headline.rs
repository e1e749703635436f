//! The figures at the top of the page.

use serde::Serialize;

use crate::report::run::Collected;
use crate::report::value::Cell;

/// A figure for the top of the page.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Card {
    pub label: &'static str,
    pub value: String,
    /// Not observed.
    pub is_nothing: bool,
    pub unit: &'static str,
    /// What it rests on.
    pub note: String,
}

/// Report, column, label, unit, and whether it is a lower bound.
const FIGURES: [(&str, &str, &str, &str, bool); 7] = [
    ("utilisation", "desktops_avg", "desktops, on average", "", false),
    ("utilisation", "utilisation_pct", "of desktop time connected", "%", false),
    ("utilisation", "connected_avg", "connected, on average", "", false),
    ("utilisation", "connected_peak", "connected at once, at the peak", "", true),
    ("concurrency", "p95", "connected at most, in 95 % of the time", "", false),
    ("disconnects", "disconnects_per_100_hours", "disconnects per 100 connected hours", "", false),
    ("utilisation", "coverage_pct", "of the period observed", "%", false),
];

/// One digit behind the point where there is one: the table has the rest.
fn short(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Integer(number) => Some(number.to_string()),
        Cell::Float(number) if number.fract() == 0.0 => Some(format!("{number:.0}")),
        Cell::Float(number) => Some(format!("{number:.1}")),
        Cell::Decimal(text) => text.parse::<f64>().ok().map(|number| format!("{number:.1}")),
        _ => None,
    }
}

/// The cards of one source from its rows; `results` gives a report's result over the whole period.
pub(super) fn cards<'a>(
    source: &str,
    results: impl Fn(&str) -> Option<&'a Collected>,
) -> Vec<Card> {
    let card = |(report, column, label, unit, is_bound): (
        &str,
        &str,
        &'static str,
        &'static str,
        bool,
    )| {
        let result = results(report)?;
        let place = |name: &str| result.columns.iter().position(|known| known.name == name);
        let (at, of) = (place(column)?, place("source")?);
        let row = result
            .rows
            .iter()
            .find(|row| matches!(&row[of], Cell::Text(name) if name == source))?;
        let value = short(&row[at]);
        let coverage = place("coverage_pct").and_then(|at| short(&row[at]));
        let note = match (&value, coverage) {
            (None, _) => "not observed".to_owned(),
            _ if column == "coverage_pct" => String::new(),
            (Some(_), Some(coverage)) if is_bound => {
                format!("sampled, so at least; {coverage} % observed")
            }
            (Some(_), Some(coverage)) => format!("{coverage} % observed"),
            (Some(_), None) => String::new(),
        };
        Some(Card {
            label,
            is_nothing: value.is_none(),
            value: value.map_or_else(
                || "–".to_owned(),
                |value| if is_bound { format!("≥ {value}") } else { value },
            ),
            unit,
            note,
        })
    };
    FIGURES.into_iter().filter_map(card).collect()
}
