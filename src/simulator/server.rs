//! The Workspace API over a world, as far as it is documented, and the identity service's two calls.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, RETRY_AFTER,
};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use chrono::TimeDelta;
use futures_util::stream::{self, StreamExt as _};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::access::{self, Access, Refusal};
use super::fault::{Fault, Faults, On, Rule};
use super::{World, WorldConfig};
use crate::clock::Clock;
use crate::domain::{COUNTERS, Desktop, GroupStatistics, Instant};
use crate::workspace::sign;

pub use super::access::Password;

/// The most records of one page.
const LARGEST_LIMIT: u32 = 2000;
/// The most names of one request.
const MOST_NAMES: usize = 100;
/// The longest body that a request may have.
const LARGEST_REQUEST: usize = 1 << 20;
/// Below this, compression costs more than it saves.
const SMALLEST_COMPRESSED: usize = 1024;

/// What moves the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The server's clock.
    Clock,
    /// Visits: at each first page of the whole listing except the very first, so much time passes.
    ByVisit(TimeDelta),
}

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The fleet.
    pub world: WorldConfig,
    /// What moves it.
    pub step: Step,
    /// The one project.
    pub project_id: String,
    /// The one region; the project is named after it.
    pub region: String,
    /// An access key and its secret.
    pub access_key: Option<(String, SecretString)>,
    /// What has to come with the access key, if it is a temporary one.
    pub security_token: Option<SecretString>,
    /// A token that never dies.
    pub token: Option<SecretString>,
    /// A user who may exchange a password for a token.
    pub password: Option<Password>,
    /// How long such a token lives.
    pub token_life: TimeDelta,
    /// The largest offset.
    pub max_offset: u32,
    /// What goes wrong from the start.
    pub faults: Vec<Rule>,
    /// The server's clock.
    pub clock: Clock,
}

impl ServerConfig {
    /// A server with the documented limits and no key: nobody may ask anything yet.
    #[must_use]
    pub fn new(world: WorldConfig, project_id: impl Into<String>) -> Self {
        Self {
            world,
            step: Step::Clock,
            project_id: project_id.into(),
            region: "ap-southeast-3".into(),
            access_key: None,
            security_token: None,
            token: None,
            password: None,
            token_life: TimeDelta::hours(24),
            max_offset: 2000,
            faults: Vec::new(),
            clock: Clock::System,
        }
    }
}

/// A server that runs until it is stopped or dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Simulator {
    /// Starts a server on a port of this machine that nobody uses.
    ///
    /// # Errors
    /// No port is to be had.
    pub async fn start(config: ServerConfig) -> io::Result<Self> {
        Self::start_on(config, TcpListener::bind("127.0.0.1:0").await?)
    }

    /// Starts a server on a listener.
    ///
    /// # Errors
    /// The listener has no address.
    pub fn start_on(config: ServerConfig, listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::new(config));
        let (stop, stopped) = oneshot::channel();
        let running = run(Arc::clone(&shared), listener, async {
            // A sender that was dropped stops it as well.
            let _ = stopped.await;
        });
        Ok(Self { address, shared, stop: Some(stop), task: tokio::spawn(running) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as an endpoint.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests came so far.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }

    /// How many tokens were given out so far.
    #[must_use]
    pub fn tokens(&self) -> u64 {
        self.shared.tokens.load(Ordering::Relaxed)
    }

    /// From now on, this goes wrong and nothing else.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        self.shared.faults.set(rules);
    }

    /// The world as it was last served.
    #[must_use]
    pub fn served(&self) -> (Vec<Desktop>, Vec<GroupStatistics>) {
        let served = self.shared.served();
        (served.world.desktops().to_vec(), served.world.groups().to_vec())
    }

    /// Answers what was asked, and stops.
    ///
    /// # Errors
    /// The server broke down.
    pub async fn stop(mut self) -> io::Result<()> {
        drop(self.stop.take());
        self.task.await.map_err(io::Error::other)?
    }
}

/// Serves until `shutdown` is over.
///
/// # Errors
/// Connections can no longer be taken.
pub async fn serve(
    config: ServerConfig,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    run(Arc::new(Shared::new(config)), listener, shutdown).await
}

async fn run(
    shared: Arc<Shared>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let app = Router::new().fallback(handle).with_state(shared);
    axum::serve(listener, app).with_graceful_shutdown(shutdown).await
}

struct Shared {
    access: Access,
    step: Step,
    max_offset: u32,
    faults: Faults,
    served: Mutex<Served>,
    requests: AtomicU64,
    tokens: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// The world and, where visits move it, its own time.
struct Served {
    world: World,
    now: Instant,
    visited: bool,
}

/// What a handler has to say, before faults have their way with it.
struct Answer {
    status: StatusCode,
    body: Vec<u8>,
    headers: Vec<(&'static str, String)>,
}

impl Answer {
    fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes(), headers: Vec::new() }
    }
}

