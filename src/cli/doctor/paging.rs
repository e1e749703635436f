//! How far listings reach against the size of the fleet, and whether a visit fits into its time.

use super::check::Check;
use super::pace::Times;
use crate::workspace::MOST_SUSPICIONS;

/// A request may name so many users.
const NAMES: i64 = 100;

/// What was asked, and what the server said.
#[derive(Clone, Copy, Debug)]
pub(super) struct Paging {
    /// The fleet.
    pub total: i64,
    pub page_size: u32,
    pub max_offset: u32,
    /// The totals of the four documented statuses, where they were asked for.
    pub statuses: Option<[i64; 4]>,
    /// Whether the server takes an offset at the fleet's end, beyond `max_offset`.
    pub takes_more: Option<bool>,
    /// How many desktops the ledger knows with their users, and how many users those are; `None`: nobody
    /// knows.
    pub roster: Option<(i64, i64)>,
    /// The time that visits have, and their account's pace.
    pub times: Times,
    pub requests_per_minute: u32,
}

/// What a visit comes to.
struct Visit {
    /// Where it is known whose the desktops are.
    requests: i64,
    /// Where that is not known, and other users' names are tried.
    most: i64,
    /// Desktops that only their users' names can find.
    by_name: i64,
    /// Whether the statuses told how many pages there are.
    is_known: bool,
}

impl Paging {
    /// The most desktops that one listing brings.
    pub fn reach(&self) -> i64 {
        i64::from(self.max_offset) + i64::from(self.page_size)
    }

    fn pages(&self, desktops: i64) -> i64 {
        // An empty listing is a request too.
        (desktops.min(self.reach()) + i64::from(self.page_size) - 1).max(1)
            / i64::from(self.page_size)
    }

    /// How many requests a visit takes at most.
    pub fn takes(&self) -> i64 {
        self.visit().most
    }

    /// The desktops beyond the reach of their status's listing that the ledger may not know: at most so
    /// many. It may know others than those.
    fn unlisted(&self, by_name: i64) -> i64 {
        let known = self.roster.map_or(0, |(desktops, _)| desktops);
        by_name.min((self.total - known).max(0))
    }

    /// What lets a visit read desktops that only their users' names can find, and nobody knows.
    fn remedy(&self) -> String {
        let mut ways = Vec::new();
        match self.takes_more {
            Some(true) => ways.push(format!(
                "the server takes larger offsets: set `max_offset = {}`",
                self.needed_offset()
            )),
            Some(false) => ways.push("the server takes no larger `max_offset`".to_owned()),
            None => ways.push("try a larger `max_offset`".to_owned()),
        }
        if self.page_size < 2000 {
            ways.push("`page_size = 2000` reaches further if the server takes it".to_owned());
        }
        ways.push(
            "one complete snapshot from elsewhere (`deskledger import`) makes the users known"
                .to_owned(),
        );
        ways.join("; ")
    }

    fn visit(&self) -> Visit {
        let statistics = 1;
        if self.total <= self.reach() {
            let requests = self.pages(self.total).max(1) + statistics;
            return Visit { requests, most: requests, by_name: 0, is_known: true };
        }
        // The first page, which shows that more is needed, and the total once more at the end.
        let around = 2;
        match self.statuses {
            Some(statuses) if statuses != [self.total; 4] => {
                let beyond = |desktops: i64| (desktops - self.reach()).max(0);
                let by_name: i64 = statuses.into_iter().map(beyond).sum();
                let others = (self.total - statuses.into_iter().sum::<i64>()).max(0);
                let by_name = by_name + others;
                let pages: i64 = statuses.into_iter().map(|one| self.pages(one).max(1)).sum();
                let names = (by_name + NAMES - 1) / NAMES;
                let requests = around + pages + names + statistics;
                // The rest of the unfiltered pages, and names on suspicion.
                let more = self.pages(self.total) - 1 + MOST_SUSPICIONS as i64;
                let most = if by_name > 0 { requests + more } else { requests };
                Visit { requests, most, by_name, is_known: true }
            }
            _ => {
                let pages = self.total / i64::from(self.page_size) + 4;
                let requests = around + pages + statistics;
                Visit { requests, most: requests, by_name: 0, is_known: false }
            }
        }
    }

