//! Where events are posted to, which of them, and with which secret they are signed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};

use super::raw::RawWebhook;
use super::secret::resolve;
use super::source::is_loopback;
use super::{Config, ConfigError, Environment, Length, Located, Whole};

/// How a secret begins, as the Standard Webhooks specification has it.
pub const SECRET_PREFIX: &str = "whsec_";
/// The bytes that a secret may have.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

pub(super) const FAILING_AFTER: Whole = Whole { default: 3, least: 1, most: 1000 };
pub(super) const DISCONNECT_SHARE: Whole = Whole { default: 20, least: 1, most: 100 };
pub(super) const DISCONNECT_MIN: Whole = Whole { default: 10, least: 1, most: 1_000_000 };
pub(super) const TIMEOUT: Length = Length {
    default: TimeDelta::seconds(15),
    least: TimeDelta::seconds(1),
    most: TimeDelta::seconds(60),
};

/// The events that can be chosen.
pub(super) fn events() -> Vec<&'static str> {
    Topic::ALL.into_iter().map(Topic::begins_as).collect()
}

/// What can be told. An event that ends another comes with it: whoever is told of a gap is told of its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    /// Visits in a row had no listing, until one has.
    Failing,
    /// Covered time has ended, until it goes on.
    Gap,
    /// Many of the connected desktops disconnected in one step.
    MassDisconnect,
    /// Snapshots wait in the spool for longer than a gap, until they are recorded.
    SpoolWaiting,
    /// The spool is more than half full, until it is well below.
    SpoolOverHalf,
    /// The ledger is not what was recorded, until it is again.
    VerifyFailed,
}

impl Topic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Failing,
        Self::Gap,
        Self::MassDisconnect,
        Self::SpoolWaiting,
        Self::SpoolOverHalf,
        Self::VerifyFailed,
    ];

    /// The event with which it is told.
    #[must_use]
    pub fn begins_as(self) -> &'static str {
        match self {
            Self::Failing => "source.failing",
            Self::Gap => "gap.opened",
            Self::MassDisconnect => "desktops.mass_disconnect",
            Self::SpoolWaiting => "spool.waiting",
            Self::SpoolOverHalf => "spool.over_half",
            Self::VerifyFailed => "verify.failed",
        }
    }

    /// The event that ends it; `None`: it is of one instant.
    #[must_use]
    pub fn ends_as(self) -> Option<&'static str> {
        match self {
            Self::Failing => Some("source.recovered"),
            Self::Gap => Some("gap.closed"),
            Self::MassDisconnect => None,
            Self::SpoolWaiting => Some("spool.caught_up"),
            Self::SpoolOverHalf => Some("spool.below_half"),
            Self::VerifyFailed => Some("verify.passed"),
        }
    }
}

/// One place that events are posted to.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Its name in logs and metrics; what waits for it is kept under this name.
    pub name: String,
    /// The address. It often is a secret itself, and is never shown but for its host.
    pub url: SecretString,
    /// What signs: the secret, and the one before it while receivers take over the new one.
    pub secrets: Vec<SecretSlice<u8>>,
    /// What is told.
    pub topics: Vec<Topic>,
    /// So many visits in a row without a listing are a failing source.
    pub failing_after: u32,
    /// So many percent of the connected desktops that disconnect in one step are many …
    pub disconnect_share: u32,
    /// … if they are so many at least.
    pub disconnect_min: u32,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig").field("name", &self.name).finish_non_exhaustive()
    }
}

impl PartialEq for WebhookConfig {
    fn eq(&self, other: &Self) -> bool {
        // Both are ours: nobody learns anything from how long it takes.
        let exposed = |one: &Self| {
            let secrets = one.secrets.iter().map(|secret| secret.expose_secret().to_vec());
            (one.url.expose_secret().to_owned(), secrets.collect::<Vec<_>>())
        };
        let rest =
            |one: &Self| (one.failing_after, one.disconnect_share, one.disconnect_min, one.timeout);
        self.name == other.name
            && self.topics == other.topics
            && rest(self) == rest(other)
            && exposed(self) == exposed(other)
    }
}

impl WebhookConfig {
    /// The host of the address, which is all of it that is shown.
    #[must_use]
    pub fn host(&self) -> String {
        let url = Url::parse(self.url.expose_secret()).ok();
        url.and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
    }

    /// Whether the address is this machine's own.
    #[must_use]
    pub fn is_loopback(&self) -> bool {
        Url::parse(self.url.expose_secret()).is_ok_and(|url| is_loopback(&url))
    }
}

impl Config {
    /// Where events are posted to.
    ///
    /// # Errors
    /// A value is not allowed, one is missing, or a secret cannot be read.
    pub fn webhooks(&self) -> Result<Vec<WebhookConfig>, ConfigError> {
        let folder = self.file.as_deref().and_then(Path::parent).unwrap_or(Path::new(""));
        let mut checked: Vec<WebhookConfig> = Vec::with_capacity(self.raw.webhooks.len());
        for raw in &self.raw.webhooks {
            let next = check(raw, &self.environment, folder)?;
            if checked.iter().any(|earlier| earlier.name == next.name) {
                let place = raw.value.name.as_ref().map_or(&raw.place, |name| &name.place);
                return Err(place.clash(
                    format!("`{}`", next.name),
                    "another webhook has that name; each needs its own",
                    "give one of the two another `name`",
                ));
            }
            checked.push(next);
        }
        Ok(checked)
    }
}

