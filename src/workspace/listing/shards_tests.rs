//! Fleets beyond the reach of one listing: what is asked, how often, and what moves meanwhile.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::laws::{Fleet, desktop, ids, known, read_fleet};
use super::read::{Reading, read};
use super::request::STATUSES;
use super::*;
use crate::domain::Desktop;
use crate::workspace::{ApiError, Kind};

const DOCUMENTED: Limits = Limits { page_size: 1000, max_offset: 2000, suspicions: 100 };
const SMALL: Limits = Limits { page_size: 10, max_offset: 20, suspicions: 10 };

/// Desktops spread evenly over the four statuses, each of a user of its own.
fn even(count: usize) -> Vec<Desktop> {
    (0..count).map(|id| desktop(id, Some(STATUSES[id % 4]), &[&format!("user-{id}")])).collect()
}

#[test]
fn twelve_thousand_take_a_page_for_each_thousand_and_two_more() {
    let fleet = Fleet::new(even(12_000));
    let (reading, asked) = read_fleet(&fleet, DOCUMENTED, &Known::default(), false);
    assert_eq!((reading.total, ids(&reading).len()), (Some(12_000), 12_000));
    assert_eq!(reading.plan, "2 unfiltered, 12 by status");
    assert_eq!(asked.len(), 14);
}

#[test]
fn a_large_shard_takes_a_request_for_each_hundred_users_that_it_hides() {
    // Most of the fleet sleeps.
    let desktops: Vec<Desktop> = even(13_000)
        .into_iter()
        .enumerate()
        .map(|(at, mut desktop)| {
            if at >= 1_000 {
                desktop.status = Some("UNREGISTER".into());
            }
            desktop
        })
        .collect();
    let fleet = Fleet::new(desktops);
    let (reading, asked) = read_fleet(&fleet, DOCUMENTED, &known(&fleet.desktops), false);
    assert_eq!((reading.total, ids(&reading).len()), (Some(13_000), 13_000));
    // 1 page unfiltered and 2 more of it, 6 by status, about 9,250 users, and a last look at the total.
    assert!(asked.len() <= 3 + 6 + 94 + 1, "{}", reading.plan);
    // The same without a ledger: only what the listings reach, and it is not called whole.
    let (reading, _) = read_fleet(&fleet, DOCUMENTED, &Known::default(), false);
    assert!(ids(&reading).len() < 13_000);
    assert!(reading.lack.unwrap().contains("beyond the reach"));
    assert_eq!(reading.total, Some(13_000));
    assert_eq!(reading.failure, None);
}

#[test]
fn a_status_that_suspicion_brings_to_light_is_asked_for_too() {
    let mut desktops = even(80);
    // Somebody's other desktop, and one like it that is nobody's.
    desktops.push(desktop(80, Some("OFFLINE"), &["user-0"]));
    desktops.push(desktop(81, Some("OFFLINE"), &[]));
    // So many more sleep beyond their listing's reach that whoever is missing may be one of them, and
    // no second round is worth it.
    for id in 82..100 {
        desktops.push(desktop(id, Some("UNREGISTER"), &[&format!("user-{}", id - 80)]));
    }
    let fleet = Fleet::new(desktops);
    let (reading, _) = read_fleet(&fleet, SMALL, &Known::default(), false);
    assert_eq!((reading.total, ids(&reading).len()), (Some(100), 100), "{}", reading.plan);
    assert!(!reading.plan.contains("read again"), "{}", reading.plan);
}

#[test]
fn on_suspicion_each_visit_asks_for_other_users() {
    let mut desktops = even(60);
    for desktop in &mut desktops {
        desktop.status = Some("UNREGISTER".into());
    }
    // Forty desktops are beyond reach, and nobody knows of them.
    let fleet = Fleet::new(desktops);
    let limits = Limits { suspicions: 0, ..SMALL };
    let (reading, asked) = read_fleet(&fleet, limits, &Known::default(), false);
    assert_eq!(ids(&reading).len(), 30);
    assert!(asked.iter().all(|request| request.filter.names.is_empty()));
}

/// Reads a fleet to which something happens: `happens` is given the number of each request, from 0,
/// before it is answered.
async fn read_moving(
    fleet: Vec<Desktop>,
    known: &Known,
    happens: impl Fn(usize, &Request, &mut Vec<Desktop>) + Send + Sync,
) -> (Reading, Vec<Request>, Vec<Desktop>) {
    let state = Mutex::new((Vec::new(), fleet));
    let deadline = Instant::now() + Duration::from_mins(1);
    let reading = read(SMALL, 1, deadline, known, |request, _| {
        let mut state = state.lock().unwrap();
        let (asked, desktops) = &mut *state;
        happens(asked.len(), &request, desktops);
        let page = Fleet::new(desktops.clone()).page(SMALL, &request, false);
        asked.push(request);
        async move { Ok(page) }
    })
    .await;
    let (asked, fleet) = state.into_inner().unwrap();
    (reading, asked, fleet)
}

