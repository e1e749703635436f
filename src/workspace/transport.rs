//! One project's API behind one endpoint, as bytes: requests, attempts, and what became of them.
//!
//! Nothing here knows what an answer means: whoever asks reads it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};

use super::auth::Target;
use super::hint::Refused;
use super::retry::{Budget, parse_retry_after};
use super::wire::ErrorBody;
use super::{ApiError, ClientConfig, ConfigError, Credentials, Kind, sign};
use crate::clock::Clock;

/// A page of 2,000 desktops with a few users each is below 2 MiB. What is far larger is no answer of
/// this API, and must not take the recorder's memory.
const LARGEST_BODY: usize = 64 << 20;

/// What the requests of one visit share.
#[derive(Debug)]
pub(super) struct Run {
    budget: Budget,
    requests: AtomicU32,
}

impl Run {
    /// A visit that begins now.
    pub fn starting_now(retry_budget: Duration) -> Self {
        Self { budget: Budget::starting_now(retry_budget), requests: AtomicU32::new(0) }
    }

    /// How many requests were sent so far, repetitions included.
    pub fn requests(&self) -> u32 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// The way to one project's API.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    endpoint: Url,
    /// As it stands in the Host header: with its port where that is not the scheme's own.
    host: String,
    project_id: String,
    credentials: Credentials,
    clock: Clock,
    http: reqwest::Client,
}

