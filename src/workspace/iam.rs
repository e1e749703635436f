//! The identity service: tokens for a password, and the project that a region's desktops are in.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::account::Account;
use super::auth::Target;
use super::guard::Asker;
use super::hint::RefusedByIam;
use super::http::{Answer, Attempt, Http, Ways, read_json, unreadable};
use super::retry::Patience;
use super::run::Run;
use super::{ApiError, ConfigError, Credentials, Kind};
use crate::domain;

const TOKENS: &str = "auth/tokens";
const PROJECTS: &str = "projects";

/// Where a token is good.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// In the project with this id.
    ProjectId(String),
    /// In the project that has the region's name.
    Region(String),
}

/// A token, and what was said with it.
#[derive(Clone, Debug)]
pub(super) struct Issued {
    pub token: SecretString,
    pub expires_at: domain::Instant,
    pub project_id: Option<String>,
    /// How long it lives from `asked` on, which is before it was made.
    pub life: Duration,
    pub asked: Instant,
    /// The guard's epoch when it was asked for.
    pub epoch: u64,
}

impl Issued {
    /// Whether its life is over, by a clock that nobody sets.
    pub fn is_over(&self) -> bool {
        self.asked.elapsed() >= self.life
    }
}

/// The identity service, asked in one credential's name.
#[derive(Clone, Debug)]
pub(super) struct Iam {
    http: Http,
    account: Arc<Account>,
    asker: Asker,
    credentials: Credentials,
}

impl Iam {
    pub fn new(
        endpoint: &Url,
        ways: &Ways,
        account: Arc<Account>,
        credentials: Credentials,
    ) -> Result<Self, ConfigError> {
        let asker = account.guard.asker();
        Ok(Self { http: Http::new(endpoint, ways)?, account, asker, credentials })
    }

    /// Exchanges the password for a token, in one attempt. Only a credential with a password has
    /// something to exchange.
    pub async fn exchange(&self, run: &Run, scope: &Scope) -> Result<Issued, ApiError> {
        let Credentials::Password { user, password, domain } = &self.credentials else {
            return Err(ApiError::new(TOKENS, Kind::Request, "there is no password to exchange"));
        };
        let project = match scope {
            Scope::ProjectId(id) => json!({ "id": id }),
            Scope::Region(name) => json!({ "name": name }),
        };
        let body = json!({"auth": {
            "identity": {
                "methods": ["password"],
                "password": {"user": {
                    "name": user,
                    "password": password.expose_secret(),
                    "domain": {"name": domain},
                }},
            },
            "scope": {"project": project},
        }});
        let mut headers = HeaderMap::new();
        let json = HeaderValue::from_static("application/json;charset=utf8");
        headers.insert(CONTENT_TYPE, json);
        // The catalogue of all services is long, and not needed.
        let query = [("nocatalog".to_owned(), "true".to_owned())];
        let make = || {
            Ok(Attempt {
                call: TOKENS,
                method: Method::POST,
                url: self.http.url("/v3/auth/tokens", &query),
                headers: headers.clone(),
                body: body.to_string().into_bytes(),
            })
        };
        let (answer, asked, epoch) = self.send(run, TOKENS, make).await?;
        let unreadable = |message| ApiError {
            request_id: answer.request_id.clone(),
            ..unreadable(TOKENS, message)
        };
        let token = answer
            .header("x-subject-token")
            .filter(|token| !token.is_empty())
            .ok_or_else(|| unreadable("the answer holds no `X-Subject-Token`"))?;
        let body: TokenBody = read_json(TOKENS, &answer.body)?;
        let made_at = body.token.issued_at.or(answer.date()).unwrap_or_else(|| self.http.now());
        let life = (body.token.expires_at - made_at).to_std().unwrap_or_default();
        Ok(Issued {
            token: token.to_owned().into(),
            expires_at: body.token.expires_at,
            project_id: body.token.project.map(|project| project.id),
            life,
            asked,
            epoch,
        })
    }

