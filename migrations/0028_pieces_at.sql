-- What holds at an instant: with its names, which are joined where it is read; and of some desktops alone, so that where more is wanted of few
-- nobody reads all.

drop function deskledger_report.row_pieces_at(timestamptz, timestamptz, text, smallint);
drop function deskledger_report.packed_pieces_at(timestamptz, timestamptz, text, smallint);

-- Of what is not packed.
create function deskledger_report.row_pieces_at(
    at timestamptz, since timestamptz, only_source text, only_status smallint, desktops integer[])
    returns table (source_id integer, desktop_no integer, desktop_id text, desktop_name text, users text[], attribution text,
                   status_id smallint, piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, ended smallint, is_open boolean,
                   disconnected_at timestamptz, first_seen timestamptz, started_after timestamptz,
                   connection_first_seen timestamptz, connection_started_after timestamptz)
    language plpgsql stable parallel safe
    rows 100000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    sources constant integer[] := array(select s.source_id from deskledger_report.source s
                                         where only_source = '' or s.source = only_source);
begin
    return query
    select p.source_id, p.desktop_no, d.desktop_id, l.desktop_name, l.users, l.attribution, p.status_id, p.piece_from, p.piece_to, p.last_seen,
           p.ended, p.is_open, p.disconnected_at, p.first_seen, p.started_after, p.connection_first_seen, p.connection_started_after
      from (select p.*
              from deskledger_report.row_piece p
             where not p.is_open and p.source_id = any (sources) and (desktops is null or p.desktop_no = any (desktops))
               and p.piece_from <= row_pieces_at.at and p.piece_to > row_pieces_at.at
               and p.piece_to <= deskledger_report.month_end(row_pieces_at.at)
               and (only_status is null or p.status_id = only_status)
             union all
            select p.*
              from deskledger_report.row_piece p
             where not p.is_open and p.source_id = any (sources) and (desktops is null or p.desktop_no = any (desktops))
               and p.ended = -4
               and p.piece_from <= row_pieces_at.at and p.piece_to <= row_pieces_at.at and p.piece_to >= since
             union all
            select p.*
              from deskledger_report.row_piece p
             where p.is_open and p.source_id = any (sources) and (desktops is null or p.desktop_no = any (desktops))
               and p.piece_from <= row_pieces_at.at
               and (p.piece_to > row_pieces_at.at and (only_status is null or p.status_id = only_status)
                    or p.piece_to <= row_pieces_at.at and p.piece_to >= since)) p
      join deskledger_report.desktop d on d.source_id = p.source_id and d.desktop_no = p.desktop_no
      join deskledger_report.label l on l.source_id = p.source_id and l.label_no = p.label_no;
end
$$;

-- The pieces of one row of what is packed. Its `events` are looked at from behind `first_event` to `last_event`; the other arguments are as of pieces_at.
create function deskledger_report.unpack_at(
    visits timestamptz[], events integer[], row_first_seen timestamptz, row_started_after timestamptz, row_disconnected_at timestamptz,
    first_event integer, last_event integer, at timestamptz, since timestamptz, only_status smallint)
    returns table (status_id smallint, piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, ended smallint,
                   disconnected_at timestamptz, first_seen timestamptz, started_after timestamptz)
    language sql stable parallel safe
begin atomic
    select (e.begun >> 8 & 31)::smallint, visits[e.begun >> 14], visits[e.over >> 14],
           visits[(e.over >> 14) - case when e.over & 16128 = 16128 then 0 when e.over >> 14 = 3 then 2 else 1 end],
           case when e.over & 8192 = 0 then e.over >> 8 & 31 when e.over & 16128 = 16128 then -4 else (e.over >> 8 & 31) - 5 end::smallint,
           case e.begun & 127 when 0 then null when 127 then row_disconnected_at
                else visits[events[e.nth + 1 - (e.begun & 127)] >> 14] end,
           coalesce(case when e.begun >> 14 = 2 then row_first_seen end, visits[e.begun >> 14]),
           case e.begun >> 14 when 2 then row_started_after
                else case when e.begun & 128 = 0 then visits[(e.begun >> 14) - case e.begun >> 14 when 3 then 2 else 1 end] end end
      -- A planner takes a series for a thousand rows.
      from (select f.nth + u.nth as nth, u.begun, events[f.nth + u.nth + 1] as over
              from (select greatest(width_bucket(first_event, events), 1) - 1 as nth) f
             cross join lateral unnest(events[f.nth + 1:least(width_bucket(last_event, events), cardinality(events) - 1)])
                                with ordinality u (begun, nth)) e
     where e.begun & 8192 = 0
       and visits[e.begun >> 14] <= at
       and (visits[e.over >> 14] > at and (only_status is null or e.begun >> 8 & 31 = only_status)
            or e.over & 16128 = 16128 and visits[e.over >> 14] <= at and visits[e.over >> 14] >= since);
