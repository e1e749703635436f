//! Migrations: embedded, run under a lock, and refused where a newer deskledger has been.

use sqlx::Connection as _;
use sqlx::migrate::{MigrateError, Migrator};

use super::{Store, StoreError};

/// One static, so that the migrations are embedded once.
static MIGRATIONS: Migrator = sqlx::migrate!();

/// Where the record of applied migrations is kept: named with its schema, since with another
/// search path an empty table would be found and everything run again.
const TABLE: &str = "deskledger_data.migration";

/// What migrating did.
#[derive(Clone, Debug, Default)]
pub struct Migrated {
    /// The schema's version before; 0: there was none.
    pub from: i64,
    /// Its version now.
    pub to: i64,
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
    /// The schema is newer than this program knows, or a migration fails.
    pub async fn migrate(&self) -> Result<Migrated, StoreError> {
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
            return Ok(Migrated { from, to: known, left_to_do });
        }
        let mut migrator =
            Migrator { migrations: MIGRATIONS.migrations.clone(), ..Migrator::DEFAULT };
        migrator.dangerous_set_table_name(TABLE);
        migrator.create_schema("deskledger_data");
        // A connection of its own: whoever stops waiting for this closes it, and with it ends the lock. Back in the pool
        // it would keep the lock from everybody, and nobody would know.
        let failed = StoreError::while_trying("connect to the database");
        let mut connection = self.pool.acquire().await.map_err(failed)?.detach();
        // What `run` calls, which the compiler does not take where its future has to be `Send`.
        let run = migrator.run_direct(None, &mut connection, false).await;
        let _ = connection.close().await;
        match run {
            // Another, newer one migrated while we waited for the lock.
            Err(MigrateError::VersionMissing(found)) if found > known => {
                return Err(StoreError::SchemaTooNew { found, known });
            }
            result => result.map_err(StoreError::Migrate)?,
        }
        let left_to_do = self.grant_roles().await?;
        Ok(Migrated { from, to: known, left_to_do })
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
