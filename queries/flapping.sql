-- Desktops that disconnect again and again
--
-- Which desktops had many disconnects in a short time, worst first. For whoever looks after the network and the
-- clients: one such desktop has a bad line or a sick client; many of them at the same instants are an outage.
--
-- The API's DISCONNECTED means that the client's window was closed or its network broke; nobody can tell which from
-- here, so read a disconnect as that and not as a failure. A break and a return between two snapshots is not seen:
-- counts are lower bounds, and visits every five minutes see no more than six disconnects an hour. A window is any
-- stretch of that length inside the period, not a clock hour. users are those the desktop was *assigned* to.
--
-- Parameters
--   from    instant           -7d  start of the period
--   to      instant           now  end of the period, not included
--   tz      timezone          UTC  time zone of dates given without one
--   source  source            ''   one source; empty: all
--   times   integer 1..10000  3    so many disconnects within a window at least
--   within  duration          1h   the window: from the first of them to the last, both included
--
-- Columns
--   source          the source
--   desktop_id      the desktop
--   desktop_name    its name at its last disconnect in the period
--   users           whom it was assigned to then
--   disconnects     CONNECTED followed by DISCONNECTED, in the whole period
--   most_in_window  the most of them within one window; the most come first
--   window_from     the first disconnect of the earliest such window
--   coverage_pct    time in which this desktop was observed and present / the period's length
--
-- Chart
--   bars  desktop_name  disconnects
--
-- psql -v from=-7d -v to=now -v tz=UTC -v source= -v times=3 -v within=1h -f queries/flapping.sql
with broken as (
    select c.source_id, c.desktop_no, c.label_no, c.disconnected_at,
           count(*) over (partition by c.source_id, c.desktop_no order by c.disconnected_at
                          range between current row and deskledger.duration(:'within') following) as in_window
      from deskledger_report.close_disconnects(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')), :'source',
               :'times'::integer, deskledger.duration(:'within')) c
),
flapping as materialized (
    select source_id, desktop_no, count(*) as disconnects, max(in_window) as most_in_window,
           (array_agg(disconnected_at order by in_window desc, disconnected_at))[1] as window_from,
           -- Of what its last disconnect began.
           (array_agg(label_no order by disconnected_at desc))[1] as label_no
      from broken
     group by 1, 2
    having max(in_window) >= :'times'::integer
)
select s.source, d.desktop_id, n.desktop_name, n.users, f.disconnects, f.most_in_window, f.window_from,
       (100.0 * coalesce(o.observed, 0)
           / deskledger_report.micros(
               (select deskledger.instant(:'to', :'tz')) - (select deskledger.instant(:'from', :'tz'))))::double precision
           as coverage_pct
  from flapping f
  join deskledger_report.source s using (source_id)
  join deskledger_report.desktop d using (source_id, desktop_no)
  join deskledger_report.label n on n.source_id = f.source_id and n.label_no = f.label_no
  left join deskledger_report.observed_time(
           (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
           (select array_agg(distinct source_id) from flapping), (select array_agg(distinct desktop_no) from flapping)) o
       on o.source_id = f.source_id and o.desktop_no = f.desktop_no
 order by f.most_in_window desc, f.disconnects desc, s.source, d.desktop_id
