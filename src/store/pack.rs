//! Packing months that are over: the same spans in a twentieth of the room (`migrations/0015_packed.sql` says how), and beside
//! them what reports sum up over whole months (`migrations/0016_sums.sql`).
//!
//! Nothing is taken on trust: a span leaves its table only in the transaction in which it was read back from what it was packed
//! into, and equals it in every column. Wherever this stops, every answer is the same.

use std::time::{Duration, Instant as Moment};

use sqlx::{Connection as _, PgConnection};

use super::{SourceId, Store, StoreError};
use crate::domain::Instant;
use crate::domain::months::next_month;

/// How many desktops are packed in one transaction.
const AT_ONCE: i32 = 500;
/// How long rewriting a month's table may wait for its readers, and others for it. The next time comes.
const PATIENCE: &str = "2s";

/// A month of one source whose spans can be packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packable {
    /// The source's number.
    pub source_id: SourceId,
    /// The source.
    pub source: String,
    /// Where the month begins (UTC).
    pub month: Instant,
    /// How many desktops the source ever had.
    pub desktops: i32,
}

/// What packing did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// The spans that are packed now.
    pub packed: u64,
    /// Those that stay as they are.
    pub left: u64,
}

impl Store {
    /// The months that are over, of all sources or of one, and not packed yet; the oldest first. A month is over for a source
    /// when a visit was recorded after it, and nothing that is open reaches into it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn packable(&self, source: Option<&str>) -> Result<Vec<Packable>, StoreError> {
        let rows: Vec<(SourceId, String, Instant, i32)> = sqlx::query_as(
            "-- store::pack::packable
             select h.source_id, s.name, m.month_from, coalesce(d.desktops, 0)
               from deskledger_data.head h
               join deskledger_data.source s using (source_id)
              cross join lateral (select max(desktop_no) + 1 as desktops
                                    from deskledger_data.desktop d where d.source_id = h.source_id) d
              cross join generate_series(
                     date_trunc('month', h.first_at at time zone 'UTC'),
                     date_trunc('month', h.observed_at at time zone 'UTC') - interval '1 month',
                     interval '1 month') month
              cross join lateral (select month at time zone 'UTC' as month_from,
                                         (month + interval '1 month') at time zone 'UTC' as month_to) m
              where ($1::text is null or s.name = $1)
                and not exists (select from deskledger_data.packed_month p
                                 where p.source_id = h.source_id and p.month_from = m.month_from and p.is_done)
                and not exists (select from deskledger_report.pruned p
                                 where p.source_id = h.source_id and p.month_from = m.month_from and p.class = 'spans')
                and not exists (select from deskledger_data.open_span o
                                 where o.source_id = h.source_id and o.piece_from < m.month_to)
              order by m.month_from, s.name",
        )
        .bind(source)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for months to pack"))?;
        Ok(rows
            .into_iter()
            .map(|(source_id, source, month, desktops)| Packable {
                source_id,
                source,
                month,
                desktops,
            })
            .collect())
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
            // A plan for any month and desktops expects a few spans, and takes a minute over a batch.
            sqlx::raw_sql("set local plan_cache_mode = force_custom_plan")
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
            note_instants(&mut transaction, what).await.map_err(&failed)?;
            packed.packed += pack_desktops(&mut transaction, what, from, until).await?;
            transaction.commit().await.map_err(&failed)?;
            step((until.min(what.desktops) - from).unsigned_abs().into(), begun.elapsed()).await;
            from = until;
        }
        if !self.pack_groups(what).await? {
            return Ok(None);
        }
        let left: i64 = sqlx::query_scalar(
            "-- store::pack::pack
             with done as (update deskledger_data.packed_month m
                              set is_done = true,
                                  is_whole = m.at <> '{}' and h.observed_at >= m.month_to
                                      and not exists (select from deskledger_data.open_span o
                                                       where o.source_id = $1 and o.piece_from < m.month_to)
                             from deskledger_data.head h
                            where m.source_id = $1 and m.month_from = $2 and h.source_id = m.source_id)
             select count(*) from deskledger_data.span where source_id = $1 and piece_to > $2 and piece_to <= $3",
        )
        .bind(what.source_id)
        .bind(what.month)
        .bind(next_month(what.month))
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
        sqlx::raw_sql(
            "set local plan_cache_mode = force_custom_plan; set local enable_nestloop = off",
        )
        .execute(&mut *transaction)
        .await
        .map_err(&failed)?;
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

    /// Gives back the room that a month's packed spans took, by writing its table anew; it is small by then. `false`: the table
    /// was in use for too long.
    ///
    /// # Errors
    /// The database is away.
    pub async fn give_room_back(&self, month: Instant) -> Result<bool, StoreError> {
        let failed = StoreError::while_trying("give back the room of a packed month");
        let month = month.format("%Y_%m");
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let statements = [
            format!("set lock_timeout = '{PATIENCE}'"),
            format!("vacuum (full, analyze) deskledger_data.span_{month}"),
            format!("vacuum (full, analyze) deskledger_data.group_span_{month}"),
            "analyze deskledger_data.packed".to_owned(),
            "analyze deskledger_data.packed_month".to_owned(),
            "analyze deskledger_data.packed_group".to_owned(),
            "analyze deskledger_data.packed_group_month".to_owned(),
        ];
        let mut result = Ok(());
        for statement in statements {
            result = sqlx::raw_sql(sqlx::AssertSqlSafe(statement))
                .execute(&mut *connection)
                .await
                .map(drop);
            if result.is_err() {
                break;
            }
        }
        sqlx::raw_sql("reset lock_timeout").execute(&mut *connection).await.map_err(&failed)?;
        match result {
            Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                Ok(false)
            }
            result => result.map(|()| true).map_err(&failed),
        }
    }
}

