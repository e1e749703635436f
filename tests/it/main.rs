//! Integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should stop here")]

mod civil_time;
mod report_runner;
mod stand_in;
