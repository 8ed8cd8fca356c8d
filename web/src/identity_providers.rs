//! Identity Providers: linked accounts, and the journey that links one.

pub(crate) mod apps;
pub(crate) mod callback;
mod link;
mod list;
mod live;
mod status;
mod unlink;
mod work;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

pub(crate) use link::begin_for;
// For templates.
pub(crate) use work::{clock_rows, figure, is_due, job_words};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .merge(apps::routes())
        .route("/identity-providers", get(list::get))
        .route("/identity-providers/link", get(link::get).post(link::post))
        .route("/identity-providers/link/other", post(link::other))
        .route("/identity-providers/link/again", post(callback::again))
        .route("/identity-providers/{link_id}", get(status::get))
        .route("/identity-providers/{link_id}/sync", post(status::sync))
        .route("/identity-providers/{link_id}/live", get(live::get))
        .route("/identity-providers/{link_id}/unlink", get(unlink::get).post(unlink::post))
}
