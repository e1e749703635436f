//! Partitions by month, which appear when they are needed and go when nothing is left in them.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::{Store, StoreError};
use crate::domain::Instant;
use crate::domain::months::{month_start, next_month};

/// How long an empty partition may wait for its readers, and others for it. The next time comes.
const PATIENCE: &str = "1s";

/// The months that are known to have partitions.
#[derive(Debug, Default)]
pub(super) struct KnownMonths(BTreeSet<Instant>);

impl KnownMonths {
    /// Makes the partitions of the months of `instants`.
    pub(super) async fn ensure(
        &mut self,
        store: &Store,
        instants: impl Iterator<Item = Instant>,
    ) -> Result<(), StoreError> {
        let missing: BTreeSet<Instant> =
            instants.map(month_start).filter(|month| !self.0.contains(month)).collect();
        for month in missing {
            store.create_partitions(month).await?;
            self.0.insert(month);
        }
        Ok(())
    }
}

/// An instant of the month that a piece which ends at `to` is filed under: one that ends with the
/// month is that month's.
pub(super) fn filed_under(to: Instant) -> Instant {
    to - TimeDelta::microseconds(1)
}

impl Store {
    pub(super) async fn create_partitions(&self, month: Instant) -> Result<(), StoreError> {
        let failed = StoreError::while_trying("make the partitions of a month");
        let mut transaction = self.pool.begin().await.map_err(&failed)?;
        // One at a time: the other one then finds them made.
        sqlx::query("select pg_advisory_xact_lock(hashtext('deskledger partitions'))")
            .execute(&mut *transaction)
            .await
            .map_err(&failed)?;
        let after = next_month(month);
        // Spans are filed by the end of their pieces, and a piece that ends with the month is that
        // month's: so its bounds stand one microsecond later than a calendar's.
        for (table, shift) in [("snapshot", 0), ("span", 1), ("group_span", 1)] {
            let name = format!("{table}_{}", month.format("%Y_%m"));
            let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
                .bind(format!("deskledger_data.{name}"))
                .fetch_one(&mut *transaction)
                .await
                .map_err(&failed)?;
            if exists {
                continue;
            }
            let bound = |at: Instant| {
                (at + TimeDelta::microseconds(shift)).format("%Y-%m-%d %H:%M:%S%.6f+00").to_string()
            };
            // Made apart and then attached: that waits for no reader and stops none.
            let statements = format!(
                "create table deskledger_data.{name}
                     (like deskledger_data.{table} including defaults including constraints);
                 alter table deskledger_data.{table} attach partition deskledger_data.{name}
                     for values from ('{}') to ('{}');",
                bound(month),
                bound(after),
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(statements))
                .execute(&mut *transaction)
                .await
                .map_err(&failed)?;
        }
        transaction.commit().await.map_err(&failed)
    }

    /// Drops the partitions of months that nothing is left of, oldest first; says of how many. What is in use stays for the next
    /// time, and so does everything while someone reads the ledger as of a moment before now, who may yet come to it.
    ///
    /// # Errors
    /// The database is away.
    pub async fn drop_empty_partitions(&self) -> Result<usize, StoreError> {
        let failed = StoreError::while_trying("drop the partitions that are empty");
        let mut connection = self.pool.acquire().await.map_err(&failed)?;
        let names: Vec<String> = sqlx::query_scalar(
            "-- store::partitions::drop_empty_partitions
             select c.relname::text
               from pg_inherits i
               join pg_class c on c.oid = i.inhrelid
              where i.inhparent in ('deskledger_data.span'::regclass, 'deskledger_data.group_span'::regclass,
                                    'deskledger_data.snapshot'::regclass)
                -- Packing leaves none of its visits; something of the others, unless it is pruned.
                and (i.inhparent = 'deskledger_data.snapshot'::regclass
                     or (select min(at) from deskledger_data.pruning) is not null)
                and right(c.relname, 7) < to_char((select min(observed_at) from deskledger_data.head
                                                    where observed_at is not null) at time zone 'UTC', 'YYYY_MM')
                and not exists (select from pg_stat_activity a
                                 where a.datname = current_database() and a.pid <> pg_backend_pid()
                                   and a.backend_xmin is not null)
              order by right(c.relname, 7)",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(&failed)?;
        let mut dropped = 0;
        for name in names {
            let is_empty: bool = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                "select not exists (select from deskledger_data.{name})"
            )))
            .fetch_one(&mut *connection)
            .await
            .map_err(&failed)?;
            if !is_empty {
                continue;
            }
            // Looked at again under the lock: nobody can have put something in by then.
            let parent =
                name.get(..name.len().saturating_sub("_YYYY_MM".len())).unwrap_or_default();
            let statement = format!(
                "do $$ begin
                     set local lock_timeout = '{PATIENCE}';
                     lock table deskledger_data.{parent} in access exclusive mode;
                     lock table deskledger_data.{name} in access exclusive mode;
                     if not exists (select from deskledger_data.{name}) then
                         drop table deskledger_data.{name};
                     end if;
                 end $$"
            );
            match sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *connection).await {
                Ok(_) => dropped += 1,
                Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("55P03") => {
                    break;
                }
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(dropped)
    }
}
