-- Months that are over, packed: what takes a row for each span takes four bytes instead, and says the same.
--
-- A filed month never changes. So the spans of a desktop with one label become one row with an array of what happened when;
-- instants are stored once for all desktops, and an event names them by number. Only spans that come out of the packed row as
-- they went in leave the table `span`; whatever is odd about the others, they stay there.

-- The instants of a source's month that its packed spans are made of: [1] the usable snapshot before the month, [2] where it
-- begins, then its usable snapshots, then its last microsecond, then its end.
create table deskledger_data.packed_month
(
    source_id  integer       not null references deskledger_data.source,
    month_from timestamptz   not null,
    month_to   timestamptz   not null,
    -- All that can be packed is.
    is_done    boolean       not null default false,
    at         timestamptz[] not null,

    primary key (source_id, month_from)
);

-- The spans of one desktop with one label in one month, as events in the order of time. An event is
--     instant << 14 | what << 8 | no instant before << 7 | disconnect
-- `instant`: the subscript in `packed_month.at`; 2: the span goes on from the month before.
-- `what`: the status of a span that begins; or that none follows: 37 + `ended`, as in `span`, but 63 for -4, so that of what
--     shares an instant, and does not hold from there on, it comes last.
-- `no instant before`: 1 where `started_after` is null.
-- `disconnect`: where `disconnected_at` is: 0 nowhere, 1 here, 2 at the event before this one, 3 at the one before that, ...;
--     127: in the column.
create table deskledger_data.packed
(
    source_id       integer     not null,
    desktop_no      integer     not null,
    label_no        integer     not null,
    month_from      timestamptz not null,
    -- Of a span that goes on from the month before.
    first_seen      timestamptz,
    started_after   timestamptz,
    -- One that lies before the month, or under another label.
    disconnected_at timestamptz,
    events          integer[]   not null,

    primary key (source_id, month_from, desktop_no, label_no)
);

-- An array out of its compressed form, once: else each subscript would take it out of it anew. Volatile, so that it stays where
-- it is written and is not copied to where it is used.
create function deskledger_report.whole(packed anyarray) returns anyarray
    language plpgsql volatile parallel safe
    cost 10000
    set search_path = pg_catalog
as $$
begin
    return packed || '{}';
end
$$;

-- What is packed, month by month and desktop by desktop.
create view deskledger_report.packed as
select m.source_id, k.desktop_no, k.label_no, m.month_from, m.month_to, k.first_seen, k.started_after, k.disconnected_at,
       m.at, deskledger_report.whole(k.events) as events
  from (select source_id, month_from, month_to, deskledger_report.whole(at) as at from deskledger_data.packed_month) m
  join deskledger_data.packed k on k.source_id = m.source_id and k.month_from = m.month_from;

-- The spans of [since, until] in one packed row. What an event says is stated once, here.
create function deskledger_report.unpack(
    at timestamptz[], events integer[], since timestamptz, until timestamptz,
    of_first_seen timestamptz, of_started_after timestamptz, of_disconnected_at timestamptz)
    returns table (piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, started_after timestamptz,
                   status_id smallint, ended smallint, first_seen timestamptz, disconnected_at timestamptz)
    language sql stable parallel safe
    rows 100
begin atomic
    select at[e.begun >> 14], at[e.over >> 14],
           at[(e.over >> 14) - case when e.over & 16128 = 16128 then 0 else 1 end],
           case e.begun >> 14 when 2 then of_started_after
                else case when e.begun & 128 = 0 then at[(e.begun >> 14) - case e.begun >> 14 when 3 then 2 else 1 end] end end,
           ((e.begun >> 8) & 31)::smallint,
           case when e.over & 8192 = 0 then (e.over >> 8) & 31 when e.over & 16128 = 16128 then -4
                else ((e.over >> 8) & 31) - 5 end::smallint,
           case when e.begun >> 14 = 2 then of_first_seen end,
           case e.begun & 127 when 0 then null when 127 then of_disconnected_at
                else at[events[e.nth + 1 - (e.begun & 127)] >> 14] end
      from (select nth, events[nth] as begun, events[nth + 1] as over
              -- From the event that holds just before `since` to the newest by `until`, each found by halving.
              from generate_series(
                       greatest(width_bucket(
                           width_bucket(since - interval '1 microsecond', at) << 14 | 16127, events), 1),
                       least(width_bucket(width_bucket(until, at) << 14 | 16127, events), cardinality(events) - 1)) nth) e
     where e.begun & 8192 = 0;
