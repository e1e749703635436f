//! Migrations: embedded, run under a lock, politely, and refused where a newer deskledger has been.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant as Moment};

use sqlx::migrate::{Migrate as _, MigrateError, Migrator};
use sqlx::{Connection as _, PgConnection};

use super::upgrade::Blocker;
use super::{Store, StoreError};

/// One static, so that the migrations are embedded once.
pub(super) static MIGRATIONS: Migrator = sqlx::migrate!();

/// Where the record of applied migrations is kept: named with its schema, since with another
/// search path an empty table would be found and everything run again.
const TABLE: &str = "deskledger_data.migration";

/// How long a migration may wait for a lock. Whoever comes for that table meanwhile waits behind it, be it only to read:
/// a report that runs for an hour would else keep every recorder and every reader waiting for an hour.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
/// How long it lets others through before it tries again.
const PAUSE: Duration = Duration::from_secs(3);
/// How long it goes on trying, for whoever has nothing better to do. A recorder goes on into its spool instead.
pub const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);
/// How often it looks who is in its way.
const LOOK: Duration = Duration::from_millis(500);

/// What migrating did.
#[derive(Clone, Debug, Default)]
pub struct Migrated {
    /// The schema's version before; 0: there was none.
    pub from: i64,
    /// Its version now.
    pub to: i64,
    /// How long each migration took, as far as that is known.
    pub took: Vec<(i64, Duration)>,
    /// Statements that someone with more rights may want to run, each with the reason.
    pub left_to_do: Vec<String>,
}

/// The newest schema version that this program knows.
#[must_use]
pub fn newest_schema_version() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

impl Store {
    /// Brings the schema to the newest version. Others that start at the same time wait.
    ///
    /// # Errors
    /// The schema is newer than this program knows, a migration fails, or others hold for a minute what it has to lock.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
        self.migrate_within(MIGRATION_PATIENCE).await
    }

    /// As [`Self::migrate`]; but it is tried again for so long only where others hold what it has to lock.
    ///
    /// # Errors
    /// As [`Self::migrate`].
    pub async fn migrate_within(&self, patience: Duration) -> Result<Migrated, StoreError> {
        let from = self.schema_version().await?;
        let known = newest_schema_version();
        if from > known {
            return Err(StoreError::SchemaTooNew { found: from, known });
        }
        if from == known {
            // Someone with more rights may have made the roles since; or not yet.
            let left_to_do = if self.roles_are_granted().await? {
                Vec::new()
            } else {
                self.grant_roles().await?
            };
            return Ok(Migrated { from, to: known, took: Vec::new(), left_to_do });
        }
        // A connection of its own: whoever stops waiting for this closes it, and with it ends the lock. Back in the pool
        // it would keep the lock from everybody, and nobody would know.
        let failed = StoreError::while_trying("connect to the database");
        let mut connection = self.pool.acquire().await.map_err(failed)?.detach();
        let run = self.run_politely(&mut connection, patience).await;
        let _ = connection.close().await;
        run?;
        let left_to_do = self.grant_roles().await?;
        let took = self.times_of_migrations(from).await?;
        Ok(Migrated { from, to: known, took, left_to_do })
    }

    /// Runs what is left, and never waits for long where others wait behind it.
    async fn run_politely(
        &self,
        connection: &mut PgConnection,
        patience: Duration,
    ) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("prepare a migration");
        let known = newest_schema_version();
        let mut migrator =
            Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
        migrator.dangerous_set_table_name(TABLE);
        migrator.create_schema("deskledger_data");
        // Here, since whoever waits for another one that migrates is in nobody's way, and may wait.
        connection.lock().await.map_err(StoreError::Migrate)?;
        migrator.set_locking(false);
        let pid: i32 = sqlx::query_scalar(
            "-- store::schema::run_politely
             select pg_backend_pid() from set_config('lock_timeout', $1, false)",
        )
        .bind(format!("{}ms", LOCK_PATIENCE.as_millis()))
        .fetch_one(&mut *connection)
        .await
        .map_err(failed)?;
        // Another one may have migrated meanwhile, and a newer one.
        let from = self.schema_version().await?;
        if from > known {
            return Err(StoreError::SchemaTooNew { found: from, known });
        }
        let started = Moment::now();
        let mut left =
            MIGRATIONS.iter().map(|migration| migration.version).filter(|version| *version > from);
        let mut next = left.next();
        while let Some(version) = next {
            let in_the_way = Mutex::new(Vec::new());
            let result = tokio::select! {
                biased;
                result = run_one(&migrator, connection, version) => result,
                never = self.watch(pid, &in_the_way) => match never {},
            };
            match result {
                Ok(()) => {
                    next = left.next();
                    continue;
                }
                Err(MigrateError::ExecuteMigration(cause, _) | MigrateError::Execute(cause))
                    if is_locked(&cause) => {}
                Err(error) => return Err(StoreError::Migrate(error)),
            }
            let blockers = in_the_way.into_inner().unwrap_or_else(PoisonError::into_inner);
            let by = said(&blockers);
            if started.elapsed() >= patience {
                return Err(StoreError::MigrationBlocked { version, by });
            }
            tracing::warn!(
                schema.version = version,
                "the ledger's schema cannot be migrated to version {version} yet: {by}; trying again in {} s",
                PAUSE.as_secs()
            );
            tokio::time::sleep(PAUSE).await;
        }
        Ok(())
    }

    /// Remembers whom a connection waits for, as long as it does: once it has given up, nobody can tell any more.
    async fn watch(&self, pid: i32, in_the_way: &Mutex<Vec<Blocker>>) -> std::convert::Infallible {
        loop {
            tokio::time::sleep(LOOK).await;
            // Who cannot be asked stays unknown; the migration does not fail for it.
            if let Ok(found) = self.blockers(pid).await
                && !found.is_empty()
            {
                *in_the_way.lock().unwrap_or_else(PoisonError::into_inner) = found;
            }
        }
    }

    /// Forgets all that is recorded: for the demo, which has a ledger of its own, and for tests.
    ///
    /// # Errors
    /// The database is away.
    pub async fn forget_everything(&self) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("empty the demo's ledger");
        let tables: String = sqlx::query_scalar(
            "-- store::schema::forget_everything
             select string_agg(format('%I.%I', schemaname, tablename), ', ') from pg_tables
              where schemaname = 'deskledger_data' and tablename <> 'migration'",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)?;
        let truncate = format!("truncate {tables} restart identity");
        sqlx::raw_sql(sqlx::AssertSqlSafe(truncate)).execute(&self.pool).await.map_err(&failed)?;
        Ok(())
    }

    /// Lets PostgreSQL count what there is, as it does by itself after a while: until then it plans for empty tables, and a
    /// report on what was just written in bulk takes ten times as long.
    ///
    /// # Errors
    /// The database fails.
    pub async fn analyze(&self) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("count what was written");
        let tables: String = sqlx::query_scalar(
            "-- store::schema::analyze
             select string_agg(c.oid::regclass::text, ', ') from pg_class c
              where c.relnamespace = 'deskledger_data'::regnamespace and c.relkind in ('r', 'p') and not c.relispartition",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)?;
        let analyze = format!("analyze {tables}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(analyze)).execute(&self.pool).await.map_err(&failed)?;
        Ok(())
    }

    /// Checks that the schema is the one that this program knows, without changing anything.
    ///
    /// # Errors
    /// It is older or newer.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let found = match self.schema_version().await {
            // Whoever may only read the views cannot see this; the views then say what is wrong.
            Err(StoreError::Database { source: sqlx::Error::Database(error), .. })
                if error.code().as_deref() == Some("42501") =>
            {
                return Ok(());
            }
            found => found?,
        };
        let known = newest_schema_version();
        match found.cmp(&known) {
            std::cmp::Ordering::Less => Err(StoreError::SchemaTooOld { found, known }),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(StoreError::SchemaTooNew { found, known }),
        }
    }

    /// The newest migration that was applied; 0: none.
    ///
    /// # Errors
    /// The database is away, or who asks may not see the tables.
    pub async fn schema_version(&self) -> Result<i64, StoreError> {
        let failed = StoreError::while_trying("read the ledger's schema version");
        let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(TABLE)
            .fetch_one(&self.pool)
            .await
            .map_err(&failed)?;
        if !exists {
            return Ok(0);
        }
        sqlx::query_scalar(
            "select coalesce(max(version), 0) from deskledger_data.migration where success",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)
    }
}

