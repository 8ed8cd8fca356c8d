//! The simulator over HTTP, as its clients see it.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod assertion;
mod batch;
mod consent;
mod control;
mod discovery;
mod entra_devices;
mod faults;
mod managed_devices;
mod nac;
mod persistence;
mod sign_in;
mod support;
mod tokens;
