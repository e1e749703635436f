-- What reports sum up, beside the spans: of whole months, in the packed rows; of reconnects, in the tally.

alter table deskledger_data.packed
    -- For how long the desktop was held, and held CONNECTED, in microseconds. Null, as all that follows: not summed yet.
    add column observed          bigint,
    add column connected         bigint,
    -- For how much less than they were held the connections that end in the month may have lasted, and for how much more (null:
    -- nobody knows), in microseconds; without those in `loose`.
    add column less              bigint,
    add column more              bigint,
    -- When it was last seen CONNECTED.
    add column last_connected    timestamptz,
    -- How many stretches held DISCONNECTED, how long they took, and the longest, in microseconds; without those in `loose`.
    add column stretches         integer,
    add column disconnected      bigint,
    add column longest           bigint,
    -- When the newest of all of them began.
    add column last_disconnected timestamptz,
    -- The subscripts of the events that sums leave to whoever knows what was before and after: what is DISCONNECTED and may
    -- touch more of it, and connections that may have begun before the month or ended after it.
    add column loose             integer[],
    -- The subscripts of those after which the desktop was absent or not observed.
    add column breaks            integer[],
    -- The shortest time from a disconnect to the second one after it, in microseconds, and the subscripts of the first two
    -- disconnects and of the last two.
    add column closest           bigint,
    add column edges             integer[];

alter table deskledger_data.packed_month
    -- The month was over when it was packed, and every packed row is summed: so the sums and what is not packed say all.
    add column is_whole boolean not null default false;

-- What was packed before there were sums is looked at once more.
update deskledger_data.packed_month set is_done = false;

-- What an event says is stated once, here: of the events that `%2$s` names, for two functions.
do $$
declare
    decoded constant text := $sql$
        create or replace function deskledger_report.%1$s
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
                   %3$s
              from (select nth, events[nth] as begun, events[nth + 1] as over from %2$s) e
             where e.begun & 8192 = 0;
        end $sql$;
begin
    execute format(decoded,
        'unpack(
            at timestamptz[], events integer[], since timestamptz, until timestamptz,
            of_first_seen timestamptz, of_started_after timestamptz, of_disconnected_at timestamptz)
            returns table (piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, started_after timestamptz,
                           status_id smallint, ended smallint, first_seen timestamptz, disconnected_at timestamptz)',
        -- From the event that holds just before `since` to the newest by `until`, each found by halving.
        'generate_series(
             greatest(width_bucket(width_bucket(since - interval ''1 microsecond'', at) << 14 | 16127, events), 1),
             least(width_bucket(width_bucket(until, at) << 14 | 16127, events), cardinality(events) - 1)) nth',
        '');
    -- Those of the subscripts `nths`, and at which instants they begin and are over.
    execute format(decoded,
        'unpack_these(
            at timestamptz[], events integer[], nths integer[],
            of_first_seen timestamptz, of_started_after timestamptz, of_disconnected_at timestamptz)
            returns table (piece_from timestamptz, piece_to timestamptz, last_seen timestamptz, started_after timestamptz,
                           status_id smallint, ended smallint, first_seen timestamptz, disconnected_at timestamptz,
                           nth integer, begins integer, ends integer)',
        'unnest(nths) nth',
        ', e.nth, e.begun >> 14, e.over >> 14');
end
$$;

-- When the visits at the instants of a packed month were over.
create function deskledger_data.finishes(of_source integer, at timestamptz[]) returns timestamptz[]
    language sql stable parallel safe
begin atomic
    select array['-infinity', '-infinity']::timestamptz[]
        || array(select s.finished_at
                   from unnest(at[3 : cardinality(at) - 2]) with ordinality v (observed_at, nth)
                   join deskledger_data.snapshot s on s.source_id = of_source and s.observed_at = v.observed_at
                  order by v.nth)
        || array['infinity', 'infinity']::timestamptz[];
end;

-- The sums of one packed row, as its columns say.
create function deskledger_report.sums(
    at timestamptz[], finished timestamptz[], events integer[],
    of_first_seen timestamptz, of_started_after timestamptz, of_disconnected_at timestamptz)
    returns table (observed bigint, connected bigint, less bigint, more bigint, last_connected timestamptz,
                   stretches integer, disconnected bigint, longest bigint, last_disconnected timestamptz, loose integer[],
                   breaks integer[], closest bigint, edges integer[])
    language sql stable parallel safe
    rows 1
