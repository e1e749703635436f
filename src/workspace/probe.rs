//! Single looks at the API, for whoever wants to know whether a visit would succeed: as few records as
//! possible, each request once, within the account's pace and guard like any other.

use std::time::Duration;

use tokio::time::Instant;

use super::listing::{Known, Request, STATUSES};
use super::run::{Limits, Run};
use super::{ApiError, Client, Traffic};

/// What one request for desktops told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Glance {
    /// The API's `total_count`.
    pub total: Option<i64>,
    /// How many records came.
    pub records: usize,
    /// How long the answer took, the wait for the account's pace included.
    pub took: Duration,
}

/// Some looks at one project, counted together. No look is repeated.
#[derive(Debug)]
pub struct Look<'a> {
    client: &'a Client,
    run: Run,
}

impl Client {
    /// Begins to look; all looks together may take `budget`.
    #[must_use]
    pub fn look(&self, budget: Duration) -> Look<'_> {
        Look { client: self, run: Run::starting_now(Limits::of_one_look(budget)) }
    }
}

impl Look<'_> {
    /// The connection statuses that the vendor documents.
    pub const STATUSES: [&'static str; 4] = STATUSES;

    /// Asks for desktops: of one status, or of all.
    ///
    /// # Errors
    /// It was not answered as it should.
    pub async fn desktops(
        &self,
        status: Option<&str>,
        offset: u32,
        limit: u32,
    ) -> Result<Glance, ApiError> {
        let request = Request::of(status, offset, limit);
        let began = Instant::now();
        let page = self.client.page(&self.run, request, false, &Known::default()).await?;
        Ok(Glance { total: page.total, records: page.records, took: began.elapsed() })
    }

    /// Asks for the groups' statistics, and counts the groups.
    ///
    /// # Errors
    /// They were not answered as they should.
    pub async fn groups(&self) -> Result<usize, ApiError> {
        Ok(self.client.statistics(&self.run, false).await?.len())
    }

    /// What the looks have cost, and what they met.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.run.traffic()
    }
}
