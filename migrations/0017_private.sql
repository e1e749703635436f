-- What is private: erasing a person, and who asked for what.
--
-- Erasing: a pseudonym takes the place of every name and id, and the chain stays valid.
--
-- In the chain stand commitments. An erasure replaces the text, destroys the salt, and leaves the commitment: so nobody
-- can guess the text from it. What stands in its place is held by an entry of its own, kind `E`, so that nobody can put
-- another text there either.

-- An entry of the chain.
create table deskledger_data.erasure
(
    source_id      integer     not null references deskledger_data.source,
    sequence       bigint      not null,
    erased_at      timestamptz not null,
    pseudonym      text        not null,
    -- What was replaced: users, sets of users that name them, desktops' names, and late snapshots.
    persons        integer     not null,
    assignments    integer     not null,
    desktop_names  integer     not null,
    late_snapshots integer     not null,
    body_hash      bytea       not null,
    digest         bytea       not null,

    primary key (source_id, sequence)
);

-- What it replaced, row by row: what is P (`person`), N (`label`) or L (`late`), no the row's number, replacement a hash of what
-- stands there since. Of several erasures of one row the newest says what stands there now.
create table deskledger_data.erased
(
    source_id   integer not null references deskledger_data.source,
    sequence    bigint  not null,
    what        text    not null,
    no          bigint  not null,
    replacement bytea   not null,

    primary key (source_id, what, no, sequence),
    constraint erased_is_a_person_a_name_or_a_late_snapshot check (what in ('P', 'N', 'L'))
);

-- By what the erased are known again when the API goes on listing them, so that what is recorded from then on has the
-- pseudonym too. Keyed hashes: they tell whether a text is one of these, and nothing to whom has no such text.
create table deskledger_data.erased_key
(
    source_id integer not null primary key references deskledger_data.source,
    key       bytea   not null
);

create table deskledger_data.erased_text
(
    source_id     integer not null references deskledger_data.source,
    hash          bytea   not null,
    -- The erasure, and what it put in the place of the text.
    sequence      bigint  not null,
    replacement   text    not null,
    -- A name: it had an id, so that another id means another person.
    has_id        boolean not null,
    -- A name: it is to be replaced inside the names of desktops that are that person's.
    is_in_desktop_names boolean not null,

    primary key (source_id, hash)
);

-- `attach_users` stays sorted, also by pseudonyms; the hash in the chain takes the entries in the order of the names. The place
-- in `attach_users` of the first of them, the second, and so on; null: as they stand.
alter table deskledger_data.assignment add column chain_order integer[];

-- A late snapshot keeps its line, with the pseudonym in it, and loses its salt.
alter table deskledger_data.late
    drop constraint late_is_erased_as_a_whole,
    add constraint late_is_salted_only_with_its_line check (salt is null or line is not null);

create view deskledger.erasures as
select s.name as source, e.erased_at, e.pseudonym, e.persons, e.assignments, e.desktop_names, e.late_snapshots, e.digest
  from deskledger_data.erasure e
  join deskledger_data.source s using (source_id);

create view deskledger_planner.erasures as
select source, erased_at, persons, assignments, desktop_names, late_snapshots, digest from deskledger.erasures;

comment on view deskledger.erasures is 'One row per person and source that `erase-user` was asked to erase: what it did, without the name.';
comment on view deskledger_planner.erasures is 'One row per person and source that `erase-user` was asked to erase: what it did, without the name.';
comment on column deskledger.erasures.pseudonym is 'What stands in the place of the name and id since; made at random.';
do $$
declare
    place text;
begin
    foreach place in array array['deskledger', 'deskledger_planner'] loop
        execute format('comment on column %I.erasures.source is %L', place, 'The name that its owner chose.');
        execute format('comment on column %I.erasures.erased_at is %L', place, 'When it was done.');
        execute format('comment on column %I.erasures.persons is %L', place, 'Different pairs of user id and name that were replaced.');
        execute format('comment on column %I.erasures.assignments is %L', place, 'Different sets of users in which they were.');
        execute format('comment on column %I.erasures.desktop_names is %L', place, 'Names of desktops in which a name was replaced.');
        execute format('comment on column %I.erasures.late_snapshots is %L', place, 'Late snapshots in which they were replaced.');
        execute format('comment on column %I.erasures.digest is %L', place, 'The entry''s digest: SHA-256 over the one before, and over all that was replaced.');
    end loop;
end $$;

-- Who ran what, where that is asked for (`[access] audit`). Not of one source, and no history: it is in no digest. The login and
-- the instant are the server's own, since whoever may add a row may not say them.
create table deskledger_data.access
(
    access_id  bigint      not null primary key generated always as identity,
    at         timestamptz not null default clock_timestamp(),
    login      text        not null default session_user,
    -- The user and the machine that ran it.
    os_user    text,
    machine    text,
    -- Of `serve`: who asked it.
    caller     text,
    command    text        not null,
    report     text,
    parameters jsonb       not null,

    constraint access_parameters_are_an_object check (jsonb_typeof(parameters) = 'object')
);
create index access_by_instant on deskledger_data.access (at);
