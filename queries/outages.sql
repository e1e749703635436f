-- Many disconnects at once
--
-- The steps from one snapshot to the next in which an unusual share of the connected desktops disconnected. For
-- whoever runs the network: one desktop is a client's problem, many at once are an outage of something they share.
--
-- A step is shown if at least `share` percent of those that were connected just before disconnected in it, and at
-- least five desktops, or three or four if they are half of all: in the evening three of twelve go home within
-- minutes of one another, and nothing is wrong. So a fleet of which hardly anybody is connected shows none.
-- Desktops that a partial listing left out count as still connected: read share_pct as a
-- lower bound where listed_pct is below 100. DISCONNECTED may also be a closed window, so where few are connected
-- and all go home at once the step looks the same; what came back soon (reconnects) tells an outage from that. An
-- outage in which nothing could be read is a gap and not in here: see the report coverage. One that lasts longer
-- than a step may have two rows.
--
-- Parameters
--   from    instant        -30d  start of the period
--   to      instant        now   end of the period, not included
--   tz      timezone       UTC   time zone of dates given without one
--   source  source         ''    one source; empty: all
--   share   number 1..100  20    so many percent of the connected desktops at least
--
-- Columns
--   observed_at       the snapshot that shows it: the true instant lies before it …
--   source            the source
--   after             … and after the snapshot before, if that listed them all
--   connected_before  desktops held CONNECTED just before observed_at
--   disconnects       those of them that are DISCONNECTED at observed_at
--   share_pct         disconnects / connected_before
--   reconnects        those of the disconnects that were CONNECTED again within 15 minutes, as far as observed
--   listed_pct        desktops recorded / the API's total, in that snapshot
--
-- psql -v from=-30d -v to=now -v tz=UTC -v source= -v share=20 -f queries/outages.sql
with broken as (
    select t.source_id, t.at, t.disconnects
      from deskledger_report.counted_tally t
     where t.at >= (select deskledger.instant(:'from', :'tz')) and t.at < (select deskledger.instant(:'to', :'tz'))
       and t.disconnects >= 3
),
-- From a moment before the period, so that its very first instant has a step before it as well.
step as (
    select source_id, to_at, connected
      from deskledger_report.steps(
               (select deskledger.instant(:'from', :'tz') - interval '1 microsecond'),
               (select deskledger.instant(:'to', :'tz')), array[]::timestamptz[], :'source')
),
outage as materialized (
    select b.source_id, s.source, b.at, b.disconnects, t.connected
      from broken b
      join deskledger_report.source s using (source_id)
      join step t on t.source_id = b.source_id and t.to_at = b.at
     where (:'source' = '' or s.source = :'source')
       and 100 * b.disconnects >= :'share'::numeric * t.connected
       and (b.disconnects >= 5 or 2 * b.disconnects >= t.connected)
),
-- Spans are read where there is an outage, and then from the first one on.
back as (
    select p.source_id, p.disconnected_at as at, count(*) as reconnects
      from deskledger_report.piece p
     where exists (select from outage)
       and p.status_id = 1 and p.is_first
       and p.disconnected_at = any (array(select at from outage))
       and p.piece_from - p.disconnected_at <= interval '15 minutes'
       and p.piece_to >= (select min(at) from outage)
       and (p.is_open or p.piece_to <= (select deskledger_report.month_end(
               deskledger.instant(:'to', :'tz') + interval '15 minutes')))
       and p.packed_to >= (select min(at) from outage)
       and p.packed_from <= (select deskledger.instant(:'to', :'tz') + interval '15 minutes')
     group by 1, 2
)
select b.at as observed_at, b.source, before.observed_at as after,
       b.connected as connected_before, b.disconnects,
       100 * b.disconnects::double precision / b.connected as share_pct,
       case when not exists (select from deskledger_report.pruned p
                              where p.source_id = b.source_id and p.class = 'spans'
                                and p.month_from <= b.at + interval '15 minutes' and p.month_to > b.at)
            then coalesce(k.reconnects, 0) end as reconnects,
       case when v.desktops_total > 0
            then least(100 * v.desktops_recorded::double precision / v.desktops_total, 100)
            when v.desktops_total is null then 0
            else 100 end as listed_pct
  from outage b
  join lateral (select n.desktops_total, n.desktops_recorded
                  from deskledger_report.visit n
                 where n.source_id = b.source_id and n.day_from = date_bin('1 day', b.at, '2000-01-01 00:00:00+00')
                   and n.observed_at = b.at
                offset 0) v on true
 cross join lateral deskledger_report.newest_visit(b.source_id, b.at - interval '1 microsecond', 1::smallint, false) before
  left join back k on k.source_id = b.source_id and k.at = b.at
 order by b.at, b.source
