-- For how long how many were connected
--
-- A load-duration histogram: how many hours of the covered time had so many connected at once. For charts, and for
-- choosing how many desktops or licences are enough for most of the time: read not_exceeded_pct.
--
-- The numbers from 0 to the peak are cut into equal bins, at most as many as asked for, for each source by itself. Bins
-- in which there was no time have a row too. Covered time alone counts: what was not observed is in no bin, so read
-- coverage_pct first. A peak is sampled, so the true one may be higher, and where listings were partial all figures are
-- lower bounds. Of several sources `(all)` shows all of them as one, over the time in which every one was covered.
-- The hours are time-weighted counts over held states, as in the report concurrency; nothing is fitted.
--
-- Parameters
--   from    instant          -30d  start of the period
--   to      instant          now   end of the period, not included
--   tz      timezone         UTC   time zone of dates given without one
--   source  fleet            ''    one source; (all): all as one; empty: each, and where there are several, all as one
--   bins    integer 1..1000  20    so many bins at most, one at least
--
-- Columns
--   source            the source; (all): all of them as one
--   connected_from    the bin: so many connected at once at least; null: nothing was covered
--   connected_to      and so many at most
--   hours             hours of covered time with a number of connections in the bin
--   share_pct         the same / covered time
--   not_exceeded_pct  covered time with connected_to or fewer / covered time
--   coverage_pct      covered time / the period's length; of (all), time in which every source was covered
--
-- Chart
--   bars  connected_from  hours
--   per   source
--   unit  desktops
--
-- psql -v from=-30d -v to=now -v tz=UTC -v source= -v bins=20 -f queries/distribution.sql
with at_once as (
    select source_id, connected, sum(micros) as micros
      from deskledger_report.covered_steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               array[]::timestamptz[], :'source')
     group by source_id, connected
),
cut as (
    select source_id, max(connected) as peak, sum(micros) as covered,
           ceil((max(connected) + 1) / greatest(:'bins'::bigint, 1)::numeric)::bigint as width
      from at_once
     group by source_id
),
held as (
    select a.source_id, a.connected / c.width as nth, sum(a.micros) as micros
      from at_once a
      join cut c using (source_id)
     group by 1, 2
),
bin as (
    select c.source_id, c.covered, nth * c.width as connected_from, (nth + 1) * c.width - 1 as connected_to,
           coalesce(h.micros, 0) as micros,
           sum(h.micros) over (partition by c.source_id order by nth) as not_exceeded
      from cut c
     cross join lateral generate_series(0, c.peak / c.width) nth
      left join held h using (source_id, nth)
)
select s.source, b.connected_from, b.connected_to,
       (b.micros / 3600000000)::double precision as hours,
       (100 * b.micros / b.covered)::double precision as share_pct,
       (100 * coalesce(b.not_exceeded, 0) / b.covered)::double precision as not_exceeded_pct,
       (100 * coalesce(b.covered, 0)
           / nullif(deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))), 0)
       )::double precision as coverage_pct
  from deskledger_report.asked(:'source') s
  left join bin b using (source_id)
 order by s.source_id = 0, s.source, b.connected_from
