//! Months that are old enough leave the ledger, class by class, and come back from their archives.
//!
//! The unit is a month (UTC) of a source that is over: spans are cut at its end, so that it goes as a whole, and what is open
//! stays. A month is told again from its snapshots ([`crate::domain::retell`]) before it goes: what was told, from the archive
//! if there is one, is every row that goes, so that restoring is known to bring it back. Then it goes in one transaction, with an
//! entry of the chain that says so. What stays for ever: the chain. Where a pruned month ends and one begins that is not, there
//! stays what stood then ([`Standing`]), which the later history goes on from.

mod headers;
mod hold;
mod plan;
mod rows;
mod state;

use futures_util::TryStreamExt as _;
use sqlx::types::Json;
use sqlx::{PgConnection, Postgres, Transaction};

pub(super) use headers::kept_visits;
pub use hold::{GoneMonths, Hold, NewHold, Seen};
pub use plan::{Due, Kept};
pub use rows::{Stored, Sum};
pub use state::{ends_from_json, ends_to_json, standing_from_json, standing_to_json};

use super::pack::is_alone;
use super::partitions::filed_under;
use super::record::{insert_group_spans, insert_spans, insert_unlisted};
use super::source::SourceId;
use super::{Replay, Store, StoreError};
use crate::domain::audit::Visit;
use crate::domain::digest::{
    Digest, Kind, NO_BODY, Salt, entry_digest, erased_late, late_commitment,
};
use crate::domain::months::{month_start, next_month};
use crate::domain::pruning::{Class, Pruning};
use crate::domain::retell::{Retelling, Standing};
use crate::domain::{Beliefs, Instant};

/// A month of a source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Month {
    /// The source's number.
    pub source_id: SourceId,
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    pub month: Instant,
}

/// What a late snapshot said: its number in the chain, the salt, which is none where someone was erased from it, and the line.
pub type LateLine = (i64, Option<Vec<u8>>, String);

/// How the pruning of a month ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pruned {
    /// This many rows are gone.
    Gone(i64),
    /// Someone else packs, prunes or restores this source; or a hold was set meanwhile.
    Busy,
}

/// What a month was pruned of, as the chain says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrunedMonth {
    /// What.
    pub class: Class,
    /// The rows that went.
    pub rows: i64,
    /// The digest of its archive.
    pub archive: Option<Digest>,
}