begin atomic
    select coalesce(sum(t.held), 0)::bigint, coalesce(sum(t.held) filter (where t.status_id = 1), 0)::bigint,
           coalesce(sum(deskledger_report.micros(
                        t.piece_to - t.piece_from - greatest(t.last_seen - t.started_by, interval '0')))
                    filter (where t.is_connection and not t.is_loose), 0)::bigint,
           case when count(*) filter (where t.is_connection and not t.is_loose)
                   = count(t.piece_from - t.started_after + (t.ended_by - t.piece_to)) filter (where t.is_connection and not t.is_loose)
                then coalesce(sum(deskledger_report.micros(t.piece_from - t.started_after + (t.ended_by - t.piece_to)))
                              filter (where t.is_connection and not t.is_loose), 0)::bigint end,
           max(t.last_seen) filter (where t.status_id = 1),
           (count(*) filter (where t.is_stretch and not t.is_loose))::integer,
           coalesce(sum(t.held) filter (where t.is_stretch and not t.is_loose), 0)::bigint,
           max(t.held) filter (where t.is_stretch and not t.is_loose),
           max(t.piece_from) filter (where t.is_stretch),
           array_agg(t.nth order by t.nth) filter (where t.is_loose),
           array_agg(t.nth order by t.nth) filter (where t.ended in (-4, -3)),
           min(deskledger_report.micros(t.piece_from - t.third_last)),
           (array_agg(t.nth order by t.nth) filter (where t.is_disconnect))[1 : 2]
               || (array_agg(t.nth order by t.nth) filter (where t.is_disconnect))[
                      greatest(3, count(*) filter (where t.is_disconnect) - 1) : ]
      from (select p.nth, p.status_id, p.ended, p.piece_from, p.piece_to, p.last_seen, p.started_after,
                   deskledger_report.micros(p.piece_to - p.piece_from) as held,
                   finished[p.begins] as started_by,
                   case when p.ended <> -4 then finished[p.ends] end as ended_by,
                   p.status_id = 1 and p.ended not in (-5, -1) and p.piece_from < p.piece_to as is_connection,
                   p.status_id = 2 and p.piece_from < p.piece_to as is_stretch,
                   case p.status_id
                        -- It was there before the month, or what was before it lies there; or how it ended was heard after it.
                        when 1 then p.ended not in (-5, -1)
                                    and (p.begins <= 3 or p.ended <> -4 and finished[p.ends] > at[cardinality(at)])
                        when 2 then p.piece_from < p.piece_to
                                    and (p.first_seen is null and p.disconnected_at = p.piece_from
                                         and p.ended not in (2, -5)) is not true
                        else false end as is_loose,
                   p.first_seen is null and p.disconnected_at = p.piece_from as is_disconnect,
                   case when p.first_seen is null and p.disconnected_at = p.piece_from
                        then lag(p.piece_from, 2) over (
                                 partition by p.first_seen is null and p.disconnected_at = p.piece_from
                                 order by p.nth) end as third_last
              from deskledger_report.unpack_these(
                       at, events, array(select generate_series(1, cardinality(events) - 1)),
                       of_first_seen, of_started_after, of_disconnected_at) p) t;
end;

-- As before, and which events stand out.
create or replace view deskledger_report.packed as
select m.source_id, k.desktop_no, k.label_no, m.month_from, m.month_to, k.first_seen, k.started_after, k.disconnected_at,
       m.at, deskledger_report.whole(k.events) as events, k.loose, k.breaks, k.edges,
       k.observed is not null as is_summed
  from (select source_id, month_from, month_to, deskledger_report.whole(at) as at from deskledger_data.packed_month) m
  join deskledger_data.packed k on k.source_id = m.source_id and k.month_from = m.month_from;

-- The sums, with labels; and what planners may see of them. `month_to` is that of the calendar.
create view deskledger_report.labelled_sum as
select source_id, desktop_no, label_no, month_from, deskledger_report.month_end(month_from) as month_to, observed, connected,
       less, more, last_connected, stretches, disconnected, longest, last_disconnected, closest
  from deskledger_data.packed;

create view deskledger_report.used_month as
select source_id, desktop_no, month_from, deskledger_report.month_end(month_from) as month_to, observed, last_connected
  from deskledger_data.packed;

create view deskledger_report.loose_piece as
select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.ended,
       p.first_seen is null as is_first, p.disconnected_at, coalesce(p.first_seen, p.piece_from) as first_seen,
       p.started_after, k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack_these(
           k.at, k.events, k.loose, k.first_seen, k.started_after, k.disconnected_at) p
 where k.loose is not null;

