-- How many desktops would have been enough
--
-- The most desktops that were connected at once in working hours, and how many desktops would have served them with
-- some room to spare. For whoever pays for the fleet; the column assumptions says under which assumptions.
--
-- desktops_needed is for *pooled* desktops, any of which serves any user. A personal desktop serves its own user
-- alone: of those none is to spare, however few are connected at once, unless its user never connects. Only who is
-- CONNECTED counts: a session that was left DISCONNECTED holds its desktop until it ends, so where many linger more
-- desktops are needed; the report utilisation has disconnected_avg, and lingering the desktops. The peak is
-- sampled, and where listings were partial it is too low as well: read the report coverage first. What was not observed
-- is in no figure: where coverage_pct is low, the busiest hour may be missing. Peaks of sources do not add up, since
-- they come at different times: of several sources the last row, `(all)`, counts the time in which all of them were
-- covered, as if each desktop could serve users of every source. A desktop is told to be never connected by the rule
-- of the report idle-desktops: observed and present for at least 95 % of the whole period, nights and weekends too, and
-- never more than 8 hours in a row not. So one younger than the period is not told.
--
-- Parameters
--   from          instant         -30d  start of the period
--   to            instant         now   end of the period, not included
--   tz            timezone        UTC   time zone of the working hours, and of dates given without one
--   source        source          ''    one source; empty: all, and where there are several, all of them as one
--   headroom_pct  number 0..1000  10    so many percent more than the peak
--   workdays      weekdays        1-5   the days of the week that count, 1 is Monday: 1-5, or 1-4,6
--   day_from      integer 0..23   8     the hour of the day at which work begins
--   day_to        integer 0..24   18    the hour at which it ends; below day_from: after midnight
--
-- Columns
--   source           the source; (all): all of them as one
--   desktops         desktops at the last covered instant of the period; null: nothing was covered
--   concurrency_p95  connections not exceeded during at least 95 % of the covered working hours
--   peak             the most connections at one instant of the covered working hours: a lower bound
--   never_connected  those of the desktops that were not CONNECTED in the period; null: that cannot be told of any
--   not_told         those that were not seen CONNECTED, but not observed well enough to tell
--   desktops_needed  peak with the headroom, rounded up: a lower bound, since the peak is one
--   surplus          desktops - desktops_needed, so at most that many; negative: so many were missing
--   coverage_pct     covered working hours / working hours of the period
--   assumptions      what the figures assume
--
-- Chart
--   bars  source  desktops, desktops_needed, peak
--   unit  desktops
--
-- psql -v from=-30d -v to=now -v tz=UTC -v source= -v headroom_pct=10 -v workdays=1-5 -v day_from=8 -v day_to=18 -f queries/capacity.sql
with period as materialized (
    select deskledger.instant(:'from', :'tz') as since, deskledger.instant(:'to', :'tz') as until
),
asked as materialized (
    select source_id, source from deskledger_report.source where :'source' = '' or source = :'source'
),
workday as materialized (
    select weekday
      from generate_series(1, 7) weekday
     where exists (select from regexp_matches(:'workdays', '([1-7])(?:-([1-7]))?', 'g') as given (days)
                    where weekday between days[1]::integer and coalesce(days[2], days[1])::integer)
),
bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_from,
           deskledger_report.micros(bucket_to - bucket_from) as micros,
           weekday in (select w.weekday from workday w)
               and (hour >= opens and hour < closes or opens > closes and (hour >= opens or hour < closes)) as is_work
      from period,
           deskledger.buckets(since, until, 'hour', :'tz'),
           lateral (select extract(isodow from bucket_start at time zone :'tz')::integer as weekday,
                           extract(hour from bucket_start at time zone :'tz')::integer as hour,
                           :'day_from'::integer as opens, :'day_to'::integer as closes) clock
),
edge as materialized (
    select coalesce(array_agg(bucket_from order by bucket_from), '{}') as froms from bucket
),
step as materialized (
    select s.source_id, s.from_at, s.to_at, s.micros, s.edge as nth, s.connected
      from edge,
           deskledger_report.connected_steps(
               (select since from period), (select until from period), edge.froms, :'source') s
     -- A period without length has a step without length, in which nothing was observed.
     where s.to_at > s.from_at
),
-- The sources' steps laid over one another. Every source has a mark at every edge, so none is crossed.
change as (
    select at, sum(covered) as covered, sum(connected) as connected
      from (select from_at as at, 1 as covered, connected from step
             union all
            select to_at, -1, -connected from step) c
     where (select count(*) from asked) > 1
     group by at
),
together as (
    select at, lead(at) over seen as until, sum(covered) over seen as covered, sum(connected) over seen as connected
      from change
    window seen as (order by at)
),
-- Without a source: all of them as one.
at_once as (
    select c.source_id, c.connected, sum(c.micros) as micros
      from (select source_id, nth, connected, micros from step
             union all
            select null, width_bucket(t.at, (select froms from edge)), t.connected::bigint,
                   deskledger_report.micros(t.until - t.at)
              from together t
             where t.covered = (select count(*) from asked)) c
      join bucket b on b.nth = c.nth and b.is_work
     group by 1, 2
),
figure as (
    select source_id, max(covered) as covered, max(connected) as peak,
           min(connected) filter (where 100 * not_exceeded >= 95 * covered) as p95
      from (select source_id, connected,
                   sum(micros) over (partition by source_id order by connected) as not_exceeded,
                   sum(micros) over (partition by source_id) as covered
              from at_once) share
     group by source_id
),
newest as materialized (
    select source_id, max(to_at) as to_at
      from step s
     -- Of what is pruned nobody knows which desktops there were.
     where not exists (select from deskledger_report.pruned p
                        where p.source_id = s.source_id and p.class = 'spans'
                          and p.month_from < s.to_at and p.month_to >= s.to_at)
     group by source_id
),
-- Those that are held in some state up to there.
present as materialized (
    select p.source_id, p.desktop_no
      from newest n
      join deskledger_report.piece p
        on p.source_id = n.source_id and p.piece_from < n.to_at and p.piece_to >= n.to_at
     where p.piece_from < (select until from period) and p.piece_to > (select since from period)
       -- What the join says, once more, before anything is joined.
       and p.piece_to >= (select min(to_at) from newest)
       and (p.is_open or p.piece_to <= (select deskledger_report.month_end(until) from period))
       and p.packed_to >= (select min(to_at) from newest) and p.packed_from <= (select until from period)
),
used as materialized (
    select u.source_id, u.desktop_no
      from period
     cross join lateral deskledger_report.used_desktops(since, until) u
),
candidate as materialized (
    select source_id, desktop_no from present except select source_id, desktop_no from used
),
held as (
    select c.source_id, c.desktop_no,
           greatest(p.piece_from, (select since from period)) as held_from,
           least(p.piece_to, (select until from period)) as held_to
      from candidate c
     -- Few are left, and `offset 0` keeps each a look-up: else all pieces would be read for them.
     cross join lateral (
           select o.piece_from, o.piece_to
             from deskledger_report.piece o
            where o.source_id = c.source_id and o.desktop_no = c.desktop_no
              and o.piece_to >= (select since from period) and o.piece_from < (select until from period)
              and o.packed_to >= (select since from period) and o.packed_from <= (select until from period)
              and (o.is_open or o.piece_to <= (select deskledger_report.month_end(until) from period))
           offset 0) p
     union all
    -- The last stretch in which it was not observed ends with the period.
    select source_id, desktop_no, (select until from period), (select until from period) from candidate
),
observed as (
    select source_id, desktop_no, sum(held_to - held_from) as observed, max(held_from - before) as longest_gap
      from (select h.*, coalesce(lag(held_to) over (partition by source_id, desktop_no order by held_from, held_to),
                                 (select since from period)) as before
              from held h) g
     group by 1, 2
),
never as (
    select o.source_id, count(*) filter (where v.is_idle) as idle, count(*) filter (where not v.is_idle) as not_told
      from observed o
     cross join period p
     cross join lateral (
           select 100 * deskledger_report.micros(o.observed) >= 95 * deskledger_report.micros(p.until - p.since)
                  and o.longest_gap <= interval '8 hours' as is_idle) v
     group by 1
),
of_source as materialized (
    select a.source_id, a.source,
           case when n.to_at is not null
                then (select count(*) from present p where p.source_id = a.source_id) end as desktops,
           -- None, and of some it is not known: then it is not known whether there is one.
           case when n.to_at is not null and (v.idle > 0 or coalesce(v.not_told, 0) = 0)
                then coalesce(v.idle, 0) end as idle,
           case when n.to_at is not null then coalesce(v.not_told, 0) end as not_told
      from asked a
      left join newest n using (source_id)
      left join never v using (source_id)
),
line as (
    select false as is_all, source_id, source, desktops, idle, not_told from of_source
     union all
    select true, null, '(all)',
           case when count(desktops) = count(*) then sum(desktops)::bigint end,
           case when count(idle) = count(*) then sum(idle)::bigint end,
           case when count(not_told) = count(*) then sum(not_told)::bigint end
      from of_source
    having count(*) > 1
)
select l.source, l.desktops, f.p95 as concurrency_p95, f.peak, l.idle as never_connected, l.not_told,
       need.desktops as desktops_needed, l.desktops - need.desktops as surplus,
       (100 * coalesce(f.covered, 0) / nullif((select sum(micros) from bucket where is_work), 0)
       )::double precision as coverage_pct,
       format('desktops are pooled (a personal one serves its user alone); only connections count, though a session left '
              'DISCONNECTED holds its desktop, too; the peak is sampled, a lower bound; '
              'weekdays %s, %s to %s h, %s; headroom %s %%; what was not observed is left out',
              :'workdays', :'day_from', :'day_to', :'tz', :'headroom_pct')
           || case when l.is_all then '; any desktop serves users of every source' else '' end as assumptions
  from line l
  left join figure f on f.source_id is not distinct from l.source_id
 cross join lateral (
       select ceil(f.peak * (100 + :'headroom_pct'::numeric) / 100)::bigint as desktops) need
 order by l.is_all, l.source
