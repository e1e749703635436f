//! Listings that change, repeat, lie and break while they are read.

use std::cell::Cell;
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::read::{Reading, read};
use super::*;
use crate::domain::{AttachUsers, Desktop};
use crate::workspace::{ApiError, Kind};

const LIMITS: Limits = Limits { page_size: 10, max_offset: 20, suspicions: 10 };

fn desktops(range: Range<i64>) -> Vec<Desktop> {
    range
        .map(|id| Desktop {
            id: id.to_string().into(),
            name: None,
            status: None,
            users: AttachUsers::default(),
        })
        .collect()
}

/// What a page asks for, where nothing is filtered.
#[derive(Clone, Copy)]
struct Window {
    offset: u32,
    limit: u32,
}

/// A page of a listing of `total` desktops that nobody touches.
fn page(window: Window, total: i64) -> Page {
    let end = (i64::from(window.offset) + i64::from(window.limit)).min(total);
    let desktops = desktops(i64::from(window.offset)..end);
    Page { total: Some(total), records: desktops.len(), desktops }
}

/// Reads with a script for the unfiltered listing: it is given the number of the request, from 0.
async fn read_with(
    limits: Limits,
    script: impl Fn(usize, Window) -> Result<Page, ApiError>,
) -> (Reading, Vec<Window>) {
    let asked = Mutex::new(Vec::new());
    let deadline = Instant::now() + Duration::from_mins(1);
    let reading = read(limits, 3, deadline, &Known::default(), |request, _| {
        assert!(request.offset <= limits.max_offset && request.limit <= limits.page_size);
        let window = Window { offset: request.offset, limit: request.limit };
        let page = if request.filter.is_all() {
            let mut asked = asked.lock().unwrap();
            asked.push(window);
            script(asked.len() - 1, window)
        } else {
            Ok(Page { total: Some(0), ..Page::default() })
        };
        async move { page }
    })
    .await;
    (reading, asked.into_inner().unwrap())
}

fn count(reading: &Reading) -> usize {
    reading.desktops.as_ref().map_or(0, |listing| listing.desktops().len())
}

fn error() -> ApiError {
    ApiError::new("connect-desktops", Kind::Timeout, "no answer")
}

#[tokio::test]
async fn a_listing_that_nobody_touches_is_whole_in_one_round() {
    for (total, requests) in [(0, 1), (1, 1), (10, 1), (11, 2), (30, 3)] {
        let (reading, asked) = read_with(LIMITS, |_, window| Ok(page(window, total))).await;
        assert_eq!(count(&reading) as i64, total);
        assert_eq!((reading.total, asked.len()), (Some(total), requests), "{total}");
        assert!(asked.iter().all(|window| window.offset <= LIMITS.max_offset));
    }
}

#[tokio::test]
async fn the_last_page_overlaps_where_the_offset_is_capped() {
    let limits = Limits { max_offset: 15, ..LIMITS };
    let (reading, asked) = read_with(limits, |_, window| Ok(page(window, 25))).await;
    assert_eq!((count(&reading), reading.total), (25, Some(25)));
    assert_eq!(asked.iter().map(|window| window.offset).collect::<Vec<_>>(), [0, 10, 15]);
}

#[tokio::test]
async fn a_server_with_a_smaller_limit_is_followed() {
    let limits = Limits { page_size: 1000, max_offset: 2000, ..LIMITS };
    let (reading, _) = read_with(limits, |_, window| {
        Ok(page(Window { limit: window.limit.min(100), ..window }, 550))
    })
    .await;
    assert_eq!((count(&reading), reading.total), (550, Some(550)));
}

#[tokio::test]
async fn a_total_that_changes_is_read_again_and_then_whole() {
    let (reading, asked) = read_with(LIMITS, |at, window| {
        // A desktop goes away between the first page and the second.
        Ok(page(window, if at == 0 { 15 } else { 14 }))
    })
    .await;
    assert_eq!((count(&reading), reading.total, asked.len()), (14, Some(14), 4));
}

#[tokio::test]
async fn a_total_that_never_stands_still_is_no_total() {
    let grown = Cell::new(15);
    let (reading, asked) = read_with(LIMITS, |_, window| {
        grown.set(grown.get() + 1);
        Ok(page(window, grown.get()))
    })
    .await;
    assert_eq!((reading.total, asked.len()), (None, 6));
    assert!(count(&reading) >= 15);
}

#[tokio::test]
async fn a_repeated_page_is_read_again() {
    let (reading, asked) = read_with(LIMITS, |at, window| {
        let offset = if at == 1 { 0 } else { window.offset };
        Ok(page(Window { offset, ..window }, 20))
    })
    .await;
    assert_eq!((count(&reading), reading.total, asked.len()), (20, Some(20), 4));
}

#[tokio::test]
async fn a_page_that_always_repeats_leaves_a_part() {
    let (reading, asked) =
        read_with(LIMITS, |_, window| Ok(page(Window { offset: 0, ..window }, 20))).await;
    assert_eq!((count(&reading), reading.total, asked.len()), (10, Some(20), 6));
    assert_eq!(reading.failure, None);
}

#[tokio::test]
async fn a_page_that_fails_keeps_the_others() {
    let (reading, asked) =
        read_with(
            LIMITS,
            |_, window| {
                if window.offset == 10 { Err(error()) } else { Ok(page(window, 30)) }
            },
        )
        .await;
    // The second round tells that a third would bring nothing.
    assert_eq!((count(&reading), reading.total, asked.len()), (20, Some(30), 6));
    assert_eq!(reading.failure, Some(error()));
}

#[tokio::test]
async fn a_first_page_that_fails_is_no_listing() {
    let (reading, asked) = read_with(LIMITS, |_, _| Err(error())).await;
    assert_eq!((reading.desktops, reading.total, asked.len()), (None, None, 1));
    assert_eq!(reading.failure, Some(error()));
}

#[tokio::test]
async fn a_failing_second_round_keeps_the_first() {
    let (reading, _) = read_with(LIMITS, |at, window| {
        if at >= 2 { Err(error()) } else { Ok(page(Window { offset: 0, ..window }, 20)) }
    })
    .await;
    assert_eq!((count(&reading), reading.total), (10, Some(20)));
    assert_eq!(reading.failure, Some(error()));
}

#[tokio::test]
async fn without_a_total_pages_are_read_until_one_is_not_full_and_nothing_is_whole() {
    let (reading, _) =
        read_with(LIMITS, |_, window| Ok(Page { total: None, ..page(window, 25) })).await;
    assert_eq!((count(&reading), reading.total), (25, None));
    assert_eq!(reading.lack.as_deref(), Some("the API gave no total_count"));
}

#[tokio::test]
async fn a_record_without_an_id_is_missing() {
    let (reading, asked) = read_with(LIMITS, |_, window| {
        let mut page = page(window, 12);
        page.desktops.retain(|desktop| &*desktop.id != "3");
        Ok(page)
    })
    .await;
    assert_eq!((count(&reading), reading.total), (11, Some(12)));
    assert_eq!(reading.lack.as_deref(), Some("records without an id came, 3 in all"));
    assert_eq!(asked.len(), 6);
}

#[tokio::test]
async fn a_total_that_lies_is_never_whole() {
    for lie in [-1, 0, 5] {
        let (reading, _) =
            read_with(LIMITS, |_, window| Ok(Page { total: Some(lie), ..page(window, 8) })).await;
        assert_eq!((count(&reading), reading.total), (8, Some(lie)));
        assert_eq!(reading.lack.as_deref(), Some("more desktops came than total_count says"));
    }
}
