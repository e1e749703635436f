-- Groups' counters of months that are over, packed as spans are: what takes a row of a hundred bytes takes some ten.
--
-- The runs of a group in a month become one row with an array of when they begin and end, and one array for each counter; where a
-- counter stays as it is its array hardly takes any room. Only runs that come out of the packed row as they went in leave the table
-- `group_span`.

-- The instants that a source's packed runs of a month are made of: [1] the newest statistics before the month, [2] where it begins,
-- then its statistics, then its last microsecond, then its end.
create table deskledger_data.packed_group_month
(
    source_id  integer       not null references deskledger_data.source,
    month_from timestamptz   not null,
    month_to   timestamptz   not null,
    at         timestamptz[] not null,

    primary key (source_id, month_from)
);

-- An event is
--     instant << 2 | what
-- `instant`: the subscript in `packed_group_month.at`; 2: the run goes on from the month before.
-- `what`: 0 a run begins, and the arrays say its counters under the same subscript; else none does, and what was there was seen
--     last just before (1), here (2) or, where it ends with the month, at the last visit of the month (3).
create table deskledger_data.packed_group
(
    source_id         integer     not null,
    month_from        timestamptz not null,
    group_no          integer     not null,
    events            integer[]   not null,
    running_num       smallint[]  not null,
    stop_num          smallint[]  not null,
    hibernate_num     smallint[]  not null,
    other_num         smallint[]  not null,
    attached_num      smallint[]  not null,
    unattached_num    smallint[]  not null,
    cannot_attach_num smallint[]  not null,
    in_process_num    smallint[]  not null,
    in_use_num        smallint[]  not null,
    unregistered_num  smallint[]  not null,
    ready_num         smallint[]  not null,
    disconnected_num  smallint[]  not null,
    unknown_num       smallint[]  not null,

    primary key (source_id, month_from, group_no)
);

-- What is packed, month by month and group by group.
create view deskledger_report.packed_group as
select m.source_id, m.month_from, m.month_to, k.group_no, m.at, k.events,
       k.running_num, k.stop_num, k.hibernate_num, k.other_num, k.attached_num, k.unattached_num,
       k.cannot_attach_num, k.in_process_num, k.in_use_num, k.unregistered_num, k.ready_num, k.disconnected_num,
       k.unknown_num
  from deskledger_data.packed_group_month m
  join deskledger_data.packed_group k on k.source_id = m.source_id and k.month_from = m.month_from;

-- The runs of [since, until] in one packed row. Whole slices are taken apart side by side: a subscript into an array with nulls
-- counts through it each time.
create function deskledger_report.unpack_group(
    at timestamptz[], since timestamptz, until timestamptz, events integer[],
    of_running_num smallint[], of_stop_num smallint[], of_hibernate_num smallint[], of_other_num smallint[],
    of_attached_num smallint[], of_unattached_num smallint[], of_cannot_attach_num smallint[],
    of_in_process_num smallint[], of_in_use_num smallint[], of_unregistered_num smallint[],
    of_ready_num smallint[], of_disconnected_num smallint[], of_unknown_num smallint[])
    returns table (from_at timestamptz, to_at timestamptz, last_seen timestamptz, is_continued boolean,
                   running_num smallint, stop_num smallint, hibernate_num smallint, other_num smallint,
                   attached_num smallint, unattached_num smallint, cannot_attach_num smallint, in_process_num smallint,
                   in_use_num smallint, unregistered_num smallint, ready_num smallint, disconnected_num smallint,
                   unknown_num smallint)
    language sql stable parallel safe
    rows 1000
begin atomic
    select at[e.begun >> 2], at[e.over >> 2],
           at[(e.over >> 2) - case when e.over & 3 = 2 then 0 when e.over & 3 = 3 or e.over >> 2 = 3 then 2 else 1 end],
           e.begun >> 2 = 2,
           e.running_num, e.stop_num, e.hibernate_num, e.other_num, e.attached_num, e.unattached_num,
           e.cannot_attach_num, e.in_process_num, e.in_use_num, e.unregistered_num, e.ready_num, e.disconnected_num,
           e.unknown_num
           -- From the event that holds just before `since` to the newest by `until`, each found by halving.
      from (select greatest(width_bucket(width_bucket(since - interval '1 microsecond', at) << 2 | 1, events), 1) as first,
                   least(width_bucket(width_bucket(until, at) << 2 | 3, events), cardinality(events) - 1) as last) f
     cross join lateral unnest(
               events[f.first : f.last], events[f.first + 1 : f.last + 1],
               of_running_num[f.first : f.last], of_stop_num[f.first : f.last], of_hibernate_num[f.first : f.last],
               of_other_num[f.first : f.last], of_attached_num[f.first : f.last],
               of_unattached_num[f.first : f.last], of_cannot_attach_num[f.first : f.last],
               of_in_process_num[f.first : f.last], of_in_use_num[f.first : f.last],
               of_unregistered_num[f.first : f.last], of_ready_num[f.first : f.last],
               of_disconnected_num[f.first : f.last], of_unknown_num[f.first : f.last])
           e (begun, over,
              running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num, cannot_attach_num,
              in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num)
     where e.begun & 3 = 0;
end;

-- The filed runs, packed or not. Those of [F, T] are in packed months with packed_to >= F and packed_from <= T; what is not packed
-- has no such bounds.
create view deskledger_data.filed_group as
select source_id, group_no, from_at, to_at, last_seen, is_continued,
       running_num, stop_num, hibernate_num, other_num, attached_num, unattached_num, cannot_attach_num,
       in_process_num, in_use_num, unregistered_num, ready_num, disconnected_num, unknown_num,
       '-infinity'::timestamptz as packed_from, 'infinity'::timestamptz as packed_to
  from deskledger_data.group_span
 union all
