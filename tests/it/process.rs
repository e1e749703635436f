//! `collect` as a process: what it records of an API over HTTP, how it stops, and what it leaves behind when
//! something fails.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::domain::GroupStatistics;
use deskledger::simulator::{
    Fault, On, Password, Rule, ServerConfig, Simulator, Step, WorldConfig,
};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgPool};

use crate::support::ledger::{expected_desktops, rows};
use crate::support::postgres::{TestDatabase, database};
use crate::support::program::{Home, until};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const SECRET_KEY: &str = "very-secret-key-0123456789";
const ACCESS_KEY: &str = "VERYSECRETACCESSKEY0";
const TOKEN: &str = "very-secret-token-0123456789";
const SECURITY_TOKEN: &str = "very-secret-security-token-0123456789";
const PASSWORD: &str = "very-secret-password-0123456789";
/// How the tokens begin that the simulator gives out for a password.
const ISSUED: &str = "MII";

/// An API over a fleet that moves by five minutes a visit.
async fn simulator(desktops: u32) -> Simulator {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(5, desktops, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some((ACCESS_KEY.into(), SECRET_KEY.into()));
    config.token = Some(TOKEN.into());
    config.password = Some(Password {
        user: "recorder".into(),
        password: PASSWORD.into(),
        domain: "company".into(),
    });
    Simulator::start(config).await.unwrap()
}

/// A source as the configuration has it, with a key pair.
fn source(name: &str, endpoint: &str, interval: &str) -> String {
    format!(
        "[[source]]\nname = \"{name}\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\n\
         page_size = 100\ninterval = \"{interval}\"\n\
         auth = {{ access_key = \"{ACCESS_KEY}\", secret_key = \"{SECRET_KEY}\" }}\n\n"
    )
}

async fn count(pool: &PgPool, sql: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(pool).await.unwrap_or(0)
}

/// The outcomes of a source's snapshots, oldest first.
async fn outcomes(pool: &PgPool, source: &str) -> Vec<(String, String)> {
    sqlx::query_as(
        "select desktops_outcome, groups_outcome from deskledger.snapshots where source = $1 order by observed_at",
    )
    .bind(source)
    .fetch_all(pool)
    .await
    .unwrap()
}

fn both(desktops: &str, groups: &str) -> (String, String) {
    (desktops.to_owned(), groups.to_owned())
}

async fn recorded_desktops(pool: &PgPool) -> Vec<Value> {
    let sql = "select desktop_id, desktop_name, connect_status, attach_users
                 from deskledger.desktop_snapshots order by desktop_id collate \"C\"";
    rows(pool, sql).await.into_iter().map(Value::from).collect()
}

fn expected_groups(served: &[GroupStatistics]) -> Vec<(Option<String>, Option<i64>, Option<i64>)> {
    let of = |name: &str| deskledger::domain::COUNTERS.iter().position(|one| *one == name).unwrap();
    let mut groups: Vec<_> = served
        .iter()
        .map(|group| {
            let name = group.name.as_deref().map(str::to_owned);
            (name, group.counters[of("in_use_num")], group.counters[of("attached_num")])
        })
        .collect();
    groups.sort();
    groups
}

/// Fails unless a source's chain is whole: each sequence number once, and each instant and tick.
async fn assert_chain(pool: &PgPool, source: &str) {
    let (snapshots, newest, instants, ticked, ticks): (i64, i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), max(n.sequence), count(distinct n.observed_at), count(n.scheduled_at),
                count(distinct n.scheduled_at)
           from deskledger_data.snapshot n join deskledger_data.source s using (source_id) where s.name = $1",
    )
    .bind(source)
    .fetch_one(pool)
    .await
    .unwrap();
    let head = count(
        pool,
        "select max(sequence) from deskledger_data.head join deskledger_data.source using (source_id)",
    )
    .await;
    assert_eq!((snapshots, newest, instants, ticks), (head, head, head, ticked));
}

