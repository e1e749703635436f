//! `deskledger serve`: the program itself, asked over HTTP as browsers and others ask it.
//!
//! Whatever is asked in these tests, each answer is looked at for what all of them must have: see [`Answer`].

mod doors;
mod names;
mod pages;
mod roles;
mod trouble;

use std::time::Duration;

use nix::sys::signal::Signal;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};

use crate::support::ledger::{ledger, record};
use crate::support::postgres::TestDatabase;
use crate::support::program::{Done, Home, PATIENCE, Running};

const EXAMPLE: &str = include_str!("../../data/example/history.ndjson");

/// The day of the example.
const DAY: &str = "from=2026-10-05&to=2026-10-06";

/// A ledger with the example in it.
async fn example() -> TestDatabase {
    let (database, store) = ledger().await;
    record(&store, EXAMPLE, 1, usize::MAX).await;
    database
}

/// The program while it serves.
struct Serving {
    running: Running,
    /// `http://127.0.0.1:PORT`
    at: String,
    client: Client,
}

/// What was answered.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }

    /// Its body; a slash, which pages escape too, is one.
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).replace("&#x2f;", "/")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[track_caller]
    fn holds(&self, text: &str) {
        assert!(self.text().contains(text), "`{text}` is not in\n{}", self.text());
    }
}

impl Serving {
    /// Starts it on a free port.
    async fn start(home: &Home, more: &[&str]) -> Self {
        Self::listening(home, "127.0.0.1:0", more).await
    }

    async fn listening(home: &Home, listen: &str, more: &[&str]) -> Self {
        let arguments = [&["-vv", "serve", "--listen", listen], more].concat();
        let running = home.start(&arguments);
        running.says("until Ctrl-C").await;
        let said = running.said();
        let port = said.split("Reports are at http://").nth(1).unwrap();
        let port = port.split('/').next().unwrap().rsplit(':').next().unwrap().to_owned();
        let client = Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { running, at: format!("http://127.0.0.1:{port}"), client }
    }

    async fn ask(&self, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.at));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            request = request.header(name, HeaderValue::from_str(value).unwrap());
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.bytes().await.unwrap().to_vec();
        let answer = Answer { status, headers, body };
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'; "), "{path}: {policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("script"),
            "{policy}"
        );
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), value, "{path}: {name}");
        }
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[]).await
    }

    async fn end(self) -> Done {
        self.running.signal(Signal::SIGTERM);
        self.running.end().await
    }
}

/// Writes reports of the user's own into a folder below the program's.
fn own_reports(home: &Home, reports: &[(&str, &str)]) {
    std::fs::create_dir_all(home.path().join("own")).unwrap();
    for (name, sql) in reports {
        home.write(&format!("own/{name}.sql"), sql.as_bytes());
    }
}

/// Sleeps for so many seconds.
const SLEEP: &str = "select pg_sleep(:'seconds'::float8)::text as slept";

/// Not long for a machine that is busy, and shorter than any time limit of these tests.
const SOON: Duration = Duration::from_secs(45);