create view deskledger_report.break_piece as
select k.source_id, k.desktop_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.ended, p.disconnected_at,
       k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack_these(
           k.at, k.events,
           case when k.is_summed then k.breaks else array(select generate_series(1, cardinality(k.events) - 1)) end,
           k.first_seen, k.started_after, k.disconnected_at) p
 where (k.breaks is not null or not k.is_summed) and p.ended in (-4, -3);

create view deskledger_report.edge_piece as
select k.source_id, k.desktop_no, p.piece_from, k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack_these(
           k.at, k.events, k.edges, k.first_seen, k.started_after, k.disconnected_at) p
 where k.edges is not null;

-- What is not packed.
create view deskledger_report.row_piece as
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

-- As before.
create or replace view deskledger_report.labelled_piece as
select r.*, '-infinity'::timestamptz as packed_from, 'infinity'::timestamptz as packed_to
  from deskledger_report.row_piece r
 union all
select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.last_seen, p.ended, false,
       p.first_seen is null, p.disconnected_at, coalesce(p.first_seen, p.piece_from), p.started_after, null, null,
       k.month_from, k.month_to
  from deskledger_report.packed k
 cross join lateral deskledger_report.unpack(
           k.at, k.events, '-infinity', 'infinity', k.first_seen, k.started_after, k.disconnected_at) p;

create view deskledger_report.row_break as
select source_id, desktop_no, status_id, piece_from, piece_to, last_seen, ended, disconnected_at, is_open
  from deskledger_report.row_piece
 where ended in (-4, -3);

create view deskledger_report.whole_month as
select source_id, month_from, month_to from deskledger_data.packed_month where is_whole;

create view deskledger_report.head as
select source_id, first_at, observed_at, max_gap from deskledger_data.head;

create or replace view deskledger_report.visit as
select source_id, observed_at, desktops_outcome, groups_outcome, desktops_total, desktops_recorded, max_gap, finished_at
  from deskledger_data.snapshot;

-- The numbers of the sources that are asked for: of all where none is named.
create function deskledger_report.source_ids(only_source text) returns integer[]
    language sql stable parallel safe
begin atomic
    select array(select s.source_id from deskledger_report.source s where only_source = '' or s.source = only_source);
end;

-- The longest run of months in [range_from, range_to) of which every source that is asked for has sums, or had not begun:
-- from -infinity to -infinity where there is none. What else is there to read of the period is in `pieces_but`.
create function deskledger_report.whole_months(
    range_from timestamptz, range_to timestamptz, only_source text, out whole_from timestamptz, out whole_to timestamptz)
    language sql stable parallel safe
begin atomic
    select coalesce((array_agg(r.run_from order by r.months desc, r.run_from))[1], '-infinity'),
           coalesce((array_agg(r.run_to order by r.months desc, r.run_from))[1], '-infinity')
      from (select min(m.month_from) as run_from, max(m.month_to) as run_to, count(*) as months
              from (select w.month_from, w.month_to,
                           w.month_from at time zone 'UTC'
                               - make_interval(months => (row_number() over (order by w.month_from))::integer) as run
                      from (select distinct month_from, month_to from deskledger_report.whole_month
                             where month_from >= range_from and month_to <= range_to) w
                     where not exists (
                           select from deskledger_report.source s
                             join deskledger_report.head b using (source_id)
                            where (only_source = '' or s.source = only_source) and b.first_at < w.month_to
                              and not exists (select from deskledger_report.whole_month k
                                               where k.source_id = s.source_id and k.month_from = w.month_from))) m
             group by m.run) r;
end;

-- As `pieces` and `labelled_pieces`, without those of [but_from, but_to) that sums speak for.
create function deskledger_report.pieces_but(
    since timestamptz, until timestamptz, but_from timestamptz, but_to timestamptz)
    returns setof deskledger_report.piece
    language sql stable parallel safe
    rows 1000000
begin atomic
    select * from deskledger_report.piece
     where packed_to >= since and packed_from <= until and (packed_from < but_from or packed_to > but_to);
end;

create function deskledger_report.labelled_pieces_but(
    since timestamptz, until timestamptz, but_from timestamptz, but_to timestamptz)
    returns setof deskledger_report.labelled_piece
    language sql stable parallel safe
    rows 1000000
begin atomic
    select * from deskledger_report.labelled_piece
     where packed_to >= since and packed_from <= until and (packed_from < but_from or packed_to > but_to);
end;

