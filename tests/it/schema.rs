//! The schema as people and other programs meet it: versions, rights, comments, constraints, partitions.

use std::collections::BTreeSet;
use std::time::Duration;

use deskledger::domain::Source;
use deskledger::store::private::{Durability, Options, Private, acquire};
use deskledger::store::{Recorder, Store, newest_schema_version};
use serde_json::{Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions as _, Connection as _, Executor as _, PgConnection, PgPool,
};

use crate::exchange::{VIEWS, views};
use crate::support::ledger::{keep_late_lines, ledger, lines, record, report_sql, rows};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::Home;

const EXAMPLE: &str = include_str!("../data/example/history.ndjson");

/// The reports that name nobody.
pub const PLANNING: [&str; 11] = [
    "utilisation",
    "disconnects",
    "group-utilisation",
    "coverage",
    "busy-hours",
    "concurrency",
    "capacity",
    "forecast",
    "outages",
    "distribution",
    "comparison",
];

/// The reports that name desktops and their users.
pub const NAMED: [&str; 8] = [
    "connected-at",
    "user-history",
    "user-days",
    "user-hours",
    "desktop-history",
    "lingering",
    "flapping",
    "idle-desktops",
];

/// A report, with parameters that fit the example.
pub fn report(name: &str) -> String {
    report_sql(
        name,
        &[
            ("from", "2026-10-05"),
            ("to", "2026-10-06"),
            ("at", "2026-10-05T08:07:00Z"),
            ("bucket", "hour"),
            ("tz", "UTC"),
            ("source", ""),
            ("group", ""),
            ("user", "alice"),
            ("desktop", "d-a"),
            ("reconnect_within", "15m"),
            ("times", "1"),
            ("within", "1h"),
            ("share", "20"),
            ("days", "30"),
            ("headroom_pct", "10"),
            ("workdays", "1-5"),
            ("day_from", "8"),
            ("day_to", "18"),
            ("horizon_days", "14"),
            ("bins", "20"),
            ("other_from", ""),
            ("other_to", ""),
            ("overlap", "once"),
        ],
    )
}

async fn strings(pool: &PgPool, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_all(pool).await.unwrap()
}

/// A connection that may do what a role may.
async fn connection_as(database: &TestDatabase, role: &str) -> PgConnection {
    let options = PgConnectOptions::clone(&database.pool.connect_options());
    let mut connection = options.connect().await.unwrap();
    connection.execute(AssertSqlSafe(format!("set role {role}"))).await.unwrap();
    connection
}

/// The code of the error with which a statement is refused; `None`: it is not.
async fn refusal(connection: &mut PgConnection, sql: &str) -> Option<String> {
    let error = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.err()?;
    let error = error.into_database_error().unwrap();
    Some(error.code().unwrap().into_owned())
}

