//! Reading a listing page by page, and deciding whether it is whole.
//!
//! The API has neither a cursor nor a documented order: rows may shift between two pages, and a
//! listing may change while it is read. A listing is whole if and only if as many distinct ids were
//! read as `total_count` says, and `total_count` stayed the same on the way. Where it is not, it is
//! read again, twice at most; what is still not whole then is handed on as what it is, a part.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt};

use super::ApiError;
use crate::domain::{Desktop, Listing};

/// Reading a listing again helps against rows that shift, not against an API that miscounts.
const ROUNDS: usize = 3;

/// A page with fewer records than were asked for, and fewer than there are, shows that the server
/// has a limit of its own. The documented default is 100; a page below it is just broken, and
/// following it would take a request for every handful of records.
const SMALLEST_STRIDE: u32 = 100;

/// How far a listing can be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    pub page_size: u32,
    pub max_offset: u32,
}

/// What one page asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub offset: u32,
    pub limit: u32,
}

/// What one page brought.
#[derive(Clone, Debug, Default)]
pub(super) struct Page {
    pub total: Option<i64>,
    /// How many records it had, those without an id too.
    pub records: usize,
    pub desktops: Vec<Desktop>,
}

/// What was read in all.
#[derive(Debug)]
pub(super) struct Reading {
    pub total: Option<i64>,
    pub desktops: Option<Listing>,
    pub failure: Option<ApiError>,
}

/// One time through the pages.
struct Round {
    total: Option<i64>,
    changed: bool,
    desktops: Vec<Desktop>,
    failure: Option<ApiError>,
    /// How many records a listing that nobody touches would have brought.
    expected: i64,
    /// Not one page was read.
    blind: bool,
}

/// Reads the listing. `fetch` gives `None` for a page that it left out after another one's failure.
pub(super) async fn read<F>(
    reach: Reach,
    concurrency: usize,
    fetch: impl Fn(Window) -> F,
) -> Reading
where
    F: Future<Output = Option<Result<Page, ApiError>>>,
{
    let mut total = None;
    let mut changed = false;
    let mut desktops = Vec::new();
    let mut failure = None;
    let mut blind = true;
    for round in 0..ROUNDS {
        let read = self::round(reach, concurrency, &fetch).await;
        if !read.blind {
            changed |= read.changed || (round > 0 && total != read.total);
            total = read.total;
            blind = false;
        }
        let found = i64::try_from(distinct(&read.desktops)).unwrap_or(i64::MAX);
        let whole = read.failure.is_none() && !read.changed && read.total == Some(found);
        if whole {
            // This round alone says how it is: what only an earlier one saw is gone by now.
            return Reading {
                total: read.total,
                desktops: Some(Listing::new(read.desktops)),
                failure: None,
            };
        }
        let all_there_is_to_see = !read.changed && read.total.is_some() && found == read.expected;
        desktops.extend(read.desktops);
        if read.failure.is_some() {
            failure = read.failure;
            break;
        }
        if all_there_is_to_see {
            break;
        }
    }
    Reading {
        total: if changed { None } else { total },
        // The later record of one id is kept.
        desktops: (!blind).then(|| Listing::new(desktops)),
        failure,
    }
}

async fn round<F>(reach: Reach, concurrency: usize, fetch: &impl Fn(Window) -> F) -> Round
where
    F: Future<Output = Option<Result<Page, ApiError>>>,
{
    let mut round = Round {
        total: None,
        changed: false,
        desktops: Vec::new(),
        failure: None,
        expected: 0,
        blind: true,
    };
    let window = |offset| Window { offset, limit: reach.page_size };
    let first = match fetch(window(0)).await {
        Some(Ok(page)) => page,
        Some(Err(error)) => {
            round.failure = Some(error);
            return round;
        }
        None => return round,
    };
    round.blind = false;
    round.total = first.total;
    let stride = stride(reach, &first);
    let first_records = first.records;
    round.desktops = first.desktops;

    let Some(total) = round.total else {
        // Nobody says how many there are: read on until a page is not full.
        let mut records = first_records;
        let mut offset = stride;
        while records >= stride as usize && offset <= reach.max_offset {
            match fetch(window(offset)).await {
                Some(Ok(page)) => {
                    records = page.records;
                    round.changed |= page.total.is_some();
                    round.desktops.extend(page.desktops);
                }
                Some(Err(error)) => {
                    round.failure = Some(error);
                    break;
                }
                None => break,
            }
            offset += stride;
        }
        return round;
    };

    let offsets = offsets(reach, stride, total);
    let last = offsets.last().copied().unwrap_or(0);
    round.expected = total.min(i64::from(last) + i64::from(stride));
    let mut pages =
        stream::iter(offsets).map(|offset| fetch(window(offset))).buffered(concurrency.max(1));
    while let Some(page) = pages.next().await {
        match page {
            Some(Ok(page)) => {
                round.changed |= page.total != round.total;
                round.desktops.extend(page.desktops);
            }
            // The first failure is the cause; those after it follow from it.
            Some(Err(error)) => {
                round.failure.get_or_insert(error);
            }
            None => {}
        }
    }
    round
}

/// How far apart the pages are: as far as the first one reached.
fn stride(reach: Reach, first: &Page) -> u32 {
    let records = u32::try_from(first.records).unwrap_or(u32::MAX);
    let more = first.total.is_none_or(|total| total > i64::from(records));
    if more && (SMALLEST_STRIDE..reach.page_size).contains(&records) {
        records
    } else {
        reach.page_size
    }
}

/// Where the pages after the first begin. The last may overlap the one before it: the largest offset
/// is not always a multiple of the page size.
fn offsets(reach: Reach, stride: u32, total: i64) -> Vec<u32> {
    let mut offsets = Vec::new();
    let mut reached = i64::from(stride);
    while reached < total {
        let offset = u32::try_from(reached).unwrap_or(u32::MAX).min(reach.max_offset);
        if offset <= offsets.last().copied().unwrap_or(0) {
            break;
        }
        offsets.push(offset);
        reached = i64::from(offset) + i64::from(stride);
    }
    offsets
}

fn distinct(desktops: &[Desktop]) -> usize {
    desktops.iter().map(|desktop| &desktop.id).collect::<HashSet<&Arc<str>>>().len()
}

#[cfg(test)]
#[path = "listing_tests.rs"]
mod tests;
