//! Reading a listing, and deciding whether it is whole.
//!
//! The API has neither a cursor nor a documented order: rows may shift between two pages, and the
//! fleet may change while it is read. One listing also ends at the largest offset, far below the size
//! of a large fleet. So a listing is read as far as its pages reach, and where that is not
//! far enough by shards: one listing for each connection status, then by the names of the users
//! whose desktops are still missing. A desktop that comes twice counts as it was read last.
//!
//! A listing is whole if and only if as many distinct ids were read as `total_count` says, and
//! `total_count` stayed the same on the way. Where it is not, what is missing is asked for again, twice
//! at most; what is still missing then is handed on as what it is: a part, with the number missing.
//!
//! | file | what it does |
//! |---|---|
//! | `request` | what one request asks for, within the documented limits |
//! | `known` | the desktops of earlier listings, and whose they are |
//! | `seen` | the desktops of this one |
//! | `pages` | one filter, page by page |
//! | `shards` | a fleet that no single listing reaches |
//! | `names` | desktops that are missing, by their users' names |
//! | `read` | one visit's listing, from the first page to the verdict |

mod known;
mod names;
mod pages;
mod read;
mod request;
mod seen;
mod shards;

pub use known::{Known, MOST_SUSPICIONS};
pub(super) use read::read;
pub(super) use request::{Limits, Page, Request, STATUSES};

#[cfg(test)]
mod laws;
#[cfg(test)]
mod pages_tests;
#[cfg(test)]
mod shards_tests;