end;

-- The filed spans, packed or not. Those of [F, T] are in packed months with packed_to >= F and packed_from <= T; what is not
-- packed has no such bounds.
create view deskledger_data.filed as
select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, started_after, ended, first_seen,
       connection_first_seen, connection_started_after, disconnected_at,
       '-infinity'::timestamptz as packed_from, 'infinity'::timestamptz as packed_to
  from deskledger_data.span
 union all
select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.started_after, p.ended,
       p.first_seen, null, null, p.disconnected_at, k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack(
           k.at, k.events, '-infinity', 'infinity', k.first_seen, k.started_after, k.disconnected_at) p;

-- ---------------------------------------------------------------------------------------------------
-- What reads filed spans, as before

create or replace view deskledger_report.piece as
select source_id, desktop_no, status_id, piece_from, piece_to, last_seen, started_after, ended,
       coalesce(first_seen, piece_from) as first_seen,
       connection_first_seen, connection_started_after, disconnected_at,
       first_seen is null as is_first, ended <> -5 as is_last, false as is_open, packed_from, packed_to
  from deskledger_data.filed
 union all
select source_id, o.desktop_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), o.started_after, (-4)::smallint, o.first_seen,
       o.connection_first_seen, o.connection_started_after, o.disconnected_at,
       o.first_seen = o.piece_from, true, true, '-infinity', 'infinity'
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

create or replace view deskledger_report.named_piece as
select p.source_id, p.desktop_no, p.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.started_after, p.ended,
       p.first_seen, p.connection_first_seen, p.connection_started_after, p.disconnected_at, p.is_last, p.is_open,
       l.desktop_name, d.desktop_id, l.assignment_no, a.users, a.attribution, a.attach_users, p.packed_from, p.packed_to
  from (select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, started_after, ended,
               coalesce(first_seen, piece_from) as first_seen,
               connection_first_seen, connection_started_after, disconnected_at,
               ended <> -5 as is_last, false as is_open, packed_from, packed_to
          from deskledger_data.filed
         union all
        select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
               coalesce(o.last_seen, h.usable_at), o.started_after, (-4)::smallint, o.first_seen,
               o.connection_first_seen, o.connection_started_after, o.disconnected_at,
               true, true, '-infinity', 'infinity'
          from deskledger_data.open_span o
          join deskledger_data.head h using (source_id)) p
  join deskledger_data.label l using (source_id, label_no)
  join deskledger_data.assignment a using (source_id, assignment_no)
  join deskledger_data.desktop d using (source_id, desktop_no);

create or replace view deskledger_report.labelled_piece as
select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, ended, false as is_open,
       first_seen is null as is_first, disconnected_at, coalesce(first_seen, piece_from) as first_seen, started_after,
       connection_first_seen, connection_started_after, packed_from, packed_to
  from deskledger_data.filed
 union all
select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), (-4)::smallint, true, o.first_seen = o.piece_from, o.disconnected_at, o.first_seen,
       o.started_after, o.connection_first_seen, o.connection_started_after, '-infinity', 'infinity'
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

