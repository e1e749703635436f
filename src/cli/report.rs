//! `deskledger report`.
