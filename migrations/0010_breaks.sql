-- Where a desktop's observations break off, and what reports know from that without reading every span.

-- What ended in absence or unknown: few, but for what gaps cut off.
create index span_by_break on deskledger_data.span (source_id, piece_to) where ended in (-4, -3);

-- For what holds at an instant: of the half of a month that ends later, only the pages that hold one that begins before it.
-- Filed as they end, most pages hold none. A byte a desktop and day, where a tree would take twenty times as much.
create index span_by_hold on deskledger_data.span using brin (piece_from, piece_to) with (pages_per_range = 1);

-- The disconnects in [range_from, range_to) after which the desktop was seen CONNECTED again within `within`. Each has a
-- row of its own in any case: the connected span that follows it names it.
create function deskledger_report.reconnects(
    range_from timestamptz, range_to timestamptz, only_source text, within interval)
    returns table (source_id integer, desktop_no integer, disconnected_at timestamptz)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no, p.disconnected_at
      from deskledger_report.piece p
     where p.status_id = 1 and p.is_first and p.disconnected_at >= range_from and p.disconnected_at < range_to
       and p.piece_from - p.disconnected_at <= within
       and p.piece_to >= range_from
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to + within))
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source));
end
$$;

-- The disconnects in [range_from, range_to) that one of `breaks` follows, or meets, within `within`: ascending instants at
-- which observations break off.
create function deskledger_report.disconnects_before_breaks(
    range_from timestamptz, range_to timestamptz, only_source text, within interval, breaks timestamptz[])
    returns table (source_id integer, desktop_no integer, disconnected_at timestamptz)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    if cardinality(breaks) > 0 then
        return query
        select p.source_id, p.desktop_no, p.disconnected_at
          from deskledger_report.piece p
         where p.is_first and p.disconnected_at = p.first_seen
           and p.piece_from >= range_from and p.piece_from < range_to
           -- No span is read that was over before the first break could be too early for it.
           and p.piece_to >= greatest(range_from, breaks[1] - within)
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
           -- The first break that is not before it.
           and breaks[width_bucket(p.piece_from - interval '1 microsecond', breaks) + 1] < p.piece_from + within
           and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                    where s.source = only_source));
    end if;
end
$$;

-- The instants in [range_from, range_to) at which a desktop of any source begins to be held that was not held right
-- before: new, back from absence, or after a gap. More begin there than the tally says, by those that break off there.
create function deskledger_report.appearances(range_from timestamptz, range_to timestamptz)
    returns timestamptz[]
    language sql stable parallel safe
begin atomic
    select coalesce(array_agg(distinct a.at order by a.at), '{}')
      from (select b.at
              from (select t.source_id, t.at, t.desktops::bigint as desktops
                      from deskledger_report.tally t
                     where t.at >= range_from and t.at < range_to
                     union all
                    select p.source_id, p.piece_to, count(*)
                      from deskledger_report.piece p
                     where not p.is_open and p.ended in (-4, -3) and p.piece_to >= range_from and p.piece_to < range_to
                     group by 1, 2) b
             group by b.source_id, b.at
            having sum(b.desktops) > 0) a;
end;

