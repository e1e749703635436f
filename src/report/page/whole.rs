//! The whole report: every question of the plan, answered for one period.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use minijinja::context;
use serde::Serialize;
use sqlx::PgPool;

use super::draw::Mark;
use super::headline::cards;
use super::live::{Given, whole_form};
use super::plan::{PLACES, Place};
use super::section::{self, MOST_ROWS, Section, Shown};
use super::sql::{self, Source};
use super::template::{render, shown};
use crate::domain::{ALL_SOURCES_AS_ONE as ALL, harmless, parse_duration};
use crate::report::catalogue::{Catalogue, Report};
use crate::report::error::ReportError;
use crate::report::header::{Chart, Kind, read_chart_lines};
use crate::report::params::{Values, unknown_parameter};
use crate::report::render::heading::{instant, looked_at, sampled, subtitle};
use crate::report::run::{Collected, Head, Sink, run};
use crate::report::value::{Cell, Column};

/// What the whole report is asked for; every field is a parameter of the reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asking {
    /// Start of the period; empty: 30 days before now.
    pub from: String,
    /// End of the period; empty: now.
    pub to: String,
    /// Time zone; empty: UTC.
    pub tz: String,
    /// One source; empty: all.
    pub source: String,
    /// Of what is told over time; empty: hours of a few days, days of a few months, weeks of more.
    pub bucket: String,
}

impl Asking {
    /// Where the period begins unless told otherwise.
    pub(super) const FROM: &str = "-30d";

    /// From what a browser gave, by the parameters of the page's form.
    ///
    /// # Errors
    /// A name that the form does not have, or one that comes twice.
    pub(super) fn of(form: &Report, given: &Given) -> Result<Self, ReportError> {
        let mut asking = Self::default();
        for (at, (name, value)) in given.iter().enumerate() {
            let field = match name.as_str() {
                "from" => &mut asking.from,
                "to" => &mut asking.to,
                "tz" => &mut asking.tz,
                "source" => &mut asking.source,
                "bucket" => &mut asking.bucket,
                _ => return Err(unknown_parameter(form, name, &[])),
            };
            if given[..at].iter().any(|(known, _)| known == name) {
                return Err(ReportError::GivenTwice(name.clone()));
            }
            field.clone_from(value);
        }
        Ok(asking)
    }

    fn value(&self, name: &str) -> String {
        let value = match name {
            "from" => &self.from,
            "to" => &self.to,
            "tz" => &self.tz,
            "source" => &self.source,
            _ => &self.bucket,
        };
        value.clone()
    }

    fn or<'a>(given: &'a str, default: &'a str) -> &'a str {
        if given.is_empty() { default } else { given }
    }

    /// The source as a report takes it: one that does not know all sources as one speaks of each of them.
    fn source_for(&self, report: &Report) -> String {
        let takes_all = report.parameter("source").is_some_and(|source| source.kind == Kind::Fleet);
        if self.source == ALL && !takes_all { String::new() } else { self.source.clone() }
    }

    /// The parameters that a report has of these.
    fn values(&self, report: &Report, more: &[(&str, String)]) -> Result<Values, ReportError> {
        let own = [
            ("from", Self::or(&self.from, Self::FROM).to_owned()),
            ("to", Self::or(&self.to, "now").to_owned()),
            ("tz", Self::or(&self.tz, "UTC").to_owned()),
            ("source", self.source_for(report)),
        ];
        let is_own = |name: &str| more.iter().any(|(known, _)| *known == name);
        let given = own.into_iter().filter(|(name, _)| !is_own(name)).chain(more.iter().cloned());
        Values::new(report, given.filter(|(name, _)| report.parameter(name).is_some()))
    }
}

/// Told in place of what does not fit a page.
pub(super) const TOO_LARGE: &str =
    "the result is too large for a page; ask for less, or take it as a file";

/// Told in place of what the login may not read.
const DENIED: &str =
    "the database login may not read the names of desktops and persons that this one shows";
/// Told in its place where that is what was asked for.
const WITHOUT_NAMES: &str =
    "it names desktops and persons, and the page was asked for without names";

/// Where the page will be read.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Style {
    /// In a browser that can ask again: a form, and links to each figure's SQL. Else in a file.
    pub is_live: bool,
    /// For the form to choose from.
    pub sources: Vec<String>,
}

/// A result that takes more bytes of memory than this is for a file, which is written as it comes.
const LARGEST: usize = 32 << 20;

/// A result with the head it came with.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub head: Option<Head>,
    pub rows: Collected,
    /// About how much memory the rows take.
    size: usize,
}

impl Sink for Answer {
    fn begin(&mut self, head: &Head, columns: &[Column]) -> std::io::Result<()> {
        self.head = Some(head.clone());
        self.rows.begin(head, columns)
    }

    fn row(&mut self, cells: Vec<Cell>) -> std::io::Result<()> {
        self.size += cells.iter().map(Cell::size).sum::<usize>();
        if self.size > LARGEST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.rows.row(cells)
    }

    fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The whole report as one HTML file.
#[derive(Debug)]
pub struct Page<'a> {
    /// The ledger.
    pub pool: &'a PgPool,
    /// Where the reports are taken from.
    pub catalogue: &'a Catalogue,
    /// Of each report.
    pub timeout: Duration,
    /// What the clock says.
    pub now: DateTime<Utc>,
    /// Names were asked to be left out: the pool has a planner's rights.
    pub is_without_names: bool,
    /// How many reports are asked at once; each may keep a core of the database busy.
    pub at_once: usize,
}

impl Page<'_> {
    async fn answer(&self, report: &Report, values: &Values) -> Result<Answer, ReportError> {
        let mut answer = Answer::default();
        run(self.pool, report, values, self.timeout, &mut answer).await?;
        Ok(answer)
    }

    /// Answers everything that is asked.
    ///
    /// # Errors
    /// What is asked is wrong, or the database failed. A report that takes longer than the
    /// timeout is told in its place.
    pub async fn html(&self, asking: &Asking, style: &Style) -> Result<String, ReportError> {
        let all = || [("bucket", "all".to_owned())];
        let first = self.catalogue.get("utilisation")?;
        let overview = self.answer(first, &asking.values(first, &all())?).await?;
        let Some(head) = overview.head else { return Ok(String::new()) };
        let asked = Head {
            asked: head.asked.iter().filter(|(name, _)| name != "bucket").cloned().collect(),
            ..head.clone()
        };
        let (from, to) = instant(&head, "from").zip(instant(&head, "to")).unwrap_or_default();
        // So that every report means the same moment by `now`.
        let rfc3339 = |at: DateTime<Utc>| at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
        let fixed = Asking { from: rfc3339(from), to: rfc3339(to), ..asking.clone() };
        let bucket = Asking::or(&asking.bucket, usual_bucket(to - from)).to_owned();

        let overview = Answer { head: Some(head.clone()), ..overview };
        let mut totals = vec![("utilisation", overview)];
        let mut results: Vec<(&str, Answer)> = Vec::new();
        let mut failed: Vec<(&str, String)> = Vec::new();
        let disconnects = self.catalogue.get("disconnects")?;
        let mut questions = vec![(None, disconnects, fixed.values(disconnects, &all())?)];
        for place in PLACES {
            let report = self.catalogue.get(place.report)?;
            let more = place_values(place, report, &bucket, self.now - from, to);
            questions.push((Some(place.report), report, fixed.values(report, &more)?));
        }
        let answer = async |(place, report, values): (Option<&'static str>, &Report, Values)| {
            Ok::<_, ReportError>((place, self.in_time(report, &values).await?))
        };
        let asked_all: Vec<_> = questions.into_iter().map(answer).collect();
        let mut answers = stream::iter(asked_all).buffered(self.at_once);
        while let Some((place, answer)) = answers.try_next().await? {
            match (place, answer) {
                (Some(name), Ok(answer)) => results.push((name, answer)),
                (Some(name), Err(problem)) => failed.push((name, problem)),
                (None, Ok(answer)) => totals.push(("disconnects", answer)),
                (None, Err(_)) => {}
            }
        }
        if let Some((_, answer)) = results.iter().find(|(name, _)| *name == "concurrency") {
            totals.push(("concurrency", answer.clone()));
        }

        let period = (looked_at(&head, head.time_zone), head.time_zone);
        let sections: Vec<Section> = PLACES
            .iter()
            .filter_map(|place| {
                if let Some((_, problem)) = failed.iter().find(|(name, _)| *name == place.report) {
                    let title = self.catalogue.get(place.report).ok()?.title.clone();
                    return Some(Section::failed(place.report, &title, place.about, problem));
                }
                section(place, &results, (&period.0, period.1), style)
            })
            .collect();
        let sources = sources_of(&totals[0].1.rows);
        let mut headline = match sources.iter().find(|name| *name == ALL).or(sources.first()) {
            Some(source) => cards(source, |name| {
                totals.iter().find(|(known, _)| *known == name).map(|(_, rows)| rows)
            }),
            None => Vec::new(),
        };
        for card in &mut headline {
            let (report, column) = card.of;
            let head = totals.iter().find(|(name, _)| *name == report);
            let given = head.and_then(|(_, answer)| answer.head.as_ref()).map(section::asked);
            let given = given.unwrap_or_default();
            card.sql = Some(sql::link(report, &given, Some(column), style.is_live));
        }
        let shown_sql = if style.is_live { Vec::new() } else { self.sources(&results)? };
        let is_fleet = sources.iter().any(|name| name == ALL);
        render(
            "page.html",
            context! {
                title => page_title(&sources),
                period => subtitle(&asked),
                sampled => sampled(&head),
                headline => shown(headline),
                of_all => is_fleet,
                sections => shown(sections),
                sql => shown(shown_sql),
                style_of => shown(style),
                form => shown(whole_form(first, &style.sources, |name| asking.value(name))),
                written => self.now.to_rfc3339_opts(SecondsFormat::Secs, true),
            },
        )
        .map_err(|source| ReportError::Output { target: "the page".to_owned(), source })
    }

    /// The SQL of what is shown, for a page that has to bring it along.
    fn sources(&self, results: &[(&str, Answer)]) -> Result<Vec<Source>, ReportError> {
        let source = |(name, answer): &(&str, Answer)| {
            let given = answer.head.as_ref().map(section::asked).unwrap_or_default();
            Ok(Source::new(self.catalogue.get(name)?, &given))
        };
        results.iter().map(source).collect()
    }

    /// A report's answer, or why there is none in time.
    async fn in_time(
        &self,
        report: &Report,
        values: &Values,
    ) -> Result<Result<Answer, String>, ReportError> {
        match self.answer(report, values).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(error @ ReportError::Timeout(_)) => Ok(Err(error.to_string())),
            Err(error) if error.is_too_large() => Ok(Err(TOO_LARGE.to_owned())),
            Err(error) if error.is_denied() => {
                let why = if self.is_without_names { WITHOUT_NAMES } else { DENIED };
                Ok(Err(why.to_owned()))
            }
            Err(error) => Err(error),
        }
    }
}

