//! The API's client against the simulated API, over HTTP.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::Clock;
use deskledger::domain::{Desktop, Listing, Outcome, Snapshot};
use deskledger::simulator::{Fault, On, Rule, ServerConfig, Simulator, Step, WorldConfig};
use deskledger::workspace::{Client, ClientConfig, Credentials, Visit};

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

fn start() -> DateTime<Utc> {
    "2026-10-07T02:00:00Z".parse().unwrap()
}

/// A server whose world moves by five minutes a visit, and who lets the key and the token in.
fn server(desktops: u32) -> ServerConfig {
    let mut config = ServerConfig::new(WorldConfig::new(3, desktops, start(), 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    config.token = Some("test-token".into());
    config
}

fn key(secret: &str) -> Credentials {
    Credentials::AccessKey {
        access_key: "TESTACCESSKEY".into(),
        secret_key: secret.into(),
        security_token: None,
    }
}

fn client_config(simulator: &Simulator, credentials: Credentials) -> ClientConfig {
    let endpoint = simulator.endpoint().parse().unwrap();
    let mut config = ClientConfig::new(endpoint, PROJECT, credentials);
    config.page_size = 100;
    config.retry_budget = Duration::from_secs(20);
    config.request_timeout = Duration::from_secs(10);
    config
}

async fn visit(simulator: &Simulator) -> Visit {
    Client::new(client_config(simulator, key("test-secret-key"))).unwrap().visit().await
}

/// A visit that leaves it at the first failure.
async fn impatient_visit(simulator: &Simulator) -> Visit {
    let mut config = client_config(simulator, key("test-secret-key"));
    config.retry_budget = Duration::ZERO;
    Client::new(config).unwrap().visit().await
}

fn outcomes(visit: &Visit) -> (Outcome, Outcome) {
    let snapshot = Snapshot {
        scheduled_at: None,
        observed_at: start(),
        finished_at: start(),
        max_gap: TimeDelta::minutes(15),
        total: visit.total,
        desktops: visit.desktops.clone(),
        groups: visit.groups.clone(),
        failure: visit.failure.clone(),
    };
    (snapshot.desktops_outcome(), snapshot.groups_outcome())
}

fn failure(visit: &Visit) -> (String, String) {
    let failure = visit.failure.clone().unwrap();
    (failure.code.unwrap(), failure.message.unwrap())
}

/// A listing without an order: pages that are read at once come in any.
fn by_id(listing: &Listing) -> Vec<Desktop> {
    let mut desktops = listing.desktops().to_vec();
    desktops.sort_by(|a, b| a.id.cmp(&b.id));
    desktops
}

fn assert_as_served(visit: &Visit, simulator: &Simulator) {
    let (desktops, groups) = simulator.served();
    assert_eq!(by_id(visit.desktops.as_ref().unwrap()), by_id(&Listing::new(desktops)));
    assert_eq!(visit.groups.as_ref().unwrap(), &groups);
    assert_eq!(outcomes(visit), (Outcome::Complete, Outcome::Complete));
    assert_eq!(visit.failure, None);
}

#[tokio::test]
async fn a_visit_reads_the_world_as_it_is_served() {
    let simulator = Simulator::start(server(450)).await.unwrap();
    for credentials in [key("test-secret-key"), Credentials::Token("test-token".into())] {
        let client = Client::new(client_config(&simulator, credentials)).unwrap();
        // The first visit does not move the world; the groups of the others may be a step behind.
        let visit = client.visit().await;
        let (desktops, _) = simulator.served();
        assert_eq!(by_id(&visit.desktops.clone().unwrap()), by_id(&Listing::new(desktops)));
        assert_eq!((visit.total, visit.effort.traffic.requests), (Some(450), 6));
        assert_eq!(outcomes(&visit), (Outcome::Complete, Outcome::Complete));
    }
    simulator.stop().await.unwrap();
}

#[tokio::test]
async fn an_empty_fleet_is_a_complete_listing() {
    let simulator = Simulator::start(server(0)).await.unwrap();
    let visit = visit(&simulator).await;
    assert_eq!(visit.total, Some(0));
    assert_as_served(&visit, &simulator);
}

#[tokio::test]
async fn what_is_beyond_the_reach_of_every_listing_makes_it_partial() {
    let mut config = server(450);
    config.max_offset = 200;
    let simulator = Simulator::start(config).await.unwrap();
    let mut config = client_config(&simulator, key("test-secret-key"));
    config.max_offset = 200;
    let visit = Client::new(config).unwrap().visit().await;
    // One listing reaches 300. The connected are about as many, the others fewer.
    let read = visit.desktops.as_ref().unwrap().desktops().len();
    assert!((400..450).contains(&read), "{read} by {}", visit.effort.plan);
    assert_eq!(visit.total, Some(450));
    assert_eq!(outcomes(&visit), (Outcome::Partial, Outcome::Complete));
    assert_eq!(visit.failure, None);
}

#[tokio::test]
async fn a_total_that_changes_once_costs_one_more_round() {
    let simulator = Simulator::start(server(250)).await.unwrap();
    simulator
        .set_faults(vec![Rule::new(Fault::WrongTotal(1)).on(On::Listing).offset(100).times(1)]);
    let visit = visit(&simulator).await;
    assert_eq!((visit.total, visit.effort.traffic.requests), (Some(250), 7));
    assert_eq!(outcomes(&visit).0, Outcome::Complete);
}

#[tokio::test]
async fn a_total_that_always_changes_is_partial_without_a_total() {
    let simulator = Simulator::start(server(250)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::WrongTotal(1)).on(On::Listing).offset(100)]);
    let visit = visit(&simulator).await;
    assert_eq!((visit.total, visit.effort.traffic.requests), (None, 10));
    assert_eq!(outcomes(&visit).0, Outcome::Partial);
    assert_eq!(visit.desktops.unwrap().desktops().len(), 250);
}