impl Store {
    /// What a source's month was pruned of, and not brought back.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pruned(&self, month: &Month) -> Result<Vec<PrunedMonth>, StoreError> {
        let rows: Vec<(String, i64, Option<Vec<u8>>)> = sqlx::query_as(
            "-- store::prune::pruned
             select class, rows, archive from deskledger_report.pruned where source_id = $1 and month_from = $2",
        )
        .bind(month.source_id)
        .bind(month.month)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read what is pruned"))?;
        rows.into_iter()
            .map(|(class, rows, archive)| {
                let odd = || StoreError::Inconsistent("a row of `pruning`".to_owned());
                let archive = archive.map(Digest::try_from).transpose().map_err(|_| odd())?;
                Ok(PrunedMonth { class: class.parse().map_err(|()| odd())?, rows, archive })
            })
            .collect()
    }

    /// Whether the spans of an instant are pruned.
    ///
    /// # Errors
    /// The database is away.
    pub async fn is_pruned(&self, source_id: SourceId, at: Instant) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "-- store::prune::is_pruned
             select exists (select from deskledger_report.pruned
                             where source_id = $1 and class = 'spans' and month_from = $2)",
        )
        .bind(source_id)
        .bind(month_start(at))
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("read what is pruned"))
    }

    /// Up to when months of a source are pruned, of a period; `None`: none is.
    ///
    /// # Errors
    /// The database is away.
    pub async fn pruned_until(
        &self,
        source_id: SourceId,
        from: Option<Instant>,
        to: Option<Instant>,
    ) -> Result<Option<Instant>, StoreError> {
        sqlx::query_scalar(
            "-- store::prune::pruned_until
             select max(month_to) from deskledger_report.pruned
              where source_id = $1 and class in ('spans', 'groups')
                and month_to > coalesce($2, '-infinity') and month_from < coalesce($3, 'infinity')",
        )
        .bind(source_id)
        .bind(from)
        .bind(to)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("read what is pruned"))
    }

    /// The visits of a month of which the headers are kept, in the order of time.
    ///
    /// # Errors
    /// The database is away.
    pub async fn visits(&self, month: &Month) -> Result<Vec<Visit>, StoreError> {
        let failed = StoreError::while_trying("read the visits of a month");
        let mut rows = sqlx::query_as::<_, VisitRow>(
            "-- store::prune::visits
             select snapshot_id, sequence, observed_at, finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome,
                    desktops_total, desktops_recorded, groups_recorded, changes, error_code, error_message, body_hash, digest
               from deskledger_data.visit
              where source_id = $1 and observed_at >= $2 and observed_at < $3 and day_from >= $2 and day_from < $3
                and snapshot_id is not null
              order by observed_at",
        )
        .bind(month.source_id)
        .bind(month.month)
        .bind(next_month(month.month))
        .fetch(&self.pool);
        let mut visits = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(&failed)? {
            visits.push(Visit::from(row));
        }
        Ok(visits)
    }

    /// Cuts at a month's end what was last seen with the end itself and nothing followed: a recorder that does not come to cut
    /// it before files it whole, with the month before; and then that month alone cannot go.
    ///
    /// # Errors
    /// The database is away.
    pub async fn split_at(&self, source_id: SourceId, at: Instant) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("cut spans at a month's end");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        for statement in [SPLIT_SPANS, SPLIT_WIDE, SPLIT_GROUPS] {
            sqlx::query(statement)
                .bind(source_id)
                .bind(at)
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// The rows of a month.
    ///
    /// # Errors
    /// The database is away.
    pub async fn stored(&self, month: &Month) -> Result<Stored, StoreError> {
        let failed = StoreError::while_trying("read the rows of a month");
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        Stored::read(&mut connection, month).await
    }

    /// What late snapshots of a month said, as far as it is still known.
    ///
    /// # Errors
    /// The database is away.
    pub async fn late_lines(&self, month: &Month) -> Result<Vec<LateLine>, StoreError> {
        sqlx::query_as(
            "-- store::prune::late_lines
             select sequence, salt, line from deskledger_data.late
              where source_id = $1 and observed_at >= $2 and observed_at < $3 and line is not null order by sequence",
        )
        .bind(month.source_id)
        .bind(month.month)
        .bind(next_month(month.month))
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read the late snapshots of a month"))
    }

    /// What stood when a month began, and every name of the source: told from where it is known, month by month.
    ///
    /// # Errors
    /// The database is away; or what is recorded does not come to the digests.
    pub async fn standing_before(
        &self,
        month: &Month,
    ) -> Result<(Option<Standing>, Beliefs), StoreError> {
        let failed = StoreError::while_trying("read what stood at a month's end");
        let mut beliefs = self.load_beliefs(month.source_id).await?;
        let kept: Option<Json<serde_json::Value>> = sqlx::query_scalar(
            "-- store::prune::standing_before
             select state from deskledger_data.standing where source_id = $1 and at <= $2 order by at desc limit 1",
        )
        .bind(month.source_id)
        .bind(month.month)
        .fetch_optional(&self.pool)
        .await
        .map_err(&failed)?;
        let mut standing = kept.map(read_standing).transpose()?;
        let begin = match &standing {
            Some(standing) => Some(standing.at),
            None => beliefs.head.first_at.map(month_start),
        };
        let Some(mut at) = begin else { return Ok((None, beliefs)) };
        while at < month.month {
            let of = Month { month: at, ..month.clone() };
            let visits = self.visits(&of).await?;
            let mut told = Retelling::begin(beliefs, &of.source, standing.as_ref(), at);
            let mut replay =
                Replay::open(self, of.source_id, Some(at), Some(next_month(at))).await?;
            for visit in &visits {
                let snapshot = replay.next().await?.ok_or_else(|| unlike(&of, visit, None))?;
                told.tell(&snapshot, visit).map_err(|error| unlike(&of, visit, Some(&error)))?;
            }
            let ends = self.stored(&of).await?.ends(&told);
            let (_, next, names) = told.finish(&ends);
            (standing, beliefs) = (Some(next), names);
            at = next_month(at);
        }
        Ok((standing, beliefs))
    }

    /// Prunes a month of `classes`, in one transaction. `told`: the sum of all rows of the month, as they were told again;
    /// `standing`: what stands at its end. Neither is needed where spans are not among the classes.
    ///
    /// # Errors
    /// The database is away; or what goes is not what was told: then nothing does.
    pub async fn prune(
        &self,
        month: &Month,
        classes: &[Class],
        told: Option<(&Sum, &Standing)>,
        archive: Option<Digest>,
        at: Instant,
    ) -> Result<Pruned, StoreError> {
        let failed = StoreError::while_trying("prune a month");
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        if !is_alone(&mut transaction, month.source_id).await.map_err(&failed)?
            || hold::holds(&mut transaction, month).await?.is_some()
        {
            return Ok(Pruned::Busy);
        }
        let mut gone = Vec::with_capacity(classes.len());
        if !classes.contains(&Class::Spans) && !self.is_pruned(month.source_id, month.month).await?
        {
            return Err(StoreError::Inconsistent(format!(
                "the spans of `{}` in {} go first",
                month.source,
                month.month.format("%Y-%m")
            )));
        }
        for class in classes {
            let rows = match class {
                Class::Spans => delete_spans(&mut transaction, month).await,
                Class::Groups => delete_groups(&mut transaction, month).await,
                Class::Rollups => delete_rollups(&mut transaction, month).await,
                Class::Headers => {
                    return Err(StoreError::Inconsistent(
                        "headers go by themselves: `prune_headers`".to_owned(),
                    ));
                }
            }
            .map_err(&failed)?;
            let expected = told.map(|(told, _)| match class {
                Class::Spans => told.spans,
                Class::Groups => told.groups,
                Class::Rollups | Class::Headers => rows,
            });
            if expected.is_some_and(|expected| expected != rows) {
                return Err(StoreError::PrunedWrong {
                    source_name: month.source.clone(),
                    month: month.month.format("%Y-%m").to_string(),
                });
            }
            gone.push((*class, rows));
        }
        let stands = match told {
            None => None,
            Some((_, standing)) => {
                Some(keep_standing(&mut transaction, month.source_id, standing).await?)
            }
        };
        // Last, since from here on nobody records this source until it is over.
        for (class, rows) in &gone {
            let (class, rows) = (*class, *rows);
            let pruning = Pruning {
                at,
                is_restored: false,
                class,
                month: month.month,
                rows,
                archive,
                kept: stands.filter(|_| class == Class::Spans),
            };
            append(&mut transaction, month.source_id, &pruning).await?;
        }
        tidy_standings(&mut transaction, month.source_id).await.map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(Pruned::Gone(gone.iter().map(|(_, rows)| rows).sum()))
    }

    /// Begins to bring a month back.
    ///
    /// # Errors
    /// The database is away.
    pub async fn begin_restoring(
        &self,
        month: &Month,
        classes: &[Class],
    ) -> Result<Option<Restoring>, StoreError> {
        let failed = StoreError::while_trying("bring a month back");
        // What was seen at the month's first instant alone ends there, and is filed under the month before.
        for at in [filed_under(month.month), month.month] {
            self.create_partitions(month_start(at)).await?;
        }
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        // It holds nothing that others wait for, and reading an archive takes its time.
        sqlx::query("set local idle_in_transaction_session_timeout = 0")
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        if !is_alone(&mut transaction, month.source_id).await.map_err(&failed)? {
            return Ok(None);
        }
        Ok(Some(Restoring { transaction, month: month.clone(), classes: classes.to_vec() }))
    }
}

