//! Packing: the same spans in a twentieth of the room (`migrations/0015_packed.sql` says how), and beside them what reports sum
//! up over whole months (`migrations/0016_sums.sql`).
//!
//! A month is packed while it lasts, day by day: what was filed since is added to what is packed, of which nothing is changed
//! but that its last span is followed now. What is held where a day ends is filed when it ends, and packed with a later day.
//!
//! Nothing is taken on trust: a span leaves its table only in the transaction in which it was read back from what it was packed
//! into, and equals it in every column. Wherever this stops, every answer is the same.

use std::time::{Duration, Instant as Moment};

use chrono::TimeDelta;
use sqlx::postgres::{PgArguments, PgRow};
use sqlx::{Connection as _, PgConnection, Postgres};

use super::{SourceId, Store, StoreError};
use crate::domain::Instant;
use crate::domain::months::next_month;

/// How many desktops are packed in one transaction.
const AT_ONCE: i32 = 500;
/// How long what rewrites or tidies up a table may wait for its readers, and others for it. The next time comes.
const PATIENCE: Duration = Duration::from_secs(2);

/// A month of one source of which spans can be packed.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Packable {
    /// The source's number.
    pub source_id: SourceId,
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    #[sqlx(rename = "month_from")]
    pub month: Instant,
    /// Up to when it is to be packed: to its end, or to where the source's newest day begins; no visit before it is recorded any more.
    pub until: Instant,
    /// How many desktops the source ever had.
    pub desktops: i32,
}

impl Packable {
    /// Whether the month is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.until == next_month(self.month)
    }

    /// Whether its spans are in the same table as the other's, and it is as much over.
    #[must_use]
    pub fn goes_with(&self, other: &Self) -> bool {
        (self.month, self.is_over()) == (other.month, other.is_over())
    }

    /// The days that are to be packed by then, for a person: `2026-10`, or `2026-11-01 to 2026-11-12`.
    #[must_use]
    pub fn days(&self) -> String {
        let month = self.month.format("%Y-%m");
        if self.is_over() {
            return month.to_string();
        }
        let last = self.until - TimeDelta::microseconds(1);
        format!("{month}-01 to {}", last.format("%Y-%m-%d"))
    }
}

/// What packing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The spans that are packed now.
    pub packed: u64,
    /// Those that stay as they are.
    pub left: u64,
}

/// A month of one source that is over and stays as it is, or as far packed as it is.
#[derive(Clone, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Unpackable {
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    #[sqlx(rename = "month_from")]
    pub month: Instant,
    /// How many spans are rows.
    pub spans: i64,
    /// Why.
    #[sqlx(try_from = "String")]
    pub why: Why,
}

/// Why a month is not packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something that is open reaches into it: its source was not listed since.
    Open,
    /// It was visited at its last microsecond, which stands for what goes on.
    LastMicrosecond,
    /// It has more visits than an event can number.
    TooManyVisits,
}

impl From<String> for Why {
    fn from(text: String) -> Self {
        match &*text {
            "open" => Self::Open,
            "last microsecond" => Self::LastMicrosecond,
            _ => Self::TooManyVisits,
        }
    }
}

