//! What each call answers: the Workspace API as far as it is documented, and the identity service's
//! two calls.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::World;
use super::access::{Access, Refusal};
use super::fault::{Fault, Faults, On};
use super::server::{ServerConfig, Step};
use crate::domain::{COUNTERS, Desktop, Instant};
use crate::workspace::sign;

/// The most records of one page.
const LARGEST_LIMIT: u32 = 2000;
/// The most names of one request.
const MOST_NAMES: usize = 100;
/// What all requests share.
pub(super) struct Shared {
    access: Access,
    step: Step,
    max_offset: u32,
    pub faults: Faults,
    served: Mutex<Served>,
    pub requests: AtomicU64,
    pub tokens: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// The world and, where visits move it, its own time.
pub(super) struct Served {
    pub world: World,
    now: Instant,
    visited: bool,
}

/// What a handler has to say, before faults have their way with it.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
}

impl Answer {
    fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, body: body.to_string().into_bytes(), headers: Vec::new() }
    }
}

impl Shared {
    pub fn new(config: ServerConfig) -> Self {
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

    pub fn served(&self) -> std::sync::MutexGuard<'_, Served> {
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

    pub fn answer(
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
pub(super) enum Call<'a> {
    Listing(&'a str),
    Statistics(&'a str),
    Tokens,
    Projects,
}

impl<'a> Call<'a> {
    pub fn of(method: &Method, path: &'a str) -> Option<Self> {
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method.as_str(), segments.as_slice()) {
            ("GET", ["v2", project, "connect-desktops"]) => Some(Self::Listing(project)),
            ("GET", ["v2", project, "connections", "status"]) => Some(Self::Statistics(project)),
            ("POST", ["v3", "auth", "tokens"]) => Some(Self::Tokens),
            ("GET", ["v3", "projects"]) => Some(Self::Projects),
            _ => None,
        }
    }

    pub fn on(self) -> On {
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
