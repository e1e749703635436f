//! Snapshots that came too late for the history: kept whole, outside the spans, as entries of the chain.

use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, PgConnection};

use super::record::{outcome_code, seconds};
use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::digest::{Digest, Header, Kind, Salt, entry_digest, late_commitment};
use crate::domain::history::{HistoryError, is_late};
use crate::domain::{Instant, Snapshot};

/// What keeping a late snapshot came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The same visit is in the ledger already; nothing was written.
    Recorded,
    /// It is kept.
    Kept {
        /// Its number in the source's chain.
        sequence: i64,
    },
}

/// How a late entry moved the source's head: sequence and digest before and after.
#[derive(Debug)]
pub(super) struct Moved {
    pub(super) from: (i64, Digest),
    pub(super) to: (i64, Digest),
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    sequence: i64,
    digest: Vec<u8>,
    observed_at: Option<Instant>,
    scheduled_at: Option<Instant>,
}

/// A late snapshot's row.
struct Row<'a> {
    source_id: SourceId,
    header: Header<'a>,
    max_gap: i32,
    desktops_recorded: Option<i32>,
    groups_recorded: Option<i32>,
}

impl Store {
    /// Keeps a late snapshot, in one transaction; `None`: the same visit is in the ledger already. `erasures`: how many of
    /// the source were known when it was seen to that nobody is named in the line who was erased.
    pub(super) async fn record_late(
        &self,
        source_id: SourceId,
        snapshot: &Snapshot,
        line: impl FnOnce() -> String + Send,
        received_at: Instant,
        salt: &Salt,
        erasures: i64,
    ) -> Result<Option<Moved>, StoreError> {
        let Snapshot { observed_at, finished_at, .. } = *snapshot;
        if finished_at < observed_at {
            return Err(HistoryError::EndsBeforeStart { observed_at, finished_at }.into());
        }
        let failed = StoreError::while_trying("keep a late snapshot");
        let mut transaction = self.begin_recording().await.map_err(&failed)?;
        // Nobody else records until this is over.
        let head: HeadRow = sqlx::query_as(
            "-- store::late::record_late
             select sequence, digest, observed_at, scheduled_at from deskledger_data.head
              where source_id = $1 for update",
        )
        .bind(source_id)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        // Whoever was erased since the line was written may be named in it.
        let erasures_now: i64 = sqlx::query_scalar(
            "-- store::late::record_late
             select count(*) from deskledger_data.erasure where source_id = $1",
        )
        .bind(source_id)
        .fetch_one(&mut *transaction)
        .await
        .map_err(&failed)?;
        if erasures_now != erasures {
            return Err(StoreError::Fenced { source_id });
        }
        let row = Row::of(source_id, snapshot);
        if row.is_recorded(&mut transaction).await.map_err(&failed)? {
            return Ok(None);
        }
        if !is_late(observed_at, snapshot.scheduled_at, head.observed_at, head.scheduled_at) {
            return Err(StoreError::NotLate { observed_at });
        }
        let before = Digest::try_from(head.digest)
            .map_err(|_| StoreError::Inconsistent("head.digest has not 32 bytes".to_owned()))?;
        let sequence = head.sequence + 1;
        let line = &*line();
        let body = late_commitment(salt, line);
        let header = row.header.late_hash(received_at);
        let digest = entry_digest(&before, sequence, Kind::Late, &header, &body);
        let entry = Entry { sequence, received_at, line, salt, body, digest };
        row.insert(&mut transaction, &entry).await.map_err(&failed)?;
        sqlx::query(
            "-- store::late::record_late
             update deskledger_data.head set sequence = $2, digest = $3 where source_id = $1",
        )
        .bind(source_id)
        .bind(sequence)
        .bind(digest.as_slice())
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
        transaction.commit().await.map_err(&failed)?;
        Ok(Some(Moved { from: (head.sequence, before), to: (sequence, digest) }))
    }
}

/// What the chain adds to a row.
struct Entry<'a> {
    sequence: i64,
    received_at: Instant,
    line: &'a str,
    salt: &'a Salt,
    body: Digest,
    digest: Digest,
}

impl<'a> Row<'a> {
    fn of(source_id: SourceId, snapshot: &'a Snapshot) -> Self {
        let header = Header::of(snapshot, 0);
        let count = |all: Option<i64>| {
            all.map(|all| i32::try_from(all).expect("fewer than 2^31 fit in memory"))
        };
        Self {
            source_id,
            max_gap: seconds(snapshot.max_gap),
            desktops_recorded: count(header.desktops_recorded),
            groups_recorded: count(header.groups_recorded),
            header,
        }
    }

