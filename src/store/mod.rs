//! PostgreSQL: the schema, recording snapshots, and reading back what is recorded.
//!
//! Knows the domain, and neither HTTP nor the clock. Every statement begins with the name of the
//! function that runs it, so that slow-query logs lead back here.

mod beliefs;
mod error;
mod facts;
mod late;
mod partitions;
pub mod private;
mod record;
mod recorder;
mod replay;
mod roles;
mod schema;
mod source;
mod verify;

pub use error::StoreError;
pub use facts::{Rights, Roster, ServerFacts, Standing, TableSize};
pub use late::{Late, LateLines};
pub use recorder::{Recorded, Recorder};
pub use replay::Replay;
pub use schema::{Migrated, newest_schema_version};
pub use source::{SourceId, SourceStatus};
pub use verify::{Progress, Verdict};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{ConnectOptions as _, Connection as _, PgPool};

/// How long a connection may take to be made. Short, so that a recorder whose database is away goes on with
/// its next visit in time.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// A ledger: one PostgreSQL database.
#[derive(Clone, Debug)]
pub struct Store {
    pool: PgPool,
}

impl Store {
    /// Connects to a ledger's database, without touching its schema.
    ///
    /// # Errors
    /// The database cannot be reached or refuses the login.
    pub async fn connect(options: PgConnectOptions) -> Result<Self, StoreError> {
        let options = options
            .application_name("deskledger")
            // A statement may take its time, and its text is nothing for a log.
            .disable_statement_logging()
            // Nothing of ours may depend on how the server or the database is set up.
            .options([("TimeZone", "UTC"), ("DateStyle", "ISO"), ("IntervalStyle", "postgres")]);
        let failed = StoreError::while_trying("connect to the database");
        // Once by itself: a pool tries again until its patience ends, and then only says that.
        let probe = tokio::time::timeout(PATIENCE, options.connect())
            .await
            .map_err(|_| failed(sqlx::Error::PoolTimedOut))?
            .map_err(&failed)?;
        probe.close().await.map_err(&failed)?;
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(PATIENCE)
            .connect_with(options)
            .await
            .map_err(&failed)?;
        Ok(Self { pool })
    }

    /// A ledger behind a pool that exists already.
    #[must_use]
    pub fn from_pool(pool: PgPool) -> Self {
        Self { pool }
    }

    /// The connections, for reports.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }
}
