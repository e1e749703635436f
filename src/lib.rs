//! deskledger remembers the state of virtual desktops.

pub mod cli;
pub mod clock;
pub mod domain;
pub mod simulator;
pub mod workspace;