impl Shared {
    fn new(config: ServerConfig) -> Self {
        let mut world = World::new(&config.world);
        let now = match config.step {
            Step::Clock => config.clock.now(),
            Step::ByVisit(_) => config.world.start,
        };
        world.seek(now);
        let faults = Faults::default();
        faults.set(config.faults);
        Self {
            access: Access {
                project_id: config.project_id,
                region: config.region,
                access_key: config.access_key,
                security_token: config.security_token,
                token: config.token,
                password: config.password,
                token_life: config.token_life,
                clock: config.clock,
                issued: Mutex::new(HashMap::new()),
            },
            step: config.step,
            max_offset: config.max_offset,
            faults,
            served: Mutex::new(Served { world, now, visited: false }),
            requests: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
        }
    }

    fn served(&self) -> std::sync::MutexGuard<'_, Served> {
        self.served.lock().expect("nobody panics while holding it")
    }

    /// The world as it is now; `visit`: this request begins a visit.
    fn look(&self, visit: bool) -> std::sync::MutexGuard<'_, Served> {
        let mut served = self.served();
        match self.step {
            Step::Clock => served.now = self.access.clock.now(),
            Step::ByVisit(interval) if visit => {
                if served.visited {
                    served.now += interval;
                }
                served.visited = true;
            }
            Step::ByVisit(_) => {}
        }
        let now = served.now;
        served.world.advance_to(now);
        served
    }

    fn answer(
        &self,
        call: Call<'_>,
        parts: &Parts,
        body: &[u8],
        faults: &[Fault],
    ) -> Result<Answer, Refusal> {
        if call == Call::Tokens {
            return Ok(match self.access.exchange(body) {
                Ok((token, body)) => {
                    self.tokens.fetch_add(1, Ordering::Relaxed);
                    let mut answer = Answer::json(StatusCode::CREATED, &body);
                    answer.headers.push(("x-subject-token", token));
                    answer
                }
                Err((status, body)) => Answer::json(status, &body),
            });
        }
        self.access.check(parts, body)?;
        let query = sign::parse_query(parts.uri.query().unwrap_or_default());
        match call {
            Call::Listing(project) => {
                self.check_project(project)?;
                self.listing(&Listed::parse(&query, self.max_offset)?, faults)
            }
            Call::Statistics(project) => {
                self.check_project(project)?;
                Ok(self.statistics())
            }
            Call::Projects => Ok(self.projects(&query)),
            Call::Tokens => unreachable!("answered above"),
        }
    }

    fn check_project(&self, project: &str) -> Result<(), Refusal> {
        if project == self.access.project_id {
            return Ok(());
        }
        let message = "The project does not exist.".to_owned();
        Err((StatusCode::NOT_FOUND, "WKS.0202", message))
    }

    fn listing(&self, asked: &Listed, faults: &[Fault]) -> Result<Answer, Refusal> {
        let served = self.look(asked.offset == 0 && asked.is_whole());
        let meant: Vec<&Desktop> =
            served.world.desktops().iter().filter(|desktop| asked.takes(desktop)).collect();
        let mut total = i64::try_from(meant.len()).unwrap_or(i64::MAX);
        let mut offset = asked.offset as usize;
        for fault in faults {
            match fault {
                Fault::WrongTotal(by) => total += by,
                Fault::RepeatPage => offset = 0,
                _ => {}
            }
        }
        let desktops = meant.into_iter().skip(offset).take(asked.limit as usize);
        let page =
            DesktopsOut { desktops: desktops.map(DesktopOut::from).collect(), total_count: total };
        let body = serde_json::to_vec(&page).expect("texts and numbers are JSON");
        Ok(Answer { status: StatusCode::OK, body, headers: Vec::new() })
    }

    fn statistics(&self) -> Answer {
        let served = self.look(false);
        let groups: Vec<Value> = served
            .world
            .groups()
            .iter()
            .map(|group| {
                let mut row = serde_json::Map::new();
                row.insert("static_name".into(), json!(group.name.as_deref()));
                for (name, count) in COUNTERS.iter().zip(group.counters) {
                    row.insert((*name).into(), json!(count));
                }
                Value::Object(row)
            })
            .collect();
        Answer::json(StatusCode::OK, &json!({ "statics": groups }))
    }

    fn projects(&self, query: &[(String, String)]) -> Answer {
        let name = query.iter().find(|(name, _)| name == "name").map(|(_, value)| value.as_str());
        let (region, id) = (&self.access.region, &self.access.project_id);
        let ours = name.is_none_or(|name| name == region);
        let project = json!({
            "id": id, "name": region, "domain_id": "d", "parent_id": "d", "enabled": true,
            "is_domain": false, "description": "", "links": {"self": format!("/v3/projects/{id}")},
        });
        let projects = if ours { vec![project] } else { Vec::new() };
        let links = json!({"self": "/v3/projects", "next": null, "previous": null});
        Answer::json(StatusCode::OK, &json!({"projects": projects, "links": links}))
    }
}

