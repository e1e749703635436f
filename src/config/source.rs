//! The sources, checked: names, places on the network, limits, schedules, and one kind of authentication each.

use std::path::Path;

use chrono::TimeDelta;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::raw::{
    CONCURRENCY, INTERVAL, MAX_OFFSET, PAGE_SIZE, REQUESTS_PER_MINUTE, RawAuth, RawConfig,
    RawSource, Table as _,
};
use super::{ConfigError, Environment, Located, Place, Schedule};
use crate::domain::{check_source_name, format_duration, parse_duration};

/// A source that can be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceConfig {
    /// Its name in the ledger.
    pub name: String,
    /// The cloud's region; without it there is an endpoint.
    pub region: Option<String>,
    /// The cloud's project; without it there is a region, whose project is to be looked up.
    pub project_id: Option<String>,
    /// Where the API is, instead of the region's place.
    pub endpoint: Option<Url>,
    /// Whether plain http to other addresses than loopback ones was allowed.
    pub allow_http: bool,
    /// Where the identity service is, instead of the region's place.
    pub iam_endpoint: Option<Url>,
    /// Records per request.
    pub page_size: u32,
    /// The largest offset that the API takes.
    pub max_offset: u32,
    /// How many requests may be sent in a minute, by all sources of the same account together.
    pub requests_per_minute: u32,
    /// How many requests of one visit may be under way at once.
    pub concurrency: u32,
    /// When it is visited.
    pub schedule: Schedule,
    /// The longest time that an observation may hold.
    pub max_gap: TimeDelta,
    /// How it is allowed in.
    pub auth: Auth,
}

/// How a source is allowed in.
#[derive(Clone, Debug)]
pub enum Auth {
    /// A pair of keys that signs each request.
    Keys {
        /// The access key.
        access_key: SecretString,
        /// The secret key.
        secret_key: SecretString,
        /// Beside a temporary pair.
        security_token: Option<SecretString>,
    },
    /// A token as it is.
    Token(SecretString),
    /// A user, exchanged for a token.
    Password {
        /// The IAM user.
        user: String,
        /// The user's password.
        password: SecretString,
        /// The account that the user belongs to.
        domain: String,
    },
}

impl PartialEq for Auth {
    fn eq(&self, other: &Self) -> bool {
        // Both are ours: nobody learns anything from how long it takes.
        let secrets = |auth: &Self| match auth {
            Self::Keys { access_key, secret_key, security_token } => {
                [Some(access_key.clone()), Some(secret_key.clone()), security_token.clone()]
            }
            Self::Token(token) => [Some(token.clone()), None, None],
            Self::Password { user, password, domain } => {
                [Some(user.clone().into()), Some(password.clone()), Some(domain.clone().into())]
            }
        };
        let is_same = |(one, other): (Option<SecretString>, Option<SecretString>)| {
            one.as_ref().map(ExposeSecret::expose_secret)
                == other.as_ref().map(ExposeSecret::expose_secret)
        };
        std::mem::discriminant(self) == std::mem::discriminant(other)
            && secrets(self).into_iter().zip(secrets(other)).all(is_same)
    }
}

pub(super) fn check(
    raw: &RawConfig,
    environment: &Environment,
    folder: &Path,
) -> Result<Vec<SourceConfig>, ConfigError> {
    let mut sources = raw.sources.clone();
    if let Some(from_environment) = of_environment(environment) {
        match &mut sources[..] {
            [] => sources.push(from_environment),
            // Authentication goes over as a whole: keys from here and a token from there would be two kinds at once.
            [only] => only.value.overlay(from_environment.value),
            _ => {}
        }
    }
    if sources.is_empty() {
        return Err(ConfigError::NoSource);
    }
    let allows_http = RawSource::of(environment).allow_http.is_some_and(|allow| allow.value);
    let context = Context { raw, environment, folder, allows_http };
    let mut checked: Vec<SourceConfig> = Vec::with_capacity(sources.len());
    for source in &sources {
        let next = context.source(source)?;
        if checked.iter().any(|earlier| earlier.name == next.name) {
            let place = source.value.name.as_ref().map_or(&source.place, |name| &name.place);
            return Err(place.clash(
                format!("`{}`", next.name),
                "another source has that name; each needs its own",
                "give one of the two another `name`, or take it out if it is there twice",
            ));
        }
        checked.push(next);
    }
    Ok(checked)
}