impl Store {
    /// What can be packed, of all sources or of one, the oldest first: months that are over, and the one that lasts as far as its days
    /// are over, if those are at least so many that are not packed yet. A month is over for a source when a visit was recorded after
    /// it, and nothing that is open reaches into it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn packable(
        &self,
        source: Option<&str>,
        days: i32,
    ) -> Result<Vec<Packable>, StoreError> {
        sqlx::query_as(
            "-- store::pack::packable
             select h.source_id, s.name as source, m.month_from, m.until, coalesce(d.desktops, 0) as desktops
               from deskledger_data.head h
               join deskledger_data.source s using (source_id)
              cross join lateral (select max(desktop_no) + 1 as desktops
                                    from deskledger_data.desktop d where d.source_id = h.source_id) d
              cross join generate_series(
                     date_trunc('month', h.first_at at time zone 'UTC'),
                     date_trunc('month', h.observed_at at time zone 'UTC'),
                     interval '1 month') month
              cross join lateral (select month at time zone 'UTC' as month_from,
                                         least((month + interval '1 month') at time zone 'UTC',
                                               date_trunc('day', h.observed_at at time zone 'UTC') at time zone 'UTC') as until,
                                         (month + interval '1 month') at time zone 'UTC' <= h.observed_at as is_over) m
               left join deskledger_data.packed_month p on p.source_id = h.source_id and p.month_from = m.month_from
              where ($1::text is null or s.name = $1)
                and p.is_done is not true
                and (m.is_over or m.until >= coalesce(p.month_to, m.month_from) + make_interval(days => $2))
                and not exists (select from deskledger_report.pruned p
                                 where p.source_id = h.source_id and p.month_from = m.month_from and p.class = 'spans')
                and not (m.is_over and exists (select from deskledger_data.open_span o
                                                where o.source_id = h.source_id and o.piece_from < m.until))
              order by m.month_from, s.name",
        )
        .bind(source)
        .bind(days)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for months to pack"))
    }

    /// The months that are over and cannot be packed, of all sources or of one, the oldest first.
    ///
    /// # Errors
    /// The database is away.
    pub async fn unpackable(&self, source: Option<&str>) -> Result<Vec<Unpackable>, StoreError> {
        sqlx::query_as(
            "-- store::pack::unpackable
             select s.name as source, m.month_from,
                    (select count(*) from deskledger_data.span n
                      where n.source_id = h.source_id and n.piece_to > m.month_from and n.piece_to <= m.month_to) as spans,
                    case when p.is_done is not true then 'open'
                         when exists (select from deskledger_data.visit n
                                       where n.source_id = h.source_id and n.desktops_outcome > 0
                                         and n.day_from = m.month_to - interval '24 hours'
                                         and n.observed_at = m.month_to - interval '1 microsecond') then 'last microsecond'
                         else 'too many visits' end as why
               from deskledger_data.head h
               join deskledger_data.source s using (source_id)
              cross join generate_series(
                     date_trunc('month', h.first_at at time zone 'UTC'),
                     date_trunc('month', h.observed_at at time zone 'UTC'),
                     interval '1 month') month
              cross join lateral (select month at time zone 'UTC' as month_from,
                                         (month + interval '1 month') at time zone 'UTC' as month_to) m
               left join deskledger_data.packed_month p on p.source_id = h.source_id and p.month_from = m.month_from
              where ($1::text is null or s.name = $1)
                and m.month_to <= h.observed_at
                and case when p.is_done then p.month_to < m.month_to or p.at = '{}'
                         else exists (select from deskledger_data.open_span o
                                       where o.source_id = h.source_id and o.piece_from < m.month_to) end
                and not exists (select from deskledger_report.pruned p
                                 where p.source_id = h.source_id and p.month_from = m.month_from and p.class = 'spans')
              order by m.month_from, s.name",
        )
        .bind(source)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for months that cannot be packed"))
    }

    /// Packs a month of a source, in transactions of some hundred desktops each; it may be stopped between any two, and goes on
    /// where it was. `step` is told after each how many desktops are done and how long it took; the next one waits for it.
    /// `None`: someone else is packing this source.
    ///
    /// # Errors
    /// The database is away, or something does not come out as it went in: then that is left as it was.
    pub async fn pack(
        &self,
        what: &Packable,
        mut step: impl AsyncFnMut(u64, Duration),
    ) -> Result<Option<Packed>, StoreError> {
        let failed = StoreError::while_trying("pack a month");
        let mut packed = Packed::default();
        let mut from = 0;
        while from < what.desktops {
            let until = from.saturating_add(AT_ONCE);
            let begun = Moment::now();
            let mut transaction = self.pool.begin().await.map_err(&failed)?;
            if !is_alone(&mut transaction, what.source_id).await.map_err(&failed)? {
                return Ok(None);
            }
            plan_for_many(&mut transaction).await.map_err(&failed)?;
            note_instants(&mut transaction, what).await.map_err(&failed)?;
            packed.packed += pack_desktops(&mut transaction, what, from, until).await?;
            if what.is_over() {
                sum_desktops(&mut transaction, what, from, until).await.map_err(&failed)?;
            }
            transaction.commit().await.map_err(&failed)?;
            step((until.min(what.desktops) - from).unsigned_abs().into(), begun.elapsed()).await;
            from = until;
        }
        if what.is_over() && !self.pack_groups(what).await? {
            return Ok(None);
        }
        let left: i64 = sqlx::query_scalar(
            "-- store::pack::pack
             with done as (update deskledger_data.packed_month m
                              set is_done = true,
                                  is_whole = m.at <> '{}' and m.month_to = $3 and h.observed_at >= m.month_to
                                      and not exists (select from deskledger_data.open_span o
                                                       where o.source_id = $1 and o.piece_from < m.month_to)
                             from deskledger_data.head h
                            where $4 and m.source_id = $1 and m.month_from = $2 and h.source_id = m.source_id)
             select count(*) from deskledger_data.span where source_id = $1 and piece_to > $2 and piece_to <= $3",
        )
        .bind(what.source_id)
        .bind(what.month)
        .bind(what.until)
        .bind(what.is_over())
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)?;
        packed.left = left.unsigned_abs();
        Ok(Some(packed))
    }

    /// Packs the counters of a month's groups, in one transaction; `false`: someone else is packing this source.
    async fn pack_groups(&self, what: &Packable) -> Result<bool, StoreError> {
        let failed = StoreError::while_trying("pack the groups of a month");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        if !is_alone(&mut transaction, what.source_id).await.map_err(&failed)? {
            return Ok(false);
        }
        plan_for_many(&mut transaction).await.map_err(&failed)?;
        note_group_instants(&mut transaction, what).await.map_err(&failed)?;
        let mut groups: Vec<i32> = sqlx::query_scalar(PACK_GROUPS)
            .bind(what.source_id)
            .bind(what.month)
            .bind(next_month(what.month))
            .fetch_all(&mut *transaction)
            .await
            .map_err(&failed)?;
        while !groups.is_empty() {
            let mut attempt = transaction.begin().await.map_err(&failed)?;
            let came: Vec<(i32, i64, i64)> = sqlx::query_as(TAKE_GROUPS_AWAY)
                .bind(what.source_id)
                .bind(what.month)
                .bind(next_month(what.month))
                .bind(&groups)
                .fetch_all(&mut *attempt)
                .await
                .map_err(&failed)?;
            let odd: Vec<i32> =
                came.iter().filter(|(_, taken, made)| taken != made).map(|(no, ..)| *no).collect();
            if odd.is_empty() {
                attempt.commit().await.map_err(&failed)?;
                break;
            }
            // What does not come out as it went in is not packed after all.
            attempt.rollback().await.map_err(&failed)?;
            sqlx::query(
                "-- store::pack::pack_groups
                 delete from deskledger_data.packed_group
                  where source_id = $1 and month_from = $2 and group_no = any($3)",
            )
            .bind(what.source_id)
            .bind(what.month)
            .bind(&odd)
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
            groups.retain(|no| !odd.contains(no));
        }
        transaction.commit().await.map_err(&failed)?;
        Ok(true)
    }

    /// Tidies up behind what was packed of a month: plans know how little is left, and what is recorded next has the room, or
    /// [`Store::shrink`] gives it back. Nobody waits for it; what is in use is left to PostgreSQL itself, which does as much, if not as soon.
    ///
    /// # Errors
    /// The database is away.
    pub async fn tidy(&self, what: &Packable) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("tidy up behind what is packed");
        let month = what.month.format("%Y_%m");
        let mut statements = vec![format!("vacuum (analyze) deskledger_data.span_{month}")];
        if what.is_over() {
            statements.extend([
                format!("vacuum (analyze) deskledger_data.group_span_{month}"),
                "analyze deskledger_data.packed_group".to_owned(),
                "analyze deskledger_data.packed_group_month".to_owned(),
            ]);
        } else {
            // A range of blocks says what it ever held, and what is packed would be looked for in all of them.
            statements.push(format!(
                "select count(brin_desummarize_range(i.indexrelid, b)), brin_summarize_new_values(i.indexrelid)
                   from pg_index i
                   join pg_class c on c.oid = i.indexrelid and pg_has_role(c.relowner, 'usage')
                   join pg_am a on a.oid = c.relam and a.amname = 'brin'
                  cross join generate_series(0, pg_relation_size(i.indrelid) / current_setting('block_size')::bigint - 1) b
                  where i.indrelid = 'deskledger_data.span_{month}'::regclass
                  group by i.indexrelid"
            ));
        }
        statements.extend([
            // What was written anew left its older form behind.
            "vacuum (analyze) deskledger_data.packed".to_owned(),
            "analyze deskledger_data.packed_month".to_owned(),
        ]);
        for statement in statements {
            if !self.with_patience(&statement).await.map_err(&failed)? {
                break;
            }
        }
        Ok(())
    }

    /// Gives back the room that nobody needs in the tables of months that are over: where they are more than twice as large as their
    /// rows, they are written anew. Which of them are in use for too long, or were read by someone who may still see what is gone
    /// from them; those come the next time.
    ///
    /// # Errors
    /// The database is away.
    pub async fn shrink(&self) -> Result<Vec<String>, StoreError> {
        let failed = StoreError::while_trying("give back the room of what is packed");
        let tables: Vec<String> = sqlx::query_scalar(
            "-- store::pack::shrink
             select c.relname::text
               from pg_inherits i
               join pg_class c on c.oid = i.inhrelid and pg_has_role(c.relowner, 'usage')
              cross join lateral (
                    -- A row of a span takes a hundred bytes; one of a visit two hundred, and more where something was wrong.
                    select case when i.inhparent = 'deskledger_data.snapshot'::regclass then 500 else 100 end as width) r
              where i.inhparent in ('deskledger_data.span'::regclass, 'deskledger_data.group_span'::regclass,
                                    'deskledger_data.snapshot'::regclass)
                and right(c.relname, 7) < (select to_char(max(observed_at) at time zone 'UTC', 'YYYY_MM') from deskledger_data.head)
                -- Whoever records into the month waits while a table is written.
                and c.reltuples between 0 and 1000000
                and (pg_relation_size(c.oid) > 2 * r.width * c.reltuples + 8 * current_setting('block_size')::bigint
                     -- What is emptied keeps its indexes.
                     or c.reltuples = 0 and pg_indexes_size(c.oid) > 16 * current_setting('block_size')::bigint)
              order by c.relname",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(&failed)?;
        let mut in_use = Vec::new();
        for table in tables {
            let statement = format!("vacuum (full, analyze) deskledger_data.{table}");
            let is_free = self.nobody_looks_back().await.map_err(&failed)?;
            if !is_free || !self.with_patience(&statement).await.map_err(&failed)? {
                in_use.push(table);
            }
        }
        Ok(in_use)
    }

    /// Waits a little for those to end who read since before now, and may still see what is gone; whether they did.
    async fn nobody_looks_back(&self) -> sqlx::Result<bool> {
        let begun = Moment::now();
        let now: Instant =
            sqlx::query_scalar("select clock_timestamp()").fetch_one(&self.pool).await?;
        loop {
            let is_free: bool = sqlx::query_scalar(
                "-- store::pack::nobody_looks_back
                 select not exists (select from pg_stat_activity a
                                     where a.datname = current_database() and a.pid <> pg_backend_pid()
                                       and a.backend_xmin is not null and a.xact_start < $1)",
            )
            .bind(now)
            .fetch_one(&self.pool)
            .await?;
            if is_free || begun.elapsed() > PATIENCE {
                return Ok(is_free);
            }
            tokio::time::sleep(PATIENCE / 20).await;
        }
    }

    /// Runs a statement that stands alone; `false`: what it has to lock was in use for too long.
    pub(super) async fn with_patience(&self, statement: &str) -> sqlx::Result<bool> {
        let mut connection = self.pool.acquire().await?;
        let patience = format!("set lock_timeout = {}", PATIENCE.as_millis());
        sqlx::raw_sql(sqlx::AssertSqlSafe(patience)).execute(&mut *connection).await?;
        let result = sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned()))
            .execute(&mut *connection)
            .await;
        sqlx::raw_sql("reset lock_timeout").execute(&mut *connection).await?;
        match result {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                Ok(false)
            }
            result => result.map(|_| true),
        }
    }
}