-- ---------------------------------------------------------------------------------------------------
-- How soon who was disconnected came back, in the tally

alter table deskledger_data.tally
    -- After how long those came back CONNECTED at this instant who were disconnected an hour ago or less, ascending:
    --     microseconds << 20 | desktops
    add column reconnects bigint[];

create view deskledger_data.told_reconnects as
select source_id, at, array_agg(after << 20 | desktops order by after) as reconnects
  from (select source_id, piece_from as at, deskledger_report.micros(piece_from - disconnected_at) as after,
               count(*) as desktops
          from deskledger_report.piece
         where status_id = 1 and is_first and piece_from - disconnected_at <= interval '1 hour'
         group by 1, 2, 3) r
 group by 1, 2;

update deskledger_data.tally t
   set reconnects = r.reconnects
  from deskledger_data.told_reconnects r
 where r.source_id = t.source_id and r.at = t.at;

create or replace view deskledger_report.tally as
select source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended, reconnects
  from deskledger_data.tally;

-- ---------------------------------------------------------------------------------------------------
-- What reads whole months, as before

-- What breaks off in [range_from, range_to]: of what is packed and summed, those events alone are read.
create function deskledger_report.breaks(range_from timestamptz, range_to timestamptz)
    returns table (source_id integer, desktop_no integer, status_id smallint, piece_from timestamptz, piece_to timestamptz,
                   last_seen timestamptz, ended smallint, disconnected_at timestamptz, is_open boolean)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select r.source_id, r.desktop_no, r.status_id, r.piece_from, r.piece_to, r.last_seen, r.ended, r.disconnected_at,
           r.is_open
      from deskledger_report.row_break r
     where r.piece_to >= range_from and r.piece_to <= range_to
     union all
    select b.source_id, b.desktop_no, b.status_id, b.piece_from, b.piece_to, b.last_seen, b.ended, b.disconnected_at, false
      from deskledger_report.break_piece b
     where b.month_to > range_from and b.month_from <= range_to
       and b.piece_to >= range_from and b.piece_to <= range_to;
end
$$;

-- How many of the disconnects in [range_from, range_to) were followed by a reconnect within `within`, by their instants. The
-- tally knows of those within an hour; for longer ones every span is read: the connected one names its disconnect.
create function deskledger_report.reconnected(
    range_from timestamptz, range_to timestamptz, only_source text, within interval)
    returns table (source_id integer, disconnected_at timestamptz, reconnects bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    sources constant integer[] := deskledger_report.source_ids(only_source);
begin
    if within <= interval '1 hour' then
        return query
        select r.source_id, r.disconnected_at, sum(r.desktops)::bigint
          from (select t.source_id, t.at - (e.told >> 20) * interval '1 microsecond' as disconnected_at,
                       e.told & 1048575 as desktops
                  from deskledger_report.tally t
                 cross join lateral unnest(t.reconnects) e (told)
                 where t.source_id = any (sources) and t.at >= range_from and t.at <= range_to + within
                   and e.told >> 20 <= deskledger_report.micros(within)) r
         where r.disconnected_at >= range_from and r.disconnected_at < range_to
         group by 1, 2;
    else
        return query
        select p.source_id, p.disconnected_at, count(*)
          from deskledger_report.pieces(range_from, range_to + within) p
         where p.source_id = any (sources)
           and p.status_id = 1 and p.is_first and p.disconnected_at >= range_from and p.disconnected_at < range_to
           and p.piece_from - p.disconnected_at <= within
           and p.piece_to >= range_from
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to + within))
         group by 1, 2;
    end if;
end
$$;

drop function deskledger_report.reconnects(timestamptz, timestamptz, text, interval);
drop function deskledger_report.disconnects_before_breaks(timestamptz, timestamptz, text, interval, timestamptz[]);

create or replace function deskledger_report.appearances(range_from timestamptz, range_to timestamptz)
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
                      from deskledger_report.breaks(range_from, range_to) p
                     where not p.is_open and p.piece_to < range_to
                     group by 1, 2) b
             group by b.source_id, b.at
            having sum(b.desktops) > 0) a;
end;

create or replace function deskledger_report.used_desktops(range_from timestamptz, range_to timestamptz)
    returns table (source_id integer, desktop_no integer)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    whole_from timestamptz;
    whole_to   timestamptz;
