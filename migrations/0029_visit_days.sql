-- Visits of months that are over, a row for each day. Their headers take half the room there, and go with an update.
--
-- What stays of pruned headers was kept so before (0024). What reads it reads packed ones, too: where a visit is not in `snapshot`, its day
-- is in `visit_day`. No condition on an instant reaches through an array, so whoever looks for instants says of which days they are;
-- without, a million visits are searched in a second.

alter table deskledger_data.pruned_day rename to visit_day;
alter table deskledger_data.visit_day rename constraint pruned_day_pkey to visit_day_pkey;
alter table deskledger_data.visit_day rename constraint pruned_day_source_id_fkey to visit_day_source_id_fkey;
alter table deskledger_data.visit_day rename constraint pruned_day_has_visits to visit_day_has_visits;
alter table deskledger_data.visit_day rename constraint pruned_day_says_all_of_each to visit_day_says_all_of_each;

-- A source and the day (UTC) of an instant in one number: with two columns to be joined by, plans join by the source alone, and go through
-- every day of it for every span.
create function deskledger_report.day_no(of_source integer, at timestamptz) returns bigint
    language sql immutable parallel safe
return (of_source::bigint << 20) + extract(day from at - '2000-01-01 00:00:00+00'::timestamptz)::bigint;

create unique index visit_day_by_no on deskledger_data.visit_day (deskledger_report.day_no(source_id, day_from));

alter table deskledger_data.visit_day
    -- What pruning takes away: NULL, all of them, where the month's headers are pruned.
    add column snapshot_id     bigint[],
    add column ticked_at       timestamptz[],
    add column groups_recorded integer[],
    add column changes         integer[],
    add column error_code      text[],
    add column error_message   text[],
    -- 32 bytes each; zeros where nothing changed.
    add column body_hash       bytea,
    add constraint visit_day_outcomes_are_known check (
        snapshot_id is null or desktops_outcome <@ '{0,1,2}' and groups_outcome <@ '{0,2}'),
    add constraint visit_day_has_headers_or_none check (
        num_nulls(snapshot_id, ticked_at, groups_recorded, changes, error_code, error_message, body_hash) in (0, 7)),
    add constraint visit_day_has_headers_of_each check (
        cardinality(snapshot_id) = cardinality(sequence) and cardinality(ticked_at) = cardinality(sequence)
        and cardinality(groups_recorded) = cardinality(sequence) and cardinality(changes) = cardinality(sequence)
        and cardinality(error_code) = cardinality(sequence) and cardinality(error_message) = cardinality(sequence)
        and octet_length(body_hash) = 32 * cardinality(sequence)),
    -- Counted from 1, in one dimension, and without NULL where rows have none.
    add constraint visit_day_is_of_plain_arrays check (
        snapshot_id is null
        or array_ndims(sequence) = 1 and array_lower(sequence, 1) = 1
           and array_dims(observed_at) = array_dims(sequence) and array_dims(finished_at) = array_dims(sequence)
           and array_dims(max_gap) = array_dims(sequence) and array_dims(desktops_outcome) = array_dims(sequence)
           and array_dims(groups_outcome) = array_dims(sequence) and array_dims(desktops_total) = array_dims(sequence)
           and array_dims(desktops_recorded) = array_dims(sequence) and array_dims(snapshot_id) = array_dims(sequence)
           and array_dims(ticked_at) = array_dims(sequence) and array_dims(groups_recorded) = array_dims(sequence)
           and array_dims(changes) = array_dims(sequence) and array_dims(error_code) = array_dims(sequence)
           and array_dims(error_message) = array_dims(sequence)
           and array_position(sequence, null) is null and array_position(observed_at, null) is null
           and array_position(finished_at, null) is null and array_position(max_gap, null) is null
           and array_position(snapshot_id, null) is null and array_position(changes, null) is null);

-- A row each. Where its header is pruned, what is not known any more is NULL, `snapshot_id` always. To subscript the arrays would take
-- less where little is asked for, and far more where all is: they are compressed, and each time the whole array comes out.
create view deskledger_data.day_visit as
select d.source_id, d.day_from, v.observed_at, v.snapshot_id, v.sequence, v.finished_at, v.scheduled_at, v.max_gap, v.desktops_outcome,
       v.groups_outcome, v.desktops_total, v.desktops_recorded, v.groups_recorded, v.changes, v.error_code, v.error_message,
       nullif(substr(d.body_hash, (32 * v.nth - 31)::integer, 32), decode(repeat('00', 32), 'hex')) as body_hash,
       substr(d.digest, (32 * v.nth - 31)::integer, 32) as digest
  from deskledger_data.visit_day d
 cross join lateral unnest(d.observed_at, d.snapshot_id, d.sequence, d.finished_at, d.ticked_at, d.max_gap, d.desktops_outcome,
                           d.groups_outcome, d.desktops_total, d.desktops_recorded, d.groups_recorded, d.changes, d.error_code,
                           d.error_message) with ordinality
            v (observed_at, snapshot_id, sequence, finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome, desktops_total,
               desktops_recorded, groups_recorded, changes, error_code, error_message, nth);

