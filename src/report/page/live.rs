//! Pages for a browser that can ask again: forms, one report, its SQL, the list, and refusals.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use minijinja::context;
use serde::Serialize;
use sqlx::PgPool;

use super::section::{Definition, MOST_ROWS, Section, Shown, asked};
use super::sql::{Source, address, link, query};
use super::template::{render, shown};
use super::whole::{Answer, Asking, Page, Style};
use super::wrong::{Outcome, Wrong};
use crate::domain::{ALL_SOURCES_AS_ONE, harmless};
use crate::report::catalogue::{Catalogue, Report};
use crate::report::error::ReportError;
use crate::report::header::{Kind, Parameter};
use crate::report::params::{BUCKETS, Values};
use crate::report::render::heading::sampled;
use crate::report::run::{check, run};

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
    /// What is wrong with its value.
    problem: Option<String>,
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
                problem: None,
            }
        };
        Self { action, fields: parameters.map(field).collect() }
    }

    /// Tells what is wrong beside its field; hands back what belongs to none.
    fn tell(&mut self, wrongs: Vec<Wrong>) -> Vec<String> {
        let mut others = Vec::new();
        for Wrong { field, text, .. } in wrongs {
            match self.fields.iter_mut().find(|known| Some(&known.name) == field.as_ref()) {
                Some(field) => field.problem = Some(text),
                None => others.push(text),
            }
        }
        others
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
    /// Whether it shows what was asked for.
    pub outcome: Outcome,
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
        let mut form =
            Form::new(address("report", name), report.parameters.iter(), &sources, |name| {
                given_value(given, name)
            });
        let mut wrongs: Vec<Wrong> = Vec::new();
        let mut section: Option<Section> = None;
        let mut sampling = None;
        if self.is_ready(name, given) {
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
                            tz: head.time_zone,
                        };
                        let mut section = shown.section();
                        section.sql = Some(link(name, &asked(head), None, true));
                        section
                    });
                }
                Err(error) => wrongs = self.wrongs(report, given, error).await?,
            }
        }
        let definitions: Vec<Definition> = report.columns.iter().map(Definition::of).collect();
        let formats = ["csv", "json", "xlsx"].map(|name| {
            let href = format!("{}/{name}?{}", address("report", &report.name), query(given));
            context! { name => name, href => href }
        });
        let outcome = wrongs.first().map_or(Outcome::Answered, |wrong| wrong.outcome);
        let problems = form.tell(wrongs);
        let html = rendered(render(
            "one.html",
            context! {
                title => harmless(&report.title),
                name => harmless(&report.name),
                about => paragraphs(&report.description),
                form => shown(form),
                problems => problems,
                section => section.map(shown),
                sampled => sampling,
                definitions => shown(definitions),
                formats => formats.to_vec(),
                written => self.now.to_rfc3339_opts(SecondsFormat::Secs, true),
            },
        ))?;
        Ok(Told { html, outcome })
    }

    /// The page of all reports.
    ///
    /// # Errors
    /// The database failed. What was asked wrongly is told on the page.
    pub async fn whole(&self, given: &Given) -> Result<Told, ReportError> {
        let Self { pool, catalogue, timeout, now } = *self;
        let sources = self.sources().await?;
        let style = Style { is_live: true, sources };
        // Others wait for their turn meanwhile.
        let page = Page { pool, catalogue, timeout, now, is_without_names: false, at_once: 1 };
        let model = catalogue.get("utilisation")?;
        let answered = match Asking::of(model, given) {
            Ok(asking) => page.html(&asking, &style).await,
            Err(error) => Err(error),
        };
        let wrongs = match answered {
            Ok(html) => return Ok(Told { html, outcome: Outcome::Answered }),
            Err(error) => self.wrongs(model, given, error).await?,
        };
        let outcome = wrongs.first().map_or(Outcome::Answered, |wrong| wrong.outcome);
        let mut form = whole_form(model, &style.sources, |name| given_value(given, name));
        let problems = form.tell(wrongs);
        let html = rendered(render(
            "one.html",
            context! { title => "Virtual desktops", form => shown(form), problems => problems },
        ))?;
        Ok(Told { html, outcome })
    }

    /// Whether all is given that a report needs.
    #[must_use]
    pub fn is_ready(&self, name: &str, given: &Given) -> bool {
        let Ok(report) = self.catalogue.get(name) else { return false };
        report.parameters.iter().all(|parameter| {
            parameter.default.is_some() || !given_value(given, &parameter.name).is_empty()
        })
    }

    async fn answer(&self, report: &Report, given: &Given) -> Result<Answer, ReportError> {
        let values = Values::new(report, given.iter().cloned())?;
        let mut answer = Answer::default();
        run(self.pool, report, &values, self.timeout, &mut answer).await?;
        Ok(answer)
    }

    /// All that was given wrong, from the first error on: each is told, then checked is what is left without it. Whoever
    /// fills in a form mends all of it at once.
    async fn wrongs(
        &self,
        report: &Report,
        given: &Given,
        first: ReportError,
    ) -> Result<Vec<Wrong>, ReportError> {
        let mut given = given.clone();
        let (mut wrongs, mut left_out) = (Vec::new(), Vec::new());
        let mut error = first;
        loop {
            let is_unknown = matches!(error, ReportError::UnknownParameter { .. });
            let wrong = Wrong::of(error, &report.parameters, &given)?;
            let field = wrong.field.clone().filter(|_| wrong.outcome == Outcome::Wrong);
            wrongs.push(wrong);
            match field {
                _ if is_unknown => given.retain(|(name, _)| report.parameter(name).is_some()),
                Some(field) if !left_out.contains(&field) => left_out.push(field),
                _ => break,
            }
            let checked = match Values::without(report, given.iter().cloned(), &left_out) {
                Ok(values) => check(self.pool, report, &values, self.timeout).await,
                Err(error) => Err(error),
            };
            match checked {
                Ok(()) => break,
                Err(next) => error = next,
            }
        }
        Ok(wrongs)
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

    /// A report's file, and how to have psql answer the same question.
    ///
    /// # Errors
    /// There is no such report. What was given wrong is told on the page.
    pub fn sql(&self, name: &str, given: &Given) -> Result<Told, ReportError> {
        let report = self.catalogue.get(name)?;
        let needed = |error: &ReportError| !matches!(error, ReportError::MissingParameter { .. });
        let wrong = Values::new(report, given.iter().cloned()).err().filter(needed);
        let wrong = wrong.map(|error| Wrong::of(error, &report.parameters, given)).transpose()?;
        let outcome = wrong.as_ref().map_or(Outcome::Answered, |wrong| wrong.outcome);
        let html = rendered(render(
            "sql.html",
            context! {
                title => format!("{}.sql", harmless(name)),
                problem => wrong.map(|wrong| wrong.text),
                report => format!("{}?{}", address("report", name), query(given)),
                source => shown(Source::new(report, given)),
            },
        ))?;
        Ok(Told { html, outcome })
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

/// A page for those whom a page elsewhere sends to this address, to go on by themselves.
///
/// # Errors
/// The page cannot be filled in.
pub fn detour(here: &str) -> Result<String, ReportError> {
    let title = "Another site sent you here";
    let problem = "What is asked of this ledger is asked by those who may read it, and by no page of another site.";
    rendered(render("plain.html", context! { title => title, problem => problem, here => here }))
}

/// The form above the whole report; `value` tells what was given before.
pub(super) fn whole_form(
    model: &Report,
    sources: &[String],
    value: impl Fn(&str) -> String,
) -> Form {
    let mut parameters = model.parameters.clone();
    for parameter in parameters.iter_mut().filter(|parameter| parameter.name == "from") {
        parameter.default = Some(Asking::FROM.to_owned());
    }
    Form::new("/".to_owned(), parameters.iter(), sources, value)
}