begin
    select * into whole_from, whole_to from deskledger_report.whole_months(range_from, range_to, '');
    return query
    select p.source_id, p.desktop_no
      from deskledger_report.pieces_but(range_from, range_to, whole_from, whole_to) p
     where p.status_id = 1 and p.piece_from < range_to and p.piece_to >= range_from
       and (p.piece_to > range_from or p.last_seen >= range_from)
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
     union
    select m.source_id, m.desktop_no
      from deskledger_report.used_month m
     where m.month_from >= whole_from and m.month_to <= whole_to and m.last_connected is not null;
end
$$;

drop function deskledger_report.held_time(timestamptz, timestamptz, text, smallint);
drop function deskledger_report.connection_slack(timestamptz, timestamptz, text);
drop view deskledger_report.connection_bounds;

-- For how long each desktop with each label was held CONNECTED in [range_from, range_to), and for how much less and more than
-- that the connections that ended so may have lasted, in microseconds. A gap hides when one of them started or ended: then
-- `more` is null. Of whole months, the connections that cross their bounds, and the sums of the others.
create function deskledger_report.connected_time(
    range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, desktop_no integer, label_no integer, held bigint, less bigint, more bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
    -- Every connection has two snapshots: read them once, and sum by hashing.
    set enable_nestloop = off
    set enable_mergejoin = off
    set enable_sort = off
    set parallel_tuple_cost = 0
as $$
#variable_conflict use_column
declare
    sources constant integer[] := deskledger_report.source_ids(only_source);
    until   constant timestamptz := least(range_to, now());
    whole_from timestamptz;
    whole_to   timestamptz;
begin
    if range_from >= range_to then
        return;
    end if;
    select * into whole_from, whole_to from deskledger_report.whole_months(range_from, range_to, only_source);
    return query
    select t.source_id, t.desktop_no, t.label_no, sum(t.held)::bigint, sum(t.less)::bigint,
           case when bool_and(t.is_known) then sum(t.more)::bigint end
      from (select b.source_id, b.desktop_no, b.label_no, b.held,
                   case when b.is_connection
                        then deskledger_report.micros(b.held_to - b.held_from
                                                      - greatest(b.sure_to - b.sure_from, interval '0')) else 0 end as less,
                   case when b.is_connection
                        then deskledger_report.micros(b.held_from - b.open_from + (b.open_to - b.held_to)) else 0 end as more,
                   not b.is_connection or b.open_from is not null and b.open_to is not null as is_known
              from (select p.source_id, p.desktop_no, p.label_no,
                           case when p.counts and p.piece_from < range_to
                                then deskledger_report.micros(least(p.piece_to, range_to) - greatest(p.piece_from, range_from))
                                else 0 end as held,
                           p.ends and p.first_seen < p.piece_to as is_connection,
                           greatest(p.first_seen, range_from) as held_from, least(p.piece_to, range_to) as held_to,
                           greatest(f.finished_at, range_from) as sure_from, least(p.last_seen, range_to) as sure_to,
                           -- A start before the period and an end after it need not be known; `greatest` would pass over a
                           -- null.
                           case when p.first_seen <= range_from or p.started_after < range_from then range_from
                                else p.started_after end as open_from,
                           case when p.last_seen >= range_to or n.finished_at > range_to then range_to
                                when not (p.ended = -4 and p.is_open
                                          and h.observed_at - p.last_seen <= make_interval(secs => h.max_gap))
                                then n.finished_at
                                -- What was seen last holds no longer; after it nothing is known, until someone looks again.
                                when until <= h.observed_at + make_interval(secs => h.max_gap)
                                then greatest(until, p.piece_to) end as open_to
                      from (select p.source_id, p.desktop_no, p.label_no, p.piece_from, p.piece_to, p.last_seen, p.ended,
                                   p.is_open, true as counts, p.ended not in (-5, -1) as ends,
                                   coalesce(p.connection_first_seen, p.first_seen) as first_seen,
                                   case when p.connection_first_seen is null then p.started_after
                                        else p.connection_started_after end as started_after
                              from deskledger_report.labelled_pieces_but(range_from, range_to, whole_from, whole_to) p
                             where p.status_id = 1
                             union all
                            select p.source_id, p.desktop_no, p.label_no, p.piece_from, p.piece_to, p.last_seen, p.ended,
                                   false, false, true, p.first_seen, p.started_after
                              from deskledger_report.loose_piece p
                             where p.status_id = 1 and p.month_from >= whole_from and p.month_to <= whole_to
                             union all
                            -- What goes on from before the end of the period into a month after it.
                            select k.source_id, k.desktop_no, k.label_no, p.piece_from, p.piece_to, p.last_seen, p.ended,
                                   false, false, true, p.first_seen, p.started_after
                              from deskledger_report.packed k
                             cross join lateral deskledger_report.unpack_these(
                                       k.at, k.events, array[1], k.first_seen, k.started_after, k.disconnected_at) p
                             where k.month_from > range_to and k.first_seen < range_to
                               and p.status_id = 1 and p.ended not in (-5, -1)) p
                      join deskledger_report.head h using (source_id)
                      left join deskledger_report.visit f
                           on f.source_id = p.source_id and f.observed_at = p.first_seen
                      left join deskledger_report.visit n
                           on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
                     where p.source_id = any (sources) and p.piece_to > range_from and p.first_seen < range_to) b
             union all
            select m.source_id, m.desktop_no, m.label_no, m.connected, m.less, m.more, m.more is not null
              from deskledger_report.labelled_sum m
             where m.source_id = any (sources) and m.month_from >= whole_from and m.month_to <= whole_to
               and m.connected > 0) t
     group by t.source_id, t.desktop_no, t.label_no;
end
$$;

-- As before; of whole months, what may touch more, and the sums of the rest.
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
    sources   constant integer[] := deskledger_report.source_ids(only_source);
    month_end constant timestamptz := deskledger_report.month_end(range_to);
    whole_from timestamptz;
    whole_to   timestamptz;
    bounds     timestamptz[];
begin
    if range_from >= range_to then
        return;
    end if;
    select * into whole_from, whole_to from deskledger_report.whole_months(range_from, range_to, only_source);
    -- Pieces end with the month, so none but a desktop's first touches one on the other side of these bounds.
    bounds := case when whole_from = whole_to then deskledger_report.appearances(range_from, range_to)
                   else deskledger_report.appearances(range_from, whole_from) || whole_from || whole_to
                        || deskledger_report.appearances(whole_to, range_to) end;
    return query
    -- What of packed months is not summed, unpacked once.
    with unpacked as materialized (
        select k.source_id, k.desktop_no, k.label_no, p.status_id, p.piece_from, p.piece_to, p.ended, p.first_seen is null as is_first,
               p.disconnected_at
          from deskledger_report.packed k
         cross join lateral deskledger_report.unpack(
                   k.at, k.events, range_from, range_to, k.first_seen, k.started_after, k.disconnected_at) p
         where k.source_id = any (sources) and k.month_to > range_from and k.month_from < range_to
           and (k.month_from < whole_from or k.month_to > whole_to)
           and p.piece_to > range_from and p.piece_from < range_to
    ),
    -- What may touch another piece that is DISCONNECTED; and what begins or ends where desktops appear.
    odd as materialized (
        select p.source_id, p.desktop_no, p.piece_from, greatest(p.piece_from, range_from) as held_from,
               least(p.piece_to, range_to) as held_to, p.piece_from = any (bounds) as begins_there,
               p.piece_to = any (bounds) and p.ended not in (-4, -3) as ends_there,
               p.piece_from < whole_to and p.piece_to > whole_from as is_within,
               p.status_id = 2 and p.piece_from < p.piece_to
                   and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true as may_touch
          from (select r.source_id, r.desktop_no, r.status_id, r.piece_from, r.piece_to, r.ended, r.is_first,
                       r.disconnected_at
                  from deskledger_report.row_piece r
                 where r.source_id = any (sources)
                   and r.piece_to > range_from and r.piece_from < range_to and (r.is_open or r.piece_to <= month_end)
                 union all
                select u.source_id, u.desktop_no, u.status_id, u.piece_from, u.piece_to, u.ended, u.is_first,
                       u.disconnected_at
                  from unpacked u) p
         where p.piece_from = any (bounds) or p.piece_to = any (bounds)
            or p.status_id = 2 and (p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is not true
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
                          from (select o.source_id, o.desktop_no, o.held_from, o.held_to from odd o where o.may_touch
                                 union all
                                select p.source_id, p.desktop_no, p.piece_from, p.piece_to
                                  from deskledger_report.loose_piece p
                                 where p.status_id = 2 and p.source_id = any (sources)
                                   and p.month_from >= whole_from and p.month_to <= whole_to) o) t) b
         group by b.source_id, b.desktop_no, b.stretch
    ),
    bound as (
        -- What breaks off, or reaches the end of the period.
        select p.source_id, p.desktop_no, 1 as sign, p.piece_to as at
          from deskledger_report.breaks(range_from, range_to) p
         where p.piece_to > range_from and p.piece_to < range_to and (p.piece_to <= whole_from or p.piece_from >= whole_to)
         union all
        select r.source_id, r.desktop_no, 1, range_to
          from deskledger_report.row_piece r
         where r.piece_to >= range_to and r.piece_from < range_to and (r.is_open or r.piece_to <= month_end)
           and (r.piece_to <= whole_from or r.piece_from >= whole_to)
         union all
        select u.source_id, u.desktop_no, 1, range_to from unpacked u where u.piece_to >= range_to
         union all
        select o.source_id, o.desktop_no, 1, o.held_to from odd o where o.ends_there and not o.is_within
         union all
        select o.source_id, o.desktop_no, -1, o.piece_from from odd o where o.begins_there and not o.is_within
    ),
    told as (
        select p.source_id, p.desktop_no, p.label_no, max(p.piece_from) as newest, count(*) as stretches,
               sum(deskledger_report.micros(p.held_to - p.held_from)) as lasted,
               max(deskledger_report.micros(p.held_to - p.held_from)) as longest, 0::bigint as observed
          from (select r.source_id, r.desktop_no, r.label_no, r.piece_from, greatest(r.piece_from, range_from) as held_from,
                       least(r.piece_to, range_to) as held_to
                  from deskledger_report.row_piece r
                 where r.status_id = 2 and r.source_id = any (sources)
                   and r.piece_to > range_from and r.piece_from < range_to and r.piece_from < r.piece_to
                   and (r.is_open or r.piece_to <= month_end)
                 union all
                select u.source_id, u.desktop_no, u.label_no, u.piece_from, greatest(u.piece_from, range_from),
                       least(u.piece_to, range_to)
                  from unpacked u
                 where u.status_id = 2 and u.piece_from < u.piece_to
                 union all
                select l.source_id, l.desktop_no, l.label_no, l.piece_from, l.piece_from, l.piece_to
                  from deskledger_report.loose_piece l
                 where l.status_id = 2 and l.source_id = any (sources)
                   and l.month_from >= whole_from and l.month_to <= whole_to) p
         group by 1, 2, 3
         union all
        select t.source_id, t.desktop_no, null, null, t.too_many, 0, t.lasted, 0 from touching t
         union all
        select b.source_id, b.desktop_no, null, null, 0, 0, null, b.sign * deskledger_report.micros(b.at - range_from)
          from bound b
         union all
        -- Of whole months, what is not packed, and what is.
        select r.source_id, r.desktop_no, null, null, 0, 0, null, deskledger_report.micros(r.piece_to - r.piece_from)
          from deskledger_report.row_piece r
         where r.piece_from < whole_to and r.piece_to > whole_from and r.piece_to <= whole_to
         union all
        select m.source_id, m.desktop_no, m.label_no, m.last_disconnected, m.stretches, m.disconnected, m.longest, m.observed
          from deskledger_report.labelled_sum m
         where m.source_id = any (sources) and m.month_from >= whole_from and m.month_to <= whole_to
    )
    select t.source_id, t.desktop_no, (array_agg(t.label_no order by t.newest desc nulls last))[1],
           sum(t.stretches)::bigint, sum(t.lasted)::bigint, justify_hours(max(t.longest) * interval '1 microsecond'),
           sum(t.observed)::bigint
      from told t
     group by t.source_id, t.desktop_no
    having sum(t.stretches) > 0;
