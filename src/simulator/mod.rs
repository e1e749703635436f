//! A cloud of one's own: a fleet of desktops made from a seed, and the Workspace API over it.
//!
//! [`World`] is pure, and the demo and the tests use it straight; [`server`] shows it over HTTP with
//! the documented limits, checked signatures and tokens, and with whatever [`fault`]s are asked for.
//! It proves what a real cloud cannot be asked to prove. What it cannot prove is that the real one
//! behaves as documented.

mod access;
mod api;
pub mod fault;
mod respond;
pub mod server;
pub mod world;

pub use fault::{Fault, On, Rule};
pub use server::{Password, ServerConfig, Simulator, Step, serve};
pub use world::{MassDisconnect, World, WorldConfig};
