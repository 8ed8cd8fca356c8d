//! The real router on a real PostgreSQL and Redis, each behind a proxy that can be cut.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod accounting;
mod bundle;
mod commands;
mod decisions;
mod document;
mod edges;
mod events;
mod fields;
mod freeradius;
mod isolation;
mod looks;
mod outages;
mod policy;
mod proxy;
mod radius;
mod stream;
mod throughput;
mod world;
