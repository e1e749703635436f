//! One visit's listing, from the first page to the verdict.

use std::collections::{BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Known;
use super::request::{Filter, Limits, Page, Request};
use super::seen::Seen;
use crate::domain::Listing;
use crate::workspace::{ApiError, Kind};

/// Reading a listing again helps against rows that shift, not against an API that miscounts.
pub(super) const ROUNDS: usize = 3;
/// After so many requests in a row that failed for good, the rest would too.
const MOST_FAILURES: u32 = 3;

/// What was read in all.
#[derive(Debug)]
pub(in crate::workspace) struct Reading {
    /// `total_count`; `None` where there was none, or where it changed on the way.
    pub total: Option<i64>,
    /// The desktops; `None`: not one page could be read.
    pub desktops: Option<Listing>,
    /// Why some are missing, where a request failed.
    pub failure: Option<ApiError>,
    /// How it was read, for whoever wonders about the number of requests.
    pub plan: String,
    /// Why desktops are missing though every request was answered.
    pub lack: Option<String>,
    /// Those that were asked for by name, and not found.
    pub in_vain: HashSet<Arc<str>>,
    /// Whether asking on suspicion brought anything; `None`: nobody was asked so.
    pub suspicion: Option<bool>,
}

/// Reads the listing. `fetch` is given the request, and whether it is worth being repeated.
pub(in crate::workspace) async fn read<Fetch, F>(
    limits: Limits,
    concurrency: usize,
    deadline: Instant,
    known: &Known,
    fetch: Fetch,
) -> Reading
where
    Fetch: Fn(Request, bool) -> F,
    F: Future<Output = Result<Page, ApiError>>,
{
    let permits = Semaphore::new(concurrency.max(1));
    let state = Mutex::new(State { stride: limits.page_size, ..State::default() });
    let reader = Reader { limits, concurrency, deadline, known, fetch, permits, state };
    let total = reader.run().await;
    reader.finish(total)
}

/// One visit's listing while it is read.
pub(super) struct Reader<'a, Fetch> {
    pub limits: Limits,
    pub concurrency: usize,
    pub deadline: Instant,
    pub known: &'a Known,
    fetch: Fetch,
    permits: Semaphore,
    state: Mutex<State>,
}

/// What has come of it so far.
#[derive(Default)]
pub(super) struct State {
    /// What this round read.
    pub seen: Seen,
    /// What earlier rounds read, which is worth something where no round comes out whole.
    earlier: Seen,
    /// Whether any page was read.
    is_sighted: bool,
    /// Whether one round read all.
    is_whole: bool,
    failure: Option<ApiError>,
    failures_in_a_row: u32,
    has_given_up: bool,
    /// How far pages are apart; smaller than asked for where the server has a limit of its own.
    pub stride: u32,
    /// The unfiltered `total_count`.
    pub total: Option<i64>,
    /// Users with more desktops than one listing reaches.
    pub owners: BTreeSet<Arc<str>>,
    /// The names that this round has asked for.
    pub asked: HashSet<Arc<str>>,
    /// The desktops that were asked for by name.
    pub asked_for: HashSet<Arc<str>>,
    /// Whether asking on suspicion brought anything.
    pub suspicion: Option<bool>,
    /// How many records came without an id.
    nameless: usize,
    /// How many desktops are beyond the reach of their status's listing.
    pub beyond: i64,
    pub counts: Counts,
}

/// Requests by what they asked for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub unfiltered: u32,
    pub by_status: u32,
    pub by_name: u32,
    pub rounds: u32,
}

impl Counts {
    fn of(&mut self, filter: &Filter) -> &mut u32 {
        match (&filter.status, filter.names.is_empty()) {
            (None, true) => &mut self.unfiltered,
            (Some(_), true) => &mut self.by_status,
            (_, false) => &mut self.by_name,
        }
    }
}