-- Of a packed month, the listing at an instant is one look into each desktop's events.
create or replace view deskledger.desktop_snapshots as
select n.snapshot_id, s.name as source, n.observed_at, d.desktop_id, l.desktop_name, t.status as connect_status,
       a.attach_users
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 cross join lateral (
        select p.desktop_no, p.label_no, p.status_id
          from deskledger_data.span p
         where p.source_id = n.source_id and p.piece_from <= n.observed_at and p.last_seen >= n.observed_at
           -- Implied by the line above, and what finds the partition.
           and p.piece_to >= n.observed_at and p.piece_to <= deskledger_report.month_end(n.observed_at)
         union all
        select k.desktop_no, k.label_no, ((k.event >> 8) & 31)::smallint
          from (select p.desktop_no, p.label_no,
                       -- What was observed last at an instant is in the listing of that instant, and in none after it.
                       p.events[width_bucket(i.nth << 14 | case p.at[i.nth] when n.observed_at then 16127 else 16383 end,
                                             p.events)] as event
                  from deskledger_report.packed p
                 cross join lateral (select width_bucket(n.observed_at, p.at) as nth) i
                 where p.source_id = n.source_id and p.month_from <= n.observed_at and p.month_to > n.observed_at
                offset 0) k
         where k.event & 8192 = 0
         union all
        select o.desktop_no, o.label_no, o.status_id
          from deskledger_data.open_span o
          join deskledger_data.head h using (source_id)
         where o.source_id = n.source_id and o.piece_from <= n.observed_at
           and coalesce(o.last_seen, h.usable_at) >= n.observed_at) p
  join deskledger_data.desktop d on d.source_id = n.source_id and d.desktop_no = p.desktop_no
  join deskledger_data.label l on l.source_id = n.source_id and l.label_no = p.label_no
  join deskledger_data.assignment a on a.source_id = n.source_id and a.assignment_no = l.assignment_no
  join deskledger_data.status t on t.source_id = n.source_id and t.status_id = p.status_id
 where n.desktops_outcome > 0
   and not exists (select from deskledger_data.unlisted u
                    where u.source_id = n.source_id and u.desktop_no = p.desktop_no
                      and u.from_at <= n.observed_at and u.to_at >= n.observed_at)
 union all
select n.snapshot_id, s.name, n.observed_at, d ->> 'desktop_id', d ->> 'desktop_name', d ->> 'connect_status',
       d -> 'attach_users'
  from deskledger_data.late n
  join deskledger_data.source s using (source_id)
 cross join lateral jsonb_array_elements(
        case when n.desktops_outcome > 0 then n.line::jsonb -> 'desktops' end) d;

-- The pieces of [since, until], and of packed months no others: for planners, and with labels for readers.
create function deskledger_report.pieces(since timestamptz, until timestamptz) returns setof deskledger_report.piece
    language sql stable parallel safe
    rows 1000000
begin atomic
    select * from deskledger_report.piece where packed_to >= since and packed_from <= until;
end;

create function deskledger_report.labelled_pieces(since timestamptz, until timestamptz)
    returns setof deskledger_report.labelled_piece
    language sql stable parallel safe
    rows 1000000
begin atomic
    select * from deskledger_report.labelled_piece where packed_to >= since and packed_from <= until;
end;

create or replace function deskledger_report.pieces_at(at timestamptz, since timestamptz, only_source text)
    returns setof deskledger_report.labelled_piece
    language plpgsql stable parallel safe
    -- Enough to have names joined to all of them at once, and not to each.
    rows 1000000
    set plan_cache_mode = force_custom_plan
as $$
declare
    sources constant integer[] := array(select s.source_id from deskledger_report.source s
                                         where only_source = '' or s.source = only_source);
begin
    return query
    select p.*
      from deskledger_report.labelled_piece p
     where p.source_id = any (sources) and p.piece_from <= pieces_at.at and p.piece_to >= since
       and (p.is_open or p.piece_to <= deskledger_report.month_end(pieces_at.at))
       and p.packed_to = 'infinity'
     union all
    select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.ended, false,
           p.first_seen is null, p.disconnected_at, coalesce(p.first_seen, p.piece_from), p.started_after, null, null,
           k.month_from, k.month_to
      from deskledger_report.packed k
     cross join lateral deskledger_report.unpack(
               k.at, k.events, since, pieces_at.at, k.first_seen, k.started_after, k.disconnected_at) p
     where k.source_id = any (sources) and k.month_from <= pieces_at.at and k.month_to >= since
       and p.piece_from <= pieces_at.at and p.piece_to >= since;
end
$$;

create or replace view deskledger_report.connection_bounds as
select p.source_id, p.label_no, coalesce(p.connection_first_seen, p.first_seen) as first_seen, p.last_seen,
       p.piece_to as held_until,
       case when p.connection_first_seen is null then p.started_after else p.connection_started_after end as started_after,
       f.finished_at as started_by, n.finished_at as ended_by,
       p.ended = -4 and p.is_open and h.observed_at - p.last_seen <= make_interval(secs => h.max_gap) as is_ongoing,
       -- What was seen last holds no longer; after it nothing is known, until someone looks again.
       h.observed_at + make_interval(secs => h.max_gap) as known_until,
       p.packed_from, p.packed_to
  from deskledger_report.labelled_piece p
  join deskledger_data.head h using (source_id)
  join deskledger_data.snapshot f
       on f.source_id = p.source_id and f.observed_at = coalesce(p.connection_first_seen, p.first_seen)
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
 where p.status_id = 1 and p.ended not in (-5, -1);

