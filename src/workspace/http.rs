//! One endpoint over HTTP: an address that credentials may go to, and single attempts with their
//! answers as bytes. Nothing here knows what an answer means, or asks twice.

use std::time::Duration;

use chrono::DateTime;
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{Method, StatusCode, Url};
use tokio::time::{Instant, timeout_at};

use super::exits::{Exits, To};
use super::retry::parse_retry_after;
use super::run::{Fate, Run, Skew};
use super::wire::ErrorBody;
use super::{ApiError, ConfigError, Kind, sign};
use crate::clock::Clock;
use crate::domain::{self, harmless};

/// A page of 2,000 desktops with a few users each is below 2 MiB. What is far larger is no answer of
/// this API, and must not take the recorder's memory.
const LARGEST_BODY: usize = 16 << 20;

/// What was sent last before a visit's deadline is still given so long.
const LAST_CHANCE: Duration = Duration::from_secs(5);

/// How the endpoints of a source are reached.
#[derive(Clone, Debug)]
pub(super) struct Ways {
    /// What is shared with the other sources.
    pub exits: Exits,
    /// Whether plain http to other addresses than loopback ones is allowed.
    pub allow_http: bool,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one attempt may take until its answer is read.
    pub request_timeout: Duration,
    /// The machine's clock.
    pub clock: Clock,
}

impl Ways {
    /// What the client for an endpoint is made for.
    pub fn to(&self, endpoint: &Url) -> To {
        To { connect_timeout: self.connect_timeout, is_loopback: is_loopback(endpoint) }
    }
}

/// One endpoint.
#[derive(Clone, Debug)]
pub(super) struct Http {
    endpoint: Url,
    /// As it stands in the Host header: with its port where that is not the scheme's own.
    host: String,
    ways: Ways,
    client: reqwest::Client,
}

/// One attempt.
pub(super) struct Attempt {
    pub call: &'static str,
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

/// An answer, good or bad.
pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
    /// The server's id for the request, for the vendor's support; without secrets once they are taken out.
    pub request_id: Option<Box<str>>,
}

impl Http {
    /// Checks the address. Credentials go to it, so plain http is for loopback ones, or on request.
    pub fn check(endpoint: &Url, ways: &Ways) -> Result<(), ConfigError> {
        let is_plain = endpoint.scheme() == "http";
        if endpoint.scheme() != "https" && !(is_plain && (is_loopback(endpoint) || ways.allow_http))
        {
            return Err(ConfigError::NotSecure(without_password(endpoint)));
        }
        Ok(())
    }

    /// As [`Self::check`] does; and makes the client, or waits until it is made.
    pub fn new(endpoint: &Url, ways: &Ways) -> Result<Self, ConfigError> {
        Self::check(endpoint, ways)?;
        let client = ways.exits.client(ways.to(endpoint))?;
        let mut host = endpoint.host_str().unwrap_or_default().to_owned();
        if let Some(port) = endpoint.port() {
            host = format!("{host}:{port}");
        }
        Ok(Self { endpoint: endpoint.clone(), host, ways: ways.clone(), client })
    }

    /// The Host header of what is sent here.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// What the machine's clock says.
    pub fn now(&self) -> domain::Instant {
        self.ways.clock.now()
    }

    /// The address of a path below the endpoint, which may have a path of its own.
    pub fn url(&self, path: &str, query: &[(String, String)]) -> Url {
        let mut url = self.endpoint.clone();
        url.set_path(&format!("{}{path}", self.endpoint.path().trim_end_matches('/')));
        url.set_query((!query.is_empty()).then(|| sign::canonical_query(query)).as_deref());
        url
    }

    /// Sends one attempt and reads its answer, whatever its status.
    pub async fn send(&self, run: &Run, attempt: Attempt) -> Result<Answer, ApiError> {
        let slot = timeout_at(run.deadline(), self.ways.exits.slot()).await;
        let slot = slot.map_err(|_| run.out_of_time(attempt.call))?;
        slot.while_it_is_quick(self.send_now(run, attempt)).await
    }

