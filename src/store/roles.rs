//! The two roles that read, and the search path: conveniences, where the rights allow them.

use super::{Store, StoreError};

/// Roles belong to the whole server, so several ledgers on it share them.
const ROLES: [(&str, &str); 2] = [
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
                deskledger_report.desktop, deskledger_report.user_label from deskledger_planner;",
    ),
];

impl Store {
    /// Makes the roles `deskledger_reader` and `deskledger_planner` and sets the database's search
    /// path. Returns the statements that need someone with more rights.
    pub(super) async fn grant_roles(&self) -> Result<Vec<String>, StoreError> {
        let mut left = Vec::new();
        for (role, grants) in ROLES {
            let create = format!("create role {role} nologin");
            // Two ledgers of one server may be migrated at once: the other one may make the role
            // between our look and our attempt.
            let made = format!(
                "do $$ begin
                   perform pg_advisory_xact_lock(hashtext('deskledger roles'));
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
        let path = "do $$ begin
             execute format('alter database %I set search_path = deskledger, public', current_database());
           end $$";
        if self.try_statement(path.to_owned()).await?.is_none() {
            left.push("alter database … set search_path = deskledger, public;".to_owned());
        }
        Ok(left)
    }

    /// Runs statements that our rights may not allow: `None` if they do not.
    async fn try_statement(&self, statement: String) -> Result<Option<()>, StoreError> {
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
