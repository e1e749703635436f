-- Disconnects and reconnects
--
-- How many connections started and ended, how many of them broke off into DISCONNECTED, per hour
-- connected, and how many of the broken ones came back soon. For whoever looks after the network and the
-- clients: an unusual hour stands out.
--
-- The API's DISCONNECTED means that the client's window was closed or its network broke; nobody can
-- tell which from here, so read a disconnect as that and not as a failure. What happened between two
-- snapshots is not seen, and starts and ends hidden in gaps are not guessed: counts are lower bounds.
--
-- Parameters
--   from              instant   -7d  start of the period
--   to                instant   now  end of the period, not included
--   bucket            bucket    day  hour, day, week, month, or all: the whole period as one
--   tz                timezone  UTC  time zone of the buckets, and of dates given without one
--   source            source    ''   one source; empty: all
--   reconnect_within  duration  15m  how soon a connection must be back to count as a reconnect
--
-- Columns
--   bucket_start            the bucket's civil start
--   source                  the source
--   connections_started     connections whose start was seen, at their first observation
--   connections_ended       connections whose end was seen, at the observation that shows it
--   disconnects             CONNECTED followed by DISCONNECTED, at the later observation
--   disconnect_share_pct    disconnects / connections ended
--   connected_hours         summed hours CONNECTED
--   disconnects_per_100_hours  disconnects / 100 connected hours
--   reconnects              the bucket's disconnects that were followed by a reconnect
--   reconnect_pct           reconnects / disconnects whose following time was observed long enough to tell
--   coverage_pct            covered time / the bucket's length
--
-- Chart
--   bars  bucket_start  disconnects_per_100_hours
--   per   source
--   unit  per 100 connected hours
--
-- psql -v from=-7d -v to=now -v bucket=day -v tz=UTC -v source= -v reconnect_within=15m -f queries/disconnects.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), :'bucket', :'tz')
),
edge as materialized (
    select array_agg(bucket_from order by bucket_from) as froms from bucket
),
held as (
    select s.source_id, s.edge as nth, sum(s.micros) as covered, sum(s.micros * s.connected) as connected
      from edge,
           deskledger_report.steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               edge.froms, :'source') s
     where s.is_covered
     group by 1, 2
),
-- What begins in the period: filed where it ends, which may be later.
counted as (
    select t.source_id, width_bucket(t.at, (select froms from edge)) as nth, sum(t.started) as started,
           sum(t.disconnects) as disconnects, sum(t.ended) as ended
      from deskledger_report.counted_tally t
     where t.at >= (select deskledger.instant(:'from', :'tz')) and t.at < (select deskledger.instant(:'to', :'tz'))
     group by 1, 2
),
-- Complete listings in a row: while a desktop is absent, these are what observes it.
complete as materialized (
    select source_id, min(observed_at) as run_from, max(observed_at) as run_to
      from (select source_id, observed_at, count(*) filter (where is_first) over seen as run
              from (select v.source_id, v.observed_at,
                           coalesce(v.observed_at - lag(v.observed_at) over before
                               > make_interval(secs => least(v.max_gap, lag(v.max_gap) over before)), true) as is_first
                      from deskledger_report.visit v
                     where v.desktops_outcome = 2
                       and v.day_from > (select deskledger.instant(:'from', :'tz')) - interval '24 hours'
                       and v.observed_at >= (select deskledger.instant(:'from', :'tz'))
                       and v.observed_at <= (select deskledger.instant(:'to', :'tz'))
                               + 2 * deskledger.duration(:'reconnect_within') + interval '1 day'
                    window before as (partition by v.source_id order by v.observed_at)) l
            window seen as (partition by source_id order by observed_at)) r
     group by source_id, run
),
-- What ended without a next observation in time, or in absence: few, outside of outages.
last as materialized (
    select b.source_id, b.desktop_no, b.status_id, b.piece_to, b.last_seen, b.ended, b.disconnected_at, b.is_open
      from deskledger_report.breaks(
               (select deskledger.instant(:'from', :'tz')),
               (select deskledger.instant(:'to', :'tz')) + deskledger.duration(:'reconnect_within')) b
),
absent as materialized (
    select p.source_id, p.desktop_no, p.piece_to, p.disconnected_at, c.run_to
      from last p
      join complete c on c.source_id = p.source_id and p.piece_to >= c.run_from and p.piece_to <= c.run_to
     where p.ended = -3 and p.disconnected_at is not null and p.status_id <> 1
       and c.run_to < p.piece_to + deskledger.duration(:'reconnect_within')
),
-- When those were seen again. What is open comes by itself: it would be read as a whole for each of them.
again as materialized (
    select p.source_id, p.desktop_no, p.first_seen, p.started_after
      from (select distinct source_id, desktop_no from absent) a
      join deskledger_report.piece p using (source_id, desktop_no)
     where not p.is_open and p.started_after is not null
       and p.piece_to >= (select deskledger.instant(:'from', :'tz'))
       and p.packed_to >= (select deskledger.instant(:'from', :'tz'))
     union all
    select p.source_id, p.desktop_no, p.first_seen, p.started_after
      from deskledger_report.piece p
     where p.is_open and p.started_after is not null
       and p.desktop_no = any (array(select desktop_no from absent))
),
-- The disconnects of which nobody knows whether a reconnect followed in time: the desktop's observations break off before,
-- after a span that nothing followed in time, or in its absence. Such a span names the disconnect that it follows.
untold as (
    select source_id, width_bucket(disconnected_at, (select froms from edge)) as nth, count(*) as disconnects
      from (select source_id, disconnected_at, last_seen as at
              from last
             where ended = -4 and disconnected_at is not null and status_id <> 1
             union all
            select p.source_id, p.disconnected_at, p.run_to
              from absent p
             -- Unless the desktop was back before they did.
             where not exists (select from again n
                                where n.source_id = p.source_id and n.desktop_no = p.desktop_no
                                  and n.first_seen > p.piece_to and n.started_after <= p.run_to)) b
     where disconnected_at >= (select deskledger.instant(:'from', :'tz'))
       and disconnected_at < (select deskledger.instant(:'to', :'tz'))
       and at < disconnected_at + deskledger.duration(:'reconnect_within')
     group by 1, 2
),
reconnected as (
    select c.source_id, width_bucket(c.disconnected_at, (select froms from edge)) as nth, sum(c.reconnects)::bigint as reconnects
      from deskledger_report.reconnected(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')), :'source',
               deskledger.duration(:'reconnect_within')) c
     group by 1, 2
)
select b.bucket_start,
       s.source,
       case when seen.is_any then coalesce(g.started, 0) end as connections_started,
       case when seen.is_any then coalesce(g.ended, 0) end as connections_ended,
       case when seen.is_any then coalesce(g.disconnects, 0) end as disconnects,
       100 * coalesce(g.disconnects, 0)::double precision / nullif(g.ended, 0) as disconnect_share_pct,
       (h.connected / 3600000000)::double precision as connected_hours,
       (100 * coalesce(g.disconnects, 0) * 3600000000
           / nullif(h.connected, 0))::double precision as disconnects_per_100_hours,
       case when seen.is_any and not pruned.is_any then coalesce(r.reconnects, 0) end as reconnects,
       case when not pruned.is_any
            then 100 * coalesce(r.reconnects, 0)::double precision
                 / nullif(g.disconnects - coalesce(u.disconnects, 0), 0) end as reconnect_pct,
       (100 * coalesce(h.covered, 0)
           / deskledger_report.micros(b.bucket_to - b.bucket_from))::double precision as coverage_pct
  from bucket b
 cross join deskledger_report.source s
  left join held h on h.source_id = s.source_id and h.nth = b.nth
  left join counted g on g.source_id = s.source_id and g.nth = b.nth
  left join reconnected r on r.source_id = s.source_id and r.nth = b.nth
  left join untold u on u.source_id = s.source_id and u.nth = b.nth
 cross join lateral (select h.covered > 0 or g.started > 0 or g.disconnects > 0 or g.ended > 0 as is_any) seen
 -- Whether any of what tells reconnects is pruned.
 cross join lateral (
       select exists (select from deskledger_report.pruned p
                       where p.source_id = s.source_id and p.class = 'spans' and p.month_from < b.bucket_to
                               + deskledger.duration(:'reconnect_within') and p.month_to > b.bucket_from) as is_any) pruned
 where :'source' = '' or s.source = :'source'
 order by b.bucket_from, s.source
