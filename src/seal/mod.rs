//! Seals: a small signed statement of where the chain of every source stood, to be kept elsewhere.
//!
//! A chain alone shows that its parts fit one another. Whoever can write the whole database can write
//! another chain that fits too, or leave its newest entries out. A seal that was kept elsewhere is what
//! such a chain does not go through.

mod key;
mod statement;

pub use key::{KeyError, PublicKey, SealingKey};
pub use statement::{Head, Seal, SealError};
