//! Integration tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot set its scene has failed")]

mod private_postgresql;
mod support;
