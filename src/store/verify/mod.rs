//! Reads a whole ledger, as of one moment, and has every row of it checked.
//!
//! One task reads each stream of rows while another thread checks them ([`crate::domain::audit`]), and
//! several sources are looked at side by side. All connections see the ledger as of the same moment, so a
//! recorder may go on meanwhile.

mod load;
mod packed;
mod said;
mod standing;
mod statements;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::{StreamExt as _, TryStreamExt as _};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use super::source::SourceId;
use super::{Store, StoreError};
use crate::domain::audit::{Checkpoint, Fault, Place, Summary, Wrong};
use crate::domain::{Instant, Source};

/// Sources that are looked at side by side, at most: each takes up to ten connections.
const SIDE_BY_SIDE: usize = 6;

/// What verifying a source came to.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The source, as it is registered.
    pub source: Source,
    /// When it was registered.
    pub created_at: Instant,
    /// What was looked at, up to the fault if there is one.
    pub summary: Summary,
    /// The first thing that is wrong; `None`: nothing is.
    pub fault: Option<Fault>,
}

/// How far verifying is, in snapshots; may be read while it goes on.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    all: Arc<AtomicU64>,
    done: Arc<AtomicU64>,
}

impl Progress {
    /// The snapshots that are looked at, and how many there are.
    #[must_use]
    pub fn now(&self) -> (u64, u64) {
        (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed))
    }

    fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }
}

/// A moment of the ledger that several connections look at.
struct Moment {
    options: PgConnectOptions,
    snapshot: String,
}

impl Moment {
    /// Another connection to it.
    async fn connect(&self) -> Result<PgConnection, StoreError> {
        let failed = StoreError::while_trying("connect to the database once more");
        let mut connection = PgConnection::connect_with(&self.options).await.map_err(&failed)?;
        begin(&mut connection).await.map_err(&failed)?;
        // The name is the server's own.
        let set = format!("set transaction snapshot '{}'", self.snapshot);
        sqlx::raw_sql(AssertSqlSafe(set)).execute(&mut connection).await.map_err(&failed)?;
        Ok(connection)
    }
}

/// Begins a transaction that reads as of one moment, for as long as it takes.
async fn begin(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql(
        "begin isolation level repeatable read, read only;
         set local statement_timeout = 0;
         set local idle_in_transaction_session_timeout = 0;
         set local work_mem = '64MB'",
    )
    .execute(connection)
    .await
    .map(drop)
}

impl Store {
    /// Checks every row of the ledger, or of the source named: digests, spans, coverage, heads, names, tallies.
    /// Each chain must go through its source's checkpoint, where one is given.
    ///
    /// Returns a verdict for each source, by name.
    ///
    /// # Errors
    /// The database is away, or does not let us read its tables.
    pub async fn verify(
        &self,
        only: Option<&str>,
        checkpoints: &BTreeMap<String, Checkpoint>,
        progress: &Progress,
    ) -> Result<Vec<Verdict>, StoreError> {
        let failed = StoreError::while_trying("read the ledger as of one moment");
        let options = PgConnectOptions::clone(&self.pool.connect_options());
        // Not of the pool, since it stays in the midst of a transaction.
        let mut first = PgConnection::connect_with(&options).await.map_err(&failed)?;
        begin(&mut first).await.map_err(&failed)?;
        let snapshot: String = sqlx::query_scalar("select pg_export_snapshot()")
            .fetch_one(&mut first)
            .await
            .map_err(&failed)?;
        let moment = Moment { options, snapshot };
        let sources = sources(&mut first, only).await.map_err(&failed)?;
        let names: Vec<SourceId> = sources.iter().map(|row| row.0).collect();
        let all: i64 = sqlx::query_scalar(
            "-- store::verify::verify
             select coalesce(sum(sequence), 0)::bigint from deskledger_data.head where source_id = any($1)",
        )
        .bind(names)
        .fetch_one(&mut first)
        .await
        .map_err(&failed)?;
        progress.all.store(u64::try_from(all).unwrap_or(0), Ordering::Relaxed);

        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let walks = futures_util::stream::iter(sources)
            .map(|(id, source, created_at)| {
                let checkpoint = checkpoints.get(&source.name).cloned();
                let moment = &moment;
                async move {
                    let (summary, fault) =
                        walk::source(moment, id, &source.name, checkpoint, progress).await?;
                    Ok::<_, StoreError>((id, Verdict { source, created_at, summary, fault }))
                }
            })
            .buffered(cores.min(SIDE_BY_SIDE))
            .try_collect::<Vec<(SourceId, Verdict)>>();
        let packing = async { wrong_packing(&mut first).await.map_err(&failed) };
        let (mut verdicts, wrong_packing) = tokio::try_join!(walks, packing)?;
        let mut faults = doubled_ids(&mut first).await.map_err(&failed)?;
        faults.extend(standing::wrong_standings(&mut first).await.map_err(&failed)?);
        for (id, fault) in faults {
            let verdict = verdicts.iter_mut().find(|(source, _)| *source == id);
            if let Some((_, verdict)) = verdict {
                verdict.fault = earlier(Some(fault), verdict.fault.take());
            }
        }
        for (id, fault) in wrong_packing {
            let verdict = verdicts.iter_mut().find(|(source, _)| *source == id);
            // Derived: where the spans are wrong already, it is their fault that is told.
            if let Some((_, verdict)) = verdict {
                verdict.fault.get_or_insert(fault);
            }
        }
        first.close().await.map_err(&failed)?;
        Ok(verdicts.into_iter().map(|(_, verdict)| verdict).collect())
    }
}

