-- What people read, and what reports are made of.
--
--   deskledger           the eight views that stay as they are
--   deskledger_planner   the same without anything that names a person or a desktop
--   deskledger_report    what reports are made of; may change with any release
--
-- A view runs with its owner's rights, so readers need none on the tables.
create schema deskledger_planner;
create schema deskledger_report;

comment on schema deskledger_planner is 'The views of schema deskledger without names and ids of persons and desktops.';
comment on schema deskledger_report is 'What reports are made of. May change with any release: build on schema deskledger.';

-- The first instant after the month (UTC) that `at` lies in. Written so that no session setting matters.
create function deskledger_report.month_end(at timestamptz) returns timestamptz
    language sql immutable parallel safe
    return (date_trunc('month', at at time zone 'UTC') + interval '1 month') at time zone 'UTC';

create function deskledger_report.micros(duration interval) returns bigint
    language sql immutable parallel safe
    return (extract(epoch from duration) * 1000000)::bigint;

-- ---------------------------------------------------------------------------------------------------
-- What reports are made of

create view deskledger_report.source as
select source_id, name as source from deskledger_data.source;

-- Every visit: outcomes 0 failed, 1 partial, 2 complete; max_gap in seconds.
create view deskledger_report.visit as
select source_id, observed_at, desktops_outcome, groups_outcome, desktops_total, desktops_recorded, max_gap
  from deskledger_data.snapshot;

-- The pieces of spans, filed and open. A piece holds in [piece_from, piece_to); filed ones lie
-- within a month (UTC), so for a period that ends at T:
--     piece_to >= F and piece_from < T and (is_open or piece_to <= deskledger_report.month_end(T))
-- reads the partitions of that period alone. An open piece ends at its last observation.
-- `desktop_no` tells desktops of a source apart and names none.
create view deskledger_report.piece as
select source_id, desktop_no, status_id, piece_from, piece_to, last_seen, started_after, ended,
       coalesce(first_seen, piece_from) as first_seen,
       connection_first_seen, connection_started_after, disconnected_at,
       first_seen is null as is_first, ended <> -5 as is_last, false as is_open
  from deskledger_data.span
 union all
select source_id, o.desktop_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), o.started_after, (-4)::smallint, o.first_seen,
       o.connection_first_seen, o.connection_started_after, o.disconnected_at,
       o.first_seen = o.piece_from, true, true
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

-- The same with what names the desktop and its users: for readers, not for planners.
create view deskledger_report.named_piece as
select p.*, l.desktop_name, d.desktop_id, l.assignment_no, a.users, a.attribution, a.attach_users
  from (select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, started_after, ended,
               coalesce(first_seen, piece_from) as first_seen,
               connection_first_seen, connection_started_after, disconnected_at,
               ended <> -5 as is_last, false as is_open
          from deskledger_data.span
         union all
        select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
               coalesce(o.last_seen, h.usable_at), o.started_after, (-4)::smallint, o.first_seen,
               o.connection_first_seen, o.connection_started_after, o.disconnected_at,
               true, true
          from deskledger_data.open_span o
          join deskledger_data.head h using (source_id)) p
  join deskledger_data.label l using (source_id, label_no)
  join deskledger_data.assignment a using (source_id, assignment_no)
  join deskledger_data.desktop d using (source_id, desktop_no);

-- Runs of covered time, the newest included.
create view deskledger_report.run as
select source_id, covered_from, covered_to, snapshots, partial from deskledger_data.coverage_run
 union all
select source_id, run_from, usable_at, run_snapshots, run_partial from deskledger_data.head where run_from is not null;

-- A group as reports show it: the second of one name is `name (2)`.
create view deskledger_report.group_name as
select source_id, group_no, static_name, ordinal,
       static_name || case when ordinal > 1 then format(' (%s)', ordinal) else '' end as shown_name
  from deskledger_data.desktop_group;

create view deskledger_report.desktop as
select source_id, desktop_no, desktop_id from deskledger_data.desktop;

create view deskledger_report.status as
select source_id, status_id, status from deskledger_data.status;

-- Who is in the assignment of which label, each user once.
create view deskledger_report.user_label as
select a.source_id, l.label_no, p.type as user_type, p.id as user_id, p.name as user_name
  from deskledger_data.assignment a
 cross join lateral unnest(a.person_nos) person_no
  join deskledger_data.person p on p.source_id = a.source_id and p.person_no = person_no.person_no
  join deskledger_data.label l on l.source_id = a.source_id and l.assignment_no = a.assignment_no;

