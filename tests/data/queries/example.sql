-- Buckets of a period
--
-- The civil buckets that meet a period, and how long the part of each inside it is. For whoever wants to see how a
-- report is written; it answers nothing about desktops.
--
-- Parameters
--   from    instant   -7d    start of the period
--   to      instant   now    end of the period, not included
--   bucket  bucket    day    hour, day, week or month
--   tz      timezone  UTC    time zone of the buckets, and of dates and local times
--   source  source    ''     one source; empty: all
--
-- Columns
--   bucket_start   when the bucket begins, also where `from` cuts it
--   source         the source asked for
--   bucket_length  how much of it lies in the period
--   bucket_hours   the same in hours
--
-- psql -v from=-7d -v to=now -v bucket=day -v tz=UTC -v source= -f tests/data/queries/example.sql
select
    bucket_start,
    :'source' as source,
    bucket_to - bucket_from as bucket_length,
    extract(epoch from bucket_to - bucket_from) / 3600.0 as bucket_hours
from deskledger.buckets(
    deskledger.instant(:'from', :'tz'), deskledger.instant(:'to', :'tz'), :'bucket', :'tz')
order by bucket_start