    /// The verdict.
    pub fn check(&self) -> Check {
        const NAME: &str = "paging";
        let visit = self.visit();
        let fit = self.times.fit(self.requests_per_minute);
        let reach = self.reach();
        let mut found = if self.total <= reach {
            format!("{} desktops, and one listing reaches {reach}", self.total)
        } else {
            let how = match self.statuses {
                Some(_) if !visit.is_known => {
                    "and filtered totals count everything, so nobody knows how they are spread"
                        .into()
                }
                Some([connected, disconnected, registered, unregister]) => format!(
                    "so they are listed by status: {connected} connected, {disconnected} disconnected, \
                     {registered} registered, {unregister} unregistered"
                ),
                None => "so they are listed by status".to_owned(),
            };
            format!("{} desktops, one listing reaches {reach}, {how}", self.total)
        };
        let unlisted = self.unlisted(visit.by_name);
        if visit.by_name > 0 {
            found.push_str(&format!(
                "; {} are beyond that, and found only by their users' names; {}",
                visit.by_name,
                match (self.roster, unlisted) {
                    (None, _) => "how many of those the ledger knows cannot be read".to_owned(),
                    (Some((desktops, users)), 0) =>
                        format!("the ledger knows {desktops} desktops of {users} users"),
                    (Some((desktops, users)), _) => format!(
                        "the ledger knows {desktops} desktops of {users} users, so up to {unlisted} stay unlisted until it knows theirs"
                    ),
                }
            ));
        }
        let up_to = if visit.most > visit.requests {
            format!(" (up to {} while the users are not known)", visit.most)
        } else {
            String::new()
        };
        let about = if visit.is_known { "" } else { "at least " };
        found.push_str(&format!(
            "; a visit takes {about}{} requests{up_to}, {fit} fit into {} at {} a minute",
            visit.requests,
            self.times.described(),
            self.requests_per_minute
        ));
        let larger = (self.takes_more == Some(true)).then(|| {
            format!("the server takes larger offsets: set `max_offset = {}`", self.needed_offset())
        });
        let is_slow = visit.most > fit;
        let mut advice = Vec::new();
        if unlisted > 0 {
            advice.push(self.remedy());
        } else if is_slow {
            advice.extend(larger.clone());
        }
        if is_slow {
            let more = "for more requests a visit: a longer `interval`, a larger `requests_per_minute` if the account is allowed more, or a larger `page_size`";
            advice.push(more.to_owned());
        }
        if !advice.is_empty() {
            return Check::warning(NAME, found, advice.join("; "));
        }
        match larger {
            Some(larger) => Check::ok(NAME, found).advising(format!("{larger} to save requests")),
            None => Check::ok(NAME, found),
        }
    }

