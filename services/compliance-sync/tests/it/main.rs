//! The sync on real PostgreSQL and Redis, against a Graph that does as it is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod clock;
mod concurrency;
mod considerate;
mod fairness;
mod graph;
mod holds;
mod looks;
mod moves;
mod skew;
mod sweeps;
mod troubles;
mod world;
