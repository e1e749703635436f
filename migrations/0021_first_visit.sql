-- What ends at the first visit of a month can be packed.

-- As before, and what ends at the first visit of a month was seen last at the visit before the month: it came out as seen where the
-- month begins, so that all of such a desktop's month was left as it was.
do $$
declare
    decoded constant text := $sql$
        create or replace function deskledger_report.%1$s
            language sql stable parallel safe
            rows 100
        begin atomic
            select at[e.begun >> 14], at[e.over >> 14],
                   at[(e.over >> 14) - case when e.over & 16128 = 16128 then 0 when e.over >> 14 = 3 then 2 else 1 end],
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

-- Months that were packed are looked at once more.
update deskledger_data.packed_month set is_done = false;
