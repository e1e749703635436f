//! A Markdown table, to paste into a ticket.

use std::io::{self, Write};

use chrono_tz::Tz;

use super::legend::Legend;
use super::people::{NOTHING, Precision, is_right_aligned, text};
use super::{Look, heading};
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column};

/// Writes rows as they come, so instants have one precision throughout.
pub(super) struct Markdown<W> {
    out: W,
    look: Look,
    tz: Tz,
    legend: Legend,
}

impl<W: Write> Markdown<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self { out, look, tz: Tz::UTC, legend: Legend::default() }
    }
}

/// Text that stays text: no markup, no HTML, no end of the cell.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '!' | '#' | '$' | '@' => {
                safe.push('\\');
                safe.push(c);
            }
            c => safe.push(c),
        }
    }
    safe
}

impl<W: Write + Send> Sink for Markdown<W> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        writeln!(self.out, "**{}**\n", escaped(&head.title))?;
        for line in heading::lines(head) {
            writeln!(self.out, "{}\n", escaped(&line))?;
        }
        let names: Vec<String> = columns.iter().map(|column| escaped(&column.name)).collect();
        let rules: Vec<&str> = columns
            .iter()
            .map(|column| if is_right_aligned(column.kind) { "--:" } else { "---" })
            .collect();
        self.tz = head.time_zone;
        self.legend = Legend::new(head, columns);
        writeln!(self.out, "| {} |\n| {} |", names.join(" | "), rules.join(" | "))
    }

    fn row(&mut self, row: Vec<Cell>) -> io::Result<()> {
        self.legend.note(&row);
        let text = |(at, cell): (usize, &Cell)| {
            let precision = Precision::of([cell].into_iter(), self.tz).max(Precision::Minute);
            escaped(&self.legend.marked(at, &row, text(cell, precision, self.tz)))
        };
        let cells: Vec<String> = row.iter().enumerate().map(text).collect();
        writeln!(self.out, "| {} |", cells.join(" | "))
    }

    fn end(&mut self) -> io::Result<()> {
        let entries = if self.look.is_bare { Vec::new() } else { self.legend.entries(NOTHING) };
        if !entries.is_empty() {
            writeln!(self.out)?;
        }
        for (name, meaning) in entries {
            writeln!(self.out, "- **{}**: {}", escaped(&name), escaped(&meaning))?;
        }
        self.out.flush()
    }
}
