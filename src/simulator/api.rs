//! What each call answers: the Workspace API as far as it is documented, and the identity service's
//! two calls.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use chrono::TimeDelta;
use serde_json::Value;

use super::World;
use super::access::{Access, Refusal};
use super::content::{Page, write_statistics};
use super::fault::{Fault, Faults, On};
use super::history::History;
use super::limits::{Limits, Listed};
use super::server::{ServerConfig, Step, TotalCounts};
use super::tally::Counting;
use super::throttle::Throttle;
use crate::domain::Instant;

/// What all requests share.
pub(super) struct Shared {
    pub access: Access,
    pub limits: Limits,
    pub faults: Faults,
    pub counting: Counting,
    throttle: Throttle,
    step: Step,
    total_counts: TotalCounts,
    served: Mutex<Served>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// The world and, where something else than the clock moves it, its own time.
pub(super) struct Served {
    pub world: World,
    now: Instant,
    /// How far faults have moved it.
    ahead: TimeDelta,
    visited: bool,
    /// How many pages were answered.
    pub pages: u64,
    pub history: Option<History>,
}

/// What a handler has to say, before faults have their way with it.
pub(super) struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
    pub headers: Vec<(&'static str, String)>,
}

impl Answer {
    fn ok(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, body, headers: Vec::new() }
    }

    fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, ..Self::ok(body.to_string().into_bytes()) }
    }
}

impl Shared {
    pub fn new(config: ServerConfig) -> Self {
        let now = match config.step {
            Step::Clock => config.clock.now(),
            Step::ByVisit(_) => config.world.start,
        };
        let mut world = World::new(&config.world);
        world.seek(now);
        world.keep_index();
        let history = config.keep_history.then(|| {
            world.keep_journal();
            let mut history = History::default();
            for desktop in world.desktops() {
                history.add(0, desktop.id.clone(), Some(desktop.clone()));
            }
            history
        });
        Self {
            access: Access {
                project_id: config.project_id,
                region: config.region,
                access_key: config.access_key,
                security_token: config.security_token,
                token: config.token,
                password: config.password,
                token_life: config.token_life,
                projects: config.projects,
                clock: config.clock,
                issued: Mutex::new(HashMap::new()),
                key_failures: Mutex::default(),
            },
            limits: Limits {
                offset: config.max_offset,
                limit: config.max_limit,
                target: config.max_url,
            },
            faults: Faults::new(config.fault_seed, config.faults),
            counting: Counting::default(),
            throttle: Throttle::new(config.rate_limit),
            step: config.step,
            total_counts: config.total_counts,
            served: Mutex::new(Served {
                world,
                now,
                ahead: TimeDelta::zero(),
                visited: false,
                pages: 0,
                history,
            }),
        }
    }

    pub fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().expect("nobody panics while holding it")
    }

    /// The world as it is now; `visit`: this request begins a visit.
    fn look(&self, visit: bool, faults: &[Fault]) -> MutexGuard<'_, Served> {
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
        for fault in faults {
            if let Fault::Move(by) = fault {
                served.ahead += *by;
            }
        }
        served.advance();
        served
    }

    pub fn answer(
        &self,
        call: Call<'_>,
        parts: &Parts,
        body: &[u8],
        query: &[(String, String)],
        faults: &[Fault],
    ) -> Result<Answer, Refusal> {
        if call == Call::Tokens {
            return Ok(match self.access.exchange(body) {
                Ok((token, body)) => {
                    self.counting.lock().tokens += 1;
                    let mut answer = Answer::json(StatusCode::CREATED, &body);
                    answer.headers.push(("x-subject-token", token));
                    answer
                }
                Err((status, body)) => Answer::json(status, &body),
            });
        }
        let asker = self.access.check(parts, body)?;
        if call.is_limited() {
            self.throttle.check(&asker).inspect_err(|_| self.counting.lock().throttled += 1)?;
        }
        match call {
            Call::Listing(project) => {
                self.check_project(project)?;
                let listed = self.limits.listed(query);
                let listed = listed.inspect_err(|_| self.counting.lock().violations += 1)?;
                Ok(Answer::ok(self.page(&listed, faults).write(faults)))
            }
            Call::Statistics(project) => {
                self.check_project(project)?;
                Ok(self.statistics(faults))
            }
            Call::Projects => {
                let name = query.iter().find(|(name, _)| name == "name");
                let projects = self.access.projects(name.map(|(_, value)| value.as_str()));
                Ok(Answer::json(StatusCode::OK, &projects))
            }
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

    /// Copies one page: it is written and compressed without holding the world.
    fn page(&self, listed: &Listed, faults: &[Fault]) -> Page {
        let mut served = self.look(listed.begins_a_visit(), faults);
        served.pages += 1;
        let at = self.access.clock.now();
        if let Some(history) = &mut served.history {
            history.add_moment(at);
        }
        let offset = if faults.contains(&Fault::RepeatPage) { 0 } else { listed.offset };
        let (desktops, matching) =
            served.world.page(&listed.filter(), offset as usize, listed.limit as usize);
        let total = match self.total_counts {
            TotalCounts::Matching => matching,
            TotalCounts::Everything => served.world.desktops().len(),
        };
        Page { desktops, total: i64::try_from(total).unwrap_or(i64::MAX) }
    }

    fn statistics(&self, faults: &[Fault]) -> Answer {
        let groups = {
            let mut served = self.look(false, faults);
            let (page, groups) = (served.pages, served.world.groups().to_vec());
            if let Some(history) = &mut served.history {
                history.add_statistics(page, groups.clone());
            }
            groups
        };
        Answer::ok(write_statistics(&groups, faults))
    }
}

impl Served {
    /// Lets the world catch up, and notes what the next page is the first to show.
    fn advance(&mut self) {
        self.world.advance_to(self.now + self.ahead);
        if let Some(history) = &mut self.history {
            for (id, became) in self.world.take_journal() {
                history.add(self.pages, id, became);
            }
        }
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
            Self::Projects => On::Projects,
        }
    }

    /// Whether it is one of the service's own calls, whose rate the gateway limits.
    pub fn is_limited(self) -> bool {
        matches!(self, Self::Listing(_) | Self::Statistics(_))
    }
}