/// Whether nobody else packs this source, until the transaction ends.
async fn is_alone(connection: &mut PgConnection, source_id: SourceId) -> sqlx::Result<bool> {
    sqlx::query_scalar(
        "-- store::pack::is_alone
         select pg_try_advisory_xact_lock(hashtext('deskledger pack'), $1)",
    )
    .bind(source_id)
    .fetch_one(connection)
    .await
}

/// Writes down the month's instants, unless they are. Months of more visits than an event can number stay as they are; and so does
/// one with a visit at its last microsecond, which stands among the instants for what goes on.
async fn note_instants(connection: &mut PgConnection, what: &Packable) -> sqlx::Result<()> {
    sqlx::query(
        "-- store::pack::note_instants
         insert into deskledger_data.packed_month (source_id, month_from, month_to, at)
         select $1, $2, $3,
                case when cardinality(v.at) < 131000
                          and v.at[cardinality(v.at)] is distinct from $3 - interval '1 microsecond'
                     then array[coalesce(deskledger_data.visit_before($1, $2, false), '-infinity'), $2] || v.at || array[$3 - interval '1 microsecond', $3]
                     else '{}' end
           from (select array(select observed_at from deskledger_data.snapshot
                               where source_id = $1 and desktops_outcome > 0 and observed_at >= $2 and observed_at < $3
                               order by observed_at) as at) v
         on conflict do nothing",
    )
    .bind(what.source_id)
    .bind(what.month)
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
                || array(select observed_at from deskledger_data.snapshot
                          where source_id = $1 and groups_outcome > 0 and observed_at >= $2 and observed_at < $3
                          order by observed_at)
                || array[$3 - interval '1 microsecond', $3]
          where exists (select from deskledger_data.group_span
                         where source_id = $1 and to_at > $2 and to_at <= $3)
            and not exists (select from deskledger_data.snapshot
                             where source_id = $1 and observed_at = $3 - interval '1 microsecond' and groups_outcome > 0)
         on conflict do nothing",
    )
    .bind(what.source_id)
    .bind(what.month)
    .bind(next_month(what.month))
    .execute(connection)
    .await
    .map(drop)
}

/// Packs the spans of the desktops of these numbers, and says how many.
async fn pack_desktops(
    connection: &mut PgConnection,
    what: &Packable,
    from: i32,
    until: i32,
) -> Result<u64, StoreError> {
    let failed = StoreError::while_trying("pack the spans of a month");
    sqlx::query(SUM)
        .bind(what.source_id)
        .bind(what.month)
        .bind(from)
        .bind(until)
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    let desktops: Vec<i32> = sqlx::query_scalar(PACK)
        .bind(what.source_id)
        .bind(what.month)
        .bind(from)
        .bind(until)
        .fetch_all(&mut *connection)
        .await
        .map_err(&failed)?;
    if desktops.is_empty() {
        return Ok(0);
    }
    // What is unpacked is expected to be a row or two, and would be looked for one by one.
    sqlx::raw_sql("set local enable_nestloop = off")
        .execute(&mut *connection)
        .await
        .map_err(&failed)?;
    let mut attempt = connection.begin().await.map_err(&failed)?;
    let (mut taken, mut made) = take_away(&mut attempt, what, &desktops).await.map_err(&failed)?;
    if taken == made {
        attempt.commit().await.map_err(&failed)?;
    } else {
        attempt.rollback().await.map_err(&failed)?;
        sqlx::query(LEAVE_ODD)
            .bind(what.source_id)
            .bind(what.month)
            .bind(next_month(what.month))
            .bind(&desktops)
            .execute(&mut *connection)
            .await
            .map_err(&failed)?;
        (taken, made) = take_away(connection, what, &desktops).await.map_err(&failed)?;
    }
    if taken == made {
        Ok(taken.unsigned_abs())
    } else {
        let source_name = what.source.clone();
        Err(StoreError::PackedWrong { source_name, month: what.month.format("%Y-%m").to_string() })
    }
}

