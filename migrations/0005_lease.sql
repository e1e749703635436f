-- Who records a source: of several recorders one leads, the others stand by.
--
-- The lease stands in the row that each recording moves anyway, so that one statement both asks whether the
-- lease is still held and renews it. It ends by the database's clock, which all recorders share. `epoch` grows
-- with each change of leader: a leader that was paused for too long finds another one, and can write nothing.
-- What keeps history in order is still `sequence`; the lease keeps two recorders from doing the same work.
alter table deskledger_data.head
    add column epoch        bigint not null default 0,
    add column leader       text,
    add column led_since    timestamptz,
    add column leased_until timestamptz,
    add constraint head_is_leased_as_a_whole
        check (num_nulls(leader, led_since, leased_until) in (0, 3));

create or replace view deskledger.sources as
select s.name as source, s.region, s.project_id, s.endpoint,
       h.first_at as first_snapshot_at, h.observed_at as last_snapshot_at, h.observed_at as complete_until,
       h.leader, h.led_since, h.leased_until
  from deskledger_data.source s
  join deskledger_data.head h using (source_id);

comment on column deskledger.sources.leader is 'The recorder that records it now: machine and process; null: none. It leads only until leased_until.';
comment on column deskledger.sources.led_since is 'Since when that recorder leads.';
comment on column deskledger.sources.leased_until is 'When another recorder may take over unless the leader shows itself before.';
