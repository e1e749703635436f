//! Pages for a browser that can ask again: forms, one report, its SQL, the list, and refusals.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::context;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use sqlx::PgPool;

use super::section::{Definition, MOST_ROWS, Section, Shown};
use super::template::{render, shown};
use super::whole::{Answer, Asking, Page, Style, TOO_LARGE};
use crate::domain::{ALL_SOURCES_AS_ONE, harmless};
use crate::report::catalogue::{Catalogue, Report};
use crate::report::error::ReportError;
use crate::report::header::{Kind, Parameter};
use crate::report::params::{BUCKETS, Values};
use crate::report::render::heading::sampled;
use crate::report::run::run;

/// A form: where it asks, and what.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Form {
    action: String,
    fields: Vec<Field>,
}

#[derive(Debug, Clone, Serialize)]
struct Field {
    name: String,
    label: String,
    meaning: String,
    value: String,
    default: String,
    choices: Vec<Choice>,
    size: usize,
    is_required: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Choice {
    value: String,
    label: String,
}

impl Form {
    /// The form of these parameters; `value` tells what was given before.
    pub(super) fn new<'p>(
        action: String,
        parameters: impl Iterator<Item = &'p Parameter>,
        sources: &[String],
        value: impl Fn(&str) -> String,
    ) -> Self {
        let field = |parameter: &Parameter| {
            let choice = |value: &str| Choice { value: value.to_owned(), label: harmless(value) };
            let choices = match parameter.kind {
                Kind::Source | Kind::Fleet => {
                    let all = Choice { value: String::new(), label: "all".to_owned() };
                    let as_one =
                        (parameter.kind == Kind::Fleet).then(|| choice(ALL_SOURCES_AS_ONE));
                    let names = sources.iter().map(|name| choice(name));
                    std::iter::once(all).chain(names).chain(as_one).collect()
                }
                Kind::Bucket => {
                    let usual = Choice { value: String::new(), label: "usual".to_owned() };
                    std::iter::once(usual).chain(BUCKETS.iter().map(|name| choice(name))).collect()
                }
                _ => Vec::new(),
            };
            Field {
                name: parameter.name.clone(),
                label: super::draw::spoken(&parameter.name),
                meaning: harmless(&parameter.meaning),
                value: value(&parameter.name),
                default: parameter.default.clone().unwrap_or_default(),
                choices,
                size: if parameter.kind == Kind::Instant { 20 } else { 12 },
                is_required: parameter.default.is_none(),
            }
        };
        Self { action, fields: parameters.map(field).collect() }
    }
}

/// Answers a browser from the ledger.
#[derive(Debug)]
pub struct Live<'a> {
    /// The ledger.
    pub pool: &'a PgPool,
    /// Where the reports are taken from.
    pub catalogue: &'a Catalogue,
    /// Of each report.
    pub timeout: Duration,
    /// What the clock says.
    pub now: DateTime<Utc>,
}

/// A page, and how it came out.
#[derive(Debug)]
pub struct Told {
    /// The page.
    pub html: String,
    /// The report took too long: the page says so.
    pub is_late: bool,
}

/// Why there is no result, where whoever asked can ask for something else.
struct Problem {
    text: String,
    is_late: bool,
}

impl Problem {
    fn of(error: ReportError) -> Result<Self, ReportError> {
        let is_late = matches!(error, ReportError::Timeout(_));
        let text = match error {
            error if error.is_too_large() => TOO_LARGE.to_owned(),
            error @ ReportError::Output { .. } => return Err(error),
            error if is_late || error.is_usage() => harmless(&error.for_others()),
            error => return Err(error),
        };
        Ok(Self { text, is_late })
    }
}

/// The address of something about a report, whose name is a file's.
fn address(about: &str, name: &str) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.');
    format!("/{about}/{}", utf8_percent_encode(name, KEPT))
}

/// What a browser gave: names and values, the empty ones left out.
pub type Given = Vec<(String, String)>;

fn given_value(given: &Given, name: &str) -> String {
    given
        .iter()
        .find(|(known, _)| known == name)
        .map(|(_, value)| value.clone())
        .unwrap_or_default()
}

fn rendered(page: std::io::Result<String>) -> Result<String, ReportError> {
    page.map_err(|source| ReportError::Output { target: "the page".to_owned(), source })
}

fn paragraphs(prose: &str) -> Vec<String> {
    let paragraphs = prose.split("\n\n").map(|paragraph| harmless(&paragraph.replace('\n', " ")));
    paragraphs.filter(|paragraph| !paragraph.is_empty()).collect()
}