async fn sources(
    connection: &mut PgConnection,
    only: Option<&str>,
) -> sqlx::Result<Vec<(SourceId, Source, Instant)>> {
    type Row = (SourceId, String, Option<String>, Option<String>, Option<String>, Instant);
    let rows: Vec<Row> = sqlx::query_as(
        "-- store::verify::sources
         select source_id, name, region, project_id, endpoint, created_at from deskledger_data.source
          where name = coalesce($1, name) order by name collate \"C\"",
    )
    .bind(only)
    .fetch_all(connection)
    .await?;
    let rows = rows.into_iter().map(|(id, name, region, project_id, endpoint, created_at)| {
        (id, Source { name, region, project_id, endpoint }, created_at)
    });
    Ok(rows.collect())
}

/// Snapshots of different sources whose id is the same, which belongs to one alone: the first few.
async fn doubled_ids(connection: &mut PgConnection) -> sqlx::Result<Vec<(SourceId, Fault)>> {
    let rows: Vec<(SourceId, i64, i64, Instant)> = sqlx::query_as(
        "-- store::verify::doubled_ids
         with entry as (
             select source_id, snapshot_id, sequence, observed_at from deskledger_data.visit where snapshot_id is not null
              union all
             select source_id, snapshot_id, sequence, observed_at from deskledger_data.late
         )
         select source_id, snapshot_id, sequence, observed_at from entry
          where snapshot_id in (select snapshot_id from entry
                                 group by snapshot_id having count(distinct source_id) > 1 order by 1 limit 100)",
    )
    .fetch_all(connection)
    .await?;
    let faults = rows.into_iter().map(|(source, snapshot_id, sequence, observed_at)| {
        let at = Some(Place::of_snapshot(snapshot_id, sequence, observed_at));
        let wrong = Wrong::new(
            "`snapshot_id` of the snapshot",
            "a number of its own",
            "one that another has too",
        );
        (source, Fault::at(at, wrong))
    });
    Ok(faults.collect())
}

