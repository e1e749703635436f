-- Visits' rows go too, once nothing is kept any more that needs them; what they leave behind is a quarter of them.
--
-- The digests stay, and what coverage, gaps and the bounds of spans are reckoned from. All else is in the archive.

-- The visits of a source and day (UTC) whose month is pruned of its headers, in the order of time; the arrays are of one length.
create table deskledger_data.pruned_day
(
    source_id         integer       not null references deskledger_data.source,
    day_from          timestamptz   not null,
    -- The newest tick; null: nothing was scheduled.
    scheduled_at      timestamptz,
    sequence          bigint[]      not null,
    observed_at       timestamptz[] not null,
    finished_at       timestamptz[] not null,
    max_gap           integer[]     not null,
    desktops_outcome  smallint[]    not null,
    groups_outcome    smallint[]    not null,
    desktops_total    bigint[]      not null,
    desktops_recorded integer[]     not null,
    -- 32 bytes each.
    digest            bytea         not null,

    primary key (source_id, day_from),
    constraint pruned_day_has_visits check (cardinality(sequence) > 0),
    constraint pruned_day_says_all_of_each check (
        cardinality(observed_at) = cardinality(sequence) and cardinality(finished_at) = cardinality(sequence)
        and cardinality(max_gap) = cardinality(sequence) and cardinality(desktops_outcome) = cardinality(sequence)
        and cardinality(groups_outcome) = cardinality(sequence) and cardinality(desktops_total) = cardinality(sequence)
        and cardinality(desktops_recorded) = cardinality(sequence) and octet_length(digest) = 32 * cardinality(sequence))
);
-- Nothing is gained by compressing digests.
alter table deskledger_data.pruned_day alter column digest set storage external;

alter table deskledger_data.pruning
    -- Of pruned headers, the SHA-256 of what stays of them: docs/digests.md says how it is made.
    add column kept bytea,
    drop constraint pruning_class_is_known,
    add constraint pruning_class_is_known check (class in ('spans', 'groups', 'rollups', 'headers')),
    add constraint pruning_of_headers_keeps_something check ((kept is not null) = (class = 'headers' and not is_restored));

-- The newest listing before an instant, or the newest statistics.
create function deskledger_data.visit_before(of_source integer, before timestamptz, of_groups boolean) returns timestamptz
    language sql stable parallel safe
begin atomic
    select greatest(
        (select max(s.observed_at) from deskledger_data.snapshot s
          where s.source_id = of_source and s.observed_at < before
            and case when of_groups then s.groups_outcome else s.desktops_outcome end > 0),
        -- Of the newest day that has one; or of the day before, where those of that one came later.
        (select max(v.observed_at)
           from (select d.observed_at, case when of_groups then d.groups_outcome else d.desktops_outcome end as outcome
                   from deskledger_data.pruned_day d
                  where d.source_id = of_source and d.day_from < before
                    and 0::smallint < any (case when of_groups then d.groups_outcome else d.desktops_outcome end)
                  order by d.day_from desc limit 2) d
          cross join lateral unnest(d.observed_at, d.outcome) v (observed_at, outcome)
          where v.outcome > 0 and v.observed_at < before));
end;

-- ---------------------------------------------------------------------------------------------------
-- For reports

create view deskledger_report.pruned_day as
select source_id, day_from, observed_at, finished_at, desktops_outcome from deskledger_data.pruned_day;

create view deskledger_report.pruned_visit as
select d.source_id, d.day_from, v.observed_at, v.max_gap, v.desktops_outcome, v.groups_outcome, v.desktops_total, v.desktops_recorded
  from deskledger_data.pruned_day d
 cross join lateral unnest(d.observed_at, d.max_gap, d.desktops_outcome, d.groups_outcome, d.desktops_total, d.desktops_recorded)
            v (observed_at, max_gap, desktops_outcome, groups_outcome, desktops_total, desktops_recorded);

-- Every visit of [since, until], whether its header is kept or not.
create function deskledger_report.visits(since timestamptz, until timestamptz)
    returns table (source_id integer, observed_at timestamptz, desktops_outcome smallint, desktops_total bigint,
                   desktops_recorded integer, max_gap integer)
    language sql stable parallel safe
begin atomic
    select v.source_id, v.observed_at, v.desktops_outcome, v.desktops_total, v.desktops_recorded, v.max_gap
      from deskledger_report.visit v
     where v.observed_at >= since and v.observed_at <= until
     union all
    select v.source_id, v.observed_at, v.desktops_outcome, v.desktops_total, v.desktops_recorded, v.max_gap
      from deskledger_report.pruned_visit v
     where v.day_from > since - interval '24 hours' and v.day_from <= until
       and v.observed_at >= since and v.observed_at <= until;
