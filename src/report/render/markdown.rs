//! A Markdown table, to paste into a ticket.

use std::io::{self, Write};

use super::people::{Precision, is_right_aligned, sampled, subtitle, text};
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column};

/// Writes rows as they come, so instants have one precision throughout.
pub(super) struct Markdown<W> {
    out: W,
    head: Option<Head>,
}

impl<W: Write> Markdown<W> {
    pub fn new(out: W) -> Self {
        Self { out, head: None }
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
        let subtitle = subtitle(head);
        if !subtitle.is_empty() {
            writeln!(self.out, "{}\n", escaped(&subtitle))?;
        }
        if let Some(sampled) = sampled(head) {
            writeln!(self.out, "{}\n", escaped(&sampled))?;
        }
        let names: Vec<String> = columns.iter().map(|column| escaped(&column.name)).collect();
        let rules: Vec<&str> = columns
            .iter()
            .map(|column| if is_right_aligned(column.kind) { "--:" } else { "---" })
            .collect();
        self.head = Some(head.clone());
        writeln!(self.out, "| {} |\n| {} |", names.join(" | "), rules.join(" | "))
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        let tz = self.head.as_ref().map_or(chrono_tz::UTC, |head| head.time_zone);
        let cells: Vec<String> = cells
            .iter()
            .map(|cell| {
                escaped(&text(
                    cell,
                    Precision::of([cell].into_iter(), tz).max(Precision::Minute),
                    tz,
                ))
            })
            .collect();
        writeln!(self.out, "| {} |", cells.join(" | "))
    }

    fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
