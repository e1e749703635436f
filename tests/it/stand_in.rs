//! A database with as much of a ledger as reports need to run: the functions of time, and a view of sources.

use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

/// A database of the test's own, with the sources `prod` and `lab`.
pub async fn database() -> PgPool {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = std::env::var("DESKLEDGER_TEST_DATABASE_URL").expect("a server to make databases on");
    let server: PgConnectOptions = url.parse().unwrap();
    let name = format!("report_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::connect_with(&server).await.unwrap();
    connection.execute(AssertSqlSafe(format!("create database {name}"))).await.unwrap();
    let pool =
        PgPoolOptions::new().max_connections(2).connect_with(server.database(&name)).await.unwrap();
    pool.execute("create schema deskledger").await.unwrap();
    pool.execute(include_str!("../../migrations/0002_time.sql")).await.unwrap();
    pool.execute("create view deskledger.sources as select unnest(array['prod', 'lab']) as source")
        .await
        .unwrap();
    pool
}