#[tokio::test]
async fn a_total_that_lies_makes_it_partial() {
    let simulator = Simulator::start(server(250)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::WrongTotal(-3)).on(On::Listing)]);
    let visit = visit(&simulator).await;
    assert_eq!(visit.total, Some(247));
    assert_eq!(outcomes(&visit).0, Outcome::Partial);
}

#[tokio::test]
async fn a_page_that_repeats_is_read_again() {
    let simulator = Simulator::start(server(250)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::RepeatPage).on(On::Listing).offset(100).times(1)]);
    let visit = visit(&simulator).await;
    assert_eq!((visit.total, visit.effort.traffic.requests), (Some(250), 7));
    assert_eq!(outcomes(&visit).0, Outcome::Complete);
}

#[tokio::test]
async fn what_helps_itself_is_asked_again() {
    for fault in [
        Fault::Throttle(Some(1)),
        Fault::Throttle(None),
        Fault::Status(503),
        Fault::Html(502),
        Fault::Html(200),
        Fault::Drop,
        Fault::Truncate,
    ] {
        let simulator = Simulator::start(server(150)).await.unwrap();
        simulator.set_faults(vec![Rule::new(fault.clone()).on(On::Listing).offset(100).times(1)]);
        let begun = std::time::Instant::now();
        let visit = visit(&simulator).await;
        assert_as_served(&visit, &simulator);
        assert_eq!(visit.effort.traffic.requests, 4, "{fault:?}");
        if fault == Fault::Throttle(Some(1)) {
            assert!(begun.elapsed() >= Duration::from_secs(1), "Retry-After was not honoured");
        }
    }
}

#[tokio::test]
async fn a_page_that_stays_broken_leaves_a_part_and_says_why() {
    for (fault, code) in [
        (Fault::Status(500), "WKS.00000003"),
        (Fault::Throttle(None), "APIGW.0308"),
        (Fault::Html(502), "HTTP 502"),
        (Fault::Html(200), "unreadable"),
        (Fault::Truncate, "truncated"),
    ] {
        let simulator = Simulator::start(server(250)).await.unwrap();
        simulator.set_faults(vec![Rule::new(fault).on(On::Listing).offset(200)]);
        let visit = impatient_visit(&simulator).await;
        assert_eq!(visit.desktops.as_ref().unwrap().desktops().len(), 200);
        assert_eq!(visit.total, Some(250));
        assert_eq!(outcomes(&visit), (Outcome::Partial, Outcome::Complete));
        assert_eq!(failure(&visit).0, code);
    }
}