    /// What tells it from other visits of its source, as parameters 1 to 12 of a statement.
    fn arguments(&self) -> sqlx::Result<PgArguments> {
        let header = &self.header;
        let mut arguments = PgArguments::default();
        let mut add = || {
            arguments.add(self.source_id)?;
            arguments.add(header.observed_at)?;
            arguments.add(header.finished_at)?;
            arguments.add(header.scheduled_at)?;
            arguments.add(self.max_gap)?;
            arguments.add(outcome_code(header.desktops_outcome))?;
            arguments.add(outcome_code(header.groups_outcome))?;
            arguments.add(header.total)?;
            arguments.add(self.desktops_recorded)?;
            arguments.add(self.groups_recorded)?;
            arguments.add(header.error_code)?;
            arguments.add(header.error_message)
        };
        add().map_err(sqlx::Error::Encode)?;
        Ok(arguments)
    }

    /// Whether the ledger holds this visit, in the history or among the late ones.
    async fn is_recorded(&self, connection: &mut PgConnection) -> sqlx::Result<bool> {
        sqlx::query_scalar_with(
            "-- store::late::is_recorded
             with given as (
                 select $3::timestamptz as finished_at, $4::timestamptz as scheduled_at, $5::integer as max_gap,
                        $6::smallint as desktops_outcome, $7::smallint as groups_outcome,
                        $8::bigint as desktops_total, $9::integer as desktops_recorded,
                        $10::integer as groups_recorded, $11::text as error_code, $12::text as error_message
             ), of_its_instant as (
                 select finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome, desktops_total,
                        desktops_recorded, groups_recorded, error_code, error_message
                   from deskledger_data.visit
                  where source_id = $1 and observed_at = $2 and snapshot_id is not null
                    and day_from = date_bin('1 day', $2::timestamptz, '2000-01-01 00:00:00+00')
                  union all
                 select finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome, desktops_total,
                        desktops_recorded, groups_recorded, error_code, error_message
                   from deskledger_data.late where source_id = $1 and observed_at = $2
                  union all
                 -- As far as anything is left of it.
                 select v.finished_at, g.scheduled_at, v.max_gap, v.desktops_outcome, v.groups_outcome, v.desktops_total,
                        v.desktops_recorded, g.groups_recorded, g.error_code, g.error_message
                   from given g
                  cross join deskledger_data.visit v
                  where v.source_id = $1 and v.observed_at = $2 and v.snapshot_id is null
                    and v.day_from = date_bin('1 day', $2::timestamptz, '2000-01-01 00:00:00+00')
             )
             select exists (select from of_its_instant n, given g where n is not distinct from g)",
            self.arguments()?,
        )
        .fetch_one(connection)
        .await
    }

    async fn insert(&self, connection: &mut PgConnection, entry: &Entry<'_>) -> sqlx::Result<()> {
        sqlx::query_with(
            "-- store::late::insert
             insert into deskledger_data.late
                    (source_id, observed_at, finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome,
                     desktops_total, desktops_recorded, groups_recorded, error_code, error_message,
                     sequence, received_at, line, salt, body_hash, digest)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)",
            self.arguments()?,
        )
        .bind(entry.sequence)
        .bind(entry.received_at)
        .bind(entry.line)
        .bind(entry.salt.as_slice())
        .bind(entry.body.as_slice())
        .bind(entry.digest.as_slice())
        .execute(connection)
        .await
        .map(drop)
    }
}

/// The lines of a source's late snapshots in the order of the chain, less those that are erased.
#[derive(Debug)]
pub struct LateLines {
    store: Store,
    source_id: SourceId,
    after: i64,
    from: Option<Instant>,
    until: Option<Instant>,
}

impl LateLines {
    /// Those that were observed from `from` on, up to and without `until`.
    #[must_use]
    pub fn open(
        store: &Store,
        source_id: SourceId,
        from: Option<Instant>,
        until: Option<Instant>,
    ) -> Self {
        Self { store: store.clone(), source_id, after: 0, from, until }
    }

    /// The next one, without its end.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next(&mut self) -> Result<Option<String>, StoreError> {
        let row: Option<(i64, String)> = sqlx::query_as(
            "-- store::late::next
             select sequence, line from deskledger_data.late
              where source_id = $1 and sequence > $2 and line is not null
                and observed_at >= coalesce($3, '-infinity') and observed_at < coalesce($4, 'infinity')
              order by sequence limit 1",
        )
        .bind(self.source_id)
        .bind(self.after)
        .bind(self.from)
        .bind(self.until)
        .fetch_optional(&self.store.pool)
        .await
        .map_err(StoreError::while_trying("read late snapshots back"))?;
        Ok(row.map(|(sequence, line)| {
            self.after = sequence;
            line
        }))
    }
}