-- The pieces of groups' counters, as `piece`.
create view deskledger_report.group_piece as
select g.source_id, g.group_no, g.from_at, g.to_at, g.last_seen, false as is_open,
       coalesce(w.counters[1], g.running_num) as running_num,
       coalesce(w.counters[2], g.stop_num) as stop_num,
       coalesce(w.counters[3], g.hibernate_num) as hibernate_num,
       coalesce(w.counters[4], g.other_num) as other_num,
       coalesce(w.counters[5], g.attached_num) as attached_num,
       coalesce(w.counters[6], g.unattached_num) as unattached_num,
       coalesce(w.counters[7], g.cannot_attach_num) as cannot_attach_num,
       coalesce(w.counters[8], g.in_process_num) as in_process_num,
       coalesce(w.counters[9], g.in_use_num) as in_use_num,
       coalesce(w.counters[10], g.unregistered_num) as unregistered_num,
       coalesce(w.counters[11], g.ready_num) as ready_num,
       coalesce(w.counters[12], g.disconnected_num) as disconnected_num,
       coalesce(w.counters[13], g.unknown_num) as unknown_num
  from deskledger_data.group_span g
  left join deskledger_data.group_span_wide w
       on w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at
 union all
select o.source_id, o.group_no, o.from_at, h.groups_at, h.groups_at, true,
       o.counters[1], o.counters[2], o.counters[3], o.counters[4], o.counters[5], o.counters[6], o.counters[7],
       o.counters[8], o.counters[9], o.counters[10], o.counters[11], o.counters[12], o.counters[13]
  from deskledger_data.open_group_span o
  join deskledger_data.head h using (source_id);

-- The usable listings that say something about [range_from, range_to), and until when each covers.
create function deskledger_report.listings(range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, observed_at timestamptz, covered_to timestamptz, listed double precision)
    language sql stable parallel safe
begin atomic
    select u.source_id, u.observed_at,
           case when u.next_at - u.observed_at <= make_interval(secs => least(u.max_gap, u.next_gap))
                then u.next_at end,
           case when u.desktops_total > 0
                then least(u.desktops_recorded::double precision / u.desktops_total, 1)
                when u.desktops_total = 0 and u.desktops_recorded = 0 then 1
                when u.desktops_total is null then 0
                else 1 end
      from (select v.source_id, v.observed_at, v.max_gap, v.desktops_total, v.desktops_recorded,
                   lead(v.observed_at) over seen as next_at, lead(v.max_gap) over seen as next_gap
              from deskledger_report.source s
             cross join lateral (
                   -- From the last listing before the range to the first one after it.
                   select coalesce((select max(b.observed_at) from deskledger_report.visit b
                                     where b.source_id = s.source_id and b.desktops_outcome > 0
                                       and b.observed_at <= range_from), range_from) as first_at,
                          coalesce((select min(a.observed_at) from deskledger_report.visit a
                                     where a.source_id = s.source_id and a.desktops_outcome > 0
                                       and a.observed_at >= range_to), range_to) as last_at) bound
              join deskledger_report.visit v
                on v.source_id = s.source_id and v.desktops_outcome > 0
               and v.observed_at >= bound.first_at and v.observed_at <= bound.last_at
             where only_source = '' or s.source = only_source
            window seen as (partition by v.source_id order by v.observed_at)) u
     where u.observed_at < range_to;
end;