const DENIED: Option<&str> = Some("42501");

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_schema_is_refused_with_a_clear_message() {
    let (database, store) = ledger().await;
    sqlx::query(
        "insert into deskledger_data.migration (version, description, success, checksum, execution_time)
         values (9999, 'from the future', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let refused = store.migrate().await.unwrap_err().to_string();
    assert!(refused.contains("version 9999") && refused.contains("newer one"), "{refused}");

    let token = "[[source]]\nname = \"prod\"\nproject_id = \"p\"\nendpoint = \"http://127.0.0.1:9\"\n\
                 auth = { token = \"t\" }\n";
    let home = Home::configured(&database, token);
    home.write(
        "history.ndjson",
        br#"{"source": "prod", "observed_at": "2026-10-07T02:00:00Z", "error": {"code": "WKS.00000003"}}"#,
    );
    for arguments in [
        &["collect", "--once"][..],
        &["collect"],
        &["report", "utilisation"],
        &["export"],
        &["status"],
        &["import", "history.ndjson"],
    ] {
        let done = home.run(arguments).await.expect(3);
        assert_eq!(done.errors().len(), 1, "{}", done.err);
        assert!(done.errors()[0].contains("version 9999"), "{}", done.err);
        assert_eq!(done.out, "");
    }
    assert_eq!(rows(&database.pool, "select * from deskledger.sources").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_a_database_without_a_schema_changes_nothing() {
    let database = database().await;
    let home = Home::new(&database);
    for arguments in [&["report", "utilisation"][..], &["export"], &["status"]] {
        let done = home.run(arguments).await.expect(3);
        assert!(done.err.contains("hint: ") && done.err.contains("collect"), "{}", done.err);
    }
    let made = "select nspname::text from pg_namespace where nspname like 'deskledger%'";
    assert_eq!(strings(&database.pool, made).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn migrating_again_does_nothing_and_at_once_is_fine() {
    let database = database().await;
    let known = newest_schema_version();
    let stores = || async {
        let options = PgConnectOptions::clone(&database.pool.connect_options());
        Store::connect(options).await.unwrap()
    };
    let (one, two, three, four) = tokio::join!(stores(), stores(), stores(), stores());
    let (a, b, c, d) = tokio::join!(one.migrate(), two.migrate(), three.migrate(), four.migrate());
    for migrated in [a, b, c, d] {
        assert_eq!(migrated.unwrap().to, known);
    }
    let again = one.migrate().await.unwrap();
    assert_eq!((again.from, again.to, again.left_to_do.len()), (known, known, 0));
    let applied: i64 =
        sqlx::query_scalar("select count(*) from deskledger_data.migration where success")
            .fetch_one(&database.pool)
            .await
            .unwrap();
    assert_eq!(applied, known);
}

#[tokio::test]
async fn impossible_rows_are_refused_by_name() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let copy = |table: &str, change: &str| {
        format!(
            "insert into deskledger_data.{table}
             select (jsonb_populate_record(t, {change})).* from deskledger_data.{table} t limit 1"
        )
    };
    let at = "'2026-10-06T00:00:00Z'";
    let snapshot = |change: &str| {
        copy(
            "snapshot",
            &format!("jsonb_build_object('observed_at', {at}, 'finished_at', {at}) || {change}"),
        )
    };
    assert!(keep_late_lines(&store, EXAMPLE, 20).await > 0);
    let late = |change: &str| copy("late", change);
    for (statement, constraint) in [
        (copy("source", "'{\"source_id\": 99}'"), "source_name_is_unique"),
        (copy("source", "'{\"source_id\": 99, \"name\": \"\"}'"), "source_name_is_not_empty"),
        (copy("source", "'{\"source_id\": 99, \"name\": \"(all)\"}'"), "source_is_not_called_all"),
        (
            snapshot("'{\"finished_at\": \"2026-10-05T23:59:59Z\"}'"),
            "snapshot_finishes_after_it_starts",
        ),
        (snapshot("'{\"desktops_outcome\": 3}'"), "snapshot_outcomes_are_known"),
        (snapshot("'{\"groups_outcome\": 1}'"), "snapshot_outcomes_are_known"),
        (
            snapshot("'{\"desktops_outcome\": 0, \"desktops_recorded\": 3}'"),
            "snapshot_of_a_failed_listing_has_no_desktops",
        ),
        (
            snapshot("'{\"groups_outcome\": 2, \"groups_recorded\": null}'"),
            "snapshot_of_failed_statistics_has_no_groups",
        ),
        (snapshot("'{\"max_gap\": 0}'"), "snapshot_holds_for_some_time"),
        (copy("desktop", "'{\"desktop_no\": 99}'"), "desktop_id_is_unique_in_its_source"),
        (copy("desktop", "'{\"desktop_id\": \"other\"}'"), "desktop_pkey"),
        (
            copy("assignment", "'{\"assignment_no\": 99, \"attribution\": \"guessed\"}'"),
            "assignment_attribution_is_known",
        ),
        (
            copy("coverage_run", "'{\"covered_from\": \"2026-10-07T00:00:00Z\"}'"),
            "coverage_run_ends_after_it_starts",
        ),
        (
            copy("open_span", &format!("jsonb_build_object('desktop_no', 99, 'last_seen', {at})")),
            "open_span_is_unlisted_as_a_whole",
        ),
        (copy("open_span", "'{\"status_id\": 3}'"), "open_span_pkey"),
        (
            copy("open_span", "'{\"desktop_no\": 99, \"source_id\": 99}'"),
            "open_span_source_id_fkey",
        ),
        (
            copy("span", &format!("jsonb_build_object('piece_from', {at})")),
            "span_ends_after_it_starts",
        ),
        (
            copy("span", &format!("jsonb_build_object('last_seen', {at})")),
            "span_holds_until_it_was_last_seen",
        ),
        (copy("span", "'{\"ended\": -6}'"), "span_ended_is_known"),
        (
            copy("group_span", &format!("jsonb_build_object('from_at', {at})")),
            "group_span_ends_after_it_starts",
        ),
        (
            format!(
                "insert into deskledger_data.unlisted values (1, 1, {at}, '2026-10-05T23:00:00Z')"
            ),
            "unlisted_ends_after_it_starts",
        ),
        (
            copy("open_group_span", "'{\"group_no\": 99, \"counters\": [1, 2]}'"),
            "open_group_span_has_all_counters",
        ),
        (late("'{}'"), "late_pkey"),
        (late("'{\"sequence\": 99, \"source_id\": 99}'"), "late_source_id_fkey"),
        (
            late("'{\"sequence\": 99, \"finished_at\": \"2026-10-05T00:00:00Z\"}'"),
            "late_finishes_after_it_starts",
        ),
        (late("'{\"sequence\": 99, \"desktops_outcome\": 3}'"), "late_outcomes_are_known"),
        (late("'{\"sequence\": 99, \"groups_outcome\": 1}'"), "late_outcomes_are_known"),
        (
            late("'{\"sequence\": 99, \"desktops_recorded\": null}'"),
            "late_with_a_failed_listing_has_no_desktops",
        ),
        (
            late("'{\"sequence\": 99, \"groups_recorded\": null}'"),
            "late_with_failed_statistics_has_no_groups",
        ),
        (late("'{\"sequence\": 99, \"max_gap\": 0}'"), "late_holds_for_some_time"),
        (late("'{\"sequence\": 99, \"line\": null}'"), "late_is_salted_only_with_its_line"),
        (late("'{\"sequence\": 99, \"line\": \"[]\"}'"), "late_line_is_an_object"),
    ] {
        let refused = sqlx::query(AssertSqlSafe(statement.clone())).execute(&database.pool).await;
        let error = refused.expect_err(&statement).into_database_error().unwrap();
        assert_eq!(error.constraint(), Some(constraint), "{error}: {statement}");
    }
    // A second snapshot of one instant is refused by the partition's own copy of the key.
    let twice = copy("snapshot", "'{}'");
    let refused = sqlx::query(AssertSqlSafe(twice)).execute(&database.pool).await;
    let error = refused.unwrap_err().into_database_error().unwrap();
    assert!(error.is_unique_violation(), "{error}");
}

#[tokio::test]
async fn every_view_and_column_that_people_read_is_explained() {
    let (database, _store) = ledger().await;
    for schema in ["deskledger", "deskledger_planner"] {
        let of_schema = "from pg_class c join pg_namespace n on n.oid = c.relnamespace";
        let views: Vec<String> = strings(
            &database.pool,
            &format!(
                "select relname::text {of_schema} where nspname = '{schema}' and relkind = 'v'"
            ),
        )
        .await;
        let views: BTreeSet<&str> = views.iter().map(String::as_str).collect();
        assert_eq!(views, VIEWS.into_iter().collect(), "{schema}");
        let silent = format!(
            "select format('%s.%s', relname, attname) {of_schema}
               join pg_attribute a on a.attrelid = c.oid and attnum > 0
              where nspname = '{schema}' and relkind = 'v'
                and coalesce(btrim(col_description(c.oid, attnum)), '') = ''
              union all
             select relname {of_schema}
              where nspname = '{schema}' and relkind = 'v'
                and coalesce(btrim(obj_description(c.oid, 'pg_class')), '') = ''"
        );
        assert_eq!(strings(&database.pool, &silent).await, [""; 0], "{schema}");
    }
    let schemas = strings(
        &database.pool,
        "select nspname::text from pg_namespace
          where nspname like 'deskledger%' and obj_description(oid, 'pg_namespace') is null",
    )
    .await;
    assert_eq!(schemas, [""; 0]);
}

/// What names a person or a desktop, or may quote one.
const NAMING: [&str; 12] = [
    "desktop_id",
    "desktop_name",
    "users",
    "attach_users",
    "error_message",
    "last_error",
    "reason_message",
    "user_name",
    "user_id",
    "assignment_no",
    "person_no",
    "label_no",
];

#[tokio::test]
async fn planners_see_no_column_that_names_anybody() {
    let (database, _store) = ledger().await;
    let columns = strings(
        &database.pool,
        "select distinct attname::text
           from pg_class c
           join pg_namespace n on n.oid = c.relnamespace
           join pg_attribute a on a.attrelid = c.oid and attnum > 0
          where relkind in ('v', 'r', 'p') and nspname not in ('pg_catalog', 'information_schema')
            and has_schema_privilege('deskledger_planner', n.oid, 'usage')
            and has_column_privilege('deskledger_planner', c.oid, attnum, 'select')",
    )
    .await;
    assert!(columns.iter().any(|column| column == "connect_status"), "{columns:?}");
    let named: Vec<&String> =
        columns.iter().filter(|column| NAMING.contains(&column.as_str())).collect();
    assert_eq!(named, [""; 0]);
}

#[tokio::test]
async fn the_reader_reads_everything_and_writes_nothing() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let mut connection = connection_as(&database, "deskledger_reader").await;
    for view in VIEWS {
        for schema in ["deskledger", "deskledger_planner"] {
            let read = format!("select * from {schema}.{view}");
            assert_eq!(refusal(&mut connection, &read).await, None, "{read}");
        }
    }
    for name in PLANNING.iter().chain(&NAMED) {
        assert_eq!(refusal(&mut connection, &report(name)).await, None, "{name}");
    }
    assert_writes_nothing(&mut connection).await;
}

async fn assert_writes_nothing(connection: &mut PgConnection) {
    for statement in [
        "insert into deskledger.sources (source) values ('mine')",
        "insert into deskledger_report.source (source_id, source) values (9, 'mine')",
        "update deskledger_report.source set source = 'mine'",
        "delete from deskledger_report.desktop",
        "update deskledger.snapshots set error_message = null",
        "delete from deskledger_data.snapshot",
        "select * from deskledger_data.person",
        "create table deskledger.mine (a int)",
        "create table deskledger_planner.mine (a int)",
        "create view deskledger_report.mine as select 1",
        "drop view deskledger.gaps",
        "truncate deskledger_data.snapshot",
    ] {
        let refused = refusal(connection, statement).await;
        // 55000: a view that cannot be written to at all.
        assert!(matches!(refused.as_deref(), Some("42501" | "55000")), "{statement}: {refused:?}");
    }
}

#[tokio::test]
async fn the_planner_plans_and_learns_no_name() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let mut connection = connection_as(&database, "deskledger_planner").await;
    for view in VIEWS {
        let read = format!("select * from deskledger_planner.{view}");
        assert_eq!(refusal(&mut connection, &read).await, None, "{read}");
        let named = format!("select * from deskledger.{view}");
        assert_eq!(refusal(&mut connection, &named).await.as_deref(), DENIED, "{named}");
    }
    for name in PLANNING {
        assert_eq!(refusal(&mut connection, &report(name)).await, None, "{name}");
    }
    for name in NAMED {
        assert_eq!(refusal(&mut connection, &report(name)).await.as_deref(), DENIED, "{name}");
    }
    for view in [
        "named_piece",
        "connection",
        "desktop",
        "user_label",
        "label",
        "labelled_piece",
        "desktop_label",
        "labelled_sum",
        "loose_piece",
        "row_piece",
    ] {
        let read = format!("select * from deskledger_report.{view}");
        assert_eq!(refusal(&mut connection, &read).await.as_deref(), DENIED, "{read}");
    }
    assert_writes_nothing(&mut connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_itself_reports_with_a_planners_rights() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    let home = Home::new(&database);
    let separator = if database.url.contains('?') { '&' } else { '?' };
    let url = format!("{}{separator}options%5Brole%5D=deskledger_planner", database.url);
    let range = ["--from", "2026-10-05", "--to", "2026-10-06", "--format", "json"];
    let of = |name: &'static str| {
        [&["report", "--database-url", url.as_str()][..], &[name], &range].concat()
    };
    let done = home.run(&of("utilisation")).await.expect(0);
    let answer: Value = serde_json::from_str(&done.out).unwrap();
    assert_eq!(answer[0]["source"], "prod");
    let of_one = ["report", "--database-url", &url, "utilisation", "--source", "prod"];
    let done = home.run(&of_one).await.expect(0);
    assert!(done.out.contains("prod every 5m"), "{}", done.out);
    let arguments = ["report", "--database-url", &url, "connected-at", "--at", "2026-10-05"];
    let done = home.run(&arguments).await.expect(3);
    assert!(done.errors()[0].contains("permission denied"), "{}", done.err);

    // On one page, what names nobody, though the login may read all.
    let page = async |more: &[&'static str]| {
        let path = home.path().join("page.html");
        let all = ["report", "--all", "--from", "2026-10-05", "--to", "2026-10-06", "--output"];
        home.run(&[&all, &[path.to_str().unwrap()][..], more].concat()).await.expect(0);
        std::fs::read_to_string(path).unwrap()
    };
    let names = |html: &str| ["alice", "bob", "DESK-", ">d-b"].map(|name| html.contains(name));
    assert_eq!(names(&page(&[]).await), [false, true, true, true]);
    let html = page(&["--without-names"]).await;
    assert_eq!(names(&html), [false; 4]);
    assert!(html.contains("pool-1") && html.contains("was asked for without names"));
    assert!(!html.contains("login may not read"), "no login is to blame for what was asked for");
    home.run(&["report", "utilisation", "--without-names"]).await.expect(2);
}

/// A server of this test's own, since roles belong to a whole server.
#[tokio::test]
async fn who_may_make_no_roles_migrates_and_says_what_is_left() {
    let folder = std::path::Path::new("/tmp").join(format!(
        "deskledger-roles-{}-{:08x}",
        std::process::id(),
        rand::random::<u32>()
    ));
    let options = Options {
        data_dir: Some(folder.clone()),
        durability: Durability::Throwaway,
        ..Options::default()
    };
    let private = acquire(options).await.unwrap();
    let owner = private.connect_options();
    let mut superuser = owner.connect().await.unwrap();
    // As the page says, less what sets the search path: that is among what is left.
    let page = include_str!("../../docs/privacy.md");
    let statements = page.split("**The recorder**").nth(1).unwrap().split("```sql").nth(1).unwrap();
    let statements = statements.split("```").next().unwrap().split(';').map(str::trim);
    let mut made = 0;
    for statement in statements.filter(|text| !text.is_empty() && !text.starts_with("alter")) {
        let statement = statement
            .replace("database deskledger", "database \"odd name\"")
            .replace("recorder", "plain");
        assert_eq!(refusal(&mut superuser, &statement).await, None, "{statement}");
        made += 1;
    }
    assert_eq!(made, 4);
    let there = owner.clone().database("odd name");
    let pool = PgPoolOptions::new()
        .max_connections(2)
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute("set role plain").await.map(drop) })
        })
        .connect_with(there.clone())
        .await
        .unwrap();
    let store = Store::from_pool(pool.clone());
    let migrated = store.migrate().await.unwrap();
    assert_eq!(migrated.to, newest_schema_version());
    let left = migrated.left_to_do;
    assert_eq!(left.len(), 7, "{left:#?}");
    record(&store, EXAMPLE, 1, usize::MAX).await;

    // Someone who may runs them as they are.
    let mut superuser_there = there.connect().await.unwrap();
    let (create, rest): (Vec<_>, Vec<_>) =
        left.iter().partition(|statement| statement.starts_with("create role"));
    for statement in create {
        assert_eq!(refusal(&mut superuser_there, statement).await, None, "{statement}");
    }
    // Once the roles are there, the next start lets them read, and has nothing more to say of them.
    store.migrate().await.unwrap();
    let may_read: bool = sqlx::query_scalar(
        "select has_table_privilege('deskledger_planner', 'deskledger_planner.sources', 'select')
            and has_table_privilege('deskledger_reader', 'deskledger.connections', 'select')",
    )
    .fetch_one(&mut superuser_there)
    .await
    .unwrap();
    assert!(may_read);
    assert_eq!(store.migrate().await.unwrap().left_to_do, [""; 0]);
    for statement in rest {
        assert_eq!(refusal(&mut superuser_there, statement).await, None, "{statement}");
    }
    superuser_there.execute("set role deskledger_planner").await.unwrap();
    assert_eq!(refusal(&mut superuser_there, &report("utilisation")).await, None);
    let named = "select * from deskledger_report.named_piece";
    assert_eq!(refusal(&mut superuser_there, named).await.as_deref(), DENIED);
    let mut fresh = there.connect().await.unwrap();
    assert_eq!(
        refusal(&mut fresh, "select * from connections").await,
        None,
        "the search path is set"
    );

    // What it needs only to migrate may be taken from it: a new month, and all else, is recorded all the same.
    superuser.execute("revoke create on database \"odd name\" from plain").await.unwrap();
    record(&store, &line("2026-11-05T08:00:00Z", Some("CONNECTED"), 1), 1, 1).await;
    assert_eq!(store.migrate().await.unwrap().left_to_do, [""; 0]);
    let verdicts =
        store.pack(&store.packable(None, 1).await.unwrap()[0], async |_, _| ()).await.unwrap();
    assert!(verdicts.is_some_and(|packed| packed.packed > 0));

    for connection in [superuser, superuser_there, fresh] {
        connection.close().await.unwrap();
    }
    pool.close().await;
    let private = encrypted(private, &folder).await;
    private.release().await.unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