    /// The enabled projects with a region's name, repeated as long as that may help.
    pub async fn projects(&self, run: &Run, region: &str) -> Result<Vec<String>, ApiError> {
        let query = [("name".to_owned(), region.to_owned())];
        let make = || {
            let url = self.http.url("/v3/projects", &query);
            let target = Target {
                host: self.http.host(),
                path: url.path(),
                query: &query,
                project_id: None,
            };
            let headers = self
                .credentials
                .headers(&target, None, self.http.now())
                .map_err(|error| ApiError::new(PROJECTS, Kind::Request, error.to_string()))?;
            Ok(Attempt { call: PROJECTS, method: Method::GET, url, headers, body: Vec::new() })
        };
        let mut patience = Patience::new(run);
        loop {
            let answer = self.send(run, PROJECTS, make).await.and_then(|(answer, ..)| {
                read_json::<ProjectsBody>(PROJECTS, &answer.body)
                    .map_err(|error| ApiError { request_id: answer.request_id, ..error })
            });
            match answer {
                Ok(body) => {
                    // The name is filtered by the server; one that does not must not mislead.
                    let ours = |project: &Project| {
                        project.enabled != Some(false)
                            && project.name.as_deref().is_none_or(|name| name == region)
                    };
                    return Ok(body
                        .projects
                        .into_iter()
                        .filter(ours)
                        .map(|project| project.id)
                        .collect());
                }
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// The project that a password's token for a region is good in.
    pub async fn project_of_token(&self, run: &Run, region: &str) -> Result<Vec<String>, ApiError> {
        let scope = Scope::Region(region.to_owned());
        let mut patience = Patience::new(run);
        loop {
            match self.exchange(run, &scope).await {
                Ok(issued) => return Ok(issued.project_id.into_iter().collect()),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// One attempt, within the account's pace and the guard's leave. Gives the answer, the instant
    /// just before it was sent, and the epoch it was sent in.
    async fn send(
        &self,
        run: &Run,
        call: &'static str,
        make: impl Fn() -> Result<Attempt, ApiError>,
    ) -> Result<(Answer, Instant, u64), ApiError> {
        run.check_time(call)?;
        let guard = &self.account.guard;
        let leave = timeout_at(run.deadline(), guard.admit(call, self.asker))
            .await
            .map_err(|_| run.out_of_time(call))??;
        let turn = self.account.pace.turn(run.deadline()).await;
        turn.map_err(|late| run.out_of_pace(call, late.limit))?;
        guard.confirm(call, &leave)?;
        let asked = Instant::now();
        let redact = |text: &str| self.credentials.redact(text);
        let answer = self.http.send(run, make()?).await?.redacted(redact);
        if answer.status.is_success() {
            return Ok((answer, asked, leave.epoch()));
        }
        let mut error = self.http.refusal(call, &answer, redact);
        if error.is_throttled() {
            run.count_throttled();
        }
        let refused = RefusedByIam {
            error: &error,
            server_time: answer.date(),
            now: self.http.now(),
            credentials: &self.credentials,
            host: self.http.host(),
        };
        error.hint = refused.hint().map(Into::into);
        if error.is_refused() {
            guard.refuse(leave.epoch(), &error, self.http.now());
        }
        Err(error)
    }
}

#[derive(Deserialize)]
struct TokenBody {
    token: TokenDetails,
}

#[derive(Deserialize)]
struct TokenDetails {
    expires_at: DateTime<Utc>,
    issued_at: Option<DateTime<Utc>>,
    project: Option<TokenProject>,
}

#[derive(Deserialize)]
struct TokenProject {
    id: String,
}

#[derive(Deserialize)]
struct ProjectsBody {
    projects: Vec<Project>,
}

#[derive(Deserialize)]
struct Project {
    id: String,
    name: Option<String>,
    enabled: Option<bool>,
}
