//! How long every report of the catalogue takes, whichever those are, and all of them on one page.

use std::ffi::OsStr;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta};
use deskledger::report::catalogue::{Catalogue, Report};
use deskledger::report::header::Kind;
use deskledger::report::params::Values;
use deskledger::report::{Collected, run};

use super::figures::{Figures, median_and_max, millis};
use super::server::{Ledger, Server};
use super::{Asked, Outcome, process, workload};

/// A report is run so often, or until it has had so long.
const TIMES: usize = 5;
const BUDGET: Duration = Duration::from_secs(5);

/// What is asked of one report, beside the period.
type Given = Vec<(&'static str, String)>;

/// Whom and when reports are asked about.
struct Subject {
    from: DateTime<chrono::Utc>,
    to: DateTime<chrono::Utc>,
    desktop: String,
    user: String,
}

impl Subject {
    async fn of(ledger: &Ledger, days: u32) -> Outcome<Self> {
        let desktop =
            "select desktop_id from deskledger_data.desktop order by desktop_no limit 1 offset 77";
        let user = "select name from deskledger_data.person where type = 'USER' order by person_no limit 1 offset 77";
        Ok(Self {
            from: workload::start(),
            to: workload::start() + TimeDelta::days(days.into()),
            desktop: sqlx::query_scalar(desktop).fetch_one(ledger.store.pool()).await?,
            user: sqlx::query_scalar(user).fetch_one(ledger.store.pool()).await?,
        })
    }

    /// Four in the afternoon of the fleet's, so many days in.
    fn working_hours(&self, days: TimeDelta) -> String {
        (self.from + TimeDelta::days(days.num_days()) + TimeDelta::hours(8)).to_rfc3339()
    }

    /// The ways in which a report is asked: a key, and what is given.
    fn ways(&self, report: &Report) -> Vec<(String, Given)> {
        let has = |name: &str| report.parameter(name).is_some();
        let name = &report.name;
        let (half, whole) = ((self.to - self.from) / 2, self.to - self.from);
        if has("at") {
            let middle = ("at", self.working_hours(half));
            let end = ("at", self.working_hours(whole - TimeDelta::days(1)));
            return vec![
                (format!("{name}_middle"), vec![middle]),
                (format!("{name}_end"), vec![end]),
            ];
        }
        let mut given: Given = Vec::new();
        for (parameter, value) in [("desktop", &self.desktop), ("user", &self.user)] {
            if report.parameter(parameter).is_some_and(|known| known.default.is_none()) {
                given.push((parameter, value.clone()));
            }
        }
        // Compared is the second half with the first.
        let from = if has("other_from") { self.from + half } else { self.from };
        if has("from") {
            given.extend([("from", from.to_rfc3339()), ("to", self.to.to_rfc3339())]);
        }
        let buckets = report.parameters.iter().find(|known| known.kind == Kind::Bucket);
        match buckets {
            None => vec![(name.clone(), given)],
            Some(_) => ["hour", "day", "all"]
                .map(|bucket| {
                    let way = [&given[..], &[("bucket", bucket.to_owned())]].concat();
                    (format!("{name}_by_{bucket}"), way)
                })
                .to_vec(),
        }
    }
}

/// The first report after an import: no table has been analysed.
pub async fn before_vacuum(
    ledger: &Ledger,
    asked: &Asked,
    days: u32,
    figures: &mut Figures,
) -> Outcome {
    let subject = Subject::of(ledger, days).await?;
    let report = Catalogue::built_in().take("utilisation")?;
    let Some((_, given)) = subject.ways(&report).into_iter().find(|(key, _)| key.ends_with("_day"))
    else {
        return Ok(());
    };
    let what = "utilisation by day, before any vacuum";
    match time(ledger, &report, given, asked).await {
        Ok((took, _)) => figures.note("report_before_vacuum_ms", what, took, "ms"),
        Err(error) => figures.failed("report_before_vacuum_ms", what, &*error),
    }
    Ok(())
}

pub async fn measure(
    server: &Server,
    ledger: &Ledger,
    asked: &Asked,
    days: u32,
    figures: &mut Figures,
) -> Outcome {
    let subject = Subject::of(ledger, days).await?;
    let catalogue = Catalogue::built_in();
    for report in catalogue.reports() {
        for (way, given) in subject.ways(report) {
            let (key, what) = (format!("report_{way}_ms"), way.replace('_', " "));
            match time(ledger, report, given, asked).await {
                Ok((took, rows)) => {
                    match target(&way, days) {
                        Some(target) => figures.below(&key, &what, took, "ms", target),
                        None => figures.note(&key, &what, took, "ms"),
                    }
                    figures.remember(&format!("report_{way}_rows"), rows.into());
                }
                Err(error) => figures.failed(&key, &what, &*error),
            }
        }
    }
    page(server, ledger, &subject, asked, figures).await
}

/// What the largest fleets' owners may expect, in milliseconds.
fn target(way: &str, days: u32) -> Option<f64> {
    match way {
        _ if way.starts_with("utilisation_by_") || way.starts_with("disconnects_by_") => {
            Some(if days <= 90 { 300.0 } else { 1_000.0 })
        }
        _ if way.starts_with("connected-at_") => Some(500.0),
        "desktop-history" | "user-history" => Some(50.0),
        _ => None,
    }
}

/// Milliseconds until the last row is there, the median, and how many rows there are.
async fn time(
    ledger: &Ledger,
    report: &Report,
    given: Given,
    asked: &Asked,
) -> Outcome<(f64, usize)> {
    let values = Values::new(report, given)?;
    let patience = Duration::from_secs(asked.timeout);
    let (mut took, mut rows, begun) = (Vec::new(), 0, Instant::now());
    while took.is_empty() || took.len() < TIMES && begun.elapsed() < BUDGET {
        let mut sink = Collected::default();
        let begun = Instant::now();
        run(ledger.store.pool(), report, &values, patience, &mut sink).await?;
        took.push(millis(begun.elapsed()));
        rows = sink.rows.len();
    }
    Ok((median_and_max(took).0, rows))
}

/// By the program itself; the reports on it are given up together with it.
async fn page(
    server: &Server,
    ledger: &Ledger,
    subject: &Subject,
    asked: &Asked,
    figures: &mut Figures,
) -> Outcome {
    let file = server.folder().join("all.html");
    let timeout = format!("{}s", asked.timeout);
    let (from, to) = (subject.from.to_rfc3339(), subject.to.to_rfc3339());
    let words = ["report", "--all", "--format", "html", "--timeout", &timeout, "--output"];
    let period = ["--from", &from, "--to", &to].map(OsStr::new);
    let words = [&words.map(OsStr::new)[..], &[file.as_os_str()], &period].concat();
    let what = "`report --all --format html`";
    match process::run(&words, &ledger.url).await {
        Ok(run) => {
            figures.note("report_all_ms", what, millis(run.took), "ms");
            let memory = run.memory / 1e6;
            figures.note("report_all_memory", &format!("{what}: memory, most"), memory, "MB");
            let bytes = std::fs::metadata(&file)?.len() as f64;
            figures.note("report_all_bytes", &format!("{what}: the page"), bytes / 1e6, "MB");
            // What it says instead of a report that was given up.
            std::fs::remove_file(&file)?;
        }
        Err(error) => figures.failed("report_all_ms", what, &*error),
    }
    Ok(())
}