#[tokio::test]
async fn a_first_page_that_stays_broken_fails_the_listing_alone() {
    let simulator = Simulator::start(server(250)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::ErrorInside).on(On::Listing)]);
    let visit = visit(&simulator).await;
    assert_eq!((visit.total, visit.effort.traffic.requests), (None, 2));
    assert_eq!(outcomes(&visit), (Outcome::Failed, Outcome::Complete));
    assert_eq!(failure(&visit).0, "WKS.00010109");
}

#[tokio::test]
async fn broken_statistics_fail_alone() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Status(500)).on(On::Statistics)]);
    let visit = impatient_visit(&simulator).await;
    assert_eq!(outcomes(&visit), (Outcome::Complete, Outcome::Failed));
    assert!(failure(&visit).1.starts_with("connections/status: HTTP 500"));
}

#[tokio::test]
async fn the_listings_failure_comes_before_the_statistics() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Status(500))]);
    let visit = impatient_visit(&simulator).await;
    assert_eq!(outcomes(&visit), (Outcome::Failed, Outcome::Failed));
    assert!(failure(&visit).1.starts_with("connect-desktops"));
}

#[tokio::test]
async fn a_slow_answer_is_a_timeout() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Delay(Duration::from_secs(30)))]);
    let mut config = client_config(&simulator, key("test-secret-key"));
    config.request_timeout = Duration::from_millis(200);
    config.retry_budget = Duration::ZERO;
    let visit = Client::new(config).unwrap().visit().await;
    assert_eq!(failure(&visit).0, "timeout");
    assert_eq!(visit.effort.traffic.requests, 2);
}

#[tokio::test]
async fn nobody_listening_is_a_failure_of_the_connection() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    let mut config = client_config(&simulator, key("test-secret-key"));
    config.retry_budget = Duration::ZERO;
    simulator.stop().await.unwrap();
    let visit = Client::new(config).unwrap().visit().await;
    assert_eq!(failure(&visit).0, "connect");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Redirect)]);
    let visit = visit(&simulator).await;
    let (code, message) = failure(&visit);
    assert_eq!((code.as_str(), visit.effort.traffic.requests), ("redirect", 2));
    assert!(message.contains("elsewhere.example"), "{message}");
}

#[tokio::test]
async fn refused_credentials_are_not_tried_again_and_never_shown() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    for (credentials, code, words) in [
        (key("very-wrong-secret"), "APIGW.0301", "access key TEST…"),
        (Credentials::Token("very-wrong-secret".into()), "APIGW.0301", "the token is refused"),
    ] {
        let client = Client::new(client_config(&simulator, credentials)).unwrap();
        let visit = client.visit().await;
        let (seen, message) = failure(&visit);
        // One tries it, and the others learn of it.
        assert_eq!((seen.as_str(), visit.effort.traffic.requests), (code, 1));
        assert!(message.contains(words) && message.contains("request id"), "{message}");
        assert!(!format!("{visit:?} {client:?}").contains("very-wrong-secret"));
    }
}

#[tokio::test]
async fn an_expired_token_a_missing_right_and_a_wrong_project_say_what_to_do() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::ExpiredToken)]);
    let token = Credentials::Token("test-token".into());
    let expired = Client::new(client_config(&simulator, token)).unwrap().visit().await;
    assert_eq!(failure(&expired).0, "APIGW.0307");
    assert!(failure(&expired).1.contains("has expired"));

    simulator.set_faults(vec![Rule::new(Fault::Status(403)).on(On::Listing)]);
    let message = failure(&visit(&simulator).await).1;
    assert!(message.contains("`workspace:desktops:listWithConnectStatus`"), "{message}");

    simulator.set_faults(Vec::new());
    let mut config = client_config(&simulator, Credentials::Token("test-token".into()));
    config.project_id = "another-project".into();
    let wrong = Client::new(config).unwrap().visit().await;
    assert_eq!((failure(&wrong).0.as_str(), wrong.effort.traffic.requests), ("WKS.0202", 2));
    assert!(failure(&wrong).1.contains("another-project"));
}

