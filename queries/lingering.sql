-- Desktops that linger disconnected
--
-- Which desktops spend how much time DISCONNECTED: a session that nobody looks at goes on and holds the
-- desktop. For whoever sets the time after which such sessions are ended.
--
-- A stretch is a longest run of time held DISCONNECTED without a break; a rename or other users do not end it, a
-- gap does, so one long stretch may be shown as two shorter ones: hours and longest_stretch are lower bounds where
-- coverage_pct is low. What begins before the period or goes on after it counts with its part inside. A desktop
-- without any such time has no row. users are those it was *assigned* to, which does not say who left it so.
--
-- Parameters
--   from    instant   -7d  start of the period
--   to      instant   now  end of the period, not included
--   tz      timezone  UTC  time zone of dates given without one
--   source  source    ''   one source; empty: all
--
-- Columns
--   source              the source
--   desktop_id          the desktop; the longest time comes first
--   desktop_name        its name when last DISCONNECTED in the period
--   users               whom it was assigned to then
--   disconnected_hours  hours held DISCONNECTED
--   longest_stretch     the longest of them without a break
--   stretches           how many there were
--   coverage_pct        time in which this desktop was observed and present / the period's length
--
-- Chart
--   bars  desktop_name  disconnected_hours
--
-- psql -v from=-7d -v to=now -v tz=UTC -v source= -f queries/lingering.sql
with lingering as materialized (
    select * from deskledger_report.disconnected_stretches(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')), :'source')
),
-- Those of sources of which part of the period is pruned: what breaks off there leaves no trace to sum up.
pruned as materialized (
    select l.source_id, l.desktop_no
      from lingering l
     where l.source_id in (select p.source_id from deskledger_report.pruned p
                            where p.class = 'spans' and p.month_from < (select deskledger.instant(:'to', :'tz'))
                              and p.month_to > (select deskledger.instant(:'from', :'tz')))
)
select s.source, d.desktop_id, n.desktop_name, n.users,
       (l.lasted / 3600000000.0)::double precision as disconnected_hours,
       l.longest as longest_stretch, l.stretches,
       (100.0 * coalesce(o.observed, l.observed)
           / deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))))::double precision
           as coverage_pct
  from lingering l
  join deskledger_report.source s using (source_id)
  join deskledger_report.desktop d using (source_id, desktop_no)
  join deskledger_report.label n on n.source_id = l.source_id and n.label_no = l.label_no
  left join deskledger_report.observed_time(
           (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
           (select array_agg(distinct source_id) from pruned), (select array_agg(distinct desktop_no) from pruned)) o
       on o.source_id = l.source_id and o.desktop_no = l.desktop_no
 order by l.lasted desc, s.source, d.desktop_id
