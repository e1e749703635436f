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
select s.source, d.desktop_id, n.desktop_name, n.users,
       (l.lasted / 3600000000.0)::double precision as disconnected_hours,
       l.longest as longest_stretch, l.stretches,
       (100.0 * l.observed
           / deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))))::double precision
           as coverage_pct
  from deskledger_report.disconnected_stretches(
           (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')), :'source') l
  join deskledger_report.source s using (source_id)
  join deskledger_report.desktop d using (source_id, desktop_no)
  join deskledger_report.label n on n.source_id = l.source_id and n.label_no = l.label_no
 order by l.lasted desc, s.source, d.desktop_id
