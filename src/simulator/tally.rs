//! What a server counts, for tests to ask about.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::api::Call;

/// So many arrivals are remembered, the newest: 3 MiB.
const REMEMBERED: usize = 200_000;

/// What came and what became of it, since the server started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Requests of any kind.
    pub requests: u64,
    /// Requests for `connect-desktops`.
    pub listing: u64,
    /// Requests for `connections/status`.
    pub statistics: u64,
    /// Requests that would exchange a password for a token.
    pub exchanges: u64,
    /// Requests for the projects.
    pub projects: u64,
    /// Requests that a fault befell.
    pub faulty: u64,
    /// Tokens given out.
    pub tokens: u64,
    /// Requests refused because the server's own limit of the rate was reached; not those that a
    /// fault throttled.
    pub throttled: u64,
    /// How often the access key was locked.
    pub locks: u64,
    /// Requests refused by a documented limit: of the offset, the page, the names, the length of
    /// the address.
    pub violations: u64,
    /// Requests that wait for their answers now.
    pub at_once: u64,
    /// The most that ever did.
    pub most_at_once: u64,
    /// When requests for desktops or statistics came, oldest first; of very many, the newest.
    pub arrivals: VecDeque<Instant>,
}

impl Tally {
    /// The most requests for desktops or statistics that came within any stretch of this length.
    #[must_use]
    pub fn most_within(&self, window: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (at, arrival) in self.arrivals.iter().enumerate() {
            while arrival.duration_since(self.arrivals[first]) >= window {
                first += 1;
            }
            most = most.max(at + 1 - first);
        }
        most
    }
}

/// The tally that requests add to.
#[derive(Default)]
pub(super) struct Counting(Mutex<Tally>);

impl Counting {
    pub fn lock(&self) -> MutexGuard<'_, Tally> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// Counts a request as being answered until what is given back is dropped.
    pub fn under_way(&self) -> UnderWay<'_> {
        let mut tally = self.lock();
        tally.at_once += 1;
        tally.most_at_once = tally.most_at_once.max(tally.at_once);
        UnderWay(self)
    }

    /// Counts a request and tells its number.
    pub fn arrived(&self, call: Option<Call<'_>>) -> u64 {
        let mut tally = self.lock();
        let number = tally.requests;
        tally.requests += 1;
        match call {
            Some(Call::Listing(_)) => tally.listing += 1,
            Some(Call::Statistics(_)) => tally.statistics += 1,
            Some(Call::Tokens) => tally.exchanges += 1,
            Some(Call::Projects) => tally.projects += 1,
            None => {}
        }
        if call.is_some_and(Call::is_limited) {
            if tally.arrivals.len() == REMEMBERED {
                tally.arrivals.pop_front();
            }
            tally.arrivals.push_back(Instant::now());
        }
        number
    }
}

/// A request that waits for its answer, or whose client has not gone away yet.
pub(super) struct UnderWay<'a>(&'a Counting);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.lock().at_once -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_stretch_is_found() {
        let begin = Instant::now();
        let arrivals = [0, 900, 1000, 1500, 1899, 4000].map(|at| begin + Duration::from_millis(at));
        let tally = Tally { arrivals: arrivals.into(), ..Tally::default() };
        assert_eq!(tally.most_within(Duration::from_secs(1)), 4);
        assert_eq!(tally.most_within(Duration::from_millis(100)), 1);
        assert_eq!(Tally::default().most_within(Duration::from_secs(1)), 0);
    }
}
