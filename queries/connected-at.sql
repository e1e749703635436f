-- Who was connected at an instant, and how sure that is
--
-- For the auditor: the desktops that were connected at one instant, whom each was assigned to, and
-- between which observations the connection lies. No row at all means: it was observed, and nobody was.
--
-- users are those a desktop was *assigned* to, and attribution says how far that names the person:
-- exclusive (one user), shared (one of several), group, unassigned. certainty is `observed` where the
-- observations before and after say so; `latest` where it is the newest observation there is, and recent;
-- `not observed` where the desktop was connected when last seen, before a gap. A row without a desktop
-- says that its source cannot answer for all of them; one without a source, that no source was ever recorded.
--
-- Parameters
--   at      instant   now  the instant
--   tz      timezone  UTC  time zone of a date or time given without one
--   source  source    ''   one source; empty: all
--
-- Columns
--   source         the source; null: there is none in the ledger
--   desktop_id     the desktop; null: those of its source about which nothing can be said
--   desktop_name   its name
--   users          whom it was assigned to
--   attribution    how far that names the person connected: exclusive (one user), shared (one of several),
--                  group (its members), unassigned (nobody)
--   first_seen     the connection's first observation
--   last_seen      its last, as known now
--   started_after  the observation before it; null: its start is unknown
--   ended_before   the observation after it; null: its end is unknown, or it goes on
--   certainty      observed: the observations before and after say so; latest: it is the newest there is, and recent;
--                  not observed: connected when last seen, before a gap
--   others         in a row without a desktop: desktops last seen present, not connected, and not observed at the instant
--
-- psql -v at='2026-10-04 03:12' -v tz=UTC -v source= -f queries/connected-at.sql
with asked as (
    select s.source_id, s.source, n.observed_at as newest_at, n.max_gap as newest_gap,
           u.observed_at as usable_at, u.desktops_outcome, u.desktops_total, c.observed_at as complete_at,
           exists (select from deskledger_report.detailed_run r
                    where r.source_id = s.source_id and r.covered_from <= (select deskledger.instant(:'at', :'tz'))
                      and r.covered_to > (select deskledger.instant(:'at', :'tz'))) as is_covered
      from deskledger_report.source s
      -- The newest usable listing of all, the newest by then, and the newest complete one by then.
      left join lateral deskledger_report.newest_visit(s.source_id, 'infinity', 1::smallint, false) n on true
      left join lateral deskledger_report.newest_visit(
                     s.source_id, (select deskledger.instant(:'at', :'tz')), 1::smallint, true) u on true
      left join lateral deskledger_report.newest_visit(
                     s.source_id, (select deskledger.instant(:'at', :'tz')), 2::smallint, true) c on true
     where :'source' = '' or s.source = :'source'
),
since as materialized (
    select deskledger.instant(:'at', :'tz') as at, coalesce(min(coalesce(complete_at, '-infinity')), '-infinity') as since from asked
),
-- What is CONNECTED and holds then; and what was seen last by then, with nothing after it in time.
piece as materialized (
    select p.*
      from since q
     cross join lateral deskledger_report.pieces_at(q.at, q.since, :'source', 1::smallint, null) p
),
-- Of the latter the newest of each desktop, unless the newest complete listing by then came after it: that one observed the desktop,
-- or its absence. Whatever holds is newer.
last as materialized (
    select distinct on (p.source_id, p.desktop_no) p.*,
           case when p.last_seen = (select deskledger.instant(:'at', :'tz')) then 'observed'
                when p.is_open and (select deskledger.instant(:'at', :'tz')) - p.last_seen
                     <= make_interval(secs => (select v.max_gap from deskledger_report.visit_row v
                                                where v.source_id = p.source_id and v.observed_at = p.last_seen))
                     then 'latest'
                else 'not observed' end as certainty
      from piece p
      join asked a using (source_id)
     where p.piece_to <= (select deskledger.instant(:'at', :'tz')) and p.last_seen >= coalesce(a.complete_at, '-infinity')
       and (p.source_id, p.desktop_no) not in (
           select h.source_id, h.desktop_no
             from since q
            cross join lateral deskledger_report.pieces_at(q.at, null, :'source', null, null) h)
     order by p.source_id, p.desktop_no, p.piece_from desc
),
connected_piece as not materialized (
    select p.*, 'observed' as certainty from piece p where p.piece_to > (select deskledger.instant(:'at', :'tz'))
     union all
    select l.* from last l where l.status_id = 1
),
-- Where a piece ends with its month, the one that goes on: on the last day of a month those are many.
beyond as materialized (
    select f.*
      from (select deskledger_report.month_end(deskledger.instant(:'at', :'tz')) as at, array_agg(desktop_no) as desktops
              from connected_piece where ended = -5 having count(*) > 0) q
     cross join lateral deskledger_report.pieces_at(q.at, q.at, :'source', 1::smallint, q.desktops) f
     where f.piece_from = q.at
),
goes_on as materialized (
    select p.source_id, p.desktop_no, coalesce(f.piece_to, p.piece_to) as piece_to, coalesce(f.ended, p.ended) as ended,
           coalesce(f.last_seen, p.last_seen) as last_seen, coalesce(p.connection_first_seen, p.first_seen) as first_seen
      from connected_piece p
      left join beyond f on p.ended = -5 and f.source_id = p.source_id and f.desktop_no = p.desktop_no
     where p.ended in (-1, -5)
),
-- Where the piece does not end the connection: the one that does.
ender as materialized (
    select source_id, desktop_no, last_seen, piece_to, ended from goes_on where ended not in (-1, -5)
     union all
    -- Few: what goes on under another label or into the next month, and what lasts a whole month; or into one that is pruned, of which nobody knows the end. A
    -- piece that goes on says that it was seen to the month's last microsecond: it was in the complete listings, at least.
    select p.source_id, p.desktop_no,
           coalesce(e.last_seen,
                    case when p.last_seen < p.piece_to - interval '1 microsecond' then p.last_seen
                         else greatest(p.first_seen,
                                       (select v.observed_at
                                          from deskledger_report.newest_visit(
                                               p.source_id, p.piece_to - interval '1 microsecond', 2::smallint, false) v)) end),
           coalesce(e.piece_to, p.piece_to), coalesce(e.ended, -4)
      from goes_on p
      left join lateral (
           select f.last_seen, f.piece_to, f.ended
             from deskledger_report.piece f
            where f.source_id = p.source_id and f.desktop_no = p.desktop_no and f.status_id = 1
              and f.piece_to >= p.piece_to and f.packed_to >= p.piece_to and f.is_last and f.ended <> -1
              and coalesce(f.connection_first_seen, f.first_seen) = p.first_seen
            order by f.piece_to limit 1) e on true
     where p.ended in (-1, -5)
),
connected as (
    select s.source, p.desktop_id, p.desktop_name, p.users, p.attribution,
           coalesce(p.connection_first_seen, p.first_seen) as first_seen,
           coalesce(e.last_seen, p.last_seen) as last_seen,
           case when p.connection_first_seen is null then p.started_after
                else p.connection_started_after end as started_after,
           case when coalesce(e.ended, p.ended) <> -4 then coalesce(e.piece_to, p.piece_to) end as ended_before,
           p.certainty
      from connected_piece p
      join deskledger_report.source s using (source_id)
      left join ender e on e.source_id = p.source_id and e.desktop_no = p.desktop_no
),
-- Where a listing was partial: how many were present all the same.
counted as (
    select p.source_id, count(distinct p.desktop_no) as present
      from since q
     cross join lateral deskledger_report.pieces_at(q.at, q.since, :'source', null, null) p
      join asked a using (source_id)
     where exists (select from asked where desktops_outcome = 1)
       and (p.piece_to > (select deskledger.instant(:'at', :'tz')) or p.last_seen >= coalesce(a.complete_at, '-infinity'))
     group by p.source_id
),
unanswered as (
    select a.source, coalesce(l.others, 0) as others, coalesce(c.present, 0) as present,
           a.is_covered or a.usable_at = (select deskledger.instant(:'at', :'tz'))
               or (a.newest_at <= (select deskledger.instant(:'at', :'tz'))
                   and (select deskledger.instant(:'at', :'tz')) - a.newest_at
                       <= make_interval(secs => a.newest_gap)) as is_observed,
           a.desktops_outcome, a.desktops_total
      from asked a
      left join counted c using (source_id)
      left join (select source_id, count(*) as others from last
                  where status_id <> 1 and certainty = 'not observed' group by source_id) l using (source_id)
)
select source, desktop_id, desktop_name, users, attribution, first_seen, last_seen, started_after, ended_before,
       certainty, null::bigint as others
  from connected
 union all
select source, null, null, null, null, null, null, null, null, 'not observed', others
  from unanswered
 where others > 0
    or is_observed is not true
    or (desktops_outcome = 1 and (desktops_total is null or present < desktops_total))
 union all
-- Without a source nobody looked, which must not read as if nobody had been connected.
select null, null, null, null, null, null, null, null, null, 'not observed', 0
 where not exists (select from deskledger_report.source)
 order by source, desktop_id nulls last
