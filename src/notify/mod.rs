//! Tells others what whoever is on call has to know: signed JSON, posted to the places that are configured.
//!
//! - [`Teller`] hears from the loops that record what they do. It never waits, so recording never waits for a receiver.
//! - `state` says what goes on and what is over, by the rules that reports and metrics follow.
//! - `notifier` holds that against what was told of it, and puts what is new into
//! - [`Outbox`], on disk, from where
//! - `deliver` posts it, until it is taken, in an order that stays.
//! - [`Event`]s have ids of what they are about: whoever tells one again, be it another recorder, tells the same, and a
//!   receiver knows it again.

mod deliver;
mod event;
mod notifier;
mod outbox;
mod post;
mod sign;
mod state;
mod tally;
mod target;
mod teller;
mod verified;

pub use event::{Condition, Event, TEST, instant};
pub use notifier::{Notifier, SpoolPart};
pub use outbox::{Added, LIFE, MOST, Opened, Outbox, Pending};
pub use post::{Answer, Poster};
pub use sign::{new_secret, signature};
pub use tally::{Counts, Outcome, Tally};
pub use teller::Teller;
pub use verified::{Checked, Wrong, tell_verified};