-- Every visit, whether its header is kept or not.
create view deskledger_data.visit as
select source_id, date_bin('1 day', observed_at, '2000-01-01 00:00:00+00') as day_from, observed_at, snapshot_id, sequence, finished_at,
       scheduled_at, max_gap, desktops_outcome, groups_outcome, desktops_total, desktops_recorded, groups_recorded, changes, error_code,
       error_message, body_hash, digest
  from deskledger_data.snapshot
 union all
select source_id, day_from, observed_at, snapshot_id, sequence, finished_at, scheduled_at, max_gap, desktops_outcome, groups_outcome,
       desktops_total, desktops_recorded, groups_recorded, changes, error_code, error_message, body_hash, digest
  from deskledger_data.day_visit;

-- The instants of the listings in [since, until), or of the statistics, in their order.
create function deskledger_data.instants(of_source integer, since timestamptz, until timestamptz, of_groups boolean) returns timestamptz[]
    language sql stable parallel safe
begin atomic
    select array(select v.observed_at from deskledger_data.visit v
                  where v.source_id = of_source and v.observed_at >= since and v.observed_at < until
                    and v.day_from > since - interval '24 hours' and v.day_from < until
                    and case when of_groups then v.groups_outcome else v.desktops_outcome end > 0
                  order by v.observed_at);
end;

-- As before; and of visits that are packed.
create or replace function deskledger_data.finishes(of_source integer, at timestamptz[]) returns timestamptz[]
    language sql stable parallel safe
    set enable_nestloop to 'on'
begin atomic
    select array['-infinity'::timestamptz, '-infinity'] || array(
               select coalesce(s.finished_at, d.finished_at[width_bucket(v.observed_at, d.observed_at)])
                 from unnest(at[3:cardinality(at) - 2]) with ordinality v (observed_at, nth)
                 left join deskledger_data.snapshot s on s.source_id = of_source and s.observed_at = v.observed_at
                 left join deskledger_data.visit_day d
                      on d.source_id = of_source and d.day_from = date_bin('1 day', v.observed_at, '2000-01-01 00:00:00+00')
                order by v.nth)
           || array['infinity'::timestamptz, 'infinity'];
end;

-- ---------------------------------------------------------------------------------------------------
-- For reports. What was bound to the views below goes on to read them by their new names.

alter view deskledger_report.visit rename to visit_row;
alter view deskledger_report.pruned_visit rename to day_visit;
alter view deskledger_report.pruned_day rename to visit_day;

create or replace view deskledger_report.visit_day as
select source_id, day_from, observed_at, finished_at, desktops_outcome, desktops_total, max_gap from deskledger_data.visit_day;

-- Every visit. Whoever looks for instants says of which days (UTC) they are, too.
create view deskledger_report.visit as
select source_id, date_bin('1 day', observed_at, '2000-01-01 00:00:00+00') as day_from, observed_at, desktops_outcome, desktops_total,
       desktops_recorded, max_gap
  from deskledger_report.visit_row
 union all
select source_id, day_from, observed_at, desktops_outcome, desktops_total, desktops_recorded, max_gap
  from deskledger_report.day_visit;

-- The newest visit of a source up to and with an instant, whose listing came out so well at least; `in_detail`: of a month whose spans
-- are not pruned.
create function deskledger_report.newest_visit(of_source integer, until timestamptz, outcome smallint, in_detail boolean)
    returns table (observed_at timestamptz, desktops_outcome smallint, desktops_total bigint, max_gap integer)
    language sql stable parallel safe rows 1
