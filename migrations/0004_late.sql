-- Snapshots that came too late for the history.
--
-- A recorder that was cut off from the ledger keeps what it fetches; when it is back, another may have recorded newer
-- snapshots. History is written in time order, so the late ones can change no span and no figure. But they were fetched,
-- and losing them would be worse than having no place for them:
--   * They are kept whole, each as the line of the exchange format that says it, outside the spans.
--   * They are entries of the source's chain like any other, numbered in the same sequence.
--   * The views that show single snapshots (`snapshots`, `desktop_snapshots`, `group_snapshots`) show them, marked as
--     late. No other view and no report knows of them, and neither does `head`, but for `sequence` and `digest`.
create table deskledger_data.late
(
    source_id         integer     not null references deskledger_data.source,
    sequence          bigint      not null,
    snapshot_id       bigint      not null default nextval('deskledger_data.snapshot_id'),
    observed_at       timestamptz not null,
    finished_at       timestamptz not null,
    scheduled_at      timestamptz,
    -- When the ledger took it in.
    received_at       timestamptz not null,
    desktops_total    bigint,
    desktops_recorded integer,
    groups_recorded   integer,
    max_gap           integer     not null,
    desktops_outcome  smallint    not null,
    groups_outcome    smallint    not null,
    error_code        text,
    error_message     text,
    -- The line of the exchange format, without its end. In the chain stands `body_hash`, the commitment to salt and line:
    -- erase both, and the chain holds.
    line              text,
    salt              bytea,
    body_hash         bytea       not null,
    digest            bytea       not null,

    primary key (source_id, sequence),
    constraint late_holds_for_some_time check (max_gap > 0),
    constraint late_finishes_after_it_starts check (finished_at >= observed_at),
    constraint late_outcomes_are_known check (desktops_outcome in (0, 1, 2) and groups_outcome in (0, 2)),
    constraint late_with_a_failed_listing_has_no_desktops check ((desktops_outcome = 0) = (desktops_recorded is null)),
    constraint late_with_failed_statistics_has_no_groups check ((groups_outcome = 0) = (groups_recorded is null)),
    constraint late_is_erased_as_a_whole check ((line is null) = (salt is null)),
    -- A line that is no JSON is refused here, since it would break the views for every other one.
    constraint late_line_is_an_object check (jsonb_typeof(line::jsonb) = 'object')
);
-- Not unique: two recorders may have begun a visit in the same microsecond, and neither is lost.
create index late_by_instant on deskledger_data.late (source_id, observed_at);
create index late_by_id on deskledger_data.late (snapshot_id);

create or replace view deskledger.snapshots as
select n.snapshot_id, s.name as source, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end as desktops_outcome,
       case n.groups_outcome when 0 then 'failed' else 'complete' end as groups_outcome,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, n.changes,
       make_interval(secs => n.max_gap) as max_gap, n.error_code, n.error_message, n.digest, false as late
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 union all
select n.snapshot_id, s.name, n.scheduled_at, n.observed_at, n.finished_at,
       case n.desktops_outcome when 0 then 'failed' when 1 then 'partial' else 'complete' end,
       case n.groups_outcome when 0 then 'failed' else 'complete' end,
       n.desktops_total, n.desktops_recorded, n.groups_recorded, 0,
       make_interval(secs => n.max_gap), n.error_code, n.error_message, n.digest, true
  from deskledger_data.late n
  join deskledger_data.source s using (source_id);

create or replace view deskledger.desktop_snapshots as
select n.snapshot_id, s.name as source, n.observed_at, d.desktop_id, l.desktop_name, t.status as connect_status,
       a.attach_users
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 cross join lateral (
        select p.desktop_no, p.label_no, p.status_id
          from deskledger_data.span p
         where p.source_id = n.source_id and p.piece_from <= n.observed_at and p.last_seen >= n.observed_at
           -- Implied by the line above, and what finds the partition.
           and p.piece_to >= n.observed_at and p.piece_to <= deskledger_report.month_end(n.observed_at)
         union all
        select o.desktop_no, o.label_no, o.status_id
          from deskledger_data.open_span o
          join deskledger_data.head h using (source_id)
         where o.source_id = n.source_id and o.piece_from <= n.observed_at
           and coalesce(o.last_seen, h.usable_at) >= n.observed_at) p
  join deskledger_data.desktop d on d.source_id = n.source_id and d.desktop_no = p.desktop_no
  join deskledger_data.label l on l.source_id = n.source_id and l.label_no = p.label_no
  join deskledger_data.assignment a on a.source_id = n.source_id and a.assignment_no = l.assignment_no
  join deskledger_data.status t on t.source_id = n.source_id and t.status_id = p.status_id
 where n.desktops_outcome > 0
   and not exists (select from deskledger_data.unlisted u
                    where u.source_id = n.source_id and u.desktop_no = p.desktop_no
                      and u.from_at <= n.observed_at and u.to_at >= n.observed_at)
 union all
