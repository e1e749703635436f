//! One project's API: what is asked, and what one visit read.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use reqwest::Url;
use tokio_util::sync::CancellationToken;

use super::account::{Account, REQUESTS_PER_MINUTE};
use super::auth::UnusableSecret;
use super::exits::Exits;
use super::http::{Http, Ways, read_json, unreadable};
use super::listing::{self, Known, Page, Request};
use super::run::{Limits, Run, Traffic};
use super::transport::Transport;
use super::wire::{DesktopsPage, StatisticsPage};
use super::{ApiError, Credentials, Kind};
use crate::clock::Clock;
use crate::domain::text::Common;
use crate::domain::{Beliefs, Failure, GroupStatistics, Listing};

const DESKTOPS: &str = "connect-desktops";
const STATISTICS: &str = "connections/status";

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
    /// Where passwords are exchanged for tokens, and projects looked up.
    pub iam_endpoint: Option<Url>,
    /// Records asked for at once. The documents disagree on the maximum: 1000 or 2000.
    pub page_size: u32,
    /// The largest offset that the API takes.
    pub max_offset: u32,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long one attempt may take until its answer is read.
    pub request_timeout: Duration,
    /// For how long after its first failure a call is repeated.
    pub retry_budget: Duration,
    /// The wait before the first repetition; it doubles from there.
    pub first_delay: Duration,
    /// For how long after the start of a visit its requests are sent; what then is under way is given
    /// five seconds.
    pub visit_budget: Duration,
    /// How many pages may be asked for at once.
    pub concurrency: usize,
    /// What is shared with the other sources of the same credential.
    pub account: Arc<Account>,
    /// What is shared with all other sources of the process.
    pub exits: Exits,
    /// Once it is cancelled nothing new is sent: a visit under way ends with what it has.
    pub halt: CancellationToken,
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
            iam_endpoint: None,
            page_size: 1000,
            max_offset: 2000,
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(60),
            retry_budget: Duration::from_secs(60),
            first_delay: Duration::from_millis(250),
            visit_budget: Duration::from_mins(10),
            concurrency: 4,
            account: Arc::new(Account::new(REQUESTS_PER_MINUTE)),
            exits: Exits::default(),
            halt: CancellationToken::new(),
            clock: Clock::System,
        }
    }

    /// How its endpoints are reached.
    pub(super) fn ways(&self) -> Ways {
        Ways {
            exits: self.exits.clone(),
            allow_http: self.allow_http,
            connect_timeout: self.connect_timeout,
            request_timeout: self.request_timeout,
            clock: self.clock.clone(),
        }
    }

    /// Checks what can be checked without a connection, but for the project, which may not be known yet; and begins to make
    /// what the endpoint is reached by, so that it is there when [`Client::new`] wants it.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn prepare(&self) -> Result<(), ConfigError> {
        self.check()?;
        self.exits.prepare(self.ways().to(&self.endpoint));
        Ok(())
    }

    fn check(&self) -> Result<(), ConfigError> {
        in_range("page_size", self.page_size, 1, 2000, "from 1 to 2000")?;
        in_range("max_offset", self.max_offset, 0, i32::MAX as u32, "below 2^31")?;
        let concurrency = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        in_range("concurrency", concurrency, 1, 1000, "from 1 to 1000")?;
        let ways = self.ways();
        Http::check(&self.endpoint, &ways)?;
        self.credentials.check()?;
        if let Credentials::Password { .. } = self.credentials {
            Http::check(self.iam_endpoint()?, &ways)?;
        }
        Ok(())
    }

    /// Where the identity service is.
    pub(super) fn iam_endpoint(&self) -> Result<&Url, ConfigError> {
        self.iam_endpoint.as_ref().ok_or(ConfigError::NoIdentityService)
    }

    /// How patient a visit is.
    pub(super) fn limits(&self) -> Limits {
        Limits {
            visit_budget: self.visit_budget,
            retry_budget: self.retry_budget,
            first_delay: self.first_delay,
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
    /// A password that cannot be exchanged.
    #[error(
        "a user and password are exchanged for a token at the identity service: its endpoint is needed, or the region that it is in"
    )]
    NoIdentityService,
    /// A secret that cannot be sent.
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
    /// What it took.
    pub effort: Effort,
}

/// What a visit took, for whoever reads the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effort {
    /// What was sent, and what it met on the way.
    pub traffic: Traffic,
    /// What the listing's requests asked for: `1 unfiltered, 12 by status`.
    pub plan: String,
    /// Why desktops are missing though every request was answered.
    pub lack: Option<String>,
}

