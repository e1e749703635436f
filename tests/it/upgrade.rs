//! Upgrades: ledgers that programs of earlier schemas have written, and what today's program makes of them.
//!
//! `data/schemas` has one ledger of each of some schemas, dumped, and the history that all of them were made from.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use clap::CommandFactory as _;
use deskledger::cli::Cli;
use deskledger::simulator::{ServerConfig, Simulator, Step, WorldConfig};
use deskledger::store::{
    Candidate, Leadership, Recorder, Store, StoreError, newest_schema_version,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Map, Value};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool, Postgres, Transaction};

use crate::exchange::{VIEWS, views};
use crate::schema::{NAMED, PLANNING};
use crate::support::ledger::{keep_late, ledger, lines, report_sql, rows, source};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Home, until};

const HISTORY: &str = include_str!("../data/schemas/history.ndjson");
const LATE: &str = include_str!("../data/schemas/late.ndjson");

/// The first schema of which the ledger has a source, `left`, from which a person was erased and a month was pruned: pseudonyms
/// are made at random, so no other ledger says the same.
const FIRST_WITH_ERASURES: i64 = 19;

/// One more visit of each source, weeks later.
const FURTHER: &str = r#"{"source": "branch", "observed_at": "2026-11-20T08:00:00Z", "max_gap": "7m", "total_count": 1, "desktops": [{"desktop_id": "d-a", "desktop_name": "BRANCH-A", "connect_status": "CONNECTED", "attach_users": []}], "statics": []}
{"source": "left", "observed_at": "2026-11-20T08:00:00Z", "total_count": null, "desktops": null, "statics": null, "error": {"code": "connect"}}
{"source": "prod", "observed_at": "2026-11-20T08:00:00Z", "total_count": 1, "desktops": [{"desktop_id": "d-a", "desktop_name": "DESK-A2", "connect_status": "DISCONNECTED", "attach_users": [{"id": "id-alice", "name": "alice", "user_group": "users", "type": "USER"}]}], "statics": [{"static_name": "pool-1", "in_use_num": 1}]}
{"source": "prod", "observed_at": "2026-11-20T08:05:00Z", "total_count": 1, "desktops": [{"desktop_id": "d-a", "desktop_name": "DESK-A2", "connect_status": "CONNECTED", "attach_users": [{"id": "id-alice", "name": "alice", "user_group": "users", "type": "USER"}]}], "statics": []}
"#;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/schemas")
}

/// The schemas of which there is a ledger.
fn schemas() -> BTreeSet<i64> {
    let names = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter_map(|name| name.strip_suffix(".sql.zst")?.parse().ok()).collect()
}

/// The ledger that a program of that schema has left behind.
async fn left_behind(schema: i64) -> TestDatabase {
    let dump = std::fs::read(folder().join(format!("{schema:04}.sql.zst"))).unwrap();
    let dump = String::from_utf8(zstd::stream::decode_all(&*dump).unwrap()).unwrap();
    let database = database().await;
    // A connection of its own, since a dump leaves its settings behind.
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(dump)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let store = Store::from_pool(database.pool.clone());
    assert_eq!(store.schema_version().await.unwrap(), schema);
    database
}

/// What today's program makes of the same history.
async fn afresh() -> TestDatabase {
    // Not a copy of a template, which lacks what is set for the database as such.
    let database = database().await;
    import(&Home::new(&database), HISTORY, "41 snapshots recorded, 0 were").await;
    let store = Store::from_pool(database.pool.clone());
    for line in lines(LATE) {
        let mut recorder = Recorder::open(&store, &source(&line.source)).await.unwrap();
        keep_late(&mut recorder, &line.source, &line.snapshot).await.unwrap();
    }
    database
}

async fn import(home: &Home, history: &str, said: &str) -> String {
    let done = home.run_with_input(&["import", "-"], history.as_bytes()).await.expect(0);
    assert!(done.err.contains(said), "{}", done.err);
    done.err
}

