-- Until when a connection that goes on may have lasted.

create or replace view deskledger_report.connection_bounds as
select p.source_id, p.label_no, coalesce(p.connection_first_seen, p.first_seen) as first_seen, p.last_seen,
       p.piece_to as held_until,
       case when p.connection_first_seen is null then p.started_after else p.connection_started_after end as started_after,
       f.finished_at as started_by, n.finished_at as ended_by,
       p.ended = -4 and p.is_open and h.observed_at - p.last_seen <= make_interval(secs => h.max_gap) as is_ongoing,
       -- What was seen last holds no longer; after it nothing is known, until someone looks again.
       h.observed_at + make_interval(secs => h.max_gap) as known_until
  from deskledger_report.labelled_piece p
  join deskledger_data.head h using (source_id)
  join deskledger_data.snapshot f
       on f.source_id = p.source_id and f.observed_at = coalesce(p.connection_first_seen, p.first_seen)
  left join deskledger_data.snapshot n
       on n.source_id = p.source_id and n.observed_at = p.piece_to and p.ended <> -4
 where p.status_id = 1 and p.ended not in (-5, -1);

-- As before; but what is ONGOING lasts no longer than until now, and nobody knows for how long once the source is not visited
-- any more.
create or replace function deskledger_report.connection_slack(
    range_from timestamptz, range_to timestamptz, only_source text)
    returns table (source_id integer, label_no integer, less bigint, more bigint)
    language plpgsql stable parallel safe
    rows 10000
    set plan_cache_mode = force_custom_plan
    set enable_nestloop = off
    set enable_mergejoin = off
    set enable_sort = off
as $$
#variable_conflict use_column
declare
    until constant timestamptz := least(range_to, now());
begin
    return query
    select b.source_id, b.label_no,
           sum(deskledger_report.micros(b.held_to - b.held_from - greatest(b.sure_to - b.sure_from, interval '0')))::bigint,
           case when count(*) = count(b.open_from) and count(*) = count(b.open_to)
                then sum(deskledger_report.micros(b.held_from - b.open_from + (b.open_to - b.held_to)))::bigint end
      from (select c.source_id, c.label_no,
                   greatest(c.first_seen, range_from) as held_from, least(c.held_until, range_to) as held_to,
                   greatest(c.started_by, range_from) as sure_from, least(c.last_seen, range_to) as sure_to,
                   -- A start before the period and an end after it need not be known; `greatest` would pass over a null.
                   case when c.first_seen <= range_from or c.started_after < range_from then range_from
                        else c.started_after end as open_from,
                   case when c.last_seen >= range_to or c.ended_by > range_to then range_to
                        when not c.is_ongoing then c.ended_by
                        when until <= c.known_until then greatest(until, c.held_until) end as open_to
              from deskledger_report.connection_bounds c
             where c.held_until > range_from and c.first_seen < range_to and c.first_seen < c.held_until
               and (only_source = '' or c.source_id = (select s.source_id from deskledger_report.source s
                                                        where s.source = only_source))) b
     group by b.source_id, b.label_no;
end
$$;