end
$$;

-- As before, and of whole months the sums.
create or replace function deskledger_report.observed_time(
    range_from timestamptz, range_to timestamptz, sources integer[], desktops integer[])
    returns table (source_id integer, desktop_no integer, observed bigint)
    language plpgsql stable parallel safe
    rows 1000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    whole_from timestamptz;
    whole_to   timestamptz;
begin
    select * into whole_from, whole_to from deskledger_report.whole_months(range_from, range_to, '');
    return query
    select h.source_id, h.desktop_no, sum(h.observed)::bigint
      from (select p.source_id, p.desktop_no,
                   deskledger_report.micros(least(p.piece_to, range_to) - greatest(p.piece_from, range_from)) as observed
              from deskledger_report.pieces_but(range_from, range_to, whole_from, whole_to) p
             where p.source_id = any (sources) and p.desktop_no = any (desktops)
               and p.piece_to > range_from and p.piece_from < range_to
               and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
             union all
            select m.source_id, m.desktop_no, m.observed
              from deskledger_report.used_month m
             where m.source_id = any (sources) and m.desktop_no = any (desktops)
               and m.month_from >= whole_from and m.month_to <= whole_to) h
     group by h.source_id, h.desktop_no;
end
$$;

-- As before; and of whole months, those desktops alone are looked into that had three disconnects within the window, or may
-- have had them across the month's bounds.
create or replace function deskledger_report.close_disconnects(
    range_from timestamptz, range_to timestamptz, only_source text, times integer, within interval)
    returns table (source_id integer, desktop_no integer, label_no integer, disconnected_at timestamptz)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    sources constant integer[] := deskledger_report.source_ids(only_source);
    whole_from timestamptz := '-infinity';
    whole_to   timestamptz := '-infinity';
    flapping   integer[];