/// The server once more, at two addresses of this machine, with a certificate for the first of them: TLS is taken where it is
/// offered, and what is demanded of it is looked at.
async fn encrypted(private: Private, folder: &std::path::Path) -> Private {
    let options = private.connect_options();
    let [a, b]: [u8; 2] = rand::random();
    let hosts = [1, 2].map(|last| format!("127.{a}.{b}.{last}"));
    let (key, certificate) = (folder.join("tls.key"), folder.join("tls.crt"));
    let settings = folder.join("tls.cnf");
    let text = format!(
        "[req]\ndistinguished_name = name\nprompt = no\n[name]\nCN = ledger\n[ext]\nsubjectAltName = IP:{}\n",
        hosts[0]
    );
    std::fs::write(&settings, text).unwrap();
    let made = std::process::Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-extensions", "ext", "-config"])
        .arg(&settings)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .expect("openssl is there");
    assert!(made.status.success(), "{made:?}");
    // For the server to copy it: it runs as another user where this is root's test.
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    let mut superuser = options.connect().await.unwrap();
    let copy = format!(
        "copy (select 1) to program 'cp {} server.key && chmod 600 server.key && cp {} server.crt'",
        key.display(),
        certificate.display()
    );
    superuser.execute(AssertSqlSafe(copy)).await.unwrap();
    let listen = format!("alter system set listen_addresses = '{}, {}'", hosts[0], hosts[1]);
    superuser.execute(AssertSqlSafe(listen)).await.unwrap();
    superuser.execute("alter system set ssl = on").await.unwrap();
    superuser.execute("alter role plain login").await.unwrap();
    superuser.close().await.unwrap();
    private.release().await.unwrap();
    let again = Options {
        data_dir: Some(folder.to_owned()),
        durability: Durability::Throwaway,
        ..Options::default()
    };
    let private = acquire(again).await.unwrap();
    let mut superuser = private.connect_options().connect().await.unwrap();
    superuser
        .execute("copy (select 'host all all 127.0.0.0/8 trust') to program 'cat > pg_hba.conf'")
        .await
        .unwrap();
    superuser.execute("select pg_reload_conf()").await.unwrap();
    superuser.close().await.unwrap();

    let port = private.connect_options().get_port();
    let root = certificate.display();
    for (host, more, is_encrypted) in [
        (0, String::new(), Some(true)),
        (0, "?sslmode=disable".to_owned(), Some(false)),
        (0, "?sslmode=require".to_owned(), Some(true)),
        (0, format!("?sslmode=verify-full&sslrootcert={root}"), Some(true)),
        (1, format!("?sslmode=verify-ca&sslrootcert={root}"), Some(true)),
        (1, format!("?sslmode=verify-full&sslrootcert={root}"), None),
        (0, "?sslmode=verify-full".to_owned(), None),
    ] {
        let url = format!("postgres://plain@{}:{port}/odd%20name{more}", hosts[host]);
        let options: PgConnectOptions = url.parse().unwrap();
        let found = match Store::connect(options).await {
            Ok(store) => Some(store.server_facts().await.unwrap().is_encrypted),
            Err(error) => {
                let text = deskledger::error::Chain(&error).to_string();
                assert!(text.contains("certificate"), "{url}: {text}");
                None
            }
        };
        assert_eq!(found, is_encrypted, "{url}");
    }
    private
}

