-- Utilisation over time
--
-- How many desktops there were, and how many of them were connected, ready, disconnected or
-- unregistered, on average over the time that was observed. For planning: how full is the fleet, and when.
--
-- utilisation_pct is connected time / desktop time. Averages are held time / covered time; a peak is
-- sampled, so the true one may be higher; where listings were partial (listed_pct below 100) averages
-- are lower bounds. Read no figure without its coverage_pct: what was not observed is not in it.
--
-- Of several sources the row `(all)`, last in its bucket, shows all of them as one: the peak of the sum, which is not
-- the sum of the peaks. It is over the time in which every one of them was covered, since a source that was not looked
-- at is unknown and not zero: so before the newest source was first recorded, or after one was given up, there is none.
--
-- Parameters
--   from    instant   -7d  start of the period
--   to      instant   now  end of the period, not included
--   bucket  bucket    day  hour, day, week, month, or all: the whole period as one
--   tz      timezone  UTC  time zone of the buckets, and of dates given without one
--   source  fleet     ''   one source; (all): all as one; empty: each, and where there are several, all as one
--
-- Columns
--   bucket_start      the bucket's civil start
--   source            the source; (all): all of them as one
--   desktops_avg      desktops present, on average over covered time
--   connected_avg     CONNECTED
--   connected_peak    the most that were CONNECTED at one instant of covered time: a lower bound
--   disconnected_avg  DISCONNECTED
--   ready_avg         REGISTERED
--   unregistered_avg  UNREGISTER
--   connected_hours   summed hours CONNECTED
--   utilisation_pct   connected time / desktop time
--   coverage_pct      covered time / the bucket's length; of (all), time in which every source was covered
--   listed_pct        desktops recorded / the API's total, on average over covered time
--
-- Chart
--   line  bucket_start  connected_avg, connected_peak, desktops_avg
--   per   source
--   unit  desktops
--
-- psql -v from=-7d -v to=now -v bucket=day -v tz=UTC -v source= -f queries/utilisation.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), :'bucket', :'tz')
),
step as (
    select s.*
      from deskledger_report.covered_steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               (select array_agg(bucket_from order by bucket_from) from bucket), :'source') s
),
held as (
    select source_id, edge,
           sum(micros) as covered,
           sum(micros * desktops) as desktops,
           sum(micros * connected) as connected,
           max(connected) as connected_peak,
           sum(micros * disconnected) as disconnected,
           sum(micros * ready) as ready,
           sum(micros * unregistered) as unregistered,
           sum(micros * listed) as listed
      from step
     group by source_id, edge
)
select b.bucket_start,
       s.source,
       (h.desktops / h.covered)::double precision as desktops_avg,
       (h.connected / h.covered)::double precision as connected_avg,
       h.connected_peak,
       (h.disconnected / h.covered)::double precision as disconnected_avg,
       (h.ready / h.covered)::double precision as ready_avg,
       (h.unregistered / h.covered)::double precision as unregistered_avg,
       (h.connected / 3600000000)::double precision as connected_hours,
       (100 * h.connected / nullif(h.desktops, 0))::double precision as utilisation_pct,
       (100 * coalesce(h.covered, 0)
           / deskledger_report.micros(b.bucket_to - b.bucket_from))::double precision as coverage_pct,
       100 * h.listed / h.covered::double precision as listed_pct
  from bucket b
 cross join deskledger_report.asked(:'source') s
  left join held h on h.source_id = s.source_id and h.edge = b.nth
 order by b.bucket_from, s.source_id = 0, s.source
