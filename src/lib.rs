//! deskledger remembers the state of virtual desktops.

pub mod domain;
pub mod exchange;
