//! Clients: who is on the network, as edges tell it.

mod detail;
mod list;
mod reauthenticate;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/clients", get(list::get))
        .route("/clients/{mac}", get(detail::by_mac))
        .route("/sessions/{session_id}", get(detail::by_session))
        .route("/sessions/{session_id}/reauthenticate", post(reauthenticate::post))
}