fn check(
    Located { value: raw, place }: &Located<RawWebhook>,
    environment: &Environment,
    folder: &Path,
) -> Result<WebhookConfig, ConfigError> {
    let missing = |what: &str| ConfigError::Missing { place: place.clone(), what: what.to_owned() };
    let name = name(raw.name.as_ref().ok_or_else(|| missing("`name`: add one, as `pager`"))?)?;
    let url = raw.url.as_ref().ok_or_else(|| missing("`url`: add the address to post to"))?;
    let secret = raw
        .secret
        .as_ref()
        .ok_or_else(|| missing("`secret`: add one; `deskledger webhook secret` makes one"))?;
    let secrets = [Some(secret), raw.previous_secret.as_ref()].into_iter().flatten();
    let secrets = secrets.map(|secret| signing_secret(secret, environment, folder));
    Ok(WebhookConfig {
        name,
        url: address(
            url,
            raw.allow_http.as_ref().is_some_and(|allow| allow.value),
            environment,
            folder,
        )?,
        secrets: secrets.collect::<Result<_, _>>()?,
        topics: topics(&raw.events)?,
        failing_after: FAILING_AFTER.check(raw.failing_after.as_ref())?,
        disconnect_share: DISCONNECT_SHARE.check(raw.disconnect_share.as_ref())?,
        disconnect_min: DISCONNECT_MIN.check(raw.disconnect_min.as_ref())?,
        timeout: TIMEOUT
            .check(raw.timeout.as_ref())?
            .to_std()
            .expect("nothing within the bounds is negative"),
    })
}

/// It names a folder, too.
fn name(name: &Located<String>) -> Result<String, ConfigError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    if (1..=64).contains(&name.value.len()) && name.value.chars().all(is_plain) {
        return Ok(name.value.clone());
    }
    Err(name.refuse("allowed are 1 to 64 letters, digits, `-` and `_`"))
}

fn address(
    url: &Located<SecretString>,
    allows_http: bool,
    environment: &Environment,
    folder: &Path,
) -> Result<SecretString, ConfigError> {
    let value = resolve(url, environment, folder)?;
    // Never shown: whoever knows the address of a pager may page.
    let parsed = Url::parse(value.expose_secret()).ok();
    let parsed = parsed
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some())
        .ok_or_else(|| url.place.wrong("no address", "write it as `https://host/path`"))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(url.place.wrong(
            "an address with a user in it",
            "the signature says who sends; a token may stand in the path or the query",
        ));
    }
    if parsed.scheme() == "http" && !is_loopback(&parsed) && !allows_http {
        return Err(url.place.wrong(
            "an address of plain http",
            "https is needed, or whoever listens on the way reads the events; on a network you trust, set \
             `allow_http = true` beside it",
        ));
    }
    Ok(value)
}

fn signing_secret(
    secret: &Located<SecretString>,
    environment: &Environment,
    folder: &Path,
) -> Result<SecretSlice<u8>, ConfigError> {
    let value = resolve(secret, environment, folder)?;
    let bytes = value
        .expose_secret()
        .strip_prefix(SECRET_PREFIX)
        .and_then(|text| STANDARD.decode(text).ok())
        .filter(|bytes| SECRET_BYTES.contains(&bytes.len()));
    match bytes {
        Some(bytes) => Ok(bytes.into()),
        None => Err(secret.place.wrong(
            "no secret of a webhook",
            "it is `whsec_` and 24 to 64 random bytes in base64; `deskledger webhook secret` makes one",
        )),
    }
}

fn topics(events: &Option<Located<Vec<String>>>) -> Result<Vec<Topic>, ConfigError> {
    let Some(events) = events else { return Ok(Topic::ALL.to_vec()) };
    let allowed = || format!("`{}`", self::events().join("`, `"));
    if events.value.is_empty() {
        return Err(events.place.wrong("empty", format!("allowed are {}", allowed())));
    }
    let mut topics = Vec::new();
    for event in &events.value {
        let Some(topic) = Topic::ALL.into_iter().find(|topic| topic.begins_as() == event) else {
            let is_end = |topic: &Topic| topic.ends_as() == Some(event.as_str());
            let advice = match Topic::ALL.iter().find(|topic| is_end(topic)) {
                Some(topic) => format!("it comes with `{}`: write that", topic.begins_as()),
                None => format!("allowed are {}", allowed()),
            };
            return Err(events.place.wrong(format!("`{event}`"), advice));
        };
        topics.push(topic);
    }
    topics.sort_unstable();
    topics.dedup();
    Ok(topics)
}