fn is_whole(reading: &Reading) -> bool {
    reading.total == i64::try_from(ids(reading).len()).ok()
}

/// The request for the last page of all: every other shard is read by then.
fn is_last_page(request: &Request) -> bool {
    request.filter.status.as_deref() == Some("UNREGISTER") && request.offset == 10
}

#[tokio::test]
async fn a_desktop_that_moves_to_a_shard_already_read_is_asked_for_by_name() {
    let fleet = even(80);
    let moved = fleet[79].id.clone();
    let (reading, asked, _) = read_moving(fleet.clone(), &known(&fleet), |_, request, desktops| {
        if is_last_page(request) {
            desktops[79].status = Some("CONNECTED".into());
        }
    })
    .await;
    assert!(is_whole(&reading) && ids(&reading).contains(&moved), "{}", reading.plan);
    let names: Vec<_> = asked.iter().filter(|request| !request.filter.names.is_empty()).collect();
    assert_eq!(names.len(), 1, "{}", reading.plan);
    let listing = reading.desktops.unwrap();
    let seen = listing.desktops().iter().find(|desktop| desktop.id == moved).unwrap();
    assert_eq!(seen.status.as_deref(), Some("CONNECTED"));
}

#[tokio::test]
async fn a_desktop_that_moves_and_nobody_knows_is_found_by_reading_again() {
    let mut fleet = even(80);
    fleet[79] = desktop(79, Some("UNREGISTER"), &[]);
    let (reading, _, _) = read_moving(fleet, &Known::default(), |_, request, desktops| {
        if is_last_page(request) {
            desktops[79].status = Some("CONNECTED".into());
        }
    })
    .await;
    assert!(is_whole(&reading), "{}", reading.plan);
    assert!(reading.plan.contains("read again once"), "{}", reading.plan);
}

#[tokio::test]
async fn of_two_readings_of_a_desktop_the_later_is_kept() {
    let fleet = even(80);
    // The first of CONNECTED disconnects after CONNECTED was read, and is read again there.
    let (reading, _, fleet) = read_moving(fleet.clone(), &known(&fleet), |_, request, desktops| {
        if request.filter.status.as_deref() == Some("DISCONNECTED") {
            desktops[0].status = Some("DISCONNECTED".into());
        }
    })
    .await;
    assert!(is_whole(&reading));
    let listing = reading.desktops.unwrap();
    let seen = listing.desktops().iter().find(|desktop| desktop.id == fleet[0].id).unwrap();
    assert_eq!(seen.status.as_deref(), Some("DISCONNECTED"));
}

#[tokio::test]
async fn a_total_that_changes_costs_another_round_and_the_gone_desktop_is_gone() {
    let fleet = even(80);
    let gone = fleet[0].id.clone();
    let (reading, _, _) = read_moving(fleet.clone(), &known(&fleet), |at, _, desktops| {
        if at == 6 {
            desktops.remove(0);
        }
    })
    .await;
    assert!(is_whole(&reading), "{}", reading.plan);
    assert_eq!(reading.total, Some(79));
    assert!(!ids(&reading).contains(&gone));
}

/// One desktop is skipped while another leaves and a third joins: the count alone would be right.
#[tokio::test]
async fn a_count_that_is_right_by_chance_hides_nobody() {
    // Where the first page after the shift is asked for; and who slips onto the page before it.
    for (count, shift_at, slipped) in [(25, 1, 10), (80, 2, 40)] {
        let fleet = even(count);
        let slipped = fleet[slipped].id.clone();
        let (reading, asked, _) = read_moving(fleet.clone(), &known(&fleet), |at, _, desktops| {
            if at == shift_at {
                desktops.remove(0);
                desktops.push(desktop(900, Some("CONNECTED"), &["new"]));
            }
        })
        .await;
        assert!(is_whole(&reading), "{}", reading.plan);
        assert!(ids(&reading).contains(&slipped), "{}", reading.plan);
        assert!(asked.iter().any(|request| !request.filter.names.is_empty()));
        // Nobody knew of it: then the count is all that there is.
        let none = Known::default();
        let (reading, _, _) = read_moving(fleet.clone(), &none, |at, _, desktops| {
            if at == shift_at {
                desktops.remove(0);
                desktops.push(desktop(900, Some("CONNECTED"), &["new"]));
            }
        })
        .await;
        assert!(is_whole(&reading) && !ids(&reading).contains(&slipped), "{}", reading.plan);
    }
}

