//! Writes what snapshots changed: whole snapshots, in one transaction.

use std::collections::BTreeMap;

use sqlx::{PgConnection, Postgres, Transaction};

use super::partitions::{KnownMonths, filed_under};
use super::registered::insert_registered;
use super::source::SourceId;
use super::tally::record_tally;
use super::{Store, StoreError};
use crate::domain::beliefs::{
    Changes, ClosedGroupSpan, ClosedSpan, DesktopNo, Entry, GroupNo, Head, OpenGroupSpan, OpenSpan,
    Registered, Run, ended,
};
use crate::domain::history::Cut;
use crate::domain::{Instant, Outcome};

/// How many rows one statement writes: a fleet's first snapshot brings hundreds of thousands, which would be in memory
/// once more for each statement and again for the connection.
pub(super) const ROWS_AT_ONCE: usize = 5_000;

/// What several snapshots in a row make of a source's record: what one opened and a later one
/// closed or changed is written once.
#[derive(Debug, Default)]
pub(super) struct Batch {
    entries: Vec<Entry>,
    registered: Registered,
    closed: Vec<ClosedSpan>,
    open: BTreeMap<DesktopNo, Option<OpenSpan>>,
    unlisted: Vec<(DesktopNo, Instant, Instant)>,
    closed_groups: Vec<ClosedGroupSpan>,
    open_groups: BTreeMap<GroupNo, Option<OpenGroupSpan>>,
    ended_runs: Vec<Run>,
    head: Option<Head>,
}

impl Batch {
    pub(super) fn add(&mut self, changes: Changes) {
        let Changes { entry, registered, head, .. } = changes;
        self.entries.push(entry);
        self.head = Some(head);
        self.registered.desktops.extend(registered.desktops);
        self.registered.statuses.extend(registered.statuses);
        self.registered.persons.extend(registered.persons);
        self.registered.assignments.extend(registered.assignments);
        self.registered.labels.extend(registered.labels);
        self.registered.desktop_labels.extend(registered.desktop_labels);
        self.registered.groups.extend(registered.groups);
        self.closed.extend(changes.closed);
        self.open.extend(changes.opened.into_iter().map(|(no, span)| (no, Some(span))));
        self.open.extend(changes.gone.into_iter().map(|no| (no, None)));
        self.unlisted.extend(changes.unlisted);
        self.closed_groups.extend(changes.closed_groups);
        self.open_groups
            .extend(changes.opened_groups.into_iter().map(|(no, span)| (no, Some(span))));
        self.open_groups.extend(changes.gone_groups.into_iter().map(|no| (no, None)));
        self.ended_runs.extend(changes.ended_run);
    }

    /// The snapshots in it.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The sequence of its last snapshot; `None`: it is empty.
    pub(super) fn sequence(&self) -> Option<i64> {
        self.head.as_ref().map(|head| head.sequence)
    }

    /// A measure of what it holds in memory: rows to be written.
    pub(super) fn rows(&self) -> usize {
        self.entries.len() + self.closed.len() + self.open.len() + self.closed_groups.len()
    }
}

impl Store {
    /// Begins a transaction that is to hold a source's head. It ends by itself if its client falls silent in the midst
    /// of it: whoever is going to take over from a recorder that was frozen just then would wait for it. Where the server
    /// is less patient, that stays.
    pub(super) async fn begin_recording(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        let mut transaction = self.pool.begin().await?;
        sqlx::query(
            "-- store::record::begin_recording
             select set_config(name, '30s', true)
               from (values ('idle_in_transaction_session_timeout')) t (name)
              where current_setting(name)::interval not between interval '1 ms' and interval '30 s'",
        )
        .execute(&mut *transaction)
        .await?;
        Ok(transaction)
    }

