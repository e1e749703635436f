//! PostgreSQL: the only room that speaks SQL.

pub mod private;