-- How many desktops were held in which state, step by step: between two steps nothing changes, and no
-- step crosses one of `edges` (the bounds of buckets). Everything that counts desktops over time is a sum
-- over these: holds begin and end only where a listing was made, so there are at most as many steps as
-- listings and edges.
--
-- In PL/pgSQL, so that it is planned anew each time with the bounds that are asked for: a plan for any
-- bounds expects a few rows, and sorts a million.
create function deskledger_report.steps(
    range_from timestamptz, range_to timestamptz, edges timestamptz[], only_source text)
    returns table (source_id integer, from_at timestamptz, to_at timestamptz, micros bigint, edge integer,
                   is_covered boolean, listed double precision, desktops bigint, connected bigint,
                   disconnected bigint, ready bigint, unregistered bigint)
    language plpgsql stable parallel safe
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    with change as (
        select p.source_id, greatest(p.piece_from, range_from) as at, count(*) as desktops,
               count(*) filter (where p.status_id = 1) as connected,
               count(*) filter (where p.status_id = 2) as disconnected,
               count(*) filter (where p.status_id = 3) as ready,
               count(*) filter (where p.status_id = 4) as unregistered
          from deskledger_report.piece p
         where p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
         group by 1, 2
         union all
        select p.source_id, p.piece_to, -count(*),
               -count(*) filter (where p.status_id = 1), -count(*) filter (where p.status_id = 2),
               -count(*) filter (where p.status_id = 3), -count(*) filter (where p.status_id = 4)
          from deskledger_report.piece p
         where p.piece_to > range_from and p.piece_to < range_to and p.piece_from < p.piece_to
         group by 1, 2
    ),
    mark as (
        select c.source_id, c.at, c.desktops, c.connected, c.disconnected, c.ready, c.unregistered,
               false as is_listing, null::timestamptz as covered_to, null::double precision as listed
          from change c
         union all
        select l.source_id, greatest(l.observed_at, range_from), 0, 0, 0, 0, 0, true, l.covered_to, l.listed
          from deskledger_report.listings(range_from, range_to, only_source) l
         union all
        select s.source_id, e, 0, 0, 0, 0, 0, false, null, null
          from deskledger_report.source s, unnest(array_append(edges, range_from)) e
         where (only_source = '' or s.source = only_source) and e >= range_from and e < range_to
    ),
    instant as (
        select m.source_id, m.at, sum(m.desktops) as desktops, sum(m.connected) as connected,
               sum(m.disconnected) as disconnected, sum(m.ready) as ready, sum(m.unregistered) as unregistered,
               bool_or(m.is_listing) as is_listing, max(m.covered_to) as covered_to, max(m.listed) as listed
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
               i.listed,
               count(*) filter (where i.is_listing) over seen as listing,
               -- The newest listing covers longest, if it covers at all; an older one has ended by now.
               coalesce(max(i.covered_to) over seen > i.at, false) as is_covered
          from instant i
        window seen as (partition by i.source_id order by i.at)
    ),
    -- What a listing listed counts until the next one; a join would compare each step with each listing
    -- where the planner knows no better.
    told as (
        select t.*, max(t.listed) over (partition by t.source_id, t.listing) as of_listing from step t
    )
    select t.source_id, t.from_at, t.to_at, deskledger_report.micros(t.to_at - t.from_at),
           width_bucket(t.from_at, edges), t.is_covered, t.of_listing,
           t.desktops, t.connected, t.disconnected, t.ready, t.unregistered
      from told t
     where t.to_at > t.from_at;
end
$$;

-- ---------------------------------------------------------------------------------------------------
-- What people read

create view deskledger.sources as
select s.name as source, s.region, s.project_id, s.endpoint,
       h.first_at as first_snapshot_at, h.observed_at as last_snapshot_at, h.observed_at as complete_until
  from deskledger_data.source s
  join deskledger_data.head h using (source_id);

create view deskledger.snapshots as
select n.snapshot_id, s.name as source, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end as desktops_outcome,
       case n.groups_outcome when 0 then 'failed' else 'complete' end as groups_outcome,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, n.changes,
       make_interval(secs => n.max_gap) as max_gap, n.error_code, n.error_message, n.digest
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id);

create view deskledger.desktop_snapshots as
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
                      and u.from_at <= n.observed_at and u.to_at >= n.observed_at);

create view deskledger.group_snapshots as
select n.snapshot_id, s.name as source, n.observed_at, g.static_name, g.ordinal,
       p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num, p.unattached_num,
       p.cannot_attach_num, p.in_process_num, p.in_use_num, p.unregistered_num, p.ready_num,
       p.disconnected_num, p.unknown_num
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
  join deskledger_report.group_piece p
       on p.source_id = n.source_id and p.from_at <= n.observed_at and p.last_seen >= n.observed_at
      and p.to_at >= n.observed_at
      and (p.is_open or p.to_at <= deskledger_report.month_end(n.observed_at))
  join deskledger_data.desktop_group g on g.source_id = n.source_id and g.group_no = p.group_no
 where n.groups_outcome > 0;

create view deskledger.desktop_states as
select s.name as source, p.desktop_id, p.desktop_name, t.status as connect_status, p.attach_users,
       p.first_seen, p.last_seen, p.piece_to as held_until, p.started_after,
       f.finished_at as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       n.finished_at as ended_by
  from deskledger_report.named_piece p
  join deskledger_data.source s using (source_id)
  join deskledger_data.status t using (source_id, status_id)
  join deskledger_data.snapshot f on f.source_id = p.source_id and f.observed_at = p.first_seen
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
 where p.is_last;

