-- What the tally must say in one place; instants in packed months by the month's own rows; people by an index.

-- What `tally` must say, in its columns: for `verify`, and for a month that is brought back.
create view deskledger_data.told as
select source_id, at, coalesce(desktops, 0) as desktops, coalesce(connected, 0) as connected,
       coalesce(disconnected, 0) as disconnected, coalesce(ready, 0) as ready,
       coalesce(unregistered, 0) as unregistered, coalesce(started, 0) as started,
       coalesce(disconnects, 0) as disconnects, coalesce(ended, 0) as ended, reconnects
  from deskledger_data.told_tally
  full join deskledger_data.told_reconnects using (source_id, at);

-- The months that are packed.
create view deskledger_report.packed_month as
select source_id, month_from, month_to from deskledger_data.packed_month;

-- As it was, but the months are looked up first: what is packed is found by its month, however many there are.
create or replace function deskledger_report.pieces_at(at timestamptz, since timestamptz, only_source text)
    returns setof deskledger_report.labelled_piece
    language plpgsql stable parallel safe
    rows 1000000
    set plan_cache_mode = force_custom_plan
as $$
declare
    sources constant integer[] := array(select s.source_id from deskledger_report.source s
                                         where only_source = '' or s.source = only_source);
    months constant timestamptz[] := array(select distinct m.month_from from deskledger_report.packed_month m
                                            where m.source_id = any (sources)
                                              and m.month_from <= pieces_at.at and m.month_to >= since);
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
     where k.source_id = any (sources) and k.month_from = any (months) and k.month_to >= since
       and p.piece_from <= pieces_at.at and p.piece_to >= since;
end
$$;

-- Who is asked for by name is found without reading all assignments.
create index assignment_by_person on deskledger_data.assignment using gin (person_nos);

create view deskledger_report.assigned_user as
select p.source_id, p.type as user_type, p.id as user_id, p.name as user_name, l.label_no
  from deskledger_data.source s
  join deskledger_data.person p on p.source_id = s.source_id
  join deskledger_data.assignment a on a.source_id = p.source_id and a.person_nos @> array[p.person_no]
  join deskledger_data.label l on l.source_id = a.source_id and l.assignment_no = a.assignment_no;

create or replace function deskledger_report.desktops_of_user(of_user text)
    returns table (source_id integer, desktop_no integer)
    language sql stable parallel safe
begin atomic
    select distinct d.source_id, d.desktop_no
      from deskledger_report.assigned_user u
      join deskledger_report.desktop_label d using (source_id, label_no)
     where u.user_name = of_user or u.user_id = of_user;
end;
