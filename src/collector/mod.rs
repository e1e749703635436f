//! Records sources on their schedules: ticks, cycles, and an orderly end.
//!
//! A source has a worker of its own, so that one that fails or is slow delays no other. The step,
//! [`Cycle::run`], is separate from the loop around it: `collect --once`, the demo and tests call the step.
//! What is fetched while the database is away waits on disk: [`spool`].

mod cycle;
mod keeper;
mod schedule;
pub mod spool;
mod succession;
mod turns;
mod writer;

pub use cycle::{Cycle, Outcome, Step, Visitor, Withheld, take};
pub use keeper::{Backlog, Keeper, Kept, PATIENCE, Tally};
pub use schedule::{Skipped, Tick, Ticker, next_tick};
pub use succession::Standing;
pub use turns::Turns;
pub use writer::{CaughtUp, Opening, Probe, WriteError, Written};