/// A plan for any month and desktops expects a few spans, and takes a minute over a batch; and one for these expects a row or two of
/// what is unpacked or worked out, and would look for them one by one.
async fn plan_for_many(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::raw_sql("set local plan_cache_mode = force_custom_plan; set local enable_nestloop = off")
        .execute(connection)
        .await
        .map(drop)
}

/// Whether nobody else packs, prunes or restores this source, until the transaction ends.
pub(super) async fn is_alone(
    connection: &mut PgConnection,
    source_id: SourceId,
) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- store::pack::is_alone
         select pg_try_advisory_xact_lock(hashtext('deskledger pack'), $1)",
    )
    .bind(source_id)
    .fetch_one(connection)
    .await
}

/// Writes down the month's instants so far, unless they are. Months of more visits than an event can number stay as they are, or as far
/// packed as they are; and so does one with a visit at its last microsecond, which stands among the instants for what goes on.
async fn note_instants(connection: &mut PgConnection, what: &Packable) -> sqlx::Result<()> {
    sqlx::query(
        "-- store::pack::note_instants
         insert into deskledger_data.packed_month as m (source_id, month_from, month_to, at)
         select $1, $2, $3,
                case when cardinality(v.at) < 131000
                          and v.at[cardinality(v.at)] is distinct from $4 - interval '1 microsecond'
                     then array[coalesce(deskledger_data.visit_before($1, $2, false), '-infinity'), $2] || v.at || array[$4 - interval '1 microsecond', $4]
                     else '{}' end
           from (select deskledger_data.instants($1, $2, $3, false) as at) v
          where not exists (select from deskledger_data.packed_month
                             where source_id = $1 and month_from = $2 and month_to >= $3)
         on conflict (source_id, month_from) do update set month_to = excluded.month_to, at = excluded.at
          where m.month_to < excluded.month_to and m.at <> '{}' and excluded.at <> '{}'",
    )
    .bind(what.source_id)
    .bind(what.month)
    .bind(what.until)
    .bind(next_month(what.month))
    .execute(connection)
    .await
    .map(drop)
}

