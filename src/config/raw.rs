//! The file as typed: every key, its type and its place, with what the environment puts over it. Nothing is
//! checked beyond that.
//!
//! Each table is declared once. From its declaration come the values, how they are read, and what is known of
//! each key: a key that is read cannot be without its line in `docs/configuration.md`.

use std::path::Path;

use chrono::TimeDelta;
use secrecy::SecretString;
use toml::de::DeTable;

use super::key::{Key, Length, Takes, Whole};
use super::metrics::METRICS_LISTEN;
use super::section::{Section, Source};
use super::serve::LISTEN;
use super::{ConfigError, Environment, Located, WhenFull, spool, webhook};

/// What a visit each so often may be.
pub(super) const INTERVAL: Length = Length {
    default: TimeDelta::minutes(5),
    least: TimeDelta::seconds(1),
    most: TimeDelta::days(30),
};
/// Documented for sibling calls are 200 a minute and user; the rest is room for what arrives closer
/// together than it was sent.
pub(super) const REQUESTS_PER_MINUTE: Whole = Whole { default: 180, least: 1, most: 100_000 };
pub(super) const CONCURRENCY: Whole = Whole { default: 4, least: 1, most: 64 };
pub(super) const PAGE_SIZE: Whole = Whole { default: 1000, least: 1, most: 2000 };
pub(super) const MAX_OFFSET: Whole = Whole { default: 2000, least: 0, most: i32::MAX as u32 };

const TEXT: Key = Key::new(Takes::Words("a text"));
const SECRET: Key = Key::new(Takes::Words("a secret"));
const FOLDER: Key = Key::new(Takes::Words("a folder"));
const LISTENS: Key = Key::new(Takes::Words("an address and a port"));
const LENGTH: Key = Key::new(Takes::Words("a duration"));
const URL: Key = Key::new(Takes::Words("a URL"));
const FLAG: Key = Key::new(Takes::Flag);

const fn whole(bounds: Whole) -> Key {
    Key::new(Takes::Whole(bounds))
}

/// A table of the file.
pub(super) trait Table: Sized {
    /// As its head is written, or the key that it is the value of.
    const HEAD: &'static str;
    /// What there is to know of its keys.
    const KEYS: &'static [Key];

    /// Takes what is known from a section, and refuses the rest.
    fn read(section: Section<'_>) -> Result<Self, ConfigError>;

    /// What the environment has for its keys.
    fn of(environment: &Environment) -> Self;

    /// Puts what another has over it.
    fn overlay(&mut self, over: Self);
}

/// What can be the value of a key.
pub(super) trait Value: Sized {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError>;