impl Live<'_> {
    /// The names of the sources, for forms to choose from.
    async fn sources(&self) -> Result<Vec<String>, ReportError> {
        sqlx::query_scalar("select source from deskledger_planner.sources order by source")
            .fetch_all(self.pool)
            .await
            .map_err(|source| ReportError::Database {
                report: "the list of sources".to_owned(),
                source,
            })
    }

    /// The page of one report: its form and, where all is given that it needs, its result.
    ///
    /// # Errors
    /// There is no such report, or the database failed. What was given wrong is told on the page.
    pub async fn one(&self, name: &str, given: &Given) -> Result<Told, ReportError> {
        let report = self.catalogue.get(name)?;
        let sources = self.sources().await?;
        let form = Form::new(address("report", name), report.parameters.iter(), &sources, |name| {
            given_value(given, name)
        });
        let is_ready = report.parameters.iter().all(|parameter| {
            parameter.default.is_some() || !given_value(given, &parameter.name).is_empty()
        });
        let mut problem: Option<Problem> = None;
        let mut section: Option<Section> = None;
        let mut sampling = None;
        if is_ready {
            match self.answer(report, given).await {
                Ok(answer) => {
                    let head = answer.head.as_ref();
                    sampling = head.and_then(sampled);
                    section = head.map(|head| {
                        let shown = Shown {
                            name: &report.name,
                            about: "",
                            head,
                            columns: &answer.rows.columns,
                            rows: &answer.rows.rows,
                            chart: None,
                            marks: &[],
                            most_rows: MOST_ROWS * 5,
                        };
                        let mut section = shown.section();
                        section.sql = Some(address("sql", name));
                        section
                    });
                }
                Err(error) => problem = Some(Problem::of(error)?),
            }
        }
        let definitions: Vec<Definition> = report
            .columns
            .iter()
            .map(|column| Definition {
                name: column.name.clone(),
                meaning: harmless(&column.meaning),
            })
            .collect();
        let formats = ["csv", "json", "xlsx"].map(|name| {
            let asked = url_encoded(given);
            let href = format!("{}/{name}?{asked}", address("report", &report.name));
            context! { name => name, href => href }
        });
        let is_late = problem.as_ref().is_some_and(|problem| problem.is_late);
        let html = rendered(render(
            "one.html",
            context! {
                title => harmless(&report.title),
                about => paragraphs(&report.description),
                form => shown(form),
                problem => problem.map(|problem| problem.text),
                section => section.map(shown),
                sampled => sampling,
                definitions => shown(definitions),
                formats => formats.to_vec(),
                written => self.now.to_rfc3339_opts(SecondsFormat::Secs, true),
            },
        ))?;
        Ok(Told { html, is_late })
    }

    /// The page of all reports.
    ///
    /// # Errors
    /// The database failed. What was asked wrongly is told on the page.
    pub async fn whole(&self, asking: &Asking) -> Result<Told, ReportError> {
        let Self { pool, catalogue, timeout, now } = *self;
        let sources = self.sources().await?;
        let style = Style { is_live: true, sources };
        let page = Page { pool, catalogue, timeout, now };
        let problem = match page.html(asking, &style).await {
            Ok(html) => return Ok(Told { html, is_late: false }),
            Err(error) => Problem::of(error)?,
        };
        let form = whole_form(catalogue.get("utilisation")?, &style.sources, asking);
        let html = rendered(render(
            "one.html",
            context! { title => "Virtual desktops", form => shown(form), problem => problem.text },
        ))?;
        Ok(Told { html, is_late: problem.is_late })
    }

    async fn answer(&self, report: &Report, given: &Given) -> Result<Answer, ReportError> {
        let values = Values::new(report, given.iter().cloned())?;
        let mut answer = Answer::default();
        run(self.pool, report, &values, self.timeout, &mut answer).await?;
        Ok(answer)
    }

    /// The list of reports.
    ///
    /// # Errors
    /// The page cannot be filled in.
    pub fn list(&self) -> Result<String, ReportError> {
        let reports: Vec<_> = self
            .catalogue
            .reports()
            .iter()
            .map(
                |report| context! { name => report.name.clone(), title => harmless(&report.title) },
            )
            .collect();
        rendered(render("plain.html", context! { title => "Reports", reports => reports }))
    }

    /// A report's file.
    ///
    /// # Errors
    /// There is no such report.
    pub fn sql(&self, name: &str) -> Result<String, ReportError> {
        let report = self.catalogue.get(name)?;
        let title = format!("{name}.sql");
        rendered(render("plain.html", context! { title => title, text => report.text.clone() }))
    }
}

/// A page that says why there is none.
///
/// # Errors
/// The page cannot be filled in.
pub fn refusal(title: &str, problem: &str) -> Result<String, ReportError> {
    rendered(render(
        "plain.html",
        context! { title => harmless(title), problem => harmless(problem) },
    ))
}

/// The form above the whole report.
pub(super) fn whole_form(model: &Report, sources: &[String], asking: &Asking) -> Form {
    let mut parameters = model.parameters.clone();
    for parameter in parameters.iter_mut().filter(|parameter| parameter.name == "from") {
        parameter.default = Some(Asking::FROM.to_owned());
    }
    Form::new("/".to_owned(), parameters.iter(), sources, |name| match name {
        "from" => asking.from.clone(),
        "to" => asking.to.clone(),
        "tz" => asking.tz.clone(),
        "source" => asking.source.clone(),
        _ => asking.bucket.clone(),
    })
}

fn url_encoded(given: &Given) -> String {
    let mut encoded = String::new();
    for (name, value) in given {
        let separator = if encoded.is_empty() { "" } else { "&" };
        encoded.push_str(separator);
        encoded.extend(utf8_percent_encode(name, NON_ALPHANUMERIC));
        encoded.push('=');
        encoded.extend(utf8_percent_encode(value, NON_ALPHANUMERIC));
    }
    encoded
}
