//! One project's API behind one endpoint: requests, attempts, and what one visit read.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{DATE, HeaderMap, LOCATION, RETRY_AFTER};
use reqwest::{StatusCode, Url, redirect};

use super::auth::{Target, UnusableSecret};
use super::hint::Refused;
use super::listing::{self, Page, Reach, Window};
use super::retry::{Budget, parse_retry_after};
use super::wire::{DesktopsPage, ErrorBody, StatisticsPage};
use super::{ApiError, Credentials, Kind, sign};
use crate::clock::Clock;
use crate::domain::{Failure, GroupStatistics, Listing};

const DESKTOPS: &str = "connect-desktops";
const STATISTICS: &str = "connections/status";

/// A page of 2,000 desktops with a few users each is below 2 MiB. What is far larger is no answer of
/// this API, and must not take the recorder's memory.
const LARGEST_BODY: usize = 64 << 20;

/// What a [`Client`] needs to know.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// The service's address; https, or plain http to a loopback address.
    pub endpoint: Url,
    /// Whether plain http to other addresses is taken too: on a network that is trusted.
    pub allow_http: bool,
    /// The project whose desktops are listed.
    pub project_id: String,
    /// Who asks.
    pub credentials: Credentials,
    /// Records asked for at once. The documents disagree on the maximum: 1000 or 2000.
    pub page_size: u32,
    /// The largest offset that the API takes.
    pub max_offset: u32,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one attempt may take until its answer is read.
    pub request_timeout: Duration,
    /// For how long after the start of a visit its requests may be repeated. A visit therefore ends
    /// at most one request's timeout later than its slowest request without repetitions.
    pub retry_budget: Duration,
    /// How many pages may be asked for at once.
    pub concurrency: usize,
    /// Signatures carry the time, and die 15 minutes off the server's.
    pub clock: Clock,
}

impl ClientConfig {
    /// The defaults for everything but the place and the key.
    #[must_use]
    pub fn new(endpoint: Url, project_id: impl Into<String>, credentials: Credentials) -> Self {
        Self {
            endpoint,
            allow_http: false,
            project_id: project_id.into(),
            credentials,
            page_size: 1000,
            max_offset: 2000,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            retry_budget: Duration::from_secs(60),
            concurrency: 4,
            clock: Clock::System,
        }
    }
}

/// Why a client cannot work at all.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Credentials would be readable on the way.
    #[error(
        "endpoint `{0}` is neither https nor plain http to a loopback address; credentials are not sent in the clear"
    )]
    NotSecure(String),
    /// A setting that no listing can be read with.
    #[error("`{name}` is {value}, which must be {allowed}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        allowed: &'static str,
    },
    /// A secret that no header can carry.
    #[error(transparent)]
    Secret(#[from] UnusableSecret),
    /// TLS could not be set up.
    #[error("could not set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// What one visit read. It has no error: what could not be read is part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// The API's `total_count`; `None` where it gave none or changed it on the way.
    pub total: Option<i64>,
    /// The desktops read; `None`: not one page could be read.
    pub desktops: Option<Listing>,
    /// The groups' statistics; `None`: they could not be read.
    pub groups: Option<Vec<GroupStatistics>>,
    /// Why something is missing; the desktops' failure where both have one.
    pub failure: Option<Failure>,
    /// How many requests it took, repetitions included.
    pub requests: u32,
}

/// One project's API.
#[derive(Clone, Debug)]
pub struct Client {
    config: ClientConfig,
    http: reqwest::Client,
    /// As it stands in the Host header: with its port where that is not the scheme's own.
    host: String,
}

impl Client {
    /// Checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let loopback = is_loopback(&config.endpoint);
        let is_plain = config.endpoint.scheme() == "http";
        if config.endpoint.scheme() != "https" && !(is_plain && (loopback || config.allow_http)) {
            return Err(ConfigError::NotSecure(without_password(&config.endpoint)));
        }
        in_range("page_size", config.page_size, 1, 2000, "from 1 to 2000")?;
        in_range("max_offset", config.max_offset, 0, i32::MAX as u32, "below 2^31")?;
        let concurrency = u32::try_from(config.concurrency).unwrap_or(u32::MAX);
        in_range("concurrency", concurrency, 1, 1000, "from 1 to 1000")?;
        if config.project_id.trim().is_empty() {
            return Err(ConfigError::OutOfRange {
                name: "project_id",
                value: "empty".into(),
                allowed: "the id of a project",
            });
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
        Ok(Self { config, http, host })
    }

    /// Reads both parts, at the same time. The caller stamps the instants before and after.
    pub async fn visit(&self) -> Visit {
        let run = Run {
            budget: Budget::starting_now(self.config.retry_budget),
            requests: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
        };
        let reach = Reach { page_size: self.config.page_size, max_offset: self.config.max_offset };
        let run = &run;
        let listing = listing::read(reach, self.config.concurrency, |window| async move {
            // Whatever stopped one page would stop the others too: what has not begun is left out.
            if run.stopped.load(Ordering::Relaxed) {
                return None;
            }
            let page = self.page(run, window).await;
            if page.is_err() {
                run.stopped.store(true, Ordering::Relaxed);
            }
            Some(page)
        });
        let (listing, groups) = tokio::join!(listing, self.statistics(run));
        let (groups, groups_failure) = match groups {
            Ok(groups) => (Some(groups), None),
            Err(error) => (None, Some(error)),
        };
        Visit {
            total: listing.total,
            desktops: listing.desktops,
            groups,
            failure: listing.failure.or(groups_failure).map(|error| error.to_failure()),
            requests: run.requests.load(Ordering::Relaxed),
        }
    }

