//! Every way to be let in: keys, tokens, a user with a password; renewal, restraint after refusals, and a
//! pace that all sources of one account share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::domain::Failure;
use deskledger::simulator::{
    Fault, On, Password, Rule, ServerConfig, Simulator, Step, WorldConfig,
};
use deskledger::workspace::{
    Account, Accounts, Client, ClientConfig, Credentials, ProjectError, Visit, Who, find_project,
};

use crate::support::postgres::database;
use crate::support::program::{Home, until};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const REGION: &str = "ap-southeast-3";
const PASSWORD: &str = "very-secret-password";

fn server(desktops: u32) -> ServerConfig {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(3, desktops, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    config.token = Some("test-token".into());
    config.password = Some(Password {
        user: "recorder".into(),
        password: PASSWORD.into(),
        domain: "acme".into(),
    });
    config
}

fn key(secret: &str) -> Credentials {
    Credentials::AccessKey {
        access_key: "TESTACCESSKEY".into(),
        secret_key: secret.into(),
        security_token: None,
    }
}

fn user(password: &str) -> Credentials {
    Credentials::Password {
        user: "recorder".into(),
        password: password.into(),
        domain: "acme".into(),
    }
}

fn config(simulator: &Simulator, credentials: Credentials) -> ClientConfig {
    let endpoint: reqwest::Url = simulator.endpoint().parse().unwrap();
    let mut config = ClientConfig::new(endpoint.clone(), PROJECT, credentials);
    config.iam_endpoint = Some(endpoint);
    config.page_size = 100;
    config.first_delay = Duration::from_millis(10);
    config.account = Arc::new(Account::new(100_000));
    config
}

fn client(simulator: &Simulator, credentials: Credentials) -> Client {
    Client::new(config(simulator, credentials)).unwrap()
}

#[track_caller]
fn failure(visit: &Visit) -> (String, String) {
    let Failure { code, message } = visit.failure.clone().unwrap();
    (code.unwrap(), message.unwrap())
}

#[track_caller]
fn assert_whole(visit: &Visit, desktops: usize) {
    assert_eq!(visit.failure, None);
    assert_eq!(visit.desktops.as_ref().unwrap().desktops().len(), desktops);
    assert!(visit.groups.is_some());
}

/// Sets the clock of the process on, as if so much time had passed; nothing may be under way.
async fn wait(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_password_is_exchanged_once_for_all_requests() {
    let simulator = Simulator::start(server(450)).await.unwrap();
    let client = client(&simulator, user(PASSWORD));
    for _ in 0..3 {
        assert_whole(&client.visit().await, 450);
    }
    assert_eq!(simulator.tokens(), 1);
    let Who::User { user, domain, expires_at } = client.who().await.unwrap() else { panic!() };
    assert_eq!((user.as_str(), domain.as_str()), ("recorder", "acme"));
    assert!((expires_at - Clock::System.now() - TimeDelta::days(1)).abs() < TimeDelta::minutes(5));
    assert_eq!(simulator.tokens(), 1, "who it is was asked of the token in use");
    assert!(!format!("{client:?}").contains(PASSWORD));
}

/// Long before it dies a token is used, shortly before it is replaced, and no request fails for it.
#[tokio::test]
async fn a_token_is_renewed_before_it_dies() {
    for (life, used, due) in [
        (TimeDelta::hours(24), Duration::from_hours(23), Duration::from_mins(56)),
        (TimeDelta::minutes(10), Duration::from_mins(7), Duration::from_mins(2)),
    ] {
        let mut config = server(50);
        config.token_life = life;
        let simulator = Simulator::start(config).await.unwrap();
        let client = client(&simulator, user(PASSWORD));
        assert_whole(&client.visit().await, 50);
        wait(used).await;
        assert_whole(&client.visit().await, 50);
        assert_eq!(simulator.tokens(), 1, "{life}: renewed too early");
        wait(due).await;
        let visit = client.visit().await;
        assert_whole(&visit, 50);
        assert_eq!((simulator.tokens(), visit.effort.traffic.requests), (2, 3), "{life}");
    }
}

#[tokio::test]
async fn a_renewal_that_fails_leaves_the_old_token_while_it_is_good() {
    let mut config = server(50);
    config.token_life = TimeDelta::minutes(10);
    let simulator = Simulator::start(config).await.unwrap();
    let client = client(&simulator, user(PASSWORD));
    assert_whole(&client.visit().await, 50);
    wait(Duration::from_mins(9)).await;
    simulator.set_faults(vec![Rule::new(Fault::Status(500)).on(On::Tokens)]);
    for _ in 0..3 {
        assert_whole(&client.visit().await, 50);
    }
    assert_eq!(simulator.tally().exchanges, 2, "one try in half a minute");
    wait(Duration::from_secs(31)).await;
    assert_whole(&client.visit().await, 50);
    assert_eq!(simulator.tally().exchanges, 3);
    simulator.set_faults(Vec::new());
    wait(Duration::from_secs(31)).await;
    assert_whole(&client.visit().await, 50);
    assert_eq!(simulator.tokens(), 2);
}

#[tokio::test]
async fn a_token_that_was_killed_is_replaced_once_and_no_request_is_lost() {
    for fault in [Fault::ExpiredToken, Fault::StaleToken] {
        let simulator = Simulator::start(server(950)).await.unwrap();
        let mut config = config(&simulator, user(PASSWORD));
        config.concurrency = 10;
        let client = Client::new(config).unwrap();
        assert_whole(&client.visit().await, 950);
        // Forty requests learn of one death, some of them when the next token is there already.
        simulator.revoke_tokens();
        let late = Fault::Delay(Duration::from_millis(300));
        simulator.set_faults(vec![Rule::new(late).on(On::Statistics)]);
        for visit in futures_util::future::join_all((0..20).map(|_| client.visit())).await {
            assert_eq!(visit.failure, None);
        }
        assert_eq!(simulator.tokens(), 2, "{fault:?}");
        // Said once, it is renewed; said of every token, it is final.
        simulator.set_faults(vec![Rule::new(fault.clone()).on(On::Statistics).times(1)]);
        assert_whole(&client.visit().await, 950);
        assert_eq!(simulator.tokens(), 3, "{fault:?}");
        simulator.set_faults(vec![Rule::new(fault.clone()).on(On::Statistics)]);
        let (code, message) = failure(&client.visit().await);
        assert!(code.starts_with("APIGW.030"), "{code}");
        assert!(message.contains("account `acme`"), "{message}");
        assert_eq!(simulator.tokens(), 4, "{fault:?}: a storm");
    }
}

/// A thousand requests at a time for some seconds, with tokens that live for two.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_requests_at_once_make_no_storm_of_tokens() {
    let mut server = server(5);
    server.token_life = TimeDelta::seconds(2);
    let simulator = Simulator::start(server).await.unwrap();
    let client = Arc::new(client(&simulator, user(PASSWORD)));
    let begun = Instant::now();
    let mut visits = 0;
    while begun.elapsed() < Duration::from_secs(5) {
        let wave: Vec<_> = (0..500)
            .map(|_| {
                let client = Arc::clone(&client);
                tokio::spawn(async move { client.visit().await })
            })
            .collect();
        for visit in wave {
            let visit = visit.await.unwrap();
            // Answers are about a world that moves meanwhile: only that they came counts.
            assert_eq!(visit.failure, None);
            visits += 1;
        }
    }
    // One each 1.6 s, and one more where a token died on the way.
    let most = 2 * (1 + u64::from(begun.elapsed().as_secs() as u32) / 2 + 1);
    let tokens = simulator.tokens();
    println!("{visits} visits, {} requests, {tokens} tokens, at most {most}", simulator.requests());
    assert!(visits >= 500 && (2..=most).contains(&tokens), "{tokens} tokens, at most {most}");
}

/// More than five refusals in a row lock a key. The simulated hour has two sources with one wrong secret,
/// each visited every five minutes with many requests at once.
#[tokio::test]
async fn a_wrong_secret_is_never_refused_more_than_five_times_in_an_hour() {
    for credentials in [key("not-the-one"), user("not-the-one")] {
        let simulator = Simulator::start(server(950)).await.unwrap();
        let accounts = Accounts::default();
        let mut clients = Vec::new();
        for _ in 0..2 {
            let mut config = config(&simulator, credentials.clone());
            config.concurrency = 16;
            config.account = accounts.of(&credentials, config.iam_endpoint.as_ref(), 100_000);
            clients.push(Client::new(config).unwrap());
        }
        let mut last = String::new();
        for _ in 0..13 {
            let (one, other) = tokio::join!(clients[0].visit(), clients[1].visit());
            for visit in [one, other] {
                assert_eq!((visit.desktops.clone(), visit.groups.clone()), (None, None));
                let (code, message) = failure(&visit);
                assert!(["APIGW.0301", "HTTP 401"].contains(&code.as_str()), "{code}");
                last = message;
            }
            wait(Duration::from_mins(5)).await;
        }
        let refused = simulator.requests();
        assert!((2..=5).contains(&refused), "{refused} refusals");
        assert_eq!(simulator.tally().locks, 0);
        assert!(last.contains("not sent: refused 4 times in a row"), "{last}");
        assert!(last.contains("next try at ") && !last.contains("not-the-one"), "{last}");
    }
}

/// Who shares a credential waits for the answer to its first try, but not where none comes.
#[tokio::test]
async fn one_that_gets_no_answer_holds_up_nobody_who_shares_its_credential() {
    for credentials in [key("test-secret-key"), user(PASSWORD)] {
        let (silent, simulator) = (
            Simulator::start(server(5)).await.unwrap(),
            Simulator::start(server(50)).await.unwrap(),
        );
        silent.set_faults(vec![Rule::new(Fault::Delay(Duration::from_secs(60)))]);
        let account = Arc::new(Account::new(100_000));
        let sharing = |simulator: &Simulator| {
            let mut config = config(simulator, credentials.clone());
            config.account = Arc::clone(&account);
            config.visit_budget = Duration::from_secs(20);
            Client::new(config).unwrap()
        };
        let unanswered: Vec<_> = (0..3)
            .map(|_| {
                let client = sharing(&silent);
                tokio::spawn(async move { client.visit().await })
            })
            .collect();
        let asked = || silent.tally().requests + silent.tally().exchanges > 0;
        until("the silent one is asked", async || asked()).await;
        let begun = Instant::now();
        assert_whole(&sharing(&simulator).visit().await, 50);
        assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
        unanswered.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// The same while no answer comes for some seconds: what is tried in that time is refused, too.
#[tokio::test]
async fn late_refusals_are_not_more_than_five_in_an_hour_either() {
    for credentials in [key("not-the-one"), user("not-the-one")] {
        let simulator = Simulator::start(server(5)).await.unwrap();
        simulator.set_faults(vec![Rule::new(Fault::Delay(Duration::from_secs(3))).times(3)]);
        let account = Arc::new(Account::new(100_000));
        let clients: Vec<_> = (0..8)
            .map(|_| {
                let mut config = config(&simulator, credentials.clone());
                config.account = Arc::clone(&account);
                Client::new(config).unwrap()
            })
            .collect();
        for _ in 0..13 {
            for visit in futures_util::future::join_all(clients.iter().map(Client::visit)).await {
                assert_eq!((visit.desktops, visit.groups), (None, None));
            }
            wait(Duration::from_mins(5)).await;
        }
        let refused = simulator.requests();
        assert!((3..=5).contains(&refused), "{refused} refusals");
        assert_eq!(simulator.tally().locks, 0);
    }
}

#[tokio::test]
async fn a_key_that_is_mended_is_let_in_at_the_next_try() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Locked).times(1)]);
    let client = client(&simulator, key("test-secret-key"));
    let (code, message) = failure(&client.visit().await);
    assert_eq!(code, "APIGW.0301");
    assert!(message.contains("locked for five minutes"), "{message}");
    wait(Duration::from_mins(5)).await;
    assert!(failure(&client.visit().await).1.contains("not sent"));
    assert_eq!(simulator.requests(), 1, "it was asked while it was locked");
    wait(Duration::from_mins(2)).await;
    assert_whole(&client.visit().await, 50);
}

