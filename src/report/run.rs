//! Runs a report: one read-only transaction, values bound, rows handed on as they come.

use std::io;
use std::time::Duration;

use chrono_tz::Tz;
use futures_util::TryStreamExt;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgArguments, PgDatabaseError, PgErrorPosition};
use sqlx::query::Query;
use sqlx::{
    AssertSqlSafe, Column as _, Connection, Executor, PgConnection, PgPool, Postgres, SqlSafeStr,
    Statement, Transaction,
};

use super::catalogue::Report;
use super::error::ReportError;
use super::header::{Chart, ColumnDoc, Kind};
use super::params::{self, Instants, Values};
use super::period::{Stretch, stretches};
use super::sampling::{Sampling, read_sampling};
use super::value::{Cell, Column, Reading, unique_names};

/// Long enough for a year of a large fleet, short enough that a forgotten report does not hold the ledger's vacuum up.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// What stands above the rows.
#[derive(Debug, Clone)]
pub struct Head {
    /// The report's name.
    pub report: String,
    /// The report's title.
    pub title: String,
    /// What it answers, for whom, and when not to trust it; lines as its author wrote them.
    pub description: String,
    /// What each column means, in a phrase, as far as the report says so.
    pub definitions: Vec<ColumnDoc>,
    /// How it is drawn.
    pub chart: Option<Chart>,
    /// What was asked for: parameter and value, in the header's order, instants as the ledger read them.
    pub asked: Vec<(String, Asked)>,
    /// What else is looked at, or instead of `from` and `to`, and is given by no instant of these.
    pub stretches: Vec<Stretch>,
    /// In which people read the instants.
    pub time_zone: Tz,
    /// How often each source that it speaks of was visited, by name; empty where the role may not know.
    pub sampling: Vec<Sampling>,
}

/// A parameter's value, for people.
#[derive(Debug, Clone)]
pub enum Asked {
    /// What `-7d` came out as.
    Instant(chrono::DateTime<chrono::Utc>),
    /// As given.
    Text(String),
}

/// Takes a result, row by row.
pub trait Sink: Send {
    /// Comes once, first, also where no row follows.
    ///
    /// # Errors
    /// The output cannot be written.
    fn begin(&mut self, head: &Head, columns: &[Column]) -> io::Result<()>;

    /// One row, a cell for each column.
    ///
    /// # Errors
    /// The output cannot be written.
    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()>;

    /// Comes once, last, unless something failed.
    ///
    /// # Errors
    /// The output cannot be written.
    fn end(&mut self) -> io::Result<()>;
}

/// Keeps a whole result in memory.
#[derive(Debug, Clone, Default)]
pub struct Collected {
    /// In the statement's order.
    pub columns: Vec<Column>,
    /// In the statement's order.
    pub rows: Vec<Vec<Cell>>,
}

impl Sink for Collected {
    fn begin(&mut self, _: &Head, columns: &[Column]) -> io::Result<()> {
        self.columns = columns.to_vec();
        Ok(())
    }

