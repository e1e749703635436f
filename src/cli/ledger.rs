//! The ledger that a command works on: the configured PostgreSQL, or the private one.

use std::str::FromStr as _;
use std::time::Duration;

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::collector::Turns;
use crate::config::Config;
use crate::error::{Chain, usage, with_hint};
use crate::store::private::{Options, Private, acquire, look};
use crate::store::{self, MIGRATION_PATIENCE, Migrated, Pending, Store, StoreError};

/// What takes less than that is not worth saying how long.
const WORTH_A_WORD: Duration = Duration::from_secs(2);

/// What to do where a command that reads finds nothing to read.
const NO_LEDGER: &str = "`deskledger collect` makes one, and so does `deskledger import`; if there is one elsewhere, name it with \
     --data-dir, --database-url or in the configuration";

/// Where the private server is.
fn options(config: &Config) -> Options {
    Options { data_dir: config.data_dir.clone(), ..Options::default() }
}

/// Fails where there is no private ledger, which commands that read do not make.
async fn must_be_there(config: &Config) -> anyhow::Result<()> {
    let found = look(options(config)).await.context("look at the private PostgreSQL")?;
    if found.made_by.is_some() {
        return Ok(());
    }
    let place = found.root.display();
    Err(usage(with_hint(anyhow::anyhow!("there is no ledger in `{place}` yet"), NO_LEDGER)))
}

/// How to connect to a configured database.
///
/// # Errors
/// The URL cannot be read: wrong configuration.
pub(super) fn connect_options(url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    // The error of the driver may repeat the URL, and with it the password.
    PgConnectOptions::from_str(url.expose_secret()).map_err(|_| {
        usage(anyhow::anyhow!(
            "the database's URL cannot be read: write `postgres://user:password@host:5432/database`"
        ))
    })
}

/// Says what is left to migrate, and how long that will take.
fn announce(pending: &[Pending]) {
    let Some(newest) = pending.last() else { return };
    tracing::info!(
        schema.to = newest.version,
        "migrating the ledger's schema to version {}: {}",
        newest.version,
        said(pending)
    );
}

/// What is left, in words: what takes time by itself, and the rest together.
fn said(pending: &[Pending]) -> String {
    let takes_time = |pending: &&Pending| pending.takes.is_none_or(|takes| takes >= WORTH_A_WORD);
    let mut said: Vec<String> =
        pending.iter().filter(takes_time).map(ToString::to_string).collect();
    let rest = pending.len() - said.len();
    match (rest, said.is_empty()) {
        (0, _) => {}
        (_, true) => said.push("it takes a moment".to_owned()),
        (1, false) => said.push("one more takes a moment".to_owned()),
        (_, false) => said.push(format!("{rest} more take a moment")),
    }
    said.join("; ")
}

/// How long the migrations took that took long, for the end of a sentence.
fn times(migrated: &Migrated) -> String {
    let long = migrated.took.iter().filter(|(_, took)| *took >= WORTH_A_WORD);
    let long: Vec<String> = long
        .map(|(version, took)| format!("{version:04} took {:.0} s", took.as_secs_f64()))
        .collect();
    if long.is_empty() { String::new() } else { format!(": {}", long.join(", ")) }
}

/// Whether others hold what a migration has to lock.
fn is_blocked(error: &anyhow::Error) -> bool {
    let mut causes = error.chain().filter_map(|cause| cause.downcast_ref());
    causes.any(|cause| matches!(cause, StoreError::MigrationBlocked { .. }))
}

/// Whether it failed since the database was not there, or not ready, rather than unwilling.
pub(super) fn is_away(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref()).any(store::is_away)
}

/// A connected ledger; the private server runs for as long as this is held.
#[derive(Debug)]
pub struct Ledger {
    /// The ledger.
    pub store: Store,
    /// It does not answer yet: it is connected to later.
    pub is_away: bool,
    /// Who is at it, of the sources that this process records.
    pub turns: Turns,
    private: Option<Private>,
}

