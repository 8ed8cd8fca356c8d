//! Sites, edges, and their credentials.

mod edge;
mod list;
mod new;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/sites", get(list::get).post(new::create_site))
        .route("/sites/edges/new", get(new::get))
        .route("/sites/edges", post(new::create_edge))
        .route("/sites/edges/{edge_id}", get(edge::get))
        .route("/sites/edges/{edge_id}/credentials", post(edge::issue))
        .route("/sites/edges/{edge_id}/credentials/{credential_id}/revoke", post(edge::revoke))
}