create view deskledger_report.connection as
select s.source_id, s.name as source, p.desktop_no, p.desktop_id, p.desktop_name, p.label_no, p.users, p.attribution,
       coalesce(p.connection_first_seen, p.first_seen) as first_seen,
       p.last_seen, p.piece_to as held_until,
       case when p.connection_first_seen is null then p.started_after
            else p.connection_started_after end as started_after,
       f.finished_at as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       n.finished_at as ended_by,
       case when p.ended = -2 then 'REASSIGNED'
            when p.ended = -3 then 'ABSENT'
            when p.ended = -4 and p.is_open
                 and h.observed_at - p.last_seen <= make_interval(secs => h.max_gap) then 'ONGOING'
            when p.ended = -4 then 'UNKNOWN'
            when t.status is null then 'NO STATUS'
            when t.status in ('NO STATUS', 'REASSIGNED', 'ABSENT', 'UNKNOWN', 'ONGOING') then 'API:' || t.status
            else t.status end as ended_as
  from deskledger_report.named_piece p
  join deskledger_data.source s using (source_id)
  join deskledger_data.head h using (source_id)
  join deskledger_data.snapshot f
       on f.source_id = p.source_id and f.observed_at = coalesce(p.connection_first_seen, p.first_seen)
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.status t on t.source_id = p.source_id and t.status_id = p.ended
 where p.status_id = 1 and p.is_last and p.ended <> -1;

create view deskledger.connections as
select source, desktop_id, desktop_name, users, attribution,
       first_seen, last_seen, held_until, started_after, started_by, ended_before, ended_by, ended_as,
       greatest(last_seen - started_by, interval '0') as min_duration,
       ended_by - started_after as max_duration,
       held_until - first_seen as held_duration
  from deskledger_report.connection;

create view deskledger.coverage as
select s.name as source, r.covered_from, r.covered_to, r.snapshots, r.partial
  from deskledger_report.run r
  join deskledger_data.source s using (source_id);

create view deskledger.gaps as
select s.name as source, g.gap_from, g.gap_to, failed.snapshots as failed_snapshots, failed.last_error
  from (select r.source_id, r.covered_to as gap_from,
               lead(r.covered_from) over (partition by r.source_id order by r.covered_from) as gap_to
          from deskledger_report.run r
         union all
        -- A source of which nothing was ever read.
        select h.source_id, h.first_at, null from deskledger_data.head h
         where h.run_from is null and h.first_at is not null) g
  join deskledger_data.source s using (source_id)
  join deskledger_data.head h using (source_id)
  left join deskledger_data.snapshot u on u.source_id = g.source_id and u.observed_at = h.usable_at
 cross join lateral (
        select count(*) as snapshots,
               (array_agg(nullif(concat_ws(': ', n.error_code, n.error_message), '') order by n.observed_at desc)
                filter (where n.error_code is not null or n.error_message is not null))[1] as last_error
          from deskledger_data.snapshot n
         where n.source_id = g.source_id and n.desktops_outcome = 0
           and n.observed_at >= g.gap_from and (g.gap_to is null or n.observed_at < g.gap_to)) failed
 -- What follows the newest listing is a gap once nothing that comes can be joined to it.
 where g.gap_to is not null or h.run_from is null
    or now() - g.gap_from > make_interval(secs => u.max_gap);

-- ---------------------------------------------------------------------------------------------------
-- The same for planners

create view deskledger_planner.sources as
select source, region, project_id, endpoint, first_snapshot_at, last_snapshot_at, complete_until from deskledger.sources;

create view deskledger_planner.snapshots as
select snapshot_id, source, scheduled_at, observed_at, finished_at, desktops_outcome, groups_outcome, desktops_total,
       desktops_recorded, groups_recorded, changes, max_gap, error_code, digest
  from deskledger.snapshots;

create view deskledger_planner.desktop_snapshots as
select snapshot_id, source, observed_at, connect_status from deskledger.desktop_snapshots;

create view deskledger_planner.group_snapshots as
select * from deskledger.group_snapshots;

create view deskledger_planner.desktop_states as
select source, connect_status, first_seen, last_seen, held_until, started_after, started_by, ended_before, ended_by
  from deskledger.desktop_states;

create view deskledger_planner.connections as
select source, attribution, first_seen, last_seen, held_until, started_after, started_by, ended_before, ended_by,
       ended_as, min_duration, max_duration, held_duration
  from deskledger.connections;

