//! How often the sources of a report were visited: every figure is only as fine as that.

use chrono::{DateTime, Utc};
use sqlx::{Connection, PgConnection, PgPool};

use super::catalogue::Report;
use super::error::ReportError;
use super::params::{Instants, Values};
use super::period::Stretch;

/// How often one source was visited, by the end of a report's period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sampling {
    /// Its name.
    pub source: String,
    /// The usual time from one visit to the next, in microseconds: half of the newest ones took no longer. `None`
    /// where there were no two.
    pub interval: Option<i64>,
    /// How far apart two visits may be with nothing unobserved between them, in microseconds, by the newest visit.
    /// `None` where there was none.
    pub max_gap: Option<i64>,
    /// What is kept of the spans, where the report looks at what is pruned.
    pub detail: Option<Kept>,
    /// The same of the counts of desktops, of which the oldest are pruned first.
    pub counts_from: Option<DateTime<Utc>>,
}

/// What is kept of data of which months are pruned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// From here on everything is.
    pub from: DateTime<Utc>,
    /// What is kept between and before the pruned months: held, or brought back.
    pub earlier: Vec<(DateTime<Utc>, DateTime<Utc>)>,
}

#[derive(sqlx::FromRow)]
struct Row {
    source: String,
    usual: Option<i64>,
    max_gap: Option<i64>,
    detail_from: Option<DateTime<Utc>>,
    kept_from: Vec<DateTime<Utc>>,
    kept_to: Vec<DateTime<Utc>>,
    counts_from: Option<DateTime<Utc>>,
}

/// Enough to outlast a bad night, few enough to be read in a millisecond.
const NEWEST: i64 = 500;

/// Reads it for the sources that a report speaks of: those it was asked for, else all.
pub(super) async fn read_sampling(
    connection: &mut PgConnection,
    report: &Report,
    values: &Values,
    instants: &Instants,
    stretches: &[Stretch],
) -> Result<Vec<Sampling>, ReportError> {
    let failed = |source| ReportError::Database { report: report.name.clone(), source };
    let asked: Vec<&str> = values.sources(report).collect();
    let mut savepoint = connection.begin().await.map_err(failed)?;
    let read: Result<Vec<Row>, _> = sqlx::query_as(
        "-- report::sampling::read_sampling
         select s.source, v.usual, v.max_gap, p.detail_from, k.kept_from, k.kept_to, p.counts_from
           from deskledger_report.source s
          cross join lateral (
                select percentile_disc(0.5) within group (order by deskledger_report.micros(observed_at - before)),
                       (array_agg(max_gap order by observed_at desc))[1]::bigint * 1000000
                  from (select observed_at, max_gap, lag(observed_at) over (order by observed_at) as before
                          from (select observed_at, max_gap
                                  from (select observed_at, max_gap
                                          from deskledger_report.visit_row
                                         where source_id = s.source_id and observed_at <= coalesce($1, now())
                                         union all
                                        select observed_at, max_gap
                                          from deskledger_report.day_visit
                                         where source_id = s.source_id and observed_at <= coalesce($1, now())
                                           and day_from in (select day_from
                                                              from deskledger_report.visit_day
                                                             where source_id = s.source_id and day_from <= coalesce($1, now())
                                                             order by day_from desc
                                                             limit 2)) visit
                                 order by observed_at desc
                                 limit $2) newest) visit) v (usual, max_gap)
          cross join lateral (
                select max(month_to) filter (where class = 'spans' and is_asked) as detail_from,
                       max(month_to) filter (where class = 'rollups' and is_asked) as counts_from
                  from (select class, month_to,
                               bool_or(month_to > $4 and (month_from < coalesce($1, now()) or month_from = $4)) over (partition by class)
                                   as is_asked
                          from deskledger_report.pruned
                         where source_id = s.source_id) pruned) p
          cross join lateral (
                select coalesce(array_agg(greatest(d.detail_from, v.month_from) order by d.detail_to), '{}') as kept_from,
                       coalesce(array_agg(d.detail_to order by d.detail_to), '{}') as kept_to
                  from deskledger_report.detail d
                 cross join lateral (
                       select date_trunc('month', min(observed_at), 'UTC') as month_from
                         from deskledger_report.visit
                        where source_id = s.source_id and observed_at >= d.detail_from and observed_at < d.detail_to
                          and day_from > d.detail_from - interval '24 hours' and day_from < d.detail_to) v
                 where d.source_id = s.source_id and d.detail_to < p.detail_from and v.month_from is not null) k
          where cardinality($3::text[]) = 0 or s.source = any($3)
          order by s.source",
    )
    .bind(period_end(instants))
    .bind(NEWEST)
    .bind(asked)
    .bind(instants.values().copied().chain(stretches.iter().map(|stretch| stretch.from)).min())
    .fetch_all(&mut *savepoint)
    .await;
    match read {
        Ok(rows) => {
            savepoint.commit().await.map_err(failed)?;
            let sampling = |row: Row| Sampling {
                source: row.source,
                interval: row.usual,
                max_gap: row.max_gap,
                detail: row.detail_from.map(|from| Kept {
                    from,
                    earlier: row.kept_from.into_iter().zip(row.kept_to).collect(),
                }),
                counts_from: row.counts_from,
            };
            Ok(rows.into_iter().map(sampling).collect())
        }
        // Somebody's own report may run as a role that sees nothing of ours; it needs nothing of ours either.
        Err(error) if is_denied(&error) => {
            savepoint.rollback().await.map_err(failed)?;
            Ok(Vec::new())
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whether the ledger has no source yet: then every report is empty, since nobody looked. A role that may read no list of
/// them is told nothing.
pub async fn has_no_source(pool: &PgPool) -> bool {
    let has_none = "select not exists (select from deskledger_planner.sources)";
    sqlx::query_scalar(has_none).fetch_one(pool).await.unwrap_or(false)
}

/// Where the report's period ends, or the instant it is about; `None`: now.
fn period_end(instants: &Instants) -> Option<DateTime<Utc>> {
    instants.get("to").or_else(|| instants.values().max()).copied()
}

fn is_denied(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|code| code == "42501")
}
