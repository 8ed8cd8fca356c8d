//! The harness of the scenario tests: real PostgreSQL, real Redis, the real routers, and the simulator over HTTP.
//!
//! `./dev test` starts the two servers once and names them in the environment; every test takes a database of its
//! own, cloned from a migrated template, and a key prefix of its own. Processes run as `gatehouse_app`, a role that
//! row level security binds, or isolation tests would prove nothing.

pub mod app;
pub mod browser;
pub mod database;
pub mod journey;
pub mod nas;
pub mod processes;
pub mod visitor;

use std::time::{Duration, Instant};

pub use app::{Options, TestApp};
pub use database::Database;

/// Asks until there is an answer; panics with `what` after 30 s.
pub async fn eventually<T, F>(what: &str, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let started = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "waited 30 s in vain: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