/// Writes down the instants of a month's statistics, unless they are, or there is nothing to pack.
async fn note_group_instants(connection: &mut PgConnection, what: &Packable) -> sqlx::Result<()> {
    sqlx::query(
        "-- store::pack::note_group_instants
         insert into deskledger_data.packed_group_month (source_id, month_from, month_to, at)
         select $1, $2, $3,
                array[coalesce(deskledger_data.visit_before($1, $2, true), '-infinity'), $2]
                || deskledger_data.instants($1, $2, $3, true)
                || array[$3 - interval '1 microsecond', $3]
          where exists (select from deskledger_data.group_span
                         where source_id = $1 and to_at > $2 and to_at <= $3)
            and cardinality(deskledger_data.instants($1, $3 - interval '1 microsecond', $3, true)) = 0
         on conflict do nothing",
    )
    .bind(what.source_id)
    .bind(what.month)
    .bind(next_month(what.month))
    .execute(connection)
    .await
    .map(drop)
}

/// Spans of a desktop with one label that were packed, by where the first of them begins.
type Added = (i32, i32, Instant);

/// Packs the spans of the desktops of these numbers, and says how many.
async fn pack_desktops(
    connection: &mut PgConnection,
    what: &Packable,
    from: i32,
    until: i32,
) -> Result<u64, StoreError> {
    let failed = StoreError::while_trying("pack the spans of a month");
    let mut odd = Vec::new();
    loop {
        let mut attempt = connection.begin().await.map_err(&failed)?;
        let (desktops, labels): (Vec<i32>, Vec<i32>) = odd.iter().copied().unzip();
        let added: Vec<Added> = sqlx::query_as(PACK)
            .bind(what.source_id)
            .bind(what.month)
            .bind(from)
            .bind(until)
            .bind(&desktops)
            .bind(&labels)
            .bind(what.is_over())
            .fetch_all(&mut *attempt)
            .await
            .map_err(&failed)?;
        if added.is_empty() {
            attempt.commit().await.map_err(&failed)?;
            return Ok(0);
        }
        let mut removal = attempt.begin().await.map_err(&failed)?;
        let (taken, made): (i64, i64) =
            of(TAKE_AWAY, what, &added).fetch_one(&mut *removal).await.map_err(&failed)?;
        if taken == made {
            removal.commit().await.map_err(&failed)?;
            attempt.commit().await.map_err(&failed)?;
            return Ok(taken.unsigned_abs());
        }
        removal.rollback().await.map_err(&failed)?;
        // What does not come out as it went in is not packed after all.
        let found: Vec<(i32, i32)> =
            of(ODD, what, &added).fetch_all(&mut *attempt).await.map_err(&failed)?;
        attempt.rollback().await.map_err(&failed)?;
        if found.is_empty() {
            let source_name = what.source.clone();
            let month = what.month.format("%Y-%m").to_string();
            return Err(StoreError::PackedWrong { source_name, month });
        }
        odd.extend(found);
    }
}