end;

-- Of what is packed: month by month, so that the instants are looked up once, and not for each desktop. In a plan for one month alone they would
-- stand a dozen times, and each process that helps would have to read it.
create function deskledger_report.packed_pieces_at(
    at timestamptz, since timestamptz, only_source text, only_status smallint, desktops integer[])
    returns table (source_id integer, desktop_no integer, desktop_id text, desktop_name text, users text[], attribution text,
                   status_id smallint, piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, ended smallint, is_open boolean,
                   disconnected_at timestamptz, first_seen timestamptz, started_after timestamptz,
                   connection_first_seen timestamptz, connection_started_after timestamptz)
    language plpgsql stable parallel safe
    rows 100000
    set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
    month record;
    visits timestamptz[];
    first_event integer;
    last_event integer;
begin
    for month in
        select m.source_id, m.month_from, m.at
          from deskledger_report.packed_month m
          join deskledger_report.source s using (source_id)
         where (only_source = '' or s.source = only_source)
           and m.month_from <= packed_pieces_at.at and m.month_to >= coalesce(since, packed_pieces_at.at)
    loop
        visits := deskledger_report.whole(month.at);
        first_event := width_bucket(coalesce(since, packed_pieces_at.at) - interval '1 microsecond', visits) << 14 | 16127;
        last_event := width_bucket(packed_pieces_at.at, visits) << 14 | 16127;
        if desktops is null then
            return query
            select month.source_id, k.desktop_no, d.desktop_id, l.desktop_name, l.users, l.attribution, p.status_id, p.piece_from, p.piece_to,
                   p.last_seen, p.ended, false, p.disconnected_at, p.first_seen, p.started_after, null::timestamptz, null::timestamptz
              from deskledger_report.packed_events k
             cross join lateral deskledger_report.unpack_at(
                       visits, k.events, k.first_seen, k.started_after, k.disconnected_at, first_event, last_event, packed_pieces_at.at, since,
                       only_status) p
              join deskledger_report.desktop d on d.source_id = month.source_id and d.desktop_no = k.desktop_no
              join deskledger_report.label l on l.source_id = month.source_id and l.label_no = k.label_no
             where k.source_id = month.source_id and k.month_from = month.month_from;
        else
            return query
            select month.source_id, k.desktop_no, d.desktop_id, l.desktop_name, l.users, l.attribution, p.status_id, p.piece_from, p.piece_to,
                   p.last_seen, p.ended, false, p.disconnected_at, p.first_seen, p.started_after, null::timestamptz, null::timestamptz
              from deskledger_report.packed_events k
             cross join lateral deskledger_report.unpack_at(
                       visits, k.events, k.first_seen, k.started_after, k.disconnected_at, first_event, last_event, packed_pieces_at.at, since,
                       only_status) p
              join deskledger_report.desktop d on d.source_id = month.source_id and d.desktop_no = k.desktop_no
              join deskledger_report.label l on l.source_id = month.source_id and l.label_no = k.label_no
             where k.source_id = month.source_id and k.month_from = month.month_from and k.desktop_no = any (desktops);
        end if;
    end loop;
end
$$;

-- The pieces that hold at `at`, of one status or of any (null). And those that ended by then without another observation in time, and not
-- before `since` (null: none of these), of any status. Of the desktops of these numbers, or of all (null).
create function deskledger_report.pieces_at(
    at timestamptz, since timestamptz, only_source text, only_status smallint, desktops integer[])
    returns table (source_id integer, desktop_no integer, desktop_id text, desktop_name text, users text[], attribution text,
                   status_id smallint, piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, ended smallint, is_open boolean,
                   disconnected_at timestamptz, first_seen timestamptz, started_after timestamptz,
                   connection_first_seen timestamptz, connection_started_after timestamptz)
    language sql stable parallel safe
    rows 100000
begin atomic
    select * from deskledger_report.row_pieces_at(at, since, only_source, only_status, desktops)
     union all
    select * from deskledger_report.packed_pieces_at(at, since, only_source, only_status, desktops);
end;
