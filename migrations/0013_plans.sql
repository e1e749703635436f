-- How two functions are planned: by what is known of their results, and not by what the planner guesses.

-- As before, and the spans are read twice and not three times. What is looked through comes to a fiftieth of what the planner
-- expects, so that sharing the work pays; and many instants are looked for at once: a tree finds each, where the block
-- ranges would be searched for every one of them.
create or replace function deskledger_report.disconnected_stretches(
    range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, desktop_no integer, label_no integer, stretches bigint, lasted bigint,
                   longest interval, observed bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
    set parallel_tuple_cost = 0
    set enable_bitmapscan = off
as $$
#variable_conflict use_column
declare
    month_end constant timestamptz := deskledger_report.month_end(range_to);
    bounds    constant timestamptz[] := deskledger_report.appearances(range_from, range_to);
begin
    if range_from >= range_to then
        return;
    end if;
    return query
    with part as (
        select p.source_id, p.desktop_no, p.label_no, max(p.piece_from) as newest, count(*) as stretches,
               sum(deskledger_report.micros(least(p.piece_to, range_to) - greatest(p.piece_from, range_from))) as lasted,
               max(deskledger_report.micros(least(p.piece_to, range_to) - greatest(p.piece_from, range_from))) as longest
          from deskledger_report.labelled_piece p
         where p.status_id = 2
           and p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to
           and (p.is_open or p.piece_to <= month_end)
           and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                    where s.source = only_source))
         group by 1, 2, 3
    ),
    -- What may touch another piece that is DISCONNECTED; and what begins or ends where desktops appear.
    odd as materialized (
        select p.source_id, p.desktop_no, p.piece_from, greatest(p.piece_from, range_from) as held_from,
               least(p.piece_to, range_to) as held_to, p.piece_from = any (bounds) as begins_there,
               p.piece_to = any (bounds) and p.ended not in (-4, -3) as ends_there,
               p.status_id = 2 and p.piece_from < p.piece_to
                   and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true as may_touch
          from deskledger_report.labelled_piece p
         where p.piece_to > range_from and p.piece_from < range_to
           and (p.is_open or p.piece_to <= month_end)
           and (p.piece_from = any (bounds) or p.piece_to = any (bounds)
                or p.status_id = 2 and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true)
    ),
    -- Pieces that touch are one stretch.
    touching as (
        select b.source_id, b.desktop_no, 1 - count(*) as too_many,
               deskledger_report.micros(max(b.held_to) - min(b.held_from)) as lasted
          from (select t.*, count(*) filter (where t.begins) over (partition by t.source_id, t.desktop_no
                                                                   order by t.held_from) as stretch
                  from (select o.source_id, o.desktop_no, o.held_from, o.held_to,
                               lag(o.held_to) over (partition by o.source_id, o.desktop_no order by o.held_from)
                                   is distinct from o.held_from as begins
                          from odd o
                         where o.may_touch) t) b
         group by b.source_id, b.desktop_no, b.stretch
    ),
    bound as (
        -- What breaks off, or reaches the end of the period.
        select p.source_id, p.desktop_no, 1 as sign, p.piece_to as at
          from deskledger_report.piece p
         where p.ended in (-4, -3) and p.piece_to > range_from and p.piece_to < range_to
         union all
        select p.source_id, p.desktop_no, 1, range_to
          from deskledger_report.piece p
         where p.piece_to >= range_to and p.piece_from < range_to and (p.is_open or p.piece_to <= month_end)
         union all
        select o.source_id, o.desktop_no, 1, o.held_to from odd o where o.ends_there
         union all
        select o.source_id, o.desktop_no, -1, o.piece_from from odd o where o.begins_there
    ),
    stretch as (
        select p.source_id, p.desktop_no, p.label_no, p.newest, p.stretches, p.lasted, p.longest, 0 as observed from part p
         union all
        select t.source_id, t.desktop_no, null, null, t.too_many, 0, t.lasted, 0 from touching t
         union all
        select b.source_id, b.desktop_no, null, null, 0, 0, null, b.sign * deskledger_report.micros(b.at - range_from)
          from bound b
    )
    select s.source_id, s.desktop_no, (array_agg(s.label_no order by s.newest desc nulls last))[1],
           sum(s.stretches)::bigint, sum(s.lasted)::bigint, justify_hours(max(s.longest) * interval '1 microsecond'),
           sum(s.observed)::bigint
      from stretch s
     group by s.source_id, s.desktop_no
    having sum(s.stretches) > 0;
end
$$;

-- Every connection of the period has two snapshots: read them once, and sum by hashing.
alter function deskledger_report.connection_slack(timestamptz, timestamptz, text) set enable_nestloop = off;
alter function deskledger_report.connection_slack(timestamptz, timestamptz, text) set enable_mergejoin = off;
alter function deskledger_report.connection_slack(timestamptz, timestamptz, text) set enable_sort = off;