/// A line with one desktop, or none listed.
fn line(at: &str, status: Option<&str>, total: i64) -> String {
    let desktops: Vec<Value> = status
        .iter()
        .map(|status| json!({ "desktop_id": "d-a", "connect_status": status }))
        .collect();
    json!({
        "source": "prod", "observed_at": at, "total_count": total, "desktops": desktops,
        "statics": [{ "static_name": "pool", "in_use_num": 1 }],
    })
    .to_string()
}

#[tokio::test]
async fn a_month_brings_its_partitions_and_cuts_what_goes_on() {
    let (database, store) = ledger().await;
    let before = [
        line("2026-10-31T23:45:00Z", Some("CONNECTED"), 1),
        line("2026-10-31T23:50:00Z", Some("CONNECTED"), 1),
        // Left out by two partial listings, one on each side of the month's end.
        line("2026-10-31T23:55:00Z", None, 1),
        line("2026-11-01T00:00:00Z", None, 1),
        line("2026-11-01T00:03:00Z", Some("CONNECTED"), 1),
    ];
    record(&store, &before.join("\n"), 1, 2).await;
    let partitions = strings(
        &database.pool,
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid
           join pg_class p on p.oid = i.inhparent where p.relkind = 'p' order by 1",
    )
    .await;
    for table in ["snapshot", "span", "group_span"] {
        for month in ["2026_10", "2026_11"] {
            assert!(
                partitions.contains(&format!("{table}_{month}")),
                "{table}_{month}: {partitions:?}"
            );
        }
    }
    let pieces = "select tableoid::regclass::text as part, piece_from, piece_to, ended from deskledger_data.span
                   order by piece_from";
    let micros =
        |at: &str| json!(at.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros());
    let (start, month) = (micros("2026-10-31T23:45:00Z"), micros("2026-11-01T00:00:00Z"));
    let cut = json!({
        "part": "deskledger_data.span_2026_10", "piece_from": start, "piece_to": month, "ended": -5,
    });
    assert_eq!(json!(rows(&database.pool, pieces).await), json!([cut]));
    let open = &rows(&database.pool, "select * from deskledger_data.open_span").await[0];
    assert_eq!((&open["piece_from"], &open["first_seen"]), (&month, &start));
    let unlisted = &rows(&database.pool, "select * from deskledger_data.unlisted").await;
    assert_eq!(unlisted[0]["from_at"], micros("2026-10-31T23:55:00Z"));
    assert_eq!(unlisted[0]["to_at"], month);

    record(&store, &line("2026-11-01T00:08:00Z", Some("REGISTERED"), 1), 1, 1).await;
    let end = micros("2026-11-01T00:08:00Z");
    let rest = json!({
        "part": "deskledger_data.span_2026_11", "piece_from": month, "piece_to": end, "ended": 3,
    });
    assert_eq!(json!(rows(&database.pool, pieces).await), json!([cut, rest]));
    // Nobody who reads the views knows of it.
    let connections = rows(&database.pool, "select * from deskledger.connections").await;
    assert_eq!(connections.len(), 1);
    assert_eq!((&connections[0]["first_seen"], &connections[0]["ended_before"]), (&start, &end));
    let listed = "select count(*) as n from deskledger.desktop_snapshots";
    assert_eq!(rows(&database.pool, listed).await[0]["n"], 4);
    let groups = rows(
        &database.pool,
        "select tableoid::regclass::text as part from deskledger_data.group_span",
    )
    .await;
    assert_eq!(json!(groups), json!([{ "part": "deskledger_data.group_span_2026_10" }]));
    let read = "select count(*) as n from deskledger.group_snapshots";
    assert_eq!(rows(&database.pool, read).await[0]["n"], 6);
}