end;

-- As before; and of visits whose header is pruned.
create or replace function deskledger_report.listings(range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, observed_at timestamptz, covered_to timestamptz, recorded bigint, total bigint)
    language sql stable parallel safe
begin atomic
    select u.source_id, u.observed_at,
           case when u.next_at - u.observed_at <= make_interval(secs => least(u.max_gap, u.next_gap)) then u.next_at end,
           u.desktops_recorded::bigint, u.desktops_total
      from (select s.source_id, v.observed_at, v.max_gap, v.desktops_total, v.desktops_recorded,
                   lead(v.observed_at) over seen as next_at, lead(v.max_gap) over seen as next_gap
              from deskledger_report.source s
             cross join lateral (
                   select coalesce(greatest(
                              (select max(b.observed_at) from deskledger_report.visit b
                                where b.source_id = s.source_id and b.desktops_outcome > 0 and b.observed_at <= range_from),
                              (select max(b.observed_at) from deskledger_report.pruned_visit b
                                where b.source_id = s.source_id and b.desktops_outcome > 0 and b.observed_at <= range_from
                                  and b.day_from in (
                                      select d.day_from from deskledger_report.pruned_day d
                                       where d.source_id = s.source_id and d.day_from <= range_from
                                         and 0::smallint < any (d.desktops_outcome)
                                       order by d.day_from desc limit 2))), range_from) as first_at,
                          coalesce(least(
                              (select min(a.observed_at) from deskledger_report.visit a
                                where a.source_id = s.source_id and a.desktops_outcome > 0 and a.observed_at >= range_to),
                              (select min(a.observed_at) from deskledger_report.pruned_visit a
                                where a.source_id = s.source_id and a.desktops_outcome > 0 and a.observed_at >= range_to
                                  and a.day_from in (
                                      select d.day_from from deskledger_report.pruned_day d
                                       where d.source_id = s.source_id and d.day_from > range_to - interval '24 hours'
                                         and 0::smallint < any (d.desktops_outcome)
                                       order by d.day_from limit 2))), range_to) as last_at) bound
             cross join lateral (
                   select v.observed_at, v.max_gap, v.desktops_total, v.desktops_recorded
                     from deskledger_report.visit v
                    where v.source_id = s.source_id and v.desktops_outcome > 0
                      and v.observed_at >= bound.first_at and v.observed_at <= bound.last_at
                    union all
                   select v.observed_at, v.max_gap, v.desktops_total, v.desktops_recorded
                     from deskledger_report.pruned_visit v
                    where v.source_id = s.source_id and v.desktops_outcome > 0
                      and v.day_from > bound.first_at - interval '24 hours' and v.day_from <= bound.last_at
                      and v.observed_at >= bound.first_at and v.observed_at <= bound.last_at) v
             where only_source = '' or s.source = only_source
            window seen as (partition by s.source_id order by v.observed_at)) u
     where u.observed_at < range_to;
end;

-- ---------------------------------------------------------------------------------------------------
-- When the visit was over that a span began or ended with, also where its header is pruned

create or replace view deskledger.desktop_states as
select s.name as source, p.desktop_id, p.desktop_name, t.status as connect_status, p.attach_users,
       p.first_seen, p.last_seen, p.piece_to as held_until, p.started_after,
       coalesce(f.finished_at, fd.finished_at[width_bucket(p.first_seen, fd.observed_at)]) as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       coalesce(n.finished_at, nd.finished_at[array_position(nd.observed_at, p.piece_to)]) as ended_by
  from deskledger_report.named_piece p
  join deskledger_data.source s using (source_id)
  join deskledger_data.status t using (source_id, status_id)
  left join deskledger_data.snapshot f on f.source_id = p.source_id and f.observed_at = p.first_seen
  left join deskledger_data.pruned_day fd
       on fd.source_id = p.source_id and fd.day_from = date_bin('1 day', p.first_seen, '2000-01-01 00:00:00+00')
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.pruned_day nd
       on nd.source_id = p.source_id and nd.day_from = date_bin('1 day', p.piece_to, '2000-01-01 00:00:00+00') and p.ended <> -4
 where p.is_last;

