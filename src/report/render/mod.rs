//! Writes results: a table for people, the others for programs.
//!
//! In `csv`, `json` and `ndjson` instants are RFC 3339 in UTC, lengths of time are seconds, numbers keep every digit,
//! and what was not observed is empty or `null`. In `table` and `markdown` instants are in the report's time zone,
//! numbers are rounded, and what was not observed is `–`, never 0.

mod bar;
mod chart;
mod csv;
pub(super) mod heading;
mod json;
pub(super) mod legend;
mod markdown;
pub(super) mod people;
mod table;
mod xlsx;

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};

use super::error::ReportError;
use super::page::Html;
use super::run::Sink;

/// In what form a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For the terminal
    Table,
    /// Comma-separated values with a heading line
    Csv,
    /// One array of objects
    Json,
    /// One object a line
    Ndjson,
    /// A Markdown table, to paste into a ticket
    Markdown,
    /// The report's chart in the terminal; as an option it is `--chart`
    #[value(skip)]
    Chart,
    /// A workbook for Excel and the like, typed, with a sheet that explains it
    Xlsx,
    /// A page that opens anywhere, with the chart
    Html,
}

/// What the output is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Look {
    /// Columns of the terminal; without it lines are as long as they need to be.
    pub width: Option<u16>,
    /// What would move its cursor must be made visible, also in formats that keep every character.
    pub is_terminal: bool,
    /// Bold headings, colours and the like.
    pub is_styled: bool,
    /// Says under the rows nothing of what the columns mean.
    pub is_bare: bool,
}

impl Format {
    /// The format that an output file's ending names.
    ///
    /// # Errors
    /// It names none.
    pub fn of_file(path: &Path) -> Result<Self, ReportError> {
        let ending = path.extension().and_then(|ending| ending.to_str()).map(str::to_lowercase);
        match ending.as_deref() {
            Some("txt") => Ok(Self::Table),
            Some("csv") => Ok(Self::Csv),
            Some("json") => Ok(Self::Json),
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("md" | "markdown") => Ok(Self::Markdown),
            Some("xlsx") => Ok(Self::Xlsx),
            Some("html" | "htm") => Ok(Self::Html),
            _ => Err(ReportError::UnknownEnding {
                path: path.to_owned(),
                known: ".txt, .csv, .json, .ndjson, .md, .xlsx or .html",
            }),
        }
    }

    /// Whether it says above the rows what they are about.
    #[must_use]
    pub fn has_heading(self) -> bool {
        !matches!(self, Self::Csv | Self::Json | Self::Ndjson)
    }

    /// Whether it is nothing for a terminal.
    #[must_use]
    pub fn is_binary(self) -> bool {
        self == Self::Xlsx
    }

    /// A sink that writes this format.
    pub fn sink<'w, W: Write + Send + 'w>(self, out: W, look: Look) -> Box<dyn Sink + 'w> {
        match self {
            Self::Table => Box::new(table::Table::new(out, look)),
            Self::Csv => Box::new(csv::Csv::new(out, look)),
            Self::Json => Box::new(json::Json::array(out, look)),
            Self::Ndjson => Box::new(json::Json::lines(out, look)),
            Self::Markdown => Box::new(markdown::Markdown::new(out, look)),
            Self::Chart => Box::new(chart::Drawing::new(out, look)),
            Self::Xlsx => Box::new(xlsx::Xlsx::new(out, look)),
            Self::Html => Box::new(Html::new(out)),
        }
    }
}

/// RFC 3339 in UTC, with as many decimals as there are.
fn rfc3339(instant: DateTime<Utc>) -> String {
    instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