begin atomic
    select n.observed_at, n.desktops_outcome, n.desktops_total, n.max_gap
      from ((select v.observed_at, v.desktops_outcome, v.desktops_total, v.max_gap
               from deskledger_report.visit_row v
              where v.source_id = of_source and v.observed_at <= until and v.desktops_outcome >= outcome
                and not (in_detail and exists (select from deskledger_report.pruned p
                                                where p.source_id = of_source and p.class = 'spans'
                                                  and p.month_from <= v.observed_at and p.month_to > v.observed_at))
              order by v.observed_at desc limit 1)
             union all
            -- Of the newest day that has one; or of the day before, where those of that one came later.
            (select v.observed_at, v.desktops_outcome, d.desktops_total[v.nth], d.max_gap[v.nth]
               from (select d.observed_at, d.desktops_outcome, d.desktops_total, d.max_gap
                       from deskledger_report.visit_day d
                      where d.source_id = of_source and d.day_from <= until and outcome <= any (d.desktops_outcome)
                        and not (in_detail and exists (select from deskledger_report.pruned p
                                                        where p.source_id = of_source and p.class = 'spans'
                                                          and p.month_from <= d.day_from and p.month_to > d.day_from))
                      order by d.day_from desc limit 2) d
              cross join lateral unnest(d.observed_at, d.desktops_outcome) with ordinality v (observed_at, desktops_outcome, nth)
              where v.observed_at <= until and v.desktops_outcome >= outcome
              order by v.observed_at desc limit 1)) n
     order by n.observed_at desc limit 1;
end;

-- Those of months whose spans are not pruned.
drop view deskledger_report.detailed_visit;
create view deskledger_report.detailed_visit as
select v.source_id, v.day_from, v.observed_at, v.desktops_outcome, v.max_gap
  from deskledger_report.visit v
 where not exists (select from deskledger_report.pruned p
                    where p.source_id = v.source_id and p.class = 'spans'
                      and p.month_from <= v.observed_at and p.month_to > v.observed_at);

-- When each visit was over: for whoever asks that of very many.
create view deskledger_report.finish as
select source_id, observed_at, finished_at from deskledger_report.visit_row
 union all
select d.source_id, v.observed_at, v.finished_at
  from deskledger_report.visit_day d
 cross join lateral unnest(d.observed_at, d.finished_at) v (observed_at, finished_at);

-- As before; two snapshots of every connection are looked for, so all are read once.
do $$
declare
    earlier text := pg_get_functiondef(
        'deskledger_report.connected_time(timestamptz, timestamptz, text)'::regprocedure);
    later   text := replace(replace(regexp_replace(replace(earlier,
        'left join deskledger_report.visit ', 'left join deskledger_report.finish '),
        'left join deskledger_report\.pruned_day fd\s.*left join deskledger_report\.finish n', 'left join deskledger_report.finish n'),
        'coalesce(f.finished_at, fd.finished_at[width_bucket(p.first_seen, fd.observed_at)])', 'f.finished_at'),
        'coalesce(n.finished_at, nd.finished_at[array_position(nd.observed_at, p.piece_to)])', 'n.finished_at');
begin
    if later = earlier or later ~ 'pruned_day|nd\.' then
        raise exception 'the function connected_time reads no visits';
    end if;
    execute later;
end
$$;

-- ---------------------------------------------------------------------------------------------------
-- What people read: as before, and of visits that are packed

create or replace view deskledger.snapshots as
select n.snapshot_id, s.name as source, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end as desktops_outcome,
       case n.groups_outcome when 0 then 'failed' else 'complete' end as groups_outcome,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, n.changes, make_interval(secs => n.max_gap) as max_gap,
       n.error_code, n.error_message, n.digest, false as late, null::timestamptz as received_at
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 union all
select n.snapshot_id, s.name, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end,
       case n.groups_outcome when 0 then 'failed' else 'complete' end,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, n.changes, make_interval(secs => n.max_gap),
       n.error_code, n.error_message, n.digest, false, null
  from deskledger_data.day_visit n
  join deskledger_data.source s using (source_id)
 where n.snapshot_id is not null
 union all
select n.snapshot_id, s.name, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end,
       case n.groups_outcome when 0 then 'failed' else 'complete' end,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, 0, make_interval(secs => n.max_gap),
       n.error_code, n.error_message, n.digest, true, n.received_at
  from deskledger_data.late n
  join deskledger_data.source s using (source_id);

-- What is said of the rows, once more of the days: a plan knows how many rows there are of a table, and of a union it does not.
do $$
declare
    viewed  text;
    earlier text;
    later   text;
    of_rows text;
    of_days text;
