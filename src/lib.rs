//! deskledger remembers the state of virtual desktops.

pub mod cli;
pub mod domain;
pub mod report;