/// A question about what was added to packed rows.
fn of<'a, O>(
    statement: &'static str,
    what: &Packable,
    added: &[Added],
) -> sqlx::query::QueryAs<'a, Postgres, O, PgArguments>
where
    O: for<'r> sqlx::FromRow<'r, PgRow>,
{
    sqlx::query_as(statement)
        .bind(what.source_id)
        .bind(what.month)
        .bind(next_month(what.month))
        .bind(added.iter().map(|(desktop, ..)| *desktop).collect::<Vec<_>>())
        .bind(added.iter().map(|(_, label, _)| *label).collect::<Vec<_>>())
        .bind(added.iter().map(|(.., from)| *from).collect::<Vec<_>>())
}

/// Packs what can be packed of the desktops from `$3` to before `$4`, but for those of `$5` with the labels of `$6`; returns which
/// desktops with which labels have more now, and from when on. Sums are of whole months: as long as it lasts (`$7` is false), only what
/// breaks off is noted.
const PACK: &str = "-- store::pack::pack_desktops
    with month as materialized (
        select m.month_from, m.month_to, m.at, cardinality(m.at) as instants,
               deskledger_report.whole(m.at[3 : cardinality(m.at) - 2]) as visits,
               case when $7 then deskledger_report.whole(deskledger_data.finishes($1, m.at)) end as finished
          from (select month_from, month_to, deskledger_report.whole(at) as at
                  from deskledger_data.packed_month where source_id = $1 and month_from = $2) m
    ),
    -- What there is already: its last event says that something ended.
    kept as materialized (
        select k.desktop_no, k.label_no, k.first_seen, k.started_after, k.disconnected_at, k.events, cardinality(k.events) as length,
               k.events[cardinality(k.events)] as last_event
          from (select desktop_no, label_no, first_seen, started_after, disconnected_at, deskledger_report.whole(events) as events
                  from deskledger_data.packed
                 where source_id = $1 and month_from = $2 and desktop_no >= $3 and desktop_no < $4) k
    ),
    -- Instants are found by halving: no plan has to know how many there are. Materialised, or sorting would drag them along.
    placed_in_time as materialized (
        select s.*, m.month_from, m.instants,
               case when m.visits[f.nth] = s.piece_from then f.nth + 2 end as from_nth,
               case when m.visits[t.nth] = s.piece_to then t.nth + 2 end as to_nth,
               m.at[f.nth + case f.nth when 1 then 0 else 1 end] as before_from,
               m.at[t.nth + case t.nth when 1 then 0 else 1 end] as before_to
          from month m
          join deskledger_data.span s on s.piece_to > m.month_from and s.piece_to <= m.month_to
         cross join lateral (select width_bucket(s.piece_from, m.visits) as nth) f
         cross join lateral (select width_bucket(s.piece_to, m.visits) as nth) t
         where s.source_id = $1 and s.desktop_no >= $3 and s.desktop_no < $4
           and s.connection_first_seen is null and s.connection_started_after is null
           and s.status_id between 0 and 31 and s.ended <= 25
           and not exists (select from unnest($5::integer[], $6::integer[]) odd (desktop_no, label_no)
                            where odd.desktop_no = s.desktop_no and odd.label_no = s.label_no)
    ),
    numbered as (
        select s.desktop_no, s.label_no, s.status_id, s.ended, s.piece_from, s.first_seen, s.started_after,
               s.disconnected_at,
               case when s.first_seen is null then s.from_nth when s.piece_from = s.month_from then 2 end as begins,
               case s.ended when -5 then s.instants else s.to_nth end as ends
          from placed_in_time s
         -- Listings that left the desktop out: rare, and what comes out would not be what went in.
         where s.last_seen = case s.ended when -5 then s.piece_to - interval '1 microsecond' when -4 then s.piece_to
                                          else s.before_to end
           and (s.first_seen is not null or s.started_after is null or s.started_after = s.before_from)
    ),
    span as (
        select n.*, lead(n.begins) over next is not distinct from n.ends
                    and lead(n.status_id) over next is not distinct from n.ended as is_followed,
               coalesce((n.begins << 14) | ((37 + n.status_id) << 8) = k.last_event, false) as follows
          from numbered n
          left join kept k using (desktop_no, label_no)
         where n.begins is not null and n.ends >= n.begins
           -- After what there is, or going on with it.
           and (k.length is null or n.begins > k.last_event >> 14 or (n.begins << 14) | ((37 + n.status_id) << 8) = k.last_event)
        window next as (partition by n.desktop_no, n.label_no order by n.begins)
    ),
    -- What stays of it: all but an end that is the beginning of another span as well. And the newest disconnect in that.
    stays as materialized (
        select k.desktop_no, k.label_no, k.first_seen, k.started_after, k.disconnected_at, k.length - f.follows::integer as length,
               k.events[: k.length - f.follows::integer] as events, d.nth as disconnect_nth, m.at[k.events[d.nth] >> 14] as disconnect
          from (select desktop_no, label_no, bool_or(follows) as follows from span group by 1, 2) f
          join kept k using (desktop_no, label_no)
         cross join month m
         cross join lateral (select max(nth) as nth from generate_series(1, k.length) nth where k.events[nth] & 127 = 1) d
    ),
    event as (
        select desktop_no, label_no, (begins << 14) | (status_id << 8) as event, begins = 2 as is_continued,
               started_after is null and begins > 2 as is_first, first_seen, started_after, disconnected_at,
               case when disconnected_at = piece_from then piece_from end as disconnect
          from span
         union all
        select desktop_no, label_no, (ends << 14) | ((case ended when -4 then 63 else 37 + ended end) << 8), false,
               false, null, null, null, null
          from span
         where not is_followed
    ),
    placed as (
        select e.*, coalesce(s.length, 0) + row_number() over so_far as nth,
               coalesce(max(e.disconnect) over so_far, s.disconnect) as newest_disconnect, s.disconnect_nth
          from event e
          left join stays s using (desktop_no, label_no)
        window so_far as (partition by e.desktop_no, e.label_no order by e.event)
    ),
    referred as (
        select p.*,
               p.nth + 1 - coalesce(max(p.nth) filter (where p.disconnect is not null) over so_far, p.disconnect_nth) as back
          from placed p
        window so_far as (partition by p.desktop_no, p.label_no order by p.event)
    ),
    coded as (
        select r.*, case when r.disconnected_at is null then 0
                         when r.disconnected_at = r.newest_disconnect and r.back < 127 then r.back
                         else 127 end as refers
          from referred r
    ),
    added as (
        select c.desktop_no, c.label_no, min(c.event) >> 14 as begins,
               min(c.first_seen) filter (where c.is_continued) as first_seen,
               min(c.started_after) filter (where c.is_continued) as started_after,
               min(c.disconnected_at) filter (where c.refers = 127) as disconnected_at,
               array_agg((c.event | (c.is_first::integer << 7) | c.refers)::integer order by c.event) as events
          from coded c
         group by c.desktop_no, c.label_no
    ),
    form as (
        select a.desktop_no, a.label_no, a.begins, coalesce(s.first_seen, a.first_seen) as first_seen,
               coalesce(s.started_after, a.started_after) as started_after,
               coalesce(s.disconnected_at, a.disconnected_at) as disconnected_at, s.events || a.events as events
          from added a
          left join stays s using (desktop_no, label_no)
    ),
    made as (
        insert into deskledger_data.packed
               (source_id, desktop_no, label_no, month_from, first_seen, started_after, disconnected_at, events,
                observed, connected, less, more, last_connected, stretches, disconnected, longest, last_disconnected, loose,
                breaks, closest, edges)
        select $1, f.desktop_no, f.label_no, $2, f.first_seen, f.started_after, f.disconnected_at, f.events,
               s.observed, s.connected, s.less, s.more, s.last_connected, s.stretches, s.disconnected, s.longest, s.last_disconnected,
               s.loose,
               case when $7 then s.breaks
                    else array(select nth from generate_series(1, cardinality(f.events) - 1) nth
                                where f.events[nth] & 8192 = 0
                                  and (f.events[nth + 1] & 16128 = 63 << 8 or f.events[nth + 1] & 16128 = 34 << 8)) end,
               s.closest, s.edges
          from month m
         cross join form f
          left join lateral deskledger_report.sums(
                    m.at, m.finished, f.events, f.first_seen, f.started_after, f.disconnected_at) s on $7
            on conflict (source_id, month_from, desktop_no, label_no) do update
           set (disconnected_at, events, observed, connected, less, more, last_connected, stretches, disconnected, longest,
                last_disconnected, loose, breaks, closest, edges)
               = (excluded.disconnected_at, excluded.events, excluded.observed, excluded.connected, excluded.less, excluded.more,
                  excluded.last_connected, excluded.stretches, excluded.disconnected, excluded.longest,
                  excluded.last_disconnected, excluded.loose, excluded.breaks, excluded.closest, excluded.edges)
    )
    select f.desktop_no, f.label_no, m.at[f.begins] from form f cross join month m";

