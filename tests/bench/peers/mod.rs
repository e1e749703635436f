//! What users have today, beside deskledger in the same run: a row for each desktop and poll, and dlt.

pub mod dlt;
pub mod rows;
