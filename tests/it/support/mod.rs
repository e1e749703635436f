//! What several tests need.

pub mod cycle;
pub mod exposition;
pub mod ledger;
pub mod postgres;
pub mod program;
#[cfg(target_os = "linux")]
pub mod proxy;

/// How many of something a variable of the environment asks for.
pub fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