begin
    if times > 2 and within <= interval '28 days' then
        select * into whole_from, whole_to from deskledger_report.whole_months(range_from, range_to, only_source);
    end if;
    -- Between the disconnects of one window lie short connections, so that `times - 1` of these end within it. Most desktops
    -- have some, hardly any has them so close together.
    flapping := array(
        select s.desktop_no
          from (select p.desktop_no, p.piece_to, lag(p.piece_to, greatest(times - 2, 0)) over seen as earlier
                  from deskledger_report.pieces_but(range_from, range_to, whole_from, whole_to) p
                 where times > 1 and not p.is_open and p.status_id = 1 and p.ended = 2
                   and p.piece_to - coalesce(p.connection_first_seen, p.first_seen) <= within
                   and p.piece_to >= range_from and p.piece_to < range_to
                window seen as (partition by p.source_id, p.desktop_no order by p.piece_to)) s
         where s.piece_to - s.earlier <= within
         union
        -- Of whole months: within one, by its sums; where a desktop had several labels, or something is not packed, perhaps.
        select m.desktop_no
          from deskledger_report.labelled_sum m
         where m.month_from >= whole_from and m.month_to <= whole_to
         group by m.source_id, m.desktop_no, m.month_from
        having min(m.closest) <= deskledger_report.micros(within) or count(*) > 1
         union
        select r.desktop_no
          from deskledger_report.row_piece r
         where r.piece_from < whole_to and r.piece_to > whole_from and r.piece_to <= whole_to
         union
        -- Across their bounds: of three, two are the last or the first of a month.
        select e.desktop_no
          from (select n.desktop_no, n.at, lag(n.at, 2) over (partition by n.source_id, n.desktop_no order by n.at) as earlier
                  from (select e.source_id, e.desktop_no, e.piece_from as at
                          from deskledger_report.edge_piece e
                         where e.month_from >= whole_from and e.month_to <= whole_to
                         union all
                        select p.source_id, p.desktop_no, p.piece_from
                          from deskledger_report.pieces_but(whole_from - within, whole_from, whole_from, whole_to) p
                         where whole_from < whole_to and p.is_first and p.disconnected_at = p.piece_from
                           and p.piece_from >= greatest(whole_from - within, range_from) and p.piece_from < whole_from
                         union all
                        select p.source_id, p.desktop_no, p.piece_from
                          from deskledger_report.pieces_but(whole_to, whole_to + within, whole_from, whole_to) p
                         where whole_from < whole_to and p.is_first and p.disconnected_at = p.piece_from
                           and p.piece_from >= whole_to and p.piece_from <= least(whole_to + within, range_to)
                           and (p.is_open or p.piece_to <= deskledger_report.month_end(whole_to + within))) n) e
         where e.at - e.earlier <= within);
    return query
    select p.source_id, p.desktop_no, p.label_no, p.piece_from
      from (select r.source_id, r.desktop_no, r.label_no, r.piece_from, r.piece_to, r.is_open, r.is_first, r.disconnected_at
              from deskledger_report.row_piece r
             where r.piece_to >= range_from
             union all
            select k.source_id, k.desktop_no, k.label_no, u.piece_from, u.piece_to, false, u.first_seen is null, u.disconnected_at
              from deskledger_report.packed k
             cross join lateral deskledger_report.unpack(
                       k.at, k.events, range_from, range_to, k.first_seen, k.started_after, k.disconnected_at) u
             where k.month_to > range_from and k.month_from < range_to
               and (times < 2 or k.desktop_no = any (flapping))) p
     where (times < 2 or p.desktop_no = any (flapping))
       and p.source_id = any (sources)
       and p.is_first and p.disconnected_at = p.piece_from
       and p.piece_from >= range_from and p.piece_from < range_to and p.piece_to >= range_from
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to));
end
$$;
