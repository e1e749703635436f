-- Views over what is packed, planned for as many rows as there are.
--
-- A planner that expects one row of what is packed looks everything else up by reading it whole, for each of millions. It expects one where names,
-- sources and heads are joined to the union of spans and events, of which it knows nothing: each such join divides by two hundred. So they are joined
-- before, where it knows all: to spans, to open spans, and to packed rows, which are fewer than their events besides.

-- As before, but that what an event says is not looked for by a condition that hardly any could meet.
do $$
declare
    reader  regprocedure;
    earlier text;
    later   text;
begin
    foreach reader in array array[
        'deskledger_report.unpack(timestamptz[], integer[], timestamptz, timestamptz, timestamptz, timestamptz, timestamptz)',
        'deskledger_report.unpack_these(timestamptz[], integer[], integer[], timestamptz, timestamptz, timestamptz)']::regprocedure[]
    loop
        earlier := pg_get_functiondef(reader);
        later := replace(earlier, '((e.begun & 8192) = 0)', '((e.begun & 8192) <> 8192)');
        if later = earlier then
            raise exception 'the function % reads no events', reader;
        end if;
        execute later;
    end loop;
end
$$;

-- As before, but that it is the packed rows' own source_id and month_from, of which there are statistics.
create or replace view deskledger_report.packed as
select k.source_id, k.desktop_no, k.label_no, k.month_from, m.month_to, k.first_seen, k.started_after, k.disconnected_at,
       m.at, deskledger_report.whole(k.events) as events, k.loose, k.breaks, k.edges,
       k.observed is not null as is_summed
  from (select source_id, month_from, month_to, deskledger_report.whole(at) as at from deskledger_data.packed_month) m
  join deskledger_data.packed k on k.source_id = m.source_id and k.month_from = m.month_from;

-- As before, with the source, and its newest snapshot and max_gap.
create or replace view deskledger_report.named_piece as
select p.source_id, p.desktop_no, p.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.started_after, p.ended,
       coalesce(p.first_seen, p.piece_from) as first_seen, p.connection_first_seen, p.connection_started_after, p.disconnected_at,
       p.ended <> -5 as is_last, false as is_open, l.desktop_name, d.desktop_id, l.assignment_no, a.users, a.attribution, a.attach_users,
       '-infinity'::timestamptz as packed_from, 'infinity'::timestamptz as packed_to,
       s.name as source, h.observed_at as newest_at, h.max_gap as newest_gap
  from deskledger_data.span p
  join deskledger_data.source s on s.source_id = p.source_id
  join deskledger_data.head h on h.source_id = p.source_id
  join deskledger_data.label l on l.source_id = p.source_id and l.label_no = p.label_no
  join deskledger_data.assignment a on a.source_id = p.source_id and a.assignment_no = l.assignment_no
  join deskledger_data.desktop d on d.source_id = p.source_id and d.desktop_no = p.desktop_no
 union all
select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.started_after, p.ended,
       coalesce(p.first_seen, p.piece_from), null, null, p.disconnected_at,
       p.ended <> -5, false, l.desktop_name, d.desktop_id, l.assignment_no, a.users, a.attribution, a.attach_users,
       k.month_from, k.month_to, s.name, h.observed_at, h.max_gap
  from deskledger_report.packed k
  join deskledger_data.source s on s.source_id = k.source_id
  join deskledger_data.head h on h.source_id = k.source_id
  join deskledger_data.label l on l.source_id = k.source_id and l.label_no = k.label_no
  join deskledger_data.assignment a on a.source_id = k.source_id and a.assignment_no = l.assignment_no
  join deskledger_data.desktop d on d.source_id = k.source_id and d.desktop_no = k.desktop_no
 cross join lateral deskledger_report.unpack(
           k.at, k.events, '-infinity', 'infinity', k.first_seen, k.started_after, k.disconnected_at) p
 union all
