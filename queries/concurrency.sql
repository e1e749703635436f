-- How many were connected at once
--
-- The time-weighted percentiles of concurrent connections: p95 is the smallest number that was not exceeded
-- during at least 95 % of the covered time. For planning: how many desktops or licences are needed at once.
--
-- Covered time alone counts; what was not observed is in no figure, so read coverage_pct first: a night that was
-- not observed raises every percentile, a busy day that was not lowers it. Nights and weekends count as much as
-- mornings: ask for a shorter period, or see busy-hours. A peak is sampled, so the true one may be higher, and
-- where listings were partial all figures are lower bounds.
--
-- Of several sources the last row, `(all)`, shows all of them as one: how many were connected in all of them together,
-- over the time in which every one of them was covered. That is less than the sum of the rows above where they peak at
-- different times, and it is what a licence that they share needs.
--
-- Parameters
--   from    instant   -30d  start of the period
--   to      instant   now   end of the period, not included
--   tz      timezone  UTC   time zone of dates given without one
--   source  fleet     ''    one source; (all): all as one; empty: each, and where there are several, all as one
--
-- Columns
--   source         the source; (all): all of them as one
--   p50            connections not exceeded during at least 50 % of covered time; null: nothing was covered
--   p90            during at least 90 %
--   p95            during at least 95 %
--   p99            during at least 99 %
--   peak           the most at one instant of covered time: a lower bound
--   peak_at        the earliest instant in the period at the peak
--   covered_hours  hours covered: between visits no more than max_gap apart
--   coverage_pct   covered time / the period's length; of (all), time in which every source was covered
--
-- Chart
--   bars  source  p50, p90, p95, p99, peak
--   unit  desktops
--
-- psql -v from=-30d -v to=now -v tz=UTC -v source= -f queries/concurrency.sql
with at_once as (
    select source_id, connected, sum(micros) as micros, min(from_at) as first_at
      from deskledger_report.covered_steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               array[]::timestamptz[], :'source')
     group by source_id, connected
),
-- For how long no more than so many were connected.
share as (
    select source_id, connected, first_at,
           sum(micros) over (partition by source_id order by connected) as not_exceeded,
           sum(micros) over (partition by source_id) as covered
      from at_once
),
figure as (
    select source_id,
           min(connected) filter (where 100 * not_exceeded >= 50 * covered) as p50,
           min(connected) filter (where 100 * not_exceeded >= 90 * covered) as p90,
           min(connected) filter (where 100 * not_exceeded >= 95 * covered) as p95,
           min(connected) filter (where 100 * not_exceeded >= 99 * covered) as p99,
           max(connected) as peak,
           -- All of the time is reached at the peak, and nowhere before.
           min(first_at) filter (where not_exceeded = covered) as peak_at,
           max(covered) as covered
      from share
     group by source_id
)
select s.source, f.p50, f.p90, f.p95, f.p99, f.peak, f.peak_at,
       (coalesce(f.covered, 0) / 3600000000)::double precision as covered_hours,
       (100 * coalesce(f.covered, 0)
           / nullif(deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))), 0)
       )::double precision as coverage_pct
  from deskledger_report.asked(:'source') s
  left join figure f using (source_id)
 order by s.source_id = 0, s.source
