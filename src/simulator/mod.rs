//! A cloud of one's own: a fleet of desktops made from a seed, and the Workspace API over it.
//!
//! [`World`] is pure, and the demo and the tests use it straight; [`server`] shows it over HTTP with
//! the documented limits, checked signatures and tokens, and with whatever [`fault`]s are asked for.
//! It proves what a real cloud cannot be asked to prove. What it cannot prove is that the real one
//! behaves as documented.

mod access;
mod api;
mod bodies;
mod connection;
mod content;
mod dice;
pub mod fault;
mod history;
mod identity;
mod limits;
mod misbehave;
mod respond;
pub mod server;
mod tally;
mod throttle;
pub mod world;

pub use fault::{Fault, On, Rule, Shape};
pub use history::History;
pub use server::{Password, ServerConfig, Simulator, Step, TotalCounts, serve};
pub use tally::Tally;
pub use world::{MassDisconnect, World, WorldConfig};
