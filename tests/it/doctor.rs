//! `doctor` as a process: what it finds, what it says to do, and that it changes nothing.

use std::path::Path;
use std::process::Stdio;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::simulator::{
    Fault, On, Password, Rule, ServerConfig, Simulator, Step, WorldConfig,
};
use deskledger::store::Store;
use deskledger::store::private::{Options, acquire};
use serde_json::Value;
use sqlx::AssertSqlSafe;

use crate::support::ledger::{ledger, record};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Done, Home};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const ACCESS_KEY: &str = "VERYSECRETACCESSKEY0";
const SECRET_KEY: &str = "very-secret-key-0123456789";
const TOKEN: &str = "very-secret-token-0123456789";
const PASSWORD: &str = "very-secret-password-0123456789";

fn server(desktops: u32) -> ServerConfig {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, desktops, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some((ACCESS_KEY.into(), SECRET_KEY.into()));
    config.token = Some(TOKEN.into());
    config.password = Some(Password {
        user: "recorder".into(),
        password: PASSWORD.into(),
        domain: "acme".into(),
    });
    config
}

async fn simulator() -> Simulator {
    Simulator::start(server(250)).await.unwrap()
}

/// A source as the configuration has it; `more` has the last word.
fn source(simulator: &Simulator, auth: &str, more: &str) -> String {
    let endpoint = simulator.endpoint();
    format!(
        "[[source]]\nname = \"prod\"\nendpoint = \"{endpoint}\"\nregion = \"ap-southeast-3\"\n\
         iam_endpoint = \"{endpoint}\"\npage_size = 100\n{more}\nauth = {{ {auth} }}\n"
    )
}

fn key(secret: &str) -> String {
    format!("access_key = \"{ACCESS_KEY}\", secret_key = \"{secret}\"")
}

fn with_project(more: &str) -> String {
    format!("project_id = \"{PROJECT}\"\n{more}")
}

/// A home with the usual source.
fn home(simulator: &Simulator, database: &TestDatabase) -> Home {
    Home::configured(database, &source(simulator, &key(SECRET_KEY), &with_project("")))
}

/// What the doctor reported.
pub struct Report(Value);

impl Report {
    pub fn of(done: &Done) -> Self {
        Self(serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}")))
    }

    /// A check's state, and what was found with what to do.
    #[track_caller]
    pub fn check(&self, group: &str, name: &str) -> (&str, String) {
        let checks = self.0["checks"].as_array().unwrap();
        let mut found =
            checks.iter().filter(|check| check["group"] == group && check["check"] == name);
        let check = found.next().unwrap_or_else(|| panic!("no {group} {name}: {:#}", self.0));
        assert!(found.next().is_none(), "{group} {name} comes twice");
        let advice = check["advice"].as_str().unwrap_or_default();
        (
            check["state"].as_str().unwrap(),
            format!("{} → {advice}", check["found"].as_str().unwrap()),
        )
    }

    /// Fails unless a check ended so, and says each of these.
    #[track_caller]
    pub fn expect(&self, group: &str, name: &str, state: &str, words: &[&str]) {
        let (is, text) = self.check(group, name);
        assert_eq!(is, state, "{group} {name}: {text}");
        for word in words {
            assert!(text.contains(word), "{group} {name} does not say `{word}`: {text}");
        }
    }

    /// The checks that failed.
    fn failed(&self) -> Vec<&str> {
        let checks = self.0["checks"].as_array().unwrap().iter();
        checks
            .filter(|check| check["state"] == "failed")
            .map(|check| check["check"].as_str().unwrap())
            .collect()
    }
}

fn assert_no_secret(done: &Done) {
    for secret in [SECRET_KEY, ACCESS_KEY, TOKEN, PASSWORD] {
        assert!(!done.out.contains(secret) && !done.err.contains(secret), "{secret}: {done:?}");
    }
}

/// Looks, for machines, and holds what must hold of every look: the exit code is that of what failed, no
/// secret is shown however much is said, and nothing is on stderr unless asked for.
async fn examine(home: &Home, more: &[&str]) -> Report {
    let done = home.run(&[&["doctor", "--format", "json"], more].concat()).await;
    let report = Report::of(&done);
    let failed = report.failed().len();
    assert_eq!(report.0["summary"]["failed"], failed);
    assert_eq!(done.code, Some(i32::from(failed > 0)), "{done:?}");
    assert_eq!(done.err, "", "stderr is for those who ask for more");
    assert_no_secret(&done);
    report
}

