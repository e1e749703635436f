//! From when to when a report looks where nobody gave that as `from` and `to`: it stands in the heading all the same.

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;

use super::catalogue::Report;
use super::error::ReportError;
use super::params::{Instants, Values, in_order};
use super::run::{DEFAULT_TIMEOUT, explain};

/// A stretch of time that a report looks at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// What it is beside the period; `None`: it is the period.
    pub role: Option<&'static str>,
    /// Its start.
    pub from: DateTime<Utc>,
    /// Its end, not included.
    pub to: DateTime<Utc>,
}

/// The stretches of a report that is part of the program: the other period of one that has `other_from` and `other_to`, and
/// what the last `days` are of one that has no `from`. What such names mean in a file of the user's own is not known.
pub(super) async fn stretches(
    connection: &mut PgConnection,
    report: &Report,
    values: &Values,
    instants: &Instants,
) -> Result<Vec<Stretch>, ReportError> {
    let mut stretches = Vec::new();
    if report.is_own {
        return Ok(stretches);
    }
    let at = |name: &str| instants.get(name).copied();
    if let Some((from, to)) = at("from").zip(at("to"))
        && report.parameter("other_from").is_some()
    {
        let (from, to) = other_period((from, to), at("other_from"), at("other_to"));
        in_order(["other_from", "other_to"], from, to)?;
        stretches.push(Stretch { role: Some("compared with"), from, to });
    }
    if let Some(days) = values.get("days")
        && report.parameter("from").is_none()
    {
        // As the statement has it, in the same transaction: so that it is the same `now`.
        let asked = "select now() - make_interval(secs => (86400 * $1::text::numeric)::double precision), now()";
        let failed = |source| explain(report, DEFAULT_TIMEOUT, source);
        let (from, to) =
            sqlx::query_as(asked).bind(days).fetch_one(connection).await.map_err(failed)?;
        stretches.push(Stretch { role: None, from, to });
    }
    Ok(stretches)
}

/// What a period is compared with, as `comparison.sql` has it: as long as the period where one end is missing.
fn other_period(
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    other_from: Option<DateTime<Utc>>,
    other_to: Option<DateTime<Utc>>,
) -> (DateTime<Utc>, DateTime<Utc>) {
    let lasting: TimeDelta = to - from;
    let start = other_from.or(other_to.map(|to| to - lasting)).unwrap_or(from - lasting);
    let end = other_to.or(other_from.map(|from| from + lasting)).unwrap_or(from);
    (start, end)
}
