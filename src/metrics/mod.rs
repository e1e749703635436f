//! A recorder as it is seen from outside: its metrics, whether its loops turn, and whether it can do its work.
//!
//! - [`Watch`] is told by the loops what they do. It holds plain figures, so that whoever asks waits neither for the
//!   database nor for the API, and a loop never waits for whoever asks.
//! - `exposition` writes them down for Prometheus. What is not known is left out: a zero would be a claim.
//! - `health` says what is wrong, in words for whoever is on call.
//! - `routes` answers.
//!
//! Labels are the names of sources and words of ours. No name of a person or a desktop is ever in here.

mod exposition;
mod health;
mod routes;
mod watch;

pub use routes::serve;
pub use watch::{Loop, Watch, WatchedSource};
