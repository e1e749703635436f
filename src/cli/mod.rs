//! The command line: clap types, and one file a command that wires rooms together.

pub mod simulate;