/// Every row of every view, by the columns that each has: those that `only` names, where it is given.
async fn told(
    pool: &PgPool,
    only: Option<&BTreeMap<String, BTreeSet<String>>>,
) -> BTreeMap<String, Vec<String>> {
    let mut all = BTreeMap::new();
    for view in VIEWS {
        let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(format!("deskledger.{view}"))
            .fetch_one(pool)
            .await
            .unwrap();
        if !exists || only.is_some_and(|only| !only.contains_key(view)) {
            continue;
        }
        let sql = format!("select to_jsonb(v) from deskledger.{view} v");
        let rows: Vec<Value> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        let mut rows: Vec<String> = rows
            .into_iter()
            .map(|row| {
                let Value::Object(row) = row else { panic!("a row is an object") };
                let kept = row
                    .into_iter()
                    .filter(|(column, _)| only.is_none_or(|only| only[view].contains(column)));
                Value::Object(kept.collect::<Map<_, _>>()).to_string()
            })
            .collect();
        rows.sort();
        all.insert(view.to_owned(), rows);
    }
    all
}

/// The columns of the views.
async fn columns(pool: &PgPool) -> BTreeMap<String, BTreeSet<String>> {
    let all: Vec<(String, String)> = sqlx::query_as(
        "select table_name::text, column_name::text from information_schema.columns where table_schema = 'deskledger'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut columns: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (view, column) in all {
        columns.entry(view).or_default().insert(column);
    }
    columns
}

