//! The real router on a real PostgreSQL and Redis, each behind a proxy that can be cut.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounting;
mod commands;
mod decisions;
mod document;
mod fields;
mod isolation;
mod looks;
mod outages;
mod policy;
mod proxy;
mod throughput;
mod world;