/// Runs the migrations up to that version, and deposes in the same transaction whoever leads: recorders that know no more than the
/// schema before would go on writing what that one wants to be told. They wait until it is done; then they find that they lead no
/// more, and [`Store::take_lease`] tells them why.
async fn run_one(
    migrator: &Migrator,
    connection: &mut PgConnection,
    version: i64,
) -> Result<(), MigrateError> {
    let mut transaction = connection.begin().await.map_err(MigrateError::Execute)?;
    // First, as recorders take their locks: whoever comes the other way round waits for ever.
    let is_led: bool = sqlx::query_scalar(
        "-- store::schema::run_one
         select exists (select from pg_attribute
                         where attrelid = to_regclass('deskledger_data.head') and attname = 'epoch')",
    )
    .fetch_one(&mut *transaction)
    .await
    .map_err(MigrateError::Execute)?;
    if is_led {
        sqlx::raw_sql(
            "-- store::schema::run_one
             update deskledger_data.head
                set epoch = epoch + 1, leader = null, led_since = null, leased_until = null
              where leader is not null",
        )
        .execute(&mut *transaction)
        .await
        .map_err(MigrateError::Execute)?;
    }
    // What `run` calls, which the compiler does not take where its future has to be `Send`.
    migrator.run_direct(Some(version), &mut *transaction, false).await?;
    transaction.commit().await.map_err(MigrateError::Execute)
}

/// Whether a lock was not to be had in time, or only by giving way to others.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

/// Who is in the way, in words.
fn said(blockers: &[Blocker]) -> String {
    if blockers.is_empty() {
        return "something that it has to lock is in use".to_owned();
    }
    let blockers: Vec<String> = blockers.iter().map(ToString::to_string).collect();
    format!("{} holds what it has to lock", blockers.join(", and "))
}
