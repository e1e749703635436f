-- When a late snapshot came, and why nothing was visited before a gap's end.
--
-- A recorder that makes no visits, since its spool is full or its clock stands before the newest snapshot, leaves a gap
-- with nothing in it. The next snapshot says so: in its code and message, or after what went wrong in it itself. So the
-- reason of a gap stands in what was recorded in it or at its end.

create function deskledger_report.note(code text, message text) returns text
    language sql immutable
return case when code in ('clock', 'spool', 'dropped') then concat_ws(': ', code, message)
            -- As a recorder adds it to another failure.
            else substring(message from '; ((?:clock: the clock was set |spool: nothing was visited ).*)$') end;

create or replace view deskledger.snapshots as
select n.snapshot_id, s.name as source, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end as desktops_outcome,
       case n.groups_outcome when 0 then 'failed' else 'complete' end as groups_outcome,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, n.changes,
       make_interval(secs => n.max_gap) as max_gap, n.error_code, n.error_message, n.digest, false as late,
       null::timestamptz as received_at
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 union all
select n.snapshot_id, s.name, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end,
       case n.groups_outcome when 0 then 'failed' else 'complete' end,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, 0,
       make_interval(secs => n.max_gap), n.error_code, n.error_message, n.digest, true, n.received_at
  from deskledger_data.late n
  join deskledger_data.source s using (source_id);

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
                  from deskledger_data.snapshot f
                 where f.source_id = g.source_id and f.observed_at >= g.gap_from
                   -- With the one that ends it, which says what was before; without the one at which it begins.
                   and (g.gap_to is null or f.observed_at <= g.gap_to)
                   and (f.desktops_outcome = 0 or f.observed_at > g.gap_from)) n) inside
 -- What follows the newest listing is a gap once nothing that comes can be joined to it.
 where g.gap_to is not null or h.run_from is null
    or now() - g.gap_from > make_interval(secs => u.max_gap);

create or replace view deskledger_planner.snapshots as
select snapshot_id, source, scheduled_at, observed_at, finished_at, desktops_outcome, groups_outcome, desktops_total,
       desktops_recorded, groups_recorded, changes, max_gap, error_code, digest, late, received_at
  from deskledger.snapshots;

-- Without what was said, which may quote anything.
create or replace view deskledger_planner.gaps as
select source, gap_from, gap_to, failed_snapshots, reason from deskledger.gaps;

comment on column deskledger.snapshots.received_at is 'Where it is late, when the ledger took it in, by the clock of the machine that brought it; null: it is not late.';
comment on column deskledger_planner.snapshots.received_at is 'Where it is late, when the ledger took it in, by the clock of the machine that brought it; null: it is not late.';
comment on column deskledger.gaps.reason is 'What recorders say of it by themselves, the newest: spool (nothing was visited, since nothing could be kept), clock (somebody set it), dropped (fetched, and given up for newer ones); null: nothing.';
comment on column deskledger_planner.gaps.reason is 'What recorders say of it by themselves, the newest: spool (nothing was visited, since nothing could be kept), clock (somebody set it), dropped (fetched, and given up for newer ones); null: nothing.';
comment on column deskledger.gaps.reason_message is 'What that says in full.';
