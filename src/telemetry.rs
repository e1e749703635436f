//! Logs: on stderr always, for people on a terminal, JSON for machines.
//!
//! Users' names are data and never log text; ids and counts are fields.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// How much is said: `-v` counts up, `-q` down.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verbosity {
    /// Times `-v` was given.
    pub more: u8,
    /// Whether `-q` was given.
    pub quiet: bool,
}

impl Verbosity {
    /// The levels per module. The database driver logs each statement at `debug`, so it stays a step
    /// behind.
    fn directives(self) -> &'static str {
        match self {
            Self { quiet: true, .. } => "error",
            Self { more: 0, .. } => "warn,deskledger=info",
            Self { more: 1, .. } => "info,deskledger=debug",
            Self { more: 2, .. } => "info,deskledger=trace",
            Self { .. } => "trace",
        }
    }
}

/// Begins logging. `RUST_LOG` wins over the flags: whoever sets it wants something particular.
pub fn start(verbosity: Verbosity) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(verbosity.directives()));
    let is_terminal = io::stderr().is_terminal();
    let is_plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // Said where the log cannot be written either, which would end the process half-way: a terminal may go away.
        .log_internal_errors(false);
    // A second start, as in tests, keeps the first.
    let _ = if is_terminal {
        logs.with_ansi(!is_plain).with_target(false).try_init()
    } else {
        logs.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verbosity_is_a_filter() {
        for quiet in [false, true] {
            for more in 0..4 {
                let directives = Verbosity { more, quiet }.directives();
                assert!(EnvFilter::try_new(directives).is_ok(), "{directives}");
            }
        }
    }
}