/// Without the last look nobody can call it whole; but how many are missing is known all the same.
#[tokio::test]
async fn a_last_look_that_fails_leaves_a_part_of_a_known_size() {
    let fleet = Fleet::new(even(80));
    for lost in [0, 1] {
        let deadline = Instant::now() + Duration::from_mins(1);
        let reading = read(SMALL, 1, deadline, &Known::default(), |request, _| {
            let mut page = fleet.page(SMALL, &request, false);
            page.desktops.retain(|desktop| lost == 0 || &*desktop.id != "d000079");
            let is_last_look = request.limit == 1;
            async move { if is_last_look { Err(failure(500)) } else { Ok(page) } }
        })
        .await;
        assert_eq!(ids(&reading).len(), 80 - lost);
        assert_eq!(reading.total, [None, Some(80)][lost]);
        assert_eq!(reading.failure, Some(failure(500)));
    }
}

fn failure(status: u16) -> ApiError {
    ApiError { status: Some(status), ..ApiError::new("connect-desktops", Kind::Api, "no") }
}

/// Reads a fleet of 80 while some requests fail.
async fn read_failing(
    known: &Known,
    fails: impl Fn(&Request) -> Option<ApiError> + Send + Sync,
) -> (Reading, usize) {
    let fleet = Fleet::new(even(80));
    let asked = Mutex::new(0);
    let deadline = Instant::now() + Duration::from_mins(1);
    let reading = read(SMALL, 1, deadline, known, |request, _| {
        *asked.lock().unwrap() += 1;
        let page = match fails(&request) {
            Some(error) => Err(error),
            None => Ok(fleet.page(SMALL, &request, false)),
        };
        async move { page }
    })
    .await;
    (reading, asked.into_inner().unwrap())
}

#[tokio::test]
async fn a_shard_that_fails_costs_only_its_own_and_not_even_those_whose_users_are_known() {
    let fails = |request: &Request| {
        (request.filter.status.as_deref() == Some("REGISTERED")).then(|| failure(500))
    };
    let (reading, _) = read_failing(&Known::default(), fails).await;
    assert_eq!(reading.total, Some(80));
    // 60 of other statuses; the unfiltered listing's reach brings a few of this one.
    assert!((60..80).contains(&ids(&reading).len()));
    assert_eq!(reading.failure, Some(failure(500)));
    let (reading, _) = read_failing(&known(&even(80)), fails).await;
    assert!(is_whole(&reading), "{}", reading.plan);
    assert_eq!(reading.failure, None);
}

/// A dead server costs one long wait, a single bad page nobody else's patience.
#[tokio::test]
async fn after_a_failure_each_is_tried_once_until_one_succeeds() {
    let fleet = Fleet::new(even(80));
    let patience = Mutex::new(Vec::new());
    let deadline = Instant::now() + Duration::from_mins(1);
    read(SMALL, 1, deadline, &Known::default(), |request, is_patient| {
        let mut patience = patience.lock().unwrap();
        patience.push(is_patient);
        let fails = [2, 3].contains(&patience.len());
        let page = if fails { Err(failure(500)) } else { Ok(fleet.page(SMALL, &request, false)) };
        async move { page }
    })
    .await;
    assert_eq!(patience.into_inner().unwrap()[..6], [true, true, false, false, true, true]);
}

#[tokio::test]
async fn a_server_that_refuses_us_is_not_asked_on() {
    let (reading, asked) =
        read_failing(&Known::default(), |request| (request.offset > 0).then(|| failure(401))).await;
    assert!(asked <= 6, "{asked}");
    assert_eq!(reading.failure, Some(failure(401)));
    let (_, asked) =
        read_failing(&Known::default(), |request| (!request.filter.is_all()).then(|| failure(503)))
            .await;
    assert!(asked <= 4, "{asked}");
}

#[tokio::test]
async fn a_name_that_the_server_refuses_costs_only_its_own_desktop() {
    let refused: std::sync::Arc<str> = "user-70".into();
    let fails = |request: &Request| {
        let status = request.filter.status.as_deref();
        if request.filter.names.contains(&refused) {
            Some(failure(400))
        } else {
            (status == Some("REGISTERED")).then(|| failure(500))
        }
    };
    let (reading, _) = read_failing(&known(&even(80)), fails).await;
    assert_eq!(ids(&reading).len(), 79, "{}", reading.plan);
    assert_eq!(reading.total, Some(80));
}
