-- Busy hours of the week
--
-- How many desktops were connected in each hour of the week, on average and at most. For planning: when the
-- fleet is full, and when there is room for maintenance.
--
-- Of several sources the connections are summed, over the time in which all of them were covered: a source that
-- was not looked at counts as unknown and never as zero. So ask for one source where coverage_pct is low. A peak
-- is sampled, so the true one may be higher. A short period has each hour once or twice: an average of four
-- weeks says more. Where the clock is set back, the hour that comes twice counts twice in its row.
--
-- Parameters
--   from    instant   -28d  start of the period
--   to      instant   now   end of the period, not included
--   tz      timezone  UTC   time zone of weekdays and hours, and of dates given without one
--   source  source    ''    one source; empty: all, summed
--
-- Columns
--   weekday         1 to 7, Monday first
--   hour            0 to 23, as the clocks of the time zone show it
--   connected_avg   desktops CONNECTED, on average over covered time
--   connected_peak  the most that were CONNECTED at one instant of covered time: a lower bound
--   coverage_pct    time in which every source was covered / the length of these hours in the period
--
-- Chart
--   heat  hour, weekday  connected_avg
--
-- psql -v from=-28d -v to=now -v tz=UTC -v source= -f queries/busy-hours.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), 'hour', :'tz')
),
edge as materialized (
    select array_agg(bucket_from order by bucket_from) as froms from bucket
),
asked as materialized (
    select count(*) as sources from deskledger_report.source where :'source' = '' or source = :'source'
),
step as materialized (
    select s.from_at, s.to_at, s.connected
      from edge,
           deskledger_report.steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               edge.froms, :'source') s
     where s.is_covered
),
-- The sources' steps laid over one another. Every source has a mark at every edge, so none is crossed.
change as (
    select at, sum(covered) as covered, sum(connected) as connected
      from (select from_at as at, 1 as covered, connected from step
             union all
            select to_at, -1, -connected from step) c
     group by at
),
piece as (
    select at, lead(at) over seen as until, sum(covered) over seen as covered, sum(connected) over seen as connected
      from change
    window seen as (order by at)
),
held as (
    select width_bucket(p.at, (select froms from edge)) as nth,
           sum(micros) as covered, sum(micros * p.connected) as connected, max(p.connected) as peak
      from piece p
     cross join lateral deskledger_report.micros(p.until - p.at) micros
     where p.covered = (select sources from asked)
     group by 1
)
select extract(isodow from b.bucket_start at time zone :'tz')::integer as weekday,
       extract(hour from b.bucket_start at time zone :'tz')::integer as hour,
       (sum(h.connected) / sum(h.covered))::double precision as connected_avg,
       max(h.peak)::bigint as connected_peak,
       (100 * coalesce(sum(h.covered), 0)
           / sum(deskledger_report.micros(b.bucket_to - b.bucket_from)))::double precision as coverage_pct
  from bucket b
  left join held h using (nth)
 where (select sources from asked) > 0
 group by 1, 2
 order by 1, 2
