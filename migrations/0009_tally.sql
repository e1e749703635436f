-- How the counts of desktops changed, instant by instant, so that no report adds them up from millions of spans.
--
-- Derived from the spans, and written with them in one transaction: `verify` works it out anew and compares.

-- What began and ended at one instant, over all pieces of spans, filed and open: a piece counts where it begins, and is
-- taken off where it ends (an open one does not end). A month's cut is no change. Rows of nothing but zeros are not kept.
create table deskledger_data.tally
(
    at           timestamptz not null,
    source_id    integer     not null,
    desktops     integer     not null,
    connected    integer     not null,
    disconnected integer     not null,
    ready        integer     not null,
    unregistered integer     not null,
    -- Connections that were seen to begin, disconnects, and connections that were seen to end.
    started      integer     not null,
    disconnects  integer     not null,
    ended        integer     not null,

    primary key (source_id, at)
);

-- What `tally` must say.
create view deskledger_data.told_tally as
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
          from (select source_id, piece_from, status_id, first_seen is null as is_first, connection_first_seen,
                       started_after, disconnected_at
                  from deskledger_data.span
                 union all
                select source_id, piece_from, status_id, first_seen = piece_from, connection_first_seen,
                       started_after, disconnected_at
                  from deskledger_data.open_span) begun
         group by 1, 2
         union all
        select source_id, piece_to, -count(*),
               -count(*) filter (where status_id = 1), -count(*) filter (where status_id = 2),
               -count(*) filter (where status_id = 3), -count(*) filter (where status_id = 4), 0, 0,
               -- Not known how (-4), the same connection goes on (-1), or the span goes on in the next month (-5).
               count(*) filter (where status_id = 1 and ended not in (-4, -1, -5))
          from deskledger_data.span
         group by 1, 2) part
 group by 1, 2
having sum(desktops) <> 0 or sum(connected) <> 0 or sum(disconnected) <> 0 or sum(ready) <> 0
    or sum(unregistered) <> 0 or sum(started) <> 0 or sum(disconnects) <> 0 or sum(ended) <> 0;

insert into deskledger_data.tally
       (source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended)
select source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended
  from deskledger_data.told_tally
 order by source_id, at;

-- Exact as before, as a double holds 285 years of microseconds, and without the arithmetic of `numeric`, which took longer
-- than to read the rows.
create or replace function deskledger_report.micros(duration interval) returns bigint
    language sql immutable parallel safe
    return (date_part('epoch', duration) * 1000000)::bigint;

-- For reports: counts alone, which name nobody.
create view deskledger_report.tally as
select source_id, at, desktops, connected, disconnected, ready, unregistered, started, disconnects, ended
  from deskledger_data.tally;

-- The counts that hold at range_from, and how they change until range_to. What holds at range_from is what is open now
-- without what has changed since: most reports end now, and read nothing that they do not need.
create function deskledger_report.count_changes(range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, at timestamptz, desktops bigint, connected bigint, disconnected bigint,
                   ready bigint, unregistered bigint)
    language sql stable parallel safe
    rows 10000
begin atomic
    with asked as materialized (
        select s.source_id from deskledger_report.source s where only_source = '' or s.source = only_source
    ),
    held as materialized (
        select p.source_id, p.piece_to, count(*) as desktops,
               count(*) filter (where p.status_id = 1) as connected,
               count(*) filter (where p.status_id = 2) as disconnected,
               count(*) filter (where p.status_id = 3) as ready,
               count(*) filter (where p.status_id = 4) as unregistered
          from deskledger_report.piece p
         where p.is_open and p.source_id in (select a.source_id from asked a)
         group by 1, 2
    )
    select h.source_id, range_from, h.desktops, h.connected, h.disconnected, h.ready, h.unregistered
      from held h
     union all
    select t.source_id, range_from, -sum(t.desktops), -sum(t.connected), -sum(t.disconnected), -sum(t.ready),
           -sum(t.unregistered)
      from asked a
      join deskledger_report.tally t using (source_id)
     where t.at > range_from
     group by 1
     union all
    select t.source_id, t.at, t.desktops, t.connected, t.disconnected, t.ready, t.unregistered
      from asked a
      join deskledger_report.tally t using (source_id)
     where t.at > range_from and t.at < range_to
     union all
    -- An open piece ends at its last observation.
    select h.source_id, greatest(h.piece_to, range_from), -h.desktops, -h.connected, -h.disconnected, -h.ready,
           -h.unregistered
      from held h
     where h.piece_to < range_to;