    /// Records a batch in one transaction; each part of it is dropped when it is written.
    ///
    /// # Errors
    /// [`StoreError::Fenced`]: another recorder has recorded since. [`StoreError::Deposed`]: another one leads.
    pub(super) async fn record(
        &self,
        source_id: SourceId,
        fence: &Fence,
        batch: Batch,
        months: &mut KnownMonths,
    ) -> Result<(), StoreError> {
        let Some(head) = &batch.head else { return Ok(()) };
        let observed = batch.entries.iter().map(|entry| entry.observed_at);
        let closed = batch.closed.iter().map(|closed| filed_under(closed.piece.to));
        let groups = batch.closed_groups.iter().map(|closed| filed_under(closed.piece.to));
        months.ensure(self, observed.chain(closed).chain(groups)).await?;

        let failed = StoreError::while_trying("record a snapshot");
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        move_head(&mut transaction, source_id, fence, head).await?;
        insert_registered(&mut transaction, source_id, batch.registered).await.map_err(&failed)?;
        insert_snapshots(&mut transaction, source_id, &batch.entries).await.map_err(&failed)?;
        insert_runs(&mut transaction, source_id, &batch.ended_runs).await.map_err(&failed)?;
        insert_spans(&mut transaction, source_id, &batch.closed).await.map_err(&failed)?;
        record_tally(&mut transaction, source_id, &batch.closed, &batch.open)
            .await
            .map_err(&failed)?;
        replace_open_spans(&mut transaction, source_id, &batch.open).await.map_err(&failed)?;
        insert_unlisted(&mut transaction, source_id, &batch.unlisted).await.map_err(&failed)?;
        insert_group_spans(&mut transaction, source_id, &batch.closed_groups)
            .await
            .map_err(&failed)?;
        replace_open_groups(&mut transaction, source_id, &batch.open_groups)
            .await
            .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)
    }

    /// Files the pieces of open spans that lie in months that are over.
    pub(super) async fn record_cut(
        &self,
        source_id: SourceId,
        fence: &Fence,
        cut: &Cut,
        months: &mut KnownMonths,
    ) -> Result<(), StoreError> {
        let closed = cut.closed.iter().map(|closed| filed_under(closed.piece.to));
        let groups = cut.closed_groups.iter().map(|closed| filed_under(closed.piece.to));
        months.ensure(self, closed.chain(groups)).await?;

        let failed = StoreError::while_trying("file what a month's end cuts");
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        let is_current: Option<i32> = sqlx::query_scalar(
            "-- store::record::record_cut
             select 1 from deskledger_data.head
              where source_id = $1 and sequence = $2 and ($3::bigint is null or epoch = $3) for update",
        )
        .bind(source_id)
        .bind(fence.built_on)
        .bind(fence.lease.as_ref().map(|lease| lease.epoch))
        .fetch_optional(&mut *transaction)
        .await
        .map_err(&failed)?;
        if is_current.is_none() {
            return Err(refused(&mut transaction, source_id, fence).await?);
        }
        let open = cut.opened.iter().map(|(no, span)| (*no, Some(*span))).collect();
        let open_groups = cut.opened_groups.iter().map(|(no, span)| (*no, Some(*span))).collect();
        insert_spans(&mut transaction, source_id, &cut.closed).await.map_err(&failed)?;
        replace_open_spans(&mut transaction, source_id, &open).await.map_err(&failed)?;
        insert_group_spans(&mut transaction, source_id, &cut.closed_groups)
            .await
            .map_err(&failed)?;
        replace_open_groups(&mut transaction, source_id, &open_groups).await.map_err(&failed)?;
        transaction.commit().await.map_err(&failed)
    }
}

/// What must still hold for a batch to be written.
#[derive(Clone, Debug)]
pub(super) struct Fence {
    /// The sequence that its first snapshot follows.
    pub(super) built_on: i64,
    /// The lease it is written under; `None`: it is written by one that needs none, such as the demo's.
    pub(super) lease: Option<Lease>,
}