/// One project's API.
#[derive(Clone, Debug)]
pub struct Client {
    pub(super) config: ClientConfig,
    pub(super) transport: Transport,
    /// What earlier visits read.
    known: Arc<Mutex<Arc<Known>>>,
}

impl Client {
    /// Checks everything that can be checked without a connection.
    ///
    /// # Errors
    /// See [`ConfigError`].
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        config.check()?;
        if config.project_id.trim().is_empty() {
            return Err(ConfigError::OutOfRange {
                name: "project_id",
                value: "empty".into(),
                allowed: "the id of a project",
            });
        }
        let transport = Transport::new(&config)?;
        Ok(Self { config, transport, known: Arc::default() })
    }

    /// Takes over what a ledger says of the source's desktops: whom to ask for when some are missing.
    pub fn learn(&self, beliefs: &Beliefs) {
        *self.known() = Arc::new(Known::believed(beliefs));
    }

    /// Reads both parts, at the same time. The caller stamps the instants before and after.
    pub async fn visit(&self) -> Visit {
        let run = &Run::starting_now(self.config.limits());
        let known = Arc::clone(&self.known());
        let limits = listing::Limits {
            page_size: self.config.page_size,
            max_offset: self.config.max_offset,
            suspicions: known.suspicions(),
        };
        let listing = listing::read(
            limits,
            self.config.concurrency,
            run.deadline(),
            &known,
            |request, is_patient| self.page(run, request, is_patient, &known),
        );
        // The statistics first: they are one request, which must not wait behind a large fleet's pages.
        let (groups, listing) = tokio::join!(self.statistics(run, true), listing);
        if let Some(desktops) = &listing.desktops {
            let desktops = desktops.desktops();
            let is_whole = i64::try_from(desktops.len()).ok() == listing.total;
            drop(known);
            let mut known = self.known();
            let known = Arc::make_mut(&mut known);
            known.learn(desktops, is_whole, &listing.in_vain);
            known.note_suspicion(listing.suspicion);
        }
        let (groups, groups_failure) = match groups {
            Ok(groups) => (Some(groups), None),
            Err(error) => (None, Some(error)),
        };
        Visit {
            total: listing.total,
            desktops: listing.desktops,
            groups,
            failure: cause(listing.failure, groups_failure).map(|error| error.to_failure()),
            effort: Effort { traffic: run.traffic(), plan: listing.plan, lack: listing.lack },
        }
    }

    pub(super) async fn page(
        &self,
        run: &Run,
        request: Request,
        repeat: bool,
        known: &Known,
    ) -> Result<Page, ApiError> {
        self.transport
            .get(run, DESKTOPS, &request.query(), repeat, |body| {
                let page: DesktopsPage = read_json(DESKTOPS, body)?;
                let total = page.total_count.0;
                let records = match page.desktops {
                    Some(records) => records,
                    // Lists that are empty may be left out, but an answer that says nothing at all is
                    // no listing.
                    None if total == Some(0) => Vec::new(),
                    None => return Err(unreadable(DESKTOPS, "the answer holds no `desktops`")),
                };
                let mut common = Common::default();
                let count = records.len();
                let desktops = records.into_iter().filter_map(|record| {
                    record.into_desktop(&mut common).map(|desktop| known.share(desktop))
                });
                Ok(Page { total, records: count, desktops: desktops.collect() })
            })
            .await
    }

    pub(super) async fn statistics(
        &self,
        run: &Run,
        repeat: bool,
    ) -> Result<Vec<GroupStatistics>, ApiError> {
        self.transport
            .get(run, STATISTICS, &[], repeat, |body| {
                let page: StatisticsPage = read_json(STATISTICS, body)?;
                let groups = page
                    .statics
                    .ok_or_else(|| unreadable(STATISTICS, "the answer holds no `statics`"))?;
                Ok(groups.into_iter().map(GroupStatistics::from).collect())
            })
            .await
    }

    fn known(&self) -> MutexGuard<'_, Arc<Known>> {
        self.known.lock().expect("nobody panics while holding it")
    }
}

/// The failure that says most: the listing's, unless that was only withheld after the other one.
fn cause(listing: Option<ApiError>, groups: Option<ApiError>) -> Option<ApiError> {
    match (listing, groups) {
        (Some(listing), Some(groups)) if listing.kind == Kind::Withheld => Some(groups),
        (listing, groups) => listing.or(groups),
    }
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