/// Takes the packed spans of these desktops out of their table: how many there were, and how many are packed.
async fn take_away(
    connection: &mut PgConnection,
    what: &Packable,
    desktops: &[i32],
) -> sqlx::Result<(i64, i64)> {
    sqlx::query_as(TAKE_AWAY)
        .bind(what.source_id)
        .bind(what.month)
        .bind(next_month(what.month))
        .bind(desktops)
        .fetch_one(connection)
        .await
}

/// Packs what can be packed of the desktops from `$3` to before `$4`, of which nothing is yet; returns them.
const PACK: &str = "-- store::pack::pack_desktops
    with month as materialized (
        select m.month_from, m.month_to, m.at, cardinality(m.at) as instants,
               deskledger_report.whole(m.at[3 : cardinality(m.at) - 2]) as visits,
               deskledger_report.whole(deskledger_data.finishes($1, m.at)) as finished
          from (select month_from, month_to, deskledger_report.whole(at) as at
                  from deskledger_data.packed_month where source_id = $1 and month_from = $2) m
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
           -- Hardly ever any; a join would read all that is packed so far, which no statistics tell of yet.
           and s.desktop_no <> all (array(select k.desktop_no from deskledger_data.packed k
                                           where k.source_id = $1 and k.month_from = $2
                                             and k.desktop_no >= $3 and k.desktop_no < $4))
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
                    and lead(n.status_id) over next is not distinct from n.ended as is_followed
          from numbered n
         where n.begins is not null and n.ends >= n.begins
        window next as (partition by n.desktop_no, n.label_no order by n.begins)
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
        select e.*, row_number() over so_far as nth, max(e.disconnect) over so_far as newest_disconnect
          from event e
        window so_far as (partition by e.desktop_no, e.label_no order by e.event)
    ),
    referred as (
        select p.*, p.nth + 1 - max(p.nth) filter (where p.disconnect is not null) over so_far as back
          from placed p
        window so_far as (partition by p.desktop_no, p.label_no order by p.event)
    ),
    coded as (
        select r.*, case when r.disconnected_at is null then 0
                         when r.disconnected_at = r.newest_disconnect and r.back < 127 then r.back
                         else 127 end as refers
          from referred r
    ),
    form as (
        select c.desktop_no, c.label_no,
               min(c.first_seen) filter (where c.is_continued) as first_seen,
               min(c.started_after) filter (where c.is_continued) as started_after,
               min(c.disconnected_at) filter (where c.refers = 127) as disconnected_at,
               array_agg((c.event | (c.is_first::integer << 7) | c.refers)::integer order by c.event) as events
          from coded c
         group by c.desktop_no, c.label_no
    ),
    made as (
        insert into deskledger_data.packed
               (source_id, desktop_no, label_no, month_from, first_seen, started_after, disconnected_at, events,
                observed, connected, less, more, last_connected, stretches, disconnected, longest, last_disconnected, loose,
                breaks, closest, edges)
        select $1, f.desktop_no, f.label_no, $2, f.first_seen, f.started_after, f.disconnected_at, f.events, s.*
          from month m
         cross join form f
         cross join lateral deskledger_report.sums(
                   m.at, m.finished, f.events, f.first_seen, f.started_after, f.disconnected_at) s
        returning desktop_no
    )
    select distinct desktop_no from made";

/// Sums up what was packed before there were sums, of the desktops from `$3` to before `$4`.
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

/// Of the desktops `$4`, what does not come out as it went in is not packed after all.
const LEAVE_ODD: &str = "-- store::pack::pack_desktops
    delete from deskledger_data.packed k
     using (select f.desktop_no, f.label_no
              from deskledger_data.filed f
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
             where f.source_id = $1 and f.packed_from = $2 and f.desktop_no = any($4)
             group by 1, 2
            having count(*) <> count(s.source_id)) odd
     where k.source_id = $1 and k.month_from = $2 and k.desktop_no = odd.desktop_no and k.label_no = odd.label_no";

/// For [`take_away`], of the desktops `$4`.
const TAKE_AWAY: &str = "-- store::pack::pack_desktops
    with made as materialized (
        select * from deskledger_data.filed where source_id = $1 and packed_from = $2 and desktop_no = any($4)
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
