//! The PostgreSQL that is measured: private, durable, removed at the end.

use std::path::Path;

use deskledger::store::Store;
use deskledger::store::private::{Options, Private, acquire};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

use super::Outcome;

/// Asks where the write-ahead log is, in bytes.
pub const LOG_POSITION: &str = "select (pg_current_wal_insert_lsn() - '0/0')::double precision";

/// A server and the folder that holds all that is measured.
pub struct Server {
    /// What it says it is.
    pub version: String,
    private: Private,
    folder: tempfile::TempDir,
}

/// An empty ledger of its own.
pub struct Ledger {
    /// For the recorder.
    pub store: Store,
    /// For programs.
    pub url: String,
    name: String,
    server: PgConnectOptions,
}

impl Server {
    pub async fn start() -> Outcome<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
        std::fs::create_dir_all(target)?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(target)?;
        let data_dir = Some(folder.path().join("pg"));
        let private = acquire(Options { data_dir, ..Options::default() }).await?;
        let mut connection = private.connect_options().connect().await?;
        let version: String = sqlx::query_scalar("select split_part(version(), ' on ', 1)")
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(Self { version, private, folder })
    }

    /// One of its settings; `None`: it knows none of that name.
    pub async fn setting(&self, name: &str) -> Outcome<Option<String>> {
        let mut connection = self.private.connect_options().connect().await?;
        let setting = sqlx::query_scalar("select current_setting($1, true)")
            .bind(name)
            .fetch_one(&mut connection)
            .await?;
        connection.close().await?;
        Ok(setting)
    }

    /// Where files may be put.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub async fn ledger(&self, name: &str) -> Outcome<Ledger> {
        let server = self.private.connect_options();
        let mut connection = server.connect().await?;
        // A part that failed has left its own.
        let drop = format!("drop database if exists {name} with (force)");
        sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
        let create = format!("create database {name} template template0");
        sqlx::query(AssertSqlSafe(create)).execute(&mut connection).await?;
        connection.close().await?;
        let options = server.clone().database(name);
        let url = options.to_url_lossy().to_string();
        let store = Store::connect(options).await?;
        store.migrate().await?;
        Ok(Ledger { store, url, name: name.to_owned(), server })
    }

    pub async fn stop(self) -> Outcome {
        self.private.release().await?;
        self.folder.close()?;
        Ok(())
    }
}

impl Ledger {
    /// The same ledger by connections of its own. When these are closed, the server has counted all that they did.
    pub async fn another_store(&self) -> Outcome<Store> {
        Ok(Store::connect(self.server.clone().database(&self.name)).await?)
    }

    /// One figure out of the database.
    pub async fn figure(&self, sql: &str) -> Outcome<f64> {
        let sql = format!("select ({sql})::double precision");
        Ok(sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(self.store.pool()).await?)
    }

    /// A statement that stands alone.
    pub async fn run(&self, sql: &str) -> Outcome {
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(self.store.pool()).await?;
        Ok(())
    }

    /// Where the write-ahead log is.
    pub async fn log_position(&self) -> Outcome<f64> {
        Ok(sqlx::query_scalar(LOG_POSITION).fetch_one(self.store.pool()).await?)
    }

    pub async fn drop(self) -> Outcome {
        self.store.pool().close().await;
        let mut connection = self.server.connect().await?;
        let drop = format!("drop database {} with (force)", self.name);
        sqlx::query(AssertSqlSafe(drop)).execute(&mut connection).await?;
        connection.close().await?;
        Ok(())
    }
}
