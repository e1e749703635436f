//! What one request asks for, and what it may ask for.

use std::sync::Arc;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::domain::Desktop;

/// The statuses that the documents list, the largest shard of a sleeping fleet last.
pub(in crate::workspace) const STATUSES: [&str; 4] =
    ["CONNECTED", "DISCONNECTED", "REGISTERED", "UNREGISTER"];

/// The most names of one request, as documented.
const MOST_NAMES: usize = 100;
/// The longest documented name. A server may refuse a longer one, and the rest of its request with it,
/// so such names travel apart.
const LONGEST_NAME: usize = 36;
/// How long the names of one request may be, encoded: no document says what the gateway takes, and
/// 8 KiB for the whole line is what such gateways take by default.
const LONGEST_QUERY: usize = 6_000;

/// How far listings can be read.
#[derive(Clone, Copy, Debug)]
pub(in crate::workspace) struct Limits {
    /// Records asked for at once.
    pub page_size: u32,
    /// The largest offset.
    pub max_offset: u32,
    /// How many requests of one visit may go to names that are asked on suspicion: of users whose
    /// known desktops were all read, but who may have others.
    pub suspicions: usize,
}

/// Which desktops are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::workspace) struct Filter {
    /// Those with this status.
    pub status: Option<Arc<str>>,
    /// Those of any of these users; none: of all.
    pub names: Arc<[Arc<str>]>,
}

impl Filter {
    /// All desktops.
    pub fn all() -> Self {
        Self::default()
    }

    /// Those with a status.
    pub fn status(status: &Arc<str>) -> Self {
        Self { status: Some(Arc::clone(status)), names: Arc::default() }
    }

    /// Those of some users.
    pub fn names(names: &[Arc<str>]) -> Self {
        Self { status: None, names: names.into() }
    }

    /// Whether it leaves nothing out.
    pub fn is_all(&self) -> bool {
        self.status.is_none() && self.names.is_empty()
    }
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::workspace) struct Request {
    pub filter: Filter,
    pub offset: u32,
    pub limit: u32,
}

impl Request {
    /// A request for desktops of one status, or of all.
    pub fn of(status: Option<&str>, offset: u32, limit: u32) -> Self {
        let filter = status.map_or_else(Filter::all, |status| Filter::status(&Arc::from(status)));
        Self { filter, offset, limit }
    }

    /// The parameters; names are repeated ones, as the vendor's SDKs send them.
    pub fn query(&self) -> Vec<(String, String)> {
        let mut query = vec![
            ("limit".to_owned(), self.limit.to_string()),
            ("offset".to_owned(), self.offset.to_string()),
        ];
        if let Some(status) = &self.filter.status {
            query.push(("connect_status".to_owned(), status.to_string()));
        }
        query.extend(
            self.filter.names.iter().map(|name| ("user_names".to_owned(), name.to_string())),
        );
        query
    }
}

/// What one request brought.
#[derive(Clone, Debug, Default)]
pub(in crate::workspace) struct Page {
    /// `total_count`, where the answer has one.
    pub total: Option<i64>,
    /// How many records it had, those without an id too.
    pub records: usize,
    /// Those with an id.
    pub desktops: Vec<Desktop>,
}

/// Names that go into one request together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    names: Vec<Arc<str>>,
    length: usize,
    is_long: bool,
}

impl Batch {
    /// Takes a name in; `false`: it has to wait for another request.
    pub fn take(&mut self, name: &Arc<str>) -> bool {
        let length = encoded(name);
        let is_long = name.chars().count() > LONGEST_NAME;
        let fits = self.names.len() < MOST_NAMES && self.length + length <= LONGEST_QUERY;
        if !self.names.is_empty() && (!fits || is_long != self.is_long) {
            return false;
        }
        self.is_long = is_long;
        self.length += length;
        self.names.push(Arc::clone(name));
        true
    }

    /// The names, if there are any.
    pub fn finish(self) -> Option<Vec<Arc<str>>> {
        (!self.names.is_empty()).then_some(self.names)
    }
}

/// Whether a desktop can be asked for by this name: no request holds one longer than a whole query, and
/// an empty one means no filter.
pub(super) fn can_be_asked(name: &str) -> bool {
    !name.is_empty() && encoded(name) <= LONGEST_QUERY
}

/// How long a name is as a parameter.
fn encoded(name: &str) -> usize {
    "&user_names=".len() + utf8_percent_encode(name, NON_ALPHANUMERIC).map(str::len).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::workspace::sign;

    proptest! {
        /// Any names: all of them are asked for, once, within the limits.
        #[test]
        fn batches_stay_within_the_limits(names in prop::collection::vec("\\PC{1,80}", 0..400)) {
            let names: Vec<Arc<str>> = names.iter().map(|name| Arc::from(name.as_str())).collect();
            let mut asked = Vec::new();
            let mut left = names.iter().peekable();
            while left.peek().is_some() {
                let mut batch = Batch::default();
                while let Some(name) = left.next_if(|name| batch.take(name)) {
                    asked.push(Arc::clone(name));
                }
                let names = batch.finish().expect("an empty batch takes any name");
                prop_assert!(names.len() <= MOST_NAMES);
                let request = Request { filter: Filter::names(&names), offset: 2000, limit: 1000 };
                let query = sign::canonical_query(&request.query());
                prop_assert!(query.len() < 6_100, "{}", query.len());
                let long = names.iter().filter(|name| name.chars().count() > LONGEST_NAME).count();
                prop_assert!(long == 0 || long == names.len());
            }
            prop_assert_eq!(asked, names);
        }
    }
}