/// A lease that is held, and for how many seconds a recording renews it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lease {
    pub(super) epoch: i64,
    pub(super) seconds: f64,
}
/// Moves the source's head on, if it is where the beliefs were built on and the lease is still held, which
/// is renewed; this also keeps others from recording until the transaction ends.
async fn move_head(
    connection: &mut PgConnection,
    source_id: SourceId,
    fence: &Fence,
    head: &Head,
) -> Result<(), StoreError> {
    let moved = sqlx::query(
        "-- store::record::move_head
         update deskledger_data.head
            set sequence = $3, digest = $4, first_at = $5, observed_at = $6, max_gap = $7,
                scheduled_at = $8, usable_at = $9, run_from = $10, run_snapshots = $11,
                run_partial = $12, complete_at = $13, complete_run_from = $14, groups_at = $15,
                leased_until = case when $16::bigint is null then leased_until
                                    else clock_timestamp() + make_interval(secs => $17) end
          where source_id = $1 and sequence = $2 and ($16::bigint is null or epoch = $16)",
    )
    .bind(source_id)
    .bind(fence.built_on)
    .bind(head.sequence)
    .bind(head.digest.as_slice())
    .bind(head.first_at)
    .bind(head.newest.map(|mark| mark.at))
    .bind(head.newest.map(|mark| seconds(mark.max_gap)))
    .bind(head.scheduled_at)
    .bind(head.usable.map(|mark| mark.at))
    .bind(head.run.map(|run| run.from))
    .bind(head.run.map(|run| run.snapshots))
    .bind(head.run.map(|run| run.partial))
    .bind(head.complete.map(|mark| mark.at))
    .bind(head.complete_run_from)
    .bind(head.groups.map(|mark| mark.at))
    .bind(fence.lease.map(|lease| lease.epoch))
    .bind(fence.lease.map_or(0.0, |lease| lease.seconds))
    .execute(&mut *connection)
    .await
    .map_err(StoreError::while_trying("move the source's head"))?;
    if moved.rows_affected() == 1 {
        Ok(())
    } else {
        Err(refused(connection, source_id, fence).await?)
    }
}

/// Why the head is not where it was expected, or not ours.
async fn refused(
    connection: &mut PgConnection,
    source_id: SourceId,
    fence: &Fence,
) -> Result<StoreError, StoreError> {
    let (epoch, leader): (i64, Option<String>) = sqlx::query_as(
        "-- store::record::refused
         select epoch, leader from deskledger_data.head where source_id = $1",
    )
    .bind(source_id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::while_trying("read who records the source"))?;
    match fence.lease {
        Some(lease) if lease.epoch != epoch => Ok(StoreError::Deposed {
            leader: leader.unwrap_or_else(|| "nobody any more".to_owned()),
        }),
        _ => Ok(StoreError::Fenced { source_id }),
    }
}

