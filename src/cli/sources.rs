//! From a source's configuration to a client that can be asked, and to what the ledger pins it to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::Url;
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;

use crate::config::{Auth, SourceConfig};
use crate::domain::Source;
use crate::error::{usage, with_hint};
use crate::workspace::{
    Accounts, Client, ClientConfig, ConfigError, Credentials, ProjectError, find_project, region,
};

/// However short the steps are, a visit may take so long, and so may one request.
const SHORTEST_BUDGET: Duration = Duration::from_secs(5);
/// However long the steps are, a visit that takes longer is of no one instant any more.
const LONGEST_BUDGET: Duration = Duration::from_hours(1);

/// Who waits for an answer gives up sooner than a recorder.
const DOUBTED_BUDGET: Duration = Duration::from_secs(30);

/// How the sources are going to be visited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visits {
    /// Now, and not again.
    Once,
    /// On their schedules: a visit ends before the next begins.
    OnSchedule,
    /// Not at all: only asked whether a visit would succeed, each request once.
    Doubted,
}

/// A source whose configuration holds, before anything is connected.
#[derive(Debug)]
pub struct Prepared {
    /// Its configuration.
    pub source: SourceConfig,
    config: ClientConfig,
}

/// A source that can be visited.
#[derive(Debug)]
pub struct Ready {
    /// Its configuration.
    pub source: SourceConfig,
    /// Its client.
    pub client: Client,
    /// Its place: what the ledger pins it to, so that another one is not mistaken for it later.
    pub place: Source,
}

/// Checks what can be checked without a connection. Sources of one credential share its account of `accounts`, and
/// all of them `halt`, which ends visits under way.
///
/// # Errors
/// A region is unknown, or a credential cannot be used: wrong configuration.
pub fn prepare(
    sources: Vec<SourceConfig>,
    accounts: &Accounts,
    visits: Visits,
    halt: &CancellationToken,
) -> anyhow::Result<Vec<Prepared>> {
    sources.into_iter().map(|source| Prepared::of(source, accounts, visits, halt)).collect()
}

fn shortest_step(source: &SourceConfig) -> Duration {
    source.schedule.shortest_step().to_std().unwrap_or(SHORTEST_BUDGET)
}

/// For how long a visit on the source's schedule may send requests.
pub(super) fn visit_budget(source: &SourceConfig) -> Duration {
    shortest_step(source).mul_f64(0.8).clamp(SHORTEST_BUDGET, LONGEST_BUDGET)
}

impl Prepared {
    /// Checks one source; those that share `accounts` share their pace and standing.
    pub(super) fn of(
        source: SourceConfig,
        accounts: &Accounts,
        visits: Visits,
        halt: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let name = &source.name;
        let places = source.region.as_deref().map(region::endpoints);
        let endpoint = match (&source.endpoint, &places) {
            (Some(endpoint), _) => endpoint.clone(),
            (None, Some(Ok(places))) => in_table(&places.workspace),
            (None, Some(Err(error))) => {
                return Err(with_hint(
                    usage(anyhow::Error::from(error.clone()).context(format!("source `{name}`"))),
                    "a region that is not in the list can be recorded with its `endpoint`",
                ));
            }
            (None, None) => unreachable!("the configuration was checked for one of the two"),
        };
        // Of a region that no table lists, only its owner knows where it is.
        let iam_endpoint = source.iam_endpoint.clone().or_else(|| {
            let places = places.as_ref()?.as_ref().ok()?;
            Some(in_table(&places.iam))
        });
        let credentials = credentials(&source.auth);
        let account = accounts.of(&credentials, iam_endpoint.as_ref(), source.requests_per_minute);
        let project_id = source.project_id.clone().unwrap_or_default();
        let mut config = ClientConfig::new(endpoint, project_id, credentials);
        config.iam_endpoint = iam_endpoint;
        config.account = Arc::clone(&account);
        config.exits = accounts.exits.clone();
        config.halt = halt.clone();
        config.allow_http = source.allow_http;
        config.page_size = source.page_size;
        config.max_offset = source.max_offset;
        config.concurrency = source.concurrency as usize;
        match visits {
            Visits::Once => {}
            Visits::OnSchedule => {
                config.visit_budget = visit_budget(&source);
                config.request_timeout = config.request_timeout.min(config.visit_budget);
                config.retry_budget = config.retry_budget.min(shortest_step(&source) / 2);
            }
            Visits::Doubted => {
                config.visit_budget = DOUBTED_BUDGET;
                config.request_timeout = DOUBTED_BUDGET / 2;
                config.retry_budget = Duration::ZERO;
            }
        }
        config.prepare().map_err(|error| wrong(name, error))?;
        Ok(Self { source, config })
    }

    /// What its client is going to be made from.
    pub(super) fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Whether its project is configured: then it is resolved without asking anybody.
    pub(super) fn has_project(&self) -> bool {
        self.source.project_id.is_some()
    }

    /// Its place, as far as it is configured.
    pub(super) fn place(&self) -> Source {
        Source {
            name: self.source.name.clone(),
            region: self.source.region.clone(),
            project_id: self.source.project_id.clone(),
            endpoint: Some(self.config.endpoint.as_str().trim_end_matches('/').to_owned()),
        }
    }

