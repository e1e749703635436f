//! The headers of snapshots: the last of a month that goes, and the first that comes back.

use chrono::TimeDelta;
use futures_util::TryStreamExt as _;
use sqlx::PgConnection;

use super::super::pack::is_alone;
use super::super::source::SourceId;
use super::super::visit_days::pack_day;
use super::super::{Store, StoreError};
use super::{Month, Pruned, append, hold};
use crate::domain::Instant;
use crate::domain::audit::Visit;
use crate::domain::digest::Digest;
use crate::domain::months::{day_start, month_start, next_month};
use crate::domain::pruning::{Class, KeptVisit, Pruning, kept_hash};

/// How many headers are brought back by one statement.
const AT_ONCE: usize = 5_000;

impl Store {
    /// Prunes the headers of a month, in one transaction. `visits`: the month's, as they were told or archived.
    ///
    /// # Errors
    /// The database is away; something that needs them is kept; or what goes is not `visits`: then nothing does.
    pub async fn prune_headers(
        &self,
        month: &Month,
        visits: &[Visit],
        archive: Option<Digest>,
        at: Instant,
    ) -> Result<Pruned, StoreError> {
        let failed = StoreError::while_trying("prune the headers of a month");
        let gone: Vec<Class> =
            self.pruned(month).await?.iter().map(|pruned| pruned.class).collect();
        if let Some(first) = Class::Headers.needs_gone().iter().find(|class| !gone.contains(class))
        {
            return Err(StoreError::Inconsistent(format!(
                "the {first} of `{}` in {} go first",
                month.source,
                month.month.format("%Y-%m")
            )));
        }
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        if !is_alone(&mut transaction, month.source_id).await.map_err(&failed)?
            || hold::holds(&mut transaction, month).await?.is_some()
        {
            return Ok(Pruned::Busy);
        }
        let to = next_month(month.month);
        let mut day = month.month;
        while day < to {
            pack_day(&mut transaction, month.source_id, day).await.map_err(&failed)?;
            day += TimeDelta::days(1);
        }
        let rows: i64 = sqlx::query_scalar(
            "-- store::prune::prune_headers
             with pruned as (
                 update deskledger_data.visit_day
                    set snapshot_id = null, ticked_at = null, groups_recorded = null, changes = null, error_code = null,
                        error_message = null, body_hash = null
                  where source_id = $1 and day_from >= $2 and day_from < $3 and snapshot_id is not null
                 returning cardinality(sequence) as visits
             )
             select coalesce(sum(visits), 0)::bigint from pruned",
        )
        .bind(month.source_id)
        .bind(month.month)
        .bind(to)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        let kept = kept_of(visits);
        let is_told = i64::try_from(visits.len()).is_ok_and(|told| told == rows);
        if !is_told || kept != read_kept(&mut transaction, month).await? {
            return Err(StoreError::PrunedWrong {
                source_name: month.source.clone(),
                month: month.month.format("%Y-%m").to_string(),
            });
        }
        let pruning = Pruning {
            at,
            is_restored: false,
            class: Class::Headers,
            month: month.month,
            rows,
            archive,
            kept: Some(kept_hash(&kept)),
        };
        append(&mut transaction, month.source_id, &pruning).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(Pruned::Gone(rows))
    }

    /// What stays of the pruned headers of a month, in the order of time.
    ///
    /// # Errors
    /// The database is away.
    pub async fn kept_visits(&self, month: &Month) -> Result<Vec<KeptVisit>, StoreError> {
        let failed = StoreError::while_trying("read what stays of a month's headers");
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        read_kept(&mut connection, month).await
    }

    /// Brings the headers of a month back, in one transaction; `false`: someone else is at the source.
    ///
    /// # Errors
    /// The database is away, or these are not the visits of which something stayed. Then nothing came back.
    pub async fn restore_headers(
        &self,
        month: &Month,
        visits: &[Visit],
        archive: Digest,
        at: Instant,
    ) -> Result<bool, StoreError> {
        let failed = StoreError::while_trying("bring the headers of a month back");
        self.create_partitions(month_start(month.month)).await?;
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        if !is_alone(&mut transaction, month.source_id).await.map_err(&failed)? {
            return Ok(false);
        }
        if kept_of(visits) != read_kept(&mut transaction, month).await? {
            return Err(StoreError::Inconsistent(format!(
                "what stays of the headers of `{}` in {} is of other snapshots",
                month.source,
                month.month.format("%Y-%m")
            )));
        }
        for visits in visits.chunks(AT_ONCE) {
            insert(&mut transaction, month.source_id, visits).await.map_err(&failed)?;
        }
        sqlx::query(
            "-- store::prune::restore_headers
             delete from deskledger_data.visit_day where source_id = $1 and day_from >= $2 and day_from < $3",
        )
        .bind(month.source_id)
        .bind(month.month)
        .bind(next_month(month.month))
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        let pruning = Pruning {
            at,
            is_restored: true,
            class: Class::Headers,
            month: month.month,
            rows: visits.len().try_into().unwrap_or(i64::MAX),
            archive: Some(archive),
            kept: None,
        };
        append(&mut transaction, month.source_id, &pruning).await?;
        transaction.commit().await.map_err(&failed)?;
        Ok(true)
    }
}