#[tokio::test]
async fn a_token_of_somebody_elses_that_expired_says_so_and_is_not_tried_again() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::ExpiredToken)]);
    let client = client(&simulator, Credentials::Token("test-token".into()));
    let (code, message) = failure(&client.visit().await);
    assert_eq!(code, "APIGW.0307");
    assert!(message.contains("obtain a new one"), "{message}");
    assert!(failure(&client.visit().await).1.contains("not sent: refused once"));
    assert_eq!(simulator.requests(), 1);
}

#[tokio::test]
async fn sources_of_one_account_keep_to_its_pace_together() {
    let window = Duration::from_secs(1);
    let simulator = Simulator::start(server(450)).await.unwrap();
    let account = Arc::new(Account::with_window(8, window));
    let with = |visit_budget| {
        let mut config = config(&simulator, key("test-secret-key"));
        config.account = Arc::clone(&account);
        config.visit_budget = visit_budget;
        Client::new(config).unwrap()
    };
    let begun = Instant::now();
    let patient = with(Duration::from_secs(30));
    // Two visits of six requests each: the last four have to wait for the second window.
    let (one, other) = tokio::join!(patient.visit(), patient.visit());
    assert_whole(&one, 450);
    assert_whole(&other, 450);
    assert!(begun.elapsed() >= window, "{:?}", begun.elapsed());
    // What is on its way for different times may arrive a little closer together than it was sent.
    let most = simulator.tally().most_within(window - Duration::from_millis(100));
    assert!(most <= 8, "{most} in one window");

    tokio::time::sleep(window).await;
    let hasty = with(Duration::from_millis(500));
    let (one, other) = tokio::join!(hasty.visit(), hasty.visit());
    let late = [one, other].into_iter().find(|visit| visit.failure.is_some()).unwrap();
    let (code, message) = failure(&late);
    assert_eq!(code, "budget");
    assert!(message.contains("8 requests a minute were not enough"), "{message}");
}