select o.source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), o.started_after, (-4)::smallint,
       o.first_seen, o.connection_first_seen, o.connection_started_after, o.disconnected_at,
       true, true, l.desktop_name, d.desktop_id, l.assignment_no, a.users, a.attribution, a.attach_users,
       '-infinity', 'infinity', s.name, h.observed_at, h.max_gap
  from deskledger_data.open_span o
  join deskledger_data.source s on s.source_id = o.source_id
  join deskledger_data.head h on h.source_id = o.source_id
  join deskledger_data.label l on l.source_id = o.source_id and l.label_no = o.label_no
  join deskledger_data.assignment a on a.source_id = o.source_id and a.assignment_no = l.assignment_no
  join deskledger_data.desktop d on d.source_id = o.source_id and d.desktop_no = o.desktop_no;

-- As before.
create or replace view deskledger.desktop_states as
select p.source, p.desktop_id, p.desktop_name, t.status as connect_status, p.attach_users,
       p.first_seen, p.last_seen, p.piece_to as held_until, p.started_after,
       coalesce(f.finished_at, fd.finished_at[width_bucket(p.first_seen, fd.observed_at)]) as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       coalesce(n.finished_at, nd.finished_at[array_position(nd.observed_at, p.piece_to)]) as ended_by
  from deskledger_report.named_piece p
  left join deskledger_data.status t on t.source_id = p.source_id and t.status_id = p.status_id
  left join deskledger_data.snapshot f on f.source_id = p.source_id and f.observed_at = p.first_seen
  left join deskledger_data.pruned_day fd
       on fd.source_id = p.source_id and fd.day_from = date_bin('1 day', p.first_seen, '2000-01-01 00:00:00+00')
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.pruned_day nd
       on nd.source_id = p.source_id and nd.day_from = date_bin('1 day', p.piece_to, '2000-01-01 00:00:00+00') and p.ended <> -4
 where p.is_last;

create or replace view deskledger_report.connection as
select p.source_id, p.source, p.desktop_no, p.desktop_id, p.desktop_name, p.label_no, p.users, p.attribution,
       coalesce(p.connection_first_seen, p.first_seen) as first_seen,
       p.last_seen, p.piece_to as held_until,
       case when p.connection_first_seen is null then p.started_after
            else p.connection_started_after end as started_after,
       coalesce(f.finished_at,
                fd.finished_at[width_bucket(coalesce(p.connection_first_seen, p.first_seen), fd.observed_at)]) as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       coalesce(n.finished_at, nd.finished_at[array_position(nd.observed_at, p.piece_to)]) as ended_by,
       case when p.ended = -2 then 'REASSIGNED'
            when p.ended = -3 then 'ABSENT'
            when p.ended = -4 and p.is_open
                 and p.newest_at - p.last_seen <= make_interval(secs => p.newest_gap) then 'ONGOING'
            when p.ended = -4 then 'UNKNOWN'
            when t.status is null then 'NO STATUS'
            when t.status in ('NO STATUS', 'REASSIGNED', 'ABSENT', 'UNKNOWN', 'ONGOING') then 'API:' || t.status
            else t.status end as ended_as
  from deskledger_report.named_piece p
  left join deskledger_data.snapshot f
       on f.source_id = p.source_id and f.observed_at = coalesce(p.connection_first_seen, p.first_seen)
  left join deskledger_data.pruned_day fd
       on fd.source_id = p.source_id
      and fd.day_from = date_bin('1 day', coalesce(p.connection_first_seen, p.first_seen), '2000-01-01 00:00:00+00')
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.pruned_day nd
       on nd.source_id = p.source_id and nd.day_from = date_bin('1 day', p.piece_to, '2000-01-01 00:00:00+00') and p.ended <> -4
  left join deskledger_data.status t on t.source_id = p.source_id and t.status_id = p.ended
 where p.status_id = 1 and p.is_last and p.ended <> -1;