/// What stays of a month's visits, which come in the order of time.
fn kept_of(visits: &[Visit]) -> Vec<KeptVisit> {
    visits
        .chunk_by(|one, other| day_start(one.observed_at) == day_start(other.observed_at))
        .flat_map(|day| {
            let ticked_at = day.iter().filter_map(|visit| visit.scheduled_at).max();
            day.iter().map(move |visit| visit.kept(ticked_at))
        })
        .collect()
}

/// The visits of a source whose headers are pruned, in the order of time. What is not there, though it has to be, comes as what no
/// visit has.
pub(in crate::store) fn kept_visits(source: SourceId) -> String {
    format!(
        "select d.day_from, d.scheduled_at, coalesce(v.sequence, 0), coalesce(v.observed_at, '-infinity'),
                coalesce(v.finished_at, '-infinity'), coalesce(v.max_gap, 0), coalesce(v.desktops_outcome, -1::smallint),
                coalesce(v.groups_outcome, -1::smallint), v.desktops_total, v.desktops_recorded,
                substr(d.digest, (32 * v.nth - 31)::integer, 32)
           from deskledger_data.visit_day d
          cross join lateral unnest(d.sequence, d.observed_at, d.finished_at, d.max_gap, d.desktops_outcome, d.groups_outcome,
                                    d.desktops_total, d.desktops_recorded) with ordinality
                     v (sequence, observed_at, finished_at, max_gap, desktops_outcome, groups_outcome, desktops_total,
                        desktops_recorded, nth)
          where d.source_id = {source} and d.snapshot_id is null
          order by d.day_from, v.nth"
    )
}

type KeptRow = (
    Instant,
    Option<Instant>,
    i64,
    Instant,
    Instant,
    i32,
    i16,
    i16,
    Option<i64>,
    Option<i32>,
    Vec<u8>,
);

/// Those of a month.
async fn read_kept(
    connection: &mut PgConnection,
    month: &Month,
) -> Result<Vec<KeptVisit>, StoreError> {
    let of_source = kept_visits(month.source_id);
    let statement = format!(
        "-- store::prune::read_kept
         select * from ({of_source}) kept where day_from >= $1 and day_from < $2"
    );
    let mut rows = sqlx::query_as::<_, KeptRow>(sqlx::AssertSqlSafe(statement))
        .bind(month.month)
        .bind(next_month(month.month))
        .fetch(connection);
    let failed = StoreError::while_trying("read what stays of a month's headers");
    let mut kept = Vec::new();
    while let Some(row) = rows.try_next().await.map_err(&failed)? {
        let (day, ticked_at, sequence, observed_at, finished_at, max_gap, ..) = row;
        let (.., desktops_outcome, groups_outcome, desktops_total, desktops_recorded, digest) = row;
        kept.push(KeptVisit {
            day,
            ticked_at,
            sequence,
            observed_at,
            finished_at,
            max_gap,
            desktops_outcome,
            groups_outcome,
            desktops_total,
            desktops_recorded,
            digest,
        });
    }
    Ok(kept)
}

async fn insert(
    connection: &mut PgConnection,
    source_id: SourceId,
    visits: &[Visit],
) -> sqlx::Result<()> {
    fn all<T>(visits: &[Visit], column: impl Fn(&Visit) -> T) -> Vec<T> {
        visits.iter().map(column).collect()
    }
    sqlx::query(
        "-- store::prune::insert
         insert into deskledger_data.snapshot
                (source_id, snapshot_id, sequence, scheduled_at, observed_at, finished_at, max_gap, desktops_outcome,
                 groups_outcome, desktops_total, desktops_recorded, groups_recorded, changes, error_code, error_message,
                 body_hash, digest)
         select $1, * from unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::timestamptz[],
                $7::integer[], $8::smallint[], $9::smallint[], $10::bigint[], $11::integer[], $12::integer[],
                $13::integer[], $14::text[], $15::text[], $16::bytea[], $17::bytea[])",
    )
    .bind(source_id)
    .bind(all(visits, |visit| visit.snapshot_id))
    .bind(all(visits, |visit| visit.sequence))
    .bind(all(visits, |visit| visit.scheduled_at))
    .bind(all(visits, |visit| visit.observed_at))
    .bind(all(visits, |visit| visit.finished_at))
    .bind(all(visits, |visit| visit.max_gap))
    .bind(all(visits, |visit| visit.desktops_outcome))
    .bind(all(visits, |visit| visit.groups_outcome))
    .bind(all(visits, |visit| visit.desktops_total))
    .bind(all(visits, |visit| visit.desktops_recorded))
    .bind(all(visits, |visit| visit.groups_recorded))
    .bind(all(visits, |visit| visit.changes))
    .bind(visits.iter().map(|visit| visit.error_code.as_deref()).collect::<Vec<_>>())
    .bind(visits.iter().map(|visit| visit.error_message.as_deref()).collect::<Vec<_>>())
    .bind(visits.iter().map(|visit| visit.body_hash.as_deref()).collect::<Vec<_>>())
    .bind(visits.iter().map(|visit| visit.digest.as_slice()).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}
