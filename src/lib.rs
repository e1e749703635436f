//! deskledger remembers the state of virtual desktops.

pub mod cli;
pub mod config;
pub mod domain;
pub mod error;
pub mod exchange;
pub mod telemetry;
