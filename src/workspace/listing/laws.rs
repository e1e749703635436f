//! Whatever the fleet: no request outside the documented limits, and everything read that can be.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::read::{Reading, read};
use super::request::STATUSES;
use super::*;
use crate::domain::{AttachUser, AttachUsers, Desktop};
use crate::workspace::sign;

/// A fleet that stands still.
#[derive(Clone)]
pub(super) struct Fleet {
    pub desktops: Vec<Desktop>,
    by_status: BTreeMap<Option<Arc<str>>, Vec<usize>>,
    by_name: BTreeMap<Arc<str>, Vec<usize>>,
}

impl std::fmt::Debug for Fleet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let statuses = self.by_status.iter().map(|(status, places)| (status, places.len()));
        let largest = self.by_name.values().map(Vec::len).max();
        write!(f, "{} desktops: {:?}, ", self.desktops.len(), statuses.collect::<Vec<_>>())?;
        write!(f, "{} users with up to {largest:?}", self.by_name.len())
    }
}

pub(super) fn user(name: &str) -> AttachUser {
    AttachUser { kind: Some("USER".into()), id: None, name: Some(name.into()), user_group: None }
}

pub(super) fn desktop(id: usize, status: Option<&str>, users: &[&str]) -> Desktop {
    Desktop {
        id: format!("d{id:06}").into(),
        name: None,
        status: status.map(Arc::from),
        users: AttachUsers::new(users.iter().map(|name| user(name)).collect()),
    }
}

impl Fleet {
    pub fn new(desktops: Vec<Desktop>) -> Self {
        let (mut by_status, mut by_name) = (BTreeMap::<_, Vec<_>>::new(), BTreeMap::new());
        for (at, desktop) in desktops.iter().enumerate() {
            by_status.entry(desktop.status.clone()).or_default().push(at);
            for user in desktop.users.entries() {
                let name = user.name.clone().unwrap();
                let places: &mut Vec<usize> = by_name.entry(name).or_default();
                places.push(at);
            }
        }
        Self { desktops, by_status, by_name }
    }

