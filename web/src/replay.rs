//! Replay: what a policy would have done with the decisions of the last hours or days.

mod csv;
mod form;
mod status;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/auth-policies/replay", get(form::get).post(form::post))
        .route("/auth-policies/replay/{replay}", get(status::get))
        .route("/auth-policies/replay/{replay}/live", get(status::live))
        .route("/auth-policies/replay/{replay}/csv", get(csv::get))
        .route("/auth-policies/replay/{replay}/stop", post(status::stop))
}