end;

comment on function deskledger_report.count_changes(timestamptz, timestamptz, text) is
    'How many desktops are held in which state at range_from, in one row or several that add up, and how that changes until range_to.';

-- How many desktops were held in which state, step by step: between two steps nothing changes, and no
-- step crosses one of `edges` (the bounds of buckets). Everything that counts desktops over time is a sum
-- over these: holds begin and end only where a listing was made, so there are at most as many steps as
-- listings and edges. Without `with_desktops` nobody is counted: for what asks how much was covered.
--
-- In PL/pgSQL, so that it is planned anew each time with the bounds that are asked for: a plan for any
-- bounds expects a few rows, and sorts a million.
create or replace function deskledger_report.steps(
    range_from timestamptz, range_to timestamptz, edges timestamptz[], only_source text,
    with_desktops boolean default true)
    returns table (source_id integer, from_at timestamptz, to_at timestamptz, micros bigint, edge integer,
                   is_covered boolean, recorded bigint, total bigint, desktops bigint, connected bigint,
                   disconnected bigint, ready bigint, unregistered bigint)
    language plpgsql stable parallel safe
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    with change as (
        select c.source_id, c.at, c.desktops, c.connected, c.disconnected, c.ready, c.unregistered
          from deskledger_report.count_changes(range_from, range_to, only_source) c
         where with_desktops
    ),
    mark as (
        select c.source_id, c.at, c.desktops, c.connected, c.disconnected, c.ready, c.unregistered,
               false as is_listing, null::timestamptz as covered_to, null::bigint as recorded, null::bigint as total
          from change c
         union all
        select l.source_id, greatest(l.observed_at, range_from), 0, 0, 0, 0, 0, true, l.covered_to, l.recorded, l.total
          from deskledger_report.listings(range_from, range_to, only_source) l
         union all
        select s.source_id, e, 0, 0, 0, 0, 0, false, null, null, null
          from deskledger_report.source s, unnest(array_append(edges, range_from)) e
         where (only_source = '' or s.source = only_source) and e >= range_from and e < range_to
    ),
    instant as (
        select m.source_id, m.at, sum(m.desktops) as desktops, sum(m.connected) as connected,
               sum(m.disconnected) as disconnected, sum(m.ready) as ready, sum(m.unregistered) as unregistered,
               bool_or(m.is_listing) as is_listing, max(m.covered_to) as covered_to,
               max(m.recorded) as recorded, max(m.total) as total
          from mark m
         group by 1, 2
    ),
    step as (
        select i.source_id, i.at as from_at,
               coalesce(lead(i.at) over seen, range_to) as to_at,
               (sum(i.desktops) over seen)::bigint as desktops,
               (sum(i.connected) over seen)::bigint as connected,
               (sum(i.disconnected) over seen)::bigint as disconnected,
               (sum(i.ready) over seen)::bigint as ready,
               (sum(i.unregistered) over seen)::bigint as unregistered,
               i.recorded, i.total,
               count(*) filter (where i.is_listing) over seen as listing,
               -- The newest listing covers longest, if it covers at all; an older one has ended by now.
               coalesce(max(i.covered_to) over seen > i.at, false) as is_covered
          from instant i
        window seen as (partition by i.source_id order by i.at)
    ),
    -- What a listing listed counts until the next one; a join would compare each step with each listing
    -- where the planner knows no better.
    told as (
        select t.*, max(t.recorded) over listed as of_recorded, max(t.total) over listed as of_total
          from step t
        window listed as (partition by t.source_id, t.listing)
    )
    select t.source_id, t.from_at, t.to_at, deskledger_report.micros(t.to_at - t.from_at),
           width_bucket(t.from_at, edges), t.is_covered, t.of_recorded, t.of_total,
           t.desktops, t.connected, t.disconnected, t.ready, t.unregistered
      from told t
     where t.to_at > t.from_at;