/// What a request asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call<'a> {
    Listing(&'a str),
    Statistics(&'a str),
    Tokens,
    Projects,
}

impl<'a> Call<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["v2", project, "connect-desktops"]) => Some(Self::Listing(project)),
            ("GET", ["v2", project, "connections", "status"]) => Some(Self::Statistics(project)),
            ("POST", ["v3", "auth", "tokens"]) => Some(Self::Tokens),
            ("GET", ["v3", "projects"]) => Some(Self::Projects),
            _ => None,
        }
    }

    fn on(self) -> On {
        match self {
            Self::Listing(_) => On::Listing,
            Self::Statistics(_) => On::Statistics,
            Self::Tokens => On::Tokens,
            Self::Projects => On::Any,
        }
    }
}

/// Which desktops a request asks for.
struct Listed {
    offset: u32,
    limit: u32,
    status: Option<String>,
    names: Vec<String>,
}

impl Listed {
    fn parse(query: &[(String, String)], max_offset: u32) -> Result<Self, Refusal> {
        let wrong = |what: String| (StatusCode::BAD_REQUEST, "WKS.0001", what);
        let number = |value: &str, name: &str, most: u32| {
            value.parse().ok().filter(|number| *number <= most).ok_or_else(|| {
                wrong(format!("The value of {name} must be an integer from 0 to {most}."))
            })
        };
        let mut listed = Self { offset: 0, limit: 100, status: None, names: Vec::new() };
        for (name, value) in query {
            match name.as_str() {
                "offset" => listed.offset = number(value, "offset", max_offset)?,
                "limit" => listed.limit = number(value, "limit", LARGEST_LIMIT)?,
                "connect_status" => listed.status = Some(value.clone()),
                "user_names" => listed.names.push(value.clone()),
                _ => {}
            }
        }
        if listed.names.len() > MOST_NAMES {
            return Err(wrong(format!("At most {MOST_NAMES} user_names can be given.")));
        }
        Ok(listed)
    }

    fn is_whole(&self) -> bool {
        self.status.is_none() && self.names.is_empty()
    }

    fn takes(&self, desktop: &Desktop) -> bool {
        let status = self.status.as_deref();
        (status.is_none() || status == desktop.status.as_deref())
            && (self.names.is_empty()
                || desktop.users.entries().iter().any(|user| {
                    user.name
                        .as_deref()
                        .is_some_and(|name| self.names.iter().any(|one| one == name))
                }))
    }
}

async fn handle(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let number = shared.requests.fetch_add(1, Ordering::Relaxed);
    // An id as long as the real ones, so that nothing is fitted to a short one.
    let request_id = format!("{number:032x}");
    let (parts, body) = request.into_parts();
    let mut response = match to_bytes(body, LARGEST_REQUEST).await {
        Ok(body) => respond(&shared, &parts, &body, &request_id).await,
        Err(_) => refuse(
            (StatusCode::PAYLOAD_TOO_LARGE, "APIGW.0201", "Request entity too large".into()),
            &request_id,
        ),
    };
    let id = HeaderValue::from_str(&request_id).expect("digits are a header value");
    response.headers_mut().insert("x-request-id", id);
    response
}

async fn respond(shared: &Shared, parts: &Parts, body: &Bytes, request_id: &str) -> Response {
    let Some(call) = Call::of(&parts.method, parts.uri.path()) else {
        let message = "The API does not exist or has not been published in the environment";
        return refuse((StatusCode::NOT_FOUND, "APIGW.0101", message.into()), request_id);
    };
    let offset = sign::parse_query(parts.uri.query().unwrap_or_default())
        .iter()
        .find(|(name, _)| name == "offset")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let faults = shared.faults.at(call.on(), offset);
    for fault in &faults {
        if let Fault::Delay(delay) = fault {
            tokio::time::sleep(*delay).await;
        }
    }
    for fault in &faults {
        if let Some(response) = misbehave(fault, request_id) {
            return response;
        }
    }
    let answer = match shared.answer(call, parts, body, &faults) {
        Ok(answer) => answer,
        Err(refusal) => return refuse(refusal, request_id),
    };
    let asks_gzip = parts
        .headers
        .get(ACCEPT_ENCODING)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("gzip"));
    finish(answer, asks_gzip, faults.contains(&Fault::Truncate)).await
}

