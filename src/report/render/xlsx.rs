//! A workbook: a sheet with the rows, typed, and a sheet that says what they are.

use std::collections::HashMap;
use std::io::{self, Write};

use chrono::{DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use rust_xlsxwriter::{Format, FormatAlign, Workbook, Worksheet, XlsxError};
use unicode_width::UnicodeWidthStr;

use super::heading::{edge, often};
use super::legend::{AT_LEAST, Legend};
use super::people::{Precision, text};
use super::{Look, rfc3339};
use crate::domain::harmless;
use crate::report::run::{Asked, Head, Sink};
use crate::report::value::{Cell, Column};

/// What a sheet holds, its heading included.
const SHEET_ROWS: u32 = 1 << 20;

/// The longest text of a cell.
const LONGEST: usize = 32_767;

/// Numbers have fifteen digits in a workbook.
const LARGEST: i64 = 999_999_999_999_999;

/// How wide a column gets by itself, in characters.
const WIDEST: usize = 60;

/// Writes rows into temporary files as they come, and the workbook at the end: memory stays bounded.
pub(super) struct Xlsx<W> {
    out: W,
    workbook: Workbook,
    look: Look,
    sheet_rows: u32,
    head: Option<Head>,
    columns: Vec<Column>,
    legend: Legend,
    /// By number format.
    formats: HashMap<String, Format>,
    /// The widest text of each column so far.
    widths: Vec<usize>,
    /// The sheet that is being written, and its next row.
    sheet: usize,
    next: u32,
}

impl<W: Write + Send> Xlsx<W> {
    pub fn new(out: W, look: Look) -> Self {
        Self {
            out,
            workbook: Workbook::new(),
            look,
            sheet_rows: SHEET_ROWS,
            head: None,
            columns: Vec::new(),
            legend: Legend::default(),
            formats: HashMap::new(),
            widths: Vec::new(),
            sheet: 0,
            next: 0,
        }
    }

    /// Begins a sheet with its heading.
    fn add_sheet(&mut self) -> Result<(), XlsxError> {
        let sheet = self.workbook.add_worksheet_with_constant_memory()?;
        let name = if self.sheet == 0 {
            "Report".to_owned()
        } else {
            format!("Report {}", self.sheet + 1)
        };
        sheet.set_name(name)?;
        sheet.set_freeze_panes(1, 0)?;
        let heading = Format::new().set_bold();
        for (at, column) in self.columns.iter().enumerate() {
            sheet.write_string_with_format(
                0,
                column_number(at),
                harmless(&column.name),
                &heading,
            )?;
        }
        self.next = 1;
        Ok(())
    }

    /// What can be said of a sheet only once its rows are there.
    fn finish_sheet(&mut self) -> Result<(), XlsxError> {
        let sheet = self.workbook.worksheet_from_index(self.sheet)?;
        for (at, width) in self.widths.iter().enumerate() {
            // At most `WIDEST`.
            sheet.set_column_width(column_number(at), *width as f64 + 1.0)?;
        }
        if let Some(last) = self.columns.len().checked_sub(1) {
            sheet.autofilter(0, 0, self.next.saturating_sub(1), column_number(last))?;
        }
        Ok(())
    }

    fn write_row(&mut self, cells: &[Cell]) -> Result<(), XlsxError> {
        if self.next == self.sheet_rows {
            self.finish_sheet()?;
            self.sheet += 1;
            self.add_sheet()?;
        }
        let tz = self.head.as_ref().map_or(Tz::UTC, |head| head.time_zone);
        self.legend.note(cells);
        let row = self.next;
        let sheet = self.workbook.worksheet_from_index(self.sheet)?;
        for (at, cell) in cells.iter().enumerate() {
            let column = column_number(at);
            let mark = if self.legend.is_lower_bound_in(at, cells) {
                format!("\"{AT_LEAST} \"")
            } else {
                String::new()
            };
            let value = Value::of(cell, tz);
            let width = value.width() + mark.len();
            match value {
                Value::Nothing => {}
                Value::Text(text) => drop(sheet.write_string(row, column, text)?),
                Value::Truth(truth) => drop(sheet.write_boolean(row, column, truth)?),
                Value::Number(number, format) => {
                    let format = format_of(&mut self.formats, mark + format);
                    sheet.write_number_with_format(row, column, number, format)?;
                }
                Value::Instant(local, format) => {
                    let format = format_of(&mut self.formats, format);
                    sheet.write_datetime_with_format(row, column, local, format)?;
                }
            }
            self.widths[at] = self.widths[at].max(width.min(WIDEST));
        }
        self.next += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<(), XlsxError> {
        self.finish_sheet()?;
        if let Some(head) = self.head.take() {
            let sheet = self.workbook.add_worksheet();
            write_about(sheet, &about(&head, &self.legend, self.look.is_bare))?;
        }
        self.workbook.save_to_writer(&mut self.out)
    }
}

/// A sheet has at most 16,384 columns, PostgreSQL a tenth of it.
fn column_number(at: usize) -> u16 {
    u16::try_from(at).unwrap_or(u16::MAX)
}

fn format_of(formats: &mut HashMap<String, Format>, number_format: String) -> &Format {
    formats
        .entry(number_format)
        .or_insert_with_key(|number_format| Format::new().set_num_format(number_format))
}

/// What a cell can hold.
#[derive(Debug, PartialEq)]
enum Value {
    Nothing,
    Text(String),
    Truth(bool),
    Number(f64, &'static str),
    /// In the report's time zone.
    Instant(NaiveDateTime, String),
}

const WHOLE: &str = "0";
const DECIMALS: &str = "0.00";
const LENGTH: &str = "[h]:mm:ss";

impl Value {
    /// Typed where a workbook can hold it, else its text; never a formula, a link or a rounded identifier.
    fn of(cell: &Cell, tz: Tz) -> Self {
        match cell {
            Cell::Null => Self::Nothing,
            Cell::Bool(truth) => Self::Truth(*truth),
            Cell::Integer(number) if number.abs() <= LARGEST => Self::Number(*number as f64, WHOLE),
            Cell::Float(number) if number.is_finite() => Self::Number(*number, DECIMALS),
            Cell::Float(number) => Self::Text(number.to_string()),
            Cell::Decimal(number) => match number.parse::<f64>() {
                Ok(value) if value.is_finite() && number.contains('.') => {
                    Self::Number(value, DECIMALS)
                }
                Ok(value) if value.abs() <= LARGEST as f64 => Self::Number(value, WHOLE),
                _ => Self::Text(number.clone()),
            },
            // A workbook has no negative time.
            Cell::Duration(microseconds) if *microseconds >= 0 => {
                Self::Number(*microseconds as f64 / 86_400e6, LENGTH)
            }
            Cell::Instant(instant) => Self::of_instant(*instant, tz),
            other => Self::of_text(&text(other, Precision::Second, tz)),
        }
    }

    fn of_instant(instant: DateTime<Utc>, tz: Tz) -> Self {
        let zoned = instant.with_timezone(&tz);
        let local = zoned.naive_local();
        // Before March 1900 a workbook's days are off by one.
        let first = NaiveDate::from_ymd_opt(1900, 3, 1);
        if first.is_none_or(|first| local.date() < first) || local.year() > 9999 {
            return Self::Text(rfc3339(instant));
        }
        let seconds = if local.second() == 0 && local.nanosecond() == 0 { "" } else { ":ss" };
        // A local time that comes twice is a date like any other and shows which of the two it is.
        let offset = match tz.from_local_datetime(&local) {
            LocalResult::Ambiguous(..) => format!(" \"{}\"", zoned.format("%:z")),
            _ => String::new(),
        };
        Self::Instant(local, format!("yyyy-mm-dd hh:mm{seconds}{offset}"))
    }

    fn of_text(text: &str) -> Self {
        // A workbook counts in units of UTF-16.
        let mut units = 0;
        let end = text.char_indices().find(|(_, c)| {
            units += c.len_utf16();
            units > LONGEST
        });
        match end {
            None => Self::Text(text.to_owned()),
            Some(_) => {
                let mut room = LONGEST - 1;
                let kept = text.chars().take_while(|c| {
                    room = room.saturating_sub(c.len_utf16());
                    room > 0
                });
                Self::Text(kept.chain(['…']).collect())
            }
        }
    }

    /// About how wide it is shown, in characters.
    fn width(&self) -> usize {
        match self {
            Self::Nothing => 0,
            Self::Text(text) => text.width(),
            Self::Truth(_) => 5,
            Self::Number(number, LENGTH) => format!("{:.0}", number * 24.0).len() + 6,
            Self::Number(number, DECIMALS) => format!("{number:.2}").len(),
            Self::Number(number, _) => format!("{number:.0}").len(),
            Self::Instant(_, format) => format.len(),
        }
    }
}

/// What the workbook says about its rows: a heading, or a name and what there is to say of it.
fn about(head: &Head, legend: &Legend, is_bare: bool) -> Vec<(String, String)> {
    let mut lines = vec![(harmless(&head.title), String::new())];
    let heading = |name: &str| (name.to_owned(), String::new());
    let tz = head.time_zone;
    lines.push(heading("Asked for"));
    for (name, asked) in &head.asked {
        let value = match asked {
            Asked::Instant(instant) => format!("{} ({})", edge(*instant, tz), rfc3339(*instant)),
            Asked::Text(text) if text.is_empty() && matches!(name.as_str(), "source" | "group") => {
                "all".to_owned()
            }
            Asked::Text(text) => harmless(text),
        };
        lines.push((harmless(name), value));
    }
    for stretch in &head.stretches {
        let name = stretch.role.unwrap_or("looked at").to_owned();
        let said = format!("{} to {}", edge(stretch.from, tz), edge(stretch.to, tz));
        let exact = format!("{} to {}", rfc3339(stretch.from), rfc3339(stretch.to));
        lines.push((name, format!("{said} ({exact})")));
    }
    let zone = format!("{}: dates and times are local times there", tz.name());
    lines.push(("time zone".to_owned(), zone));
    if !head.sampling.is_empty() {
        lines.push(heading("Visits"));
        let sources = head.sampling.iter();
        lines.extend(sources.map(|sampling| (harmless(&sampling.source), often(sampling))));
    }
    let entries = if is_bare { Vec::new() } else { legend.entries("empty cell") };
    if !entries.is_empty() {
        lines.push(heading("Columns"));
        lines.extend(entries);
    }
    if !head.description.is_empty() {
        lines.push(heading("What it answers"));
        let paragraphs = head.description.split("\n\n");
        let paragraphs =
            paragraphs.map(|paragraph| (String::new(), harmless(&paragraph.replace('\n', " "))));
        lines.extend(paragraphs);
    }
    lines.push(heading("Written by"));
    lines.push(("deskledger".to_owned(), env!("CARGO_PKG_VERSION").to_owned()));
    lines
}

fn write_about(sheet: &mut Worksheet, lines: &[(String, String)]) -> Result<(), XlsxError> {
    sheet.set_name("About")?;
    let heading = Format::new().set_bold();
    let name = Format::new().set_align(FormatAlign::Top);
    let wrapped = Format::new().set_text_wrap().set_align(FormatAlign::Top);
    let widest = lines.iter().filter(|(_, text)| !text.is_empty()).map(|(name, _)| name.width());
    sheet.set_column_width(0, widest.max().unwrap_or(0).clamp(12, WIDEST) as f64 + 1.0)?;
    sheet.set_column_width(1, 100)?;
    for (row, (label, text)) in (0..).zip(lines) {
        if text.is_empty() {
            sheet.write_string_with_format(row, 0, label, &heading)?;
        } else {
            sheet.write_string_with_format(row, 0, label, &name)?;
            let Value::Text(text) = Value::of_text(text) else { continue };
            sheet.write_string_with_format(row, 1, text, &wrapped)?;
        }
    }
    Ok(())
}

/// The error behind it, so that a reader who has gone is known for that.
fn unwrap_io(error: XlsxError) -> io::Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(found) = cause {
        if let Some(io) = found.downcast_ref::<io::Error>() {
            return io::Error::new(io.kind(), error);
        }
        cause = found.source();
    }
    io::Error::other(error)
}

impl<W: Write + Send> Sink for Xlsx<W> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        self.head = Some(head.clone());
        self.columns = columns.to_vec();
        self.legend = Legend::new(head, columns);
        // The button of the filter takes room as well.
        self.widths = columns.iter().map(|column| (column.name.width() + 2).min(WIDEST)).collect();
        self.add_sheet().map_err(unwrap_io)
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.write_row(&cells).map_err(unwrap_io)
    }

    fn end(&mut self) -> io::Result<()> {
        self.finish().map_err(unwrap_io)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use calamine::{Data, Reader, Xlsx as Read, open_workbook_from_rs};

    use super::*;
    use crate::report::value::ColumnKind;

    #[test]
    fn what_a_workbook_cannot_hold_is_text() {
        let of = |cell| Value::of(&cell, Tz::UTC);
        let is_text = |text: &str| Value::Text(text.to_owned());
        let instant = |text: &str| Cell::Instant(text.parse().expect("an instant"));
        assert_eq!(of(Cell::Integer(i64::MAX)), is_text("9223372036854775807"));
        assert_eq!(of(Cell::Integer(-3)), Value::Number(-3.0, WHOLE));
        assert_eq!(of(Cell::Decimal("NaN".to_owned())), is_text("NaN"));
        assert_eq!(
            of(Cell::Decimal("12345678901234567890".to_owned())),
            is_text("12345678901234567890")
        );
        assert_eq!(
            of(Cell::Decimal("12.5000000000000000".to_owned())),
            Value::Number(12.5, DECIMALS)
        );
        assert_eq!(of(Cell::Float(f64::INFINITY)), is_text("inf"));
        assert_eq!(of(Cell::Duration(-60_000_000)), is_text("-1m"));
        assert_eq!(of(instant("1899-12-31T00:00:00Z")), is_text("1899-12-31T00:00:00Z"));
        assert_eq!(of(instant("+10000-01-01T00:00:00Z")), is_text("+10000-01-01T00:00:00Z"));
        let Value::Text(long) = of(Cell::Text("🙂".repeat(20_000))) else { panic!("text") };
        assert!(long.ends_with('…') && long.encode_utf16().count() <= LONGEST);
    }

    #[test]
    fn a_local_time_that_comes_twice_shows_which_it_is() {
        let at = |text: &str| {
            let cell = Cell::Instant(text.parse().expect("an instant"));
            match Value::of(&cell, Tz::Europe__Berlin) {
                Value::Instant(local, format) => (local.to_string(), format),
                other => panic!("{other:?}"),
            }
        };
        let local = "2026-10-25 02:00:00".to_owned();
        assert_eq!(
            at("2026-10-25T00:00:00Z"),
            (local.clone(), "yyyy-mm-dd hh:mm \"+02:00\"".to_owned())
        );
        assert_eq!(at("2026-10-25T01:00:00Z"), (local, "yyyy-mm-dd hh:mm \"+01:00\"".to_owned()));
        assert_eq!(at("2026-10-25T02:00:01Z").1, "yyyy-mm-dd hh:mm:ss");
    }

    #[test]
    fn what_is_too_long_for_one_sheet_goes_on_in_the_next() {
        let mut bytes = Vec::new();
        let mut sink = Xlsx::new(&mut bytes, Look::default());
        sink.sheet_rows = 4;
        let head = Head {
            report: "r".to_owned(),
            title: "T".to_owned(),
            description: String::new(),
            definitions: Vec::new(),
            chart: None,
            asked: Vec::new(),
            stretches: Vec::new(),
            time_zone: Tz::UTC,
            sampling: Vec::new(),
        };
        let columns = [Column { name: "n".to_owned(), kind: ColumnKind::Integer }];
        sink.begin(&head, &columns).expect("begun");
        for n in 0..7 {
            sink.row(vec![Cell::Integer(n)]).expect("written");
        }
        sink.end().expect("ended");
        drop(sink);
        let mut workbook: Read<_> = open_workbook_from_rs(Cursor::new(bytes)).expect("a workbook");
        let names = ["Report", "Report 2", "Report 3", "About"];
        assert_eq!(workbook.sheet_names(), names);
        let numbers: Vec<Vec<Data>> = names[..3]
            .iter()
            .map(|name| {
                let sheet = workbook.worksheet_range(name).expect("a sheet");
                sheet.rows().map(|row| row[0].clone()).collect()
            })
            .collect();
        let heading = Data::String("n".to_owned());
        let n = |n: u8| Data::Float(f64::from(n));
        assert_eq!(
            numbers,
            [
                vec![heading.clone(), n(0), n(1), n(2)],
                vec![heading.clone(), n(3), n(4), n(5)],
                vec![heading, n(6)]
            ]
        );
    }
}