#[tokio::test]
async fn a_span_across_several_month_ends_has_a_piece_in_each() {
    let (database, store) = ledger().await;
    let day = |at: &str, status| {
        line(&format!("{at}T12:00:00Z"), Some(status), 1).replacen('{', "{\"max_gap\":\"40d\",", 1)
    };
    let history = [
        day("2026-08-20", "CONNECTED"),
        day("2026-09-20", "CONNECTED"),
        day("2026-10-20", "CONNECTED"),
        day("2026-11-20", "DISCONNECTED"),
    ];
    // Once cut month by month while it was open, once when it was closed.
    for restart in [1, usize::MAX] {
        store.forget_everything().await.unwrap();
        record(&store, &history.join("\n"), if restart == 1 { 1 } else { 9 }, restart).await;
        let parts = strings(
            &database.pool,
            "select tableoid::regclass::text from deskledger_data.span order by piece_from",
        )
        .await;
        let months =
            ["08", "09", "10", "11"].map(|month| format!("deskledger_data.span_2026_{month}"));
        assert_eq!(parts, months);
        let all = views(&database.pool).await;
        assert_eq!((all["desktop_states"].len(), all["connections"].len()), (2, 1));
        assert_eq!(all["desktop_snapshots"].len(), 4);
    }
}

/// Every row of every table, with where it lies: a row that is written anew lies elsewhere.
async fn all_rows(pool: &PgPool) -> BTreeSet<String> {
    let tables = "select format('%I.%I', schemaname, tablename) from pg_tables where schemaname = 'deskledger_data'
                     and tablename not in ('snapshot', 'span', 'group_span')";
    let mut all = BTreeSet::new();
    for table in strings(pool, tables).await {
        let sql =
            format!("select '{table}' || t.ctid::text || t.xmin::text || t::text from {table} t");
        all.extend(strings(pool, &sql).await);
    }
    all
}

