//! The dashboard's pages, through its router, on real PostgreSQL and Redis.

mod forms;
mod guard;
mod live;
mod pages;
mod world;
