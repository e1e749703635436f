//! What can go wrong between us and the database.

use crate::domain::{HistoryError, Instant};

/// A failure of the store.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database refused or was away.
    #[error("could not {attempt}")]
    Database {
        /// What was attempted: fits after "could not".
        attempt: &'static str,
        /// Why it failed.
        #[source]
        source: sqlx::Error,
    },
    /// A login that was to read only may write.
    #[error("this database login may write, and there is no role for it that only reads")]
    MayWrite,
    /// Migrating the schema failed.
    #[error("could not migrate the ledger's schema")]
    Migrate(#[source] sqlx::migrate::MigrateError),
    /// Others hold what a migration has to lock. The schema stays at the version before.
    #[error("could not migrate the ledger's schema to version {version}: {by}")]
    MigrationBlocked {
        /// The schema's version after that migration.
        version: i64,
        /// Who, and since when.
        by: String,
    },
    /// A newer deskledger has migrated this ledger.
    #[error(
        "the ledger's schema is at version {found}, and this deskledger knows versions up to {known}: \
         use the deskledger that migrated it, or a newer one"
    )]
    SchemaTooNew {
        /// The ledger's.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// The ledger was never migrated, or not to this version, and may not be now.
    #[error("the ledger's schema is at version {found}, and this deskledger needs version {known}")]
    SchemaTooOld {
        /// The ledger's.
        found: i64,
        /// The one that we need.
        known: i64,
    },
    /// A month's spans came out of what they were packed into otherwise than they went in.
    #[error(
        "the spans of `{source_name}` in {month} do not come out as they were packed, and stay as they are"
    )]
    PackedWrong {
        /// The source.
        source_name: String,
        /// The month (UTC).
        month: String,
    },
    /// What is to go is not what was told again of it.
    #[error(
        "the rows of `{source_name}` in {month} are not those that its snapshots come to, and stay"
    )]
    PrunedWrong {
        /// The source.
        source_name: String,
        /// The month (UTC).
        month: String,
    },
    /// The source was recorded under another region, project or endpoint.
    #[error(
        "source `{name}` is recorded with {what} `{recorded}`, and is now to be recorded with \
         `{given}`: give the other one a name of its own"
    )]
    Pinned {
        /// The source.
        name: String,
        /// `region`, `project_id` or `endpoint`.
        what: &'static str,
        /// What the ledger has.
        recorded: String,
        /// What is given now.
        given: String,
    },
    /// The snapshot cannot follow what is recorded.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// A snapshot that is newer than all that is recorded belongs in the history.
    #[error("the snapshot of {observed_at} is not too late for the history, and belongs there")]
    NotLate {
        /// The snapshot's.
        observed_at: Instant,
    },
    /// Someone else has recorded since the beliefs were read.
    #[error("another recorder has recorded for source number {source_id} meanwhile")]
    Fenced {
        /// The source.
        source_id: i32,
    },
    /// Another recorder leads now.
    #[error("another recorder leads since: {leader}")]
    Deposed {
        /// Its name; of several since, the newest.
        leader: String,
    },
    /// A row that cannot be.
    #[error("the ledger is inconsistent: {0}")]
    Inconsistent(String),
}

impl StoreError {
    /// Whether the database was not there, or not ready, rather than unwilling: it may answer later.
    #[must_use]
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Database { source, .. } if is_away(source))
    }

    /// Whether it only says that nobody answered in time, and not why.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Database { source: sqlx::Error::PoolTimedOut, .. })
    }

    /// Wraps a driver's error with what was attempted.
    pub(crate) fn while_trying(attempt: &'static str) -> impl Fn(sqlx::Error) -> Self {
        move |source| Self::Database { attempt, source }
    }
}

/// See [`StoreError::is_away`].
pub(crate) fn is_away(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) => true,
        // 57: shutting down or starting up; 53: out of connections, disk or memory; 08: the connection.
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| ["57", "53", "08"].iter().any(|class| code.starts_with(class))),
        _ => false,
    }
}
