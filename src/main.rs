//! The `deskledger` binary: parses, builds the runtime, runs, and chooses the exit code.

use std::process::ExitCode;

use anyhow::Context;
use deskledger::cli;
use deskledger::{error, telemetry};

fn main() -> ExitCode {
    // Wrong use ends here with code 2, and help with 0.
    let cli = cli::parse();
    telemetry::start(cli.verbosity());
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")
        .and_then(|runtime| runtime.block_on(cli::run(cli)));
    error::report(result)
}
