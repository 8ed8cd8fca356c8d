//! The dashboard's pages, through its router, on real PostgreSQL and Redis.

mod world;
