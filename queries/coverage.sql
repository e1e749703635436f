-- Coverage: how much was observed
--
-- How much of the time was observed at all, how many visits failed or were partial, and the longest
-- stretch without any. Read it beside every other report: what was not observed is in none of them.
--
-- Of several sources the row `(all)`, last in its bucket, shows all of them as one: its visits are those of all of them,
-- and only the time in which every one of them was covered is covered.
--
-- Parameters
--   from    instant   -7d  start of the period
--   to      instant   now  end of the period, not included
--   bucket  bucket    day  hour, day, week, month, or all: the whole period as one
--   tz      timezone  UTC  time zone of the buckets, and of dates given without one
--   source  fleet     ''   one source; (all): all as one; empty: each, and where there are several, all as one
--
-- Columns
--   bucket_start   the bucket's civil start
--   source         the source; (all): all of them as one
--   snapshots      visits made, of any outcome; null: none, and nothing was covered
--   failed         those whose listing of desktops failed
--   partial        those whose listing was partial
--   covered_hours  hours covered: between visits no more than max_gap apart
--   longest_gap    the longest stretch without coverage
--   coverage_pct   covered time / the bucket's length
--   listed_pct     desktops recorded / the API's total, on average over covered time
--
-- Chart
--   bars  bucket_start  coverage_pct
--   per   source
--
-- psql -v from=-7d -v to=now -v bucket=day -v tz=UTC -v source= -f queries/coverage.sql
with bucket as materialized (
    select row_number() over (order by bucket_from)::integer as nth, bucket_start, bucket_from, bucket_to
      from deskledger.buckets(deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), :'bucket', :'tz')
),
cell as (
    select b.*, s.source_id, s.source
      from bucket b
     cross join deskledger_report.asked(:'source') s
),
visited as (
    select coalesce(v.source_id, 0) as source_id,
           width_bucket(v.observed_at, (select array_agg(bucket_from order by bucket_from) from bucket)) as nth,
           count(*) as snapshots,
           count(*) filter (where v.desktops_outcome = 0) as failed,
           count(*) filter (where v.desktops_outcome = 1) as partial
      from deskledger_report.visits((select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz'))) v
     where v.observed_at < (select deskledger.instant(:'to', :'tz'))
     group by grouping sets ((v.source_id, 2), (2))
),
listed as (
    select source_id, edge as nth, sum(micros) as covered, sum(micros * listed) as listed
      from deskledger_report.covered_steps(
               (select deskledger.instant(:'from', :'tz')), (select deskledger.instant(:'to', :'tz')),
               (select array_agg(bucket_from order by bucket_from) from bucket), :'source', with_desktops => false)
     group by 1, 2
),
run as (
    select source_id, covered_from, covered_to from deskledger_report.run
     union all
    -- Where runs of all sources meet, be it for one instant.
    select 0, at, until
      from (select at, lead(at) over seen as until, sum(sign) over seen as sources
              from (select covered_from as at, 1 as sign from deskledger_report.run
                     union all
                    select covered_to, -1 from deskledger_report.run) b
            window seen as (order by at, sign desc rows unbounded preceding)) o
     where sources = (select count(*) from deskledger_report.source)
),
-- The bucket's bounds and the runs in it, one after the other: what lies between is not covered.
bound as (
    select source_id, nth, bucket_from as covered_from, bucket_from as covered_to from cell
     union all
    select source_id, nth, bucket_to, bucket_to from cell
     union all
    select c.source_id, c.nth, greatest(r.covered_from, c.bucket_from), least(r.covered_to, c.bucket_to)
      from cell c
      join run r
        on r.source_id = c.source_id and r.covered_from < c.bucket_to and r.covered_to >= c.bucket_from
),
gap as (
    select source_id, nth, max(covered_from - before) as longest
      from (select source_id, nth, covered_from,
                   lag(covered_to) over (partition by source_id, nth order by covered_from, covered_to) as before
              from bound) stretch
     group by 1, 2
),
-- Put together by sorting and not by joins: the planner cannot know how many rows there are of each.
figure as (
    select source_id, nth, sum(snapshots)::bigint as snapshots, sum(failed)::bigint as failed,
           sum(partial)::bigint as partial, sum(covered) as covered, sum(listed) as listed, max(longest) as longest
      from (select source_id, nth, 0 as snapshots, 0 as failed, 0 as partial, 0 as covered,
                   null::double precision as listed, longest
              from gap
             union all
            select source_id, nth, snapshots, failed, partial, 0, null, null from visited
             union all
            select source_id, nth, 0, 0, 0, covered, listed, null from listed) part
     group by 1, 2
)
select b.bucket_start,
       s.source,
       case when seen.is_any then f.snapshots end as snapshots,
       case when seen.is_any then f.failed end as failed,
       case when seen.is_any then f.partial end as partial,
       (f.covered / 3600000000)::double precision as covered_hours,
       f.longest as longest_gap,
       (100 * f.covered / deskledger_report.micros(b.bucket_to - b.bucket_from))::double precision as coverage_pct,
       100 * f.listed / nullif(f.covered, 0)::double precision as listed_pct
  from figure f
  join bucket b using (nth)
  join deskledger_report.asked(:'source') s using (source_id)
 cross join lateral (select f.covered > 0 or f.snapshots > 0 as is_any) seen
 order by b.bucket_from, f.source_id = 0, s.source