/// Sums up what was packed and not summed up, as of the days of a month that is over now.
async fn sum_desktops(
    connection: &mut PgConnection,
    what: &Packable,
    from: i32,
    until: i32,
) -> sqlx::Result<()> {
    sqlx::query(SUM)
        .bind(what.source_id)
        .bind(what.month)
        .bind(from)
        .bind(until)
        .execute(connection)
        .await
        .map(drop)
}

/// Sums up what is not yet, of the desktops from `$3` to before `$4`.
const SUM: &str = "-- store::pack::sum_desktops
    with month as materialized (
        select m.at, deskledger_report.whole(deskledger_data.finishes($1, m.at)) as finished
          from (select deskledger_report.whole(at) as at
                  from deskledger_data.packed_month where source_id = $1 and month_from = $2) m
    )
    update deskledger_data.packed k
       set (observed, connected, less, more, last_connected, stretches, disconnected, longest, last_disconnected, loose, breaks,
            closest, edges)
           = (select s.observed, s.connected, s.less, s.more, s.last_connected, s.stretches, s.disconnected, s.longest,
                     s.last_disconnected, s.loose, s.breaks, s.closest, s.edges
                from month m
               cross join lateral deskledger_report.sums(
                         m.at, m.finished, k.events, k.first_seen, k.started_after, k.disconnected_at) s)
     where k.source_id = $1 and k.month_from = $2 and k.desktop_no >= $3 and k.desktop_no < $4 and k.observed is null";

