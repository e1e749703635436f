-- When users were connected, day by day
--
-- For each person and day: when a desktop that the person is assigned to was first and last seen connected, and for how
-- long. For time sheets, licences by the day, and the question who was there on a day.
--
-- A desktop's assignment is not who sat at it: attribution says how far its desktops name the person (exclusive: nobody
-- else was assigned; shared: several were, and the same time stands in the row of each of them; group: a user group was
-- assigned as well, so it may have been any member of it). A row has all grades that the day's desktops had, the surest
-- first. Desktops that are assigned to groups alone, or to nobody, are in no row. Time on several desktops at once counts
-- once. Visits are minutes apart: the true first instant lies between the observation before first_connected and it,
-- the true last one after last_connected; user-history has those bounds. Read coverage_pct first: on a day that was
-- not observed in full the person may have been there earlier, later and longer, and a day without a row says nothing.
-- In many places such a list is subject to data protection law, and to the works council's consent.
--
-- Parameters
--   from    instant   -7d  start of the period
--   to      instant   now  end of the period, not included
--   tz      timezone  UTC  time zone of the days, and of dates given without one
--   source  source    ''   one source; empty: all
--   user    user      ''   the user's name or id; empty: all
--
-- Columns
--   day              the day's civil start
--   source           the source
--   user_name        the person
--   user_id          the person's id
--   attribution      how far the desktops name the person: exclusive, shared, group
--   first_connected  the first observation CONNECTED of the day; its start, where the connection reaches back before it
--   last_connected   the last observation CONNECTED; the day's end, where the connection is held beyond it
--   connected_hours  hours held CONNECTED, on several desktops at once counted once
--   desktops         how many desktops that were
--   coverage_pct     covered time of the source / the day's length, both inside the period
--
-- psql -v from=-7d -v to=now -v tz=UTC -v source= -v user= -f queries/user-days.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), 'day', :'tz')
),
edge as materialized (
    select array_agg(bucket_from order by bucket_from) as froms from bucket
),
-- Which labels stand for whom.
person as materialized (
    select u.source_id, u.label_no, u.person_no, u.user_name, u.user_id, u.attribution
      from deskledger_report.user_label u
     where u.user_type = 'USER'
       and (:'user' = '' or u.user_name = :'user' or u.user_id = :'user')
       and (:'source' = '' or u.source_id = (select source_id from deskledger_report.source where source = :'source'))
),
piece as (
    select p.source_id, p.label_no, p.desktop_no, p.piece_from, p.piece_to, p.last_seen, p.ended
      from deskledger_report.labelled_piece p
     where p.status_id = 1
       and p.piece_from < (select deskledger.instant(:'to', :'tz'))
       and p.piece_to >= (select deskledger.instant(:'from', :'tz'))
       and (p.is_open or p.piece_to <= (select deskledger_report.month_end(deskledger.instant(:'to', :'tz'))))
       and p.packed_to >= (select deskledger.instant(:'from', :'tz'))
       and p.packed_from <= (select deskledger.instant(:'to', :'tz'))
       and (:'user' = ''
            or p.label_no = any (array(select label_no from person))
               and p.source_id = any (array(select source_id from deskledger_report.desktops_of_user(:'user')))
               and p.desktop_no = any (array(select desktop_no from deskledger_report.desktops_of_user(:'user'))))
),
-- Cut at midnight. A piece that ends where a day begins is in it only if it was observed there.
part as materialized (
    select p.source_id, p.label_no, p.desktop_no, b.nth,
           greatest(p.piece_from, b.bucket_from) as held_from,
           least(p.piece_to, b.bucket_to) as held_to,
           case when p.piece_to > b.bucket_to then b.bucket_to
                -- It goes on in the next month: its next piece says.
                when p.ended = -5 then case when p.piece_to = b.bucket_to then b.bucket_to end
                else greatest(p.last_seen, b.bucket_from) end as last_connected
      from edge
     cross join piece p
     cross join lateral generate_series(
               greatest(width_bucket(p.piece_from, edge.froms), 1), width_bucket(p.piece_to, edge.froms)) nth
      join bucket b on b.nth = nth.nth
     where p.piece_from < b.bucket_to and (p.piece_to > b.bucket_from or p.last_seen >= b.bucket_from)
),
desktop as materialized (
    select source_id, label_no, desktop_no, nth, min(held_from) as first_connected, max(last_connected) as last_connected,
           sum(deskledger_report.micros(held_to - held_from)) as held
      from part
     group by 1, 2, 3, 4
),
-- By person, as if no two desktops were used at once.
told as materialized (
    select d.nth, r.source_id, r.person_no, r.user_name, r.user_id,
           array_remove(array[max('exclusive') filter (where r.attribution = 'exclusive'),
                              max('shared') filter (where r.attribution = 'shared'),
                              max('group') filter (where r.attribution = 'group')], null) as attribution,
           min(d.first_connected) as first_connected, max(d.last_connected) as last_connected,
           sum(d.held) as held, count(distinct d.desktop_no) as desktops
      from desktop d
      join person r using (source_id, label_no)
     group by 1, 2, 3, 4, 5
),
-- Of who had several, the time during which at least one was connected.
change as (
    select t.nth, t.source_id, t.person_no, c.at, sum(c.sign) as connected
      from told t
      join person r using (source_id, person_no)
      join part p on p.source_id = r.source_id and p.label_no = r.label_no and p.nth = t.nth
     cross join lateral (values (p.held_from, 1), (p.held_to, -1)) c (at, sign)
     where t.desktops > 1
     group by 1, 2, 3, 4
),
once as (
    select nth, source_id, person_no, sum(deskledger_report.micros(until - at)) filter (where connected > 0) as held
      from (select nth, source_id, person_no, at, lead(at) over seen as until, sum(connected) over seen as connected
              from change
            window seen as (partition by nth, source_id, person_no order by at)) l
     group by 1, 2, 3
),
covered as (
    select b.nth, r.source_id,
           sum(deskledger_report.micros(least(r.covered_to, b.bucket_to) - greatest(r.covered_from, b.bucket_from))) as covered
      from bucket b
      join deskledger_report.detailed_run r on r.covered_from < b.bucket_to and r.covered_to > b.bucket_from
     group by 1, 2
)
select b.bucket_start as day, s.source, t.user_name, t.user_id, t.attribution, t.first_connected, t.last_connected,
       (case when t.desktops > 1 then coalesce(o.held, 0) else t.held end / 3600000000.0)::double precision
           as connected_hours,
       t.desktops,
       (100 * coalesce(c.covered, 0)
           / deskledger_report.micros(b.bucket_to - b.bucket_from))::double precision as coverage_pct
  from told t
  join bucket b using (nth)
  join deskledger_report.source s using (source_id)
  left join once o on o.nth = t.nth and o.source_id = t.source_id and o.person_no = t.person_no
  left join covered c on c.nth = t.nth and c.source_id = t.source_id
 order by b.bucket_from, s.source, t.user_name, t.user_id, t.person_no
