-- What the coming days will need
--
-- The peak of connections to be expected on each coming day, between which bounds it will lie on four days of five, and
-- how wrong the same method would have been on the history given. For whoever orders desktops or plans maintenance.
--
-- The method is a seasonal median with a level. What is typical of a weekday is the median peak of that weekday in the
-- last 8 weeks; the level is the median, over the last 14 days that teach, of peak / what is typical of their weekday;
-- the expected peak is the product of the two. Peaks of whole days are forecast, and not the hours of a week: the most
-- of expected hours is less than the peak to be expected, since the busiest hour moves. A holiday in the history moves
-- no median; it knows of no holiday to come, and learns of a move or a drift in a week or so.
-- The band is split conformal: the method is run at the end of each day of the last 12 weeks, on what was known by
-- then, and its errors are sorted, by the weeks between then and the day foretold. An error is divided by the square
-- root of the expected peak, so that quiet days and busy ones may be compared. The bounds leave out a tenth of the errors
-- on each side, fewer where few days were tested: of n days floor((n + 1) / 10) out of n + 1, and below 9 there is none.
-- (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 3rd ed., chapters 3 and 5; Vovk, Gammerman and
-- Shafer, Algorithmic Learning in a Random World; Lei et al., Distribution-Free Predictive Inference for Regression.)
-- No future is bound by it: docs/reports.md has what it was worth in simulated months that it did not know.
--
-- A day teaches if it lies whole in the history and was covered for at least 90 %: else its peak may be missing. With
-- fewer than 14 such days in the last 8 weeks, or none in the last, nothing is foretold, and a row without a day says
-- why. What is older than 20 weeks is not used. Peaks are sampled, so lower bounds, and so is what is learnt from them.
--
-- Peaks of sources do not add up, since they come at different times. Of several sources `(all)` foretells the peak of all
-- of them as one, from the time in which every one of them was covered: so nothing until the newest has a history too.
--
-- Parameters
--   from          instant         -90d  start of the history
--   to            instant         now   end of the history: earlier, and the forecast may be held against what came
--   horizon_days  integer 1..366  14    so many days, from the first that begins at or after the end
--   tz            timezone        UTC   time zone of the days, and of dates given without one
--   source        fleet           ''    one source; (all): all as one; empty: each, and where there are several, all as one
--
-- Columns
--   day               the day's civil start; null: nothing is foretold of the source
--   source            the source; (all): all of them as one
--   expected_peak     the most connections to be expected at one instant of the day
--   low               with the next: the peak lies between them on four days of five; null: not known
--   high              the upper bound
--   band_pct          so many percent of the days are meant to lie in the band
--   method_error      back-tested error at this distance (in weeks): mean of |peak - expected|, in connections
--   method_error_pct  the same / the mean peak
--   in_band_pct       back-tested days that lay in the band as it was known at the time of the forecast
--   tested_days       days on which the method was tested at this distance
--   history_days      days that taught, of the last 20 weeks of the history
--   coverage_pct      covered time / length of the whole days in those weeks, from the first that was covered at all
--   note              why something is missing
--
-- Chart
--   line     day  expected_peak
--   between  low, high
--   per      source
--   unit     desktops
--
-- psql -v from=-90d -v to=now -v horizon_days=14 -v tz=UTC -v source= -f queries/forecast.sql
with bucket as materialized (
    select bucket_start, bucket_from, bucket_to, (bucket_start at time zone :'tz')::date as date,
           -- A microsecond more: the day in which the history ends is the last, also if it ends with its begin.
           lead(bucket_from) over (order by bucket_from) is null as is_last
      from deskledger.buckets(
               deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz') + interval '1 microsecond',
               'day', :'tz')
),
today as materialized (
    select max(date) as date from bucket where bucket_from = bucket_start and not is_last
),
day as materialized (
    select row_number() over (order by bucket_from)::integer as nth, date, extract(isodow from date)::integer as weekday,
           bucket_from, bucket_to, deskledger_report.micros(bucket_to - bucket_from) as micros
      from bucket
     where bucket_from = bucket_start and not is_last and date > (select date from today) - 140
),
edge as materialized (
    select coalesce(array_agg(bucket_from order by bucket_from), '{}') as froms,
           coalesce(min(bucket_from), deskledger.instant(:'to', :'tz')) as since,
           coalesce(max(bucket_to), deskledger.instant(:'to', :'tz')) as until
      from day
),
ahead as materialized (
    select bucket_start, extract(isodow from date)::integer as weekday, (date - (select t.date from today t) + 6) / 7 as week
      from (select bucket_start, (bucket_start at time zone :'tz')::date as date,
                   row_number() over (order by bucket_start) as nth
              from deskledger.buckets(
                       deskledger.instant(:'to', :'tz'),
                       deskledger.instant(:'to', :'tz') + make_interval(hours => 24 * (:'horizon_days'::integer + 2)),
                       'day', :'tz')
             where bucket_start >= (select deskledger.instant(:'to', :'tz'))) b
     where nth <= :'horizon_days'::integer
),
asked as materialized (
    select source_id, source from deskledger_report.asked(:'source')
),
step as materialized (
    select s.source_id, s.from_at, s.to_at, s.micros, s.edge as nth, s.connected
      from edge,
           deskledger_report.connected_steps(
               edge.since, edge.until, edge.froms, case :'source' when '(all)' then '' else :'source' end) s
),
-- The sources' steps laid over one another. Every source has a mark at every edge, so none is crossed.
change as (
    select at, sum(covered) as covered, sum(connected) as connected
      from (select from_at as at, 1 as covered, connected from step
             union all
            select to_at, -1, -connected from step) c
     where exists (select from asked where source_id = 0)
     group by at
),
together as (
    select at, lead(at) over seen as until, sum(covered) over seen as covered, sum(connected) over seen as connected
      from change
    window seen as (order by at)
),
seen as materialized (
    select source_id, nth, max(connected)::double precision as peak, sum(micros) as covered
      from (select source_id, nth, connected, micros from step where :'source' <> '(all)'
             union all
            select 0, width_bucket(t.at, (select froms from edge)), t.connected::bigint,
                   deskledger_report.micros(t.until - t.at)
              from together t
             where t.covered = (select count(*) from deskledger_report.source)) s
     group by 1, 2
),
taught as materialized (
    select s.source_id, d.date, d.weekday, s.peak
      from seen s
      join day d using (nth)
     where 100 * s.covered >= 90 * d.micros
),
history as (
    select a.source_id, a.source,
           -- A ledger that is younger than the history asked for has missed nothing before it began.
           (select (100 * coalesce(sum(s.covered), 0)
                       / coalesce(sum(d.micros) filter (where d.nth >= (select min(b.nth) from seen b
                                                                         where b.source_id = a.source_id and b.covered > 0)),
                                  sum(d.micros)))::double precision
              from day d
              left join seen s on s.nth = d.nth and s.source_id = a.source_id) as coverage_pct,
           count(t.date) as days,
           count(t.date) filter (where t.date > (select date from today) - 56) as late_days,
           max(t.date) as newest
      from asked a
      left join taught t using (source_id)
     group by 1, 2
),
-- What was known at the end of each of the last days, the newest first.
lesson as materialized (
    select t.source_id, d.date as origin, t.date, t.weekday, t.peak,
           row_number() over known as nth, count(*) over (partition by t.source_id, d.date) as days
      from day d
      join taught t on t.date <= d.date and t.date > d.date - 56
     where d.date > (select date from today) - 84
    window known as (partition by t.source_id, d.date order by t.date desc)
),
origin as materialized (
    select source_id, origin
      from lesson
     where nth = 1 and days >= 14 and date > origin - 7
),
typical as materialized (
    select source_id, origin, l.weekday, percentile_cont(0.5) within group (order by l.peak) as peak
      from origin
      join lesson l using (source_id, origin)
     group by 1, 2, 3
),
-- How busy it is of late, beside what is typical.
level as (
    select source_id, origin,
           coalesce(percentile_cont(0.5) within group (order by l.peak / nullif(t.peak, 0)), 1) as level
      from lesson l
      join typical t using (source_id, origin, weekday)
     where l.nth <= 14
     group by 1, 2
),
expected as materialized (
    select source_id, origin, t.weekday, t.peak * l.level as peak
      from typical t
      join level l using (source_id, origin)
),
-- Each of those days' forecasts for the days that have come since.
test as materialized (
    select e.source_id, e.origin, t.date as target, (t.date - e.origin + 6) / 7 as week, t.peak,
           abs(t.peak - e.peak) as error, (t.peak - e.peak) / sqrt(greatest(e.peak, 1)) as score
      from expected e
      join taught t on t.source_id = e.source_id and t.weekday = e.weekday and t.date > e.origin
     where (t.date - e.origin + 6) / 7 <= (select max(week) from ahead)
),
-- The band that the tests known at the end of a day allow, today included.
band as materialized (
    select source_id, origin, week, scores[out] as low, scores[tests + 1 - out] as high
      from (select o.source_id, o.origin, t.week, count(*) as tests, array_agg(t.score order by t.score) as scores,
                   -- Tests on one day are not independent: days count.
                   (count(*) + 1) * ((count(distinct t.target) + 1) / 10) / (count(distinct t.target) + 1) as out
              from origin o
              join test t on t.source_id = o.source_id and t.target <= o.origin
             group by 1, 2, 3) known
     where out > 0
),
method as (
    select t.source_id, t.week, avg(t.error) as error, 100 * sum(t.error) / nullif(sum(t.peak), 0) as error_pct,
           100 * avg((t.score between b.low and b.high)::integer)::double precision as in_band_pct,
           count(distinct t.target) as days
      from test t
      left join band b using (source_id, origin, week)
     group by 1, 2
)
select day, source, expected_peak, low, high, band_pct, method_error, method_error_pct, in_band_pct, tested_days,
       history_days, coverage_pct, note
  from (select a.bucket_start as day, h.source_id, h.source, e.peak as expected_peak,
               case when b.low is not null then greatest(e.peak + b.low * sqrt(greatest(e.peak, 1)), 0) end as low,
               case when b.low is not null then greatest(e.peak + b.high * sqrt(greatest(e.peak, 1)), 0) end as high,
               case when b.low is not null then 80 end as band_pct,
               m.error as method_error, m.error_pct as method_error_pct, m.in_band_pct,
               coalesce(m.days, 0) as tested_days, h.days as history_days, h.coverage_pct,
               case when e.peak is null then 'no forecast: this weekday never taught in the last 8 weeks'
                    when b.low is null
                    then format('no band: tested on %s days at this distance, 9 are needed', coalesce(m.days, 0))
               end as note
          from history h
          join origin o on o.source_id = h.source_id and o.origin = (select date from today)
         cross join ahead a
          left join expected e on e.source_id = o.source_id and e.origin = o.origin and e.weekday = a.weekday
          left join method m on m.source_id = h.source_id and m.week = a.week
          left join band b on b.source_id = o.source_id and b.origin = o.origin and b.week = a.week and e.peak is not null
         union all
        select null, h.source_id, h.source, null, null, null, null, null, null, null, 0, h.days, h.coverage_pct,
               case when h.late_days < 14
                    then format('no forecast: %s days of the last 8 weeks were covered for 90 %% or more, 14 are needed',
                                h.late_days)
                    else format('no forecast: the last day that taught is %s, more than a week before the history ends',
                                to_char(h.newest, 'YYYY-MM-DD'))
               end
          from history h
         where not exists (select from origin o
                            where o.source_id = h.source_id and o.origin = (select date from today))) told
 order by day, source_id = 0, source