create view deskledger_planner.coverage as
select * from deskledger.coverage;

create view deskledger_planner.gaps as
select source, gap_from, gap_to, failed_snapshots from deskledger.gaps;

-- Descriptions, for \d+ and tools.

comment on view deskledger.sources is 'One row per source: one project of one region behind one endpoint.';
comment on column deskledger.sources.source is 'The name that its owner chose.';
comment on column deskledger.sources.region is 'The clouds region; null: not known.';
comment on column deskledger.sources.project_id is 'The clouds project; null: not known.';
comment on column deskledger.sources.endpoint is 'The APIs endpoint; null: not known.';
comment on column deskledger.sources.first_snapshot_at is 'observed_at of the first snapshot of any outcome.';
comment on column deskledger.sources.last_snapshot_at is 'observed_at of the newest snapshot of any outcome.';
comment on column deskledger.sources.complete_until is 'Every tick up to here is recorded, or known lost.';

comment on view deskledger.snapshots is 'One row per visit to a source, failed ones too.';
comment on column deskledger.snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger.snapshots.source is 'The name that its owner chose.';
comment on column deskledger.snapshots.scheduled_at is 'The tick that it belongs to; null: it belongs to none.';
comment on column deskledger.snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger.snapshots.finished_at is 'When its last answer was read: every state in it was true at some moment since observed_at.';
comment on column deskledger.snapshots.desktops_outcome is 'How the listing of desktops ended: complete, partial or failed.';
comment on column deskledger.snapshots.groups_outcome is 'How the group statistics ended: complete or failed.';
comment on column deskledger.snapshots.desktops_total is 'The APIs total_count; null: none given, or changed on the way.';
comment on column deskledger.snapshots.desktops_recorded is 'Desktops recorded, each id once; null: the listing failed.';
comment on column deskledger.snapshots.groups_recorded is 'Groups recorded; null: the statistics failed.';
comment on column deskledger.snapshots.changes is 'Desktops whose span begins with this snapshot, or that are gone since.';
comment on column deskledger.snapshots.max_gap is 'Two observations this far apart, or less, leave no gap between; of two snapshots the smaller value decides.';
comment on column deskledger.snapshots.error_code is 'The APIs error code, where a part is missing.';
comment on column deskledger.snapshots.error_message is 'The APIs message, where a part is missing.';
comment on column deskledger.snapshots.digest is 'The entrys digest: SHA-256 over the one before, this snapshot, and what it changed.';

comment on view deskledger.desktop_snapshots is 'One row per desktop in a snapshot, rebuilt exactly as the API listed it.';
comment on column deskledger.desktop_snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger.desktop_snapshots.source is 'The name that its owner chose.';
comment on column deskledger.desktop_snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger.desktop_snapshots.desktop_id is 'The APIs id of the desktop.';
comment on column deskledger.desktop_snapshots.desktop_name is 'The APIs name of the desktop; null: none given.';
comment on column deskledger.desktop_snapshots.connect_status is 'The APIs word, verbatim, also undocumented ones; null: none given.';
comment on column deskledger.desktop_snapshots.attach_users is 'Whom the desktop is assigned to (never who sits at it), as the API gives it, each entry once, sorted.';

comment on view deskledger.group_snapshots is 'One row per group in a snapshot, rebuilt exactly as the API gave it.';
comment on column deskledger.group_snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger.group_snapshots.source is 'The name that its owner chose.';
comment on column deskledger.group_snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger.group_snapshots.static_name is 'The groups name, its only identity.';
comment on column deskledger.group_snapshots.ordinal is '1; 2 and on where a name comes again in one answer.';
comment on column deskledger.group_snapshots.running_num is 'Desktops running, starting, failing over or migrating.';
comment on column deskledger.group_snapshots.stop_num is 'Desktops stopping or stopped.';
comment on column deskledger.group_snapshots.hibernate_num is 'Desktops hibernating or hibernated.';
comment on column deskledger.group_snapshots.other_num is 'Desktops in other power states.';
comment on column deskledger.group_snapshots.attached_num is 'Desktops assigned.';
comment on column deskledger.group_snapshots.unattached_num is 'Desktops not assigned.';
comment on column deskledger.group_snapshots.cannot_attach_num is 'Desktops that cannot be assigned.';
comment on column deskledger.group_snapshots.in_process_num is 'Desktops being assigned or unassigned.';
comment on column deskledger.group_snapshots.in_use_num is 'Desktops in use.';
comment on column deskledger.group_snapshots.unregistered_num is 'Desktops not registered.';
comment on column deskledger.group_snapshots.ready_num is 'Idle desktops.';
comment on column deskledger.group_snapshots.disconnected_num is 'Disconnected desktops.';
comment on column deskledger.group_snapshots.unknown_num is 'Desktops in an unknown state.';

