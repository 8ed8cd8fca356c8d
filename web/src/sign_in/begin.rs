//! The sign-in page.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::form::{given, local_path};
use crate::shell::{Shell, page};
use crate::visit::Visit;

use super::{Purpose, begin, failed};

#[derive(Deserialize)]
pub(super) struct ReturnTo {
    #[serde(default)]
    return_to: String,
}

#[derive(Template)]
#[template(path = "sign_in/begin.html")]
struct Page {
    shell: Shell,
    return_to: String,
}

/// `GET /sign-in`
pub(super) async fn get(visit: Visit, Query(query): Query<ReturnTo>) -> Result<Response, PageError> {
    if visit.person.is_some() {
        return Ok(Redirect::to(&local_path(&query.return_to)).into_response());
    }
    page(&Page { shell: visit.shell().await?, return_to: query.return_to })
}

/// `POST /sign-in`: to Microsoft.
pub(super) async fn post(
    visit: Visit,
    State(app): State<App>,
    Form(form): Form<ReturnTo>,
) -> Result<Response, PageError> {
    let return_to = given(&form.return_to).map(local_path);
    match begin(&app, &visit.session, Purpose::SignIn { return_to }).await? {
        Ok(url) => Ok(Redirect::to(url.as_str()).into_response()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a sign-in could not begin");
            failed(StatusCode::BAD_GATEWAY, visit.shell().await?, error.words())
        }
    }
}