    async fn send_now(&self, run: &Run, attempt: Attempt) -> Result<Answer, ApiError> {
        let Attempt { call, method, url, headers, body } = attempt;
        let failed = |error| ApiError::from_transport(call, error);
        let left = run.deadline().saturating_duration_since(Instant::now());
        let request = self
            .client
            .request(method, url)
            .headers(headers)
            .body(body)
            .timeout(self.ways.request_timeout.min(left.max(LAST_CHANCE)));
        run.count_request();
        let (sent_at, sent) = (self.now(), Instant::now());
        let response = request.send().await.map_err(|error| {
            let error = failed(error);
            run.note_fate(Fate::Failed(error.kind));
            error
        })?;
        let answer_after = sent.elapsed();
        let status = response.status();
        run.note_fate(Fate::of(status));
        let headers = response.headers().clone();
        if let Some(server) = date(&headers) {
            run.note_skew(Skew { machine: sent_at + answer_after / 2, server });
        }
        if status.is_redirection() {
            return Err(self.redirected(call, status, &headers));
        }
        let body = read_body(call, response).await?;
        let request_id = header(&headers, "x-request-id").map(Into::into);
        Ok(Answer { status, headers, body, request_id })
    }

    fn redirected(&self, call: &'static str, status: StatusCode, headers: &HeaderMap) -> ApiError {
        let to = headers
            .get(LOCATION)
            .and_then(|to| to.to_str().ok())
            .and_then(|to| Some(self.endpoint.join(to).ok()?.host_str()?.to_owned()));
        let to = to.as_deref().unwrap_or("nowhere");
        ApiError {
            status: Some(status.as_u16()),
            hint: Some("is the endpoint right?".into()),
            ..ApiError::new(call, Kind::Redirect, format!("sent on to `{to}`, not followed"))
        }
    }

    /// The error that an answer holds; `redact` takes the secrets out. The hint is the caller's.
    pub fn refusal(
        &self,
        call: &'static str,
        answer: &Answer,
        redact: impl Fn(&str) -> String,
    ) -> ApiError {
        // Before it is read, because what is read is cut to a length, and half a secret is one too;
        // and after it, because JSON may spell a secret in another way.
        let body = ErrorBody::parse(redact(&String::from_utf8_lossy(&answer.body)).as_bytes());
        let status = answer.status.as_u16();
        let said = body.message.unwrap_or_else(|| {
            answer.status.canonical_reason().unwrap_or("no reason given").into()
        });
        ApiError {
            status: Some(status),
            // The identity service says its status once more where others have a code.
            code: body
                .code
                .filter(|code| *code != status.to_string())
                .map(|code| harmless(&redact(&code)).into()),
            request_id: answer
                .request_id
                .clone()
                .or_else(|| body.request_id.map(|id| shorten_id(&redact(&id)))),
            retry_after: header(&answer.headers, RETRY_AFTER.as_str())
                .and_then(|value| parse_retry_after(value, self.now())),
            // What a server says goes to terminals, and into the ledger where people read it.
            ..ApiError::new(call, Kind::Api, harmless(&redact(&format!("HTTP {status}: {said}"))))
        }
    }
}

impl Answer {
    /// Takes the secrets out of what is kept of an answer besides its body: a server may echo them there too.
    pub fn redacted(self, redact: impl Fn(&str) -> String) -> Self {
        let request_id = self.request_id.as_deref().map(|id| shorten_id(&redact(id)));
        Self { request_id, ..self }
    }

    /// What the server's clock said.
    pub fn date(&self) -> Option<domain::Instant> {
        date(&self.headers)
    }

    /// Another header, where it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap) -> Option<domain::Instant> {
    let date = header(headers, DATE.as_str())?;
    Some(DateTime::parse_from_rfc2822(date).ok()?.to_utc())
}

fn shorten_id(id: &str) -> Box<str> {
    harmless(id).chars().take(64).collect::<String>().into()
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

pub(super) fn is_loopback(url: &Url) -> bool {
    // The brackets of an IPv6 address are part of the host's text.
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn without_password(url: &Url) -> String {
    format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default())
}