select k.source_id, k.group_no, p.from_at, p.to_at, p.last_seen, p.is_continued,
       p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num, p.unattached_num,
       p.cannot_attach_num, p.in_process_num, p.in_use_num, p.unregistered_num, p.ready_num, p.disconnected_num,
       p.unknown_num,
       m.month_from, m.month_to
  from (select source_id, month_from, month_to, deskledger_report.whole(at) as at
          from deskledger_data.packed_group_month) m
  join deskledger_data.packed_group k on k.source_id = m.source_id and k.month_from = m.month_from
 cross join lateral deskledger_report.unpack_group(
           m.at, '-infinity', 'infinity', k.events,
           k.running_num, k.stop_num, k.hibernate_num, k.other_num, k.attached_num, k.unattached_num,
           k.cannot_attach_num, k.in_process_num, k.in_use_num, k.unregistered_num, k.ready_num, k.disconnected_num,
           k.unknown_num) p;

-- ---------------------------------------------------------------------------------------------------
-- What reads filed runs, as before

create or replace view deskledger_report.group_piece as
select g.source_id, g.group_no, g.from_at, g.to_at, g.last_seen, false as is_open,
       coalesce(w.counters[1], g.running_num) as running_num,
       coalesce(w.counters[2], g.stop_num) as stop_num,
       coalesce(w.counters[3], g.hibernate_num) as hibernate_num,
       coalesce(w.counters[4], g.other_num) as other_num,
       coalesce(w.counters[5], g.attached_num) as attached_num,
       coalesce(w.counters[6], g.unattached_num) as unattached_num,
       coalesce(w.counters[7], g.cannot_attach_num) as cannot_attach_num,
       coalesce(w.counters[8], g.in_process_num) as in_process_num,
       coalesce(w.counters[9], g.in_use_num) as in_use_num,
       coalesce(w.counters[10], g.unregistered_num) as unregistered_num,
       coalesce(w.counters[11], g.ready_num) as ready_num,
       coalesce(w.counters[12], g.disconnected_num) as disconnected_num,
       coalesce(w.counters[13], g.unknown_num) as unknown_num,
       g.packed_from, g.packed_to
  from deskledger_data.filed_group g
  left join deskledger_data.group_span_wide w
       on w.source_id = g.source_id and w.group_no = g.group_no and w.from_at = g.from_at
 union all
select o.source_id, o.group_no, o.from_at, h.groups_at, h.groups_at, true,
       o.counters[1], o.counters[2], o.counters[3], o.counters[4], o.counters[5], o.counters[6], o.counters[7],
       o.counters[8], o.counters[9], o.counters[10], o.counters[11], o.counters[12], o.counters[13],
       '-infinity', 'infinity'
  from deskledger_data.open_group_span o
  join deskledger_data.head h using (source_id);

create or replace view deskledger.group_snapshots as
select n.snapshot_id, s.name as source, n.observed_at, g.static_name, g.ordinal,
       p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num, p.unattached_num,
       p.cannot_attach_num, p.in_process_num, p.in_use_num, p.unregistered_num, p.ready_num,
       p.disconnected_num, p.unknown_num
  from deskledger_data.snapshot n
  join deskledger_data.source s using (source_id)
 cross join lateral (
        select p.group_no, p.running_num, p.stop_num, p.hibernate_num, p.other_num, p.attached_num, p.unattached_num,
               p.cannot_attach_num, p.in_process_num, p.in_use_num, p.unregistered_num, p.ready_num,
               p.disconnected_num, p.unknown_num
          from deskledger_report.group_piece p
         where p.source_id = n.source_id and p.from_at <= n.observed_at and p.last_seen >= n.observed_at
           and p.to_at >= n.observed_at
           and (p.is_open or p.to_at <= deskledger_report.month_end(n.observed_at))
           and p.packed_to = 'infinity'
         union all
        -- Of a packed month, what a group has at an instant is one look into its events: of what was seen last there, too.
        select k.group_no,
               coalesce(w.counters[1], k.running_num[k.nth]) as running_num,
               coalesce(w.counters[2], k.stop_num[k.nth]) as stop_num,
               coalesce(w.counters[3], k.hibernate_num[k.nth]) as hibernate_num,
               coalesce(w.counters[4], k.other_num[k.nth]) as other_num,
               coalesce(w.counters[5], k.attached_num[k.nth]) as attached_num,
               coalesce(w.counters[6], k.unattached_num[k.nth]) as unattached_num,
               coalesce(w.counters[7], k.cannot_attach_num[k.nth]) as cannot_attach_num,
               coalesce(w.counters[8], k.in_process_num[k.nth]) as in_process_num,
               coalesce(w.counters[9], k.in_use_num[k.nth]) as in_use_num,
               coalesce(w.counters[10], k.unregistered_num[k.nth]) as unregistered_num,
               coalesce(w.counters[11], k.ready_num[k.nth]) as ready_num,
               coalesce(w.counters[12], k.disconnected_num[k.nth]) as disconnected_num,
               coalesce(w.counters[13], k.unknown_num[k.nth]) as unknown_num
          from (select p.*, width_bucket((i.nth << 2) | 1, p.events) as nth
                  from deskledger_report.packed_group p
                 cross join lateral (select width_bucket(n.observed_at, p.at) as nth) i
                 where p.source_id = n.source_id and p.month_from <= n.observed_at and p.month_to > n.observed_at
                offset 0) k
          left join deskledger_data.group_span_wide w
               on w.source_id = k.source_id and w.group_no = k.group_no and w.from_at = k.at[k.events[k.nth] >> 2]
         where k.events[k.nth] & 3 = 0) p
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

-- Months that were packed are looked at once more.
update deskledger_data.packed_month set is_done = false;
