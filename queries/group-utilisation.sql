-- Utilisation of groups
--
-- The API's own counts per group, averaged over the time in which the group was observed and present.
-- For planning: which pool is full, which is idle.
--
-- A group is its name: the API gives no id, and a renamed group is another one. One desktop may be
-- counted in several groups, so do not add groups up. A group that shares its name with another in one
-- answer is shown as `name (2)`. A counter that the API left out is unknown for that time, not 0.
--
-- Parameters
--   from    instant   -7d  start of the period
--   to      instant   now  end of the period, not included
--   bucket  bucket    day  hour, day, week, month, or all: the whole period as one
--   tz      timezone  UTC  time zone of the buckets, and of dates given without one
--   source  source    ''   one source; empty: all
--   group   group     ''   one group, as the report shows it; empty: all
--
-- Columns
--   bucket_start      the bucket's civil start
--   source            the source
--   static_name       the group
--   in_use_avg        desktops in use, on average over the time the group was observed and present
--   ready_avg         idle desktops
--   disconnected_avg  disconnected desktops
--   unregistered_avg  desktops not registered
--   unknown_avg       desktops in an unknown state
--   running_avg       desktops running, starting, failing over or migrating
--   in_use_peak       the most in use at one instant: a lower bound
--   in_use_pct        in use / the sum of the five session counters
--   coverage_pct      time in which the group was observed and present / the bucket's length
--
-- Chart
--   line  bucket_start  in_use_avg, in_use_peak
--   per   static_name
--   unit  desktops
--
-- psql -v from=-7d -v to=now -v bucket=day -v tz=UTC -v source= -v group= -f queries/group-utilisation.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), :'bucket', :'tz')
),
edge as materialized (
    select array_agg(bucket_from order by bucket_from) as froms from bucket
),
member as (
    select g.source_id, g.group_no, s.source, g.shown_name
      from deskledger_report.group_name g
      join deskledger_report.source s using (source_id)
     where (:'source' = '' or s.source = :'source') and (:'group' = '' or g.shown_name = :'group')
),
part as (
    select p.*, b.nth,
           deskledger_report.micros(least(p.to_at, b.bucket_to) - greatest(p.from_at, b.bucket_from)) as micros
      from edge
     cross join deskledger_report.group_piece p
     cross join lateral generate_series(
               greatest(width_bucket(p.from_at, edge.froms), 1),
               width_bucket(p.to_at - interval '1 microsecond', edge.froms)) nth
      join bucket b on b.nth = nth.nth
     where p.to_at > (select deskledger.instant(:'from', :'tz'))
       and p.from_at < (select deskledger.instant(:'to', :'tz'))
       and p.from_at < p.to_at
       and (p.is_open or p.to_at <= (select deskledger_report.month_end(deskledger.instant(:'to', :'tz'))))
       and p.packed_to >= (select deskledger.instant(:'from', :'tz'))
       and p.packed_from <= (select deskledger.instant(:'to', :'tz'))
),
held as (
    select source_id, group_no, nth, covered, in_use_peak,
           in_use / nullif(covered - coalesce(no_in_use, 0), 0) as in_use,
           ready / nullif(covered - coalesce(no_ready, 0), 0) as ready,
           disconnected / nullif(covered - coalesce(no_disconnected, 0), 0) as disconnected,
           unregistered / nullif(covered - coalesce(no_unregistered, 0), 0) as unregistered,
           unknown / nullif(covered - coalesce(no_unknown, 0), 0) as unknown,
           running / nullif(covered - coalesce(no_running, 0), 0) as running,
           in_use - coalesce(in_use_alone, 0) as in_use_of_sessions,
           in_use + ready + disconnected + unregistered + unknown - coalesce(partial_sessions, 0) as sessions
           -- Counters are left out rarely: what is left out is summed up, and not what is there, once more for each of them.
      from (select source_id, group_no, nth, sum(micros) as covered,
                   sum(weight * in_use_num) as in_use,
                   sum(weight * ready_num) as ready,
                   sum(weight * disconnected_num) as disconnected,
                   sum(weight * unregistered_num) as unregistered,
                   sum(weight * unknown_num) as unknown,
                   sum(weight * running_num) as running,
                   sum(micros) filter (where in_use_num is null) as no_in_use,
                   sum(micros) filter (where ready_num is null) as no_ready,
                   sum(micros) filter (where disconnected_num is null) as no_disconnected,
                   sum(micros) filter (where unregistered_num is null) as no_unregistered,
                   sum(micros) filter (where unknown_num is null) as no_unknown,
                   sum(micros) filter (where running_num is null) as no_running,
                   sum(weight * in_use_num) filter (where not has_sessions) as in_use_alone,
                   sum(weight * (coalesce(in_use_num, 0) + coalesce(ready_num, 0) + coalesce(disconnected_num, 0)
                                 + coalesce(unregistered_num, 0) + coalesce(unknown_num, 0)))
                       filter (where not has_sessions) as partial_sessions,
                   max(in_use_num) as in_use_peak
              from (select p.*, micros::numeric as weight,
                           num_nulls(in_use_num, ready_num, disconnected_num, unregistered_num, unknown_num) = 0 as has_sessions
                      from part p) p
             group by 1, 2, 3) p
)
select b.bucket_start,
       m.source,
       m.shown_name as static_name,
       h.in_use::double precision as in_use_avg,
       h.ready::double precision as ready_avg,
       h.disconnected::double precision as disconnected_avg,
       h.unregistered::double precision as unregistered_avg,
       h.unknown::double precision as unknown_avg,
       h.running::double precision as running_avg,
       h.in_use_peak,
       (100 * h.in_use_of_sessions / nullif(h.sessions, 0))::double precision as in_use_pct,
       (100 * coalesce(h.covered, 0)
           / deskledger_report.micros(b.bucket_to - b.bucket_from))::double precision as coverage_pct
  from bucket b
 cross join member m
  left join held h on h.source_id = m.source_id and h.group_no = m.group_no and h.nth = b.nth
 order by b.bucket_from, m.source, m.shown_name
