//! What becomes of requests that are not answered as they should: every shape of an error, waits that are
//! asked for, clocks that differ, proxies.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::{HeaderMap, StatusCode, Uri};
use chrono::{DateTime, TimeDelta, Utc};
use deskledger::simulator::{Fault, On, Rule, ServerConfig, Simulator, Step, WorldConfig};
use deskledger::workspace::{Client, ClientConfig, Credentials};

use crate::support::postgres::database;
use crate::support::program::Home;

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";

fn server(desktops: u32) -> ServerConfig {
    let start: DateTime<Utc> = "2026-10-07T02:00:00Z".parse().unwrap();
    let mut config = ServerConfig::new(WorldConfig::new(3, desktops, start, 30), PROJECT);
    config.step = Step::ByVisit(TimeDelta::minutes(5));
    config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    config
}

fn config(endpoint: &str) -> ClientConfig {
    let credentials = Credentials::AccessKey {
        access_key: "TESTACCESSKEY".into(),
        secret_key: "test-secret-key".into(),
        security_token: Some("test-security-token".into()),
    };
    let mut config = ClientConfig::new(endpoint.parse().unwrap(), PROJECT, credentials);
    config.first_delay = Duration::from_millis(5);
    config.retry_budget = Duration::from_millis(20);
    config
}