impl Transport {
    /// Checks what can be checked without a connection.
    ///
    /// # Errors
    /// The endpoint would show credentials on the way, a secret fits in no header, or TLS cannot be
    /// set up.
    pub fn new(config: &ClientConfig) -> Result<Self, ConfigError> {
        let loopback = is_loopback(&config.endpoint);
        let is_plain = config.endpoint.scheme() == "http";
        if config.endpoint.scheme() != "https" && !(is_plain && (loopback || config.allow_http)) {
            return Err(ConfigError::NotSecure(without_password(&config.endpoint)));
        }
        config.credentials.check()?;

        let mut http = reqwest::Client::builder()
            .user_agent(concat!("deskledger/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(config.connect_timeout)
            .timeout(config.request_timeout)
            // A redirect would carry the token to wherever it points, and a signature is valid for
            // one host and path only: none is followed.
            .redirect(redirect::Policy::none());
        if loopback {
            // A proxy cannot reach this machine's own loopback addresses.
            http = http.no_proxy();
        }
        let http = http.build().map_err(ConfigError::Http)?;
        let mut host = config.endpoint.host_str().unwrap_or_default().to_owned();
        if let Some(port) = config.endpoint.port() {
            host = format!("{host}:{port}");
        }
        Ok(Self {
            endpoint: config.endpoint.clone(),
            host,
            project_id: config.project_id.clone(),
            credentials: config.credentials.clone(),
            clock: config.clock.clone(),
            http,
        })
    }

    /// One request; with `repeat`, repeated as long as that may help and the visit's budget lasts.
    /// `read` takes the body of a good answer apart; where it cannot, the request is repeated too.
    pub async fn get<T>(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
        repeat: bool,
        read: impl Fn(&[u8]) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            run.requests.fetch_add(1, Ordering::Relaxed);
            let answer =
                self.attempt(call, query).await.and_then(|answer| {
                    match ErrorBody::inside(&answer.body) {
                        Some(error) => Err(self.refusal(call, &answer, error)),
                        None => read(&answer.body).map_err(|mut error| {
                            error.request_id = request_id(&answer.headers);
                            error
                        }),
                    }
                });
            let error = match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let Some(delay) = run.budget.next_delay(&error, attempts).filter(|_| repeat) else {
                return Err(error);
            };
            tracing::debug!(call, attempts, ?delay, %error, "asking again");
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(
        &self,
        call: &'static str,
        query: &[(String, String)],
    ) -> Result<Answer, ApiError> {
        let mut url = self.endpoint.clone();
        let path = format!(
            "{}/v2/{}/{call}",
            self.endpoint.path().trim_end_matches('/'),
            utf8_percent_encode(&self.project_id, NON_ALPHANUMERIC)
        );
        url.set_path(&path);
        url.set_query((!query.is_empty()).then(|| sign::canonical_query(query)).as_deref());
        let target =
            Target { host: &self.host, path: url.path(), query, project_id: &self.project_id };
        let headers = self
            .credentials
            .headers(&target, self.clock.now())
            .map_err(|error| ApiError::new(call, Kind::Request, error.to_string()))?;

        let transport = |error| ApiError::from_transport(call, error);
        let response = self.http.get(url).headers(headers).send().await.map_err(transport)?;
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            let to = headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .and_then(|to| Some(self.endpoint.join(to).ok()?.host_str()?.to_owned()));
            let to = to.as_deref().unwrap_or("nowhere");
            return Err(ApiError {
                status: Some(status.as_u16()),
                hint: Some("is the endpoint right?".into()),
                ..ApiError::new(call, Kind::Redirect, format!("sent on to `{to}`, not followed"))
            });
        }
        let body = read_body(call, response).await?;
        let answer = Answer { status, headers, body };
        if status.is_success() {
            return Ok(answer);
        }
        let error = ErrorBody::parse(&answer.body);
        Err(self.refusal(call, &answer, error))
    }

    /// An error that the API gave, with what to do about it.
    fn refusal(&self, call: &'static str, answer: &Answer, body: ErrorBody) -> ApiError {
        let said = body.message.unwrap_or_else(|| {
            answer.status.canonical_reason().unwrap_or("no reason given").to_owned()
        });
        let message = format!("HTTP {}: {said}", answer.status.as_u16());
        let retry_after = answer
            .headers
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, self.clock.now()));
        let mut error = ApiError::new(call, Kind::Api, self.credentials.redact(&message));
        error.status = Some(answer.status.as_u16());
        let refused = Refused {
            call,
            status: answer.status,
            code: body.code.as_deref(),
            server_time: answer
                .headers
                .get(DATE)
                .and_then(|date| date.to_str().ok())
                .and_then(|date| chrono::DateTime::parse_from_rfc2822(date).ok())
                .map(|date| date.to_utc()),
            now: self.clock.now(),
            credentials: &self.credentials,
            project_id: &self.project_id,
            host: &self.host,
        };
        error.hint = refused.hint().map(Into::into);
        error.code = body.code.map(|code| self.credentials.redact(&code).into());
        error.request_id = request_id(&answer.headers);
        error.retry_after = retry_after;
        error
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

async fn read_body(
    call: &'static str,
    mut response: reqwest::Response,
) -> Result<Vec<u8>, ApiError> {
    let mut body = Vec::new();
    // Counted after decompression: a small answer may unfold to a huge one.
    while let Some(chunk) =
        response.chunk().await.map_err(|error| ApiError::from_transport(call, error))?
    {
        if body.len() + chunk.len() > LARGEST_BODY {
            let message = format!("the answer is larger than {} MiB", LARGEST_BODY >> 20);
            return Err(ApiError::new(call, Kind::TooLarge, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Takes an answer that should be JSON apart.
pub(super) fn read_json<T: serde::de::DeserializeOwned>(
    call: &'static str,
    body: &[u8],
) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        // The parser's own words quote the body, which names persons; its place is enough.
        let place = format!("line {}, column {}", error.line(), error.column());
        let started = String::from_utf8_lossy(&body[..body.len().min(64)]).trim().to_lowercase();
        if started.starts_with("<!doctype") || started.starts_with("<html") {
            unreadable(call, "the answer is an HTML page: is a proxy in the way?")
        } else if body.is_empty() {
            unreadable(call, "the answer is empty")
        } else {
            unreadable(call, &format!("the answer is not the JSON expected, at {place}"))
        }
    })
}

/// An answer of another form than the documented one.
pub(super) fn unreadable(call: &'static str, message: &str) -> ApiError {
    ApiError::new(call, Kind::Unreadable, message)
}

fn request_id(headers: &HeaderMap) -> Option<Box<str>> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    Some(id.chars().take(64).collect::<String>().into())
}

fn is_loopback(url: &Url) -> bool {
    // The brackets of an IPv6 address are part of the host's text.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn without_password(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}
