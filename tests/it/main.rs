//! Integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod answers;
mod architecture;
mod authentication;
mod chain;
mod civil_time;
mod doctor;
mod exchange;
mod oracle;
mod planted;
mod private_postgresql;
mod process;
mod refusals;
mod report_runner;
mod schema;
mod sdk;
mod simulator;
mod stand_in;
mod storm;
mod support;
mod traps;
mod verify;
mod workspace;
