//! The sync on real PostgreSQL and Redis, against a Graph that does as it is told.

mod concurrency;
mod graph;
mod moves;
mod sweeps;
mod throughput;
mod troubles;
mod world;
