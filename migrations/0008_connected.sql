-- How many were connected at once, for reports that need no more.
--
-- What deskledger_report.steps tells of covered time and the CONNECTED alone, in half the time: a forecast reads a season
-- of history. In a run of covered time nothing changes but where a desktop begins or ends to be connected, so the runs'
-- bounds do for the listings in them. No step crosses one of `edges` (the beginnings of buckets).
create function deskledger_report.connected_steps(
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
        select p.source_id, greatest(p.piece_from, range_from) as at, count(*) as connected
          from deskledger_report.piece p
         where p.status_id = 1
           and p.piece_to > range_from and p.piece_from < range_to and p.piece_from < p.piece_to
           and (p.is_open or p.piece_to <= deskledger_report.month_end(range_to))
         group by 1, 2
         union all
        select p.source_id, p.piece_to, -count(*)
          from deskledger_report.piece p
         where p.status_id = 1
           and p.piece_to > range_from and p.piece_to < range_to and p.piece_from < p.piece_to
         group by 1, 2
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

comment on function deskledger_report.connected_steps(timestamptz, timestamptz, timestamptz[], text) is
    'How many desktops were held CONNECTED, step by step, in covered time alone: between two steps nothing changes, and none crosses one of the edges.';
