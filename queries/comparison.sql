-- Two periods side by side
--
-- The main figures of each source in two periods, and the change from the other one to the one asked for. For planning:
-- has it become more, and for whoever changed something: did it help.
--
-- Without another period it is the one of the same length just before; with one end of it alone, the same length too.
-- That length is absolute: to compare two months, or weeks across a change of the clocks, give both ends. Choose periods
-- that are alike: a week with a week, not with a weekend. A peak is sampled, a lower bound in both. Figures are those of
-- the reports utilisation and disconnects. Of several sources `(all)` shows all of them as one, over the time in which
-- every one was covered; disconnects are no part of it: they add up.
--
-- A change is told only where both periods were covered for at least 90 %. Of a period that was hardly observed the
-- average may be that of a night; and what is missing to 90 % could outweigh most changes. Hours and counts are of what
-- was observed alone, so of connected_hours and disconnects the other value is first brought to as much covered time as
-- the period has: other_value * covered time of the period / covered time of the other. Coverage has no change: it tells
-- of the recorder and not of the fleet. A change says nothing about chance.
--
-- Parameters
--   from        instant   -7d  start of the period
--   to          instant   now  end of the period, not included
--   other_from  instant   ''   start of the other period; empty: as long before its end as the period is long
--   other_to    instant   ''   end of the other, not included; empty: so long after its start, or else the period's start
--   tz          timezone  UTC  time zone of dates given without one
--   source      fleet     ''   one source; (all): all as one; empty: each, and where there are several, all as one
--
-- Columns
--   source              the source; (all): all of them as one
--   figure              desktops_avg, connected_avg, connected_peak, connected_hours, utilisation_pct, disconnects,
--                       disconnects_per_100_hours (of connected time) or coverage_pct
--   value               in the period; null: not observed; a lower bound where figure is connected_peak
--   other_value         in the other period; a lower bound where figure is connected_peak
--   change              value - other_value, of hours and counts for as much covered time; null: not told, since one of
--                       the periods was covered for less than 90 %, and never of coverage_pct
--   change_pct          change / other_value, likewise
--   coverage_pct        covered time / the period's length
--   other_coverage_pct  the same of the other period
--
-- psql -v from=-7d -v to=now -v other_from= -v other_to= -v tz=UTC -v source= -f queries/comparison.sql
with given as materialized (
    select from_at, to_at,
           -- In microseconds: days of an interval would follow the session's time zone.
           deskledger_report.micros(to_at - from_at) * interval '1 microsecond' as lasting,
           deskledger.instant(nullif(:'other_from', ''), :'tz') as other_from,
           deskledger.instant(nullif(:'other_to', ''), :'tz') as other_to
      from (select deskledger.instant(:'from', :'tz') as from_at, deskledger.instant(:'to', :'tz') as to_at) p
),
-- An empty period is none.
period as materialized (
    select 1 as nth, b.bucket_from as from_at, b.bucket_to as to_at
      from given g
     cross join lateral deskledger.buckets(g.from_at, g.to_at, 'all', :'tz') b
     union all
    select 2, b.bucket_from, b.bucket_to
      from given g
     cross join lateral deskledger.buckets(
               coalesce(g.other_from, g.other_to - g.lasting, g.from_at - g.lasting),
               coalesce(g.other_to, g.other_from + g.lasting, g.from_at), 'all', :'tz') b
),
held as (
    select p.nth, s.source_id, sum(s.micros) as covered, sum(s.micros * s.desktops) as desktops,
           sum(s.micros * s.connected) as connected, max(s.connected) as peak
      from period p
     cross join lateral deskledger_report.covered_steps(p.from_at, p.to_at, array[]::timestamptz[], :'source') s
     group by 1, 2
),
-- As in the report disconnects; one after the other, so that each reads its own months.
broken as (
    select p.nth, t.source_id, sum(t.disconnects) as disconnects
      from period p
      join deskledger_report.counted_tally t on t.at >= p.from_at and t.at < p.to_at
     group by 1, 2
    having sum(t.disconnects) > 0
),
told as (
    select p.nth, a.source_id, a.source, f.figure, f.place, f.value, h.covered,
           f.place in (4, 6) as is_total,
           100 * coalesce(h.covered, 0) >= 90 * deskledger_report.micros(p.to_at - p.from_at) and f.place <> 8 as is_told,
           (100 * coalesce(h.covered, 0) / deskledger_report.micros(p.to_at - p.from_at))::double precision as coverage_pct
      from period p
     cross join deskledger_report.asked(:'source') a
      left join held h on h.nth = p.nth and h.source_id = a.source_id
      left join broken b on b.nth = p.nth and b.source_id = a.source_id
     cross join lateral (values
               (1, 'desktops_avg', h.desktops / h.covered),
               (2, 'connected_avg', h.connected / h.covered),
               (3, 'connected_peak', h.peak),
               (4, 'connected_hours', h.connected / 3600000000),
               (5, 'utilisation_pct', 100 * h.connected / nullif(h.desktops, 0)),
               (6, 'disconnects', case when h.covered > 0 then coalesce(b.disconnects, 0) else b.disconnects end),
               (7, 'disconnects_per_100_hours',
                   100 * coalesce(b.disconnects, 0) * 3600000000 / nullif(h.connected, 0)),
               (8, 'coverage_pct', 100 * coalesce(h.covered, 0) / deskledger_report.micros(p.to_at - p.from_at))
           ) f (place, figure, value)
     where a.source_id <> 0 or f.place not in (6, 7)
)
select source, figure, value, other_value, value - expected as change,
       100 * (value - expected) / nullif(expected, 0) as change_pct, coverage_pct, other_coverage_pct
  from (select source_id, source, place, figure,
               max(value) filter (where nth = 1)::double precision as value,
               max(value) filter (where nth = 2)::double precision as other_value,
               -- What the value would be if nothing had changed. Each period has a row, but for one without a length.
               case when bool_and(is_told) and count(*) = 2
                    then (max(value) filter (where nth = 2)
                          * case when is_total then max(covered) filter (where nth = 1)
                                                  / max(covered) filter (where nth = 2)
                                 else 1 end)::double precision end as expected,
               max(coverage_pct) filter (where nth = 1) as coverage_pct,
               max(coverage_pct) filter (where nth = 2) as other_coverage_pct
          from told
         group by 1, 2, 3, 4, is_total) t
 order by source_id = 0, source, place