end
$$;

-- As before, from the tally.
create or replace function deskledger_report.connected_steps(
    range_from timestamptz, range_to timestamptz, edges timestamptz[], only_source text)
    returns table (source_id integer, from_at timestamptz, to_at timestamptz, micros bigint, edge integer,
                   connected bigint)
    language plpgsql stable parallel safe
    -- As for steps: a plan for any bounds expects a few rows, and sorts a million.
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    with change as (
        select c.source_id, c.at, c.connected
          from deskledger_report.count_changes(range_from, range_to, only_source) c
         where c.connected <> 0
    ),
    mark as (
        select c.source_id, c.at, c.connected, 0 as runs
          from change c
         union all
        select r.source_id, greatest(r.covered_from, range_from), 0, 1
          from deskledger_report.run r
         where r.covered_to > range_from and r.covered_from < range_to
         union all
        select r.source_id, r.covered_to, 0, -1
          from deskledger_report.run r
         where r.covered_to > range_from and r.covered_to < range_to
         union all
        select s.source_id, e, 0, 0
          from deskledger_report.source s, unnest(edges) e
         where e >= range_from and e < range_to
    ),
    instant as (
        select m.source_id, m.at, sum(m.connected) as connected, sum(m.runs) as runs
          from mark m
          join deskledger_report.source s using (source_id)
         where only_source = '' or s.source = only_source
         group by 1, 2
    ),
    step as (
        select i.source_id, i.at as from_at,
               coalesce(lead(i.at) over seen, range_to) as to_at,
               (sum(i.connected) over seen)::bigint as connected,
               sum(i.runs) over seen as runs
          from instant i
        window seen as (partition by i.source_id order by i.at)
    )
    select t.source_id, t.from_at, t.to_at, deskledger_report.micros(t.to_at - t.from_at),
           width_bucket(t.from_at, edges), t.connected
      from step t
     where t.runs > 0;
end
$$;

-- ---------------------------------------------------------------------------------------------------
-- Sums over pieces, planned with the bounds that are asked for: where the planner cannot see them it expects a few rows,
-- and sorts a million on disk that it could group in memory.

-- The pieces as they were, and what tells whether one begins with the disconnect that it follows.
create or replace view deskledger_report.labelled_piece as
select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, ended, false as is_open,
       first_seen is null as is_first, disconnected_at
  from deskledger_data.span
 union all
select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), (-4)::smallint, true, o.first_seen = o.piece_from, o.disconnected_at
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