begin
    foreach viewed in array array['deskledger.desktop_snapshots', 'deskledger.group_snapshots'] loop
        earlier := pg_get_viewdef(viewed::regclass);
        of_rows := regexp_replace(earlier, '\sUNION ALL\s+SELECT n\.snapshot_id.*$', '');
        of_days := regexp_replace(regexp_replace(of_rows,
            'deskledger_data\.snapshot n\s+JOIN deskledger_data\.source s USING \(source_id\)',
            $sql$(deskledger_data.visit_day v join deskledger_data.source s using (source_id))
     cross join lateral unnest(v.observed_at, v.snapshot_id, v.desktops_outcome, v.groups_outcome)
                        n (observed_at, snapshot_id, desktops_outcome, groups_outcome)$sql$),
            '\mn\.source_id\M', 'v.source_id', 'g') || ' and v.snapshot_id is not null';
        if length(of_rows) = length(earlier) or strpos(of_days, 'visit_day') = 0 then
            raise exception 'the view % reads no snapshots', viewed;
        end if;
        later := of_rows || ' union all ' || of_days || substr(earlier, length(of_rows) + 1);
        execute format('create or replace view %s as %s', viewed, later);
    end loop;
end
$$;

-- For whoever looks for very many instants: what a join could leave out has to be worked out below it, so that each day is unpacked once
-- and not for every instant.
create view deskledger_data.unpacked_day as
select source_id, day_from, array_cat(observed_at, '{}') as observed_at, array_cat(finished_at, '{}') as finished_at
  from deskledger_data.visit_day;

-- Halving finds the newest visit of a day up to an instant: the one that there was; and none for what a month's end cut, which is before
-- the day's first.
create or replace view deskledger.desktop_states as
select p.source, p.desktop_id, p.desktop_name, t.status as connect_status, p.attach_users,
       p.first_seen, p.last_seen, p.piece_to as held_until, p.started_after,
       coalesce(f.finished_at, fd.finished_at[width_bucket(p.first_seen, fd.observed_at)]) as started_by,
       case when p.ended <> -4 then p.piece_to end as ended_before,
       coalesce(n.finished_at, nd.finished_at[width_bucket(p.piece_to, nd.observed_at)]) as ended_by
  from deskledger_report.named_piece p
  left join deskledger_data.status t on t.source_id = p.source_id and t.status_id = p.status_id
  left join deskledger_data.snapshot f on f.source_id = p.source_id and f.observed_at = p.first_seen
  left join deskledger_data.unpacked_day fd
       on deskledger_report.day_no(fd.source_id, fd.day_from) = deskledger_report.day_no(p.source_id, p.first_seen)
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.unpacked_day nd
       on deskledger_report.day_no(nd.source_id, nd.day_from) = deskledger_report.day_no(p.source_id, p.piece_to)
      and p.ended <> -4
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
       coalesce(n.finished_at, nd.finished_at[width_bucket(p.piece_to, nd.observed_at)]) as ended_by,
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
  left join deskledger_data.unpacked_day fd
       on deskledger_report.day_no(fd.source_id, fd.day_from) = deskledger_report.day_no(p.source_id, coalesce(p.connection_first_seen, p.first_seen))
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
  left join deskledger_data.unpacked_day nd
       on deskledger_report.day_no(nd.source_id, nd.day_from) = deskledger_report.day_no(p.source_id, p.piece_to)
      and p.ended <> -4
  left join deskledger_data.status t on t.source_id = p.source_id and t.status_id = p.ended
 where p.status_id = 1 and p.is_last and p.ended <> -1;

create or replace view deskledger.gaps as
select s.name as source, g.gap_from, g.gap_to, inside.failed as failed_snapshots, inside.last_error,
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
                  from deskledger_data.visit f
                 where f.source_id = g.source_id
                   and f.day_from > g.gap_from - interval '24 hours' and (g.gap_to is null or f.day_from <= g.gap_to)
                   and f.observed_at >= g.gap_from
                   -- With the one that ends it, which says what was before; without the one at which it begins.
                   and (g.gap_to is null or f.observed_at <= g.gap_to)
                   and (f.desktops_outcome = 0 or f.observed_at > g.gap_from)) n) inside
 -- What follows the newest listing is a gap once nothing that comes can be joined to it.
 where g.gap_to is not null or h.run_from is null
    or now() - g.gap_from > make_interval(secs => u.max_gap);

-- Each source's newest visit, which is always a row.
create view deskledger_report.newest_snapshot as
select s.name as source,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end as desktops_outcome,
       case n.groups_outcome when 0 then 'failed' else 'complete' end as groups_outcome, n.desktops_recorded, n.desktops_total, n.error_code, n.error_message
  from deskledger_data.head h
  join deskledger_data.source s using (source_id)
  join deskledger_data.snapshot n on n.source_id = h.source_id and n.observed_at = h.observed_at;