/// Everything that the ledger holds, as text.
async fn dump(database: &TestDatabase) -> String {
    let tables: Vec<String> = sqlx::query_scalar(
        "select format('%I.%I', schemaname, tablename) from pg_tables
          where schemaname not in ('pg_catalog', 'information_schema')",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    let mut text = String::new();
    for table in tables {
        let rows = format!("select coalesce(string_agg(t::text, chr(10)), '') from {table} t");
        text += &sqlx::query_scalar::<_, String>(AssertSqlSafe(rows))
            .fetch_one(&database.pool)
            .await
            .unwrap();
    }
    text
}

fn assert_no_secret(text: &str) {
    for secret in [SECRET_KEY, ACCESS_KEY, TOKEN, SECURITY_TOKEN, PASSWORD, ISSUED] {
        let at = text.find(secret);
        assert!(
            at.is_none(),
            "a secret is shown: …{}…",
            &text[at.unwrap_or(0).saturating_sub(80)..]
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_visit_records_both_parts_as_they_were_served() {
    let simulator = simulator(250).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "5m"));
    let done = home.run(&["collect", "--once"]).await.expect(0);
    assert_eq!(done.out, "", "a recorder has nothing to say on stdout");

    let (desktops, groups) = simulator.served();
    assert_eq!(recorded_desktops(&database.pool).await, expected_desktops(&desktops));
    let recorded: Vec<(Option<String>, Option<i64>, Option<i64>)> = sqlx::query_as(
        "select static_name, in_use_num, attached_num from deskledger.group_snapshots
          order by static_name collate \"C\"",
    )
    .fetch_all(&database.pool)
    .await
    .unwrap();
    assert_eq!(recorded, expected_groups(&groups));
    assert_eq!(outcomes(&database.pool, "prod").await, [both("complete", "complete")]);
    let source = &rows(&database.pool, "select * from deskledger.sources").await[0];
    assert_eq!(source["project_id"], PROJECT);
    assert_eq!(source["endpoint"], simulator.endpoint());
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn each_tick_is_recorded_once() {
    let simulator = simulator(30).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1s"));
    let running = home.start(&["collect"]);
    until("three ticks are recorded", async || {
        let ticks = "select count(scheduled_at) from deskledger.snapshots";
        count(&database.pool, ticks).await >= 3
    })
    .await;
    running.signal(Signal::SIGTERM);
    running.end().await.expect(0);

    assert_chain(&database.pool, "prod").await;
    // A tick lies on the schedule, and before the visit that it asks for.
    let off = "select count(*) from deskledger.snapshots
                where scheduled_at <> date_trunc('second', scheduled_at) or scheduled_at > observed_at";
    assert_eq!(count(&database.pool, off).await, 0);
    assert!(
        outcomes(&database.pool, "prod")
            .await
            .iter()
            .all(|one| *one == both("complete", "complete"))
    );
    simulator.stop().await.unwrap();
}

/// A stop in the middle of a listing: what is being read is read to its end and recorded.
async fn stops_with_the_snapshot_in_hand(signal: Signal) {
    let simulator = simulator(250).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1h"));
    let slow = Fault::Delay(Duration::from_secs(2));
    simulator.set_faults(vec![Rule::new(slow).on(On::Listing).offset(200)]);
    let running = home.start(&["collect"]);
    // The first page, the second, the third which is slow, and the statistics.
    until("the listing is under way", async || simulator.requests() == 4).await;
    running.signal(signal);
    running.says("finishing the visits under way").await;
    assert_eq!(count(&database.pool, "select count(*) from deskledger.snapshots").await, 0);
    running.end().await.expect(0);

    assert_eq!(outcomes(&database.pool, "prod").await, [both("complete", "complete")]);
    assert_eq!(recorded_desktops(&database.pool).await, expected_desktops(&simulator.served().0));
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_in_the_middle_of_a_listing_finishes_it() {
    stops_with_the_snapshot_in_hand(Signal::SIGTERM).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sigint_in_the_middle_of_a_listing_finishes_it() {
    stops_with_the_snapshot_in_hand(Signal::SIGINT).await;
}

/// A large fleet at a slow pace takes minutes, and nobody who stops a service waits for so long.
#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_would_take_minutes_ends_with_what_it_has() {
    let simulator = simulator(450).await;
    let database = database().await;
    let pace = "[collect]\nrequests_per_minute = 3\n\n";
    let source = source("prod", &simulator.endpoint(), "1h");
    let home = Home::configured(&database, &format!("{pace}{source}"));
    let running = home.start(&["collect"]);
    until("the pace holds it up", async || simulator.requests() == 3).await;
    running.signal(Signal::SIGTERM);
    running.says("asking for nothing more").await;
    let done = running.end().await.expect(0);
    assert!(done.err.contains("the recorder is stopping"), "{}", done.err);
    assert_eq!(outcomes(&database.pool, "prod").await, [both("partial", "complete")]);
    assert_eq!(simulator.requests(), 3);
    assert_eq!(recorded_desktops(&database.pool).await.len(), 200);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_stops_by_force() {
    let simulator = simulator(150).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1h"));
    let slow = Fault::Delay(Duration::from_secs(60));
    simulator.set_faults(vec![Rule::new(slow).on(On::Listing).offset(100)]);
    let running = home.start(&["collect"]);
    until("the listing is under way", async || simulator.requests() == 3).await;
    running.signal(Signal::SIGTERM);
    running.says("finishing the visits under way").await;
    running.signal(Signal::SIGINT);
    let done = running.end().await.expect(3);
    assert!(done.err.contains("SIGINT again: stopping by force"), "{}", done.err);
    // Nothing rather than a part.
    assert_eq!(count(&database.pool, "select count(*) from deskledger_data.snapshot").await, 0);
    assert_eq!(count(&database.pool, "select count(*) from deskledger_data.desktop").await, 0);
}

/// Killed at any instant, it leaves each snapshot whole or not at all, and the next recorder goes on from there.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_recorder_leaves_whole_snapshots() {
    let simulator = simulator(250).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1s"));
    for round in 1..=3 {
        let running = home.start(&["collect"]);
        until("a snapshot more is recorded", async || {
            let recorded = "select count(*) from deskledger.snapshots";
            count(&database.pool, recorded).await >= 2 * round
        })
        .await;
        running.signal(Signal::SIGKILL);
        assert_eq!(running.end().await.code, None);
        assert_chain(&database.pool, "prod").await;
        let torn = "select count(*) from deskledger.snapshots s where desktops_recorded <>
                     (select count(*) from deskledger.desktop_snapshots d where d.snapshot_id = s.snapshot_id)";
        assert_eq!(count(&database.pool, torn).await, 0);
    }
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_unreachable_source_does_not_stop_the_others() {
    let (good, broken, slow) = (simulator(30).await, simulator(30).await, simulator(30).await);
    broken.set_faults(vec![Rule::new(Fault::Status(500))]);
    slow.set_faults(vec![Rule::new(Fault::Delay(Duration::from_secs(60)))]);
    // A port where nobody listens.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let configuration = [
        source("broken", &broken.endpoint(), "1s"),
        source("gone", &format!("http://{gone}"), "1s"),
        source("slow", &slow.endpoint(), "1s"),
        source("good", &good.endpoint(), "1s"),
    ];
    let database = database().await;
    let home = Home::configured(&database, &configuration.concat());
    let running = home.start(&["collect"]);
    until("the good source is recorded, and the failures of two others", async || {
        let good = "select count(*) from deskledger.snapshots where source = 'good' and desktops_outcome = 'complete'";
        let failed = "select count(distinct source) from deskledger.snapshots where desktops_outcome = 'failed'";
        count(&database.pool, good).await >= 4 && count(&database.pool, failed).await >= 2
    })
    .await;
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);

    let all = outcomes(&database.pool, "good").await;
    assert!(all.iter().all(|one| *one == both("complete", "complete")), "{all:?}: {}", done.err);
    let failures = rows(
        &database.pool,
        "select distinct source, desktops_outcome, groups_outcome, error_code
           from deskledger.snapshots where source in ('broken', 'gone') order by source",
    )
    .await;
    let failed = |source: &str, code: &str| json!({ "source": source, "desktops_outcome": "failed", "groups_outcome": "failed", "error_code": code });
    assert_eq!(
        json!(failures),
        json!([failed("broken", "WKS.00000003"), failed("gone", "connect")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_part_is_recorded_with_its_code_and_message() {
    let simulator = simulator(30).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1s"));
    // It asks for a longer wait than a visit has time for, and so is given up at once.
    simulator.set_faults(vec![Rule::new(Fault::Throttle(Some(600))).on(On::Statistics)]);
    let done = home.run(&["collect", "--once"]).await.expect(3);
    assert_eq!(done.errors().len(), 1, "{}", done.err);
    assert!(done.errors()[0].contains("source `prod`"), "{}", done.err);
    assert_eq!(outcomes(&database.pool, "prod").await, [both("complete", "failed")]);
    let row = &rows(&database.pool, "select * from deskledger.snapshots").await[0];
    assert_eq!(row["error_code"], "APIGW.0308");
    assert!(row["error_message"].as_str().unwrap().contains("HTTP 429"), "{row:?}");
    assert_eq!(recorded_desktops(&database.pool).await.len(), 30);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_credentials_are_recorded_and_shown_nowhere() {
    let simulator = simulator(30).await;
    let database = database().await;
    let endpoint = simulator.endpoint();
    let with = |auth: &str| {
        let source = source("prod", &endpoint, "1s");
        let (place, _) = source.split_once("auth = ").unwrap();
        format!("{place}auth = {auth}\n")
    };
    let home = Home::new(&database);
    let password = |password: &str| {
        format!(
            "{{ user = \"recorder\", password = \"{password}\", domain = \"company\" }}\niam_endpoint = \"{endpoint}\""
        )
    };
    // A wrong secret, key, token and password, a security token too many; and the right ones.
    let cases = [
        (password(&format!("{PASSWORD}x")), 3),
        (format!("{{ access_key = \"{ACCESS_KEY}\", secret_key = \"{SECRET_KEY}x\" }}"), 3),
        (format!("{{ access_key = \"{ACCESS_KEY}x\", secret_key = \"{SECRET_KEY}\" }}"), 3),
        (format!("{{ token = \"{TOKEN}x\" }}"), 3),
        (
            format!(
                "{{ access_key = \"{ACCESS_KEY}\", secret_key = \"{SECRET_KEY}\", security_token = \"{SECURITY_TOKEN}\" }}"
            ),
            0,
        ),
        (format!("{{ access_key = \"{ACCESS_KEY}\", secret_key = \"{SECRET_KEY}\" }}"), 0),
        (format!("{{ token = \"{TOKEN}\" }}"), 0),
        (password(PASSWORD), 0),
    ];
    for (auth, code) in &cases {
        home.configure(&with(auth));
        let done = home.run(&["collect", "--once", "-vvv"]).await.expect(*code);
        assert_no_secret(&done.out);
        assert_no_secret(&done.err);
    }
    let failed = rows(
        &database.pool,
        "select desktops_outcome, groups_outcome, error_code, error_message from deskledger.snapshots
          order by observed_at limit 4",
    )
    .await;
    for row in &failed {
        assert_eq!(
            (&row["desktops_outcome"], &row["groups_outcome"]),
            (&json!("failed"), &json!("failed"))
        );
        let code = row["error_code"].as_str().unwrap();
        assert!(code.starts_with("APIGW.03") || code == "HTTP 401", "{row:?}");
        assert!(row["error_message"].as_str().unwrap().contains("HTTP 401"), "{row:?}");
    }
    assert_eq!(outcomes(&database.pool, "prod").await[4..], vec![both("complete", "complete"); 4]);
    assert_eq!(simulator.tokens(), 1);
    assert_no_secret(&dump(&database).await);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_is_pinned_to_its_project() {
    let simulator = simulator(30).await;
    let database = database().await;
    let ours = source("prod", &simulator.endpoint(), "5m");
    let home = Home::configured(&database, &ours);
    home.run(&["collect", "--once"]).await.expect(0);
    home.configure(&ours.replace(PROJECT, "ffffffffffffffffffffffffffffffff"));
    for arguments in [&["collect", "--once"][..], &["collect"]] {
        let done = home.run(arguments).await.expect(2);
        assert_eq!(done.err.lines().count(), 1, "{}", done.err);
        for word in ["`prod`", "project_id", PROJECT, "ffffffff"] {
            assert!(done.err.contains(word), "{word} is not in {}", done.err);
        }
    }
    assert_eq!(outcomes(&database.pool, "prod").await.len(), 1);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn single_visits_beside_a_running_recorder_do_no_harm() {
    let simulator = simulator(30).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "1s"));
    let running = home.start(&["collect"]);
    until("the recorder is recording", async || {
        count(&database.pool, "select count(*) from deskledger.snapshots").await >= 1
    })
    .await;
    for _ in 0..2 {
        let (one, other) =
            tokio::join!(home.run(&["collect", "--once"]), home.run(&["collect", "--once"]));
        one.expect(0);
        other.expect(0);
    }
    let so_far = count(&database.pool, "select max(sequence) from deskledger_data.snapshot").await;
    until("the recorder goes on", async || {
        count(&database.pool, "select max(sequence) from deskledger_data.snapshot").await
            > so_far + 1
    })
    .await;
    running.signal(Signal::SIGTERM);
    let done = running.end().await.expect(0);
    assert!(!done.err.contains("\"ERROR\""), "{}", done.err);
    assert_chain(&database.pool, "prod").await;
    // What is said of each snapshot is what was seen in it: as many desktops as are counted.
    let torn = "select count(*) from deskledger.snapshots s where desktops_recorded <>
                 (select count(*) from deskledger.desktop_snapshots d where d.snapshot_id = s.snapshot_id)";
    assert_eq!(count(&database.pool, torn).await, 0);
    simulator.stop().await.unwrap();
}

/// Nothing can be recorded before a snapshot that lies in the future: that is said, and loudly.
#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_from_the_future_is_no_other_recorder() {
    let simulator = simulator(10).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "5m"));
    let line =
        r#"{"source":"prod","observed_at":"2100-01-01T00:00:00Z","desktops":[],"statics":[]}"#;
    let done = home.run_with_input(&["import", "-"], line.as_bytes()).await.expect(0);
    assert!(done.err.contains("line 1") && done.err.contains("future"), "{}", done.err);
    let done = home.run(&["collect", "--once"]).await.expect(3);
    assert!(done.err.contains("NOT visited") && done.err.contains("2100-01-01"), "{}", done.err);
    let done = home.run(&["status", "--check"]).await.expect(1);
    assert!(done.out.contains("future"), "{}", done.out);
    simulator.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_configuration_is_wrong_use() {
    let database = database().await;
    let home = Home::new(&database);
    home.run(&["collect", "--once"]).await.expect(2);
    let ours = source("prod", "http://127.0.0.1:9", "5m");
    for (wrong, word) in [
        (ours.replace("page_size", "page_sise"), "page_size"),
        (ours.replace("\"5m\"", "\"5 parsecs\""), "interval"),
        (ours.replace("page_size = 100", "page_size = 100000"), "page_size"),
        (ours.replace("127.0.0.1:9", "example.org"), "endpoint"),
        (format!("{ours}{ours}"), "prod"),
        (ours.replace("[[source]]", "[[source"), "deskledger.toml"),
    ] {
        home.configure(&wrong);
        let done = home.run(&["collect", "--once"]).await.expect(2);
        assert_eq!(done.errors().len(), 1, "{}", done.err);
        assert!(done.err.contains(word), "{word} is not in {}", done.err);
        assert_no_secret(&done.err);
    }
    home.run(&["collect", "--config", "nowhere.toml"]).await.expect(2);
    home.run(&["collect", "--twice"]).await.expect(2);
    home.run(&["remember"]).await.expect(2);
    // Nothing of it reached the database.
    assert_eq!(
        count(&database.pool, "select count(*) from pg_namespace where nspname like 'deskledger%'")
            .await,
        0
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_opened_is_a_failure() {
    let database = database().await;
    let home = Home::configured(&database, &source("prod", "http://127.0.0.1:9", "5m"));
    // Not a port where nobody listens: that is tried for half a minute.
    let name = database.pool.connect_options().get_database().unwrap().to_owned();
    let mut url = database.url.replace(&name, "no_such_database");
    url.push(if url.contains('?') { '&' } else { '?' });
    url.push_str("password=very-secret-key-0123456789");
    for arguments in [&["collect", "--once"][..], &["status"], &["report", "coverage"], &["export"]]
    {
        let arguments = [arguments, &["--database-url", &url]].concat();
        let done = home.run(&arguments).await.expect(3);
        assert_no_secret(&done.err);
        assert_eq!(done.errors().len(), 1, "{}", done.err);
        assert!(done.err.contains("no_such_database"), "{}", done.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let simulator = simulator(200).await;
    let database = database().await;
    let home = Home::configured(&database, &source("prod", &simulator.endpoint(), "5m"));
    home.run(&["collect", "--once"]).await.expect(0);
    for format in ["csv", "table", "json"] {
        let report =
            ["report", "coverage", "--from", "-40d", "--bucket", "hour", "--format", format];
        let done = home.run_into_closed_pipe(&report).await.expect(0);
        assert_eq!(done.errors().len(), 0, "{}", done.err);
    }
    home.run_into_closed_pipe(&["export"]).await.expect(0);
    home.run_into_closed_pipe(&["report"]).await.expect(0);
    home.run_into_closed_pipe(&["status"]).await.expect(0);
    simulator.stop().await.unwrap();
}
