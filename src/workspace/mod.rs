//! The client of the Workspace API: from an endpoint and credentials to what one visit read.
//!
//! It knows the domain, and nothing of the database or of when to look. A visit never fails as a
//! whole: what could be read is kept, and why the rest could not is part of the answer, because
//! "we could not look" has to be recorded as faithfully as what was seen. Only a client that could
//! not work at all (plain http to a foreign host, an unusable key) is refused, when it is built.

mod account;
pub mod auth;
mod client;
mod error;
mod exits;
mod guard;
mod hint;
mod http;
mod iam;
mod identity;
mod listing;
mod pace;
mod probe;
mod reach;
pub mod region;
mod retry;
mod run;
pub mod sign;
mod token;
mod transport;
pub mod wire;

pub use account::{Account, Accounts, REQUESTS_PER_MINUTE};
pub use auth::Credentials;
pub use client::{Client, ClientConfig, ConfigError, Effort, Visit};
pub use error::{ApiError, Kind};
pub use exits::Exits;
pub use identity::{ProjectError, Who, find_project};
pub use listing::{Known, MOST_SUSPICIONS};
pub use probe::{Glance, Look};
pub use reach::{Reach, ReachError, reach};
pub use run::{Fate, Skew, Traffic};