-- As before. For how long a desktop was held takes no sum over its pieces: those that touch cancel out, so it is where
-- they break off without where they begin. Both are counted wherever any desktop appears: what touches there cancels, too.
create or replace function deskledger_report.disconnected_stretches(
    range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, desktop_no integer, label_no integer, stretches bigint, lasted bigint,
                   longest interval, observed bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
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
               max(least(p.piece_to, range_to) - greatest(p.piece_from, range_from)) as longest
          from deskledger_report.labelled_piece p
         where p.status_id = 2
           and p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to
           and (p.is_open or p.piece_to <= month_end)
           and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                    where s.source = only_source))
         group by 1, 2, 3
    ),
    -- What may touch another piece that is DISCONNECTED; and what begins where desktops appear.
    odd as materialized (
        select p.source_id, p.desktop_no, p.piece_from, greatest(p.piece_from, range_from) as held_from,
               least(p.piece_to, range_to) as held_to, p.piece_from = any (bounds) as is_bound,
               p.status_id = 2 and p.piece_from < p.piece_to
                   and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true as may_touch
          from deskledger_report.labelled_piece p
         where p.piece_to > range_from and p.piece_from < range_to
           and (p.is_open or p.piece_to <= month_end)
           and (p.piece_from = any (bounds)
                or p.status_id = 2 and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true)
    ),
    -- Pieces that touch are one stretch.
    touching as (
        select b.source_id, b.desktop_no, 1 - count(*) as too_many, max(b.held_to) - min(b.held_from) as lasted
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
        select p.source_id, p.desktop_no, 1, p.piece_to
          from deskledger_report.source s
          join deskledger_report.piece p using (source_id)
         where not p.is_open and p.ended not in (-4, -3) and p.piece_to = any (bounds) and p.piece_to > range_from
         union all
        select o.source_id, o.desktop_no, -1, o.piece_from from odd o where o.is_bound
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
           sum(s.stretches)::bigint, sum(s.lasted)::bigint, max(s.longest), sum(s.observed)::bigint
      from stretch s
     group by s.source_id, s.desktop_no
    having sum(s.stretches) > 0;
end
$$;

-- As before, with the label of what the disconnect began, and fewer: between the disconnects of one window lie short
-- connections, so that `times - 1` of these end within it. Most desktops have some, hardly any has them so close together.
drop function deskledger_report.close_disconnects(timestamptz, timestamptz, text, integer, interval);
create function deskledger_report.close_disconnects(
    range_from timestamptz, range_to timestamptz, only_source text, times integer, within interval)
    returns table (source_id integer, desktop_no integer, label_no integer, disconnected_at timestamptz)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    flapping constant integer[] := array(
        select distinct s.desktop_no
          from (select p.desktop_no, p.piece_to, lag(p.piece_to, greatest(times - 2, 0)) over seen as earlier
                  from deskledger_report.piece p
                 where times > 1 and not p.is_open and p.status_id = 1 and p.ended = 2
                   and p.piece_to - coalesce(p.connection_first_seen, p.first_seen) <= within
                   and p.piece_to >= range_from and p.piece_to < range_to
                window seen as (partition by p.source_id, p.desktop_no order by p.piece_to)) s
         where s.piece_to - s.earlier <= within);
begin
    return query
    select p.source_id, p.desktop_no, p.label_no, p.piece_from
      from deskledger_report.labelled_piece p
     where (times < 2 or p.desktop_no = any (flapping))
       and p.is_first and p.disconnected_at = p.piece_from
       and p.piece_from >= range_from and p.piece_from < range_to and p.piece_to >= range_from
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source));
end
$$;

-- For how long desktops of these sources and numbers were held in [range_from, range_to), in microseconds.
create function deskledger_report.observed_time(
    range_from timestamptz, range_to timestamptz, sources integer[], desktops integer[])
    returns table (source_id integer, desktop_no integer, observed bigint)
    language plpgsql stable parallel safe
    rows 1000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no,
           sum(deskledger_report.micros(least(p.piece_to, range_to) - greatest(p.piece_from, range_from)))::bigint
      from deskledger_report.piece p
     where p.source_id = any (sources) and p.desktop_no = any (desktops)
       and p.piece_to > range_from and p.piece_from < range_to
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
     group by p.source_id, p.desktop_no;
end
$$;

-- As before, and with what tells a connection's bounds.
create or replace view deskledger_report.labelled_piece as
select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, ended, false as is_open,
       first_seen is null as is_first, disconnected_at, coalesce(first_seen, piece_from) as first_seen, started_after,
       connection_first_seen, connection_started_after
  from deskledger_data.span
 union all
select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), (-4)::smallint, true, o.first_seen = o.piece_from, o.disconnected_at, o.first_seen,
       o.started_after, o.connection_first_seen, o.connection_started_after
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

-- The pieces that begin by `at` and that end at `since` or later.
create function deskledger_report.pieces_at(at timestamptz, since timestamptz, only_source text)
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
     where p.source_id = any (sources) and p.piece_from <= at and p.piece_to >= since
       and (p.is_open or p.piece_to <= deskledger_report.month_end(at));
end
$$;
