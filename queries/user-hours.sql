-- Hours per user
--
-- For how long desktops were connected that a person is assigned to, for charging it to somebody.
--
-- A desktop's assignment is not who sat at it, so hours come with a grade, a row for each: exclusive, on desktops of
-- which the person was the only one assigned; shared, on desktops of several persons: the whole time stands in the row of
-- *each* of them, so these rows add up to more than there was; group, on desktops to which a user group was assigned as
-- well: any member of it may have used them. Charge exclusive hours, and divide the others by a rule of your own. Desktops
-- that are assigned to groups alone, or to nobody, are in no row: the sum of the rows is not that of the fleet.
--
-- With overlap `once` every instant counts once for a person, under the surest grade of the desktops connected then, so a
-- person's rows add up to the time during which at least one was. With `each` all desktops count by themselves. Hours
-- are held time inside the period: what was not observed is in none, so they are lower bounds where coverage_pct is low,
-- and what is shorter than the distance of two visits may be missed.
--
-- Visits are minutes apart, so each start and each end has bounds (user-history lists them), and so have hours: these
-- connections lasted hours_min inside the period at least and hours_max at most. They certainly held from started_by to
-- last_seen, and no longer than from started_after to ended_by, or until now if they are ONGOING. Where several desktops at
-- one time count once, what is open about those of a surer grade is open in the rows below it, too. The bounds of
-- connections that follow each other overlap, so hours_max adds them up to the length of the period and no further.
-- Within a day, see user-days. In many places such a list is subject to data protection law.
--
-- Parameters
--   from     instant   -30d  start of the period
--   to       instant   now   end of the period, not included
--   tz       timezone  UTC   time zone of dates given without one
--   source   source    ''    one source; empty: all
--   overlap  text      once  once: several desktops at one time count once; each: each of them
--
-- Columns
--   source           the source
--   user_name        the person
--   user_id          the person's id
--   attribution      how far the desktops name the person: exclusive, shared or group; the surest comes first
--   connected_hours  hours held CONNECTED
--   hours_min        the connections held lasted no shorter; null: a surer grade's hours_max is not known
--   hours_max        and no longer; null: a gap hides when one of them started or ended, or nobody looks any more
--   desktops         on how many desktops of that grade
--   coverage_pct     covered time of the source / the period's length
--
-- Chart
--   bars  user_name  connected_hours
--
-- psql -v from=-30d -v to=now -v tz=UTC -v source= -v overlap=once -f queries/user-hours.sql
with period as materialized (
    select b.bucket_from as from_at, b.bucket_to as to_at,
           deskledger_report.one_of(:'overlap', array['once', 'each']) = 'once' as is_once
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), 'all', :'tz') b
),
-- Which labels stand for whom.
person as materialized (
    select u.source_id, u.label_no, u.person_no, u.user_name, u.user_id, u.attribution
      from deskledger_report.user_label u
     where u.user_type = 'USER'
       and (:'source' = '' or u.source_id = (select source_id from deskledger_report.source where source = :'source'))
),
-- By label and desktop: for how long, and for how much less than that or more its connections may have lasted.
connected as materialized (
    select c.source_id, c.label_no, c.desktop_no, c.held, c.less, c.more
      from period
     cross join lateral deskledger_report.connected_time(from_at, to_at, :'source') c
),
-- By person and grade, each desktop by itself.
told as materialized (
    select r.source_id, r.person_no, r.user_name, r.user_id, r.attribution, sum(h.held) as held,
           count(distinct h.desktop_no) as desktops, min(h.desktop_no) as first_no, max(h.desktop_no) as last_no
      from connected h
      join person r using (source_id, label_no)
     where h.held > 0
     group by 1, 2, 3, 4, 5
),
-- Who had several, if that matters.
several as materialized (
    select source_id, person_no
      from told
     where (select is_once from period)
     group by 1, 2
    having min(first_no) < max(last_no)
),
change as (
    select v.source_id, v.person_no, c.at,
           coalesce(sum(c.sign) filter (where v.attribution = 'exclusive'), 0) as exclusive,
           coalesce(sum(c.sign) filter (where v.attribution = 'shared'), 0) as shared,
           sum(c.sign) as connected
      from (select r.source_id, r.person_no, r.label_no, r.attribution
              from person r
              join several using (source_id, person_no)) v
      join (select h.*
              from period
             cross join lateral deskledger_report.held_pieces(
                       from_at, to_at, :'source', 1::smallint,
                       array(select r.label_no from person r join several using (source_id, person_no))) h) p
           using (source_id, label_no)
     cross join lateral (values (p.held_from, 1), (p.held_to, -1)) c (at, sign)
     group by 1, 2, 3
),
once as (
    select source_id, person_no,
           case when exclusive > 0 then 'exclusive' when shared > 0 then 'shared' else 'group' end as attribution,
           sum(deskledger_report.micros(until - at)) as held
      from (select source_id, person_no, at, lead(at) over seen as until, sum(exclusive) over seen as exclusive,
                   sum(shared) over seen as shared, sum(connected) over seen as connected
              from change
            window seen as (partition by source_id, person_no order by at)) l
     where connected > 0
     group by 1, 2, 3
),
-- By person and grade; and, of who had several, what is open about surer grades, which takes from a less sure one, or
-- gives to it.
slack as (
    select source_id, person_no, attribution, less, more,
           case when v.person_no is null then 0 else coalesce(sum(less) over surer, 0) end as surer_less,
           case when v.person_no is null then 0
                when count(*) over surer = count(more) over surer then coalesce(sum(more) over surer, 0)
           end as surer_more
      from (select r.source_id, r.person_no, r.attribution, sum(b.less) as less,
                   case when count(*) = count(b.more) then sum(b.more) end as more
              from connected b
              join person r using (source_id, label_no)
             group by 1, 2, 3) g
      left join several v using (source_id, person_no)
    window surer as (
           partition by source_id, person_no
           order by case attribution when 'exclusive' then 1 when 'shared' then 2 else 3 end
           rows between unbounded preceding and 1 preceding)
),
covered as (
    select r.source_id, sum(deskledger_report.micros(least(r.covered_to, p.to_at) - greatest(r.covered_from, p.from_at)))
               as covered
      from period p
      join deskledger_report.detailed_run r on r.covered_from < p.to_at and r.covered_to > p.from_at
     group by 1
)
select s.source, t.user_name, t.user_id, t.attribution,
       (h.held / 3600000000.0)::double precision as connected_hours,
       -- Not `greatest`, which would make 0 of what is not known.
       (case when h.least < 0 then 0 else h.least end / 3600000000.0)::double precision as hours_min,
       (case when h.most < m.longest then h.most when h.most >= m.longest then m.longest end / 3600000000.0)::double precision
           as hours_max,
       t.desktops,
       (100 * coalesce(c.covered, 0) / deskledger_report.micros(p.to_at - p.from_at))::double precision as coverage_pct
  from period p
 cross join told t
  join deskledger_report.source s using (source_id)
  join slack k on k.source_id = t.source_id and k.person_no = t.person_no and k.attribution = t.attribution
  left join several v on v.source_id = t.source_id and v.person_no = t.person_no
  left join once o on o.source_id = t.source_id and o.person_no = t.person_no and o.attribution = t.attribution
  left join covered c on c.source_id = t.source_id
 cross join lateral (
       select held, held - k.less - k.surer_more as least, held + k.more + k.surer_less as most
         from (select case when v.person_no is null then t.held else coalesce(o.held, 0) end as held) t) h
 cross join lateral (
       select deskledger_report.micros(p.to_at - p.from_at) * case when p.is_once then 1 else t.desktops end as longest) m
 order by s.source, t.user_name, t.user_id, t.person_no,
          case t.attribution when 'exclusive' then 1 when 'shared' then 2 else 3 end
