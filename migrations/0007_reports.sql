-- Reports: a whole period as one bucket, all sources as one, and what names a piece without a join for each.

-- Reports show all sources as one in rows of the source `(all)`. Not valid: no ledger that exists is held up.
alter table deskledger_data.source
    add constraint source_is_not_called_all check (name <> '(all)') not valid;

create or replace function deskledger.buckets(range_from timestamptz, range_to timestamptz, bucket text, tz text)
    returns table (bucket_start timestamptz, bucket_from timestamptz, bucket_to timestamptz)
    language plpgsql stable strict parallel safe
    -- A month of days, a week of hours. A report that joins it to much should not be planned for thousands.
    rows 100
    set search_path = pg_catalog
as $$
declare
    hour    constant interval := interval '1 hour';
    step    interval;
    begins  timestamptz;
    changes timestamptz;
    shift   interval;
begin
    if bucket not in ('hour', 'day', 'week', 'month', 'all') then
        raise exception using
            errcode = 'DL003',
            message = format('`%s` is no bucket; known are hour, day, week, month and all', bucket);
    end if;
    perform deskledger.check_time_zone(tz);
    if range_from > range_to or not isfinite(range_from) or not isfinite(range_to) then
        raise exception using
            errcode = 'DL004',
            message = format(
                '%s to %s is no range: from must not be after to, and both must be finite',
                -- Not the session's idea of how to write an instant.
                to_char(range_from at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'),
                to_char(range_to at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
    end if;
    if range_from = range_to then
        return;
    end if;
    if bucket = 'all' then
        return query select range_from, range_from, range_to;
        return;
    end if;
    -- Eleven years of hours. More are a mistyped year, which would keep the server busy until its patience ends.
    if extract(epoch from range_to) - extract(epoch from range_from)
       > 100000 * (case bucket when 'hour' then 3600.0 when 'day' then 86400.0 when 'week' then 604800.0 else 2592000.0 end) then
        raise exception using
            errcode = 'DL006',
            message = format('the range has more than 100,000 buckets of a %s: choose a longer bucket or a shorter range', bucket);
    end if;

    if bucket <> 'hour' then
        -- In local time every unit is regular; each edge is then looked up by itself. One unit more at the end, since a
        -- clock set back across midnight shows yesterday's date after today has begun.
        step := ('1 ' || bucket)::interval;
        return query
            select edge.begins, greatest(edge.begins, range_from), least(edge.ends, range_to)
            from (
                select starts.at as begins, lead(starts.at) over (order by starts.local) as ends
                from (
                    select series.local, deskledger.civil_start(series.local, tz) as at
                    from generate_series(
                        date_trunc(bucket, range_from at time zone tz),
                        (range_to at time zone tz) + step + step,
                        step) as series (local)
                ) as starts
            ) as edge
            -- An empty one is a day that never was.
            where edge.ends > edge.begins and edge.ends > range_from and edge.begins < range_to
            order by edge.begins;
        return;
    end if;

    -- Hours: between two changes of the clock they are regular, and every change begins a new one. So an hour that
    -- comes twice is two buckets, and where the clock is set back by 30 minutes the half hour that comes again is a
    -- bucket of its own.
    shift := range_from at time zone tz - range_from at time zone 'UTC';
    begins := (date_trunc('hour', range_from at time zone 'UTC' + shift) - shift) at time zone 'UTC';
    changes := deskledger.offset_change(begins, range_from, tz);
    if changes is not null then
        begins := changes;
    end if;
    while begins < range_to loop
        changes := deskledger.offset_change(begins, range_to, tz);
        shift := begins at time zone tz - begins at time zone 'UTC';
        return query
            select
                -- `begins` may lie inside its hour: the change cut it.
                greatest(series.at, begins),
                greatest(series.at, begins, range_from),
                least(series.at + hour, changes, range_to)
            from generate_series(
                (date_trunc('hour', begins at time zone 'UTC' + shift) - shift) at time zone 'UTC',
                coalesce(changes, range_to) - interval '1 microsecond',
                hour) as series (at)
            order by series.at;
        begins := coalesce(changes, range_to);
    end loop;
end
$$;

comment on function deskledger.buckets(timestamptz, timestamptz, text, text) is
    'The civil hours, days, weeks (from Monday) or months of tz that meet [range_from, range_to), in order and without holes; or all of it as one bucket, which begins at range_from. bucket_start: the instant at which the bucket begins, also where range_from cuts it; [bucket_from, bucket_to): its part inside the range. A day with a clock change has 23 or 25 hours; an hour that comes twice is two buckets; a day that is skipped is none. Raises DL003 for an unknown bucket, DL004 for a range that is none, DL006 for one of more than 100,000 buckets, DL002 or 22023 for a time zone.';

-- ---------------------------------------------------------------------------------------------------
-- Listings and steps as before, and with the counts behind `listed`: shares of several sources do not add up.

drop function deskledger_report.steps(timestamptz, timestamptz, timestamptz[], text);
drop function deskledger_report.listings(timestamptz, timestamptz, text);

-- The share of the API's total that was recorded; where the total is unknown, none.
create function deskledger_report.listed(recorded bigint, total bigint) returns double precision
    language sql immutable parallel safe
    return case when total > 0 then least(recorded::double precision / total, 1)
                when total is null then 0
                else 1 end;

-- The usable listings that say something about [range_from, range_to), and until when each covers.
create function deskledger_report.listings(range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, observed_at timestamptz, covered_to timestamptz, recorded bigint, total bigint)
    language sql stable parallel safe
begin atomic
    select u.source_id, u.observed_at,
           case when u.next_at - u.observed_at <= make_interval(secs => least(u.max_gap, u.next_gap))
                then u.next_at end,
           u.desktops_recorded::bigint, u.desktops_total
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
-- listings and edges. Without `with_desktops` nobody is counted: for what asks how much was covered.
--
-- In PL/pgSQL, so that it is planned anew each time with the bounds that are asked for: a plan for any
-- bounds expects a few rows, and sorts a million.
create function deskledger_report.steps(
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
        select p.source_id, greatest(p.piece_from, range_from) as at, count(*) as desktops,
               count(*) filter (where p.status_id = 1) as connected,
               count(*) filter (where p.status_id = 2) as disconnected,
               count(*) filter (where p.status_id = 3) as ready,
               count(*) filter (where p.status_id = 4) as unregistered
          from deskledger_report.piece p
         where with_desktops
           and p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
         group by 1, 2
         union all
        select p.source_id, p.piece_to, -count(*),
               -count(*) filter (where p.status_id = 1), -count(*) filter (where p.status_id = 2),
               -count(*) filter (where p.status_id = 3), -count(*) filter (where p.status_id = 4)
          from deskledger_report.piece p
         where with_desktops
           and p.piece_to > range_from and p.piece_to < range_to and p.piece_from < p.piece_to
         group by 1, 2
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

-- ---------------------------------------------------------------------------------------------------
-- All sources as one

-- The sources that a report has rows for. A name: that one. `(all)`: all of them as one, which is number 0 (those of
-- sources begin at 1). Nothing: each, and all as one where there are several.
create function deskledger_report.asked(only_source text) returns table (source_id integer, source text)
    language sql stable parallel safe
begin atomic
    select s.source_id, s.source from deskledger_report.source s where only_source = '' or s.source = only_source
     union all
    select 0, '(all)'
      from deskledger_report.source
    having (only_source = '(all)' and count(*) > 0) or (only_source = '' and count(*) > 1);
end;

-- The covered steps of the sources that `asked` names. All as one are covered where every source is: one that was not
-- looked at is unknown and never zero. Their steps are laid over one another; every source has a mark at every edge, so
-- none is crossed.
create function deskledger_report.covered_steps(
    range_from timestamptz, range_to timestamptz, edges timestamptz[], only_source text,
    with_desktops boolean default true)
    returns table (source_id integer, from_at timestamptz, to_at timestamptz, micros bigint, edge integer,
                   listed double precision, desktops bigint, connected bigint, disconnected bigint, ready bigint,
                   unregistered bigint)
    language plpgsql stable parallel safe
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
declare
    sources   constant bigint := (select count(*) from deskledger_report.source);
    -- One alone need not be laid over others.
    is_laid   constant boolean := only_source in ('', '(all)') and sources > 1;
begin
    return query
    with step as materialized (
        select s.*
          from deskledger_report.steps(
                   range_from, range_to, edges, case only_source when '(all)' then '' else only_source end,
                   with_desktops) s
         where s.is_covered
    ),
    change as (
        select c.at, sum(c.covered) as covered, sum(c.recorded) as recorded, sum(c.total) as total,
               sum(c.untold) as untold, sum(c.desktops) as desktops, sum(c.connected) as connected,
               sum(c.disconnected) as disconnected, sum(c.ready) as ready, sum(c.unregistered) as unregistered
          from (select s.from_at as at, 1 as covered, least(s.recorded, greatest(s.total, 0)) as recorded,
                       greatest(s.total, 0) as total, (s.total is null)::integer as untold, s.desktops, s.connected, s.disconnected, s.ready,
                       s.unregistered
                  from step s
                 where is_laid
                 union all
                select s.to_at, -1, -least(s.recorded, greatest(s.total, 0)), -greatest(s.total, 0),
                       -(s.total is null)::integer, -s.desktops, -s.connected, -s.disconnected, -s.ready, -s.unregistered
                  from step s
                 where is_laid) c
         group by c.at
    ),
    laid as (
        select c.at as from_at, lead(c.at) over seen as to_at, sum(c.covered) over seen as covered,
               sum(c.recorded) over seen as recorded, sum(c.total) over seen as total, sum(c.untold) over seen as untold,
               sum(c.desktops) over seen as desktops, sum(c.connected) over seen as connected,
               sum(c.disconnected) over seen as disconnected, sum(c.ready) over seen as ready,
               sum(c.unregistered) over seen as unregistered
          from change c
        window seen as (order by c.at)
    )
    select case only_source when '(all)' then 0 else s.source_id end, s.from_at, s.to_at, s.micros, s.edge,
           deskledger_report.listed(s.recorded, s.total),
           s.desktops, s.connected, s.disconnected, s.ready, s.unregistered
      from step s
     where only_source <> '(all)' or not is_laid
     union all
    select 0, l.from_at, l.to_at, deskledger_report.micros(l.to_at - l.from_at), width_bucket(l.from_at, edges),
           deskledger_report.listed(l.recorded::bigint, case when l.untold = 0 then l.total end::bigint),
           l.desktops::bigint, l.connected::bigint, l.disconnected::bigint, l.ready::bigint, l.unregistered::bigint
      from laid l
     where l.covered = sources;
end
$$;

-- ---------------------------------------------------------------------------------------------------
-- Names, for readers and not for planners

-- The pieces as `piece`, with the number of the label that names the desktop and its users: to be joined to `label`
-- and `user_label` once few are left.
create view deskledger_report.labelled_piece as
select source_id, desktop_no, label_no, status_id, piece_from, piece_to, last_seen, ended, false as is_open
  from deskledger_data.span
 union all
select source_id, o.desktop_no, o.label_no, o.status_id, o.piece_from, coalesce(o.last_seen, h.usable_at),
       coalesce(o.last_seen, h.usable_at), (-4)::smallint, true
  from deskledger_data.open_span o
  join deskledger_data.head h using (source_id);

create view deskledger_report.label as
select l.source_id, l.label_no, l.desktop_name, a.users, a.attribution
  from deskledger_data.label l
  join deskledger_data.assignment a using (source_id, assignment_no);

-- Who is in the assignment of which label, each user once.
create or replace view deskledger_report.user_label as
select a.source_id, l.label_no, p.type as user_type, p.id as user_id, p.name as user_name, p.person_no, a.attribution
  from deskledger_data.assignment a
 cross join lateral unnest(a.person_nos) person_no
  join deskledger_data.person p on p.source_id = a.source_id and p.person_no = person_no.person_no
  join deskledger_data.label l on l.source_id = a.source_id and l.assignment_no = a.assignment_no;

-- The pieces of one status that hold for some time in [range_from, range_to), cut to it. In PL/pgSQL for the reason
-- that `steps` is.
create function deskledger_report.held_pieces(
    range_from timestamptz, range_to timestamptz, only_source text, only_status smallint)
    returns table (source_id integer, desktop_no integer, label_no integer, held_from timestamptz, held_to timestamptz)
    language plpgsql stable parallel safe
    rows 100000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no, p.label_no, greatest(p.piece_from, range_from), least(p.piece_to, range_to)
      from deskledger_report.labelled_piece p
     where p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to and range_from < range_to
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
       and p.status_id = only_status
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source));
end
$$;

-- For how long that was, in microseconds, by desktop and label.
create function deskledger_report.held_time(
    range_from timestamptz, range_to timestamptz, only_source text, only_status smallint)
    returns table (source_id integer, desktop_no integer, label_no integer, held bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
as $$
#variable_conflict use_column
begin
    return query
    select p.source_id, p.desktop_no, p.label_no,
           deskledger_report.micros(sum(least(p.piece_to, range_to) - greatest(p.piece_from, range_from)))
      from deskledger_report.labelled_piece p
     where p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to and range_from < range_to
       and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
       and p.status_id = only_status
       and (only_source = '' or p.source_id = (select s.source_id from deskledger_report.source s
                                                where s.source = only_source))
     group by p.source_id, p.desktop_no, p.label_no;
end
$$;

-- A word of a closed list, or an error that names the list.
create function deskledger_report.one_of(value text, known text[]) returns text
    language plpgsql immutable strict parallel safe
    set search_path = pg_catalog
as $$
begin
    if value = any (known) then
        return value;
    end if;
    raise exception using
        errcode = 'DL007',
        message = format('`%s` is not known here; known are %s', value, array_to_string(known, ', '));
end
$$;