/// A month that is being brought back, in one transaction.
#[derive(Debug)]
pub struct Restoring {
    transaction: Transaction<'static, Postgres>,
    month: Month,
    classes: Vec<Class>,
}

impl Restoring {
    /// Brings rows back, as far as they are of the classes.
    ///
    /// # Errors
    /// The database is away.
    pub async fn add(&mut self, told: &crate::domain::retell::Told) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("bring rows of a month back");
        let source_id = self.month.source_id;
        if self.classes.contains(&Class::Spans) {
            insert_spans(&mut self.transaction, source_id, &told.spans).await.map_err(&failed)?;
            insert_unlisted(&mut self.transaction, source_id, &told.unlisted)
                .await
                .map_err(&failed)?;
        }
        if self.classes.contains(&Class::Groups) {
            insert_group_spans(&mut self.transaction, source_id, &told.groups)
                .await
                .map_err(&failed)?;
        }
        Ok(())
    }

    /// Brings back what a late snapshot said; `false`: that is not what it said. `veiled`: what it says without the names of
    /// those who were erased after it was archived.
    ///
    /// # Errors
    /// The database is away.
    pub async fn add_late(
        &mut self,
        late: &LateLine,
        veiled: Option<&str>,
    ) -> Result<bool, StoreError> {
        let (sequence, salt, line) = late;
        let (commitment, replacement) = match salt {
            None => (None, Some(erased_late(Some(line)))),
            Some(salt) => match Salt::try_from(salt.as_slice()) {
                Ok(salt) => (Some(late_commitment(&salt, line)), None),
                Err(_) => return Ok(false),
            },
        };
        let written = sqlx::query(
            "-- store::prune::add_late
             update deskledger_data.late l set line = $3, salt = $4
              where l.source_id = $1 and l.sequence = $2
                and (l.body_hash = $5
                     or exists (select from deskledger_data.erased e
                                 where e.source_id = l.source_id and e.what = 'L' and e.no = l.sequence
                                   and e.replacement = $6))",
        )
        .bind(self.month.source_id)
        .bind(sequence)
        .bind(veiled.unwrap_or(line))
        .bind(salt.as_ref().filter(|_| veiled.is_none()))
        .bind(commitment.as_ref().map(Digest::as_slice))
        .bind(replacement.as_ref().map(Digest::as_slice))
        .execute(&mut *self.transaction)
        .await
        .map_err(StoreError::while_trying("bring a late snapshot back"))?;
        Ok(written.rows_affected() == 1)
    }

    /// Ends it. `before`: what stood when the month began; `rows`: how many came back of each class.
    ///
    /// # Errors
    /// The database is away: then nothing came back.
    pub async fn commit(
        mut self,
        before: Option<&Standing>,
        told: &Sum,
        archive: Digest,
        at: Instant,
    ) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("bring a month back");
        let source_id = self.month.source_id;
        for class in self.classes.clone() {
            let rows = match class {
                Class::Spans => told.spans,
                Class::Groups => told.groups,
                Class::Rollups => {
                    insert_rollups(&mut self.transaction, &self.month).await.map_err(&failed)?
                }
                Class::Headers => {
                    return Err(StoreError::Inconsistent(
                        "headers come back by themselves: `restore_headers`".to_owned(),
                    ));
                }
            };
            let pruning = Pruning {
                at,
                is_restored: true,
                class,
                month: self.month.month,
                rows,
                archive: Some(archive),
                kept: None,
            };
            append(&mut self.transaction, source_id, &pruning).await?;
        }
        if let Some(standing) = before {
            keep_standing(&mut self.transaction, source_id, standing).await?;
        }
        tidy_standings(&mut self.transaction, source_id).await.map_err(&failed)?;
        self.transaction.commit().await.map_err(&failed)
    }
}

