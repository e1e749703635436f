-- How deskledger reads instants and cuts time into civil buckets.
--
-- Reports run in psql and in the binary, and both must mean the same moment by `-7d` or `2026-10-04`. So the one
-- reader of instants is here, beside the data, and neither side has a reader of its own.
--
-- Rules that shape these functions:
--   * Nothing depends on the session: TimeZone, DateStyle, IntervalStyle and search_path may be anything. A timestamptz
--     never meets `interval '1 day'` here, since that sum would follow the session's TimeZone.
--   * No `exception` block: it opens a subtransaction, which would forbid parallel plans in every report. So input is
--     checked before it is converted. Only a well-formed but unknown time zone is left to PostgreSQL's own error.
--   * Refusals carry a SQLSTATE of ours: DL001 instant, DL002 time zone, DL003 bucket, DL004 range, DL005 duration,
--     DL006 too many buckets.

create function deskledger.duration(value text) returns interval
    language plpgsql immutable strict parallel safe
    set search_path = pg_catalog
as $$
declare
    written constant text := btrim(value, E' \t\r\n');
    part             text[];
    total            numeric := 0;
begin
    if written ~ '^([0-9]{1,12}[wdhms] *)+$' then
        for part in select regexp_matches(written, '([0-9]+)([wdhms])', 'g') loop
            total := total + part[1]::numeric
                * case part[2] when 'w' then 604800 when 'd' then 86400 when 'h' then 3600 when 'm' then 60 else 1 end;
        end loop;
        -- A thousand years; beyond it the sum with an instant could leave PostgreSQL's calendar.
        if total <= 31622400000 then
            return make_interval(hours => (div(total, 3600))::integer, secs => (mod(total, 3600))::double precision);
        end if;
    end if;
    raise exception using
        errcode = 'DL005',
        message = format('`%s` is no duration; write for example 90s, 15m, 2h, 1d or 1h30m', value);
end
$$;

comment on function deskledger.duration(text) is
    'Reads a duration: whole numbers of w, d, h, m or s, or sums of them (90s, 15m, 1h30m). Absolute: a day is 24 hours. Raises DL005 for anything else.';

create function deskledger.check_time_zone(tz text) returns void
    language plpgsql stable strict parallel safe
    set search_path = pg_catalog
as $$
begin
    -- PostgreSQL would also take `UTC+2`, a POSIX rule that means two hours *behind* UTC, and abbreviations such as
    -- `CET`, which it reads as one fixed offset all year round. Both give wrong days without a word.
    if tz !~ '^[A-Za-z_]+(-[A-Za-z_]+)*(/[A-Za-z_]+(-[A-Za-z_]+)*)*$' and tz !~* '^Etc/GMT([+-]?[0-9]{1,2})$'
        or position('/' in tz) = 0
            and upper(tz) not in ('UTC', 'GMT', 'UCT', 'ZULU')
            and exists (select from pg_timezone_abbrevs where abbrev = upper(tz))
    then
        raise exception using
            errcode = 'DL002',
            message = format('`%s` is no time zone; write its name, for example Europe/Berlin, Asia/Kolkata or UTC', tz);
    end if;
    -- A name that looks right and is unknown: 22023, `time zone "…" not recognized`.
    perform now() at time zone tz;
end
$$;

comment on function deskledger.check_time_zone(text) is
    'Accepts names of the time zone database (Europe/Berlin, UTC). Raises DL002 for abbreviations, POSIX rules and what is no name at all, 22023 for an unknown name.';

-- Local to absolute time, as RFC 5545 (3.3.5) has it: a local time that comes twice is the first of the two, one that
-- does not come at all is read by the offset before the change (02:30 becomes 03:30). PostgreSQL's own `at time zone`
-- agrees about the second and takes the later of two for the first.
create function deskledger.local_instant(local timestamp, tz text) returns timestamptz
    language plpgsql stable strict parallel safe
as $$
declare
    later   constant timestamptz := local at time zone tz;
    earlier constant timestamptz := later
        + (later at time zone tz - later at time zone 'UTC')
        - ((later - interval '24 hours') at time zone tz - (later - interval '24 hours') at time zone 'UTC');
begin
    if earlier < later and earlier at time zone tz = local then
        return earlier;
    end if;
    return later;
end
$$;

comment on function deskledger.local_instant(timestamp, text) is
    'The instant of a local time. One that comes twice is the first of the two; one that is skipped is read by the offset before the change (RFC 5545).';

create function deskledger.civil_start(local timestamp, tz text) returns timestamptz
    language plpgsql stable strict parallel safe
as $$
declare
    reached timestamptz := deskledger.local_instant(local, tz);
    before  timestamptz;
    middle  timestamptz;
begin
    if reached at time zone tz = local or (reached - interval '1 second') at time zone tz < local then
        return reached;
    end if;
    -- The clock jumped over `local` from somewhere before it: find the jump, to the second.
    before := reached - (reached at time zone tz - local);
    while reached - before > interval '1 second' loop
        middle := before + make_interval(secs => floor(extract(epoch from reached - before) / 2)::double precision);
        if middle at time zone tz >= local then
            reached := middle;
        else
            before := middle;
        end if;
    end loop;
    return reached;
end
$$;

comment on function deskledger.civil_start(timestamp, text) is
    'The first instant at which the clock of tz shows that local time or a later one: where a civil day, week or month begins, also if its midnight is skipped or comes twice.';

