//! Devices: the inventory as Microsoft Intune has it, and what decisions make of each.

mod check;
mod detail;
mod explain;
mod list;
mod live;

use axum::Router;
use axum::routing::{get, post};

use crate::app::App;

// For templates.
pub(crate) use detail::Check;
pub(crate) use explain::{match_key_words, noticed_words};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/devices", get(list::get))
        .route("/devices/{link_id}/{device_id}", get(detail::get))
        .route("/devices/{link_id}/{device_id}/check", post(check::post))
        .route("/devices/{link_id}/{device_id}/live", get(live::get))
}