impl Ledger {
    /// Connects and brings the schema to the newest version: for commands that write.
    ///
    /// # Errors
    /// The database cannot be reached or is newer than this program.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        Self::connect(config).await?.migrated(MIGRATION_PATIENCE).await
    }

    /// Connects, and leaves the schema as it is: for whoever wants to see what migrating takes.
    ///
    /// # Errors
    /// There is no ledger, or the database cannot be reached.
    pub async fn open_as_it_is(config: &Config) -> anyhow::Result<Self> {
        if config.database_url.is_none() {
            must_be_there(config).await?;
        }
        Self::connect(config).await
    }

    /// Brings the schema to the newest version, and says so.
    async fn migrated(self, patience: Duration) -> anyhow::Result<Self> {
        let ledger = self;
        announce(&ledger.store.pending_migrations().await?);
        let migrated = ledger.store.migrate_within(patience).await?;
        if migrated.from != migrated.to {
            tracing::info!(
                schema.from = migrated.from,
                schema.to = migrated.to,
                "the ledger's schema is at version {}{}",
                migrated.to,
                times(&migrated)
            );
        }
        if ledger.private.is_some() {
            ledger.store.let_reader_log_in().await?;
        }
        for statement in migrated.left_to_do {
            tracing::warn!(statement, "someone with more rights may want to run this statement");
        }
        Ok(ledger)
    }

    /// As [`Self::open`]; but where the configured database is away, or cannot be migrated for others that are at it, the
    /// ledger is connected to later.
    ///
    /// # Errors
    /// As [`Self::open`], except that.
    pub async fn open_or_await(config: &Config) -> anyhow::Result<Self> {
        let opening = async {
            // It is tried again whenever the spool is to be emptied: meanwhile visits go on.
            Self::connect(config).await?.migrated(Duration::ZERO).await
        };
        let error = match opening.await {
            Ok(ledger) => return Ok(ledger),
            Err(error) => error,
        };
        let url = config.database_url.as_ref().filter(|_| is_away(&error) || is_blocked(&error));
        let Some(url) = url else { return Err(error) };
        let until = if is_blocked(&error) { "it is migrated" } else { "the database answers" };
        tracing::error!("{}: what is read waits in the spool until {until}", Chain(error.as_ref()));
        Ok(Self {
            store: Store::connect_later(connect_options(url)?),
            is_away: true,
            turns: Turns::default(),
            private: None,
        })
    }

    /// Connects, and makes nothing: for commands that read. The private ledger is brought to the newest version, since
    /// nobody else would do that.
    ///
    /// # Errors
    /// There is no ledger, the database cannot be reached, or its schema is another version's.
    pub async fn open_to_read(config: &Config) -> anyhow::Result<Self> {
        if config.database_url.is_none() {
            must_be_there(config).await?;
            return Self::open(config).await;
        }
        let ledger = Self::connect(config).await?;
        match ledger.store.check_schema().await {
            Err(error @ StoreError::SchemaTooOld { found: 0, .. }) => Err(with_hint(
                error,
                "nothing is recorded in this database yet: `deskledger collect` makes the schema",
            )),
            Err(error @ StoreError::SchemaTooOld { .. }) => Err(with_hint(
                error,
                "start this version's `deskledger collect`, which migrates it, or run `deskledger migrate`",
            )),
            result => Ok(result.map(|()| ledger)?),
        }
    }

    async fn connect(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database_url {
            let options = connect_options(url)?;
            let host = format!("{}:{}", options.get_host(), options.get_port());
            let store = Store::connect(options).await.map_err(|error| {
                with_hint(
                    error,
                    format!("is PostgreSQL running at `{host}`, and is the login right?"),
                )
            })?;
            return Ok(Self { store, is_away: false, turns: Turns::default(), private: None });
        }
        let private = acquire(options(config)).await.context("start the private PostgreSQL")?;
        let store = Store::connect(private.connect_options()).await?;
        Ok(Self { store, is_away: false, turns: Turns::default(), private: Some(private) })
    }

    /// The connections for reports: on the private server those of a role that may only read. On another
    /// one they are those of the user that is configured.
    ///
    /// # Errors
    /// The database cannot be reached.
    pub async fn reading(&self) -> anyhow::Result<Store> {
        match &self.private {
            Some(private) => Ok(Store::connect(private.reading_options()).await?),
            None => Ok(self.store.clone()),
        }
    }

    /// The connections for reports without names: those of a planner, who may read no name of a person or a desktop.
    ///
    /// # Errors
    /// The database cannot be reached, or the login is no member of that role.
    pub async fn planning(&self, config: &Config) -> anyhow::Result<Store> {
        let options = match (&self.private, &config.database_url) {
            (Some(private), _) => private.connect_options(),
            (None, Some(url)) => connect_options(url)?,
            (None, None) => return self.reading().await,
        };
        let planner = [("role", "deskledger_planner"), ("default_transaction_read_only", "on")];
        Store::connect(options.options(planner)).await.map_err(|error| {
            with_hint(
                error,
                "reports without names run as `deskledger_planner`: `grant deskledger_planner to …` for this login; \
                 where that role is missing, the log of `deskledger collect` shows how it is made",
            )
        })
    }

    /// Connections that can do nothing but read, whatever the login may do.
    ///
    /// # Errors
    /// The database cannot be reached, or has no role for that.
    pub async fn only_reading(&self, config: &Config, connections: u32) -> anyhow::Result<Store> {
        let options = match (&self.private, &config.database_url) {
            (Some(private), _) => private.reading_options(),
            (None, Some(url)) => connect_options(url)?,
            (None, None) => return self.reading().await,
        };
        Store::connect_to_read(options, connections).await.map_err(|error| match error {
            StoreError::MayWrite => with_hint(
                error,
                "grant it the one that does, `grant deskledger_reader to …`; where that role is missing, the \
                 log of `deskledger collect` shows how it is made",
            ),
            other => other.into(),
        })
    }

    /// The private server, if the ledger is in it.
    #[must_use]
    pub fn private(&self) -> Option<&Private> {
        self.private.as_ref()
    }

    /// Closes the connections; the private server stops with its last user.
    ///
    /// # Errors
    /// The private server does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        self.store.pool().close().await;
        if let Some(private) = self.private {
            private.release().await.context("stop the private PostgreSQL")?;
        }
        Ok(())
    }
}