    /// Finds the project where it is not configured: the one that the ledger has for this place
    /// already, so that a start without a network goes on where it was, else the region's.
    ///
    /// # Errors
    /// The identity service cannot be asked, or does not name exactly one project.
    pub async fn resolve(self, recorded: &[Source]) -> anyhow::Result<Ready> {
        let mut place = Source { project_id: None, ..self.place() };
        let Self { source, mut config } = self;
        if source.project_id.is_none() {
            config.project_id = match recorded_project(&place, recorded) {
                Some(project_id) => project_id,
                None => look_up(&source, &config).await?,
            };
        }
        let client = Client::new(config).map_err(|error| wrong(&source.name, error))?;
        place.project_id = Some(client.project_id().to_owned());
        Ok(Ready { source, client, place })
    }
}

/// The project that a source was recorded with, if it was recorded of this very place.
fn recorded_project(place: &Source, recorded: &[Source]) -> Option<String> {
    let same = recorded.iter().find(|source| {
        source.name == place.name
            && source.region == place.region
            && source.endpoint == place.endpoint
    })?;
    same.project_id.clone()
}

async fn look_up(source: &SourceConfig, config: &ClientConfig) -> anyhow::Result<String> {
    let name = &source.name;
    let region = source.region.as_deref().expect("the configuration was checked for it");
    match find_project(config, region).await {
        Ok(project_id) => {
            tracing::info!(
                source.name = name,
                "source `{name}`: the project of region `{region}` is {project_id}"
            );
            Ok(project_id)
        }
        Err(error @ ProjectError::Api(_)) => Err(error)
            .with_context(|| format!("source `{name}`: look up the project of region `{region}`")),
        Err(error @ (ProjectError::Config(_) | ProjectError::NotOne { .. })) => {
            Err(usage(anyhow::Error::from(error).context(format!("source `{name}`"))))
        }
    }
}

fn credentials(auth: &Auth) -> Credentials {
    match auth {
        Auth::Keys { access_key, secret_key, security_token } => Credentials::AccessKey {
            access_key: access_key.expose_secret().to_owned(),
            secret_key: secret_key.clone(),
            security_token: security_token.clone(),
        },
        Auth::Token(token) => Credentials::Token(token.clone()),
        Auth::Password { user, password, domain } => Credentials::Password {
            user: user.clone(),
            password: password.clone(),
            domain: domain.clone(),
        },
    }
}

fn in_table(url: &str) -> Url {
    url.parse().expect("the table of regions holds URLs")
}

fn wrong(name: &str, error: ConfigError) -> anyhow::Error {
    usage(anyhow::Error::from(error).context(format!("source `{name}`")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment, Flags};

    fn prepared(text: &str, visits: Visits) -> Vec<Prepared> {
        let path = std::path::Path::new("deskledger.toml");
        let environment = Environment::of(&[]);
        let config = Config::from_text(text, path, &Flags::default(), environment).unwrap();
        let accounts = Accounts::default();
        prepare(config.sources().unwrap(), &accounts, visits, &CancellationToken::new()).unwrap()
    }

    fn source(name: &str, more: &str) -> String {
        format!(
            "[[source]]\nname = \"{name}\"\nregion = \"eu-west-101\"\n\
             auth = {{ access_key = \"AK\", secret_key = \"SK\" }}\n{more}\n"
        )
    }

    #[test]
    fn a_visit_ends_before_the_next_begins() {
        for (interval, visit, retry) in
            [("1s", 5, 0), ("1m", 48, 30), ("5m", 240, 60), ("1d", 3600, 60)]
        {
            let text = source("a", &format!("interval = \"{interval}\""));
            let config = &prepared(&text, Visits::OnSchedule)[0].config;
            assert_eq!(config.visit_budget.as_secs(), visit, "{interval}");
            assert_eq!(config.retry_budget.as_secs(), retry, "{interval}");
            assert!(config.request_timeout <= config.visit_budget, "{interval}");
            let config = &prepared(&text, Visits::Once)[0].config;
            assert_eq!(config.visit_budget, Duration::from_mins(10));
        }
    }

    #[test]
    fn sources_of_one_key_share_its_account_and_the_smallest_pace() {
        let text = source("a", "requests_per_minute = 90")
            + &source("b", "requests_per_minute = 30")
            + &source("c", "").replace("AK", "ANOTHER");
        let [a, b, c] = &prepared(&text, Visits::Once)[..] else { panic!("there are three") };
        assert!(Arc::ptr_eq(&a.config.account, &b.config.account));
        assert!(!Arc::ptr_eq(&a.config.account, &c.config.account));
        assert_eq!(a.config.account.requests_per_minute(), 30);
        assert_eq!(c.config.account.requests_per_minute(), 180);
        let iam = a.config.iam_endpoint.as_ref().unwrap();
        assert_eq!(iam.as_str(), "https://iam.eu-west-101.myhuaweicloud.eu/");
    }

    #[tokio::test]
    async fn what_the_ledger_knows_of_the_same_place_is_not_asked_again() {
        let recorded = |endpoint: &str| Source {
            name: "a".into(),
            region: Some("eu-west-101".into()),
            project_id: Some("0bec".into()),
            endpoint: Some(endpoint.into()),
        };
        // Nobody listens there: what is not known cannot be found out.
        let text =
            source("a", "iam_endpoint = \"http://127.0.0.1:1\"\nendpoint = \"http://127.0.0.1:1\"");
        let one = || {
            let mut one = prepared(&text, Visits::Once).remove(0);
            one.config.retry_budget = Duration::ZERO;
            one
        };
        let ready = one().resolve(&[recorded("http://127.0.0.1:1")]).await.unwrap();
        assert_eq!(
            (ready.client.project_id(), ready.place),
            ("0bec", recorded("http://127.0.0.1:1"))
        );
        let error = one().resolve(&[recorded("http://127.0.0.1:2")]).await.unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.starts_with("source `a`: look up the project of region `eu-west-101`: "),
            "{error}"
        );
    }
}