/// Takes away, of the spans that were packed of the desktops `$4` with the labels `$5` from `$6` on, those that come out as they went in:
/// how many do, and how many come out.
const TAKE_AWAY: &str = "-- store::pack::pack_desktops
    with made as materialized (
        select f.* from deskledger_data.filed f
          join unnest($4::integer[], $5::integer[], $6::timestamptz[]) added (desktop_no, label_no, from_at) using (desktop_no, label_no)
         where f.source_id = $1 and f.packed_from = $2 and f.desktop_no = any($4) and f.piece_from >= added.from_at
    ),
    taken as (
        delete from deskledger_data.span s
         using made f
         where s.source_id = $1 and s.piece_to > $2 and s.piece_to <= $3 and s.desktop_no = any($4)
           and s.desktop_no = f.desktop_no and s.label_no = f.label_no
           and s.piece_from = f.piece_from and s.piece_to = f.piece_to
           and (s.status_id, s.last_seen, s.started_after, s.ended, s.first_seen, s.connection_first_seen,
                s.connection_started_after, s.disconnected_at)
               is not distinct from
               (f.status_id, f.last_seen, f.started_after, f.ended, f.first_seen, f.connection_first_seen,
                f.connection_started_after, f.disconnected_at)
        returning 1
    )
    select (select count(*) from taken), (select count(*) from made)";

/// Of the same, which desktops with which labels have some that do not.
const ODD: &str = "-- store::pack::pack_desktops
    select f.desktop_no, f.label_no
      from deskledger_data.filed f
      join unnest($4::integer[], $5::integer[], $6::timestamptz[]) added (desktop_no, label_no, from_at) using (desktop_no, label_no)
      left join deskledger_data.span s
           on s.source_id = $1 and s.desktop_no = any($4)
          and s.desktop_no = f.desktop_no and s.label_no = f.label_no
          and s.piece_from = f.piece_from and s.piece_to = f.piece_to
          and s.piece_to > $2 and s.piece_to <= $3
          and (s.status_id, s.last_seen, s.started_after, s.ended, s.first_seen, s.connection_first_seen,
               s.connection_started_after, s.disconnected_at)
              is not distinct from
              (f.status_id, f.last_seen, f.started_after, f.ended, f.first_seen, f.connection_first_seen,
               f.connection_started_after, f.disconnected_at)
     where f.source_id = $1 and f.packed_from = $2 and f.desktop_no = any($4) and f.piece_from >= added.from_at
     group by 1, 2
    having count(*) <> count(s.source_id)";