    /// An offset that leaves room to grow; the larger one of the two that the vendor documents, where
    /// it suffices.
    fn needed_offset(&self) -> i64 {
        if self.total < 100_000 { 100_000 } else { self.total * 2 }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::check::State;
    use super::*;

    fn times(step: u64, visit: u64) -> Times {
        Times { step: Duration::from_secs(step), visit: Duration::from_secs(visit) }
    }

    fn paging(total: i64) -> Paging {
        Paging {
            total,
            page_size: 1000,
            max_offset: 2000,
            statuses: None,
            takes_more: None,
            roster: Some((0, 0)),
            times: times(300, 240),
            requests_per_minute: 180,
        }
    }

    #[test]
    fn requests_are_counted_as_a_visit_sends_them() {
        for (total, requests) in [(0, 2), (1, 2), (1000, 2), (1001, 3), (3000, 4)] {
            assert_eq!(paging(total).visit().requests, requests, "{total}");
        }
        let spread = Paging { statuses: Some([900, 100, 2500, 500]), ..paging(4000) };
        assert_eq!(spread.visit().requests, 2 + 1 + 1 + 3 + 1 + 1);
        let lopsided = Paging { statuses: Some([0, 0, 3950, 0]), ..paging(4000) };
        let visit = lopsided.visit();
        assert_eq!((visit.by_name, visit.requests), (1000, 2 + 3 + 3 + 10 + 1));
        assert_eq!(visit.most, visit.requests + 2 + 100);
        assert_eq!(spread.visit().most, spread.visit().requests);
    }

    #[test]
    fn a_fleet_that_fits_is_fine() {
        let check = paging(2900).check();
        assert_eq!(check.state, State::Ok);
        assert_eq!(
            check.found,
            "2900 desktops, and one listing reaches 3000; a visit takes 4 requests, 720 fit into its 4m at 180 a minute"
        );
        let spread = Paging { statuses: Some([900, 100, 2500, 500]), ..paging(4000) };
        assert_eq!(spread.check().state, State::Ok);
        let larger = Paging { takes_more: Some(true), ..spread }.check();
        assert!(
            larger.state == State::Ok && larger.advice.unwrap().contains("`max_offset = 100000`")
        );
    }

    #[test]
    fn what_does_not_fit_says_what_would() {
        let slow = Paging { requests_per_minute: 0, ..paging(2900) }.check();
        assert_eq!(slow.state, State::Warning);
        assert!(slow.advice.unwrap().contains("longer `interval`"));
        let lopsided = Paging { statuses: Some([0, 0, 3950, 0]), ..paging(4000) };
        let check = Paging { takes_more: Some(false), ..lopsided }.check();
        assert_eq!(check.state, State::Warning);
        assert!(check.found.contains("1000 are beyond that"), "{}", check.found);
        assert!(
            check.found.contains("knows 0 desktops of 0 users, so up to 1000 stay unlisted"),
            "{}",
            check.found
        );
        let advice = check.advice.unwrap();
        for way in ["takes no larger `max_offset`", "`page_size = 2000`", "`deskledger import`"] {
            assert!(advice.contains(way), "{advice}");
        }
        assert!(!advice.contains("`interval`"), "time brings none of them: {advice}");
        // As after some visits, and where the rest was imported.
        let found = |roster| Paging { roster, ..lopsided }.check();
        let some = found(Some((3300, 2900)));
        assert_eq!(some.state, State::Warning);
        assert!(some.found.contains("3300 desktops of 2900 users, so up to 700 stay"), "{some:?}");
        assert_eq!(found(Some((3950 + 50, 3000))).state, State::Ok);
        assert_eq!(found(None).state, State::Warning);
        let slow = Paging { requests_per_minute: 12, ..lopsided }.check();
        assert!(slow.found.contains("19 requests (up to 121 while"), "{}", slow.found);
        assert!(slow.advice.unwrap().contains("longer `interval`"));
        let check = Paging { takes_more: Some(true), ..lopsided }.check();
        assert!(check.advice.unwrap().contains("`max_offset = 100000`"));
    }

    #[test]
    fn a_hundred_thousand_are_not_made_complete_by_time_alone() {
        let fleet = Paging { statuses: Some([25_000; 4]), ..paging(100_000) };
        let rich = Paging { requests_per_minute: 6000, ..fleet }.check();
        assert_eq!(rich.state, State::Warning);
        assert!(rich.found.contains("up to 88000 stay unlisted"), "{}", rich.found);
        let poor = Paging { requests_per_minute: 100, takes_more: Some(true), ..fleet }.check();
        let advice = poor.advice.unwrap();
        for way in ["`max_offset = 200000`", "`deskledger import`", "longer `interval`"] {
            assert!(advice.contains(way), "{advice}");
        }
    }

    #[test]
    fn twelve_thousand_each_ten_seconds_are_too_many_for_twenty_a_minute() {
        let fleet = Paging { statuses: Some([3000; 4]), ..paging(12_000) };
        let check = Paging { times: times(10, 8), requests_per_minute: 20, ..fleet }.check();
        assert_eq!(check.state, State::Warning);
        let words =
            "a visit takes 15 requests, 3 fit into the 10s between two visits at 20 a minute";
        assert!(check.found.ends_with(words), "{}", check.found);
        assert_eq!(fleet.check().state, State::Ok);
    }

    #[test]
    fn totals_that_count_everything_tell_nothing() {
        let check = Paging { statuses: Some([4000; 4]), ..paging(4000) }.check();
        assert!(check.found.contains("at least "), "{}", check.found);
    }
}
