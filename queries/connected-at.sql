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
      left join lateral (select v.* from deskledger_report.visit v
                          where v.source_id = s.source_id and v.desktops_outcome > 0
                          order by v.observed_at desc limit 1) n on true
      left join lateral (select v.* from deskledger_report.detailed_visit v
                          where v.source_id = s.source_id and v.desktops_outcome > 0
                            and v.observed_at <= (select deskledger.instant(:'at', :'tz'))
                          order by v.observed_at desc limit 1) u on true
      left join lateral (select v.observed_at from deskledger_report.detailed_visit v
                          where v.source_id = s.source_id and v.desktops_outcome = 2
                            and v.observed_at <= (select deskledger.instant(:'at', :'tz'))
                          order by v.observed_at desc limit 1) c on true
     where :'source' = '' or s.source = :'source'
),
-- Each desktop's newest piece that begins by then. One that ended before the newest complete listing
-- by then is of no use: that listing observed the desktop, or its absence.
latest as (
    select distinct on (p.source_id, p.desktop_no) p.*
      from deskledger_report.pieces_at(
               (select deskledger.instant(:'at', :'tz')),
               coalesce((select min(coalesce(complete_at, '-infinity')) from asked), '-infinity'), :'source') p
      join asked a using (source_id)
     where p.piece_to >= coalesce(a.complete_at, '-infinity')
     order by p.source_id, p.desktop_no, p.piece_from desc
),
present as (
    select l.*, a.source, a.newest_at,
           case when l.piece_to > (select deskledger.instant(:'at', :'tz'))
                     or l.last_seen = (select deskledger.instant(:'at', :'tz')) then 'observed'
                when l.is_open and (select deskledger.instant(:'at', :'tz')) - l.last_seen
                     <= make_interval(secs => (select v.max_gap from deskledger_report.visit v
                                                where v.source_id = l.source_id and v.observed_at = l.last_seen))
                     then 'latest'
                else 'not observed' end as certainty
      from latest l
      join asked a using (source_id)
     -- Not absent by then; and if its hold has ended by then, no complete listing came after it.
     where l.piece_to > (select deskledger.instant(:'at', :'tz'))
        or (l.ended = -4 and l.last_seen >= coalesce(a.complete_at, '-infinity'))
),
-- Where the piece does not end the connection: the one that does. Few.
ender as materialized (
    select p.source_id, p.desktop_no, e.last_seen, e.piece_to, e.ended
      from present p
     cross join lateral (
           select f.last_seen, f.piece_to, f.ended
             from deskledger_report.piece f
            where f.source_id = p.source_id and f.desktop_no = p.desktop_no and f.status_id = 1
              and f.piece_to >= p.piece_to and f.packed_to >= p.piece_to and f.is_last and f.ended <> -1
              and coalesce(f.connection_first_seen, f.first_seen) = coalesce(p.connection_first_seen, p.first_seen)
            order by f.piece_to limit 1) e
     where p.status_id = 1 and p.ended in (-1, -5)
),
connected as (
    select p.source, d.desktop_id, n.desktop_name, n.users, n.attribution,
           coalesce(p.connection_first_seen, p.first_seen) as first_seen,
           coalesce(e.last_seen, p.last_seen) as last_seen,
           case when p.connection_first_seen is null then p.started_after
                else p.connection_started_after end as started_after,
           case when coalesce(e.ended, p.ended) <> -4 then coalesce(e.piece_to, p.piece_to) end as ended_before,
           p.certainty
      from present p
      join deskledger_report.desktop d using (source_id, desktop_no)
      join deskledger_report.label n on n.source_id = p.source_id and n.label_no = p.label_no
      left join ender e on e.source_id = p.source_id and e.desktop_no = p.desktop_no
     where p.status_id = 1
),
unanswered as (
    select a.source,
           count(p.desktop_no) filter (where p.status_id <> 1 and p.certainty = 'not observed') as others,
           count(p.desktop_no) as present,
           a.is_covered or a.usable_at = (select deskledger.instant(:'at', :'tz'))
               or (a.newest_at <= (select deskledger.instant(:'at', :'tz'))
                   and (select deskledger.instant(:'at', :'tz')) - a.newest_at
                       <= make_interval(secs => a.newest_gap)) as is_observed,
           a.desktops_outcome, a.desktops_total
      from asked a
      left join present p using (source_id)
     group by a.source, a.is_covered, a.usable_at, a.newest_at, a.newest_gap, a.desktops_outcome, a.desktops_total
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