#[derive(sqlx::FromRow)]
struct VisitRow {
    snapshot_id: i64,
    sequence: i64,
    observed_at: Instant,
    finished_at: Instant,
    scheduled_at: Option<Instant>,
    max_gap: i32,
    desktops_outcome: i16,
    groups_outcome: i16,
    desktops_total: Option<i64>,
    desktops_recorded: Option<i32>,
    groups_recorded: Option<i32>,
    changes: i32,
    error_code: Option<String>,
    error_message: Option<String>,
    body_hash: Option<Vec<u8>>,
    digest: Vec<u8>,
}

impl From<VisitRow> for Visit {
    fn from(row: VisitRow) -> Self {
        Self {
            snapshot_id: row.snapshot_id,
            sequence: row.sequence,
            observed_at: row.observed_at,
            finished_at: row.finished_at,
            scheduled_at: row.scheduled_at,
            max_gap: row.max_gap,
            desktops_outcome: row.desktops_outcome,
            groups_outcome: row.groups_outcome,
            desktops_total: row.desktops_total,
            desktops_recorded: row.desktops_recorded,
            groups_recorded: row.groups_recorded,
            changes: row.changes,
            error_code: row.error_code,
            error_message: row.error_message,
            body_hash: row.body_hash,
            digest: row.digest,
        }
    }
}

