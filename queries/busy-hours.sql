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
--   source  fleet     ''    one source; empty or (all): all, summed
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
--   unit  desktops
--
-- psql -v from=-28d -v to=now -v tz=UTC -v source= -f queries/busy-hours.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), 'hour', :'tz')
),
edge as materialized (
    select array_agg(bucket_from order by bucket_from) as froms from bucket
),
held as (
    select s.edge as nth, sum(s.micros) as covered, sum(s.micros * s.connected) as connected, max(s.connected) as peak
      from edge,
           deskledger_report.covered_steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               edge.froms, case :'source' when '' then '(all)' else :'source' end) s
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
 where exists (select from deskledger_report.asked(case :'source' when '' then '(all)' else :'source' end))
 group by 1, 2
 order by 1, 2
