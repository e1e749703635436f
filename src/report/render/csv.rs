//! Comma-separated values.

use std::io::{self, Write};

use super::{Look, rfc3339};
use crate::domain::harmless;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, seconds};

/// Writes RFC 4180 with line feeds. Lists are JSON: a name may hold every character that could separate names. Everything
/// is verbatim, but on a terminal.
pub(super) struct Csv<W: Write> {
    writer: ::csv::Writer<W>,
    look: Look,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self { writer: ::csv::Writer::from_writer(out), look }
    }

    fn write(&mut self, fields: impl Iterator<Item = String>) -> io::Result<()> {
        let is_terminal = self.look.is_terminal;
        let shown = fields.map(|text| if is_terminal { harmless(&text) } else { text });
        self.writer.write_record(shown).map_err(unwrap_io)
    }
}

fn field(cell: Cell) -> String {
    match cell {
        Cell::Null => String::new(),
        Cell::Text(text) | Cell::Decimal(text) | Cell::Json(text) => text,
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) => number.to_string(),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Instant(instant) => rfc3339(instant),
        Cell::Duration(microseconds) => seconds(microseconds),
        Cell::List(items) => serde_json::json!(items).to_string(),
    }
}

fn unwrap_io(error: ::csv::Error) -> io::Error {
    match error.into_kind() {
        ::csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

impl<W: Write + Send> Sink for Csv<W> {
    fn begin(&mut self, _: &Head, columns: &[Column]) -> io::Result<()> {
        self.write(columns.iter().map(|column| column.name.clone()))
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.write(cells.into_iter().map(field))
    }

    fn end(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