/// The answer that a fault gives instead of the right one, for those that do.
fn misbehave(fault: &Fault, request_id: &str) -> Option<Response> {
    Some(match fault {
        Fault::Throttle(retry_after) => {
            let message = "The throttling threshold has been reached: policy user over ratelimit,limit:200,time:1 minute";
            let refusal = (StatusCode::TOO_MANY_REQUESTS, "APIGW.0308", message.into());
            let mut response = refuse(refusal, request_id);
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response
        }
        Fault::Status(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refuse((status, "WKS.00000003", "Internal service error.".into()), request_id)
        }
        Fault::Html(status) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_GATEWAY);
            let page = "<html><head><title>Bad Gateway</title></head><body>proxy</body></html>";
            let mut response = Response::new(Body::from(page));
            *response.status_mut() = status;
            let html = HeaderValue::from_static("text/html");
            response.headers_mut().insert(CONTENT_TYPE, html);
            response
        }
        Fault::Drop => Response::new(broken(Bytes::new())),
        Fault::ErrorInside => {
            let body = json!({"error_code": "WKS.00010109", "error_msg": "The task failed."});
            let mut response = Response::new(Body::from(body.to_string()));
            let json = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, json);
            response
        }
        Fault::Redirect => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            let elsewhere = HeaderValue::from_static("https://elsewhere.example/v2");
            response.headers_mut().insert(LOCATION, elsewhere);
            response
        }
        Fault::ExpiredToken => refuse(access::expired(), request_id),
        Fault::Delay(_) | Fault::Truncate | Fault::WrongTotal(_) | Fault::RepeatPage => {
            return None;
        }
    })
}

/// A body that breaks off, and its connection with it.
fn broken(begun: Bytes) -> Body {
    // What was begun must be on its way before it breaks off, or nothing of it is sent.
    let pause = if begun.is_empty() { Duration::ZERO } else { Duration::from_millis(50) };
    let gone = stream::once(async move {
        tokio::time::sleep(pause).await;
        Err(io::Error::from(io::ErrorKind::ConnectionReset))
    });
    Body::from_stream(stream::iter([Ok(begun)]).chain(gone))
}

async fn finish(answer: Answer, gzip: bool, truncate: bool) -> Response {
    let gzip = gzip && answer.body.len() >= SMALLEST_COMPRESSED;
    let body = Bytes::from(if gzip { compress(&answer.body).await } else { answer.body });
    let length = body.len();
    let body = if truncate { broken(body.slice(..length / 2)) } else { Body::from(body) };
    let mut response = Response::new(body);
    *response.status_mut() = answer.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    for (name, value) in answer.headers {
        headers.insert(name, HeaderValue::from_str(&value).expect("made of letters and digits"));
    }
    response
}

async fn compress(body: &[u8]) -> Vec<u8> {
    use tokio::io::AsyncWriteExt as _;

    let level = async_compression::Level::Fastest;
    let mut encoder = async_compression::tokio::write::GzipEncoder::with_quality(Vec::new(), level);
    encoder.write_all(body).await.expect("memory takes everything");
    encoder.shutdown().await.expect("memory takes everything");
    encoder.into_inner()
}

/// An error in the gateway's and the service's shape, which differ only in the id of the request.
fn refuse((status, code, message): Refusal, request_id: &str) -> Response {
    let mut body = json!({"error_code": code, "error_msg": message});
    if code.starts_with("APIGW.") {
        body["request_id"] = json!(request_id);
    }
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}

#[derive(Serialize)]
struct DesktopsOut<'a> {
    desktops: Vec<DesktopOut<'a>>,
    total_count: i64,
}

/// Fields that are not known are left out, as the service does.
#[derive(Serialize)]
struct DesktopOut<'a> {
    desktop_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    desktop_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    connect_status: Option<&'a str>,
    attach_users: Vec<UserOut<'a>>,
}

#[derive(Serialize)]
struct UserOut<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_group: Option<&'a str>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
}

impl<'a> From<&'a Desktop> for DesktopOut<'a> {
    fn from(desktop: &'a Desktop) -> Self {
        let users = desktop.users.entries().iter();
        Self {
            desktop_id: &desktop.id,
            desktop_name: desktop.name.as_deref(),
            connect_status: desktop.status.as_deref(),
            attach_users: users
                .map(|user| UserOut {
                    id: user.id.as_deref(),
                    name: user.name.as_deref(),
                    user_group: user.user_group.as_deref(),
                    kind: user.kind.as_deref(),
                })
                .collect(),
        }
    }
}
