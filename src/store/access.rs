//! Who ran which report: written beside the report, and read by whoever may read the tables.

use sqlx::types::Json;

use super::{Store, StoreError};
use crate::domain::Instant;

/// One run of something that reads the ledger.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    /// The user of the machine.
    pub os_user: Option<String>,
    /// The machine.
    pub machine: Option<String>,
    /// Of `serve`: who asked it.
    pub caller: Option<String>,
    /// The command.
    pub command: String,
    /// The report; `None`: all of them, or none.
    pub report: Option<String>,
    /// What it was asked with, persons' names too.
    pub parameters: serde_json::Map<String, serde_json::Value>,
}

/// A run as it is stored.
#[derive(Clone, Debug, sqlx::FromRow)]
pub struct AccessRow {
    /// When, by the database's clock.
    pub at: Instant,
    /// The login to the database.
    pub login: String,
    /// See [`Access::os_user`].
    pub os_user: Option<String>,
    /// See [`Access::machine`].
    pub machine: Option<String>,
    /// See [`Access::caller`].
    pub caller: Option<String>,
    /// See [`Access::command`].
    pub command: String,
    /// See [`Access::report`].
    pub report: Option<String>,
    /// See [`Access::parameters`].
    pub parameters: Json<serde_json::Map<String, serde_json::Value>>,
}

impl Store {
    /// Writes a run down. It needs the rights of `deskledger_access`, and no others.
    ///
    /// # Errors
    /// The database is away, or the login may not.
    pub async fn note_access(&self, access: &Access) -> Result<(), StoreError> {
        // Nothing is returned: whoever may add a row may not read any.
        sqlx::query(
            "-- store::access::note_access
             insert into deskledger_data.access (os_user, machine, caller, command, report, parameters)
             values ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&access.os_user)
        .bind(&access.machine)
        .bind(&access.caller)
        .bind(&access.command)
        .bind(&access.report)
        .bind(Json(&access.parameters))
        .execute(&self.pool)
        .await
        .map(drop)
        .map_err(StoreError::while_trying("write down who ran what"))
    }

    /// The runs of a period, oldest first.
    ///
    /// # Errors
    /// The database is away, or the login may not read them.
    pub async fn accesses(
        &self,
        from: Option<Instant>,
        to: Option<Instant>,
    ) -> Result<Vec<AccessRow>, StoreError> {
        sqlx::query_as(
            "-- store::access::accesses
             select at, login, os_user, machine, caller, command, report, parameters from deskledger_data.access
              where at >= coalesce($1, '-infinity') and at < coalesce($2, 'infinity') order by at, access_id",
        )
        .bind(from)
        .bind(to)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("read who ran what"))
    }
}
