//! What the ledger knows of listings that were missing, and of those that show many disconnects.

use super::{Store, StoreError};
use crate::domain::Instant;

/// The visits without a listing since the newest that had one.
#[derive(Clone, Debug, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct FailedVisits {
    /// How many.
    pub visits: i64,
    /// The first of them.
    pub first_at: Option<Instant>,
    /// The newest.
    pub newest_at: Option<Instant>,
    /// That one's error code.
    pub error_code: Option<String>,
}

/// A gap that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct ClosedGap {
    /// Where covered time ended.
    pub gap_from: Instant,
    /// Where it goes on.
    pub gap_to: Instant,
}

/// A step in which many disconnected, in the words of the report `outages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, sqlx::FromRow)]
pub struct Outage {
    /// The snapshot that shows it.
    pub observed_at: Instant,
    /// The one before it that had a listing.
    pub after: Option<Instant>,
    /// The desktops that were held CONNECTED just before.
    pub connected_before: i64,
    /// Those of them that are DISCONNECTED.
    pub disconnects: i64,
}

impl Store {
    /// A source's visits without a listing after an instant.
    ///
    /// # Errors
    /// The database is away.
    pub async fn failed_visits(
        &self,
        source: &str,
        after: Option<Instant>,
    ) -> Result<FailedVisits, StoreError> {
        sqlx::query_as(
            "-- store::listings::failed_visits
             select count(*) as visits, min(n.observed_at) as first_at, max(n.observed_at) as newest_at,
                    (array_agg(n.error_code order by n.observed_at desc))[1] as error_code
               from deskledger_data.snapshot n join deskledger_data.source s using (source_id)
              where s.name = $1 and n.desktops_outcome = 0
                and n.observed_at > coalesce($2, '-infinity'::timestamptz)",
        )
        .bind(source)
        .bind(after)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("count the visits without a listing"))
    }

    /// A source's first listing after an instant.
    ///
    /// # Errors
    /// The database is away.
    pub async fn next_listing(
        &self,
        source: &str,
        after: Instant,
    ) -> Result<Option<Instant>, StoreError> {
        sqlx::query_scalar(
            "-- store::listings::next_listing
             select (select min(n.observed_at) from deskledger_data.visit n
                      where n.source_id = s.source_id and n.desktops_outcome > 0
                        and n.observed_at > $2 and n.day_from > $2 - interval '24 hours')
               from deskledger_data.source s
              where s.name = $1",
        )
        .bind(source)
        .bind(after)
        .fetch_one(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for the listing after a gap"))
    }

    /// A source's gaps that were over after an instant, as the view `gaps` has them.
    ///
    /// # Errors
    /// The database is away.
    pub async fn gaps_closed(
        &self,
        source: &str,
        after: Instant,
    ) -> Result<Vec<ClosedGap>, StoreError> {
        sqlx::query_as(
            "-- store::listings::gaps_closed
             select gap_from, gap_to from deskledger.gaps where source = $1 and gap_to > $2 order by gap_from",
        )
        .bind(source)
        .bind(after)
        .fetch_all(&self.pool)
        .await
        .map_err(StoreError::while_trying("look for gaps that are over"))
    }

    /// A source's steps that end after `after` and no later than `until`, in which at least `min` desktops disconnected,
    /// and those were at least `share` percent of the connected: counted as the report `outages` counts.
    ///
    /// # Errors
    /// The database is away.
    pub async fn outages(
        &self,
        source: &str,
        (after, until): (Instant, Instant),
        min: u32,
        share: u32,
    ) -> Result<Vec<Outage>, StoreError> {
        let failed = StoreError::while_trying("look for many disconnects at once");
        let min = i64::from(min);
        // How many were connected takes a look at all that are; how many disconnected is written down.
        let is_worth_it: bool = sqlx::query_scalar(
            "-- store::listings::outages
             select exists (select from deskledger_report.tally t join deskledger_data.source s using (source_id)
                             where s.name = $1 and t.at > $2 and t.at <= $3 and t.disconnects >= $4)",
        )
        .bind(source)
        .bind(after)
        .bind(until)
        .bind(min)
        .fetch_one(&self.pool)
        .await
        .map_err(&failed)?;
        if !is_worth_it {
            return Ok(Vec::new());
        }
        sqlx::query_as(
            "-- store::listings::outages
             select t.at as observed_at, before.observed_at as after, p.connected as connected_before,
                    t.disconnects::bigint as disconnects
               from deskledger_report.tally t
               join deskledger_data.source s using (source_id)
               join deskledger_report.steps($2, $3 + interval '1 microsecond', array[]::timestamptz[], $1) p
                    on p.source_id = t.source_id and p.to_at = t.at
              cross join lateral (select deskledger_data.visit_before(t.source_id, t.at, false) as observed_at) before
              where s.name = $1 and t.at > $2 and t.at <= $3 and t.disconnects >= $4
                and 100 * t.disconnects >= $5 * p.connected
              order by t.at",
        )
        .bind(source)
        .bind(after)
        .bind(until)
        .bind(min)
        .bind(i64::from(share))
        .fetch_all(&self.pool)
        .await
        .map_err(&failed)
    }
}