-- What `tally` must say.
create or replace view deskledger_data.told_tally as
select source_id, at, sum(desktops) as desktops, sum(connected) as connected, sum(disconnected) as disconnected,
       sum(ready) as ready, sum(unregistered) as unregistered, sum(started) as started,
       sum(disconnects) as disconnects, sum(ended) as ended
  from (select source_id, piece_from as at, count(*) as desktops,
               count(*) filter (where status_id = 1) as connected,
               count(*) filter (where status_id = 2) as disconnected,
               count(*) filter (where status_id = 3) as ready,
               count(*) filter (where status_id = 4) as unregistered,
               count(*) filter (where is_first and status_id = 1 and connection_first_seen is null
                                      and started_after is not null) as started,
               count(*) filter (where is_first and disconnected_at = piece_from) as disconnects,
               0 as ended
          from deskledger_report.piece
         group by 1, 2
         union all
        select source_id, piece_to, -count(*),
               -count(*) filter (where status_id = 1), -count(*) filter (where status_id = 2),
               -count(*) filter (where status_id = 3), -count(*) filter (where status_id = 4), 0, 0,
               -- Not known how (-4), the same connection goes on (-1), or the span goes on in the next month (-5).
               count(*) filter (where status_id = 1 and ended not in (-4, -1, -5))
          from deskledger_data.filed
         group by 1, 2) part
 group by 1, 2
having sum(desktops) <> 0 or sum(connected) <> 0 or sum(disconnected) <> 0 or sum(ready) <> 0
    or sum(unregistered) <> 0 or sum(started) <> 0 or sum(disconnects) <> 0 or sum(ended) <> 0;

-- The functions that read the pieces of a period, as they were; but of packed months they read those of the period alone.
do $$
declare
    reader  record;
    earlier text;
    later   text;
begin
    for reader in
        select f.signature::regprocedure as called, f.until
          from (values ('deskledger_report.appearances(timestamptz, timestamptz)', 'range_to'),
                       ('deskledger_report.reconnects(timestamptz, timestamptz, text, interval)', 'range_to + within'),
                       ('deskledger_report.disconnects_before_breaks(timestamptz, timestamptz, text, interval, timestamptz[])',
                        'range_to'),
                       ('deskledger_report.disconnected_stretches(timestamptz, timestamptz, text)', 'range_to'),
                       ('deskledger_report.close_disconnects(timestamptz, timestamptz, text, integer, interval)', 'range_to'),
                       ('deskledger_report.observed_time(timestamptz, timestamptz, integer[], integer[])', 'range_to'),
                       ('deskledger_report.used_desktops(timestamptz, timestamptz)', 'range_to'),
                       ('deskledger_report.held_pieces(timestamptz, timestamptz, text, smallint, integer[])', 'range_to'),
                       ('deskledger_report.held_time(timestamptz, timestamptz, text, smallint)', 'range_to')) f (signature, until)
    loop
        earlier := pg_get_functiondef(reader.called);
        later := replace(replace(earlier,
            'deskledger_report.piece p', format('deskledger_report.pieces(range_from, %s) p', reader.until)),
            'deskledger_report.labelled_piece p', format('deskledger_report.labelled_pieces(range_from, %s) p', reader.until));
        if later = earlier then
            raise exception 'the function % reads no pieces', reader.called;
        end if;
        execute later;
    end loop;
    earlier := pg_get_functiondef('deskledger_report.connection_slack(timestamptz, timestamptz, text)'::regprocedure);
    later := replace(earlier, 'where c.held_until > range_from',
                     'where c.packed_to >= range_from and c.packed_from <= range_to and c.held_until > range_from');
    if later = earlier then
        raise exception 'the function connection_slack reads no connections';
    end if;
    execute later;
end
$$;