#[tokio::test]
async fn a_clock_that_is_off_is_named() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    let mut config = client_config(&simulator, key("test-secret-key"));
    let (clock, hands) = Clock::manual(Clock::System.now());
    config.clock = clock;
    let client = Client::new(config).unwrap();
    hands.advance(TimeDelta::minutes(14));
    assert_eq!(client.visit().await.failure, None);
    hands.advance(TimeDelta::minutes(6));
    let message = failure(&client.visit().await).1;
    // The server's clock goes on meanwhile.
    let off = (15..=20).find(|minutes| message.contains(&format!("{minutes} minutes off")));
    assert!(off.is_some(), "{message}");
}

#[tokio::test]
async fn a_temporary_key_needs_its_security_token() {
    let mut config = server(50);
    config.security_token = Some("temporary".into());
    let simulator = Simulator::start(config).await.unwrap();
    assert_eq!(failure(&visit(&simulator).await).0, "APIGW.0301");
    let temporary = Credentials::AccessKey {
        access_key: "TESTACCESSKEY".into(),
        secret_key: "test-secret-key".into(),
        security_token: Some("temporary".into()),
    };
    let visit = Client::new(client_config(&simulator, temporary)).unwrap().visit().await;
    assert_eq!(visit.failure, None);
}

#[tokio::test]
async fn visits_move_the_world_and_filters_do_not() {
    let simulator = Simulator::start(server(300)).await.unwrap();
    let mut distinct = Vec::new();
    for _ in 0..12 {
        let visit = visit(&simulator).await;
        assert_eq!(outcomes(&visit), (Outcome::Complete, Outcome::Complete));
        distinct.push(visit.desktops.unwrap());
    }
    distinct.dedup();
    assert!(distinct.len() > 6, "an hour of a working morning passes");
}

/// Credentials are not sent in the clear, unless that was allowed.
#[tokio::test]
async fn plain_http_to_another_machine_is_refused_unless_it_is_allowed() {
    let endpoint = "http://workspace.example".parse().unwrap();
    let mut config = ClientConfig::new(endpoint, PROJECT, key("test-secret-key"));
    let refused = Client::new(config.clone()).unwrap_err();
    assert!(refused.to_string().contains("not sent in the clear"), "{refused}");
    config.allow_http = true;
    Client::new(config).unwrap();
}

#[tokio::test]
async fn what_documents_leave_open_changes_nothing_of_what_is_understood() {
    // Other names for two fields, fields that nobody knows, numbers as texts, a record twice.
    for fault in [Fault::OddNames, Fault::Extra, Fault::Nulls, Fault::Duplicate] {
        let simulator = Simulator::start(server(250)).await.unwrap();
        simulator.set_faults(vec![Rule::new(fault.clone())]);
        let visit = visit(&simulator).await;
        assert_as_served(&visit, &simulator);
    }
}

#[tokio::test]
async fn counters_beyond_all_bounds_stop_nothing() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::WildCounters)]);
    let visit = visit(&simulator).await;
    assert_eq!(outcomes(&visit), (Outcome::Complete, Outcome::Complete));
    let counters: Vec<i64> =
        visit.groups.unwrap().iter().flat_map(|group| group.counters).flatten().collect();
    assert!(counters.iter().any(|counter| *counter < 0), "{counters:?}");
    assert!(counters.iter().any(|counter| *counter > i64::from(i32::MAX)), "{counters:?}");
}

#[tokio::test]
async fn a_body_that_never_ends_is_not_taken_in() {
    let simulator = Simulator::start(server(50)).await.unwrap();
    // A small answer that unfolds to a large one.
    simulator.set_faults(vec![Rule::new(Fault::Huge(64 << 20)).on(On::Listing)]);
    let mut config = client_config(&simulator, key("test-secret-key"));
    config.request_timeout = Duration::from_mins(1);
    let visit = Client::new(config).unwrap().visit().await;
    let (code, message) = failure(&visit);
    assert_eq!(code, "too large");
    assert!(message.contains("larger than 16 MiB"), "{message}");
    assert_eq!(visit.effort.traffic.requests, 2, "it is not asked for again");
}
