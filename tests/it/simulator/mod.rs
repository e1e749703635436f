//! The simulated API as a client sees it: byte by byte, with no library between that would forgive.

mod content;
mod faults;
mod history;
mod limits;

use std::io::{ErrorKind, Read as _};
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use deskledger::clock::{Clock, ManualClock};
use deskledger::simulator::{Password, ServerConfig, Simulator, WorldConfig};
use deskledger::workspace::sign;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const PROJECT: &str = "0bec5db98280d2d02fd6c00c2de791ce";
const LISTING: &str = "/v2/0bec5db98280d2d02fd6c00c2de791ce/connect-desktops";
const STATISTICS: &str = "/v2/0bec5db98280d2d02fd6c00c2de791ce/connections/status";
const PROJECTS: &str = "/v3/projects?name=ap-southeast-3";
const TOKEN: &str = "X-Auth-Token: test-token\r\n";

fn start() -> DateTime<Utc> {
    "2026-10-07T02:00:00Z".parse().unwrap()
}

/// A server whose clock stands still until it is moved, and that lets a key, a token and a user in.
fn config(desktops: u32) -> (ServerConfig, ManualClock) {
    let (clock, hands) = Clock::manual(start());
    let mut config = ServerConfig::new(WorldConfig::new(3, desktops, start(), 30), PROJECT);
    config.clock = clock;
    config.access_key = Some(("TESTACCESSKEY".into(), "test-secret-key".into()));
    config.token = Some("test-token".into());
    config.password = Some(Password {
        user: "recorder".into(),
        password: "test-password".into(),
        domain: "simulated".into(),
    });
    (config, hands)
}

async fn server(desktops: u32) -> Simulator {
    Simulator::start(config(desktops).0).await.unwrap()
}

fn set(simulator: &Simulator, rules: &[&str]) {
    simulator.set_faults(rules.iter().map(|rule| rule.parse().unwrap()).collect());
}

/// What came back, down to the end of the connection.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// How the connection ended, where not in order.
    end: Option<ErrorKind>,
    took: Duration,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    fn date(&self, name: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc2822(self.header(name).unwrap()).unwrap().to_utc()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error} in {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The status, the code and the message of an error.
    fn refusal(&self) -> (u16, String, String) {
        let body = self.json();
        let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
        (self.status, text("error_code"), text("error_msg"))
    }
}

/// Asks in HTTP/1.0, so that the end of the connection is the end of the answer.
async fn ask(
    simulator: &Simulator,
    method: &str,
    target: &str,
    headers: &str,
    body: &str,
) -> Reply {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(simulator.address()).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        simulator.address(),
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await.err().map(|error| error.kind());
    let took = begun.elapsed();
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let (head, body) = match split {
        Some(at) => (String::from_utf8(bytes[..at].to_vec()).unwrap(), bytes[at + 4..].to_vec()),
        None => (String::new(), bytes),
    };
    let status = head.split(' ').nth(1).map_or(0, |status| status.parse().unwrap());
    Reply { status, head, body, end, took }
}

/// Asks with the token that never dies.
async fn get(simulator: &Simulator, target: &str) -> Reply {
    ask(simulator, "GET", target, TOKEN, "").await
}

/// Asks with a signature; `off`: how far the signer's clock is off the server's.
async fn signed(
    simulator: &Simulator,
    target: &str,
    secret: &str,
    at: DateTime<Utc>,
    off: TimeDelta,
) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let date = sign::format_date(at + off);
    let headers = [
        ("Host".to_owned(), simulator.address().to_string()),
        ("X-Sdk-Date".to_owned(), date.clone()),
    ];
    let query = sign::parse_query(query);
    let parts = sign::Parts { method: "GET", path, query: &query, headers: &headers, body: b"" };
    let authorization = parts.authorization("TESTACCESSKEY", secret, &date);
    let headers = format!("X-Sdk-Date: {date}\r\nAuthorization: {authorization}\r\n");
    ask(simulator, "GET", target, &headers, "").await
}

/// A new token for the password.
async fn token(simulator: &Simulator) -> String {
    let body = r#"{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"recorder",
        "password":"test-password","domain":{"name":"simulated"}}}},
        "scope":{"project":{"name":"ap-southeast-3"}}}}"#;
    let reply = ask(simulator, "POST", "/v3/auth/tokens", "", body).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    reply.header("X-Subject-Token").unwrap().to_owned()
}

fn gunzip(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(bytes).read_to_end(&mut unpacked)?;
    Ok(unpacked)
}
