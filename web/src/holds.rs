//! Moves that wait for an admin, because so much of a fleet turned worse at once.

mod decide;
mod detail;
mod list;

use axum::Router;
use axum::routing::get;

use crate::app::App;

// For templates.
pub(crate) use detail::{command_words, state_words};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/holds", get(list::get))
        .route("/holds/{hold_id}", get(detail::get))
        .route("/holds/{hold_id}/release", get(decide::release).post(decide::post_release))
        .route("/holds/{hold_id}/discard", get(decide::discard).post(decide::post_discard))
}
