//! deskledger remembers the state of virtual desktops.

pub mod cli;
pub mod clock;
pub mod collector;
pub mod config;
pub mod domain;
pub mod error;
pub mod exchange;
pub mod report;
pub mod simulator;
pub mod store;
pub mod telemetry;
pub mod workspace;
