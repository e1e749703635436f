//! Sources: registered when first recorded, and pinned to their region, project and endpoint.

use super::{Store, StoreError};
use crate::domain::beliefs::{STATUSES, StatusId};
use crate::domain::digest::genesis;
use crate::domain::{Instant, Source};

/// A source's number in its ledger.
pub type SourceId = i32;

/// What a source's record looks like from outside.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct SourceStatus {
    /// The source's name.
    pub source: String,
    /// Its newest snapshot of any outcome.
    pub last_snapshot_at: Option<Instant>,
    /// How that one's listing ended.
    pub desktops_outcome: Option<String>,
    /// How its statistics ended.
    pub groups_outcome: Option<String>,
    /// Every tick up to here is recorded, or known to be lost.
    pub complete_until: Option<Instant>,
    /// The newest snapshot whose listing was complete or partial.
    pub usable_at: Option<Instant>,
    /// The desktops that one recorded.
    pub desktops_recorded: Option<i32>,
    /// The API's `total_count` then.
    pub desktops_total: Option<i64>,
    /// The longest time until the next snapshot that leaves no gap, in seconds.
    pub max_gap: Option<i32>,
    /// The snapshots of the last 24 hours before the newest.
    pub snapshots: i64,
    /// The failed listings among them.
    pub failed: i64,
    /// The partial ones.
    pub partial: i64,
    /// The error of the newest snapshot.
    pub last_error: Option<String>,
    /// The recorder that records it, if one does.
    pub leader: Option<String>,
    /// Since when.
    pub led_since: Option<Instant>,
    /// When its lease runs out, unless it is renewed.
    pub leased_until: Option<Instant>,
}

impl Store {
    /// The source's number; registers it, and pins what was not known of it before.
    ///
    /// # Errors
    /// It is recorded with another region, project or endpoint.
    pub async fn register_source(&self, source: &Source) -> Result<SourceId, StoreError> {
        let failed = StoreError::while_trying("register a source");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        sqlx::query(
            "-- store::source::register_source
             with made as (
                 insert into deskledger_data.source (name, region, project_id, endpoint)
                 values ($1, $2, $3, $4) on conflict (name) do nothing returning source_id
             ),
             head as (
                 insert into deskledger_data.head (source_id, digest) select source_id, $5 from made
             )
             insert into deskledger_data.status (source_id, status_id, status)
             select source_id, status_id, status from made, unnest($6::smallint[], $7::text[]) s (status_id, status)",
        )
        .bind(&source.name)
        .bind(&source.region)
        .bind(&source.project_id)
        .bind(&source.endpoint)
        .bind(genesis(&source.name).as_slice())
        .bind((0..).take(STATUSES.len()).collect::<Vec<StatusId>>())
        .bind(STATUSES.as_slice())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        let (source_id, region, project_id, endpoint): (
            SourceId,
            Option<String>,
            Option<String>,
            Option<String>,
        ) = sqlx::query_as(
            "-- store::source::register_source
             update deskledger_data.source
                set region = coalesce(region, $2), project_id = coalesce(project_id, $3),
                    endpoint = coalesce(endpoint, $4)
              where name = $1
             returning source_id, region, project_id, endpoint",
        )
        .bind(&source.name)
        .bind(&source.region)
        .bind(&source.project_id)
        .bind(&source.endpoint)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        for (what, recorded, given) in [
            ("region", region, &source.region),
            ("project_id", project_id, &source.project_id),
            ("endpoint", endpoint, &source.endpoint),
        ] {
            if let (Some(recorded), Some(given)) = (recorded, given)
                && recorded != *given
            {
                let (name, given) = (source.name.clone(), given.clone());
                return Err(StoreError::Pinned { name, what, recorded, given });
            }
        }
        transaction.commit().await.map_err(&failed)?;
        Ok(source_id)
    }

    /// The sources of the ledger, by name.
    ///
    /// # Errors
    /// The database is away.
    pub async fn sources(&self) -> Result<Vec<(SourceId, Source)>, StoreError> {
        type Row = (SourceId, String, Option<String>, Option<String>, Option<String>);
        let rows: Vec<Row> = sqlx::query_as(
            "-- store::source::sources
             select source_id, name, region, project_id, endpoint from deskledger_data.source order by name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("list the sources"))?;
        let source = |(source_id, name, region, project_id, endpoint)| {
            (source_id, Source { name, region, project_id, endpoint })
        };
        Ok(rows.into_iter().map(source).collect())
    }

    /// How each source's record stands.
    ///
    /// # Errors
    /// The database is away.
    pub async fn source_status(&self) -> Result<Vec<SourceStatus>, StoreError> {
        sqlx::query_as(
            "-- store::source::source_status
             select s.name as source, h.observed_at as last_snapshot_at, v.complete_until,
                    newest.desktops_outcome, newest.groups_outcome,
                    h.usable_at, usable.desktops_recorded, usable.desktops_total, h.max_gap,
                    day.snapshots, day.failed, day.partial,
                    nullif(concat_ws(': ', newest.error_code, newest.error_message), '') as last_error,
                    h.leader, h.led_since, h.leased_until
               from deskledger_data.source s
               join deskledger_data.head h using (source_id)
               join deskledger.sources v on v.source = s.name
               left join deskledger_report.newest_snapshot newest on newest.source = s.name
               left join deskledger_data.snapshot usable
                    on usable.source_id = s.source_id and usable.observed_at = h.usable_at
              cross join lateral (
                    select count(*) as snapshots,
                           count(*) filter (where desktops_outcome = 0) as failed,
                           count(*) filter (where desktops_outcome = 1) as partial
                      from deskledger_data.visit d
                     where d.source_id = s.source_id
                       and d.day_from > h.observed_at - interval '48 hours'
                       and d.observed_at > h.observed_at - interval '24 hours'
                       and d.observed_at <= h.observed_at) day
              order by s.name",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read how the sources stand"))
    }

    /// When the newest snapshot with a complete listing was taken, of each source that has one.
    ///
    /// # Errors
    /// The database is away.
    pub async fn newest_complete(&self) -> Result<Vec<(String, Instant)>, StoreError> {
        sqlx::query_as(
            "-- store::source::newest_complete
             select s.name, newest.observed_at
               from deskledger_data.source s
              cross join lateral (
                    select n.observed_at from deskledger_data.snapshot n
                     where n.source_id = s.source_id and n.desktops_outcome = 2
                     order by n.observed_at desc limit 1) newest",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for the newest complete snapshots"))
    }

    /// The size of the ledger's database in bytes, indexes included.
    ///
    /// # Errors
    /// The database is away.
    pub async fn size_bytes(&self) -> Result<i64, StoreError> {
        sqlx::query_scalar("select pg_database_size(current_database())")
            .fetch_one(&self.pool)
            .await
            .map_err(StoreError::while_trying("read the ledger's size"))
    }
}
