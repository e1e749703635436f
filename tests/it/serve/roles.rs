//! It can do nothing but read, whatever the login may do.

use deskledger::store::Store;
use sqlx::AssertSqlSafe;

use super::{DAY, Serving, example, own_reports};
use crate::support::ledger::rows;
use crate::support::postgres::TestDatabase;
use crate::support::program::Home;

/// The ledger's URL for a login that has, from its first moment on, the rights of `role`.
fn url_as(database: &TestDatabase, role: &str) -> String {
    let separator = if database.url.contains('?') { '&' } else { '?' };
    format!("{}{separator}options%5Brole%5D={role}", database.url)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_reads_as_the_reading_role_and_no_report_of_ones_own_gets_further() {
    let database = example().await;
    let home = Home::new(&database);
    let attempts = [
        (
            "insert",
            "with new as (insert into deskledger_data.source (source) values ('mine') returning 1) select * from new",
        ),
        (
            "insert-view",
            "with new as (insert into deskledger.sources (source) values ('mine') returning 1) select * from new",
        ),
        ("table", "select * from deskledger_data.source"),
        ("persons", "select * from deskledger_data.person"),
        ("file", "select pg_read_file('/etc/passwd') as file"),
        ("role", "select set_config('role', 'none', false), pg_read_file('/etc/passwd') as file"),
        ("lo", "select lo_import('/etc/passwd')::text as lo"),
        ("set", "set role none"),
        ("copy", "copy (select 1) to program 'id'"),
        ("do", "do $$ begin execute 'set role none'; end $$"),
        ("two", "select 1; set role none"),
        ("writing", "select set_config('transaction_read_only', 'off', true) as off"),
        ("sequence", "select nextval('deskledger_data.source_source_id_seq') as next"),
    ];
    own_reports(&home, &attempts);
    own_reports(
        &home,
        &[(
            "who",
            "select current_user::text as who, current_setting('transaction_read_only') as read_only",
        )],
    );
    let before = rows(&database.pool, "select * from deskledger.sources").await;
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    // Again and again, since a connection is used again.
    for (name, sql) in attempts {
        for path in [format!("/report/{name}"), format!("/report/{name}/csv")] {
            let answer = serving.get(&path).await;
            let text = answer.text();
            let is_refused = answer.status != 200 || text.contains("<p class=\"problem\"");
            assert!(is_refused && !text.contains("root:"), "{name}: {sql}\n{text}");
        }
        let who = serving.get("/report/who/csv").await.expect(200);
        assert_eq!(who.text(), "who,read_only\ndeskledger_reader,on\n", "after {name}");
    }
    serving.end().await.expect(0);
    assert_eq!(rows(&database.pool, "select * from deskledger.sources").await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_write_and_cannot_read_only_is_refused() {
    let database = example().await;
    let role = format!("deskledger_test_writer_{:08x}", rand::random::<u32>());
    let run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap()
    };
    run(format!(
        "create role {role} nologin;
         grant usage on schema deskledger, deskledger_data, deskledger_planner, deskledger_report to {role};
         grant select on all tables in schema deskledger, deskledger_data, deskledger_planner, deskledger_report to {role};
         grant insert on deskledger_data.snapshot to {role}"
    ))
    .await;
    let home = Home::on(url_as(&database, &role));
    let done = home.run(&["serve", "--listen", "127.0.0.1:0"]).await;
    // With the reading role it serves, and with no right to write, too.
    run(format!("grant deskledger_reader to {role}")).await;
    own_reports(&home, &[("who", "select current_user::text as who")]);
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    let granted = serving.get("/report/who/csv").await;
    serving.end().await.expect(0);
    run(format!("revoke deskledger_reader from {role}; revoke insert on deskledger_data.snapshot from {role}")).await;
    let serving = Serving::start(&home, &["--queries", "own"]).await;
    let by_itself = serving.get("/report/who/csv").await;
    serving.end().await.expect(0);
    // Roles belong to the whole server.
    run(format!("drop owned by {role}; drop role {role}")).await;
    let done = done.expect(3);
    assert!(done.errors()[0].contains("this database login may write"), "{}", done.err);
    assert!(done.err.contains("grant deskledger_reader to"), "{}", done.err);
    assert_eq!(granted.text(), "who\ndeskledger_reader\n");
    assert_eq!(by_itself.text(), format!("who\n{role}\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planner_sees_what_has_no_names_and_is_told_of_the_rest() {
    let database = example().await;
    let home = Home::on(url_as(&database, "deskledger_planner"));
    let serving = Serving::start(&home, &[]).await;
    let page = serving.get(&format!("/?{DAY}&source=prod")).await.expect(200);
    for name in [
        "utilisation",
        "concurrency",
        "capacity",
        "idle-desktops",
        "lingering",
        "flapping",
        "coverage",
    ] {
        let section = page.text();
        let section = section.split(&format!("<section id=\"{name}\"")).nth(1).unwrap();
        let section = section.split("</section>").next().unwrap().to_owned();
        let told = section.contains("may not read the names of desktops and persons");
        assert_eq!(
            told,
            ["idle-desktops", "lingering", "flapping"].contains(&name),
            "{name}: {section}"
        );
        assert_eq!(section.contains("<table"), !told, "{name}: {section}");
    }
    for name in ["alice", "bob", "DESK-A", ">d-a<"] {
        assert!(!page.text().contains(name), "{name}");
    }
    serving.get("/report/utilisation").await.expect(200);
    let at = "connected-at?at=2026-10-05T08:07:00Z";
    serving.get(&format!("/report/{at}")).await.expect(403).holds("may not read the names");
    serving.get("/report/connected-at/csv?at=2026-10-05T08:07:00Z").await.expect(403);
    serving.end().await.expect(0);
}

/// The check at the start is about tables as they are.
#[tokio::test]
async fn who_reads_only_is_who_has_no_right_to_write() {
    let database = example().await;
    let options = sqlx::postgres::PgConnectOptions::clone(&database.pool.connect_options());
    let store = Store::connect_to_read(options, 1).await.unwrap();
    for sql in [
        "insert into deskledger_data.source (source) values ('x')",
        "create table public.mine (a int)",
    ] {
        assert!(sqlx::query(AssertSqlSafe(sql)).execute(store.pool()).await.is_err(), "{sql}");
    }
    store.pool().close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_written_down_where_that_is_wanted_and_nobody_waits_for_it() {
    let database = example().await;
    let role = format!("deskledger_test_asker_{:08x}", rand::random::<u32>());
    let run = async |sql: String| {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&database.pool).await.unwrap()
    };
    run(format!(
        "create role {role} nologin; grant deskledger_reader, deskledger_access to {role}"
    ))
    .await;
    let name: String = sqlx::query_scalar(
        "select name from deskledger_data.person where type = 'USER' and id is not null order by person_no limit 1",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    let home = Home::on(url_as(&database, &role));
    let report = [
        "report",
        "user-history",
        "--user",
        &name,
        "--from",
        "2026-10-05",
        "--to",
        "2026-10-06",
        "-q",
    ];
    // Not asked for.
    home.run(&report).await.expect(0);
    home.configure("[access]\naudit = true\n");
    let asked = home.run(&report).await.expect(0);
    assert_eq!(asked.err, "");
    let serving = Serving::start(&home, &[]).await;
    let basic = [("authorization", "Basic Y2FybDp4")];
    serving
        .ask(reqwest::Method::GET, &format!("/report/utilisation/csv?{DAY}"), &basic)
        .await
        .expect(200);
    serving.get(&format!("/?{DAY}&source=prod")).await.expect(200);
    serving.end().await.expect(0);
    // Whoever may add to it may not read it, and what cannot be written down is said, beside the report.
    let refused = home.run(&["access"]).await;
    run(format!("revoke deskledger_access from {role}")).await;
    let report: Vec<&str> = report.into_iter().filter(|word| *word != "-q").collect();
    let unnoted = home.run(&report).await;
    run(format!("drop owned by {role}; drop role {role}")).await;
    refused.expect(3);
    let unnoted = unnoted.expect(0);
    assert_eq!(unnoted.out, asked.out);
    assert!(unnoted.err.contains("it is not written down who ran this"), "{}", unnoted.err);

    let home = Home::configured(&database, "[access]\naudit = true\n");
    home.run(&["export", "--late", "--source", "prod"]).await.expect(0);
    let read = async || {
        let said = home.run(&["access", "--json", "--from", "-1d"]).await.expect(0).out;
        let rows =
            said.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        rows.collect::<Vec<_>>()
    };
    let rows = read().await;
    let of =
        |key: &str| rows.iter().map(|row| row[key].as_str().unwrap_or("-")).collect::<Vec<_>>();
    assert_eq!(of("command"), ["report", "serve", "serve", "export"]);
    assert_eq!(of("report"), ["user-history", "utilisation", "-", "-"]);
    assert_eq!(of("caller"), ["-", "carl@127.0.0.1", "127.0.0.1", "-"]);
    assert_eq!(rows[0]["parameters"]["user"], name.as_str());
    assert_eq!(rows[2]["parameters"]["source"], "prod");
    assert_eq!(rows[3]["parameters"]["late"], true);
    assert!(
        rows.iter().all(|row| row["os_user"].is_string() && row["login"].is_string()),
        "{rows:?}"
    );
    let table = home.run(&["access"]).await.expect(0).out;
    assert!(table.contains("carl@127.0.0.1") && table.contains("user-history"), "{table}");
    // Names in it are erased, too.
    let erased = home.run(&["erase-user", &name, "--yes"]).await.expect(0).out;
    assert!(erased.contains("1 record of a report's run"), "{erased}");
    let user = read().await[0]["parameters"]["user"].as_str().unwrap().to_owned();
    assert!(user.starts_with("erased-"), "{user}");
}
