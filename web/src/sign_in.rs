//! Signing in and out, and the organizations of a person.

mod begin;
pub(crate) mod callback;
mod organizations;
mod out;
mod pending;

use axum::Router;
use axum::routing::{get, post};
use linking::Words;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Shell, page_as};

pub(crate) use pending::{Purpose, begin};

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/", get(organizations::home))
        .route("/sign-in", get(begin::get).post(begin::post))
        .route(callback::PATH, get(callback::get))
        .route("/sign-out", post(out::post))
        .route("/signed-out", get(out::get))
        .route("/organizations", get(organizations::list).post(organizations::create))
        .route("/organizations/join", post(organizations::join))
}

#[derive(askama::Template)]
#[template(path = "sign_in/failed.html")]
struct FailedPage {
    shell: Shell,
    words: Words,
}

/// Tells why nobody was signed in, and what to do.
pub(crate) fn failed(
    status: axum::http::StatusCode,
    shell: Shell,
    words: Words,
) -> Result<axum::response::Response, PageError> {
    page_as(status, &FailedPage { shell, words })
}