#[tokio::test]
async fn an_unchanged_snapshot_writes_its_own_row_and_moves_the_head() {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    // The example's last state, again and again.
    let last: Value = serde_json::from_str(EXAMPLE.lines().last().unwrap()).unwrap();
    let again = |at: &str| {
        let mut line = last.clone();
        line["observed_at"] = json!(at);
        line["finished_at"] = json!(at);
        lines(&line.to_string()).remove(0).snapshot
    };
    let (name, nowhere) = ("prod".to_owned(), || None);
    let source = Source { name, region: nowhere(), project_id: nowhere(), endpoint: nowhere() };
    let mut recorder = Recorder::open(&store, &source).await.unwrap();
    recorder.record(&again("2026-10-05T09:25:00Z")).await.unwrap();
    let before = all_rows(&database.pool).await;
    recorder.record(&again("2026-10-05T09:30:00Z")).await.unwrap();
    let after = all_rows(&database.pool).await;
    let table = |row: &String| row.split('(').next().unwrap().to_owned();
    let gone: Vec<String> = before.difference(&after).map(table).collect();
    let new: Vec<String> = after.difference(&before).map(table).collect();
    assert_eq!(gone, ["deskledger_data.head"]);
    assert_eq!(new, ["deskledger_data.head", "deskledger_data.snapshot_2026_10"]);
}

/// A recorder waits for the database only so long: what it gives up then must not keep the lock of migrations.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_is_given_up_holds_up_nobody() {
    let database = database().await;
    // Nothing of it can be made before this ends.
    let mut before = database.pool.begin().await.unwrap();
    sqlx::query("create schema deskledger_data").execute(&mut *before).await.unwrap();
    let store = Store::from_pool(database.pool.clone());
    let given_up = tokio::time::timeout(Duration::from_millis(500), store.migrate()).await;
    assert!(given_up.is_err());
    before.rollback().await.unwrap();
    let other = Store::from_pool(PgPool::connect(&database.url).await.unwrap());
    let migrated = tokio::time::timeout(Duration::from_secs(30), other.migrate()).await;
    assert_eq!(migrated.expect("nobody holds the lock").unwrap().to, newest_schema_version());
}
