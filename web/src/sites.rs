//! Sites, edges, and their credentials.

mod connect;
mod credentials;
mod edge;
mod edge_delete;
mod health;
mod list;
mod new;
mod probe;
mod site;
mod snippets;
mod tryout;

use axum::Router;
use axum::routing::{get, post};
use domain::policy::FieldError;

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/sites", get(list::get).post(new::create_site))
        .route("/sites/{site_id}", get(site::get).post(site::post))
        .route("/sites/{site_id}/delete", get(site::get_delete).post(site::post_delete))
        .route("/sites/edges/new", get(new::get))
        .route("/sites/edges", post(new::create_edge))
        .route("/sites/edges/{edge_id}", get(edge::get).post(edge::rename))
        .route("/sites/edges/{edge_id}/switch", post(edge::switch))
        .route("/sites/edges/{edge_id}/delete", get(edge_delete::get).post(edge_delete::post))
        .route("/sites/edges/{edge_id}/connect", get(connect::get))
        .route("/sites/edges/{edge_id}/test", get(probe::get).post(probe::post))
        .route("/sites/edges/{edge_id}/test/live", get(probe::live))
        .route("/sites/edges/{edge_id}/credentials", post(credentials::issue))
        .route("/sites/edges/{edge_id}/credentials/rotate", post(credentials::rotate))
        .route("/sites/edges/{edge_id}/credentials/{credential_id}/extend", post(credentials::extend))
        .route("/sites/edges/{edge_id}/credentials/{credential_id}/revoke", post(credentials::revoke))
}

/// What is wrong with a name of a site or an edge.
fn check_name(name: &str) -> Option<FieldError> {
    let length = name.chars().count();
    if length == 0 {
        Some(FieldError::new("name", "required", "Give it a name."))
    } else if length > 64 || name.chars().any(char::is_control) {
        Some(FieldError::new("name", "bad_value", "Use 64 characters at most, and no control characters."))
    } else {
        None
    }
}
