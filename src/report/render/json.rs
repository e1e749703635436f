//! JSON: one array of objects, or an object a line.

use std::io::{self, Write};

use super::{Look, rfc3339};
use crate::domain::harmless;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column, seconds};

/// Writes objects whose keys are in the order of the columns.
pub(super) struct Json<W> {
    out: W,
    keys: Vec<String>,
    is_array: bool,
    look: Look,
    rows: u64,
}

impl<W: Write> Json<W> {
    pub fn array(out: W, look: Look) -> Self {
        Self { out, keys: Vec::new(), is_array: true, look, rows: 0 }
    }

    pub fn lines(out: W, look: Look) -> Self {
        Self { is_array: false, ..Self::array(out, look) }
    }
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn value(cell: Cell) -> String {
    match cell {
        Cell::Null => "null".to_owned(),
        Cell::Text(text) => string(&text),
        Cell::Integer(number) => number.to_string(),
        Cell::Float(number) if number.is_finite() => number.to_string(),
        // JSON has no such number; null would say that it was not observed.
        Cell::Float(number) => string(&number.to_string()),
        // As the database wrote it, since a double would lose digits. `NaN` and `Infinity` are no JSON numbers.
        Cell::Decimal(number) if number.ends_with(|c: char| c.is_ascii_digit()) => number,
        Cell::Decimal(number) => string(&number),
        Cell::Bool(truth) => truth.to_string(),
        Cell::Instant(instant) => string(&rfc3339(instant)),
        Cell::Duration(microseconds) => seconds(microseconds),
        Cell::List(items) => serde_json::json!(items).to_string(),
        Cell::Json(text) => text,
    }
}

/// The same JSON with nothing in it that a terminal would obey. JSON itself is plain ASCII, and escapes what stands below
/// the blank: so what is left lies inside texts, where it may be escaped.
fn visible(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        // None of them lies beyond the first plane, so one escape does.
        if c.is_ascii_graphic() || c == ' ' || harmless(c.encode_utf8(&mut [0; 4])).starts_with(c) {
            text.push(c);
        } else {
            text.push_str(&format!("\\u{:04x}", u32::from(c)));
        }
    }
    text
}

impl<W: Write + Send> Sink for Json<W> {
    fn begin(&mut self, _: &Head, columns: &[Column]) -> io::Result<()> {
        self.keys = columns.iter().map(|column| string(&column.name)).collect();
        if self.is_array { self.out.write_all(b"[") } else { Ok(()) }
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        let members: Vec<String> = self
            .keys
            .iter()
            .zip(cells)
            .map(|(key, cell)| format!("{key}:{}", value(cell)))
            .collect();
        let object = members.join(",");
        let object = if self.look.is_terminal { visible(&object) } else { object };
        let first = self.rows == 0;
        self.rows += 1;
        match (self.is_array, first) {
            (true, true) => write!(self.out, "\n{{{object}}}"),
            (true, false) => write!(self.out, ",\n{{{object}}}"),
            (false, _) => writeln!(self.out, "{{{object}}}"),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        if self.is_array {
            self.out.write_all(if self.rows == 0 { b"]\n" } else { b"\n]\n" })?;
        }
        self.out.flush()
    }
}