/// What of the packed months is not as packing writes it, though their spans may be right: the first of each source.
async fn wrong_packing(connection: &mut PgConnection) -> sqlx::Result<Vec<(SourceId, Fault)>> {
    let rows: Vec<(SourceId, Instant, String, i64, i64, Instant)> = sqlx::query_as(
        "-- store::verify::wrong_packing
         select distinct on (1) w.source_id, w.month_from, w.what, n.snapshot_id, n.sequence, n.observed_at
           from (select m.source_id, m.month_from, '`packed_month`' as what
                   from deskledger_data.packed_month m
                  -- One that lasts is packed up to a day.
                  where m.month_to > deskledger_report.month_end(m.month_from)
                     or m.month_to <= m.month_from
                     or m.is_whole
                        and (m.at = '{}' or m.month_to <> deskledger_report.month_end(m.month_from)
                             or not exists (select from deskledger_data.head h
                                             where h.source_id = m.source_id and h.observed_at >= m.month_to)
                             or exists (select from deskledger_data.open_span o
                                         where o.source_id = m.source_id and o.piece_from < m.month_to))
                     or m.at <> '{}'
                        and m.at is distinct from
                            array[coalesce(deskledger_data.visit_before(m.source_id, m.month_from, false), '-infinity'),
                                  m.month_from]
                            || deskledger_data.instants(m.source_id, m.month_from, m.month_to, false)
                            || array[deskledger_report.month_end(m.month_from) - interval '1 microsecond',
                                     deskledger_report.month_end(m.month_from)]
                  union all
                 select m.source_id, m.month_from, '`packed_group_month`'
                   from deskledger_data.packed_group_month m
                  where m.month_to <> deskledger_report.month_end(m.month_from)
                     or m.at is distinct from
                        array[coalesce(deskledger_data.visit_before(m.source_id, m.month_from, true), '-infinity'),
                              m.month_from]
                        || deskledger_data.instants(m.source_id, m.month_from, m.month_to, true)
                        || array[m.month_to - interval '1 microsecond', m.month_to]
                  union all
                 select k.source_id, k.month_from, format('`packed_group` of group number %s', k.group_no)
                   from deskledger_report.packed_group k
                  cross join lateral (
                        select bool_or(e.event >= e.next
                                       -- One ends, and another begins or none; none ends twice, and what ended has no counters.
                                       or e.event & 3 <> 0 and e.next & 3 <> 0
                                       or e.event & 3 <> 0
                                          and num_nonnulls(k.running_num[e.nth], k.stop_num[e.nth], k.hibernate_num[e.nth], k.other_num[e.nth],
                                          k.attached_num[e.nth], k.unattached_num[e.nth], k.cannot_attach_num[e.nth],
                                          k.in_process_num[e.nth], k.in_use_num[e.nth], k.unregistered_num[e.nth], k.ready_num[e.nth],
                                          k.disconnected_num[e.nth], k.unknown_num[e.nth]) > 0
                                       or e.event & 3 = 3 and e.event >> 2 <> cardinality(k.at)
                                       or e.next is null and e.event & 3 = 0) as is_odd
                          from (select u.nth, u.event, lead(u.event) over (order by u.nth) as next
                                  from unnest(k.events) with ordinality u (event, nth)) e) e
                  where e.is_odd
                     or k.events[1] & 3 <> 0
                     or cardinality(k.running_num) <> cardinality(k.events)
                     or cardinality(k.stop_num) <> cardinality(k.events)
                     or cardinality(k.hibernate_num) <> cardinality(k.events)
                     or cardinality(k.other_num) <> cardinality(k.events)
                     or cardinality(k.attached_num) <> cardinality(k.events)
                     or cardinality(k.unattached_num) <> cardinality(k.events)
                     or cardinality(k.cannot_attach_num) <> cardinality(k.events)
                     or cardinality(k.in_process_num) <> cardinality(k.events)
                     or cardinality(k.in_use_num) <> cardinality(k.events)
                     or cardinality(k.unregistered_num) <> cardinality(k.events)
                     or cardinality(k.ready_num) <> cardinality(k.events)
                     or cardinality(k.disconnected_num) <> cardinality(k.events)
                     or cardinality(k.unknown_num) <> cardinality(k.events)
                  union all
                 select k.source_id, k.month_from, format('`packed_group` of group number %s', k.group_no)
                   from deskledger_data.packed_group k
                  where not exists (select from deskledger_data.packed_group_month m
                                     where m.source_id = k.source_id and m.month_from = k.month_from)
                  union all
                 -- What goes into the chain of pruned ones is checked with it; of packed ones these are not in the chain.
                 select d.source_id, d.day_from, format('`visit_day` of %s', to_char(d.day_from at time zone 'UTC', 'YYYY-MM-DD'))
                   from deskledger_data.visit_day d
                  where d.snapshot_id is not null
                    and (d.day_from <> any (select date_bin('1 day', v, '2000-01-01 00:00:00+00') from unnest(d.observed_at) v)
                         or d.scheduled_at is distinct from (select max(v) from unnest(d.ticked_at) v)
                         or d.observed_at <> (select array_agg(v order by v) from unnest(d.observed_at) v))) w
           cross join lateral (
                select s.snapshot_id, s.sequence, s.observed_at
                  from deskledger_data.visit s
                 where s.source_id = w.source_id and s.snapshot_id is not null
                 order by s.observed_at >= w.month_from desc, s.observed_at limit 1) n
          order by 1, 2",
    )
    .fetch_all(connection)
    .await?;
    let faults =
        rows.into_iter().map(|(source, month, what, snapshot_id, sequence, observed_at)| {
            let what = format!("{what} in {}", month.format("%Y-%m"));
            let wrong = Wrong::new(what, "as packing writes it", "otherwise");
            (source, Fault::at(Some(Place::of_snapshot(snapshot_id, sequence, observed_at)), wrong))
        });
    Ok(faults.collect())
}

/// The one of two faults that comes first in the history.
fn earlier(one: Option<Fault>, other: Option<Fault>) -> Option<Fault> {
    let place = |fault: &Fault| (fault.at.map_or(0, |place| place.sequence), fault.is_after);
    one.into_iter().chain(other).min_by_key(place)
}