select n.snapshot_id, s.name, n.observed_at, d ->> 'desktop_id', d ->> 'desktop_name', d ->> 'connect_status',
       d -> 'attach_users'
  from deskledger_data.late n
  join deskledger_data.source s using (source_id)
 cross join lateral jsonb_array_elements(
        case when n.desktops_outcome > 0 then n.line::jsonb -> 'desktops' end) d;

create or replace view deskledger.group_snapshots as
select n.snapshot_id, s.name as source, n.observed_at, g.static_name, g.ordinal,
       p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num, p.unattached_num,
       p.cannot_attach_num, p.in_process_num, p.in_use_num, p.unregistered_num, p.ready_num,
       p.disconnected_num, p.unknown_num
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
  join deskledger_report.group_piece p
       on p.source_id = n.source_id and p.from_at <= n.observed_at and p.last_seen >= n.observed_at
      and p.to_at >= n.observed_at
      and (p.is_open or p.to_at <= deskledger_report.month_end(n.observed_at))
  join deskledger_data.desktop_group g on g.source_id = n.source_id and g.group_no = p.group_no
 where n.groups_outcome > 0
 union all
select n.snapshot_id, s.name, n.observed_at, g.static_name, g.ordinal,
       g.running_num, g.stop_num, g.hibernate_num, g.other_num, g.attached_num, g.unattached_num,
       g.cannot_attach_num, g.in_process_num, g.in_use_num, g.unregistered_num, g.ready_num,
       g.disconnected_num, g.unknown_num
  from deskledger_data.late n
  join deskledger_data.source s using (source_id)
 cross join lateral (
        select r.static_name,
               (row_number() over (partition by r.static_name order by e.nth))::integer as ordinal,
               r.running_num, r.stop_num, r.hibernate_num, r.other_num, r.attached_num, r.unattached_num,
               r.cannot_attach_num, r.in_process_num, r.in_use_num, r.unregistered_num, r.ready_num,
               r.disconnected_num, r.unknown_num
          from jsonb_array_elements(case when n.groups_outcome > 0 then n.line::jsonb -> 'statics' end)
               with ordinality e (said, nth)
         cross join lateral jsonb_to_record(e.said)
               r (static_name text, running_num bigint, stop_num bigint, hibernate_num bigint, other_num bigint,
                  attached_num bigint, unattached_num bigint, cannot_attach_num bigint, in_process_num bigint,
                  in_use_num bigint, unregistered_num bigint, ready_num bigint, disconnected_num bigint,
                  unknown_num bigint)) g;

create or replace view deskledger_planner.snapshots as
select snapshot_id, source, scheduled_at, observed_at, finished_at, desktops_outcome, groups_outcome, desktops_total,
       desktops_recorded, groups_recorded, changes, max_gap, error_code, digest, late
  from deskledger.snapshots;

comment on column deskledger.snapshots.late is 'True: it arrived after newer ones were recorded; kept whole, and in no span or figure.';
comment on column deskledger_planner.snapshots.late is 'True: it arrived after newer ones were recorded; kept whole, and in no span or figure.';
comment on column deskledger.snapshots.changes is 'Desktops whose span begins with this snapshot, or that are gone since; 0 where it is late.';
comment on column deskledger_planner.snapshots.changes is 'Desktops whose span begins with this snapshot, or that are gone since; 0 where it is late.';
comment on column deskledger.snapshots.digest is 'The entry''s digest: SHA-256 over the one before, this snapshot, and what it changed, or where it is late, all that it said.';
comment on column deskledger_planner.snapshots.digest is 'The entry''s digest: SHA-256 over the one before, this snapshot, and what it changed, or where it is late, all that it said.';