/// Packs what can be packed of the groups of a month of which nothing is yet; returns their numbers.
const PACK_GROUPS: &str = "-- store::pack::pack_groups
    with month as materialized (
        select m.month_from, m.month_to, m.at, cardinality(m.at) as instants,
               deskledger_report.whole(m.at[3 : cardinality(m.at) - 2]) as visits
          from (select month_from, month_to, deskledger_report.whole(at) as at
                  from deskledger_data.packed_group_month where source_id = $1 and month_from = $2) m
    ),
    placed as materialized (
        select g.*,
               case when g.is_continued then case when g.from_at = m.month_from then 2 end
                    when m.visits[f.nth] = g.from_at then f.nth + 2 end as begins,
               case when g.to_at = m.month_to then m.instants
                    when m.visits[t.nth] = g.to_at then t.nth + 2 end as ends,
               case when g.to_at = m.month_to
                    then case g.last_seen when g.to_at - interval '1 microsecond' then 1
                                          when m.visits[cardinality(m.visits)] then 3 end
                    when g.last_seen = g.to_at then 2
                    when g.last_seen = m.at[t.nth + case t.nth when 1 then 0 else 1 end] then 1 end as what
          from month m
          join deskledger_data.group_span g on g.source_id = $1 and g.to_at > $2 and g.to_at <= $3
         cross join lateral (select width_bucket(g.from_at, m.visits) as nth) f
         cross join lateral (select width_bucket(g.to_at, m.visits) as nth) t
         where g.group_no <> all (array(select k.group_no from deskledger_data.packed_group k
                                         where k.source_id = $1 and k.month_from = $2))
    ),
    run as (
        select p.*, p.what = 1 and lead(p.begins) over next is not distinct from p.ends as is_followed
          from placed p
         where p.begins is not null and p.ends >= p.begins and p.what is not null
        window next as (partition by p.group_no order by p.begins)
    ),
    event as (
        select group_no, begins << 2 as event,
               running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num, cannot_attach_num,
               in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num
          from run
         union all
        select group_no, ends << 2 | what,
               null, null, null, null, null, null, null, null, null, null, null, null, null
          from run
         where not is_followed
    ),
    made as (
        insert into deskledger_data.packed_group
               (source_id, month_from, group_no, events,
                running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num, cannot_attach_num,
                in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num)
        select $1, $2, group_no, array_agg(event order by event),
               array_agg(running_num order by event), array_agg(stop_num order by event),
               array_agg(hibernate_num order by event), array_agg(other_num order by event),
               array_agg(attached_num order by event), array_agg(unattached_num order by event),
               array_agg(cannot_attach_num order by event), array_agg(in_process_num order by event),
               array_agg(in_use_num order by event), array_agg(unregistered_num order by event),
               array_agg(ready_num order by event), array_agg(disconnected_num order by event),
               array_agg(unknown_num order by event)
          from event
         group by group_no
        returning group_no
    )
    select group_no from made";

/// Takes the packed runs of the groups `$4` out of their table: how many there were, and how many are packed, by group.
const TAKE_GROUPS_AWAY: &str = "-- store::pack::pack_groups
    with made as materialized (
        select * from deskledger_data.filed_group
         where source_id = $1 and packed_from = $2 and group_no = any($4)
    ),
    taken as (
        delete from deskledger_data.group_span g
         using made f
         where g.source_id = $1 and g.to_at > $2 and g.to_at <= $3
           and g.group_no = f.group_no and g.from_at = f.from_at and g.to_at = f.to_at
           and (g.last_seen, g.is_continued,
                g.running_num, g.stop_num, g.hibernate_num, g.other_num, g.attached_num, g.unattached_num,
                g.cannot_attach_num, g.in_process_num, g.in_use_num, g.unregistered_num, g.ready_num,
                g.disconnected_num, g.unknown_num)
               is not distinct from
               (f.last_seen, f.is_continued,
                f.running_num, f.stop_num, f.hibernate_num, f.other_num, f.attached_num, f.unattached_num,
                f.cannot_attach_num, f.in_process_num, f.in_use_num, f.unregistered_num, f.ready_num,
                f.disconnected_num, f.unknown_num)
        returning g.group_no
    )
    select m.group_no, coalesce(t.rows, 0), m.rows
      from (select group_no, count(*) as rows from made group by 1) m
      left join (select group_no, count(*) as rows from taken group by 1) t using (group_no)";
