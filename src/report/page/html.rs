//! One report as an HTML file.

use std::io::{self, Write};

use minijinja::context;

use super::bucket::Edges;
use super::figure::Figures;
use super::section::{Section, Shown};
use super::table::Layout;
use super::template::{render, shown};
use crate::report::render::heading::sampled;
use crate::report::render::people::Precision;
use crate::report::run::{Head, Sink};
use crate::report::value::{Cell, Column};

/// As many rows are kept for the picture and a table that is laid out as a whole; more than that are written as they come,
/// without a picture.
const PAGE: usize = 5_000;

/// How many of those are written at once.
const BATCH: usize = 500;

/// Stands in the template where rows that come later belong. Nothing from the ledger can look like it: it is escaped.
const ROWS: &str = "<!-- rows -->";

/// Writes a page with one section.
#[derive(Debug)]
pub struct Html<W> {
    out: W,
    head: Option<Head>,
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// What comes after the rows, once they are being written.
    rest: Option<String>,
}

impl<W: Write> Html<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self { out, head: None, columns: Vec::new(), rows: Vec::new(), rest: None }
    }

    fn page(&self, is_long: bool) -> io::Result<String> {
        let Some(head) = &self.head else { return Ok(String::new()) };
        let section = Shown {
            name: &head.report,
            about: &first_paragraph(&head.description),
            head,
            columns: &self.columns,
            rows: if is_long { &[] } else { &self.rows },
            chart: None,
            marks: &[],
            most_rows: usize::MAX,
            tz: head.time_zone,
        };
        let mut section: Section = section.section();
        if is_long {
            section.left_out = Some(format!("not drawn, since there are more than {PAGE} rows"));
        }
        let context = context! {
            title => section.title.clone(),
            period => section.asked.clone(),
            sampled => sampled(head),
            sections => shown([section]),
            is_long => is_long,
            rows_mark => ROWS,
            style_of => context! { is_live => false },
        };
        render("page.html", context)
    }

    /// Rows by the template's own macro.
    fn write_rows(&mut self) -> io::Result<()> {
        let Some(head) = &self.head else { return Ok(()) };
        let figures = Figures::new(head, &self.columns, head.chart.as_ref());
        let edges = self.columns.first().and_then(|first| Edges::of(head, &first.name));
        let layout = Layout::new(&figures, edges, head.time_zone);
        let rows = self.rows.drain(..).map(|row| layout.row(&row, |_| Precision::Second));
        let rows: Vec<Vec<_>> = rows.collect();
        let text = render("rows.html", context! { rows => shown(rows) })?;
        self.out.write_all(text.as_bytes())
    }
}

fn first_paragraph(prose: &str) -> String {
    let lines = prose.lines().take_while(|line| !line.trim().is_empty());
    lines.map(str::trim).collect::<Vec<_>>().join(" ")
}

impl<W: Write + Send> Sink for Html<W> {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()> {
        self.head = Some(head.clone());
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.rows.push(cells);
        let most = if self.rest.is_some() { BATCH } else { PAGE };
        if self.rows.len() <= most {
            return Ok(());
        }
        if self.rest.is_none() {
            let page = self.page(true)?;
            let (start, rest) =
                page.split_once(ROWS).ok_or_else(|| io::Error::other("no place for rows"))?;
            self.out.write_all(start.as_bytes())?;
            self.rest = Some(rest.to_owned());
        }
        self.write_rows()
    }

    fn end(&mut self) -> io::Result<()> {
        match self.rest.take() {
            Some(rest) => {
                self.write_rows()?;
                self.out.write_all(rest.as_bytes())?;
            }
            None => {
                let page = self.page(false)?;
                self.out.write_all(page.as_bytes())?;
            }
        }
        self.out.flush()
    }
}