#[tokio::test]
async fn the_project_of_a_region_is_looked_up_in_every_way() {
    let simulator = Simulator::start(server(5)).await.unwrap();
    for credentials in
        [key("test-secret-key"), Credentials::Token("test-token".into()), user(PASSWORD)]
    {
        let found = find_project(&config(&simulator, credentials.clone()), REGION).await;
        assert_eq!(found.unwrap(), PROJECT, "{credentials:?}");
    }
    let wrong = find_project(&config(&simulator, user("not-the-one")), REGION).await.unwrap_err();
    let wrong = wrong.to_string();
    assert!(wrong.contains("username or password is wrong") && wrong.contains("acme"), "{wrong}");
    for (projects, words) in [(0, "lists no project"), (2, "lists 2 projects (")] {
        let mut several = server(5);
        several.projects = projects;
        let simulator = Simulator::start(several).await.unwrap();
        let error = find_project(&config(&simulator, key("test-secret-key")), REGION).await;
        let error = error.unwrap_err();
        assert!(matches!(error, ProjectError::NotOne { .. }));
        let error = error.to_string();
        assert!(error.contains(words) && error.contains("set `project_id`"), "{error}");
    }
}

/// The program, with a user and a password and without a project, twice: the second time the ledger
/// knows the project.
#[tokio::test(flavor = "multi_thread")]
async fn the_program_needs_no_more_than_a_user_and_a_region() {
    let database = database().await;
    let simulator = Simulator::start(server(50)).await.unwrap();
    let source = |auth: &str| {
        format!(
            "[[source]]\nname = \"prod\"\nregion = \"{REGION}\"\nendpoint = \"{0}\"\n\
             iam_endpoint = \"{0}\"\nauth = {{ {auth} }}\n",
            simulator.endpoint()
        )
    };
    let by_user =
        source(&format!("user = \"recorder\", password = \"{PASSWORD}\", domain = \"acme\""));
    let home = Home::configured(&database, &by_user);
    let done = home.run(&["collect", "--once"]).await.expect(0);
    assert!(!done.err.contains(PASSWORD), "{}", done.err);
    let (project, outcome): (String, String) = sqlx::query_as(
        "select s.project_id, n.desktops_outcome from deskledger.sources s join deskledger.snapshots n using (source)",
    )
    .fetch_one(&database.pool)
    .await
    .unwrap();
    assert_eq!((project.as_str(), outcome.as_str()), (PROJECT, "complete"));

    home.configure(&source("access_key = \"TESTACCESSKEY\", secret_key = \"test-secret-key\""));
    home.run(&["collect", "--once"]).await.expect(0);
    assert_eq!(simulator.tally().projects, 0, "the ledger knew it");

    home.configure(&by_user.replace(PASSWORD, "wrong").replace("\"prod\"", "\"other\""));
    let done = home.run(&["collect", "--once"]).await.expect(3);
    let error = done.errors().join("\n");
    assert!(error.contains("source `other`: look up the project of region"), "{error}");
    assert!(error.contains("user and password of account `acme`"), "{error}");
}
