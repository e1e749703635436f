//! A ledger with two sources and nothing recorded, for tests of what runs reports.

use deskledger::domain::Source;
use sqlx::PgPool;

use crate::support::ledger::ledger;

/// A database of the test's own, with the sources `prod` and `lab`.
pub async fn database() -> PgPool {
    let (database, store) = ledger().await;
    for name in ["prod", "lab"] {
        let (region, project_id, endpoint) = (None, None, None);
        let source = Source { name: name.to_owned(), region, project_id, endpoint };
        store.register_source(&source).await.unwrap();
    }
    let pool = database.pool.clone();
    // It goes with the server, when the test process ends.
    std::mem::forget(database);
    pool
}
