//! The dashboard's pages, through its router, on real PostgreSQL and Redis.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so")]

mod analysis;
mod clients;
mod devices;
mod edges;
mod forms;
mod guard;
mod holds;
mod links;
mod live;
mod much;
mod pages;
mod policy;
mod remediation;
mod timeline;
mod world;