    /// The places of what a filter leaves, in the listing's order.
    pub fn places(&self, filter: &request::Filter) -> Vec<usize> {
        if filter.names.is_empty() {
            return match &filter.status {
                Some(status) => {
                    self.by_status.get(&Some(Arc::clone(status))).cloned().unwrap_or_default()
                }
                None => (0..self.desktops.len()).collect(),
            };
        }
        let mut places: Vec<usize> = filter
            .names
            .iter()
            .flat_map(|name| self.by_name.get(name).cloned().unwrap_or_default())
            .filter(|at| filter.status.is_none() || self.desktops[*at].status == filter.status)
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// A page, as a strict server gives it.
    pub fn page(&self, limits: Limits, request: &Request, counts_everything: bool) -> Page {
        assert!(request.offset <= limits.max_offset, "offset {}", request.offset);
        assert!((1..=limits.page_size).contains(&request.limit), "limit {}", request.limit);
        assert!(request.filter.names.len() <= 100);
        assert!(sign::canonical_query(&request.query()).len() <= 6_200);
        let (count, places) = if request.filter.is_all() {
            let end = (request.offset + request.limit) as usize;
            let end = end.min(self.desktops.len());
            (self.desktops.len(), (request.offset as usize..end).collect())
        } else {
            let places = self.places(&request.filter);
            let count = places.len();
            let places = places.into_iter().skip(request.offset as usize);
            (count, places.take(request.limit as usize).collect::<Vec<_>>())
        };
        let count = if counts_everything { self.desktops.len() } else { count };
        Page {
            total: i64::try_from(count).ok(),
            records: places.len(),
            desktops: places.iter().map(|at| self.desktops[*at].clone()).collect(),
        }
    }

    /// Everything that any order of requests can bring, given the desktops known before: worked out
    /// without the code under test.
    fn within_reach(&self, limits: Limits, known: &[Desktop]) -> HashSet<Arc<str>> {
        let reach = (limits.max_offset + limits.page_size) as usize;
        let mut found: BTreeSet<usize> = (0..reach.min(self.desktops.len())).collect();
        let id = |at: &usize| Arc::clone(&self.desktops[*at].id);
        if self.desktops.len() <= reach {
            return found.iter().map(id).collect();
        }
        let mut statuses: BTreeSet<Arc<str>> = STATUSES.into_iter().map(Arc::from).collect();
        statuses.extend(known.iter().filter_map(|desktop| desktop.status.clone()));
        let mut names: BTreeSet<Arc<str>> = BTreeSet::new();
        loop {
            let before = (found.len(), names.len());
            for at in &found {
                statuses.extend(self.desktops[*at].status.clone());
            }
            for status in &statuses {
                let places = self.by_status.get(&Some(Arc::clone(status)));
                found.extend(places.into_iter().flatten().take(reach));
            }
            let seen = found.iter().map(|at| &self.desktops[*at]);
            for desktop in known.iter().chain(seen) {
                names.extend(desktop.users.entries().iter().filter_map(|user| user.name.clone()));
            }
            for name in &names {
                let Some(places) = self.by_name.get(name) else { continue };
                found.extend(places.iter().take(reach));
                for status in &statuses {
                    let with = places
                        .iter()
                        .filter(|at| self.desktops[**at].status.as_deref() == Some(&**status));
                    found.extend(with.take(reach));
                }
            }
            if before == (found.len(), names.len()) {
                return found.iter().map(id).collect();
            }
        }
    }
}

pub(super) fn known(desktops: &[Desktop]) -> Known {
    let mut known = Known::default();
    known.learn(desktops, true, &HashSet::new());
    known
}

/// Reads a fleet that stands still, and counts the requests.
pub(super) fn read_fleet(
    fleet: &Fleet,
    limits: Limits,
    known: &Known,
    counts_everything: bool,
) -> (Reading, Vec<Request>) {
    let asked = Mutex::new(Vec::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let reading = runtime.block_on(async {
        let deadline = Instant::now() + Duration::from_hours(1);
        read(limits, 4, deadline, known, |request, _| {
            let page = fleet.page(limits, &request, counts_everything);
            asked.lock().unwrap().push(request);
            async move { Ok(page) }
        })
        .await
    });
    (reading, asked.into_inner().unwrap())
}

pub(super) fn ids(reading: &Reading) -> HashSet<Arc<str>> {
    let desktops = reading.desktops.as_ref().unwrap().desktops();
    desktops.iter().map(|desktop| Arc::clone(&desktop.id)).collect()
}

/// How a fleet is spread: weights of the statuses, the last two an odd one and none.
fn fleets(most: usize) -> impl Strategy<Value = Fleet> {
    let weights = prop::array::uniform6(0u32..10);
    let users = prop_oneof![
        // Everybody has a desktop; a few have many; most desktops are nobody's.
        4 => (Just(1.0), 0.8..1.2f64),
        2 => (Just(1.0), 0.001..0.05f64),
        2 => (0.0..0.9f64, 0.1..1.0f64),
    ];
    (0..=most, weights, users, any::<u64>()).prop_map(|(count, weights, (share, per), seed)| {
        let mut dice = seed | 1;
        let mut roll = |sides: u64| {
            dice ^= dice << 13;
            dice ^= dice >> 7;
            dice ^= dice << 17;
            dice % sides.max(1)
        };
        let all: u64 = weights.iter().map(|weight| u64::from(*weight)).sum();
        let people = ((count as f64 * per) as u64).max(1);
        let desktops = (0..count).map(|id| {
            let mut at = roll(all);
            let which = weights
                .iter()
                .position(|weight| match at.checked_sub(u64::from(*weight)) {
                    Some(rest) => {
                        at = rest;
                        false
                    }
                    None => true,
                })
                .unwrap_or(0);
            let status = [STATUSES.map(Some).as_slice(), &[Some("OFFLINE"), None]].concat()[which];
            let mut names = Vec::new();
            if (roll(1000) as f64) < share * 1000.0 {
                names.push(format!("user-{}", roll(people)));
                if roll(50) == 0 {
                    names.push(format!("{}-{}", "long".repeat(12), roll(people)));
                }
            }
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            desktop(id, status, &names)
        });
        Fleet::new(desktops.collect())
    })
}

fn check(fleet: &Fleet, limits: Limits, share_known: u8, everything: bool) {
    let before: Vec<Desktop> = fleet
        .desktops
        .iter()
        .enumerate()
        .filter(|(at, _)| at % 100 < usize::from(share_known))
        .map(|(_, desktop)| desktop.clone())
        .collect();
    let (reading, asked) = read_fleet(fleet, limits, &known(&before), everything);
    let within = fleet.within_reach(limits, &before);
    assert_eq!(reading.total, i64::try_from(fleet.desktops.len()).ok());
    assert_eq!(reading.failure, None);
    if within.len() == fleet.desktops.len() {
        let found = ids(&reading);
        assert_eq!(found.len(), within.len(), "{}: complete whenever it can be", reading.plan);
    } else {
        // Nobody can tell that nothing is left to find; so what can be found is found all the same.
        assert_eq!(ids(&reading).len(), within.len(), "{}", reading.plan);
    }
    for desktop in reading.desktops.unwrap().desktops() {
        let at: usize = desktop.id[1..].parse().unwrap();
        assert_eq!(desktop, &fleet.desktops[at]);
    }
    // A name is asked for once a round, and then in ever smaller parts where that was too much.
    let firsts = asked.iter().filter(|request| request.offset == 0);
    let names: usize = firsts.map(|request| request.filter.names.len()).sum();
    assert!(names <= 16 * (fleet.by_name.len() + before.len()) + 100, "{names} names");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, ..ProptestConfig::default() })]

    /// The documented limits, and fleets of any size up to 200,000.
    #[test]
    fn any_fleet_is_read_as_far_as_it_can_be(
        fleet in fleets(200_000),
        page_size in prop_oneof![Just(1000u32), Just(2000)],
        share_known in prop_oneof![Just(0u8), Just(100), 1u8..100],
    ) {
        let limits = Limits { page_size, max_offset: 2000, suspicions: usize::MAX };
        check(&fleet, limits, share_known, false);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Small limits bring out every corner; totals that count everything say nothing of a shard.
    #[test]
    fn any_small_fleet_is_read_as_far_as_it_can_be(
        fleet in fleets(600),
        page_size in 1u32..40,
        max_offset in 0u32..100,
        share_known in 0u8..=100,
        everything in any::<bool>(),
    ) {
        let limits = Limits { page_size, max_offset, suspicions: usize::MAX };
        check(&fleet, limits, share_known, everything);
    }
}
