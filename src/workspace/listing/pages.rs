//! One filter, page by page.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::read::{Facts, NoPage, Reader};
use super::request::{Filter, Limits, Page, Request};
use crate::workspace::ApiError;

/// A page with fewer records than were asked for, and fewer than there are, shows that the server
/// has a limit of its own. The documented default is 100; a page below it is just broken, and
/// following it would take a request for every handful of records.
const SMALLEST_STRIDE: u32 = 100;

/// One time through a filter's pages.
#[derive(Debug)]
pub(super) struct Pages {
    /// Its `total_count`, as the first page says.
    pub total: Option<i64>,
    /// A later page said otherwise.
    pub changed: bool,
    /// How many distinct desktops they brought.
    pub found: i64,
    /// How many they would have brought if nobody had touched the listing.
    expected: i64,
    /// There are more than the largest offset reaches.
    pub is_oversized: bool,
    /// A page could not be read.
    pub failed: bool,
}

impl Pages {
    /// Whether rows may have shifted while they were read.
    pub fn is_unsettled(&self) -> bool {
        !self.failed && (self.changed || self.found < self.expected)
    }
}

impl<Fetch, F> Reader<'_, Fetch>
where
    Fetch: Fn(Request, bool) -> F,
    F: Future<Output = Result<Page, ApiError>>,
{
    /// A filter's first page.
    pub(super) async fn first(&self, filter: &Filter) -> Result<Facts, NoPage> {
        let page = self.ask(filter, 0, self.limits.page_size).await?;
        if filter.is_all() {
            let mut state = self.lock();
            state.total = page.total;
            state.stride = stride(self.limits, &page);
        }
        Ok(page)
    }

    /// The most that one filter's pages bring from this server.
    pub(super) fn reach(&self) -> i64 {
        let stride = self.lock().stride;
        i64::from(self.limits.max_offset) + i64::from(stride)
    }

    /// All pages of a filter.
    pub(super) async fn pages(&self, filter: &Filter) -> Pages {
        match self.first(filter).await {
            Ok(first) => self.rest(filter, first).await,
            Err(_) => Pages {
                total: None,
                changed: false,
                found: 0,
                expected: 0,
                is_oversized: false,
                failed: true,
            },
        }
    }

    /// The pages after the first.
    pub(super) async fn rest(&self, filter: &Filter, first: Facts) -> Pages {
        match first.total {
            Some(total) if filter.is_all() || self.counts_what_it_filters(&first, total) => {
                self.counted(filter, first, total).await
            }
            _ => self.uncounted(filter, first).await,
        }
    }

    /// Whether a filtered listing's total can be what the filter leaves, of which no document says
    /// anything. It is not where it is the fleet's; nor where it is beyond reach and yet a page is not
    /// full.
    pub(super) fn counts_what_it_filters(&self, first: &Facts, total: i64) -> bool {
        let is_full = {
            let state = self.lock();
            if Some(total) == state.total {
                return false;
            }
            first.records >= state.stride as usize
        };
        is_full || total <= self.reach()
    }

    /// Pages of which the first says how many records there are: the others are read at once.
    async fn counted(&self, filter: &Filter, first: Facts, total: i64) -> Pages {
        let stride = self.lock().stride;
        let offsets = offsets(self.limits.max_offset, stride, total);
        let reached = i64::from(offsets.last().copied().unwrap_or(0)) + i64::from(stride);
        let mut ids: HashSet<Arc<str>> = first.ids.into_iter().collect();
        let mut pages = Pages {
            total: first.total,
            changed: false,
            found: 0,
            expected: total.min(reached),
            is_oversized: total > reached,
            failed: false,
        };
        let limit = self.limits.page_size;
        let others = offsets.into_iter().map(|offset| self.ask(filter, offset, limit));
        for page in join_all(others).await {
            match page {
                Ok(page) => {
                    pages.changed |= page.total != pages.total;
                    ids.extend(page.ids);
                }
                Err(_) => pages.failed = true,
            }
        }
        pages.found = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        pages
    }

    /// Pages of which nobody says how many there are: read on until one is not full.
    async fn uncounted(&self, filter: &Filter, first: Facts) -> Pages {
        let stride = self.lock().stride;
        let mut pages = Pages {
            total: first.total,
            changed: false,
            found: 0,
            expected: 0,
            is_oversized: false,
            failed: false,
        };
        let mut ids: HashSet<Arc<str>> = first.ids.into_iter().collect();
        let mut records = first.records;
        let mut offset = 0;
        while records >= stride as usize {
            if offset >= self.limits.max_offset {
                pages.is_oversized = true;
                break;
            }
            // The last page may overlap: the largest offset is not always a multiple of the stride.
            offset = (offset + stride).min(self.limits.max_offset);
            match self.ask(filter, offset, self.limits.page_size).await {
                Ok(page) => {
                    records = page.records;
                    pages.changed |= page.total != pages.total;
                    ids.extend(page.ids);
                }
                Err(_) => {
                    pages.failed = true;
                    break;
                }
            }
        }
        pages.found = i64::try_from(ids.len()).unwrap_or(i64::MAX);
        pages.expected = pages.found;
        pages
    }
}

/// How far apart the pages are: as far as the first one reached.
fn stride(limits: Limits, first: &Facts) -> u32 {
    let records = u32::try_from(first.records).unwrap_or(u32::MAX);
    let more = first.total.is_none_or(|total| total > i64::from(records));
    if more && (SMALLEST_STRIDE..limits.page_size).contains(&records) {
        records
    } else {
        limits.page_size
    }
}

/// Where the pages after the first begin. The last may overlap the one before it: the largest offset
/// is not always a multiple of the page size.
fn offsets(max_offset: u32, stride: u32, total: i64) -> Vec<u32> {
    let mut offsets = Vec::new();
    let mut reached = i64::from(stride);
    while reached < total {
        let offset = u32::try_from(reached).unwrap_or(u32::MAX).min(max_offset);
        if offset <= offsets.last().copied().unwrap_or(0) {
            break;
        }
        offsets.push(offset);
        reached = i64::from(offset) + i64::from(stride);
    }
    offsets
}
