//! The two roles that read, the one that writes down who reads, and the search path: conveniences, where the rights allow them.

use super::{Store, StoreError};

/// Roles belong to the whole server, so several ledgers on it share them.
const ROLES: [(&str, &str); 3] = [
    (
        "deskledger_reader",
        "grant usage on schema deskledger, deskledger_planner, deskledger_report to deskledger_reader;
         grant select on all tables in schema deskledger, deskledger_planner, deskledger_report to deskledger_reader;",
    ),
    (
        "deskledger_planner",
        // The schema `deskledger` for its functions alone.
        "grant usage on schema deskledger, deskledger_planner, deskledger_report to deskledger_planner;
         grant select on all tables in schema deskledger_planner, deskledger_report to deskledger_planner;
         revoke select on deskledger_report.named_piece, deskledger_report.connection,
                deskledger_report.desktop, deskledger_report.user_label, deskledger_report.assigned_user,
                deskledger_report.label,
                deskledger_report.labelled_piece, deskledger_report.packed, deskledger_report.packed_events,
                deskledger_report.desktop_label,
                deskledger_report.labelled_sum, deskledger_report.loose_piece,
                deskledger_report.row_piece, deskledger_report.newest_snapshot from deskledger_planner;",
    ),
    (
        "deskledger_access",
        // The login and the instant are what the server says. Nothing can be read, and nothing changed.
        "grant usage on schema deskledger_data to deskledger_access;
         grant insert (os_user, machine, caller, command, report, parameters) on deskledger_data.access to deskledger_access;",
    ),
];

impl Store {
    /// Whether both roles are there and may read.
    pub(super) async fn roles_are_granted(&self) -> Result<bool, StoreError> {
        sqlx::query_scalar(
            "-- store::roles::roles_are_granted
             select count(*) = 2 from pg_roles r
              where r.rolname in ('deskledger_reader', 'deskledger_planner')
                and has_table_privilege(r.oid, 'deskledger_planner.sources', 'select')
                and has_schema_privilege(r.oid, 'deskledger_report', 'usage')",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("read who may read"))
    }

    /// Lets the reading role log in, on a server of our own: reports connect as it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn let_reader_log_in(&self) -> Result<(), StoreError> {
        sqlx::raw_sql(
            "do $$ begin
               perform pg_advisory_xact_lock(hashtext('deskledger roles'));
               if not (select rolcanlogin from pg_roles where rolname = 'deskledger_reader') then
                 alter role deskledger_reader login;
               end if;
             end $$",
        )
        .execute(&self.pool)
        .await
        .map_err(StoreError::while_trying("let the reading role log in"))?;
        Ok(())
    }

    /// Makes the roles `deskledger_reader`, `deskledger_planner` and `deskledger_access` and sets the database's search
    /// path. Returns the statements that need someone with more rights.
    pub(super) async fn grant_roles(&self) -> Result<Vec<String>, StoreError> {
        let mut left = Vec::new();
        for (role, grants) in ROLES {
            let create = format!("create role {role} nologin");
            // Two ledgers of one server may be migrated at once: the other one may make the role
            // between our look and our attempt.
            let made = format!(
                "do $$ begin
                   if not exists (select from pg_roles where rolname = '{role}') then {create}; end if;
                 exception when duplicate_object or unique_violation then null;
                 end $$"
            );
            if self.try_statement(made).await?.is_none() {
                left.push(format!("{create};"));
            }
            let granted = grants.to_owned();
            if self.try_statement(granted).await?.is_none() {
                left.push(grants.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        let failed = StoreError::while_trying("set the database's search path");
        let path: String = sqlx::query_scalar(
            "-- store::roles::grant_roles
             select format('alter database %I set search_path = deskledger, public;', current_database())",
        )
        .fetch_one(&self.pool)
        .await
        .map_err(failed)?;
        if self.try_statement(path.clone()).await?.is_none() {
            left.push(path);
        }
        Ok(left)
    }

    /// Runs statements that our rights may not allow: `None` if they do not.
    async fn try_statement(&self, statement: String) -> Result<Option<()>, StoreError> {
        // One at a time: PostgreSQL refuses who changes the same rights at the same moment. Statements
        // that are sent together are one transaction.
        let statement =
            format!("select pg_advisory_xact_lock(hashtext('deskledger roles')); {statement}");
        match sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&self.pool).await {
            Ok(_) => Ok(Some(())),
            Err(sqlx::Error::Database(error))
                // insufficient_privilege; undefined_object where the role could not be made.
                if matches!(error.code().as_deref(), Some("42501" | "42704")) =>
            {
                Ok(None)
            }
            Err(source) => Err(StoreError::Database { attempt: "grant the reading roles", source }),
        }
    }
}
