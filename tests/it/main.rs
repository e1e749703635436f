//! Integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod answers;
mod oracle;
mod private_postgresql;
mod support;
