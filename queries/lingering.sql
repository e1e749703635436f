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
with broken as (
    select source_id, desktop_no, label_no, held_from, held_to, is_last,
           count(*) filter (where is_first) over (partition by source_id, desktop_no order by held_from) as stretch
      from (select h.*,
                   lag(held_to) over seen is distinct from held_from as is_first,
                   lead(held_from) over seen is null as is_last
              from (select p.source_id, p.desktop_no, p.label_no,
                           greatest(p.piece_from, (select deskledger.instant(:'from', :'tz'))) as held_from,
                           least(p.piece_to, (select deskledger.instant(:'to', :'tz'))) as held_to
                      from deskledger_report.labelled_piece p
                     where p.status_id = 2
                       and p.piece_to > (select deskledger.instant(:'from', :'tz'))
                       and p.piece_from < (select deskledger.instant(:'to', :'tz'))
                       and p.piece_from < p.piece_to
                       and (select deskledger.instant(:'from', :'tz')) < (select deskledger.instant(:'to', :'tz'))
                       and (p.is_open
                            or p.piece_to <= (select deskledger_report.month_end(deskledger.instant(:'to', :'tz'))))
                       and (:'source' = ''
                            or p.source_id = (select source_id from deskledger_report.source where source = :'source'))) h
            window seen as (partition by source_id, desktop_no order by held_from)) b
),
stretch as (
    select source_id, desktop_no, max(held_to) - min(held_from) as lasted, max(label_no) filter (where is_last) as label_no
      from broken
     group by source_id, desktop_no, stretch
),
lingering as (
    select source_id, desktop_no, sum(lasted) as disconnected, max(lasted) as longest, count(*) as stretches,
           max(label_no) as label_no
      from stretch
     group by 1, 2
),
observed as (
    select p.source_id, p.desktop_no,
           sum(least(p.piece_to, (select deskledger.instant(:'to', :'tz')))
               - greatest(p.piece_from, (select deskledger.instant(:'from', :'tz')))) as observed
      from deskledger_report.piece p
     where p.piece_to > (select deskledger.instant(:'from', :'tz'))
       and p.piece_from < (select deskledger.instant(:'to', :'tz'))
       and p.piece_from < p.piece_to
       and (p.is_open or p.piece_to <= (select deskledger_report.month_end(deskledger.instant(:'to', :'tz'))))
     group by 1, 2
)
select s.source, d.desktop_id, n.desktop_name, n.users,
       (deskledger_report.micros(l.disconnected) / 3600000000.0)::double precision as disconnected_hours,
       l.longest as longest_stretch, l.stretches,
       (100.0 * deskledger_report.micros(o.observed)
           / deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))))::double precision
           as coverage_pct
  from lingering l
  join observed o using (source_id, desktop_no)
  join deskledger_report.source s using (source_id)
  join deskledger_report.desktop d using (source_id, desktop_no)
  join deskledger_report.label n on n.source_id = l.source_id and n.label_no = l.label_no
 order by l.disconnected desc, s.source, d.desktop_id
