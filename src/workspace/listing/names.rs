//! Desktops that are missing, by their users' names.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;

use super::known;
use super::read::{NoPage, ROUNDS, Reader};
use super::request::{Batch, Filter, Page, Request, STATUSES};
use crate::workspace::ApiError;

/// How many requests may go into making sure that desktops are gone.
const MOST_ASSURANCES: usize = 10;

/// Names that are still to be asked for.
struct Queue {
    /// A name, and the desktop that it is asked for; nobody asks for one that has come meanwhile.
    names: VecDeque<(Arc<str>, Option<Arc<str>>)>,
    /// Parts of batches that were too much at once.
    split: Vec<Vec<Arc<str>>>,
    /// How many requests may still be sent.
    left: usize,
}

impl<Fetch, F> Reader<'_, Fetch>
where
    Fetch: Fn(Request, bool) -> F,
    F: Future<Output = Result<Page, ApiError>>,
{
    /// Asks for the desktops that an earlier listing had and this one has not; for those that do not come
    /// once more, in case an answer was incomplete, and then for as long as that brings any.
    pub(super) async fn missing(&self, total: i64) {
        for attempt in 0..ROUNDS {
            let [due, _] = self.missing_ids();
            if attempt > 0 {
                let mut state = self.lock();
                for name in due.iter().flat_map(|id| self.known.names(id)) {
                    state.asked.remove(name);
                }
            }
            let before = self.lock().seen.count();
            self.ask_for(due, Some(total), usize::MAX).await;
            let is_in_vain = attempt > 0 && self.lock().seen.count() == before;
            if is_in_vain || self.is_enough(total) {
                break;
            }
        }
    }

    /// Asks on suspicion: for the other desktops of all users that this listing names, and for those that
    /// were asked for in vain of late. Where there are too many, each visit takes others.
    pub(super) async fn suspected(&self, total: i64) {
        let mut users = BTreeSet::new();
        loop {
            let [_, early] = self.missing_ids();
            let names: BTreeSet<Arc<str>> = {
                let state = self.lock();
                let named = state.seen.desktops().iter();
                let named = named.flat_map(|desktop| known::names(desktop.users.entries()));
                let early = early.iter().flat_map(|id| self.known.names(id));
                named.chain(early).filter(|name| !state.asked.contains(*name)).cloned().collect()
            };
            // The names that the answers bring are asked for too.
            if names.is_empty() || names.is_subset(&users) || self.is_enough(total) {
                return;
            }
            let mut order: VecDeque<_> =
                names.difference(&users).map(|name| (Arc::clone(name), None)).collect();
            let rotation = self.known.visits as usize * self.limits.suspicions.min(order.len());
            let rotation = rotation % order.len();
            order.rotate_left(rotation);
            users.extend(names);
            let before = self.lock().seen.count();
            self.drain(order, Some(total), self.limits.suspicions).await;
            let mut state = self.lock();
            let has_found = state.seen.count() > before;
            *state.suspicion.get_or_insert(false) |= has_found;
            drop(state);
            if self.limits.suspicions < usize::MAX {
                return;
            }
        }
    }

    /// Where some desktops are new and others gone, looks for those that seem gone.
    pub(super) async fn look_for_hidden(&self) {
        let gone: Vec<Arc<str>> = {
            let state = self.lock();
            if state.seen.desktops().iter().all(|desktop| self.known.has(&desktop.id)) {
                return;
            }
            self.known.ids().filter(|id| !state.seen.has(id)).cloned().collect()
        };
        self.ask_for(gone, None, MOST_ASSURANCES).await;
    }

    fn missing_ids(&self) -> [Vec<Arc<str>>; 2] {
        let state = self.lock();
        self.known.missing(|id| state.seen.has(id))
    }

    async fn ask_for(&self, ids: Vec<Arc<str>>, total: Option<i64>, most: usize) {
        let mut names = VecDeque::new();
        for id in ids {
            names.extend(
                self.known.names(&id).map(|name| (Arc::clone(name), Some(Arc::clone(&id)))),
            );
        }
        self.drain(names, total, most).await;
    }

    /// Asks until nothing is left, or as many as `total` were read.
    async fn drain(
        &self,
        names: VecDeque<(Arc<str>, Option<Arc<str>>)>,
        total: Option<i64>,
        most: usize,
    ) {
        let queue = Mutex::new(Queue { names, split: Vec::new(), left: most });
        let workers = (0..self.concurrency).map(|_| async {
            while !self.is_enough(total.unwrap_or(i64::MAX)) {
                let Some(batch) = self.next_batch(&queue) else { break };
                let parts = self.ask_names(&batch).await;
                queue.lock().expect("nobody panics while holding it").split.extend(parts);
            }
        });
        join_all(workers).await;
    }

    fn next_batch(&self, queue: &Mutex<Queue>) -> Option<Vec<Arc<str>>> {
        let mut queue = queue.lock().expect("nobody panics while holding it");
        if queue.left == 0 {
            return None;
        }
        queue.left -= 1;
        if let Some(part) = queue.split.pop() {
            return Some(part);
        }
        let mut state = self.lock();
        let mut batch = Batch::default();
        while let Some((name, id)) = queue.names.front() {
            let is_settled = id.as_ref().is_some_and(|id| state.seen.has(id));
            if !is_settled && !state.asked.contains(name) {
                if !batch.take(name) {
                    break;
                }
                state.asked.insert(Arc::clone(name));
            }
            if let Some(id) = id
                && !is_settled
            {
                state.asked_for.insert(Arc::clone(id));
            }
            queue.names.pop_front();
        }
        batch.finish()
    }

    /// Asks for all desktops of some users; gives the parts to ask for instead where that was too much.
    async fn ask_names(&self, names: &[Arc<str>]) -> Vec<Vec<Arc<str>>> {
        let halves = || {
            let (one, other) = names.split_at(names.len() / 2);
            vec![one.to_vec(), other.to_vec()]
        };
        let filter = Filter::names(names);
        let first = match self.first(&filter).await {
            Ok(first) => first,
            Err(NoPage::Refused) if names.len() > 1 => return halves(),
            Err(_) => return Vec::new(),
        };
        let is_too_much = first.total.is_some_and(|total| {
            total > self.reach() && self.counts_what_it_filters(&first, total)
        });
        if is_too_much && names.len() > 1 {
            return halves();
        }
        let pages = self.rest(&filter, first).await;
        if pages.is_oversized && names.len() > 1 {
            return halves();
        }
        if pages.is_oversized {
            // A single user with more desktops than a listing reaches, by status then.
            self.lock().owners.extend(names.iter().cloned());
            let others = self.other_statuses();
            let statuses = STATUSES.into_iter().map(Arc::from).chain(others);
            let filters: Vec<Filter> = statuses
                .map(|status| Filter { status: Some(status), names: names.into() })
                .collect();
            join_all(filters.iter().map(|filter| self.pages(filter))).await;
        }
        Vec::new()
    }
}
