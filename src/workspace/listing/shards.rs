//! A fleet that no single listing reaches.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::Instant;

use super::pages::Pages;
use super::read::{Facts, ROUNDS, Reader};
use super::request::{Filter, Page, Request, STATUSES};
use crate::workspace::ApiError;

/// Statuses that no document lists and that are asked for nevertheless: a server that makes up a new one
/// for each desktop must not cost a request for each.
const MOST_OTHER_STATUSES: usize = 16;

impl<Fetch, F> Reader<'_, Fetch>
where
    Fetch: Fn(Request, bool) -> F,
    F: Future<Output = Result<Page, ApiError>>,
{
    /// Reads by status, then by names, and says what the total is; `None` where it did not stand still.
    pub(super) async fn shards(&self, mut first: Option<Facts>, mut total: i64) -> Option<i64> {
        let statuses: Vec<Filter> =
            STATUSES.into_iter().map(|status| Filter::status(&Arc::from(status))).collect();
        tracing::debug!(
            total,
            reach = self.reach(),
            "the fleet is beyond the reach of one listing: reading it by status"
        );
        let mut is_steady = true;
        let mut before = None;
        for round in 0..ROUNDS {
            if round > 0 {
                // What was found is kept where only some are missing.
                if before.is_some() { self.ask_again() } else { self.begin_again() }
            }
            let began = Instant::now();
            let mut shards = join_all(statuses.iter().map(|filter| self.pages(filter))).await;
            self.others(first.take(), &statuses, &mut shards, total).await;
            self.lock().beyond = beyond(&shards, total);
            let ends_with = self.total().await;
            let stands = ends_with == Some(total);
            if stands && self.is_whole(total).await {
                self.conclude();
                return Some(total);
            }
            // Nobody saw it change; but nobody can call it whole either.
            let Some(ends_with) = ends_with else { break };
            is_steady &= stands;
            if self.has_given_up() {
                break;
            }
            let count = self.lock().seen.count();
            let may_come = if stands && count <= total {
                // What is missing is asked for again, beside what was found: desktops that went from
                // one status to another while the two were read. Not again if that brings nothing.
                before != Some(count) && total - count > beyond(&shards, total)
            } else {
                // Some joined or left. Only a round of its own tells which.
                true
            };
            // A round that cannot end in time would only take requests from the next visit.
            if !may_come || Instant::now() + began.elapsed() > self.deadline {
                break;
            }
            before = (stands && count <= total).then_some(count);
            total = ends_with;
        }
        Some(total).filter(|_| is_steady)
    }

    /// What the listings of the documented statuses do not bring, cheapest first: desktops that went from
    /// one to another meanwhile, those with no status or another, and those beyond reach.
    async fn others(
        &self,
        first: Option<Facts>,
        statuses: &[Filter],
        shards: &mut [Pages],
        total: i64,
    ) {
        if self.is_enough(total) {
            return;
        }
        tracing::debug!(
            missing = total - self.lock().seen.count(),
            beyond_reach = beyond(shards, total),
            "desktops are missing: asking for them by the names of their users"
        );
        self.missing(total).await;
        if self.is_enough(total) {
            return;
        }
        // The first page of the unfiltered listing is read already, in the first round.
        let all = Filter::all();
        match first {
            Some(first) => self.rest(&all, first).await,
            None => self.pages(&all).await,
        };
        if self.is_enough(total) {
            return;
        }
        let mut asked = BTreeSet::new();
        loop {
            // What was found on suspicion may show a status that nobody knew of.
            let others = self.other_statuses();
            let new: Vec<&Arc<str>> =
                others.iter().filter(|status| !asked.contains(*status)).collect();
            if new.is_empty() && !asked.is_empty() {
                return;
            }
            let filters = self.filters(&new);
            join_all(filters.iter().map(|filter| self.pages(filter))).await;
            asked.extend(new.into_iter().cloned());
            self.settle(statuses, shards, total).await;
            if self.is_enough(total) {
                return;
            }
            self.suspected(total).await;
            if self.is_enough(total) || self.other_statuses().is_empty() {
                return;
            }
        }
    }

    /// Listings of statuses, and of the users who have more desktops than one listing reaches.
    fn filters(&self, statuses: &[&Arc<str>]) -> Vec<Filter> {
        let state = self.lock();
        let of = |status: &Arc<str>| {
            let names = state.owners.iter().map(|name| Filter {
                status: Some(Arc::clone(status)),
                names: [Arc::clone(name)].into(),
            });
            std::iter::once(Filter::status(status)).chain(names).collect::<Vec<_>>()
        };
        statuses.iter().copied().flat_map(of).collect()
    }

    /// Reads shards again whose rows may have shifted, while desktops are missing.
    async fn settle(&self, statuses: &[Filter], shards: &mut [Pages], total: i64) {
        for _ in 1..ROUNDS {
            let unsettled: Vec<usize> =
                (0..shards.len()).filter(|at| shards[*at].is_unsettled()).collect();
            if unsettled.is_empty() || self.is_enough(total) {
                break;
            }
            let again = unsettled.iter().map(|at| self.pages(&statuses[*at]));
            for (at, pages) in unsettled.iter().zip(join_all(again).await) {
                shards[*at] = pages;
            }
        }
    }

    /// Statuses that no document lists, and that this or an earlier listing showed.
    pub(super) fn other_statuses(&self) -> Vec<Arc<str>> {
        let mut others = self.known.statuses.clone();
        for desktop in self.lock().seen.desktops() {
            let Some(status) = &desktop.status else { continue };
            if !STATUSES.contains(&&**status) && !status.is_empty() && status.len() <= 255 {
                others.insert(Arc::clone(status));
            }
        }
        others.into_iter().take(MOST_OTHER_STATUSES).collect()
    }

    /// The unfiltered `total_count` as it is now, with as little else as possible. Without it, all that
    /// was read is but a part; so it is worth a second attempt.
    async fn total(&self) -> Option<i64> {
        let mut page = self.ask(&Filter::all(), 0, 1).await;
        if page.is_err() {
            page = self.ask(&Filter::all(), 0, 1).await;
        }
        let total = page.ok()?.total;
        self.lock().total = total;
        total
    }
}

/// How many desktops are beyond the reach of their status's listing, which no second reading helps.
fn beyond(shards: &[Pages], total: i64) -> i64 {
    shards
        .iter()
        .filter(|pages| pages.is_oversized)
        .map(|pages| pages.total.map_or(total, |all| all - pages.found))
        .sum()
}
