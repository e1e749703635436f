//! The SQL of a figure: its report's file, how it is run with the values that the figure has, and what its columns mean.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::section::{Definition, quoted};
use crate::domain::harmless;
use crate::report::catalogue::Report;

/// What stays as it is in an address.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');

/// The address of something about a report, whose name is a file's.
pub(super) fn address(about: &str, name: &str) -> String {
    format!("/{about}/{}", utf8_percent_encode(name, KEPT))
}

/// Names and values as they stand in an address.
pub(super) fn query(given: &[(String, String)]) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, KEPT).to_string();
    let pairs = given.iter().map(|(name, value)| format!("{}={}", encoded(name), encoded(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// Where the SQL of a report is to be seen: a page of its own, or a place of the same.
pub(super) fn link(
    name: &str,
    given: &[(String, String)],
    column: Option<&str>,
    is_live: bool,
) -> String {
    if !is_live {
        return format!("#sql-{name}");
    }
    let column = column.map(|column| format!("#{column}")).unwrap_or_default();
    match query(given).as_str() {
        "" => format!("{}{column}", address("sql", name)),
        query => format!("{}?{query}{column}", address("sql", name)),
    }
}

/// A report's file, and how to have psql answer the same.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Source {
    pub name: String,
    pub title: String,
    pub psql: String,
    pub text: String,
    pub definitions: Vec<Definition>,
}

impl Source {
    pub fn new(report: &Report, given: &[(String, String)]) -> Self {
        let value =
            |name: &str| given.iter().find(|(known, _)| known == name).map(|(_, value)| value);
        let mut words = vec!["psql".to_owned()];
        for parameter in &report.parameters {
            // psql has no defaults: each is given, and what must be chosen is left to be filled in.
            let value = match (value(&parameter.name), &parameter.default) {
                (Some(value), _) => value.clone(),
                (None, Some(default)) => default.clone(),
                (None, None) => "…".to_owned(),
            };
            let value = if value.is_empty() { value } else { quoted(&value) };
            words.push(format!("-v {}={value}", parameter.name));
        }
        words.push(format!("-f {}", quoted(&report.path.to_string_lossy())));
        Self {
            name: harmless(&report.name),
            title: harmless(&report.title),
            psql: harmless(&words.join(" ")),
            text: report.text.clone(),
            definitions: report.columns.iter().map(Definition::of).collect(),
        }
    }
}