/// What is recorded does not come to its digest: then `verify` says more, and nothing may go.
fn unlike(month: &Month, visit: &Visit, why: Option<&dyn std::error::Error>) -> StoreError {
    StoreError::Inconsistent(format!(
        "source `{}`, snapshot {} of {}: {}",
        month.source,
        visit.snapshot_id,
        visit.observed_at.to_rfc3339(),
        why.map_or_else(|| "it is not there".to_owned(), ToString::to_string)
    ))
}

fn read_standing(state: Json<serde_json::Value>) -> Result<Standing, StoreError> {
    standing_from_json(state.0)
        .ok_or_else(|| StoreError::Inconsistent("a row of `standing` is none".to_owned()))
}

/// All standings of a source, but for what is none.
pub(super) async fn standings(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> Result<Vec<Standing>, StoreError> {
    let rows: Vec<Json<serde_json::Value>> = sqlx::query_scalar(
        "-- store::prune::standings
         select state from deskledger_data.standing where source_id = $1 order by at",
    )
    .bind(source_id)
    .fetch_all(connection)
    .await
    .map_err(StoreError::while_trying("read what stood at the ends of months"))?;
    Ok(rows.into_iter().filter_map(|Json(state)| standing_from_json(state)).collect())
}

const SPLIT_SPANS: &str = "-- store::prune::split_at
    with whole as (
        update deskledger_data.span set last_seen = piece_to - interval '1 microsecond', ended = -5
         where source_id = $1 and piece_to = $2 and last_seen = $2 and piece_from < $2
        returning source_id, desktop_no, label_no, status_id, coalesce(first_seen, piece_from) as first_seen, started_after,
                  connection_first_seen, connection_started_after, disconnected_at
    )
    insert into deskledger_data.span
           (source_id, desktop_no, label_no, status_id, ended, piece_from, piece_to, last_seen, first_seen, started_after,
            connection_first_seen, connection_started_after, disconnected_at)
    select source_id, desktop_no, label_no, status_id, -4, $2, $2, $2, first_seen, started_after, connection_first_seen,
           connection_started_after, disconnected_at
      from whole";

const SPLIT_WIDE: &str = "-- store::prune::split_at
    insert into deskledger_data.group_span_wide (source_id, group_no, from_at, counters)
    select w.source_id, w.group_no, $2, w.counters
      from deskledger_data.group_span g
      join deskledger_data.group_span_wide w using (source_id, group_no, from_at)
     where g.source_id = $1 and g.to_at = $2 and g.last_seen = $2 and g.from_at < $2";

const SPLIT_GROUPS: &str = "-- store::prune::split_at
    with whole as (
        update deskledger_data.group_span set last_seen = to_at - interval '1 microsecond'
         where source_id = $1 and to_at = $2 and last_seen = $2 and from_at < $2
        returning source_id, group_no, running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num,
                  cannot_attach_num, in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num
    )
    insert into deskledger_data.group_span
           (source_id, group_no, running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num,
            cannot_attach_num, in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num,
            from_at, to_at, last_seen, is_continued)
    select source_id, group_no, running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num,
           cannot_attach_num, in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num,
           $2, $2, $2, true
      from whole";

async fn delete_spans(connection: &mut PgConnection, month: &Month) -> sqlx::Result<i64> {
    let to = next_month(month.month);
    let rows: i64 = sqlx::query_scalar(
        "-- store::prune::delete_spans
         select count(*) from deskledger_data.filed
          where source_id = $1 and piece_from >= $2 and piece_from < $3 and piece_to >= $2 and piece_to <= $3
            and packed_from <= $2 and packed_to > $2",
    )
    .bind(month.source_id)
    .bind(month.month)
    .bind(to)
    .fetch_one(&mut *connection)
    .await?;
    for statement in [
        "-- store::prune::delete_spans
         delete from deskledger_data.unlisted
          where source_id = $1 and from_at >= $2
            and to_at < deskledger_data.visit_before($1, $3, false)",
        "-- store::prune::delete_spans
         delete from deskledger_data.span
          where source_id = $1 and piece_from >= $2 and piece_from < $3 and piece_to >= $2 and piece_to <= $3",
        "-- store::prune::delete_spans
         delete from deskledger_data.packed where source_id = $1 and month_from = $2 and $3 > $2",
        "-- store::prune::delete_spans
         delete from deskledger_data.packed_month where source_id = $1 and month_from = $2 and $3 > $2",
        "-- store::prune::delete_spans
         update deskledger_data.late set line = null, salt = null
          where source_id = $1 and observed_at >= $2 and observed_at < $3",
    ] {
        sqlx::query(statement)
            .bind(month.source_id)
            .bind(month.month)
            .bind(to)
            .execute(&mut *connection)
            .await?;
    }
    Ok(rows)
}

async fn delete_groups(connection: &mut PgConnection, month: &Month) -> sqlx::Result<i64> {
    let to = next_month(month.month);
    let rows: i64 = sqlx::query_scalar(
        "-- store::prune::delete_groups
         select count(*) from deskledger_data.filed_group
          where source_id = $1 and from_at >= $2 and from_at < $3 and to_at >= $2 and to_at <= $3
            and packed_from <= $2 and packed_to >= $3",
    )
    .bind(month.source_id)
    .bind(month.month)
    .bind(to)
    .fetch_one(&mut *connection)
    .await?;
    for statement in [
        "-- store::prune::delete_groups
         delete from deskledger_data.group_span_wide w
          using deskledger_data.filed_group g
          where g.source_id = $1 and g.from_at >= $2 and g.from_at < $3 and g.to_at >= $2 and g.to_at <= $3
            and g.packed_from <= $2 and g.packed_to >= $3
            and w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at",
        "-- store::prune::delete_groups
         delete from deskledger_data.group_span
          where source_id = $1 and from_at >= $2 and from_at < $3 and to_at >= $2 and to_at <= $3",
        "-- store::prune::delete_groups
         delete from deskledger_data.packed_group where source_id = $1 and month_from = $2 and $3 > $2",
        "-- store::prune::delete_groups
         delete from deskledger_data.packed_group_month where source_id = $1 and month_from = $2 and $3 > $2",
    ] {
        sqlx::query(statement)
            .bind(month.source_id)
            .bind(month.month)
            .bind(to)
            .execute(&mut *connection)
            .await?;
    }
    Ok(rows)
}

/// What stands at the month's first instant stays: the month before ends there too.
async fn delete_rollups(connection: &mut PgConnection, month: &Month) -> sqlx::Result<i64> {
    let deleted = sqlx::query(
        "-- store::prune::delete_rollups
         delete from deskledger_data.tally where source_id = $1 and at > $2 and at < $3",
    )
    .bind(month.source_id)
    .bind(month.month)
    .bind(next_month(month.month))
    .execute(connection)
    .await?;
    Ok(deleted.rows_affected().cast_signed())
}

async fn insert_rollups(connection: &mut PgConnection, month: &Month) -> sqlx::Result<i64> {
    let inserted = sqlx::query(
        "-- store::prune::insert_rollups
         insert into deskledger_data.tally
                (source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended, reconnects)
         select source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended, reconnects
           from deskledger_data.told
          where source_id = $1 and at > $2 and at < $3",
    )
    .bind(month.source_id)
    .bind(month.month)
    .bind(next_month(month.month))
    .execute(connection)
    .await?;
    Ok(inserted.rows_affected().cast_signed())
}

/// Keeps what stands at a month's end; gives the hash of it, which the chain holds.
async fn keep_standing(
    connection: &mut PgConnection,
    source_id: SourceId,
    standing: &Standing,
) -> Result<Digest, StoreError> {
    let hash: Vec<u8> = sqlx::query_scalar(
        "-- store::prune::keep_standing
         insert into deskledger_data.standing (source_id, at, state) values ($1, $2, $3)
             on conflict (source_id, at) do update set state = excluded.state
         returning deskledger_data.standing_hash(state)",
    )
    .bind(source_id)
    .bind(standing.at)
    .bind(Json(standing_to_json(standing)))
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("keep what stands at a month's end"))?;
    Digest::try_from(hash)
        .map_err(|_| StoreError::Inconsistent("the hash of a row of `standing`".to_owned()))
}

