//! What can go wrong, on request: the ways, the rules that say when, and the rules in force.

mod draw;
mod parse;

use std::time::Duration;

use chrono::TimeDelta;

pub(super) use self::draw::Faults;
pub use self::parse::{FaultError, help};

/// One way to misbehave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Throttle, with a `Retry-After` of so many seconds where one is given.
    Throttle(Option<u32>),
    /// Throttle, with a `Retry-After` that is an HTTP date so many seconds from the date that the
    /// answer itself carries.
    ThrottleUntil(u32),
    /// Answer with this status and an error in the service's shape.
    Status(u16),
    /// Answer with this status and an error in another shape.
    Shaped(Shape, u16),
    /// Answer with this status and an HTML page, as a proxy does.
    Html(u16),
    /// Close the connection before any byte of an answer.
    Drop,
    /// Reset the connection before any byte of an answer.
    Reset,
    /// Break the connection in the middle of the answer.
    Truncate,
    /// Let the client wait.
    Delay(Duration),
    /// Take so long over the answer's body.
    Slow(Duration),
    /// Answer with a good status and a body that is no JSON.
    BadJson,
    /// Answer with a good status and no body.
    Empty,
    /// Answer with a body that says to be gzip and cannot be decompressed.
    BadGzip,
    /// Answer with a good status and a body that unfolds to so many bytes and is never finished;
    /// compressed where the client takes that.
    Huge(u64),
    /// Be wrong about `total_count` by so many.
    WrongTotal(i64),
    /// Give no `total_count`.
    NullTotal,
    /// Answer with the first page again, whatever page was asked for.
    RepeatPage,
    /// Give the page's first record again at its end.
    Duplicate,
    /// Give one record of the page without its id.
    NoId,
    /// Write the same in another way: a third of the records with null where nothing is, with
    /// fields that no document lists, and numbers as texts.
    Nulls,
    /// Use the names of the documents' example, `login_status` and `attach_infos`.
    OddNames,
    /// Add fields that no document lists to everything.
    Extra,
    /// Give no more than so many records of the page.
    ShortPage(u32),
    /// Leave so many records out of the page, though `total_count` counts them.
    Lose(u32),
    /// Give the first group's counters below 0 and beyond 32 bits.
    WildCounters,
    /// Let so much time pass in the world before this answer.
    Move(TimeDelta),
    /// Answer with an error under a good status.
    ErrorInside,
    /// Send the client to another host.
    Redirect,
    /// Refuse the token as one that must be renewed.
    ExpiredToken,
    /// Refuse the token as one that has expired, in the gateway's other words.
    StaleToken,
    /// All tokens given out so far are dead from now on, as if an administrator had revoked them.
    KillTokens,
    /// Refuse the access key as locked.
    Locked,
    /// Be so far off with the `Date` header.
    Skew(TimeDelta),
}

/// The shape of an error's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `{"error": {"code": 503, "message": …, "title": …}}`, the identity service's.
    Iam,
    /// `errorCode` and `errorMsg`.
    Camel,
    /// The service's, one level down.
    Nested,
    /// A plain text.
    Text,
    /// No body.
    Silent,
}

/// Which calls a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// All of them.
    Any,
    /// `connect-desktops`.
    Listing,
    /// `connections/status`.
    Statistics,
    /// `POST /v3/auth/tokens`.
    Tokens,
    /// `GET /v3/projects`.
    Projects,
}

/// When to misbehave, and how.
///
/// A rule counts the requests that it is about. Of those it takes what `skip`, `every` and `times`
/// leave, and of these so many as `rate` says, drawn from the server's seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    fault: Fault,
    on: On,
    offset: Option<u32>,
    skip: u32,
    every: u32,
    times: Option<u32>,
    rate: Option<f64>,
}

impl Rule {
    /// Misbehave at every request, until the rule is narrowed.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self { fault, on: On::Any, offset: None, skip: 0, every: 1, times: None, rate: None }
    }

    /// Only at one call.
    #[must_use]
    pub fn on(self, on: On) -> Self {
        Self { on, ..self }
    }

    /// Only at the page with this offset.
    #[must_use]
    pub fn offset(self, offset: u32) -> Self {
        Self { offset: Some(offset), ..self }
    }

    /// Behave at the first so many requests that match.
    #[must_use]
    pub fn skip(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    /// Misbehave only at each nth request that matches.
    #[must_use]
    pub fn every(self, every: u32) -> Self {
        Self { every: every.max(1), ..self }
    }

    /// Misbehave so many times, and behave from then on.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// Misbehave at this share of the requests, from 0 to 1, by chance.
    #[must_use]
    pub fn rate(self, rate: f64) -> Self {
        Self { rate: Some(rate), ..self }
    }

    /// Whether chance has a say in it.
    #[must_use]
    pub fn is_by_chance(&self) -> bool {
        self.rate.is_some()
    }
}