async fn insert_snapshots(
    connection: &mut PgConnection,
    source_id: SourceId,
    entries: &[Entry],
) -> sqlx::Result<()> {
    fn all<T>(entries: &[Entry], column: impl Fn(&Entry) -> T) -> Vec<T> {
        entries.iter().map(column).collect()
    }
    sqlx::query(
        "-- store::record::insert_snapshots
         insert into deskledger_data.snapshot
                (source_id, sequence, scheduled_at, observed_at, finished_at, max_gap, desktops_outcome,
                 groups_outcome, desktops_total, desktops_recorded, groups_recorded, changes,
                 error_code, error_message, body_hash, digest)
         select $1, * from unnest($2::bigint[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                $6::integer[], $7::smallint[], $8::smallint[], $9::bigint[], $10::integer[], $11::integer[],
                $12::integer[], $13::text[], $14::text[], $15::bytea[], $16::bytea[])",
    )
    .bind(source_id)
    .bind(all(entries, |entry| entry.sequence))
    .bind(all(entries, |entry| entry.scheduled_at))
    .bind(all(entries, |entry| entry.observed_at))
    .bind(all(entries, |entry| entry.finished_at))
    .bind(all(entries, |entry| seconds(entry.max_gap)))
    .bind(all(entries, |entry| outcome_code(entry.desktops_outcome)))
    .bind(all(entries, |entry| outcome_code(entry.groups_outcome)))
    .bind(all(entries, |entry| entry.desktops_total))
    .bind(all(entries, |entry| entry.desktops_recorded))
    .bind(all(entries, |entry| entry.groups_recorded))
    .bind(all(entries, |entry| entry.changes))
    .bind(entries.iter().map(|entry| entry.error_code.as_deref()).collect::<Vec<_>>())
    .bind(entries.iter().map(|entry| entry.error_message.as_deref()).collect::<Vec<_>>())
    .bind(all(entries, |entry| entry.body_hash.map(Vec::from)))
    .bind(all(entries, |entry| Vec::from(entry.digest)))
    .execute(connection)
    .await
    .map(drop)
}

async fn insert_runs(
    connection: &mut PgConnection,
    source_id: SourceId,
    runs: &[Run],
) -> sqlx::Result<()> {
    for run in runs {
        sqlx::query(
            "-- store::record::insert_runs
             insert into deskledger_data.coverage_run (source_id, covered_from, covered_to, snapshots, partial)
             values ($1, $2, $3, $4, $5)",
        )
        .bind(source_id)
        .bind(run.from)
        .bind(run.to)
        .bind(run.snapshots)
        .bind(run.partial)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(super) async fn insert_spans(
    connection: &mut PgConnection,
    source_id: SourceId,
    closed: &[ClosedSpan],
) -> sqlx::Result<()> {
    fn all<T>(closed: &[ClosedSpan], column: impl Fn(&ClosedSpan) -> T) -> Vec<T> {
        closed.iter().map(column).collect()
    }
    let earlier =
        |row: &ClosedSpan| (row.span.first_seen != row.piece.from).then_some(row.span.first_seen);
    for closed in closed.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::record::insert_spans
             insert into deskledger_data.span
                    (source_id, desktop_no, label_no, status_id, ended, piece_from, piece_to, last_seen,
                     started_after, first_seen, connection_first_seen, connection_started_after, disconnected_at)
             select $1, * from unnest($2::integer[], $3::integer[], $4::smallint[], $5::smallint[],
                    $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                    $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::timestamptz[])",
        )
        .bind(source_id)
        .bind(all(closed, |row| row.desktop))
        .bind(all(closed, |row| row.span.label))
        .bind(all(closed, |row| row.span.status))
        .bind(all(closed, |row| if row.piece.goes_on { ended::CUT } else { row.ended }))
        .bind(all(closed, |row| row.piece.from))
        .bind(all(closed, |row| row.piece.to))
        .bind(all(closed, |row| row.piece.last_seen))
        .bind(all(closed, |row| row.span.started_after))
        .bind(all(closed, earlier))
        .bind(all(closed, |row| row.span.connection.map(|connection| connection.0)))
        .bind(all(closed, |row| row.span.connection.and_then(|connection| connection.1)))
        .bind(all(closed, |row| row.span.disconnected_at))
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn replace_open_spans(
    connection: &mut PgConnection,
    source_id: SourceId,
    open: &BTreeMap<DesktopNo, Option<OpenSpan>>,
) -> sqlx::Result<()> {
    let gone: Vec<DesktopNo> =
        open.iter().filter(|(_, span)| span.is_none()).map(|(no, _)| *no).collect();
    if !gone.is_empty() {
        sqlx::query(
            "-- store::record::replace_open_spans
             delete from deskledger_data.open_span where source_id = $1 and desktop_no = any($2)",
        )
        .bind(source_id)
        .bind(gone)
        .execute(&mut *connection)
        .await?;
    }
    fn all<T>(spans: &[(DesktopNo, OpenSpan)], column: impl Fn(&OpenSpan) -> T) -> Vec<T> {
        spans.iter().map(|(_, span)| column(span)).collect()
    }
    let mut open = open.iter().filter_map(|(no, span)| span.map(|span| (*no, span)));
    loop {
        let spans: Vec<(DesktopNo, OpenSpan)> = open.by_ref().take(ROWS_AT_ONCE).collect();
        if spans.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "-- store::record::replace_open_spans
             insert into deskledger_data.open_span
                    (source_id, desktop_no, label_no, status_id, piece_from, first_seen, last_seen, unlisted_since,
                     started_after, connection_first_seen, connection_started_after, disconnected_at)
             select $1, * from unnest($2::integer[], $3::integer[], $4::smallint[], $5::timestamptz[],
                    $6::timestamptz[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                    $10::timestamptz[], $11::timestamptz[], $12::timestamptz[])
             on conflict (source_id, desktop_no) do update
                set label_no = excluded.label_no, status_id = excluded.status_id,
                    piece_from = excluded.piece_from, first_seen = excluded.first_seen,
                    last_seen = excluded.last_seen, unlisted_since = excluded.unlisted_since,
                    started_after = excluded.started_after,
                    connection_first_seen = excluded.connection_first_seen,
                    connection_started_after = excluded.connection_started_after,
                    disconnected_at = excluded.disconnected_at",
        )
        .bind(source_id)
        .bind(spans.iter().map(|(no, _)| *no).collect::<Vec<_>>())
        .bind(all(&spans, |span| span.label))
        .bind(all(&spans, |span| span.status))
        .bind(all(&spans, |span| span.piece_from))
        .bind(all(&spans, |span| span.first_seen))
        .bind(all(&spans, |span| span.unlisted.map(|(mark, _)| mark.at)))
        .bind(all(&spans, |span| span.unlisted.map(|(_, since)| since)))
        .bind(all(&spans, |span| span.started_after))
        .bind(all(&spans, |span| span.connection.map(|connection| connection.0)))
        .bind(all(&spans, |span| span.connection.and_then(|connection| connection.1)))
        .bind(all(&spans, |span| span.disconnected_at))
        .execute(&mut *connection)
        .await?;
    }
}

pub(super) async fn insert_unlisted(
    connection: &mut PgConnection,
    source_id: SourceId,
    unlisted: &[(DesktopNo, Instant, Instant)],
) -> sqlx::Result<()> {
    for unlisted in unlisted.chunks(ROWS_AT_ONCE) {
        sqlx::query(
            "-- store::record::insert_unlisted
             insert into deskledger_data.unlisted (source_id, desktop_no, from_at, to_at)
             select $1, * from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[])",
        )
        .bind(source_id)
        .bind(unlisted.iter().map(|row| row.0).collect::<Vec<_>>())
        .bind(unlisted.iter().map(|row| row.1).collect::<Vec<_>>())
        .bind(unlisted.iter().map(|row| row.2).collect::<Vec<_>>())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

pub(super) async fn insert_group_spans(
    connection: &mut PgConnection,
    source_id: SourceId,
    closed: &[ClosedGroupSpan],
) -> sqlx::Result<()> {
    if closed.is_empty() {
        return Ok(());
    }
    let is_wide = |row: &&ClosedGroupSpan| {
        row.counters.iter().flatten().any(|counter| i16::try_from(*counter).is_err())
    };
    let narrow = |row: &ClosedGroupSpan, at: usize| {
        row.counters[at].and_then(|counter| i16::try_from(counter).ok())
    };
    let mut query = sqlx::query(
        "-- store::record::insert_group_spans
         insert into deskledger_data.group_span
                (source_id, group_no, from_at, to_at, last_seen, is_continued,
                 running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num,
                 cannot_attach_num, in_process_num, in_use_num, unregistered_num, ready_num,
                 disconnected_num, unknown_num)
         select $1, * from unnest($2::integer[], $3::timestamptz[], $4::timestamptz[], $5::timestamptz[],
                $6::boolean[], $7::smallint[], $8::smallint[], $9::smallint[], $10::smallint[], $11::smallint[],
                $12::smallint[], $13::smallint[], $14::smallint[], $15::smallint[], $16::smallint[],
                $17::smallint[], $18::smallint[], $19::smallint[])",
    )
    .bind(source_id)
    .bind(closed.iter().map(|row| row.group).collect::<Vec<_>>())
    .bind(closed.iter().map(|row| row.piece.from).collect::<Vec<_>>())
    .bind(closed.iter().map(|row| row.piece.to).collect::<Vec<_>>())
    .bind(closed.iter().map(|row| row.piece.last_seen).collect::<Vec<_>>())
    .bind(closed.iter().map(|row| row.is_continued).collect::<Vec<_>>());
    for at in 0..crate::domain::COUNTERS.len() {
        query = query.bind(closed.iter().map(|row| narrow(row, at)).collect::<Vec<_>>());
    }
    query.execute(&mut *connection).await?;
    for row in closed.iter().filter(is_wide) {
        sqlx::query(
            "-- store::record::insert_group_spans
             insert into deskledger_data.group_span_wide (source_id, group_no, from_at, counters)
             values ($1, $2, $3, $4)",
        )
        .bind(source_id)
        .bind(row.group)
        .bind(row.piece.from)
        .bind(row.counters.as_slice())
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

async fn replace_open_groups(
    connection: &mut PgConnection,
    source_id: SourceId,
    open: &BTreeMap<GroupNo, Option<OpenGroupSpan>>,
) -> sqlx::Result<()> {
    let gone: Vec<GroupNo> =
        open.iter().filter(|(_, span)| span.is_none()).map(|(no, _)| *no).collect();
    if !gone.is_empty() {
        sqlx::query(
            "-- store::record::replace_open_groups
             delete from deskledger_data.open_group_span where source_id = $1 and group_no = any($2)",
        )
        .bind(source_id)
        .bind(gone)
        .execute(&mut *connection)
        .await?;
    }
    let spans: Vec<(GroupNo, OpenGroupSpan)> =
        open.iter().filter_map(|(no, span)| span.map(|span| (*no, span))).collect();
    if spans.is_empty() {
        return Ok(());
    }
    // PostgreSQL has no arrays of arrays that unnest by row: the counters come in one, 13 a group.
    sqlx::query(
        "-- store::record::replace_open_groups
         insert into deskledger_data.open_group_span (source_id, group_no, from_at, is_continued, counters)
         select $1, group_no, from_at, is_continued, ($5::bigint[])[nth * 13 - 12 : nth * 13]
           from unnest($2::integer[], $3::timestamptz[], $4::boolean[])
                with ordinality as given (group_no, from_at, is_continued, nth)
         on conflict (source_id, group_no) do update
            set from_at = excluded.from_at, is_continued = excluded.is_continued,
                counters = excluded.counters",
    )
    .bind(source_id)
    .bind(spans.iter().map(|(no, _)| *no).collect::<Vec<_>>())
    .bind(spans.iter().map(|(_, span)| span.from).collect::<Vec<_>>())
    .bind(spans.iter().map(|(_, span)| span.is_continued).collect::<Vec<_>>())
    .bind(spans.iter().flat_map(|(_, span)| span.counters).collect::<Vec<_>>())
    .execute(connection)
    .await
    .map(drop)
}

pub(super) fn seconds(duration: chrono::TimeDelta) -> i32 {
    i32::try_from(duration.num_seconds()).expect("max_gap was checked to fit when it was read")
}

/// The number that stands for an outcome in the ledger.
pub(super) fn outcome_code(outcome: Outcome) -> i16 {
    match outcome {
        Outcome::Failed => 0,
        Outcome::Partial => 1,
        Outcome::Complete => 2,
    }
}