-- The uninterrupted stretches of each desktop's being DISCONNECTED in [range_from, range_to): how many, how long they are
-- together (microseconds) and the longest, the label of the newest, and for how long the desktop was held in any state.
--
-- Pieces that touch are one stretch, and finding them means to sort. So most are counted as they come: one that begins
-- with its disconnect has a CONNECTED one before it, and what ended it says what came after it.
create function deskledger_report.disconnected_stretches(
    range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, desktop_no integer, label_no integer, stretches bigint, lasted bigint,
                   longest interval, observed bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    with piece as not materialized (
        select p.source_id, p.desktop_no, p.label_no, p.piece_from, greatest(p.piece_from, range_from) as held_from,
               least(p.piece_to, range_to) as held_to, p.status_id = 2 as is_disconnected,
               (p.status_id = 2 and p.is_first and p.disconnected_at = p.piece_from and p.ended not in (2, -5)) is true
                   as is_alone
          from deskledger_report.labelled_piece p
         where p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to and range_from < range_to
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
           and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                    where s.source = only_source))
    ),
    part as (
        select p.source_id, p.desktop_no, p.label_no, sum(deskledger_report.micros(p.held_to - p.held_from)) as observed,
               sum(deskledger_report.micros(p.held_to - p.held_from)) filter (where p.is_alone) as lasted,
               max(p.held_to - p.held_from) filter (where p.is_alone) as longest,
               count(*) filter (where p.is_alone) as stretches,
               max(p.piece_from) filter (where p.is_disconnected) as newest
          from piece p
         group by 1, 2, 3
    ),
    touching as (
        select b.source_id, b.desktop_no, max(b.held_to) - min(b.held_from) as lasted
          from (select t.*, count(*) filter (where t.begins) over (partition by t.source_id, t.desktop_no
                                                                   order by t.held_from) as stretch
                  from (select p.source_id, p.desktop_no, p.held_from, p.held_to,
                               lag(p.held_to) over (partition by p.source_id, p.desktop_no order by p.held_from)
                                   is distinct from p.held_from as begins
                          from piece p
                         where p.is_disconnected and not p.is_alone) t) b
         group by b.source_id, b.desktop_no, b.stretch
    ),
    stretch as (
        select p.source_id, p.desktop_no, p.label_no, p.newest, p.stretches, p.lasted, p.longest, p.observed from part p
         union all
        select t.source_id, t.desktop_no, null, null, count(*), sum(deskledger_report.micros(t.lasted)), max(t.lasted), null
          from touching t
         group by 1, 2
    )
    select s.source_id, s.desktop_no, (array_agg(s.label_no order by s.newest desc nulls last))[1],
           sum(s.stretches)::bigint, sum(s.lasted)::bigint, max(s.longest), sum(s.observed)::bigint
      from stretch s
     group by s.source_id, s.desktop_no
    having sum(s.stretches) > 0;
end
$$;

-- The pieces of one status that hold for some time in [range_from, range_to), cut to it, of some labels alone. In
-- PL/pgSQL for the reason that `steps` is.
drop function deskledger_report.held_pieces(timestamptz, timestamptz, text, smallint);
create function deskledger_report.held_pieces(
    range_from timestamptz, range_to timestamptz, only_source text, only_status smallint, only_labels integer[])
    returns table (source_id integer, desktop_no integer, label_no integer, held_from timestamptz, held_to timestamptz)
    language plpgsql stable parallel safe
    rows 1000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no, p.label_no, greatest(p.piece_from, range_from), least(p.piece_to, range_to)
      from deskledger_report.labelled_piece p
     where p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to and range_from < range_to
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
       and p.status_id = only_status and p.label_no = any (only_labels)
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source));
end
$$;

-- The disconnects in [range_from, range_to) of those desktops that can have had `times` of them within `within`.
--
-- Between two disconnects a desktop is connected, and not for longer than what lies between them. So nobody flaps who
-- had no short connections, and few have.
create function deskledger_report.close_disconnects(
    range_from timestamptz, range_to timestamptz, only_source text, times integer, within interval)
    returns table (source_id integer, desktop_no integer, disconnected_at timestamptz)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    flapping constant integer[] := array(
        select p.desktop_no
          from deskledger_report.piece p
         where times > 1 and not p.is_open and p.status_id = 1 and p.ended = 2
           and p.piece_to - coalesce(p.connection_first_seen, p.first_seen) <= within
           and p.piece_to >= range_from and p.piece_to < range_to
         group by p.source_id, p.desktop_no
        having count(*) >= times - 1);
begin
    return query
    select p.source_id, p.desktop_no, p.disconnected_at
      from deskledger_report.piece p
     where (times < 2 or p.desktop_no = any (flapping))
       and p.is_first and p.disconnected_at = p.first_seen
       and p.piece_from >= range_from and p.piece_from < range_to and p.piece_to >= range_from
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source));
end
$$;

-- The desktops that were seen CONNECTED, or held so, in [range_from, range_to).
create function deskledger_report.used_desktops(range_from timestamptz, range_to timestamptz)
    returns table (source_id integer, desktop_no integer)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no
      from deskledger_report.piece p
     where p.status_id = 1 and p.piece_from < range_to and p.piece_to >= range_from
       and (p.piece_to > range_from or p.last_seen >= range_from)
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
     group by p.source_id, p.desktop_no;
end
$$;
