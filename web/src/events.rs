//! NAC Events: what happened to clients, and why.

mod detail;
pub(crate) mod explain;
mod filter;
mod list;
mod live;

use axum::Router;
use axum::routing::get;

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/events", get(list::get))
        .route("/events/live", get(live::get))
        .route("/events/{event_id}", get(detail::get))
}

pub(crate) use filter::{read_cursor, write_cursor};