fn usual_bucket(period: TimeDelta) -> &'static str {
    match period.num_hours() {
        ..=170 => "hour",
        171..=2_400 => "day",
        _ => "week",
    }
}

fn place_values(
    place: &Place,
    report: &Report,
    bucket: &str,
    age: TimeDelta,
    to: DateTime<Utc>,
) -> Vec<(&'static str, String)> {
    let mut values = vec![("bucket", bucket.to_owned())];
    if report.parameter("days").is_some() {
        // It looks back from now, as far as the period does.
        #[expect(clippy::cast_precision_loss, reason = "seconds of a few years")]
        let days = age.num_seconds() as f64 / 86_400.0;
        values.push(("days", format!("{:.2}", days.max(0.01))));
    }
    if report.parameter("horizon_days").is_some()
        && let Some(own) = report.parameter("from").and_then(|from| from.default.clone())
    {
        // How much it learns from is its own affair, but it ends with the period: else nothing would be before a period that
        // is long over.
        let reach = own.strip_prefix('-').and_then(|reach| parse_duration(reach).ok());
        let since = reach.and_then(|reach| to.checked_sub_signed(reach));
        let since = since.map(|since| since.to_rfc3339_opts(SecondsFormat::AutoSi, true));
        values.push(("from", since.unwrap_or(own)));
    }
    for (name, value) in place.values {
        values.retain(|(known, _)| known != name);
        values.push((*name, (*value).to_owned()));
    }
    values
}

/// `period` is what the page says of itself, and in which time zone.
fn section(
    place: &Place,
    results: &[(&str, Answer)],
    (period, tz): (&str, Tz),
    style: &Style,
) -> Option<Section> {
    let find =
        |name: &str| results.iter().find(|(known, _)| *known == name).map(|(_, answer)| answer);
    let answer = find(place.report)?;
    let marks: Vec<Mark> = place
        .marks
        .and_then(|(report, column)| Some((find(report)?, column)))
        .map(|(answer, column)| {
            let at = answer.rows.columns.iter().position(|known| known.name == column);
            let cells = answer.rows.rows.iter().filter_map(|row| Some(&row[at?]));
            cells
                .filter_map(
                    |cell| if let Cell::Instant(at) = cell { Some(Mark(*at)) } else { None },
                )
                .collect()
        })
        .unwrap_or_default();
    let chart: Option<Chart> = place.chart.and_then(|lines| read_chart_lines(lines).ok());
    let shown = Shown {
        name: place.report,
        about: place.about,
        head: answer.head.as_ref()?,
        columns: &answer.rows.columns,
        rows: &answer.rows.rows,
        chart: chart.as_ref(),
        marks: &marks,
        most_rows: MOST_ROWS,
        tz,
    };
    let mut section = shown.section();
    let looked_at = looked_at(shown.head, tz);
    section.looked_at = Some(looked_at).filter(|text| !text.is_empty() && text != period);
    section.sql =
        Some(sql::link(place.report, &section::asked(answer.head.as_ref()?), None, style.is_live));
    Some(section)
}

fn sources_of(overview: &Collected) -> Vec<String> {
    let at = overview.columns.iter().position(|column| column.name == "source");
    let cells = overview.rows.iter().filter_map(|row| Some(&row[at?]));
    cells
        .filter_map(|cell| if let Cell::Text(name) = cell { Some(name.clone()) } else { None })
        .collect()
}

fn page_title(sources: &[String]) -> String {
    match sources.iter().filter(|name| *name != ALL).collect::<Vec<_>>()[..] {
        [one] => format!("Virtual desktops of {}", harmless(one)),
        _ => "Virtual desktops".to_owned(),
    }
}