create or replace view deskledger_report.connection as
select s.source_id, s.name as source, p.desktop_no, p.desktop_id, p.desktop_name, p.label_no, p.users, p.attribution,
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
                 and h.observed_at - p.last_seen <= make_interval(secs => h.max_gap) then 'ONGOING'
            when p.ended = -4 then 'UNKNOWN'
            when t.status is null then 'NO STATUS'
            when t.status in ('NO STATUS', 'REASSIGNED', 'ABSENT', 'UNKNOWN', 'ONGOING') then 'API:' || t.status
            else t.status end as ended_as
  from deskledger_report.named_piece p
  join deskledger_data.source s using (source_id)
  join deskledger_data.head h using (source_id)
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

-- As before, with those.
do $$
declare
    earlier text := pg_get_functiondef(
        'deskledger_report.connected_time(timestamptz, timestamptz, text)'::regprocedure);
    later   text := replace(replace(replace(earlier,
        'f.finished_at', 'coalesce(f.finished_at, fd.finished_at[width_bucket(p.first_seen, fd.observed_at)])'),
        'n.finished_at', 'coalesce(n.finished_at, nd.finished_at[array_position(nd.observed_at, p.piece_to)])'),
        'left join deskledger_report.visit n', $sql$left join deskledger_report.pruned_day fd
                           on fd.source_id = p.source_id
                          and fd.day_from = date_bin('1 day', p.first_seen, '2000-01-01 00:00:00+00')
                      left join deskledger_report.pruned_day nd
                           on nd.source_id = p.source_id and p.ended <> -4
                          and nd.day_from = date_bin('1 day', p.piece_to, '2000-01-01 00:00:00+00')
                      left join deskledger_report.visit n$sql$);
begin
    if later = earlier then
        raise exception 'the function connected_time reads no visits';
    end if;
    execute later;
end
$$;

-- As before; what failed is known also where its header is pruned, and what it said is not.
create or replace view deskledger.gaps as
select s.name as source, g.gap_from, g.gap_to, inside.failed + pruned.failed as failed_snapshots, inside.last_error,
       split_part(inside.note, ':', 1) as reason,
       substr(inside.note, nullif(strpos(inside.note, ': '), 0) + 2) as reason_message
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
        select count(*) filter (where n.desktops_outcome = 0) as failed,
               (array_agg(nullif(concat_ws(': ', n.error_code, n.error_message), '') order by n.observed_at desc)
                filter (where n.desktops_outcome = 0
                          and (n.error_code is not null or n.error_message is not null)))[1] as last_error,
               (array_agg(n.note order by n.observed_at desc) filter (where n.note is not null))[1] as note
          from (select f.observed_at, f.desktops_outcome, f.error_code, f.error_message,
                       deskledger_report.note(f.error_code, f.error_message) as note
                  from deskledger_data.snapshot f
                 where f.source_id = g.source_id and f.observed_at >= g.gap_from
                   -- With the one that ends it, which says what was before; without the one at which it begins.
                   and (g.gap_to is null or f.observed_at <= g.gap_to)
                   and (f.desktops_outcome = 0 or f.observed_at > g.gap_from)) n) inside
 cross join lateral (
        select count(*) as failed
          from deskledger_report.pruned_visit v
         where v.source_id = g.source_id and v.desktops_outcome = 0
           and v.day_from > g.gap_from - interval '24 hours' and (g.gap_to is null or v.day_from <= g.gap_to)
           and v.observed_at >= g.gap_from and (g.gap_to is null or v.observed_at <= g.gap_to)) pruned
 -- What follows the newest listing is a gap once nothing that comes can be joined to it.
 where g.gap_to is not null or h.run_from is null
    or now() - g.gap_from > make_interval(secs => u.max_gap);

comment on view deskledger.snapshots is 'One row per visit to a source, failed ones too; none where its header is pruned.';
comment on view deskledger_planner.snapshots is 'One row per visit to a source, failed ones too; none where its header is pruned.';
comment on column deskledger.gaps.last_error is 'The newest error among them; null: none is known, or their headers are pruned.';
comment on column deskledger.gaps.reason is 'What recorders say of it by themselves, the newest: spool (nothing was visited, since nothing could be kept), clock (somebody set it), dropped (fetched, and given up for newer ones); null: nothing, or headers are pruned.';
comment on column deskledger_planner.gaps.reason is 'What recorders say of it by themselves, the newest: spool (nothing was visited, since nothing could be kept), clock (somebody set it), dropped (fetched, and given up for newer ones); null: nothing, or headers are pruned.';