/// Has PostgreSQL read every view and function from its own writing, as it does where a dump is restored: it then writes some
/// of them otherwise than those that it has read from a migration.
async fn rewrite(pool: &PgPool) {
    let mut connection = pool.acquire().await.unwrap().detach();
    sqlx::raw_sql(
        "set search_path = '';
         do $$
         declare
             written record;
         begin
             for written in
                 select c.oid::regclass as called from pg_class c
                  where c.relkind = 'v' and c.relnamespace::regnamespace::text like 'deskledger%' order by c.oid
             loop
                 execute format('create or replace view %s as %s', written.called, pg_get_viewdef(written.called));
             end loop;
             for written in
                 select pg_get_functiondef(p.oid) as whole from pg_proc p
                  where p.pronamespace::regnamespace::text like 'deskledger%' order by p.oid
             loop
                 execute written.whole;
             end loop;
         end $$",
    )
    .execute(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
}

/// Everything that a database is built of, a line each, in an order that does not depend on how it came about.
async fn built(pool: &PgPool) -> BTreeSet<String> {
    // Else what is on the search path is written without its schema.
    let mut connection = pool.acquire().await.unwrap().detach();
    sqlx::raw_sql("set search_path = ''").execute(&mut connection).await.unwrap();
    let lines: Vec<String> = sqlx::query_scalar(
        "with space as (select oid, nspname from pg_namespace where nspname like 'deskledger%'),
         class as (
             select c.*, format('%I.%I', s.nspname, c.relname) as called
               from pg_class c join space s on s.oid = c.relnamespace
         )
         select concat_ws(' ', 'relation', called, relkind, relispartition, reloptions,
                          pg_get_expr(relpartbound, oid), obj_description(oid, 'pg_class'),
                          (select array_agg(a::text order by a::text) from unnest(relacl) a))
           from class
          union all
         select concat_ws(' ', 'column', c.called,
                          row_number() over (partition by c.oid order by a.attnum), a.attname,
                          format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity, a.attstorage, a.attstattarget,
                          a.attoptions, pg_get_expr(d.adbin, d.adrelid), col_description(c.oid, a.attnum))
           from class c
           join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
           left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
          union all
         select concat_ws(' ', 'index', pg_get_indexdef(oid)) from class where relkind in ('i', 'I')
          union all
         select concat_ws(' ', 'view', called, pg_get_viewdef(oid)) from class where relkind = 'v'
          union all
         select concat_ws(' ', 'constraint', c.called, k.conname, k.convalidated, pg_get_constraintdef(k.oid))
           from class c join pg_constraint k on k.conrelid = c.oid
          -- PostgreSQL 18 has these as well, with other names for what a dump made; `attnotnull` says the same.
          where k.contype <> 'n'
          union all
         select concat_ws(' ', 'function', pg_get_functiondef(p.oid), obj_description(p.oid, 'pg_proc'),
                          (select array_agg(a::text order by a::text) from unnest(p.proacl) a))
           from pg_proc p join space s on s.oid = p.pronamespace
          union all
         select concat_ws(' ', 'schema', n.nspname, obj_description(n.oid, 'pg_namespace'),
                          (select array_agg(a::text order by a::text) from unnest(n.nspacl) a))
           from pg_namespace n join space s using (oid)
          union all
         select concat_ws(' ', 'setting', setconfig) from pg_db_role_setting
          where setdatabase = (select oid from pg_database where datname = current_database())",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    connection.close().await.unwrap();
    assert!(lines.len() > 500, "the catalogue was not found");
    lines.into_iter().collect()
}

/// Every report on the whole of the history, in full.
async fn answers(pool: &PgPool) -> BTreeMap<&'static str, Vec<Map<String, Value>>> {
    let mut answers = BTreeMap::new();
    for name in PLANNING.iter().chain(&NAMED) {
        let sql = report_sql(
            name,
            &[
                ("from", "2026-09-30"),
                ("to", "2026-11-21"),
                ("at", "2026-10-31T23:45:00Z"),
                ("bucket", "day"),
                ("tz", "UTC"),
                // Not `left`, of which a ledger has less than another.
                ("source", "prod"),
                ("group", ""),
                ("user", "bob"),
                ("desktop", "d-a"),
                ("reconnect_within", "30m"),
                ("times", "1"),
                ("within", "2h"),
                ("share", "20"),
                ("days", "30"),
                ("headroom_pct", "10"),
                ("workdays", "1-7"),
                ("day_from", "0"),
                ("day_to", "24"),
                ("horizon_days", "14"),
                ("bins", "20"),
                ("other_from", ""),
                ("other_to", ""),
                ("overlap", "once"),
            ],
        );
        answers.insert(*name, rows(pool, &sql).await);
    }
    assert!(answers["connected-at"].len() > 1 && answers["disconnects"].len() > 1, "{answers:?}");
    answers
}

/// What a ledger says: every row of every view, and the rows of every report.
struct Said {
    views: BTreeMap<&'static str, Vec<String>>,
    answers: BTreeMap<&'static str, Vec<Map<String, Value>>>,
}

impl Said {
    async fn by(pool: &PgPool) -> Self {
        Self { views: views(pool).await, answers: answers(pool).await }
    }

    /// Fails unless two ledgers say the same, but in views for `left` where that was changed by hand.
    fn assert_same(&self, other: &Self, schema: i64) {
        let counts =
            |line: &&String| schema < FIRST_WITH_ERASURES || !line.contains("\"source\": \"left\"");
        for view in VIEWS {
            let [one, other] = [self, other]
                .map(|said| said.views[view].iter().filter(counts).collect::<Vec<&String>>());
            assert_eq!(one, other, "view {view} of schema {schema}");
            assert!(view == "erasures" || one.len() > 1, "view {view} has nothing to compare");
        }
        assert_eq!(self.answers, other.answers, "schema {schema}");
    }
}

/// Recording goes on, and packing does.
async fn goes_on(home: &Home, pool: &PgPool) {
    import(home, FURTHER, "4 snapshots recorded, 0 were").await;
    home.run(&["compact"]).await.expect(0);
    home.run(&["verify"]).await.expect(0);
    let packed: i64 = sqlx::query_scalar(
        "select count(*) from deskledger_data.packed_month where is_whole and source_id in
             (select source_id from deskledger_data.source where name <> 'left')",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(packed, 3);
}

/// What today's program makes of the history, and then of what comes after it, and what the ledger is built of then.
struct Fresh {
    first: Said,
    further: Said,
    built: BTreeSet<String>,
}

impl Fresh {
    async fn new() -> Self {
        let database = afresh().await;
        let first = Said::by(&database.pool).await;
        goes_on(&Home::new(&database), &database.pool).await;
        let further = Said::by(&database.pool).await;
        rewrite(&database.pool).await;
        Self { first, further, built: built(&database.pool).await }
    }
}

/// The whole way of one ledger from its schema to the newest; returns it, for nobody drops a database beside others at work.
async fn goes_up(schema: i64, fresh: &Fresh) -> TestDatabase {
    let database = left_behind(schema).await;
    let home = Home::new(&database);
    let known = columns(&database.pool).await;
    let before = told(&database.pool, Some(&known)).await;
    let is_old = schema < newest_schema_version();
    if is_old {
        // Who only reads changes nothing.
        let refused = home.run(&["report", "utilisation"]).await.expect(3);
        assert!(refused.err.contains(&format!("is at version {schema}, and")), "{}", refused.err);
    }

    // The same history once more: it is all there, as it was recorded.
    let erased = if schema < FIRST_WITH_ERASURES { "" } else { "\"source\": \"left\"" };
    let again: Vec<&str> =
        HISTORY.lines().filter(|line| erased.is_empty() || !line.contains(erased)).collect();
    let said = format!("0 snapshots recorded, {} were recorded already", again.len());
    let log = import(&home, &again.join("\n"), &said).await;
    let announced = format!("migrating the ledger's schema to version {}", newest_schema_version());
    assert_eq!(log.contains(&announced), is_old, "{log}");
    let done = format!("the ledger's schema is at version {}", newest_schema_version());
    assert_eq!(log.contains(&done), is_old, "{log}");

    home.run(&["verify"]).await.expect(0);
    // What the views said, digests and all, they say still.
    assert_eq!(told(&database.pool, Some(&known)).await, before, "schema {schema}");
    Said::by(&database.pool).await.assert_same(&fresh.first, schema);

    goes_on(&home, &database.pool).await;
    Said::by(&database.pool).await.assert_same(&fresh.further, schema);

    // An upgraded ledger is built as a new one.
    rewrite(&database.pool).await;
    let upgraded = built(&database.pool).await;
    let gone = dropped(&upgraded, &fresh.built, &["span_20", "group_span_20"]);
    assert!(gone.is_empty() || schema >= FIRST_WITH_ERASURES, "schema {schema}: {gone:?}");
    // Those of visits go once these are packed, and stay for the next time where something reads just then, be it PostgreSQL itself.
    let visits = ["snapshot_20"];
    let of_visits =
        [dropped(&upgraded, &fresh.built, &visits), dropped(&fresh.built, &upgraded, &visits)];
    let gone: Vec<&str> = of_visits.concat().into_iter().chain(gone).collect();
    let is_of_one_that_is_gone = |line: &&String| gone.iter().any(|name| line.contains(name));
    let differ = upgraded.symmetric_difference(&fresh.built);
    let differ: Vec<&String> = differ.filter(|line| !is_of_one_that_is_gone(line)).collect();
    assert_eq!(differ, [""; 0], "schema {schema}");
    database
}

/// The tables of months that the second ledger has and the first has not, of those whose names begin so: those that nothing is left in
/// are dropped.
fn dropped<'a>(
    first: &BTreeSet<String>,
    second: &'a BTreeSet<String>,
    months: &[&str],
) -> Vec<&'a str> {
    let tables = |lines: &'a BTreeSet<String>| {
        let lines = lines.iter().filter_map(|line| line.strip_prefix("relation deskledger_data."));
        lines.filter_map(|line| line.split_once(" r t ")).map(|(name, _)| name)
    };
    let is_gone = |name: &&str| {
        let relation = format!("relation deskledger_data.{name} ");
        !first.iter().any(|line| line.starts_with(&relation))
    };
    tables(second)
        .filter(is_gone)
        .filter(|name| months.iter().any(|month| name.starts_with(month)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_every_earlier_schema_becomes_what_a_new_one_is() {
    let fresh = Fresh::new().await;
    // Some beside each other: each has its own connections, to a server that others use too.
    const AT_ONCE: usize = 3;
    let going_up = stream::iter(schemas().into_iter().map(|schema| goes_up(schema, &fresh)));
    let gone_up: Vec<TestDatabase> = going_up.buffer_unordered(AT_ONCE).collect().await;
    assert!(gone_up.len() > 5);
}

/// What a release leaves behind must stay readable, so it gets a ledger in `data/schemas`; and between releases no more than a few
/// migrations go untried on data of the program before them.
#[test]
fn every_release_has_a_ledger_to_upgrade_from() {
    const WITHOUT_ONE: i64 = 3;
    let kept = schemas();
    let newest = newest_schema_version();
    let recent = newest - WITHOUT_ONE;
    assert!(
        kept.range(recent..=newest).next().is_some(),
        "tests/data/schemas has no ledger of schema {recent} or newer; its README says how one is made"
    );
    assert!(kept.range(newest + 1..).next().is_none(), "a ledger from the future: {kept:?}");

    let changelog = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/changelog.md");
    let changelog = std::fs::read_to_string(changelog).unwrap();
    let headings = changelog.lines().filter_map(|line| line.strip_prefix("## "));
    for heading in headings.filter(|heading| !heading.starts_with("Not released yet")) {
        let schema = heading.split_once(", schema ").and_then(|(_, rest)| rest.parse().ok());
        let schema: i64 = schema.unwrap_or_else(|| {
            panic!("`## {heading}`: say which schema it has, `## 0.1.0 of 2026-12-01, schema 0019`")
        });
        assert!(kept.contains(&schema), "tests/data/schemas has no ledger of {heading}");
    }
}

/// All rows of all tables, and what they are built of.
async fn everything(pool: &PgPool) -> (BTreeSet<String>, BTreeSet<String>) {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'deskledger_data'",
    )
    .fetch_all(pool)
    .await
    .unwrap();
    let mut rows = BTreeSet::new();
    for table in tables {
        let sql = format!("select '{table} ' || t::text from {table} t");
        let lines: Vec<String> =
            sqlx::query_scalar(AssertSqlSafe(sql)).fetch_all(pool).await.unwrap();
        rows.extend(lines);
    }
    (rows, built(pool).await)
}

/// Commands that have no ledger, or look at any.
const NEED_NO_SCHEMA: [&str; 9] = [
    // Have none, or one of their own.
    "completions",
    "demo",
    "init",
    "man",
    "simulate",
    "spool",
    "webhook",
    // Says what is wrong with it, and changes nothing: `doctor.rs` looks.
    "doctor",
    // A shell on whatever is there; with a database that is configured it is PostgreSQL's own.
    "psql",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_of_a_newer_deskledger_is_refused_by_every_command_and_left_as_it_is() {
    let (database, _) = ledger().await;
    let home = Home::configured(
        &database,
        "[[source]]\nname = \"prod\"\nproject_id = \"p\"\nendpoint = \"http://127.0.0.1:9\"\n\
         auth = { token = \"t\" }\n[access]\naudit = true\n",
    );
    import(&home, HISTORY, "41 snapshots recorded").await;
    home.run(&["prune", "--source", "left", "--spans", "1d", "--archive", "a"]).await.expect(0);
    home.run(&["hold", "add", "--source", "branch", "--reason", "a case"]).await.expect(0);
    home.write("further.ndjson", FURTHER.as_bytes());
    sqlx::query(
        "insert into deskledger_data.migration (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let before = everything(&database.pool).await;
    let refused: [&[&str]; 21] = [
        &["access"],
        &["collect", "--once"],
        &["collect"],
        &["compact"],
        &["erase-user", "bob", "--plan"],
        &["erase-user", "bob", "--yes"],
        &["export"],
        &["hold", "add", "--source", "prod", "--reason", "another"],
        &["hold", "drop", "1", "--reason", "over"],
        &["hold", "list"],
        &["import", "further.ndjson"],
        &["migrate"],
        &["migrate", "--plan"],
        &["prune", "--spans", "1d", "--plan"],
        &["prune", "--spans", "1d", "--no-archive"],
        &["report", "utilisation"],
        &["report", "--all", "--from", "2026-10-01", "--to", "2026-10-02"],
        &["restore", "a/left-2026-10.json"],
        &["serve", "--listen", "127.0.0.1:0"],
        &["status"],
        &["verify"],
    ];
    for arguments in refused {
        let done = home.run(arguments).await.expect(3);
        assert_eq!(done.errors().len(), 1, "{arguments:?}: {}", done.err);
        let error = done.errors()[0];
        assert!(error.contains("version 9999") && error.contains("newer one"), "{error}");
        assert_eq!(done.out, "", "{arguments:?}");
    }
    let looked_at: BTreeSet<&str> =
        refused.iter().map(|arguments| arguments[0]).chain(NEED_NO_SCHEMA).collect();
    for command in Cli::command().get_subcommands() {
        assert!(looked_at.contains(command.get_name()), "nobody looks at {}", command.get_name());
    }
    assert_eq!(everything(&database.pool).await, before);
}

/// A ledger that lacks migrations which lock `assignment`, and someone who reads from it for long.
async fn read_for_long() -> (TestDatabase, Transaction<'static, Postgres>, i32) {
    let database = left_behind(16).await;
    let mut report = database.pool.begin().await.unwrap();
    let pid = sqlx::query_scalar(
        "select pg_backend_pid()
           from set_config('application_name', 'a long report', false), deskledger_data.assignment limit 1",
    )
    .fetch_one(&mut *report)
    .await
    .unwrap();
    (database, report, pid)
}

/// Runs a statement, which must not wait for as long as the report goes on: a migration waits two seconds, and a busy machine may
/// take some more.
async fn run_soon(pool: &PgPool, statement: &str) {
    let running = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(pool);
    let run = tokio::time::timeout(Duration::from_secs(7), running).await;
    run.unwrap_or_else(|_| panic!("it waits for the migration: {statement}")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_waits_for_a_report_lets_others_write_and_read() {
    let (database, report, pid) = read_for_long().await;
    let home = Home::new(&database);
    let migrating = home.start(&["migrate"]);
    // What a recorder does to the table, and what a reader does; for longer than two attempts take.
    let (began, mut number) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(9) {
        number += 1;
        let write = format!(
            "insert into deskledger_data.assignment
                    (source_id, assignment_no, attach_users, users, person_nos, entry_person_nos, attribution)
             values (1, {}, '[]', '{{}}', '{{}}', '{{}}', 'unassigned');
             update deskledger_data.head set sequence = sequence where source_id = 1",
            1000 + number
        );
        run_soon(&database.pool, &write).await;
        run_soon(&database.pool, "select count(*) from deskledger.desktop_states").await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // It was in the way, and whoever migrates is told who.
    migrating.says("cannot be migrated to version 17 yet").await;
    migrating
        .says(&format!("process {pid} of the database (`a long report`), idle in transaction"))
        .await;
    let store = Store::from_pool(database.pool.clone());
    assert_eq!(store.schema_version().await.unwrap(), 16);

    report.rollback().await.unwrap();
    let done = migrating.end().await.expect(0);
    assert!(done.out.contains("0017 took "), "{}", done.out);
    assert_eq!(store.schema_version().await.unwrap(), newest_schema_version());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_others_do_not_let_through_gives_up_and_changes_nothing() {
    let (database, report, pid) = read_for_long().await;
    let before = everything(&database.pool).await;
    let store = Store::from_pool(database.pool.clone());
    let given_up = store.migrate_within(Duration::ZERO).await.unwrap_err();
    assert!(matches!(given_up, StoreError::MigrationBlocked { .. }), "{given_up:?}");
    let said = given_up.to_string();
    assert!(said.contains(&format!("process {pid} ")) && said.contains("a long report"), "{said}");
    assert_eq!(everything(&database.pool).await, before);
    report.rollback().await.unwrap();
    // Nor does it hold up whoever tries next.
    assert_eq!(store.migrate().await.unwrap().to, newest_schema_version());
}

/// A simulated fleet, and a folder whose configuration has it visited each second.
async fn simulated(database: &TestDatabase, start: DateTime<Utc>) -> (Simulator, Home) {
    let mut config = ServerConfig::new(WorldConfig::new(5, 20, start, 30), "0bec5db9");
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.token = Some("a-token".into());
    let simulator = Simulator::start(config).await.unwrap();
    let home = Home::configured(
        database,
        &format!(
            "[[source]]\nname = \"simulated\"\nproject_id = \"0bec5db9\"\nendpoint = \"{}\"\n\
             interval = \"1s\"\nauth = {{ token = \"a-token\" }}\n",
            simulator.endpoint()
        ),
    );
    (simulator, home)
}

/// Waits until two snapshots or more wait in the spool.
async fn waiting(home: &Home) {
    until("two snapshots wait", async || {
        let said = home.run(&["spool", "--check"]).await.err;
        said.contains(" snapshots wait in the spool") && !said.contains("error: 1 ")
    })
    .await;
}

/// Waits until so many snapshots of the simulated fleet are recorded.
async fn recorded(database: &TestDatabase, number: i64) {
    until("so many are recorded", async || {
        let sql = "select count(*) from deskledger.snapshots where source = 'simulated'";
        let recorded = sqlx::query_scalar::<_, i64>(sql).fetch_one(&database.pool).await;
        recorded.unwrap() >= number
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_cannot_migrate_yet_records_into_its_spool() {
    let (database, report, _) = read_for_long().await;
    let start = "2026-11-20T02:00:00Z".parse().unwrap();
    let (simulator, home) = simulated(&database, start).await;
    let running = home.start(&["collect"]);
    running.says("a long report").await;
    waiting(&home).await;
    let store = Store::from_pool(database.pool.clone());
    assert_eq!(store.schema_version().await.unwrap(), 16);
    report.rollback().await.unwrap();
    recorded(&database, 3).await;
    assert_eq!(store.schema_version().await.unwrap(), newest_schema_version());
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.end().await.expect(0);
    home.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

/// A recorder that was started before an upgrade, and knows nothing of what the new schema wants to be told.
#[tokio::test(flavor = "multi_thread")]
async fn who_led_before_an_upgrade_leads_no_more() {
    let database = left_behind(16).await;
    let store = Store::from_pool(database.pool.clone());
    let candidate = Candidate::this_process(Duration::from_secs(60));
    let Leadership::Ours { epoch } = store.take_lease(1, &candidate).await.unwrap() else {
        panic!("nobody else leads");
    };
    store.migrate().await.unwrap();
    assert_eq!(store.leader(1).await.unwrap(), None);
    let Leadership::Ours { epoch: later } = store.take_lease(1, &candidate).await.unwrap() else {
        panic!("nobody else leads");
    };
    assert!(later > epoch + 1, "{epoch} {later}");
}

/// The same where the newer one is of the future: what the recorder reads waits until it is replaced, and nothing is lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_records_into_its_spool_once_a_newer_deskledger_has_migrated() {
    let (database, _) = ledger().await;
    let start = "2026-11-20T02:00:00Z".parse().unwrap();
    let (simulator, home) = simulated(&database, start).await;
    let running = home.start(&["collect"]);
    recorded(&database, 2).await;
    // What a newer one does in the transaction of its migration.
    sqlx::raw_sql(
        "update deskledger_data.head set epoch = epoch + 1, leader = null, led_since = null, leased_until = null;
         insert into deskledger_data.migration (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let count = "select count(*) from deskledger.snapshots";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&database.pool).await.unwrap();
    waiting(&home).await;
    running.says("version 9999").await;
    let after: i64 = sqlx::query_scalar(count).fetch_one(&database.pool).await.unwrap();
    assert_eq!(after, before);
    running.signal(nix::sys::signal::Signal::SIGTERM);
    running.end().await.expect(0);

    // The newer one is started in its place.
    sqlx::raw_sql("delete from deskledger_data.migration where version = 9999")
        .execute(&database.pool)
        .await
        .unwrap();
    home.run(&["collect", "--once"]).await.expect(0);
    recorded(&database, before + 3).await;
    home.run(&["verify"]).await.expect(0);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_says_what_is_left_and_changes_nothing() {
    let database = left_behind(6).await;
    let home = Home::new(&database);
    let before = everything(&database.pool).await;
    let plan = home.run(&["migrate", "--plan"]).await.expect(0).out;
    let newest = newest_schema_version();
    assert!(plan.starts_with(&format!("schema 6, this deskledger's is {newest}\n")), "{plan}");
    assert!(plan.contains("0016 sums: a moment\n"), "{plan}");
    assert_eq!(plan.lines().count(), 1 + usize::try_from(newest - 6).unwrap(), "{plan}");
    assert_eq!(everything(&database.pool).await, before);

    // It grows with what there is to work through.
    sqlx::raw_sql(
        "insert into deskledger_data.span_2026_09
                (piece_from, piece_to, last_seen, source_id, desktop_no, label_no, status_id, ended)
         select s.piece_from, s.piece_to, s.last_seen, s.source_id, s.desktop_no, s.label_no, s.status_id, s.ended
           from (select * from deskledger_data.span_2026_09 limit 1) s, generate_series(1, 1500000)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let plan = home.run(&["migrate", "--plan"]).await.expect(0).out;
    let line = plan.lines().find(|line| line.starts_with("0011 desktop label: about ")).unwrap();
    assert!(line.ends_with(" s"), "{line}");
    assert!(plan.contains("0012 hours: a moment\n"), "{plan}");
}
