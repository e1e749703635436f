//! PostgreSQL: the schema, recording snapshots, and reading back what is recorded.
//!
//! Knows the domain, and neither HTTP nor the clock. Every statement begins with the name of the
//! function that runs it, so that slow-query logs lead back here.

mod access;
mod beliefs;
mod copy;
mod erasure;
mod error;
mod facts;
mod heartbeat;
mod late;
mod lease;
mod listings;
mod pack;
mod partitions;
pub mod private;
pub mod prune;
mod record;
mod recorder;
mod registered;
mod replay;
mod roles;
mod schema;
mod source;
mod tally;
mod upgrade;
mod verify;
mod visit_days;

pub use access::{Access, AccessRow};
pub use erasure::{Holdings, LineFormat, OfSource, ToErase};
pub use error::StoreError;
pub(crate) use error::is_away;
pub use facts::{Rights, Roster, ServerFacts, Standing, TableSize};
pub use late::{Late, LateLines};
pub use lease::{Candidate, LONGEST_TERM, Leadership};
pub use listings::{ClosedGap, FailedVisits, Outage};
pub use pack::{Packable, Packed, Unpackable, Why};
pub use recorder::{Recorded, Recorder};
pub use replay::Replay;
pub use schema::{MIGRATION_PATIENCE, Migrated, newest_schema_version};
pub use source::{SourceId, SourceStatus};
pub use upgrade::{About, Pending};
pub use verify::{Progress, Verdict};
pub use visit_days::PackableVisits;

use heartbeat::Heart;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

/// How long a connection may take to be made. Short, so that a recorder whose database is away goes on with
/// its next visit in time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A ledger: one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
    /// Renews the leases of this process.
    heart: Heart,
}

impl Store {
    /// Connects to a ledger's database, without touching its schema.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn connect(options: PgConnectOptions) -> Result<Self, StoreError> {
        let options = set_up(options);
        let failed = StoreError::while_trying("connect to the database");
        // Once by itself: a pool tries again until its patience ends, and then only says that.
        probe(&options).await?;
        let pool = pool_options().connect_with(options).await.map_err(&failed)?;
        Ok(Self { pool, heart: Heart::default() })
    }

    /// A ledger whose database may be away: it is connected to when it is first asked.
    #[must_use]
    pub fn connect_later(options: PgConnectOptions) -> Self {
        Self::from_pool(pool_options().connect_lazy_with(set_up(options)))
    }

    /// Connects as a role that can only read: the reading one, where the login may take it on.
    ///
    /// # Errors
    /// The database cannot be reached, or the login may write all the same ([`StoreError::MayWrite`]).
    pub async fn connect_to_read(
        options: PgConnectOptions,
        connections: u32,
    ) -> Result<Self, StoreError> {
        let failed = StoreError::while_trying("connect to the database");
        let options = set_up(options).options([("default_transaction_read_only", "on")]);
        let pool = pool_options()
            .max_connections(connections)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    sqlx::query(
                        "-- store::connect_to_read
                         select set_config('role', rolname, false) from pg_roles
                          where rolname = 'deskledger_reader' and pg_has_role(oid, 'member')",
                    )
                    .execute(&mut *connection)
                    .await?;
                    // So that a statement ends with the connection of whoever asked for it. Not every platform can look,
                    // and those that cannot refuse the setting.
                    sqlx::query(
                        "-- store::connect_to_read
                         select set_config('client_connection_check_interval', '1s', false)
                          where version() like '%linux%'",
                    )
                    .execute(connection)
                    .await
                    .map(drop)
                })
            })
            .connect_with(options)
            .await
            .map_err(&failed)?;
        let may_write: bool = sqlx::query_scalar(
            "-- store::connect_to_read
             select coalesce(bool_or(has_table_privilege(c.oid, 'insert, update, delete, truncate')), false)
               from pg_class c join pg_namespace n on n.oid = c.relnamespace
              where n.nspname in ('deskledger', 'deskledger_data') and c.relkind in ('r', 'p')",
        )
        .fetch_one(&pool)
        .await
        .map_err(&failed)?;
        if may_write {
            pool.close().await;
            return Err(StoreError::MayWrite);
        }
        Ok(Self { pool, heart: Heart::default() })
    }

    /// A ledger behind a pool that exists already.
    #[must_use]
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool, heart: Heart::default() }
    }

    /// Connects once, past the pool: says why it cannot be done where the pool only says that it has waited.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn probe(&self) -> Result<(), StoreError> {
        probe(&self.pool.connect_options()).await
    }

    /// The connections, for reports.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}

async fn probe(options: &PgConnectOptions) -> Result<(), StoreError> {
    let failed = StoreError::while_trying("connect to the database");
    let late = || sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
    let connecting = tokio::time::timeout(PATIENCE, options.connect());
    let connection = connecting.await.map_err(|_| failed(late()))?.map_err(&failed)?;
    connection.close().await.map_err(failed)
}

fn set_up(options: PgConnectOptions) -> PgConnectOptions {
    options
        .application_name("deskledger")
        // A statement may take its time, and its text is nothing for a log.
        .disable_statement_logging()
        // Nothing of ours may depend on how the server or the database is set up.
        .options([
            ("TimeZone", "UTC"),
            ("DateStyle", "ISO"),
            ("IntervalStyle", "postgres"),
            // Compiling a plan takes a second or two, and running any of ours less: `compact` took sixty times as long with it.
            ("jit", "off"),
        ])
}

fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(8)
        .acquire_timeout(PATIENCE)
        // A database that was away is said by who needs it, not by the pool.
        .acquire_slow_threshold(2 * PATIENCE)
}