    async fn page(&self, run: &Run, window: Window) -> Result<Page, ApiError> {
        let query = [
            ("limit".to_owned(), window.limit.to_string()),
            ("offset".to_owned(), window.offset.to_string()),
        ];
        self.call(run, DESKTOPS, &query, |body| {
            let page: DesktopsPage = read_json(DESKTOPS, body)?;
            let total = page.total_count.0;
            let records = match page.desktops {
                Some(records) => records,
                // Lists that are empty may be left out, but an answer that says nothing at all is
                // no listing.
                None if total == Some(0) => Vec::new(),
                None => return Err(unreadable(DESKTOPS, "the answer holds no `desktops`")),
            };
            Ok(Page {
                total,
                records: records.len(),
                desktops: records
                    .into_iter()
                    .filter_map(super::wire::DesktopRecord::into_desktop)
                    .collect(),
            })
        })
        .await
    }

    async fn statistics(&self, run: &Run) -> Result<Vec<GroupStatistics>, ApiError> {
        self.call(run, STATISTICS, &[], |body| {
            let page: StatisticsPage = read_json(STATISTICS, body)?;
            let groups = page
                .statics
                .ok_or_else(|| unreadable(STATISTICS, "the answer holds no `statics`"))?;
            Ok(groups.into_iter().map(GroupStatistics::from).collect())
        })
        .await
    }

    /// One request, repeated as long as that may help and the visit's budget lasts.
    async fn call<T>(
        &self,
        run: &Run,
        call: &'static str,
        query: &[(String, String)],
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
            let Some(delay) = run.budget.next_delay(&error, attempts) else {
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
        let mut url = self.config.endpoint.clone();
        let path = format!(
            "{}/v2/{}/{call}",
            self.config.endpoint.path().trim_end_matches('/'),
            utf8_percent_encode(&self.config.project_id, NON_ALPHANUMERIC)
        );
        url.set_path(&path);
        url.set_query((!query.is_empty()).then(|| sign::canonical_query(query)).as_deref());
        let target = Target {
            host: &self.host,
            path: url.path(),
            query,
            project_id: &self.config.project_id,
        };
        let headers = self
            .config
            .credentials
            .headers(&target, self.config.clock.now())
            .map_err(|error| ApiError::new(call, Kind::Request, error.to_string()))?;

        let transport = |error| ApiError::from_transport(call, error);
        let response = self.http.get(url).headers(headers).send().await.map_err(transport)?;
        let status = response.status();
        let headers = response.headers().clone();
        if status.is_redirection() {
            let to = headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .and_then(|to| Some(self.config.endpoint.join(to).ok()?.host_str()?.to_owned()));
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
            .and_then(|value| parse_retry_after(value, self.config.clock.now()));
        let mut error = ApiError::new(call, Kind::Api, self.config.credentials.redact(&message));
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
            now: self.config.clock.now(),
            credentials: &self.config.credentials,
            project_id: &self.config.project_id,
            host: &self.host,
        };
        error.hint = refused.hint().map(Into::into);
        error.code = body.code.map(|code| self.config.credentials.redact(&code).into());
        error.request_id = request_id(&answer.headers);
        error.retry_after = retry_after;
        error
    }
}

/// What the requests of one visit share.
struct Run {
    budget: Budget,
    requests: AtomicU32,
    stopped: AtomicBool,
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

fn read_json<T: serde::de::DeserializeOwned>(
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

fn unreadable(call: &'static str, message: &str) -> ApiError {
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

fn in_range(
    name: &'static str,
    value: u32,
    least: u32,
    most: u32,
    allowed: &'static str,
) -> Result<(), ConfigError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { name, value: value.to_string(), allowed })
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;

    fn config(endpoint: &str) -> ClientConfig {
        let token = Credentials::Token(SecretString::from("very-secret"));
        ClientConfig::new(endpoint.parse().unwrap(), "project", token)
    }

    #[test]
    fn plain_http_is_for_loopback_only() {
        for fine in ["http://127.0.0.1:8080", "http://[::1]:1", "http://localhost", "https://a.b"] {
            assert!(Client::new(config(fine)).is_ok(), "{fine}");
        }
        for refused in ["http://10.0.0.1", "http://user:pass@example.com", "ftp://127.0.0.1"] {
            let error = Client::new(config(refused)).unwrap_err().to_string();
            assert!(error.contains("neither https"), "{error}");
            assert!(!error.contains("pass@"), "{error}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for change in [
            (|config| config.page_size = 0) as fn(&mut ClientConfig),
            |config| config.page_size = 2001,
            |config| config.concurrency = 0,
            |config| config.project_id = " ".into(),
            |config| config.credentials = Credentials::Token(SecretString::from("")),
        ] {
            let mut config = config("https://a.b");
            change(&mut config);
            assert!(Client::new(config).is_err());
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let client = Client::new(config("https://a.b")).unwrap();
        assert!(!format!("{client:?}").contains("very-secret"));
    }
}