comment on view deskledger.desktop_states is 'One row per span: a longest run of one desktops consecutive observations in one state. Absence makes no span.';
comment on column deskledger.desktop_states.source is 'The name that its owner chose.';
comment on column deskledger.desktop_states.desktop_id is 'The APIs id of the desktop.';
comment on column deskledger.desktop_states.desktop_name is 'The APIs name of the desktop; null: none given.';
comment on column deskledger.desktop_states.connect_status is 'The APIs word, verbatim, also undocumented ones; null: none given.';
comment on column deskledger.desktop_states.attach_users is 'Whom the desktop is assigned to (never who sits at it), as the API gives it, each entry once, sorted.';
comment on column deskledger.desktop_states.first_seen is 'The first observation in it.';
comment on column deskledger.desktop_states.last_seen is 'The last observation in it.';
comment on column deskledger.desktop_states.held_until is 'ended_before, else last_seen: nothing is extrapolated.';
comment on column deskledger.desktop_states.started_after is 'The desktops observation before it, if within max_gap: the true start is later. Null: unknown.';
comment on column deskledger.desktop_states.started_by is 'finished_at of the first observations snapshot: the true start is not later.';
comment on column deskledger.desktop_states.ended_before is 'The desktops next observation, if within max_gap. Null: unknown, or not over yet.';
comment on column deskledger.desktop_states.ended_by is 'finished_at of that observations snapshot: the true end lies in [last_seen, ended_by]. Null where ended_before is.';

comment on view deskledger.connections is 'One row per connection: a longest run of touching CONNECTED spans of one desktop with the same users.';
comment on column deskledger.connections.source is 'The name that its owner chose.';
comment on column deskledger.connections.desktop_id is 'The APIs id of the desktop.';
comment on column deskledger.connections.desktop_name is 'The latest name of the desktop in it; null: none given.';
comment on column deskledger.connections.users is 'Names of those the desktop is assigned to, in the order of attach_users: see attribution.';
comment on column deskledger.connections.attribution is 'How far users tells who was connected: exclusive (one user), shared (one of several), group, unassigned.';
comment on column deskledger.connections.first_seen is 'The first observation in it.';
comment on column deskledger.connections.last_seen is 'The last observation in it.';
comment on column deskledger.connections.held_until is 'ended_before, else last_seen: nothing is extrapolated.';
comment on column deskledger.connections.started_after is 'The desktops observation before it, if within max_gap: the true start is later. Null: unknown.';
comment on column deskledger.connections.started_by is 'finished_at of the first observations snapshot: the true start is not later.';
comment on column deskledger.connections.ended_before is 'The desktops next observation, if within max_gap. Null: unknown, or not over yet.';
comment on column deskledger.connections.ended_by is 'finished_at of that observations snapshot: the true end lies in [last_seen, ended_by]. Null where ended_before is.';
comment on column deskledger.connections.ended_as is 'The next observations status, or NO STATUS, REASSIGNED, ABSENT, UNKNOWN (a gap followed), ONGOING. An API value equal to one of these words is shown as API:...';
comment on column deskledger.connections.min_duration is 'last_seen - started_by, at least 0: it lasted no shorter.';
comment on column deskledger.connections.max_duration is 'ended_by - started_after: it lasted no longer. Null where a bound is unknown.';
comment on column deskledger.connections.held_duration is 'held_until - first_seen.';

comment on view deskledger.coverage is 'One row per run of covered time; a lone snapshot is a run of no length.';
comment on column deskledger.coverage.source is 'The name that its owner chose.';
comment on column deskledger.coverage.covered_from is 'Its first complete or partial snapshot.';
comment on column deskledger.coverage.covered_to is 'Its last.';
comment on column deskledger.coverage.snapshots is 'Its complete and partial snapshots.';
comment on column deskledger.coverage.partial is 'Its partial ones.';

