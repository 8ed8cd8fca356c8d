//! The one binary of Gatehouse: configuration, telemetry, lifecycle, and the roles of a process.
//!
//! A library too, so that tests start any role in their own process ([`serve::Process`]). It wires crates together
//! and holds no rule of its own. `gatehouse dev` starts the simulator as a process; nothing here may import it.

pub mod admin;
pub mod cli;
mod clock;
pub mod config;
mod credentials;
pub mod dev;
pub mod lifecycle;
pub mod master_key;
pub mod observe;
pub mod roles;
pub mod serve;
pub mod telemetry;