/// A server that answers everything in one way, and counts.
async fn answering(
    status: u16,
    headers: &[(&'static str, &str)],
    body: impl Fn(&HeaderMap) -> String + Clone + Send + Sync + 'static,
) -> (String, Arc<AtomicU32>) {
    let counter = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&counter);
    let own: HeaderMap = headers
        .iter()
        .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
        .collect();
    let app = Router::new().fallback(move |_: Uri, sent: HeaderMap| {
        counted.fetch_add(1, Ordering::Relaxed);
        let (own, body) = (own.clone(), body(&sent));
        async move { (StatusCode::from_u16(status).unwrap(), own, body) }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (endpoint, counter)
}

/// Code and message of a visit to such a server, and whether it asked again.
async fn told(
    status: u16,
    headers: &[(&'static str, &str)],
    body: &'static str,
) -> (String, String, bool) {
    let (endpoint, counter) = answering(status, headers, move |_| body.to_owned()).await;
    let visit = Client::new(config(&endpoint)).unwrap().visit().await;
    let failure = visit.failure.unwrap();
    (failure.code.unwrap(), failure.message.unwrap(), counter.load(Ordering::Relaxed) > 2)
}

#[tokio::test]
async fn every_shape_of_an_error_gives_its_code_its_words_its_request_and_a_hint() {
    let id = [("x-request-id", "id-of-the-header")];
    for (status, headers, body, code, words, again) in [
        (
            500,
            &id[..],
            r#"{"error_code":"WKS.00000003","error_msg":"failed to obtain"}"#,
            "WKS.00000003",
            &["HTTP 500: failed to obtain", "(request id id-of-the-header)"][..],
            true,
        ),
        (
            403,
            &[],
            r#"{"error_code":"APIGW.0302","error_msg":"no right","request_id":"id-of-the-body"}"#,
            "APIGW.0302",
            &[
                "(request id id-of-the-body)",
                "grant the IAM action `workspace:desktops:listWithConnectStatus`",
            ],
            false,
        ),
        (
            401,
            &[],
            r#"{"error_msg":"verify aksk signature fail","error_code":"APIG.0301","request_id":"i"}"#,
            "APIG.0301",
            &["temporary access key TEST… is refused", "has it expired"],
            false,
        ),
        (
            401,
            &[],
            r#"{"error":{"code":401,"message":"It is wrong.","title":"Unauthorized"}}"#,
            "HTTP 401",
            &["HTTP 401: It is wrong."],
            false,
        ),
        (
            404,
            &[],
            r#"{"errorCode":"APIGW.0101","errorMsg":"no such API"}"#,
            "APIGW.0101",
            &["no such API", "is project 0bec5db98280d2d02fd6c00c2de791ce of the region behind"],
            false,
        ),
        (
            400,
            &[],
            r#"{"code":"WKS.0001","message":"empty"}"#,
            "WKS.0001",
            &["HTTP 400: empty"],
            false,
        ),
        (
            503,
            &[],
            r#"{"fault":{"error_code":"X.1","error_msg":"down"}}"#,
            "X.1",
            &["HTTP 503: down"],
            true,
        ),
        (
            502,
            &[],
            "<html><h1>Bad Gateway</h1></html>",
            "HTTP 502",
            &["HTTP 502: Bad Gateway"],
            true,
        ),
        (504, &[], "", "HTTP 504", &["HTTP 504: Gateway Timeout"], true),
        (429, &[], "slow down", "HTTP 429", &["slow down", "`requests_per_minute`"], true),
        (
            400,
            &[],
            r#"{"error_code":"APIGW.0308","error_msg":"limit:200"}"#,
            "APIGW.0308",
            &["limit:200", "throttled"],
            true,
        ),
        (
            200,
            &[],
            r#"{"error_code":"WKS.00010109","error_msg":"inside"}"#,
            "WKS.00010109",
            &["HTTP 200: inside"],
            false,
        ),
        (200, &id, "<html>login</html>", "unreadable", &["an HTML page", "id-of-the-header"], true),
        (200, &[], "", "unreadable", &["the answer is empty"], true),
    ] {
        let (seen, message, asked_again) = told(status, headers, body).await;
        assert_eq!(seen, code, "{body}: {message}");
        for words in words {
            assert!(message.contains(words), "{body}: `{message}` lacks `{words}`");
        }
        assert_eq!(asked_again, again, "{body}");
    }
}

#[tokio::test]
async fn what_a_server_echoes_of_our_secrets_is_not_repeated() {
    // The answer says everything that it was sent, and messages are cut: wherever that is, no half of a
    // secret is left.
    for padding in (0..500).step_by(7) {
        let echo =
            move |sent: &HeaderMap| format!("{}{sent:?} and test-secret-key", "x".repeat(padding));
        let (endpoint, _) = answering(403, &[], echo).await;
        let visit = Client::new(config(&endpoint)).unwrap().visit().await;
        let message = visit.failure.unwrap().message.unwrap();
        assert!(padding > 0 || message.contains("[redacted]"), "{message}");
        for secret in ["test-sec", "TESTA"] {
            assert!(!message.contains(secret), "{message}");
        }
        let signature = message.split("Signature=").nth(1).unwrap_or("[");
        assert!(signature.starts_with('['), "{message}");
    }
}

#[tokio::test]
async fn neither_does_a_request_id_repeat_a_secret() {
    let id = [("x-request-id", "id-test-secret-key-TESTACCESSKEY")];
    // Refused, and of a form that cannot be read.
    for status in [403, 200] {
        let (endpoint, _) = answering(status, &id, |_| "[]".to_owned()).await;
        let visit = Client::new(config(&endpoint)).unwrap().visit().await;
        let message = visit.failure.unwrap().message.unwrap();
        assert!(message.contains("request id id-[redacted]-TEST…"), "{message}");
    }
}

#[tokio::test]
async fn what_a_server_says_is_one_harmless_line() {
    let body = r#"{"error_code": "A\u001b[2J", "error_msg": "no\r\n2026 INFO \u202eforged"}"#;
    let (endpoint, _) = answering(403, &[], |_| body.to_owned()).await;
    let failure = Client::new(config(&endpoint)).unwrap().visit().await.failure.unwrap();
    assert_eq!(failure.code.as_deref(), Some("A␛[2J"));
    let message = failure.message.unwrap();
    assert!(message.contains("HTTP 403: no␍␊2026 INFO \\u{202e}forged"), "{message}");
}

#[tokio::test]
async fn what_was_sent_and_not_answered_is_called_so() {
    let simulator = Simulator::start(server(5)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Delay(Duration::from_secs(20)))]);
    let mut config = config(&simulator.endpoint());
    config.request_timeout = Duration::from_millis(300);
    config.retry_budget = Duration::from_secs(60);
    config.visit_budget = Duration::from_secs(1);
    let failure = Client::new(config).unwrap().visit().await.failure.unwrap();
    assert_eq!(failure.code.as_deref(), Some("timeout"), "{failure:?}");
}

#[tokio::test]
async fn a_wait_that_is_asked_for_is_kept_in_both_forms_or_given_up_at_once() {
    for fault in [Fault::Throttle(Some(2)), Fault::ThrottleUntil(3)] {
        let simulator = Simulator::start(server(5)).await.unwrap();
        let patient = || {
            let mut config = config(&simulator.endpoint());
            config.retry_budget = Duration::from_secs(20);
            Client::new(config).unwrap()
        };
        simulator.set_faults(vec![Rule::new(fault.clone()).on(On::Statistics).times(1)]);
        let begun = Instant::now();
        assert_eq!(patient().visit().await.failure, None);
        let took = begun.elapsed();
        // A date has whole seconds: of three, a little more than two are left in the worst case.
        assert!(
            (2..5).contains(&took.as_secs()) || took.as_millis() >= 1900,
            "{fault:?}: {took:?}"
        );

        let long = match fault {
            Fault::ThrottleUntil(_) => Fault::ThrottleUntil(600),
            _ => Fault::Throttle(Some(600)),
        };
        simulator.set_faults(vec![Rule::new(long)]);
        let begun = Instant::now();
        let message = patient().visit().await.failure.unwrap().message.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert!(message.contains("the server asks to wait "), "{message}");
    }
}

#[tokio::test]
async fn a_visit_ends_at_its_deadline_though_each_call_is_patient() {
    let simulator = Simulator::start(server(5)).await.unwrap();
    simulator.set_faults(vec![Rule::new(Fault::Status(503))]);
    let mut config = config(&simulator.endpoint());
    config.retry_budget = Duration::from_secs(60);
    config.visit_budget = Duration::from_secs(1);
    let begun = Instant::now();
    let visit = Client::new(config).unwrap().visit().await;
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(visit.failure.unwrap().code.as_deref(), Some("WKS.00000003"));
    assert!(visit.effort.traffic.requests > 4);
}

/// The program warns once a visit while it is still let in, with both times.
#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_goes_wrong_is_told_before_signatures_die() {
    let database = database().await;
    let simulator = Simulator::start(server(5)).await.unwrap();
    let text = |endpoint: &str, more: &str| {
        format!(
            "[[source]]\nname = \"prod\"\nproject_id = \"{PROJECT}\"\nendpoint = \"{endpoint}\"\n{more}\
             auth = {{ access_key = \"TESTACCESSKEY\", secret_key = \"test-secret-key\" }}\n"
        )
    };
    let home = Home::configured(&database, &text(&simulator.endpoint(), ""));
    let warnings = |err: &str| err.matches("signatures die at 15 minutes").count();
    for (skew, expected) in [(4, 0), (7, 1), (-7, 1)] {
        simulator.set_faults(vec![Rule::new(Fault::Skew(TimeDelta::minutes(skew)))]);
        let done = home.run(&["collect", "--once"]).await.expect(0);
        assert_eq!(warnings(&done.err), expected, "{skew}: {}", done.err);
        assert_eq!(done.err.contains("this machine says "), expected == 1, "{}", done.err);
    }
    simulator.set_faults(Vec::new());

    // A proxy of the environment is used for what is not on this machine, and only for that. The
    // simulated API takes a proxy's requests as its own.
    let proxied = Home::configured(
        &database,
        &text("http://workspace.example", "allow_http = true\n").replace("prod", "far"),
    );
    let proxy = simulator.endpoint();
    let before = simulator.requests();
    proxied.run_with(&["collect", "--once"], &[("HTTP_PROXY", &proxy)]).await.expect(0);
    assert_eq!(simulator.requests(), before + 2, "the proxy was not asked");
    home.run_with(&["collect", "--once"], &[("HTTP_PROXY", "http://127.0.0.1:1")]).await.expect(0);
}
