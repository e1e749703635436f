-- Desktops that nobody connected to
--
-- Desktops that were not CONNECTED in the last days, for whoever pays for them.
--
-- A desktop is named only if it is there now, and was observed well enough for a verdict: observed and present for
-- at least 95 % of the days, and never more than 8 hours in a row not, since those could hide a day's work. So a
-- desktop younger than that many days is not named. What lies between two snapshots, or in what is missing to
-- 100 %, may still hide a short connection. A row without a desktop says that its source has other desktops that
-- were not seen CONNECTED, but were not observed well enough to tell, or that nothing was read of it at all; ask
-- for fewer days, or see the report coverage. users are those a desktop is *assigned* to.
--
-- Parameters
--   days    number 0.01..  30  so many days of 24 hours up to now
--   source  source         ''  one source; empty: all
--
-- Columns
--   source          the source
--   desktop_id      the desktop; null: those about which nothing can be said
--   desktop_name    its name now
--   users           whom it is assigned to now
--   last_connected  when it was last seen CONNECTED; null: never
--   observed_days   days of 24 hours in which it was observed and present
--   coverage_pct    the same as a share of the days; without a desktop: on average over those
--
-- psql -v days=30 -v source= -f queries/idle-desktops.sql
with period as materialized (
    select now() - make_interval(secs => (86400 * :'days'::numeric)::double precision) as since, now() as until
),
used as (
    -- To the end of what is recorded, which a clock that runs ahead may put after now.
    select u.source_id, u.desktop_no
      from period
     cross join lateral deskledger_report.used_desktops(since, 'infinity') u
),
-- Those that are there now: an absent desktop has no open span.
candidate as materialized (
    select p.source_id, p.desktop_no
      from deskledger_report.piece p
     where p.is_open
       and (:'source' = '' or p.source_id = (select source_id from deskledger_report.source where source = :'source'))
       and not exists (select from used u where u.source_id = p.source_id and u.desktop_no = p.desktop_no)
),
held as (
    select c.source_id, c.desktop_no,
           greatest(p.piece_from, (select since from period)) as held_from,
           least(p.piece_to, (select until from period)) as held_to
      from candidate c
     -- Few are left, and `offset 0` keeps each a look-up: else all pieces would be read for them.
     cross join lateral (
           select o.piece_from, o.piece_to
             from deskledger_report.piece o
            where o.source_id = c.source_id and o.desktop_no = c.desktop_no
              and o.piece_to >= (select since from period) and o.piece_from <= (select until from period)
              and o.packed_to >= (select since from period) and o.packed_from <= (select until from period)
           offset 0) p
     union all
    -- The last stretch in which it was not observed ends now.
    select source_id, desktop_no, (select until from period), (select until from period) from candidate
),
observed as (
    select source_id, desktop_no, sum(held_to - held_from) as observed, max(held_from - before) as longest_gap
      from (select h.*, coalesce(lag(held_to) over (partition by source_id, desktop_no order by held_from, held_to),
                                 (select since from period)) as before
              from held h) g
     group by 1, 2
),
told as materialized (
    select o.source_id, o.desktop_no, deskledger_report.micros(o.observed) as observed, d.micros as days,
           100 * deskledger_report.micros(o.observed) >= 95 * d.micros and o.longest_gap <= interval '8 hours'
               as is_idle
      from observed o
     cross join (select deskledger_report.micros(until - since) as micros from period) d
     where d.micros > 0
)
select s.source, p.desktop_id, p.desktop_name, p.users,
       (select max(c.last_seen) from deskledger_report.piece c
         where c.source_id = t.source_id and c.desktop_no = t.desktop_no and c.status_id = 1) as last_connected,
       (t.observed / 86400000000.0)::double precision as observed_days,
       (100.0 * t.observed / t.days)::double precision as coverage_pct
  from told t
  join deskledger_report.source s using (source_id)
  join deskledger_report.named_piece p
    on p.source_id = t.source_id and p.desktop_no = t.desktop_no and p.is_open
 where t.is_idle
 union all
select s.source, null, null, null, null, null,
       coalesce((100 * sum(t.observed) / sum(t.days))::double precision, 0)
  from deskledger_report.source s
  left join told t on t.source_id = s.source_id and not t.is_idle
 where :'source' = '' or s.source = :'source'
 group by s.source_id, s.source
having count(t.desktop_no) > 0
    or not exists (select from deskledger_report.visit v
                    where v.source_id = s.source_id and v.desktops_outcome > 0
                      and v.day_from > (select since from period) - interval '24 hours'
                      and v.observed_at >= (select since from period))
 order by source, desktop_id nulls last
