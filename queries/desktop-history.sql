-- A desktop's history
--
-- What one desktop was seen in, oldest first and without holes: its spans, the time it was absent, and
-- the time in which it was not observed. For the auditor and for whoever looks into one complaint.
--
-- A row that is `present` or `absent` was observed at first_seen and last_seen, and holds until
-- held_until. A row that is `not observed` lies between the observations started_after and ended_before,
-- and claims nothing about the time between; at the end of what is recorded there is always one.
--
-- Parameters
--   desktop  desktop   required  the desktop's id, or a name that it had
--   from     instant   -30d      start of the period
--   to       instant   now       end of the period, not included
--   tz       timezone  UTC       time zone of dates given without one
--   source   source    ''        one source; empty: all
--
-- Columns
--   source          the source
--   desktop_id      the desktop
--   presence        present; absent: gone from a complete listing; not observed: nothing is claimed
--   desktop_name    its name
--   connect_status  its status; null: the API gave none
--   users           whom it was assigned to
--   first_seen      the first observation; null: not observed
--   last_seen       the last observation; null: not observed
--   held_until      until when it is known to hold; null: not observed
--   started_after   the observation before; null: unknown
--   ended_before    the observation after; null: unknown, or none yet
--
-- psql -v desktop=DESK-1 -v from=-30d -v to=now -v tz=UTC -v source= -f queries/desktop-history.sql
with asked as (
    select d.source_id, s.source, d.desktop_no, d.desktop_id
      from deskledger_report.desktop d
      join deskledger_report.source s using (source_id)
     where (:'source' = '' or s.source = :'source')
       and (d.source_id, d.desktop_no) in (
           select i.source_id, i.desktop_no from deskledger_report.desktop i where i.desktop_id = :'desktop'
            union
           select n.source_id, n.desktop_no
             from deskledger_report.label l
             join deskledger_report.desktop_label n using (source_id, label_no)
            where l.desktop_name = :'desktop')
),
span as materialized (
    -- Of a span whose last piece is pruned the newest that is kept stands for it: up to when it was observed there.
    select distinct on (a.source_id, a.desktop_no, p.first_seen)
           a.source, a.source_id, a.desktop_no, a.desktop_id, p.desktop_name,
           t.status as connect_status, p.users, p.first_seen,
           case when p.is_last then p.last_seen
                else (select max(v.observed_at)
                        from deskledger_report.visit v
                       where v.source_id = a.source_id and v.desktops_outcome > 0
                         and v.day_from > p.piece_from - interval '24 hours' and v.day_from < p.piece_to
                         and v.observed_at >= p.piece_from and v.observed_at < p.piece_to
                         and not exists (select from deskledger_report.unlisted u
                                          where u.source_id = a.source_id and u.desktop_no = a.desktop_no
                                            and u.from_at <= v.observed_at and u.to_at >= v.observed_at)) end as last_seen,
           p.piece_to as held_until, p.started_after,
           case when p.ended not in (-4, -5) then p.piece_to end as ended_before
      from asked a
     -- `offset 0` keeps each a look-up: else all pieces would be read for it.
     cross join lateral (
           select n.*
             from deskledger_report.named_piece n
            where n.source_id = a.source_id and n.desktop_no = a.desktop_no
              -- Or goes on in a month that is pruned.
              and (n.is_last or (n.source_id, n.piece_to) in (
                      select p.source_id, p.month_from from deskledger_report.pruned p where p.class = 'spans'))
           offset 0) p
      join deskledger_report.status t on t.source_id = a.source_id and t.status_id = p.status_id
     order by a.source_id, a.desktop_no, p.first_seen, p.piece_to desc
),
between_spans as (
    select a.source_id, a.desktop_no, s.last_seen as after, s.ended_before as absent_since,
           lead(s.first_seen) over seen as before, lead(s.started_after) over seen as absent_until
      from asked a
      join (select source_id, desktop_no, first_seen, last_seen, ended_before, started_after from span
             union all
            -- Before the first span.
            select source_id, desktop_no, '-infinity', '-infinity', null, null from asked) s using (source_id, desktop_no)
    window seen as (partition by a.source_id, a.desktop_no order by s.first_seen)
),
-- Complete listings in a row, for absences: a complete listing between two spans is one that the desktop
-- was absent from, also before its first span.
absence as (
    select source_id, desktop_no, after, absent_since, before, absent_until,
           min(observed_at) as first_seen, max(observed_at) as last_seen
      from (select b.*, c.observed_at,
                   count(*) filter (where c.is_first) over (partition by b.source_id, b.desktop_no, b.after
                                                            order by c.observed_at) as run
              from between_spans b
             cross join lateral (
                   select v.observed_at,
                          coalesce(v.observed_at - lag(v.observed_at) over seen
                              > make_interval(secs => least(v.max_gap, lag(v.max_gap) over seen)), true) as is_first
                     from deskledger_report.detailed_visit v
                    where v.source_id = b.source_id and v.desktops_outcome = 2
                      and v.day_from > b.after - interval '24 hours' and v.day_from < coalesce(b.before, 'infinity')
                      and v.observed_at > b.after and v.observed_at < coalesce(b.before, 'infinity')
                   window seen as (order by v.observed_at)) c
             -- Between spans that touch there is none; nearly all do.
             where b.before is null or b.absent_since is distinct from b.before) l
     group by source_id, desktop_no, after, absent_since, before, absent_until, run
),
observed as (
    select source_id, desktop_no, 'present' as presence, desktop_name, connect_status, users,
           first_seen, last_seen, held_until, started_after, ended_before
      from span
     union all
    select source_id, desktop_no, 'absent', null, null, null, first_seen, last_seen,
           case when absent_until = last_seen then before else last_seen end,
           case when absent_since = first_seen then after end,
           case when absent_until = last_seen then before end
      from absence
),
line as (
    select source_id, desktop_no, presence, desktop_name, connect_status, users,
           first_seen, last_seen, held_until, started_after, ended_before
      from observed
     union all
    -- Between an observation that nothing followed in time and the next; and after the last.
    select source_id, desktop_no, 'not observed', null, null, null, null, null, null, last_seen, next_seen
      from (select source_id, desktop_no, last_seen, ended_before,
                   lead(first_seen) over (partition by source_id, desktop_no order by first_seen) as next_seen
              from observed) o
     where ended_before is null
     union all
    -- Before the first.
    select source_id, desktop_no, 'not observed', null, null, null, null, null, null, null, min(first_seen)
      from observed
     group by source_id, desktop_no
)
select a.source, a.desktop_id, l.presence, l.desktop_name, l.connect_status, l.users,
       l.first_seen, l.last_seen, l.held_until, l.started_after, l.ended_before
  from line l
  join asked a using (source_id, desktop_no)
 where coalesce(l.first_seen, l.started_after, '-infinity') < (select deskledger.instant(:'to', :'tz'))
   and case when l.presence = 'not observed'
            then coalesce(l.ended_before, 'infinity') > (select deskledger.instant(:'from', :'tz'))
            else l.held_until >= (select deskledger.instant(:'from', :'tz')) end
   and (select deskledger.instant(:'from', :'tz')) < (select deskledger.instant(:'to', :'tz'))
 order by a.source, a.desktop_id, coalesce(l.first_seen, l.started_after, '-infinity'), l.presence = 'not observed'
