//! This crate against the simulator, as Gatehouse runs it.

#![expect(clippy::unwrap_used, reason = "a test helper that cannot go on fails its test")]

mod clouds;
mod graph;
mod rollover;
mod support;
