//! The file as typed: every key, its type and its place. Nothing is checked beyond that.

use std::path::Path;

use secrecy::SecretString;
use toml::de::DeTable;

use super::section::{Section, Source};
use super::{ConfigError, Located, Place};

#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) database_url: Option<Located<SecretString>>,
    pub(super) data_dir: Option<Located<String>>,
    pub(super) queries: Option<Located<String>>,
    pub(super) spool: RawSpool,
    pub(super) retention: RawRetention,
    pub(super) serve_listen: Option<Located<String>>,
    pub(super) serve_token: Option<Located<SecretString>>,
    pub(super) audit: Option<Located<bool>>,
    pub(super) metrics_listen: Option<Located<String>>,
    pub(super) timing: RawTiming,
    pub(super) requests_per_minute: Option<Located<i64>>,
    pub(super) concurrency: Option<Located<i64>>,
    pub(super) sources: Vec<RawSource>,
    pub(super) webhooks: Vec<RawWebhook>,
}

/// Where snapshots wait while the database is away.
#[derive(Clone, Debug, Default)]
pub(super) struct RawSpool {
    pub(super) dir: Option<Located<String>>,
    pub(super) max_size: Option<Located<String>>,
    pub(super) min_free: Option<Located<String>>,
    pub(super) when_full: Option<Located<String>>,
}

/// How long what is kept.
#[derive(Clone, Debug, Default)]
pub(super) struct RawRetention {
    pub(super) spans: Option<Located<String>>,
    pub(super) groups: Option<Located<String>>,
    pub(super) rollups: Option<Located<String>>,
    pub(super) archive: Option<Located<String>>,
}

/// How often a source is visited.
#[derive(Clone, Debug, Default)]
pub(super) struct RawTiming {
    pub(super) interval: Option<Located<String>>,
    pub(super) schedule: Option<Located<String>>,
    pub(super) max_gap: Option<Located<String>>,
}

#[derive(Clone, Debug)]
pub(super) struct RawSource {
    pub(super) place: Place,
    pub(super) name: Option<Located<String>>,
    pub(super) region: Option<Located<String>>,
    pub(super) project_id: Option<Located<String>>,
    pub(super) endpoint: Option<Located<String>>,
    pub(super) iam_endpoint: Option<Located<String>>,
    pub(super) allow_http: Option<Located<bool>>,
    pub(super) page_size: Option<Located<i64>>,
    pub(super) max_offset: Option<Located<i64>>,
    pub(super) requests_per_minute: Option<Located<i64>>,
    pub(super) timing: RawTiming,
    pub(super) auth: Option<RawAuth>,
}

/// Where events are posted to.
#[derive(Clone, Debug)]
pub(super) struct RawWebhook {
    pub(super) place: Place,
    pub(super) name: Option<Located<String>>,
    pub(super) url: Option<Located<SecretString>>,
    pub(super) allow_http: Option<Located<bool>>,
    pub(super) secret: Option<Located<SecretString>>,
    pub(super) previous_secret: Option<Located<SecretString>>,
    pub(super) events: Option<Located<Vec<String>>>,
    pub(super) failing_after: Option<Located<i64>>,
    pub(super) disconnect_share: Option<Located<i64>>,
    pub(super) disconnect_min: Option<Located<i64>>,
    pub(super) timeout: Option<Located<String>>,
}

#[derive(Clone, Debug)]
pub(super) struct RawAuth {
    pub(super) place: Place,
    pub(super) access_key: Option<Located<SecretString>>,
    pub(super) secret_key: Option<Located<SecretString>>,
    pub(super) security_token: Option<Located<SecretString>>,
    pub(super) token: Option<Located<SecretString>>,
    pub(super) user: Option<Located<SecretString>>,
    pub(super) password: Option<Located<SecretString>>,
    pub(super) domain: Option<Located<SecretString>>,
}