    fn row(&mut self, cells: Vec<Cell>) -> io::Result<()> {
        self.rows.push(cells);
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Runs a report and hands its rows on, in constant memory.
///
/// # Errors
/// A value that the ledger refuses, a statement that fails or takes longer than `timeout`, a sink that cannot write.
pub async fn run(
    pool: &PgPool,
    report: &Report,
    values: &Values,
    timeout: Duration,
    sink: &mut dyn Sink,
) -> Result<(), ReportError> {
    let failed = |source| ReportError::Database { report: report.name.clone(), source };
    let mut lent = Lent(Some(pool.acquire().await.map_err(failed)?));
    let Some(connection) = lent.0.as_mut() else { return Err(failed(sqlx::Error::PoolClosed)) };
    run_on(connection, report, values, timeout, sink).await?;
    drop(lent.0.take());
    Ok(())
}

/// A connection that goes back to its pool when it is taken out of here, and is closed otherwise: after a failure, and where
/// whoever asked has gone. Rows may still be on their way, perhaps a million of them, that nobody will read; or the
/// statement is still running, and a closed connection is what tells the server to end it.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

/// Makes every check of the values that comes before the statement.
///
/// # Errors
/// A value that the ledger refuses, or the database failed.
pub(super) async fn check(
    pool: &PgPool,
    report: &Report,
    values: &Values,
    timeout: Duration,
) -> Result<(), ReportError> {
    let failed = |source| ReportError::Database { report: report.name.clone(), source };
    let mut lent = Lent(Some(pool.acquire().await.map_err(failed)?));
    let Some(connection) = lent.0.as_mut() else { return Err(failed(sqlx::Error::PoolClosed)) };
    let mut transaction = begun(connection, report, timeout).await?;
    let instants = params::evaluate(&mut transaction, report, values).await?;
    stretches(&mut transaction, report, values, &instants).await?;
    transaction.rollback().await.map_err(failed)?;
    drop(lent.0.take());
    Ok(())
}

/// The transaction that a report runs in.
async fn begun<'c>(
    connection: &'c mut PgConnection,
    report: &Report,
    timeout: Duration,
) -> Result<Transaction<'c, Postgres>, ReportError> {
    let failed = |source| explain(report, timeout, source);
    // One snapshot for the checks and the statement. Read only whatever role it is: users' files run here too.
    // Compiling a plan of a report takes longer than running it; and what a month is sorted and grouped in fits memory.
    let mut transaction = connection
        .begin_with("begin isolation level repeatable read, read only")
        .await
        .map_err(failed)?;
    sqlx::query(
        "select set_config('statement_timeout', $1, true), set_config('TimeZone', 'UTC', true), \
         set_config('DateStyle', 'ISO, YMD', true), set_config('jit', 'off', true), \
         set_config('work_mem', '64MB', true)",
    )
    .bind(format!("{}ms", timeout.as_millis()))
    .execute(&mut *transaction)
    .await
    .map_err(failed)?;
    Ok(transaction)
}

async fn run_on(
    connection: &mut PgConnection,
    report: &Report,
    values: &Values,
    timeout: Duration,
    sink: &mut dyn Sink,
) -> Result<(), ReportError> {
    let failed = |source| explain(report, timeout, source);
    let mut transaction = begun(connection, report, timeout).await?;
    let instants = params::evaluate(&mut transaction, report, values).await?;
    let stretches = stretches(&mut transaction, report, values, &instants).await?;
    let sampling = read_sampling(&mut transaction, report, values, &instants, &stretches).await?;
    let statement = transaction
        .prepare(AssertSqlSafe(report.sql.clone()).into_sql_str())
        .await
        .map_err(failed)?;
    let names = unique_names(statement.columns().iter().map(|column| column.name()));
    let readings: Vec<Reading> =
        statement.columns().iter().map(|column| Reading::of(column.type_info())).collect();
    let columns: Vec<Column> = names
        .into_iter()
        .zip(&readings)
        .map(|(name, reading)| Column { name, kind: reading.kind })
        .collect();
    let sql = with_casts(&report.sql, &readings);

    let unwritable = |source| ReportError::Output { target: "the result".to_owned(), source };
    let mut rows = bind(report, values, &sql).fetch(&mut *transaction);
    // The statement fails before the first line is written, or not at all if it is well.
    let mut next = rows.try_next().await.map_err(failed)?;
    sink.begin(&head(report, values, &instants, stretches, sampling), &columns)
        .map_err(unwritable)?;
    while let Some(row) = next {
        let cells: sqlx::Result<Vec<Cell>> =
            readings.iter().enumerate().map(|(at, reading)| reading.read(&row, at)).collect();
        sink.row(cells.map_err(failed)?).map_err(unwritable)?;
        next = rows.try_next().await.map_err(failed)?;
    }
    drop(rows);
    sink.end().map_err(unwritable)?;
    transaction.rollback().await.map_err(failed)
}