/// The same for people, as verbose as it may be.
async fn read(home: &Home) -> Done {
    let done = home.run(&["doctor", "-vv"]).await;
    assert_no_secret(&done);
    done
}

/// Everything that is in a database, and how it is built.
async fn dump(database: &TestDatabase) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
          where schemaname not in ('pg_catalog', 'information_schema') order by 1",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let mut text: String = sqlx::query_scalar(
        "select coalesce(string_agg(concat_ws(' ', n.nspname, c.relname, c.relkind, c.relacl), chr(10)
                                    order by n.nspname, c.relname), '')
                || (select count(*) from pg_proc) || (select count(*) from pg_namespace)
           from pg_class c join pg_namespace n on n.oid = c.relnamespace where n.nspname like 'deskledger%'",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    for table in tables {
        let rows = format!(
            "select coalesce(string_agg(t::text, chr(10) order by t::text), '') from {table} t"
        );
        text += &sqlx::query_scalar::<_, String>(AssertSqlSafe(rows))
            .fetch_one(&database.pool)
            .await
            .unwrap();
    }
    text
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.push(path.display().to_string());
        if path.is_dir() {
            all.extend(files(&path));
        }
    }
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn where_everything_is_fine_it_says_so_and_changes_nothing() {
    let (simulator, database) = (simulator().await, database().await);
    let home = home(&simulator, &database);
    home.run(&["collect", "--once"]).await.expect(0);
    let (before, there, asked) = (dump(&database).await, files(home.path()), simulator.requests());
    let report = examine(&home, &[]).await;
    assert_eq!(report.failed(), Vec::<&str>::new());
    assert_eq!(simulator.requests() - asked, 3, "both calls, and one page as configured");
    for (group, name, words) in [
        ("configuration", "file", &["deskledger.toml"][..]),
        ("configuration", "environment", &["DATABASE_URL is set"]),
        ("configuration", "sources", &["1: `prod` every 5m"]),
        ("database", "connection", &["as `deskledger`"]),
        ("database", "version", &["PostgreSQL 1"]),
        ("database", "clock", &["within a second"]),
        ("database", "schema", &["the newest"]),
        ("database", "rights", &["may record"]),
        ("database", "roles", &["deskledger_reader and deskledger_planner"]),
        ("database", "size", &["the largest tables"]),
        ("source", "endpoint", &["127.0.0.1", "no proxy", "connected in"]),
        ("source", "credentials", &["access key VERY…"]),
        ("source", "project", &[PROJECT, "as configured"]),
        ("source", "pinned", &["the ledger has it"]),
        ("source", "connect-desktops", &["allowed"]),
        ("source", "connections/status", &["allowed, 5 groups"]),
        ("source", "clock", &["within a minute"]),
        (
            "source",
            "paging",
            &["250 desktops", "reaches 2100", "takes 4 requests", "at 180 a minute"],
        ),
        ("source", "recorded", &["ago; visits are every 5m"]),
        ("source", "newest visit", &["complete: ", " desktops"]),
        ("source", "gaps", &["none is open"]),
    ] {
        report.expect(group, name, "ok", words);
    }
    // Not a guess of a foreign machine's disk.
    report.expect("database", "room", "skipped", &["not observed"]);
    // The key stands in a file that everyone may read, and the server of these tests does not wait for the disk.
    report.expect(
        "configuration",
        "secrets",
        "warning",
        &["source.prod.auth.secret_key", "chmod o-rwx"],
    );

    let done = read(&home).await.expect(0);
    assert!(done.out.contains("\nsource `prod`\n  ok       endpoint"), "{}", done.out);
    assert!(!done.out.contains('\x1b'), "no colour where there is no terminal");
    assert_eq!(dump(&database).await, before);
    assert_eq!(files(home.path()), there);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_database_is_a_warning_and_stays_empty() {
    let (simulator, database) = (simulator().await, database().await);
    let home = home(&simulator, &database);
    let before = dump(&database).await;
    let report = examine(&home, &[]).await;
    report.expect(
        "database",
        "schema",
        "warning",
        &["nothing was ever recorded", "`deskledger collect`"],
    );
    report.expect("database", "rights", "ok", &["may make the schema"]);
    report.expect("source", "recorded", "warning", &["nothing yet"]);
    report.expect("source", "pinned", "ok", &["not recorded yet"]);
    assert_eq!(report.failed(), Vec::<&str>::new());
    assert_eq!(dump(&database).await, before);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_tried_once() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home =
        Home::configured(&database, &source(&simulator, &key("very-wrong"), &with_project("")));
    let report = examine(&home, &[]).await;
    assert_eq!(simulator.requests(), 1, "more refusals would lock the key");
    assert_eq!(report.failed(), ["credentials"]);
    report.expect("source", "credentials", "failed", &["HTTP 401", "is it right, enabled"]);
    report.expect("source", "endpoint", "ok", &[]);
    for name in ["connect-desktops", "connections/status", "paging"] {
        report.expect("source", name, "skipped", &["not checked"]);
    }
    let done = read(&home).await.expect(1);
    assert!(!done.out.contains("very-wrong") && !done.err.contains("very-wrong"));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_sources_with_one_wrong_key_try_it_once_together() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let one = source(&simulator, &key("very-wrong"), &with_project(""));
    let home = Home::configured(&database, &(one.clone() + &one.replace("prod", "test")));
    let done = home.run(&["doctor", "--format", "json"]).await.expect(1);
    assert_eq!(simulator.requests(), 1);
    let checks = Report::of(&done).0;
    let states: Vec<_> = checks["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["check"] == "credentials")
        .map(|check| check["state"].as_str().unwrap().to_owned())
        .collect();
    assert!(states.contains(&"failed".into()) && states.contains(&"skipped".into()), "{states:?}");
    let report = examine(&home, &["--source", "test"]).await;
    report.expect("source", "credentials", "failed", &[]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_has_to_be_replaced() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let token = format!("token = \"{TOKEN}\"");
    let home = Home::configured(&database, &source(&simulator, &token, &with_project("")));
    let report = examine(&home, &[]).await;
    report.expect("source", "credentials", "warning", &["not renewed", "use an access key"]);
    simulator.set_faults(vec![Rule::new(Fault::ExpiredToken)]);
    let report = examine(&home, &[]).await;
    report.expect("source", "credentials", "failed", &["APIGW.0307", "obtain a new one"]);
    read(&home).await.expect(1);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_is_named_with_the_tokens_end_and_the_regions_project_is_looked_up() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let auth = format!("user = \"recorder\", password = \"{PASSWORD}\", domain = \"acme\"");
    let home = Home::configured(&database, &source(&simulator, &auth, ""));
    let report = examine(&home, &[]).await;
    assert!(simulator.requests() <= 10, "{}", simulator.requests());
    let user = ["user `recorder` of account `acme`", "renewed in time"];
    report.expect("source", "credentials", "ok", &user);
    report.expect("source", "project", "ok", &[PROJECT, "looked up"]);
    home.configure(&source(&simulator, &auth.replace(PASSWORD, "very-wrong"), ""));
    let asked = simulator.requests();
    let report = examine(&home, &[]).await;
    assert_eq!(simulator.requests() - asked, 1);
    report.expect("source", "credentials", "failed", &["are they right"]);
    report.expect("source", "project", "skipped", &[]);
    assert!(!read(&home).await.expect(1).err.contains("very-wrong"));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_right_that_is_missing_is_named() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    for (on, failed, right, other) in [
        (On::Statistics, "connections/status", "getConnectStatus", "connect-desktops"),
        (On::Listing, "connect-desktops", "listWithConnectStatus", "connections/status"),
    ] {
        simulator.set_faults(vec![Rule::new(Fault::Status(403)).on(on)]);
        let report = examine(&home, &[]).await;
        assert_eq!(report.failed(), [failed]);
        report.expect("source", failed, "failed", &["HTTP 403", right]);
        report.expect("source", other, "ok", &[]);
        report.expect("source", "credentials", "ok", &[]);
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn another_project_than_the_ledgers_is_found() {
    let (simulator, database) = (simulator().await, database().await);
    let home = home(&simulator, &database);
    home.run(&["collect", "--once"]).await.expect(0);
    home.configure(&source(&simulator, &key(SECRET_KEY), "project_id = \"another\""));
    let report = examine(&home, &[]).await;
    let words = [PROJECT, "`another`", "a source name of its own"];
    report.expect("source", "pinned", "failed", &words);
    report.expect("source", "connect-desktops", "failed", &["is `project_id` the one"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_leaves_the_database_to_be_looked_at() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    simulator.stop().await.unwrap();
    let report = examine(&home, &[]).await;
    assert_eq!(report.failed(), ["endpoint"]);
    report.expect("source", "endpoint", "failed", &["no connection to `127.0.0.1`", "firewall"]);
    report.expect("source", "credentials", "skipped", &["cannot be reached"]);
    report.expect("source", "pinned", "ok", &["not recorded yet"]);
    report.expect("database", "schema", "ok", &[]);
    read(&home).await.expect(1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_without_tls_is_told_from_a_firewall() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let text = source(&simulator, &key(SECRET_KEY), &with_project(""));
    let home = Home::configured(&database, &text.replace("http://", "https://"));
    let report = examine(&home, &[]).await;
    report.expect("source", "endpoint", "failed", &["this port does not speak TLS"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn clocks_that_differ_are_told_with_both_times() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    for (minutes, state) in [(7, "warning"), (-7, "warning"), (20, "failed"), (-20, "failed")] {
        simulator.set_faults(vec![Rule::new(Fault::Skew(TimeDelta::minutes(minutes)))]);
        let report = examine(&home, &[]).await;
        let words = ["this machine says", "the server", "set the clock right"];
        report.expect("source", "clock", state, &words);
        let way = if minutes > 0 { "behind" } else { "ahead of" };
        report.expect("source", "clock", state, &[way]);
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fleet_beyond_reach_is_told_in_numbers() {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let (database, _) = ledger().await;
    for (takes, words) in [
        (200, "knows 0 desktops of 0 users, so up to 150 stay unlisted until"),
        (2000, "the server takes larger offsets: set `max_offset = 100000`"),
    ] {
        let mut config = server(1);
        config.world = WorldConfig::still(3, 450, start, [0, 0, 1, 0]);
        config.max_offset = takes;
        let simulator = Simulator::start(config).await.unwrap();
        let more = with_project("max_offset = 200");
        let home = Home::configured(&database, &source(&simulator, &key(SECRET_KEY), &more));
        let report = examine(&home, &[]).await;
        let numbers = ["450 desktops", "reaches 300", "450 registered", "150 are beyond that"];
        report.expect("source", "paging", "warning", &numbers);
        report.expect("source", "paging", "warning", &[words]);
        assert!(simulator.requests() <= 10, "{}", simulator.requests());
        report.expect("source", "paging", "warning", &["`deskledger import`"]);
        // What the configuration asks for and the server refuses would end every visit.
        if takes == 200 {
            let more = with_project("max_offset = 2000");
            home.configure(&source(&simulator, &key(SECRET_KEY), &more));
            let report = examine(&home, &[]).await;
            report.expect("source", "paging", "failed", &["refuses", "write smaller ones"]);
        }
        simulator.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn desktops_that_the_ledger_knows_are_counted_with_their_users() {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let (database, store) = ledger().await;
    let mut config = server(1);
    config.world = WorldConfig::still(3, 450, start, [0, 0, 1, 0]);
    config.max_offset = 200;
    let simulator = Simulator::start(config).await.unwrap();
    let more = with_project("max_offset = 200");
    let home = Home::configured(&database, &source(&simulator, &key(SECRET_KEY), &more));
    // 400 desktops of 200 users, and one of nobody's.
    let desktop = |no: u32| {
        let user = format!("{{\"name\":\"user-{}\"}}", no / 2);
        let users = if no < 400 { user } else { String::new() };
        format!(
            "{{\"desktop_id\":\"d-{no}\",\"desktop_name\":\"d-{no}\",\"connect_status\":\"REGISTERED\",\"attach_users\":[{users}]}}"
        )
    };
    let desktops: Vec<String> = (0..401).map(desktop).collect();
    let at = Clock::System.now().to_rfc3339();
    let line = format!(
        "{{\"source\":\"prod\",\"observed_at\":\"{at}\",\"desktops\":[{}],\"statics\":[]}}\n",
        desktops.join(",")
    );
    record(&store, &line, 1, 100).await;
    let report = examine(&home, &[]).await;
    let words = ["knows 400 desktops of 200 users, so up to 50 stay unlisted"];
    report.expect("source", "paging", "warning", &words);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_api_does_not_make_a_recorder_late() {
    let (simulator, (database, store)) = (simulator().await, ledger().await);
    let more = with_project("interval = \"3s\"\nmax_gap = \"6s\"");
    let home = Home::configured(&database, &source(&simulator, &key(SECRET_KEY), &more));
    // Three requests, so ten and a half seconds.
    simulator.set_faults(vec![Rule::new(Fault::Delay(std::time::Duration::from_millis(3500)))]);
    let at = Clock::System.now().to_rfc3339();
    let line = format!(
        "{{\"source\":\"prod\",\"observed_at\":\"{at}\",\"desktops\":[],\"statics\":[]}}\n"
    );
    record(&store, &line, 1, 100).await;
    let report = examine(&home, &[]).await;
    assert!(Clock::System.now() - at.parse::<DateTime<Utc>>().unwrap() > TimeDelta::seconds(10));
    report.expect("source", "recorded", "ok", &["visits are every 3s"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pace_that_is_too_slow_is_told_in_numbers() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let more = with_project("interval = \"10s\"\nrequests_per_minute = 3");
    let home = Home::configured(&database, &source(&simulator, &key(SECRET_KEY), &more));
    let report = examine(&home, &[]).await;
    let words = ["takes 4 requests, 0 fit into the 10s", "a longer `interval`"];
    report.expect("source", "paging", "warning", &words);

    // Alone each fits into its 48 seconds, at the smaller of the two limits; together they do not.
    let more = with_project("interval = \"1m\"\nrequests_per_minute = 9");
    let one = source(&simulator, &key(SECRET_KEY), &more);
    let other = one.replace("prod", "test").replace("requests_per_minute = 9", "");
    home.configure(&(one + &other));
    let done = home.run(&["doctor", "--format", "json"]).await.expect(0);
    let words = ["`prod`, `test` share", "take 8 requests together, 7 fit at 9 a minute"];
    Report::of(&done).expect("source", "shared pace", "warning", &words);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_is_behind_is_told_by_how_much() {
    let (simulator, (database, store)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    let at = |minutes| Clock::System.now() - TimeDelta::minutes(minutes);
    let line = |at: DateTime<Utc>, rest: &str| {
        format!("{{\"source\":\"prod\",\"observed_at\":\"{}\",{rest}}}\n", at.to_rfc3339())
    };
    record(&store, &line(at(200), "\"desktops\":[],\"statics\":[]"), 1, 100).await;
    let report = examine(&home, &[]).await;
    let words = ["3h20m ago", "longer than max_gap (15m)", "is `deskledger collect` running?"];
    report.expect("source", "recorded", "failed", &words);
    report.expect("source", "gaps", "warning", &["not observed since"]);
    // It runs, and its visits fail.
    let failed = "\"error\":{\"code\":\"APIGW.0301\",\"message\":\"refused\"}";
    record(&store, &line(at(1), failed), 1, 100).await;
    let report = examine(&home, &[]).await;
    report.expect("source", "recorded", "ok", &[]);
    report.expect("source", "newest visit", "warning", &["listing failed", "APIGW.0301"]);
    report.expect("source", "gaps", "failed", &["failed since: 1,", "APIGW.0301: refused"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_of_a_newer_deskledger_is_left_alone() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    sqlx::raw_sql(
        "insert into deskledger_data.migration (version, description, success, checksum, execution_time)
         values (9999, 'from tomorrow', true, '', 0)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    let before = dump(&database).await;
    let report = examine(&home, &[]).await;
    assert_eq!(report.failed(), ["schema"]);
    report.expect(
        "database",
        "schema",
        "failed",
        &["version 9999", "the deskledger that migrated it"],
    );
    sqlx::raw_sql("delete from deskledger_data.migration where version > 1")
        .execute(&database.pool)
        .await
        .unwrap();
    let report = examine(&home, &[]).await;
    report.expect("database", "schema", "warning", &["version 1,", "migrates it"]);
    assert_ne!(dump(&database).await, before, "this test looks at nothing");
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_leaves_the_api_to_be_looked_at() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    let url = "postgres://someone:very-secret-pass@127.0.0.1:1/ledger";
    let report = examine(&home, &["--database-url", url]).await;
    assert_eq!(report.failed(), ["connection"]);
    let words = ["`ledger` at 127.0.0.1:1 as `someone`", "is PostgreSQL running there"];
    report.expect("database", "connection", "failed", &words);
    assert!(!report.0.to_string().contains("very-secret-pass"));
    report.expect("database", "schema", "skipped", &["the database cannot be reached"]);
    report.expect("source", "recorded", "skipped", &[]);
    report.expect("source", "connect-desktops", "ok", &[]);
    let missing = format!("{}x", database.url.split('?').next().unwrap());
    let query = database.url.split_once('?').map_or("", |(_, query)| query);
    let report = examine(&home, &["--database-url", &format!("{missing}?{query}")]).await;
    report.expect("database", "connection", "failed", &["does not exist", "createdb"]);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_may_only_read_cannot_record() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    for (role, may) in [
        ("deskledger_reader", "may read everything, and not record"),
        ("deskledger_planner", "may read the planner's views"),
    ] {
        let sign = if database.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{sign}options[role]={role}", database.url);
        let report = examine(&home, &["--database-url", &url]).await;
        let words = [may, "the login that made the schema"];
        report.expect("database", "rights", "failed", &words);
        report.expect("database", "schema", "skipped", &["may not see the tables"]);
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_cannot_be_used_is_an_answer() {
    let (database, _) = ledger().await;
    let home = Home::configured(&database, "[collect\ninterval = ");
    let report = examine(&home, &[]).await;
    assert_eq!(report.failed(), ["file"]);
    report.expect("configuration", "file", "failed", &["deskledger.toml:1", "no valid TOML"]);
    report.expect("configuration", "sources", "skipped", &[]);
    // What the environment says holds all the same.
    report.expect("database", "schema", "ok", &[]);

    home.configure("[collect]\nintervall = \"5m\"");
    let report = examine(&home, &[]).await;
    let words = ["`collect.intervall`", "did you mean `interval`?"];
    report.expect("configuration", "file", "failed", &words);

    let auth =
        "[[source]]\nname = 'a'\nregion = 'ap-southeast-3'\nauth = { token = 'file:nowhere' }";
    home.configure(auth);
    let report = examine(&home, &[]).await;
    let words = ["`source.a.auth.token`", "nowhere", "readable for the user"];
    report.expect("configuration", "sources", "failed", &words);

    home.configure("");
    let report = examine(&home, &[]).await;
    report.expect("configuration", "sources", "failed", &["no source is configured"]);
    report.expect("database", "rights", "ok", &[]);

    let report = examine(&home, &["--config", "nowhere.toml"]).await;
    report.expect("configuration", "file", "failed", &["nowhere.toml", "--config"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_use_is_no_answer() {
    let (simulator, (database, _)) = (simulator().await, ledger().await);
    let home = home(&simulator, &database);
    for wrong in
        [&["doctor", "--source", "other"][..], &["doctor", "--format", "html"], &["doctor", "x"]]
    {
        let done = home.run(wrong).await.expect(2);
        assert_eq!(done.out, "", "{wrong:?}");
    }
    let done = home.run(&["doctor", "--source", "other"]).await;
    assert!(done.err.contains("no source `other` is configured; there are `prod`"), "{}", done.err);
    assert_eq!(simulator.requests(), 0);
    simulator.stop().await.unwrap();
}

/// Without a database in the environment, as the first look on a new machine is.
async fn examine_private(home: &Path, data_dir: &Path) -> Report {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_deskledger"))
        .args(["doctor", "--format", "json", "--data-dir"])
        .arg(data_dir)
        .current_dir(home)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", home)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    Report(serde_json::from_slice(&output.stdout).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_server_is_never_made_and_stopped_if_it_was_started() {
    let home = tempfile::tempdir().unwrap();
    let report = examine_private(home.path(), &home.path().join("ledger")).await;
    report.expect(
        "database",
        "connection",
        "warning",
        &["not made yet", "`deskledger collect` makes it"],
    );
    report.expect("database", "room", "ok", &["free at"]);
    report.expect("database", "spool", "ok", &["nothing waits in", "free there"]);
    report.expect("database", "schema", "skipped", &["there is no database yet"]);
    assert_eq!(files(home.path()), Vec::<String>::new());

    // Where the user whom root drops to can reach it.
    let folder = tempfile::Builder::new().prefix("deskledger-doctor-").tempdir_in("/tmp").unwrap();
    let options = Options { data_dir: Some(folder.path().to_owned()), ..Options::default() };
    let private = acquire(options).await.unwrap();
    let store = Store::connect(private.connect_options()).await.unwrap();
    store.migrate().await.unwrap();
    let report = examine_private(home.path(), folder.path()).await;
    report.expect("database", "connection", "ok", &["private PostgreSQL", "running"]);
    store.pool().close().await;
    private.release().await.unwrap();

    let report = examine_private(home.path(), folder.path()).await;
    report.expect("database", "connection", "ok", &["started for this look"]);
    report.expect("database", "durability", "ok", &["survives a power cut"]);
    report.expect("database", "schema", "ok", &[]);
    report.expect("database", "room", "ok", &["free at"]);
    assert!(!folder.path().join("data/postmaster.pid").exists(), "it was left running");
}