create function deskledger.instant(value text, tz text) returns timestamptz
    language plpgsql stable strict parallel safe
    set search_path = pg_catalog
as $$
declare
    written constant text := upper(btrim(value, E' \t\r\n'));
    part             text[];
    local            timestamp;
    away             interval;
    days_in_month    integer;
begin
    perform deskledger.check_time_zone(tz);

    if written = 'NOW' then
        return now();
    elsif written = 'TODAY' then
        return deskledger.civil_start(date_trunc('day', now() at time zone tz), tz);
    end if;

    part := regexp_match(written, '^(?:NOW)?([+-])((?:[0-9]{1,9}[WDHMS])+)$');
    if part is not null then
        away := deskledger.duration(lower(part[2]));
        return case part[1] when '-' then now() - away else now() + away end;
    end if;

    part := regexp_match(
        written,
        '^([0-9]{4})-([0-9]{2})-([0-9]{2})'
        '(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}(?:\.[0-9]{1,9})?))?'
        ' ?(?:(Z)|([+-])([0-9]{2})(?::?([0-9]{2}))?)?)?$'
    );
    if part[1]::integer >= 1 and part[2]::integer between 1 and 12 then
        days_in_month := extract(
            day from make_timestamp(part[1]::integer, part[2]::integer, 1, 0, 0, 0) + interval '1 month' - interval '1 day');
    end if;
    if days_in_month is null
        or part[3]::integer not between 1 and days_in_month
        or part[4]::integer > 23
        or part[5]::integer > 59
        -- RFC 3339 knows the leap second; PostgreSQL's calendar does not, it is the next minute's first.
        or part[6]::numeric > 60
        or part[9]::integer > 23
        or part[10]::integer > 59
    then
        raise exception using
            errcode = 'DL001',
            message = format(
                '`%s` is no instant; write 2026-10-04, 2026-10-04 03:12 (both in the report''s time zone), '
                '2026-10-04T03:12:00Z, -30d, -1d12h or now', value);
    end if;

    local := make_timestamp(
            part[1]::integer, part[2]::integer, part[3]::integer,
            coalesce(part[4], '0')::integer, coalesce(part[5], '0')::integer, 0)
        + make_interval(secs => coalesce(part[6], '0')::double precision);
    if part[7] is not null then
        return local at time zone 'UTC';
    elsif part[8] is not null then
        away := make_interval(hours => part[9]::integer, mins => coalesce(part[10], '0')::integer);
        return case part[8] when '-' then local + away else local - away end at time zone 'UTC';
    elsif part[4] is null then
        return deskledger.civil_start(local, tz);
    end if;
    return deskledger.local_instant(local, tz);
end
$$;

comment on function deskledger.instant(text, text) is
    'The one reader of instants, for psql and deskledger alike: RFC 3339; a date (where that day begins in tz); a local time (in tz; one that comes twice is the first of the two, a skipped one is read by the offset before the change); a distance from now (-30d, +1d, -1d12h; units w d h m s, absolute: a day is 24 hours); now; today. Raises DL001 for anything else, DL002 or 22023 for a time zone it does not know.';

-- Where the offset of `tz` first changes after `after`, up to and including `until`; NULL if nowhere. Looks once a day,
-- then halves: two changes that cancel each other within a day do not happen in the time zone database.
create function deskledger.offset_change(after timestamptz, until timestamptz, tz text) returns timestamptz
    language plpgsql stable strict parallel safe
as $$
declare
    step   constant interval := interval '24 hours';
    shift  constant interval := after at time zone tz - after at time zone 'UTC';
    before timestamptz := after;
    reached timestamptz;
    middle timestamptz;
begin
    while before < until loop
        reached := least(before + step, until);
        if reached at time zone tz - reached at time zone 'UTC' <> shift then
            -- Changes fall on whole seconds.
            before := date_trunc('second', before at time zone 'UTC') at time zone 'UTC';
            while reached - before > interval '1 second' loop
                middle := before + make_interval(secs => ceil(extract(epoch from reached - before) / 2)::double precision);
                if middle at time zone tz - middle at time zone 'UTC' <> shift then
                    reached := middle;
                else
                    before := middle;
                end if;
            end loop;
            return date_trunc('second', reached at time zone 'UTC') at time zone 'UTC';
        end if;
        before := reached;
    end loop;
    return null;
end
$$;

comment on function deskledger.offset_change(timestamptz, timestamptz, text) is
    'The first instant after one and up to another at which the clock of tz is changed, or NULL.';

create function deskledger.buckets(range_from timestamptz, range_to timestamptz, bucket text, tz text)
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
    if bucket not in ('hour', 'day', 'week', 'month') then
        raise exception using
            errcode = 'DL003',
            message = format('`%s` is no bucket; known are hour, day, week and month', bucket);
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
    'The civil hours, days, weeks (from Monday) or months of tz that meet [range_from, range_to), in order and without holes. bucket_start: the instant at which the bucket begins, also where range_from cuts it; [bucket_from, bucket_to): its part inside the range. A day with a clock change has 23 or 25 hours; an hour that comes twice is two buckets; a day that is skipped is none. Raises DL003 for an unknown bucket, DL004 for a range that is none, DL006 for one of more than 100,000 buckets, DL002 or 22023 for a time zone.';
