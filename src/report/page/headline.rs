//! The figures at the top of the page.

use serde::Serialize;

use super::figure::Figures;
use super::whole::Answer;
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
    /// The report and the column that it is of.
    pub of: (&'static str, &'static str),
    /// Where its SQL is to be seen.
    pub sql: Option<String>,
}

/// Report, column, label and unit.
const FIGURES: [[&str; 4]; 7] = [
    ["utilisation", "desktops_avg", "desktops, on average", ""],
    ["utilisation", "utilisation_pct", "of desktop time connected", "%"],
    ["utilisation", "connected_avg", "desktops connected, on average", ""],
    ["utilisation", "connected_peak", "desktops connected at once, at the peak", ""],
    ["concurrency", "p95", "desktops connected at most, in 95 % of the time", ""],
    ["disconnects", "disconnects_per_100_hours", "disconnects per 100 connected hours", ""],
    ["utilisation", "coverage_pct", "of the period observed", "%"],
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
pub(super) fn cards<'a>(source: &str, results: impl Fn(&str) -> Option<&'a Answer>) -> Vec<Card> {
    let card = |[report, column, label, unit]: [&'static str; 4]| {
        let answer = results(report)?;
        let figures = Figures::new(answer.head.as_ref()?, &answer.rows.columns, None);
        let place = |name: &str| figures.place(name);
        let (at, of) = (place(column)?, place("source")?);
        let row = answer
            .rows
            .rows
            .iter()
            .find(|row| matches!(&row[of], Cell::Text(name) if name == source))?;
        let value = short(&row[at]);
        let coverage = place("coverage_pct").and_then(|at| short(&row[at]));
        let note = match (&value, coverage) {
            (None, _) => "not observed".to_owned(),
            _ if column == "coverage_pct" => String::new(),
            (Some(_), Some(coverage)) if figures.is_lower_bound(at) => {
                format!("sampled, so at least; {coverage} % observed")
            }
            (Some(_), Some(coverage)) => format!("{coverage} % observed"),
            (Some(_), None) => String::new(),
        };
        Some(Card {
            label,
            is_nothing: value.is_none(),
            value: value
                .map_or_else(|| "–".to_owned(), |value| format!("{}{value}", figures.sign(at))),
            unit,
            note,
            of: (report, column),
            sql: None,
        })
    };
    FIGURES.into_iter().filter_map(card).collect()
}