/// The columns of a report, by name and PostgreSQL type, without running it.
///
/// # Errors
/// The statement is wrong, or the database failed.
pub async fn describe(
    connection: &mut PgConnection,
    report: &Report,
) -> Result<Vec<(String, String)>, ReportError> {
    let statement = connection
        .prepare(AssertSqlSafe(report.sql.clone()).into_sql_str())
        .await
        .map_err(|source| explain(report, DEFAULT_TIMEOUT, source))?;
    let describe = |column: &sqlx::postgres::PgColumn| {
        (column.name().to_owned(), column.type_info().to_string())
    };
    Ok(statement.columns().iter().map(describe).collect())
}

fn bind<'q>(report: &Report, values: &'q Values, sql: &str) -> Query<'q, Postgres, PgArguments> {
    let query = sqlx::query(AssertSqlSafe(sql.to_owned()));
    report.bound.iter().fold(query, |query, name| query.bind(values.get(name)))
}

/// The statement as it is, or around it one that turns into text what has no form of its own here. The order of the
/// rows survives: a subquery with `order by` is not taken apart.
fn with_casts(sql: &str, readings: &[Reading]) -> String {
    if readings.iter().all(|reading| reading.cast.is_none()) {
        return sql.to_owned();
    }
    let names: Vec<String> = (1..=readings.len()).map(|at| format!("c{at}")).collect();
    let casts: Vec<String> = names
        .iter()
        .zip(readings)
        .map(|(name, reading)| match reading.cast {
            Some(cast) => format!("{name}::{cast}"),
            None => name.clone(),
        })
        .collect();
    // The line breaks keep a comment at the end of the file from swallowing the bracket.
    format!("select {} from (\n{sql}\n) as report ({})", casts.join(", "), names.join(", "))
}

fn head(
    report: &Report,
    values: &Values,
    instants: &Instants,
    stretches: Vec<Stretch>,
    sampling: Vec<Sampling>,
) -> Head {
    let asked = report.parameters.iter().filter(|parameter| parameter.kind != Kind::TimeZone);
    let asked = asked.filter_map(|parameter| {
        let asked = match instants.get(&parameter.name) {
            Some(instant) => Asked::Instant(*instant),
            None => Asked::Text(values.get(&parameter.name)?.to_owned()),
        };
        Some((parameter.name.clone(), asked))
    });
    Head {
        report: report.name.clone(),
        title: report.title.clone(),
        description: report.description.clone(),
        definitions: report.columns.clone(),
        chart: report.chart.clone(),
        asked: asked.collect(),
        stretches,
        time_zone: values.time_zone(report),
        sampling,
    }
}

/// Sorts a failure of the statement: a value refused, too slow, a mistake in the user's own file, or the database.
pub(super) fn explain(report: &Report, timeout: Duration, source: sqlx::Error) -> ReportError {
    if let Some(message) = params::refusal(&source) {
        return ReportError::Refused(message);
    }
    let database =
        source.as_database_error().and_then(|error| error.try_downcast_ref::<PgDatabaseError>());
    if let Some(error) = database {
        let code = error.code();
        if code == "57014" && error.message().contains("statement timeout") {
            return ReportError::Timeout(timeout);
        }
        // Numeric value, instant or interval out of range: of what deskledger brings along, the values given are to blame.
        if !report.is_own && ["22003", "22008", "22015"].contains(&code) {
            return ReportError::Refused(format!(
                "a value is beyond what can be worked out ({})",
                error.message()
            ));
        }
        // Wrong SQL, wrong values, or an attempt to write.
        let is_in_the_file =
            ["42", "22", "25006", "0A000"].iter().any(|class| code.starts_with(class));
        if report.is_own && is_in_the_file {
            let line = match error.position() {
                Some(PgErrorPosition::Original(at)) => {
                    let before = report.sql.chars().take(at.saturating_sub(1));
                    format!("line {}: ", before.filter(|c| *c == '\n').count() + 1)
                }
                _ => String::new(),
            };
            return ReportError::Defect {
                report: report.name.clone(),
                path: report.path.clone(),
                problem: format!("{line}{}", error.message()),
            };
        }
    }
    ReportError::Database { report: report.name.clone(), source }
}
