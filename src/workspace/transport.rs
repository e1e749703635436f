//! The way to one project's API: requests that are let in, within the account's pace, and repeated as
//! long as that may help.
//!
//! Nothing here knows what a good answer means: whoever asks reads it.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::Method;
use tokio::time::timeout_at;
use tokio_util::sync::CancellationToken;

use super::account::Account;
use super::auth::{Target, redact_token};
use super::guard::Asker;
use super::hint::Refused;
use super::http::{Answer, Attempt, Http};
use super::iam::{Iam, Scope};
use super::retry::Patience;
use super::run::Run;
use super::token::{Token, TokenCell};
use super::wire::ErrorBody;
use super::{ApiError, ClientConfig, ConfigError, Credentials, Kind};

/// How many tokens may die on one request's way to the API. A server that gives out dead ones would
/// otherwise be asked for them until the visit's time is over.
const MOST_AGED: u32 = 3;

/// The way to one project's API.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    http: Http,
    project_id: String,
    credentials: Credentials,
    account: Arc<Account>,
    asker: Asker,
    halt: CancellationToken,
    /// For a password, which is never sent to the API itself.
    tokens: Option<Arc<TokenCell>>,
}

impl Transport {
    /// For a configuration that was checked.
    ///
    /// # Errors
    /// TLS cannot be set up.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let ways = config.ways();
        let http = Http::new(&config.endpoint, &ways)?;
        let tokens = match config.credentials {
            Credentials::Password { .. } => {
                let scope = Scope::ProjectId(config.project_id.clone());
                Some(Arc::new(TokenCell::new(config.iam()?, scope)))
            }
            _ => None,
        };
        Ok(Self {
            http,
            project_id: config.project_id.clone(),
            credentials: config.credentials.clone(),
            account: Arc::clone(&config.account),
            asker: config.account.guard.asker(),
            halt: config.halt.clone(),
            tokens,
        })
    }

    /// One request; with `repeat`, repeated as long as that may help and there is time. `read` takes the
    /// body of a good answer apart; where it cannot, the request is repeated too.
    pub async fn get<T>(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
        repeat: bool,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut patience = Patience::new(run);
        let mut cause: Option<ApiError> = None;
        loop {
            let answer = self.ask(run, call, query).await.and_then(|answer| {
                read(&answer.body)
                    .map_err(|error| ApiError { request_id: answer.request_id, ..error })
            });
            match answer {
                Ok(answer) => return Ok(answer),
                // That it was not sent again says less than why it was to be.
                Err(error) if matches!(error.kind, Kind::Budget | Kind::Withheld) => {
                    return Err(cause.unwrap_or(error));
                }
                Err(error) if !repeat => return Err(error),
                Err(error) => {
                    cause = Some(error.clone());
                    patience.after(error).await?;
                }
            }
        }
    }

    /// The token that is in use, where there is one.
    pub async fn token(&self, run: &Run) -> Result<Option<Token>, ApiError> {
        match &self.tokens {
            Some(tokens) => tokens.token(run).await.map(Some),
            None => Ok(None),
        }
    }

    /// One attempt; with a token that died, a second one with the next.
    async fn ask(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
    ) -> Result<Answer, ApiError> {
        let Some(tokens) = &self.tokens else { return self.ask_directly(run, call, query).await };
        let guard = &self.account.guard;
        let (mut is_second, mut aged) = (false, 0);
        loop {
            // Before the turn, so that it is not grown cold by an exchange; and after it, because the
            // turn may have been long in coming.
            tokens.token(run).await?;
            self.turn(run, call).await?;
            let token = tokens.token(run).await?;
            let error = match self.attempt(run, call, query, Some(&token)).await {
                Ok(answer) => {
                    guard.let_in(token.issued.epoch);
                    return Ok(answer);
                }
                Err(error) => error,
            };
            if !error.asks_for_another_token() {
                return Err(error);
            }
            tokens.kill(&token);
            // It died of age on its way, which says nothing about the next one; unless they all do.
            if token.issued.is_over() && aged < MOST_AGED {
                aged += 1;
                continue;
            }
            if is_second {
                guard.refuse(token.issued.epoch, &error, self.http.now());
                return Err(error);
            }
            is_second = true;
        }
    }

    /// One attempt with what is always at hand: a key or a token that somebody else obtained.
    async fn ask_directly(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
    ) -> Result<Answer, ApiError> {
        let guard = &self.account.guard;
        let leave = timeout_at(run.deadline(), guard.admit(call, self.asker))
            .await
            .map_err(|_| run.out_of_time(call))??;
        self.turn(run, call).await?;
        guard.confirm(call, &leave)?;
        let answer = self.attempt(run, call, query, None).await;
        match &answer {
            Err(error) if error.is_refused() => {
                guard.refuse(leave.epoch(), error, self.http.now());
            }
            Ok(_) => guard.let_in(leave.epoch()),
            // A right that is missing, or something that the service itself has said: it knew us.
            Err(error) if error.status == Some(403) || error.is_workspaces() => {
                guard.let_in(leave.epoch());
            }
            Err(_) => {}
        }
        answer
    }

    async fn turn(&self, run: &Run, call: &'static str) -> Result<(), ApiError> {
        run.check_time(call)?;
        tokio::select! {
            biased;
            () = self.halt.cancelled() => {
                Err(ApiError::new(call, Kind::Withheld, "not sent: the recorder is stopping"))
            }
            turn = self.account.pace.turn(run.deadline()) => {
                turn.map_err(|late| run.out_of_pace(call, late.limit))
            }
        }
    }

    async fn attempt(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
        token: Option<&Token>,
    ) -> Result<Answer, ApiError> {
        let project = utf8_percent_encode(&self.project_id, NON_ALPHANUMERIC);
        let url = self.http.url(&format!("/v2/{project}/{call}"), query);
        let target = Target {
            host: self.http.host(),
            path: url.path(),
            query,
            project_id: Some(&self.project_id),
        };
        let headers = self
            .credentials
            .headers(&target, token.map(|token| &token.issued.token), self.http.now())
            .map_err(|error| ApiError::new(call, Kind::Request, error.to_string()))?;
        let attempt = Attempt { call, method: Method::GET, url, headers, body: Vec::new() };
        let redact = |text: &str| {
            let text = self.credentials.redact(text);
            match token {
                Some(token) => redact_token(&text, &token.issued.token),
                None => text,
            }
        };
        let answer = self.http.send(run, attempt).await?.redacted(redact);
        if answer.status.is_success() && ErrorBody::inside(&answer.body).is_none() {
            return Ok(answer);
        }
        let mut error = self.http.refusal(call, &answer, redact);
        if error.is_throttled() {
            run.count_throttled();
        }
        let refused = Refused {
            error: &error,
            server_time: answer.date(),
            now: self.http.now(),
            credentials: &self.credentials,
            project_id: &self.project_id,
            host: self.http.host(),
        };
        error.hint = refused.hint().map(Into::into);
        Err(error)
    }
}

impl ClientConfig {
    /// The identity service, asked in this source's name.
    pub(super) fn iam(&self) -> Result<Iam, ConfigError> {
        Iam::new(
            self.iam_endpoint()?,
            &self.ways(),
            Arc::clone(&self.account),
            self.credentials.clone(),
        )
    }
}