comment on view deskledger.gaps is 'One row per stretch between two runs of covered time, and the one still open.';
comment on column deskledger.gaps.source is 'The name that its owner chose.';
comment on column deskledger.gaps.gap_from is 'Where the run before ends; for a source of which nothing was ever read, its first snapshot.';
comment on column deskledger.gaps.gap_to is 'Where the next run begins; null: now.';
comment on column deskledger.gaps.failed_snapshots is 'Failed listings in it.';
comment on column deskledger.gaps.last_error is 'The newest error among them.';

comment on view deskledger_planner.sources is 'One row per source: one project of one region behind one endpoint.';
comment on column deskledger_planner.sources.source is 'The name that its owner chose.';
comment on column deskledger_planner.sources.region is 'The clouds region; null: not known.';
comment on column deskledger_planner.sources.project_id is 'The clouds project; null: not known.';
comment on column deskledger_planner.sources.endpoint is 'The APIs endpoint; null: not known.';
comment on column deskledger_planner.sources.first_snapshot_at is 'observed_at of the first snapshot of any outcome.';
comment on column deskledger_planner.sources.last_snapshot_at is 'observed_at of the newest snapshot of any outcome.';
comment on column deskledger_planner.sources.complete_until is 'Every tick up to here is recorded, or known lost.';

comment on view deskledger_planner.snapshots is 'One row per visit to a source, failed ones too.';
comment on column deskledger_planner.snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger_planner.snapshots.source is 'The name that its owner chose.';
comment on column deskledger_planner.snapshots.scheduled_at is 'The tick that it belongs to; null: it belongs to none.';
comment on column deskledger_planner.snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger_planner.snapshots.finished_at is 'When its last answer was read: every state in it was true at some moment since observed_at.';
comment on column deskledger_planner.snapshots.desktops_outcome is 'How the listing of desktops ended: complete, partial or failed.';
comment on column deskledger_planner.snapshots.groups_outcome is 'How the group statistics ended: complete or failed.';
comment on column deskledger_planner.snapshots.desktops_total is 'The APIs total_count; null: none given, or changed on the way.';
comment on column deskledger_planner.snapshots.desktops_recorded is 'Desktops recorded, each id once; null: the listing failed.';
comment on column deskledger_planner.snapshots.groups_recorded is 'Groups recorded; null: the statistics failed.';
comment on column deskledger_planner.snapshots.changes is 'Desktops whose span begins with this snapshot, or that are gone since.';
comment on column deskledger_planner.snapshots.max_gap is 'Two observations this far apart, or less, leave no gap between; of two snapshots the smaller value decides.';
comment on column deskledger_planner.snapshots.error_code is 'The APIs error code, where a part is missing.';
comment on column deskledger_planner.snapshots.digest is 'The entrys digest: SHA-256 over the one before, this snapshot, and what it changed.';

comment on view deskledger_planner.desktop_snapshots is 'One row per desktop in a snapshot, rebuilt exactly as the API listed it.';
comment on column deskledger_planner.desktop_snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger_planner.desktop_snapshots.source is 'The name that its owner chose.';
comment on column deskledger_planner.desktop_snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger_planner.desktop_snapshots.connect_status is 'The APIs word, verbatim, also undocumented ones; null: none given.';

comment on view deskledger_planner.group_snapshots is 'One row per group in a snapshot, rebuilt exactly as the API gave it.';
comment on column deskledger_planner.group_snapshots.snapshot_id is 'Unique in the ledger.';
comment on column deskledger_planner.group_snapshots.source is 'The name that its owner chose.';
comment on column deskledger_planner.group_snapshots.observed_at is 'When its first request was sent (UTC), unchanged by retries.';
comment on column deskledger_planner.group_snapshots.static_name is 'The groups name, its only identity.';
comment on column deskledger_planner.group_snapshots.ordinal is '1; 2 and on where a name comes again in one answer.';
comment on column deskledger_planner.group_snapshots.running_num is 'Desktops running, starting, failing over or migrating.';
comment on column deskledger_planner.group_snapshots.stop_num is 'Desktops stopping or stopped.';
comment on column deskledger_planner.group_snapshots.hibernate_num is 'Desktops hibernating or hibernated.';
comment on column deskledger_planner.group_snapshots.other_num is 'Desktops in other power states.';
comment on column deskledger_planner.group_snapshots.attached_num is 'Desktops assigned.';
comment on column deskledger_planner.group_snapshots.unattached_num is 'Desktops not assigned.';
comment on column deskledger_planner.group_snapshots.cannot_attach_num is 'Desktops that cannot be assigned.';
comment on column deskledger_planner.group_snapshots.in_process_num is 'Desktops being assigned or unassigned.';
comment on column deskledger_planner.group_snapshots.in_use_num is 'Desktops in use.';
comment on column deskledger_planner.group_snapshots.unregistered_num is 'Desktops not registered.';
comment on column deskledger_planner.group_snapshots.ready_num is 'Idle desktops.';
comment on column deskledger_planner.group_snapshots.disconnected_num is 'Disconnected desktops.';
comment on column deskledger_planner.group_snapshots.unknown_num is 'Desktops in an unknown state.';

