//! The `deskledger` binary.
fn main() {}
