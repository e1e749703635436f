//! What a listing may ask for: the documented limits, held as a strict server would.

use axum::http::StatusCode;

use super::access::Refusal;
use super::world::Filter;

/// The most names of one request.
const MOST_NAMES: usize = 100;
/// How many records come where nothing is said.
const DEFAULT_LIMIT: u32 = 100;

/// The limits of one server.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub offset: u32,
    pub limit: u32,
    /// The longest path and query, in bytes.
    pub target: usize,
}

/// Which desktops a request asks for.
#[derive(Debug)]
pub(super) struct Listed {
    pub offset: u32,
    pub limit: u32,
    status: Option<String>,
    names: Vec<String>,
}

impl Limits {
    /// Refuses a target that is too long, as the gateway does.
    pub fn check_target(&self, target: &str) -> Result<(), Refusal> {
        if target.len() <= self.target {
            return Ok(());
        }
        Err((StatusCode::URI_TOO_LONG, "APIGW.0201", "Request-URI too large".into()))
    }

    /// Reads a query.
    pub fn listed(&self, query: &[(String, String)]) -> Result<Listed, Refusal> {
        let wrong = |what: String| (StatusCode::BAD_REQUEST, "WKS.0001", what);
        let number = |value: &str, name: &str, most: u32| {
            value.parse().ok().filter(|number| *number <= most).ok_or_else(|| {
                wrong(format!("The value of {name} must be an integer from 0 to {most}."))
            })
        };
        let mut listed =
            Listed { offset: 0, limit: DEFAULT_LIMIT, status: None, names: Vec::new() };
        for (name, value) in query {
            match name.as_str() {
                "offset" => listed.offset = number(value, "offset", self.offset)?,
                "limit" => listed.limit = number(value, "limit", self.limit)?,
                "connect_status" => listed.status = Some(value.clone()),
                "user_names" => listed.names.push(value.clone()),
                _ => {}
            }
        }
        if listed.names.len() > MOST_NAMES {
            return Err(wrong(format!("At most {MOST_NAMES} user_names can be given.")));
        }
        Ok(listed)
    }
}

impl Listed {
    pub fn filter(&self) -> Filter<'_> {
        Filter { status: self.status.as_deref(), names: &self.names }
    }

    /// Whether it begins to read the whole listing.
    pub fn begins_a_visit(&self) -> bool {
        self.offset == 0 && self.filter().is_open()
    }
}