    /// `None`, too, for what no variable can stand for.
    fn of(_environment: &Environment, _key: &Key) -> Option<Self> {
        None
    }
}

macro_rules! table {
    ($(#[$meta:meta])* $name:ident = $head:literal { $($key:ident: $type:ty = $known:expr;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, Default)]
        pub(super) struct $name {
            $(pub(super) $key: Option<$type>,)*
        }

        impl Table for $name {
            const HEAD: &'static str = $head;
            const KEYS: &'static [Key] = &[$(Key { name: stringify!($key), ..$known },)*];

            fn read(mut section: Section<'_>) -> Result<Self, ConfigError> {
                let table = Self { $($key: Value::read(&mut section, stringify!($key))?,)* };
                section.finish()?;
                Ok(table)
            }

            fn of(environment: &Environment) -> Self {
                let mut keys = Self::KEYS.iter();
                // Both are in the order of the declaration.
                Self { $($key: keys.next().and_then(|key| {
                    debug_assert_eq!(key.name, stringify!($key));
                    Value::of(environment, key)
                }),)* }
            }

            fn overlay(&mut self, over: Self) {
                $(self.$key = over.$key.or_else(|| self.$key.take());)*
            }
        }
    };
}

table! {
    /// Where the ledger is.
    RawDatabase = "[database]" {
        url: Located<SecretString> = Key::new(Takes::Words("an address, or a secret"))
            .without("a private PostgreSQL")
            .says("where the ledger is")
            .more(", `postgres://user:password@host/database`")
            .variables(&["DATABASE_URL"])
            .flag("--database-url");
    }
}

table! {
    /// The private PostgreSQL.
    RawPrivate = "[private]" {
        data_dir: Located<String> = FOLDER
            .without("`deskledger` in the XDG data home; for root `/var/lib/deskledger`")
            .says("the private PostgreSQL, and the spool")
            .variables(&["DESKLEDGER_DATA_DIR"])
            .flag("--data-dir");
    }
}

table! {
    /// Where snapshots wait while the database is away.
    RawSpool = "[spool]" {
        dir: Located<String> = FOLDER
            .without("`spool` in `private.data_dir`, else in `deskledger` in the XDG data home; for root `/var/lib/deskledger/spool`")
            .says("where snapshots wait on disk while the database is away")
            .more("; each ledger has a folder of its own in it")
            .variables(&["DESKLEDGER_SPOOL_DIR"]);
        max_size: Located<String> = Key::new(Takes::Size(spool::MAX_SIZE)).says("what they may take there");
        min_free: Located<String> = Key::new(Takes::Size(spool::MIN_FREE))
            .says("what has to stay free on that disk");
        when_full: Located<String> = Key::new(Takes::OneOf(&WhenFull::NAMES)).or(WhenFull::NAMES[0])
            .says("`stop`: no more is fetched; `drop-oldest`: the oldest become failed visits that say so");
    }
}

table! {
    /// Reports of the user's own.
    RawReports = "[reports]" {
        queries: Located<String> = FOLDER
            .says("your own `.sql` files: each is a report too")
            .variables(&["DESKLEDGER_QUERIES"])
            .flag("--queries");
    }
}

table! {
    /// How long what is kept.
    RawRetention = "[retention]" {
        spans: Located<String> = LENGTH.without("for ever")
            .says("how old spans may grow")
            .more(", as `400d` ([retention.md](retention.md))");
        groups: Located<String> = LENGTH.without("for ever")
            .says("how old the counts of groups may grow")
            .more("; not less than `spans`");
        rollups: Located<String> = LENGTH.without("for ever")
            .says("how old the counts may grow that utilisation is reckoned from")
            .more("; not less than `spans`");
        headers: Located<String> = LENGTH.without("for ever")
            .says("how old the headers of snapshots may grow")
            .more("; not less than all of these");
        archive: Located<String> = Key::new(Takes::Words("a folder, or `off`"))
            .without("none: nothing goes by itself")
            .says("where months are archived to before they go");
    }
}

table! {
    /// Who is served reports, and where.
    RawServe = "[serve]" {
        listen: Located<String> = LISTENS.or(LISTEN)
            .says("where `deskledger serve` listens")
            .more("; beyond this machine it needs a `token`")
            .variables(&["DESKLEDGER_SERVE_LISTEN"])
            .flag("--listen");
        token: Located<SecretString> = SECRET
            .says("what browsers have to know")
            .more(" ([serving.md](serving.md))")
            .variables(&["DESKLEDGER_SERVE_TOKEN"])
            .flag("--token");
    }
}

table! {
    /// What is written down of reading.
    RawAccess = "[access]" {
        audit: Located<bool> = FLAG
            .says("whether each `report`, `export` and question to `serve` is written down in the ledger")
            .more(": who, when, what ([privacy.md](privacy.md#who-ran-which-report))");
    }
}

table! {
    /// Where a recorder shows how it is.
    RawMetrics = "[metrics]" {
        listen: Located<String> = Key::new(Takes::Words("an address and a port, or `off`")).or(METRICS_LISTEN)
            .says("where `deskledger collect` answers `/metrics`, `/livez` and `/readyz`")
            .more(" ([operating.md](operating.md#seeing-it-from-outside))")
            .variables(&["DESKLEDGER_METRICS_LISTEN"])
            .flag("--metrics-listen");
    }
}

table! {
    /// How sources are visited.
    RawCollect = "[collect]" {
        interval: Located<String> = Key::new(Takes::Length(INTERVAL))
            .says("a visit each so often, in UTC")
            .more(", at the multiples of it");
        schedule: Located<String> = Key::new(Takes::Words("cron with seconds"))
            .says("instead of `interval`, in UTC")
            .more(": `0 */5 * * * *`");
        max_gap: Located<String> = LENGTH.without("3 × the longest step")
            .says("the longest time between two visits that is no gap")
            .more("; needed where a `schedule` has pauses");
        requests_per_minute: Located<i64> = whole(REQUESTS_PER_MINUTE)
            .says("of all sources of one account together")
            .more("; of those that share a credential the smallest holds");
        concurrency: Located<i64> = whole(CONCURRENCY).says("requests of one visit at once");
    }
}

table! {
    /// A source to record.
    RawSource = "[[source]]" {
        name: Located<String> = TEXT.needed()
            .says("its name in the ledger, which stays with the history")
            .more("; not `(all)`, as reports call all sources as one");
        region: Located<String> = TEXT
            .says("the cloud's region")
            .more(", as `ap-southeast-3`; without it `endpoint` and `project_id` are needed")
            .variables(&["DESKLEDGER_REGION"]);
        project_id: Located<String> = TEXT.without("the region's one project")
            .says("the cloud's project")
            .variables(&["HUAWEICLOUD_SDK_PROJECT_ID"]);
        endpoint: Located<String> = URL.without("the region's")
            .says("where the Workspace API is")
            .variables(&["DESKLEDGER_ENDPOINT"]);
        iam_endpoint: Located<String> = URL.without("the region's")
            .says("where the identity service is")
            .variables(&["DESKLEDGER_IAM_ENDPOINT", "HUAWEICLOUD_SDK_IAM_ENDPOINT"]);
        allow_http: Located<bool> = FLAG
            .says("plain http to other addresses than loopback ones")
            .more(": credentials cross the network in the clear")
            .variables(&["DESKLEDGER_ALLOW_HTTP"]);
        page_size: Located<i64> = whole(PAGE_SIZE).says("desktops a request");
        max_offset: Located<i64> = whole(MAX_OFFSET)
            .says("the largest offset that the API takes")
            .more(" ([collecting.md](collecting.md))");
        requests_per_minute: Located<i64> = whole(REQUESTS_PER_MINUTE).without("that of `[collect]`")
            .says("as there");
        interval: Located<String> = Key::new(Takes::Length(INTERVAL)).without("that of `[collect]`")
            .says("as there");
        schedule: Located<String> = Key::new(Takes::Words("cron with seconds")).without("that of `[collect]`")
            .says("as there, instead of `interval`");
        max_gap: Located<String> = LENGTH.without("that of `[collect]`, else 3 × the longest step")
            .says("as there");
        auth: Located<RawAuth> = Key::new(Takes::Words("a table")).needed()
            .says("exactly one kind, of the keys below");
    }
}

table! {
    /// How a source is allowed in.
    RawAuth = "auth" {
        access_key: Located<SecretString> = SECRET.without("")
            .says("the first of a pair of keys")
            .variables(&["HUAWEICLOUD_SDK_AK"]);
        secret_key: Located<SecretString> = SECRET.without("")
            .says("the second of them")
            .variables(&["HUAWEICLOUD_SDK_SK"]);
        security_token: Located<SecretString> = SECRET.without("")
            .says("beside a pair that is temporary")
            .variables(&["HUAWEICLOUD_SDK_SECURITY_TOKEN"]);
        token: Located<SecretString> = SECRET.without("")
            .says("a token as it is, which nobody renews")
            .variables(&["DESKLEDGER_TOKEN"]);
        user: Located<SecretString> = SECRET.without("")
            .says("an IAM user, exchanged for tokens")
            .variables(&["DESKLEDGER_USER"]);
        password: Located<SecretString> = SECRET.without("")
            .says("the user's password")
            .variables(&["DESKLEDGER_PASSWORD"]);
        domain: Located<SecretString> = SECRET.without("")
            .says("the account that the user belongs to")
            .variables(&["DESKLEDGER_DOMAIN"]);
    }
}

table! {
    /// Where events are posted to.
    RawWebhook = "[[webhook]]" {
        name: Located<String> = Key::new(Takes::Words("letters, digits, `-` and `_`")).needed()
            .says("what logs, metrics and `deskledger webhook test` call it")
            .more(" ([operating.md](operating.md#webhooks))");
        url: Located<SecretString> = Key::new(Takes::Words("a URL, or a secret")).needed()
            .says("the address that events are posted to");
        secret: Located<SecretString> = SECRET.needed()
            .says("what they are signed with")
            .more(": `whsec_` and 24 to 64 bytes in base64, as `deskledger webhook secret` makes one");
        previous_secret: Located<SecretString> = SECRET
            .says("signs beside it, while receivers take over the new one");
        events: Located<Vec<String>> = Key::new(Takes::SomeOf(webhook::events)).without("all")
            .says("what is told")
            .more("; the event that ends one comes with it");
        failing_after: Located<i64> = whole(webhook::FAILING_AFTER)
            .says("so many visits in a row without a listing are a failing source");
        disconnect_share: Located<i64> = whole(webhook::DISCONNECT_SHARE)
            .says("so many percent of the connected desktops that disconnect in one step are many …");
        disconnect_min: Located<i64> = whole(webhook::DISCONNECT_MIN)
            .says("… if they are so many at least");
        timeout: Located<String> = Key::new(Takes::Length(webhook::TIMEOUT))
            .says("how long an answer is waited for");
        allow_http: Located<bool> = FLAG.says("plain http to other addresses than loopback ones");
    }
}

/// Every table and its keys, in the order in which they are explained.
pub const TABLES: [(&str, &[Key]); 12] = [
    described::<RawDatabase>(),
    described::<RawPrivate>(),
    described::<RawSpool>(),
    described::<RawReports>(),
    described::<RawRetention>(),
    described::<RawServe>(),
    described::<RawAccess>(),
    described::<RawMetrics>(),
    described::<RawCollect>(),
    described::<RawSource>(),
    described::<RawAuth>(),
    described::<RawWebhook>(),
];

const fn described<T: Table>() -> (&'static str, &'static [Key]) {
    (T::HEAD, T::KEYS)
}

#[derive(Debug, Default)]
pub(super) struct RawConfig {
    pub(super) database: RawDatabase,
    pub(super) private: RawPrivate,
    pub(super) spool: RawSpool,
    pub(super) reports: RawReports,
    pub(super) retention: RawRetention,
    pub(super) serve: RawServe,
    pub(super) access: RawAccess,
    pub(super) metrics: RawMetrics,
    pub(super) collect: RawCollect,
    pub(super) sources: Vec<Located<RawSource>>,
    pub(super) webhooks: Vec<Located<RawWebhook>>,
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
        let raw = Self {
            database: one(&mut file, "database")?,
            private: one(&mut file, "private")?,
            spool: one(&mut file, "spool")?,
            reports: one(&mut file, "reports")?,
            retention: one(&mut file, "retention")?,
            serve: one(&mut file, "serve")?,
            access: one(&mut file, "access")?,
            metrics: one(&mut file, "metrics")?,
            collect: one(&mut file, "collect")?,
            sources: each(&mut file, "source")?,
            webhooks: each(&mut file, "webhook")?,
        };
        file.finish()?;
        Ok(raw)
    }

    /// Puts the environment's values over those of the tables that are there once. Those of a source are put over
    /// the only one, where they are checked.
    pub(super) fn overlay(&mut self, environment: &Environment) {
        self.database.overlay(Table::of(environment));
        self.private.overlay(Table::of(environment));
        self.spool.overlay(Table::of(environment));
        self.reports.overlay(Table::of(environment));
        self.retention.overlay(Table::of(environment));
        self.serve.overlay(Table::of(environment));
        self.access.overlay(Table::of(environment));
        self.metrics.overlay(Table::of(environment));
        self.collect.overlay(Table::of(environment));
    }
}

fn one<T: Table + Default>(file: &mut Section<'_>, key: &'static str) -> Result<T, ConfigError> {
    debug_assert_eq!(T::HEAD, format!("[{key}]"));
    Ok(file.section(key)?.map(T::read).transpose()?.unwrap_or_default())
}

fn each<T: Table>(
    file: &mut Section<'_>,
    key: &'static str,
) -> Result<Vec<Located<T>>, ConfigError> {
    debug_assert_eq!(T::HEAD, format!("[[{key}]]"));
    file.sections(key)?.into_iter().map(located).collect()
}

fn located<T: Table>(section: Section<'_>) -> Result<Located<T>, ConfigError> {
    let place = section.place();
    Ok(Located::new(T::read(section)?, place))
}

impl Value for Located<String> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        section.text(key)
    }

    fn of(environment: &Environment, key: &Key) -> Option<Self> {
        key.in_environment(|name| environment.text(name))
    }
}

impl Value for Located<SecretString> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        section.secret(key)
    }

    fn of(environment: &Environment, key: &Key) -> Option<Self> {
        key.in_environment(|name| environment.secret(name))
    }
}

impl Value for Located<i64> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        section.integer(key)
    }
}

impl Value for Located<bool> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        section.boolean(key)
    }

    fn of(environment: &Environment, key: &Key) -> Option<Self> {
        let text = key.in_environment(|name| environment.text(name))?;
        Some(Located::new(text.value == "1", text.place))
    }
}

impl Value for Located<Vec<String>> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        section.texts(key)
    }
}

impl Value for Located<RawAuth> {
    fn read(section: &mut Section<'_>, key: &'static str) -> Result<Option<Self>, ConfigError> {
        debug_assert_eq!(RawAuth::HEAD, key);
        section.section(key)?.map(located).transpose()
    }
}