/// The source that the environment describes; `None` if none of its variables is set.
fn of_environment(environment: &Environment) -> Option<Located<RawSource>> {
    let mut source = RawSource::of(environment);
    let auth = RawAuth::of(environment);
    // A token beside keys and an account are no way in by themselves.
    let has_auth = [&auth.access_key, &auth.secret_key, &auth.token, &auth.user, &auth.password]
        .iter()
        .any(|one| one.is_some());
    source.auth = has_auth.then(|| Located::new(auth, Place::environment("HUAWEICLOUD_SDK_AK")));
    // For every source that there is: it describes none.
    source.allow_http = None;
    let is_given = source.auth.is_some()
        || source.region.is_some()
        || source.project_id.is_some()
        || source.endpoint.is_some()
        || source.iam_endpoint.is_some();
    is_given.then(|| Located::new(source, Place::environment("DESKLEDGER_REGION")))
}

struct Context<'a> {
    raw: &'a RawConfig,
    environment: &'a Environment,
    folder: &'a Path,
    allows_http: bool,
}

impl Context<'_> {
    fn source(
        &self,
        Located { value: raw, place }: &Located<RawSource>,
    ) -> Result<SourceConfig, ConfigError> {
        let region = raw.region.as_ref().map(region).transpose()?;
        let is_from_file = self.raw.sources.iter().any(|source| source.place == *place);
        let missing =
            |what: &str| ConfigError::Missing { place: place.clone(), what: what.to_owned() };
        // Of a source that is in no file, the variables are what can be mended.
        let lacking = |in_file: &str, what, set| {
            if is_from_file { missing(in_file) } else { ConfigError::Environment { what, set } }
        };
        let name = match &raw.name {
            Some(name) if name.value.trim().is_empty() => {
                return Err(name.refuse("it must not be empty"));
            }
            Some(name) => {
                check_source_name(&name.value).map_err(|error| name.refuse(error.to_string()))?;
                name.value.clone()
            }
            None if is_from_file => {
                return Err(missing("`name`; choose one, it stays with the history"));
            }
            None => region.clone().unwrap_or_else(|| "default".to_owned()),
        };
        let project_id = match &raw.project_id {
            Some(id) if is_word(&id.value) => Some(id.value.clone()),
            Some(id) => return Err(id.refuse("allowed are letters, digits, `-` and `_`")),
            // The region's own is looked up.
            None if region.is_some() => None,
            None => {
                return Err(match &raw.endpoint {
                    Some(_) => lacking(
                        "`project_id` and no `region` to look it up by; or set HUAWEICLOUD_SDK_PROJECT_ID",
                        "a project",
                        "HUAWEICLOUD_SDK_PROJECT_ID",
                    ),
                    None => lacking(
                        "`region`; or give `project_id` and `endpoint`",
                        "a region",
                        "DESKLEDGER_REGION (or HUAWEICLOUD_SDK_PROJECT_ID and DESKLEDGER_ENDPOINT)",
                    ),
                });
            }
        };
        let allows_http =
            self.allows_http || raw.allow_http.as_ref().is_some_and(|allow| allow.value);
        let url = |url: &Option<Located<String>>| {
            url.as_ref().map(|url| endpoint(url, allows_http)).transpose()
        };
        let endpoint = url(&raw.endpoint)?;
        if region.is_none() && endpoint.is_none() {
            return Err(lacking(
                "`region` and no `endpoint`; give one of them, or set DESKLEDGER_REGION or \
                 DESKLEDGER_ENDPOINT",
                "a place",
                "DESKLEDGER_REGION or DESKLEDGER_ENDPOINT",
            ));
        }
        let common = &self.raw.collect;
        let (schedule, max_gap) = self.timing(raw)?;
        let Some(auth) = &raw.auth else {
            return Err(lacking(
                "`auth`; or set HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or DESKLEDGER_TOKEN, or \
                 DESKLEDGER_USER, DESKLEDGER_PASSWORD and DESKLEDGER_DOMAIN",
                "credentials",
                "HUAWEICLOUD_SDK_AK and HUAWEICLOUD_SDK_SK, or DESKLEDGER_TOKEN, or DESKLEDGER_USER, \
                 DESKLEDGER_PASSWORD and DESKLEDGER_DOMAIN",
            ));
        };
        let iam_endpoint = url(&raw.iam_endpoint)?;
        let auth = super::auth::check(auth, self.environment, self.folder)?;
        if matches!(auth, Auth::Password { .. }) && region.is_none() && iam_endpoint.is_none() {
            return Err(lacking(
                "`region` and no `iam_endpoint`; a user and password are exchanged for a token, and \
                 one of them says where; or set DESKLEDGER_REGION or DESKLEDGER_IAM_ENDPOINT",
                "a place to exchange its password for a token",
                "DESKLEDGER_REGION or DESKLEDGER_IAM_ENDPOINT",
            ));
        }
        Ok(SourceConfig {
            name,
            region,
            project_id,
            endpoint,
            allow_http: allows_http,
            iam_endpoint,
            page_size: PAGE_SIZE.check(raw.page_size.as_ref())?,
            max_offset: MAX_OFFSET.check(raw.max_offset.as_ref())?,
            requests_per_minute: REQUESTS_PER_MINUTE
                .check(raw.requests_per_minute.as_ref().or(common.requests_per_minute.as_ref()))?,
            concurrency: CONCURRENCY.check(common.concurrency.as_ref())?,
            schedule,
            max_gap,
            auth,
        })
    }

    /// A source's own interval or schedule, else the common one; likewise `max_gap`.
    fn timing(&self, own: &RawSource) -> Result<(Schedule, TimeDelta), ConfigError> {
        let common = &self.raw.collect;
        let (interval, schedule) = match (&own.interval, &own.schedule) {
            (None, None) => (&common.interval, &common.schedule),
            own => own,
        };
        if let (Some(_), Some(schedule)) = (interval, schedule) {
            return Err(schedule.place.clash(
                format!("`{}`", schedule.value),
                "there is an `interval` too; give one of them, not both",
                "take out `interval` or `schedule`",
            ));
        }
        let ticks = match schedule {
            Some(schedule) => Schedule::cron(schedule)?,
            None => Schedule::Every(INTERVAL.check(interval.as_ref())?),
        };
        let Some(max_gap) = own.max_gap.as_ref().or(common.max_gap.as_ref()) else {
            let max_gap = ticks.default_max_gap().ok_or_else(|| ConfigError::Missing {
                place: schedule.as_ref().expect("an interval is steady").place.clone(),
                what:
                    "`max_gap` beside it, which is needed where the ticks are not evenly spaced: \
                       the longest time between two visits that is no gap"
                        .to_owned(),
            })?;
            return Ok((ticks, max_gap));
        };
        let length = parse_duration(&max_gap.value).map_err(|_| {
            max_gap.refuse("allowed are durations as `90s`, `15m`, `2h` or `1h30m`")
        })?;
        let step = ticks.shortest_step();
        if length < step {
            return Err(max_gap.refuse(format!(
                "it must be at least the time between two visits, `{}`, or nothing would ever hold",
                format_duration(step)
            )));
        }
        Ok((ticks, length))
    }
}