/// What a page came to: its desktops are among the seen ones already.
#[derive(Debug)]
pub(super) struct Facts {
    pub total: Option<i64>,
    pub records: usize,
    pub ids: Vec<Arc<str>>,
}

/// Why there is no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPage {
    /// The request itself is not taken: too long, or with something in it that the server refuses.
    Refused,
    /// It failed, or was left out after others did.
    Failed,
}

impl<Fetch, F> Reader<'_, Fetch>
where
    Fetch: Fn(Request, bool) -> F,
    F: Future<Output = Result<Page, ApiError>>,
{
    /// Reads, and says what the total is; `None` where it did not stand still.
    async fn run(&self) -> Option<i64> {
        let mut total = None;
        let mut is_steady = true;
        let mut before = None;
        for round in 0..ROUNDS {
            if round > 0 {
                self.begin_again();
            }
            let Ok(first) = self.first(&Filter::all()).await else { break };
            if let Some(beyond) = first.total.filter(|total| *total > self.reach()) {
                return self.shards(Some(first), beyond).await;
            }
            let pages = self.rest(&Filter::all(), first).await;
            is_steady &= !pages.changed && (round == 0 || total == pages.total);
            total = pages.total;
            let Some(stands) = total.filter(|_| !pages.changed) else {
                if pages.is_oversized {
                    // As many as can be had, though nobody says how many there are.
                    return self.shards(None, i64::MAX).await;
                }
                if self.has_given_up() || !pages.changed {
                    break;
                }
                continue;
            };
            if !self.is_enough(stands) {
                self.missing(stands).await;
            }
            if self.is_whole(stands).await {
                self.conclude();
                return total;
            }
            // What failed before and now brings nothing new would fail again.
            let count = self.lock().seen.count();
            if self.has_given_up() || (pages.failed && before == Some(count)) {
                break;
            }
            before = Some(count);
        }
        total.filter(|_| is_steady)
    }

    /// Whether exactly `total` desktops were read, and none of them hides another. Where some are new
    /// and others gone, the count alone could be right by chance: a desktop that was skipped while
    /// one joined and one left. So those that seem gone are asked for by name.
    pub(super) async fn is_whole(&self, total: i64) -> bool {
        if self.lock().seen.count() != total {
            return false;
        }
        self.look_for_hidden().await;
        self.lock().seen.count() == total
    }

    /// Sends one request; its desktops are among the seen ones from then on.
    pub(super) async fn ask(
        &self,
        filter: &Filter,
        offset: u32,
        limit: u32,
    ) -> Result<Facts, NoPage> {
        let _permit = self.permits.acquire().await.expect("nobody closes it");
        let is_patient = {
            let mut state = self.lock();
            if state.has_given_up {
                return Err(NoPage::Failed);
            }
            *state.counts.of(filter) += 1;
            // After a failure the others are tried once each, until one succeeds: a dead server must
            // not cost a long wait for each of them, and a single bad page nobody else's patience.
            state.failures_in_a_row == 0 && (state.failure.is_none() || state.counts.rounds == 0)
        };
        let request = Request { filter: filter.clone(), offset, limit };
        let page = (self.fetch)(request, is_patient).await;
        let mut state = self.lock();
        if page.as_ref().is_err_and(|error| matches!(error.kind, Kind::Budget | Kind::Withheld)) {
            *state.counts.of(filter) -= 1;
        }
        match page {
            Ok(page) => {
                state.failures_in_a_row = 0;
                state.is_sighted = true;
                state.nameless += page.records.saturating_sub(page.desktops.len());
                let ids = page.desktops.iter().map(|desktop| Arc::clone(&desktop.id)).collect();
                state.seen.add(page.desktops);
                Ok(Facts { total: page.total, records: page.records, ids })
            }
            // Half as many names may be taken.
            Err(error) if is_refused(&error) && filter.names.len() > 1 => Err(NoPage::Refused),
            Err(error) => {
                let is_refused = is_refused(&error) && !filter.names.is_empty();
                if !is_refused {
                    state.failures_in_a_row += 1;
                    state.has_given_up |=
                        state.failures_in_a_row >= MOST_FAILURES || ends_everything(&error);
                }
                // The first failure is the cause; those after it follow from it.
                state.failure.get_or_insert(error);
                Err(if is_refused { NoPage::Refused } else { NoPage::Failed })
            }
        }
    }

    /// Whether as many as there are were read, or no more can be.
    pub(super) fn is_enough(&self, total: i64) -> bool {
        let state = self.lock();
        state.seen.count() >= total || state.has_given_up
    }

    /// Whether nothing more is sent.
    pub(super) fn has_given_up(&self) -> bool {
        self.lock().has_given_up
    }

    /// Begins a round that adds to what was read.
    pub(super) fn ask_again(&self) {
        let mut state = self.lock();
        state.asked.clear();
        state.counts.rounds += 1;
    }

    /// Puts what was read aside, and begins a round of its own.
    pub(super) fn begin_again(&self) {
        self.ask_again();
        let mut state = self.lock();
        let seen = std::mem::take(&mut state.seen);
        state.earlier.add(seen.into_desktops());
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics while holding it")
    }

    /// Notes that this round alone says how it is: what only an earlier one saw is gone by now.
    pub(super) fn conclude(&self) {
        let mut state = self.lock();
        state.earlier = Seen::default();
        state.is_whole = true;
    }

    fn finish(self, total: Option<i64>) -> Reading {
        let State {
            seen,
            mut earlier,
            is_sighted,
            is_whole,
            failure,
            asked_for,
            suspicion,
            nameless,
            beyond,
            total: latest,
            counts,
            ..
        } = self.state.into_inner().expect("nobody panics while holding it");
        let in_vain = asked_for.into_iter().filter(|id| !seen.has(id)).collect();
        earlier.add(seen.into_desktops());
        // As many as there should be, but not in one round, may be somebody gone in another one's place.
        let total = total.filter(|total| is_whole || *total != earlier.count());
        let lack = match (latest, total) {
            _ if is_whole || !is_sighted || failure.is_some() => None,
            (None, _) => Some("the API gave no total_count".to_owned()),
            (_, None) => Some("total_count did not stand still".to_owned()),
            _ if nameless > 0 => Some(format!("records without an id came, {nameless} in all")),
            (_, Some(total)) if earlier.count() > total => {
                Some("more desktops came than total_count says".to_owned())
            }
            _ if beyond > 0 => Some(format!(
                "{beyond} are beyond the reach of their status's listing, and not all their users known"
            )),
            _ => Some("the pages brought fewer desktops than total_count says".to_owned()),
        };
        Reading {
            total,
            lack,
            desktops: is_sighted.then(|| earlier.into_listing()),
            // What another request has made up for is no failure.
            failure: failure.filter(|_| !is_whole),
            plan: counts.to_string(),
            in_vain,
            suspicion,
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} unfiltered", self.unfiltered)?;
        for (count, how) in [(self.by_status, "by status"), (self.by_name, "by user names")] {
            if count > 0 {
                write!(f, ", {count} {how}")?;
            }
        }
        match self.rounds {
            0 => Ok(()),
            1 => write!(f, "; read again once"),
            rounds => write!(f, "; read again {rounds} times"),
        }
    }
}

/// Whether fewer names in the request may help.
fn is_refused(error: &ApiError) -> bool {
    // 494 is how some gateways say that the headers, the request's line among them, are too long.
    error.kind == Kind::Api && matches!(error.status, Some(400 | 413 | 414 | 431 | 494))
}

/// Whether every other request would fail likewise.
fn ends_everything(error: &ApiError) -> bool {
    use Kind::{Budget, Connect, Redirect, Request, Withheld};

    matches!(error.kind, Budget | Connect | Redirect | Request | Withheld)
        || matches!(error.status, Some(401 | 403 | 404))
}
