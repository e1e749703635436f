//! What several tests need.

pub mod cycle;
pub mod ledger;
pub mod postgres;
pub mod program;
#[cfg(target_os = "linux")]
pub mod proxy;