fn is_word(text: &str) -> bool {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !text.is_empty() && text.chars().all(is_fine)
}

/// A region's name becomes part of a host's.
fn region(region: &Located<String>) -> Result<String, ConfigError> {
    if is_word(&region.value) && !region.value.contains('_') {
        Ok(region.value.clone())
    } else {
        Err(region.refuse("allowed are letters, digits and `-`, as `ap-southeast-3`"))
    }
}

fn endpoint(text: &Located<String>, allows_http: bool) -> Result<Url, ConfigError> {
    let url = Url::parse(&text.value)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.host().is_some());
    let Some(url) = url else {
        return Err(text.refuse("write it as `https://workspace.ap-southeast-3.myhuaweicloud.com`"));
    };
    if !url.username().is_empty() || url.password().is_some() {
        // Not shown: there is a password in it.
        return Err(text.place.wrong("an address with a user in it", "put secrets under `auth`"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(text.refuse("nothing may follow the path"));
    }
    if url.scheme() == "http" && !is_loopback(&url) && !allows_http {
        return Err(text.refuse(
            "https is needed, or credentials cross the network in the clear; on a network you \
             trust, set `allow_http = true` beside it or DESKLEDGER_ALLOW_HTTP=1",
        ));
    }
    Ok(url)
}

/// Whether an address is this machine's own.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
