//! Comma-separated values.

use std::io::{self, Write};

use super::rfc3339;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, seconds};

/// Writes RFC 4180 with line feeds. Lists are JSON: a name may hold every character that could separate names.
pub(super) struct Csv<W: Write> {
    writer: ::csv::Writer<W>,
}

impl<W: Write> Csv<W> {
    pub fn new(out: W) -> Self {
        Self { writer: ::csv::Writer::from_writer(out) }
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
        self.writer.write_record(columns.iter().map(|column| &column.name)).map_err(unwrap_io)
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.writer.write_record(cells.into_iter().map(field)).map_err(unwrap_io)
    }

    fn end(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
