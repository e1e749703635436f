//! Partitions by month, which appear when they are needed.

use std::collections::BTreeSet;

use chrono::TimeDelta;

use super::{Store, StoreError};
use crate::domain::Instant;
use crate::domain::months::{month_start, next_month};

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
}
