//! Integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod answers;
mod architecture;
mod authentication;
mod chain;
mod civil_time;
// Reads what a process took from /proc.
#[cfg(target_os = "linux")]
mod collect_memory;
mod compact;
// Finds the processes of a server in /proc.
#[cfg(target_os = "linux")]
mod crash;
mod dashboard;
mod doctor;
mod doctor_spool;
mod erasure;
mod exchange;
mod fleet_reports;
mod forecasts;
mod headers;
mod installed;
mod late;
mod long_texts;
mod metrics;
mod oracle;
mod page;
mod planted;
mod private_postgresql;
mod process;
mod recorders;
mod refusals;
mod reload;
mod report_formats;
mod report_looks;
// Reads what a process took from /proc.
#[cfg(target_os = "linux")]
mod report_memory;
mod report_runner;
mod retention;
mod schema;
mod sdk;
mod serve;
mod shown;
mod simulation;
mod simulator;
mod spool;
mod sql_page;
mod stand_in;
mod storm;
mod support;
mod traps;
mod troubleshooting;
mod upgrade;
mod verify;
mod webhooks;
mod workspace;
