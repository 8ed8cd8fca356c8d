//! The pieces of HTTP that every service of Gatehouse answers with: problem+json, request ids, one log line per
//! request, health, and a server that stops in two steps.
//!
//! Invariants: an error answer says what to do and carries the request id; a 5xx answer carries no inside detail; a
//! panic ends one request, not the process; nothing that a header, a query or a body holds is logged, save a
//! request id of harmless characters. It must not know any service.

mod front;
pub mod health;
mod json;
mod problem;
mod serve;
#[cfg(test)]
mod tests;

pub use front::{Front, FrontLayer, RequestContext};
pub use json::Json;
pub use problem::{FieldProblem, Problem, method_not_allowed, not_found};
pub use serve::{ServeError, bind, serve};

/// Refuses bodies of more than this many bytes, where they are read.
pub const fn body_limit(bytes_max: usize) -> axum::extract::DefaultBodyLimit {
    axum::extract::DefaultBodyLimit::max(bytes_max)
}
