//! The simulator over HTTP, as its clients see it.

mod assertion;
mod batch;
mod consent;
mod control;
mod discovery;
mod entra_devices;
mod faults;
mod managed_devices;
mod persistence;
mod sign_in;
mod support;
mod tokens;