/// Forgets what nothing goes on from any more: desktops, but for their hash, where the spans of the next month are pruned too, and
/// all of it where its groups are.
async fn tidy_standings(connection: &mut PgConnection, source_id: SourceId) -> sqlx::Result<()> {
    for statement in [
        "-- store::prune::tidy_standings
         delete from deskledger_data.standing t
          where t.source_id = $1
            and (not exists (select from deskledger_report.pruned p
                              where p.source_id = $1 and p.class = 'spans' and p.month_to = t.at)
                 or 2 = (select count(*) from deskledger_report.pruned p
                          where p.source_id = $1 and p.class in ('spans', 'groups') and p.month_from = t.at))",
        r#"-- store::prune::tidy_standings
         update deskledger_data.standing t
            set state = state || '{"desktops": [], "absent": []}'
                        || jsonb_build_object('desktops_hash', deskledger_data.standing_desktops(state))
          where t.source_id = $1 and not state ? 'desktops_hash'
            and exists (select from deskledger_report.pruned p
                         where p.source_id = $1 and p.class = 'spans' and p.month_from = t.at)"#,
    ] {
        sqlx::query(statement).bind(source_id).execute(&mut *connection).await?;
    }
    Ok(())
}

/// Adds an entry to the source's chain. From here on nobody else records this source until the transaction ends.
async fn append(
    connection: &mut PgConnection,
    source_id: SourceId,
    pruning: &Pruning,
) -> Result<(), StoreError> {
    let failed = StoreError::while_trying("write down what was pruned");
    let (before, digest): (i64, Vec<u8>) = sqlx::query_as(
        "-- store::prune::append
         select sequence, digest from deskledger_data.head where source_id = $1 for update",
    )
    .bind(source_id)
    .fetch_one(&mut *connection)
    .await
    .map_err(&failed)?;
    let digest = Digest::try_from(digest)
        .map_err(|_| StoreError::Inconsistent("head.digest has not 32 bytes".to_owned()))?;
    let sequence = before + 1;
    let digest = entry_digest(&digest, sequence, Kind::Pruning, &pruning.hash(), &NO_BODY);
    sqlx::query(
        "-- store::prune::append
         with entry as (
             insert into deskledger_data.pruning
                    (source_id, sequence, at, month_from, is_restored, class, rows, archive, kept, digest)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         )
         update deskledger_data.head set sequence = $2, digest = $10 where source_id = $1",
    )
    .bind(source_id)
    .bind(sequence)
    .bind(pruning.at)
    .bind(pruning.month)
    .bind(pruning.is_restored)
    .bind(pruning.class.as_str())
    .bind(pruning.rows)
    .bind(pruning.archive.map(Vec::from))
    .bind(pruning.kept.map(Vec::from))
    .bind(digest.as_slice())
    .execute(connection)
    .await
    .map(drop)
    .map_err(failed)
}
