-- What stands at the end of a pruned month is in the chain too.

-- Its desktops, of which nothing but this stays once those of the next month are pruned as well.
create function deskledger_data.standing_desktops(state jsonb) returns text
    language sql immutable parallel safe
begin atomic
    select coalesce(state ->> 'desktops_hash',
                    encode(sha256(convert_to(jsonb_build_array(state -> 'desktops', state -> 'absent')::text, 'UTF8')), 'hex'));
end;

-- All of it, as the chain keeps it with the pruning of the month that ends there: docs/digests.md says how it is made.
create function deskledger_data.standing_hash(state jsonb) returns bytea
    language sql immutable parallel safe
begin atomic
    select sha256(convert_to((state - '{desktops, absent, desktops_hash}'::text[])::text
                             || deskledger_data.standing_desktops(state), 'UTF8'));
end;

-- Of spans none: they were pruned before there was this.
alter table deskledger_data.pruning
    drop constraint pruning_of_headers_keeps_something,
    add constraint pruning_keeps_what_its_class_leaves check (
        case when is_restored or class not in ('spans', 'headers') then kept is null
             else kept is not null or class = 'spans' end);

-- The tally, as far as the counts are kept: of a month of which they are pruned those of its first instant are there, since the month
-- before ends there, and say nothing of the rest.
create view deskledger_report.counted_tally as
select t.*
  from deskledger_report.tally t
  left join deskledger_report.counted k using (source_id)
 where t.at >= coalesce(k.counted_from, '-infinity');

-- ---------------------------------------------------------------------------------------------------
-- What holds at an instant

drop function deskledger_report.pieces_at(timestamptz, timestamptz, text);

-- As before, with the instants that its events name.
create or replace view deskledger_report.packed_month as
select source_id, month_from, month_to, at from deskledger_data.packed_month;

-- The events as they are stored: where few of a row are looked at, making them whole takes longer than looking.
create view deskledger_report.packed_events as
select source_id, month_from, desktop_no, label_no, first_seen, started_after, disconnected_at, events from deskledger_data.packed;

-- The pieces that hold at `at`, of one status or of any (null). And those that ended by then without another observation in time, and not
-- before `since` (null: none of these), of any status. Of what is not packed.
create function deskledger_report.row_pieces_at(at timestamptz, since timestamptz, only_source text, only_status smallint)
    returns setof deskledger_report.row_piece
    language plpgsql stable parallel safe
    rows 100000
    set plan_cache_mode = force_custom_plan
as $$
declare
    sources constant integer[] := array(select s.source_id from deskledger_report.source s
                                         where only_source = '' or s.source = only_source);
begin
    return query
    select p.*
      from deskledger_report.row_piece p
     where not p.is_open and p.source_id = any (sources)
       and p.piece_from <= row_pieces_at.at and p.piece_to > row_pieces_at.at
       and p.piece_to <= deskledger_report.month_end(row_pieces_at.at)
       and (only_status is null or p.status_id = only_status)
     union all
    select p.*
      from deskledger_report.row_piece p
     where not p.is_open and p.source_id = any (sources) and p.ended = -4
       and p.piece_from <= row_pieces_at.at and p.piece_to <= row_pieces_at.at and p.piece_to >= since
     union all
    select p.*
      from deskledger_report.row_piece p
     where p.is_open and p.source_id = any (sources) and p.piece_from <= row_pieces_at.at
       and (p.piece_to > row_pieces_at.at and (only_status is null or p.status_id = only_status)
            or p.piece_to <= row_pieces_at.at and p.piece_to >= since);
end
$$;


-- The same of what is packed. Month by month, so that the instants are looked up once, and not for each desktop.
create function deskledger_report.packed_pieces_at(at timestamptz, since timestamptz, only_source text, only_status smallint)
    returns setof deskledger_report.row_piece
    language plpgsql stable parallel safe
    rows 100000
as $$
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
        return query
        select month.source_id, e.desktop_no, e.label_no, (e.begun >> 8 & 31)::smallint, visits[e.begun >> 14], visits[e.over >> 14],
               visits[(e.over >> 14) - case when e.over & 16128 = 16128 then 0 when e.over >> 14 = 3 then 2 else 1 end],
               case when e.over & 8192 = 0 then e.over >> 8 & 31 when e.over & 16128 = 16128 then -4
                    else (e.over >> 8 & 31) - 5 end::smallint,
               false, e.begun >> 14 <> 2 or e.first_seen is null,
               case e.begun & 127 when 0 then null when 127 then e.disconnected_at
                    else visits[e.events[e.nth + 1 - (e.begun & 127)] >> 14] end,
               coalesce(case when e.begun >> 14 = 2 then e.first_seen end, visits[e.begun >> 14]),
               case e.begun >> 14 when 2 then e.started_after
                    else case when e.begun & 128 = 0
                              then visits[(e.begun >> 14) - case e.begun >> 14 when 3 then 2 else 1 end] end end,
               null::timestamptz, null::timestamptz
          from (select k.*, n.nth, k.events[n.nth] as begun, k.events[n.nth + 1] as over
                  from deskledger_report.packed_events k
                 cross join lateral generate_series(greatest(width_bucket(first_event, k.events), 1),
                                            least(width_bucket(last_event, k.events), cardinality(k.events) - 1)) n (nth)
                 where k.source_id = month.source_id and k.month_from = month.month_from) e
         where e.begun & 8192 = 0
           and visits[e.begun >> 14] <= packed_pieces_at.at
           and (visits[e.over >> 14] > packed_pieces_at.at and (only_status is null or e.begun >> 8 & 31 = only_status)
                or e.over & 16128 = 16128 and visits[e.over >> 14] <= packed_pieces_at.at and visits[e.over >> 14] >= since);
    end loop;
end
$$;

-- As before; what came when its month was packed already is not among the events, and does not have what was there before it.
do $$
declare
    earlier constant text := pg_get_viewdef('deskledger.group_snapshots');
    later   constant text := replace(earlier, '(p_1.month_to > n.observed_at)',
                                     '(p_1.month_to > n.observed_at) and p_1.at[i.nth] = n.observed_at');
begin
    if later = earlier then
        raise exception 'the view group_snapshots reads no packed months';
    end if;
    execute 'create or replace view deskledger.group_snapshots as ' || later;
end
$$;
