//! Visits of months that are over, a row for each day (`migrations/0029_visit_days.sql`): their headers take half the room there.
//!
//! As with spans, nothing is taken on trust: a visit leaves its table only in the transaction in which it was read back from its
//! day, and equals it in every column.

use std::time::{Duration, Instant as Moment};

use chrono::TimeDelta;
use sqlx::{Connection as _, PgConnection};

use super::pack::is_alone;
use super::{SourceId, Store, StoreError};
use crate::domain::Instant;
use crate::domain::months::next_month;

/// A month of one source whose visits can be packed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct PackableVisits {
    /// The source's number.
    pub source_id: SourceId,
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    #[sqlx(rename = "month_from")]
    pub month: Instant,
}

impl Store {
    /// The months whose visits can be packed, of all sources or of one, the oldest first: what a recorder goes on from is
    /// newer than they are.
    ///
    /// # Errors
    /// The database is away.
    pub async fn packable_visits(
        &self,
        source: Option<&str>,
    ) -> Result<Vec<PackableVisits>, StoreError> {
        sqlx::query_as(
            "-- store::visit_days::packable_visits
             select h.source_id, s.name as source, m.month_from
               from deskledger_data.head h
               join deskledger_data.source s using (source_id)
              cross join generate_series(
                     date_trunc('month', h.first_at at time zone 'UTC'),
                     date_trunc('month', h.usable_at at time zone 'UTC') - interval '1 month',
                     interval '1 month') month
              cross join lateral (select month at time zone 'UTC' as month_from,
                                         (month + interval '1 month') at time zone 'UTC' as month_to) m
              where ($1::text is null or s.name = $1)
                and m.month_to <= least(h.usable_at, h.complete_at, h.groups_at)
                and not exists (select from deskledger_data.open_span o
                                 where o.source_id = h.source_id and (o.piece_from < m.month_to or o.last_seen < m.month_to))
                and exists (select from deskledger_data.snapshot n
                             where n.source_id = h.source_id and n.observed_at >= m.month_from and n.observed_at < m.month_to)
              order by m.month_from, s.name",
        )
        .bind(source)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for visits to pack"))
    }

    /// Packs the visits of a month, a day in a transaction, and says how many; it may be stopped between any two, and goes on where it was.
    /// `step` is told after each how long it took; the next one waits for it. `None`: someone else is packing this source.
    ///
    /// # Errors
    /// The database is away, or something does not come out as it went in: then that day is left as it was.
    pub async fn pack_visits(
        &self,
        what: &PackableVisits,
        mut step: impl AsyncFnMut(Duration),
    ) -> Result<Option<u64>, StoreError> {
        let failed = StoreError::while_trying("pack the visits of a month");
        let mut packed = 0;
        let mut day = what.month;
        while day < next_month(what.month) {
            let begun = Moment::now();
            let mut transaction = self.pool.begin().await.map_err(&failed)?;
            if !is_alone(&mut transaction, what.source_id).await.map_err(&failed)? {
                return Ok(None);
            }
            let of_day = pack_day(&mut transaction, what.source_id, day).await.map_err(&failed)?;
            transaction.commit().await.map_err(&failed)?;
            packed += of_day;
            if of_day > 0 {
                step(begun.elapsed()).await;
            }
            day += TimeDelta::days(1);
        }
        Ok(Some(packed))
    }

    /// Tidies up behind the visits that were packed of a month: [`Store::shrink`] finds what room they left.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tidy_visits(&self, month: Instant) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("tidy up behind the visits that are packed");
        let month = month.format("%Y_%m");
        for table in [&*format!("snapshot_{month}"), "visit_day"] {
            let statement = format!("vacuum (analyze) deskledger_data.{table}");
            if !self.with_patience(&statement).await.map_err(&failed)? {
                break;
            }
        }
        Ok(())
    }
}

/// Packs the visits of a source and day (UTC), and says how many. Those that do not come out as they went in stay as they are.
pub(super) async fn pack_day(
    connection: &mut PgConnection,
    source_id: SourceId,
    day: Instant,
) -> sqlx::Result<u64> {
    let mut attempt = connection.begin().await?;
    let until = day + TimeDelta::days(1);
    let made = sqlx::query(TAKE_IN)
        .bind(source_id)
        .bind(day)
        .bind(until)
        .execute(&mut *attempt)
        .await?
        .rows_affected();
    // Nothing to pack, or nothing that a day could say.
    if made == 0 {
        attempt.rollback().await?;
        return Ok(0);
    }
    let (taken, came): (i64, i64) = sqlx::query_as(TAKE_AWAY)
        .bind(source_id)
        .bind(day)
        .bind(until)
        .fetch_one(&mut *attempt)
        .await?;
    if taken != came {
        attempt.rollback().await?;
        return Ok(0);
    }
    attempt.commit().await?;
    Ok(taken.unsigned_abs())
}

/// What came of it is read by the next statement alone. Of a day that is packed already nothing is added: it has no rows.
const TAKE_IN: &str = "-- store::visit_days::pack_day
    insert into deskledger_data.visit_day
           (source_id, day_from, scheduled_at, sequence, observed_at, finished_at, max_gap, desktops_outcome, groups_outcome,
            desktops_total, desktops_recorded, digest, snapshot_id, ticked_at, groups_recorded, changes, error_code,
            error_message, body_hash)
    select source_id, $2, max(scheduled_at),
           array_agg(sequence order by observed_at), array_agg(observed_at order by observed_at),
           array_agg(finished_at order by observed_at), array_agg(max_gap order by observed_at),
           array_agg(desktops_outcome order by observed_at), array_agg(groups_outcome order by observed_at),
           array_agg(desktops_total order by observed_at), array_agg(desktops_recorded order by observed_at),
           string_agg(digest, ''::bytea order by observed_at),
           array_agg(snapshot_id order by observed_at), array_agg(scheduled_at order by observed_at),
           array_agg(groups_recorded order by observed_at), array_agg(changes order by observed_at),
           array_agg(error_code order by observed_at), array_agg(error_message order by observed_at),
           string_agg(coalesce(body_hash, decode(repeat('00', 32), 'hex')), ''::bytea order by observed_at)
      from deskledger_data.snapshot
     where source_id = $1 and observed_at >= $2 and observed_at < $3
     group by source_id
    having bool_and(octet_length(digest) = 32 and coalesce(octet_length(body_hash), 32) = 32)
    on conflict do nothing";

const TAKE_AWAY: &str = "-- store::visit_days::pack_day
    with gone as (
        delete from deskledger_data.snapshot
         where source_id = $1 and observed_at >= $2 and observed_at < $3
        returning *
    )
    select count(*), count(*) filter (
               where (d.sequence, d.finished_at, d.scheduled_at, d.max_gap, d.desktops_outcome, d.groups_outcome, d.desktops_total,
                      d.desktops_recorded, d.groups_recorded, d.changes, d.error_code, d.error_message, d.body_hash, d.digest)
                     is not distinct from
                     (g.sequence, g.finished_at, g.scheduled_at, g.max_gap, g.desktops_outcome, g.groups_outcome, g.desktops_total,
                      g.desktops_recorded, g.groups_recorded, g.changes, g.error_code, g.error_message, g.body_hash, g.digest)
                 and d.snapshot_id = g.snapshot_id)
      from gone g
      full join (select * from deskledger_data.day_visit where source_id = $1 and day_from = $2) d
           on d.observed_at = g.observed_at";