impl RawConfig {
    pub(super) fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let source = Source { text, path };
        let table = DeTable::parse(text).map_err(|error| {
            // The parser's own rendering quotes the line, which may hold a secret.
            let offset = error.span().map_or(0, |span| span.start);
            let line =
                text.as_bytes()[..offset.min(text.len())].split(|byte| *byte == b'\n').count();
            let message = error.message().to_owned();
            ConfigError::Syntax { path: path.display().to_string(), line, message }
        })?;
        let mut file = Section::new(source, &table);
        let mut raw = Self::default();
        if let Some(mut database) = file.section("database")? {
            raw.database_url = database.secret("url")?;
            database.finish()?;
        }
        if let Some(mut private) = file.section("private")? {
            raw.data_dir = private.text("data_dir")?;
            private.finish()?;
        }
        if let Some(mut spool) = file.section("spool")? {
            raw.spool = RawSpool {
                dir: spool.text("dir")?,
                max_size: spool.text("max_size")?,
                min_free: spool.text("min_free")?,
                when_full: spool.text("when_full")?,
            };
            spool.finish()?;
        }
        if let Some(mut retention) = file.section("retention")? {
            raw.retention = RawRetention {
                spans: retention.text("spans")?,
                groups: retention.text("groups")?,
                rollups: retention.text("rollups")?,
                archive: retention.text("archive")?,
            };
            retention.finish()?;
        }
        if let Some(mut serve) = file.section("serve")? {
            raw.serve_listen = serve.text("listen")?;
            raw.serve_token = serve.secret("token")?;
            serve.finish()?;
        }
        if let Some(mut access) = file.section("access")? {
            raw.audit = access.boolean("audit")?;
            access.finish()?;
        }
        if let Some(mut metrics) = file.section("metrics")? {
            raw.metrics_listen = metrics.text("listen")?;
            metrics.finish()?;
        }
        if let Some(mut reports) = file.section("reports")? {
            raw.queries = reports.text("queries")?;
            reports.finish()?;
        }
        if let Some(mut collect) = file.section("collect")? {
            raw.timing = timing(&mut collect)?;
            raw.requests_per_minute = collect.integer("requests_per_minute")?;
            raw.concurrency = collect.integer("concurrency")?;
            collect.finish()?;
        }
        for section in file.sections("source")? {
            raw.sources.push(one_source(section)?);
        }
        for section in file.sections("webhook")? {
            raw.webhooks.push(webhook(section)?);
        }
        file.finish()?;
        Ok(raw)
    }
}

fn timing(section: &mut Section<'_>) -> Result<RawTiming, ConfigError> {
    Ok(RawTiming {
        interval: section.text("interval")?,
        schedule: section.text("schedule")?,
        max_gap: section.text("max_gap")?,
    })
}

fn one_source(mut section: Section<'_>) -> Result<RawSource, ConfigError> {
    let source = RawSource {
        place: section.place(),
        name: section.text("name")?,
        region: section.text("region")?,
        project_id: section.text("project_id")?,
        endpoint: section.text("endpoint")?,
        iam_endpoint: section.text("iam_endpoint")?,
        allow_http: section.boolean("allow_http")?,
        page_size: section.integer("page_size")?,
        max_offset: section.integer("max_offset")?,
        requests_per_minute: section.integer("requests_per_minute")?,
        timing: timing(&mut section)?,
        auth: section.section("auth")?.map(auth).transpose()?,
    };
    section.finish()?;
    Ok(source)
}

fn webhook(mut section: Section<'_>) -> Result<RawWebhook, ConfigError> {
    let webhook = RawWebhook {
        place: section.place(),
        name: section.text("name")?,
        url: section.secret("url")?,
        allow_http: section.boolean("allow_http")?,
        secret: section.secret("secret")?,
        previous_secret: section.secret("previous_secret")?,
        events: section.texts("events")?,
        failing_after: section.integer("failing_after")?,
        disconnect_share: section.integer("disconnect_share")?,
        disconnect_min: section.integer("disconnect_min")?,
        timeout: section.text("timeout")?,
    };
    section.finish()?;
    Ok(webhook)
}

fn auth(mut section: Section<'_>) -> Result<RawAuth, ConfigError> {
    let auth = RawAuth {
        place: section.place(),
        access_key: section.secret("access_key")?,
        secret_key: section.secret("secret_key")?,
        security_token: section.secret("security_token")?,
        token: section.secret("token")?,
        user: section.secret("user")?,
        password: section.secret("password")?,
        domain: section.secret("domain")?,
    };
    section.finish()?;
    Ok(auth)
}
