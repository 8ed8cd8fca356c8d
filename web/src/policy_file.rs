//! The whole policy as one file: written for download, read back into the draft.

mod export;
mod import;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use domain::policy::transfer;

use crate::app::App;

/// Where editors and checks find the file's JSON Schema, without signing in.
pub(crate) const SCHEMA_PATH: &str = "/schema/policy.json";
/// A form's own fields around the file.
const FORM_BYTES_MAX: usize = transfer::FILE_BYTES_MAX + 64 * 1024;

pub(crate) fn routes() -> Router<App> {
    let import = Router::new()
        .route("/auth-policies/import", get(import::get).post(import::post))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX));
    Router::new().route("/auth-policies/export/{file}", get(export::get)).merge(import)
}

/// `GET /schema/policy.json`
pub(crate) async fn schema() -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/schema+json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600")),
    ];
    (headers, transfer::schema().to_string()).into_response()
}
