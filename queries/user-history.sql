-- A user's connections
--
-- The connections of the desktops that a user or a user group was assigned to, oldest first.
--
-- A desktop's assignment is not who sat at it: attribution says how far the row names this user
-- (exclusive: nobody else was assigned; shared: one of several; group: members of a group). The true start
-- lies after started_after and not after started_by, the true end between last_seen and ended_by; a
-- bound that is null is unknown. Gaps hide connections: see the report `coverage`.
--
-- Parameters
--   user    user      required  the user's or group's name or id
--   from    instant   -30d      start of the period
--   to      instant   now       end of the period, not included
--   tz      timezone  UTC       time zone of dates given without one
--   source  source    ''        one source; empty: all
--
-- Columns
--   source         the source
--   desktop_id     the desktop
--   desktop_name   its latest name in the connection
--   user_name      the user that matches
--   attribution    how far the assignment names the person connected: exclusive (nobody else was assigned), shared
--                  (one of several), group (members of a group)
--   first_seen     the connection's first observation
--   last_seen      its last
--   started_after  the observation before it; null: its start is unknown
--   started_by     when the first observation's snapshot was finished
--   ended_before   the observation after it; null: its end is unknown, or it goes on
--   ended_by       when that observation's snapshot was finished
--   ended_as       the status that followed, or NO STATUS, REASSIGNED, ABSENT, UNKNOWN, ONGOING
--   min_duration   it lasted no shorter
--   max_duration   it lasted no longer; null: unknown
--
-- psql -v user=alice -v from=-30d -v to=now -v tz=UTC -v source= -f queries/user-history.sql
select c.source, c.desktop_id, c.desktop_name, u.user_name, c.attribution, c.first_seen, c.last_seen,
       c.started_after, c.started_by, c.ended_before, c.ended_by, c.ended_as,
       greatest(c.last_seen - c.started_by, interval '0') as min_duration,
       c.ended_by - c.started_after as max_duration
  from deskledger_report.assigned_user u
  join deskledger_report.connection c using (source_id, label_no)
 where (u.user_name = :'user' or u.user_id = :'user')
   -- Says nothing new, but leads to the spans of a few desktops before anything is joined to them.
   and c.source_id = any (array(select source_id from deskledger_report.desktops_of_user(:'user')))
   and c.desktop_no = any (array(select desktop_no from deskledger_report.desktops_of_user(:'user')))
   and (:'source' = '' or c.source = :'source')
   and c.first_seen < (select deskledger.instant(:'to', :'tz'))
   and c.held_until >= (select deskledger.instant(:'from', :'tz'))
   and (select deskledger.instant(:'from', :'tz')) < (select deskledger.instant(:'to', :'tz'))
 order by c.source, c.first_seen, c.desktop_id, u.user_type, u.user_id, u.user_name
