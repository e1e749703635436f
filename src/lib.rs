//! deskledger remembers the state of virtual desktops.

pub mod config;
pub mod domain;
pub mod exchange;
