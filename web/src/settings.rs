//! The organization's settings, and who changed what.

mod audit;
mod organization;

use axum::Router;
use axum::routing::get;

use crate::app::App;

pub(crate) use organization::coa_help;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/settings", get(organization::get).post(organization::post))
        .route("/audit", get(audit::get))
}