comment on view deskledger_planner.desktop_states is 'One row per span: a longest run of one desktops consecutive observations in one state. Absence makes no span.';
comment on column deskledger_planner.desktop_states.source is 'The name that its owner chose.';
comment on column deskledger_planner.desktop_states.connect_status is 'The APIs word, verbatim, also undocumented ones; null: none given.';
comment on column deskledger_planner.desktop_states.first_seen is 'The first observation in it.';
comment on column deskledger_planner.desktop_states.last_seen is 'The last observation in it.';
comment on column deskledger_planner.desktop_states.held_until is 'ended_before, else last_seen: nothing is extrapolated.';
comment on column deskledger_planner.desktop_states.started_after is 'The desktops observation before it, if within max_gap: the true start is later. Null: unknown.';
comment on column deskledger_planner.desktop_states.started_by is 'finished_at of the first observations snapshot: the true start is not later.';
comment on column deskledger_planner.desktop_states.ended_before is 'The desktops next observation, if within max_gap. Null: unknown, or not over yet.';
comment on column deskledger_planner.desktop_states.ended_by is 'finished_at of that observations snapshot: the true end lies in [last_seen, ended_by]. Null where ended_before is.';

comment on view deskledger_planner.connections is 'One row per connection: a longest run of touching CONNECTED spans of one desktop with the same users.';
comment on column deskledger_planner.connections.source is 'The name that its owner chose.';
comment on column deskledger_planner.connections.attribution is 'How far users tells who was connected: exclusive (one user), shared (one of several), group, unassigned.';
comment on column deskledger_planner.connections.first_seen is 'The first observation in it.';
comment on column deskledger_planner.connections.last_seen is 'The last observation in it.';
comment on column deskledger_planner.connections.held_until is 'ended_before, else last_seen: nothing is extrapolated.';
comment on column deskledger_planner.connections.started_after is 'The desktops observation before it, if within max_gap: the true start is later. Null: unknown.';
comment on column deskledger_planner.connections.started_by is 'finished_at of the first observations snapshot: the true start is not later.';
comment on column deskledger_planner.connections.ended_before is 'The desktops next observation, if within max_gap. Null: unknown, or not over yet.';
comment on column deskledger_planner.connections.ended_by is 'finished_at of that observations snapshot: the true end lies in [last_seen, ended_by]. Null where ended_before is.';
comment on column deskledger_planner.connections.ended_as is 'The next observations status, or NO STATUS, REASSIGNED, ABSENT, UNKNOWN (a gap followed), ONGOING. An API value equal to one of these words is shown as API:...';
comment on column deskledger_planner.connections.min_duration is 'last_seen - started_by, at least 0: it lasted no shorter.';
comment on column deskledger_planner.connections.max_duration is 'ended_by - started_after: it lasted no longer. Null where a bound is unknown.';
comment on column deskledger_planner.connections.held_duration is 'held_until - first_seen.';

comment on view deskledger_planner.coverage is 'One row per run of covered time; a lone snapshot is a run of no length.';
comment on column deskledger_planner.coverage.source is 'The name that its owner chose.';
comment on column deskledger_planner.coverage.covered_from is 'Its first complete or partial snapshot.';
comment on column deskledger_planner.coverage.covered_to is 'Its last.';
comment on column deskledger_planner.coverage.snapshots is 'Its complete and partial snapshots.';
comment on column deskledger_planner.coverage.partial is 'Its partial ones.';

comment on view deskledger_planner.gaps is 'One row per stretch between two runs of covered time, and the one still open.';
comment on column deskledger_planner.gaps.source is 'The name that its owner chose.';
comment on column deskledger_planner.gaps.gap_from is 'Where the run before ends; for a source of which nothing was ever read, its first snapshot.';
comment on column deskledger_planner.gaps.gap_to is 'Where the next run begins; null: now.';
comment on column deskledger_planner.gaps.failed_snapshots is 'Failed listings in it.';
