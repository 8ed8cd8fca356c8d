//! The sign-in page.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use serde::Deserialize;

use crate::app::App;
use crate::clouds::{self, Choice};
use crate::error::PageError;
use crate::form::{given, local_path};
use crate::shell::{Shell, page};
use crate::visit::Visit;

use super::{Purpose, begin, failed};

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct ReturnTo {
    return_to: String,
    /// Of Microsoft; empty: the usual one.
    cloud: String,
}

#[derive(Template)]
#[template(path = "sign_in/begin.html")]
struct Page {
    shell: Shell,
    return_to: String,
    /// The usual one first.
    clouds: Vec<Choice>,
}

/// `GET /sign-in`
pub(super) async fn get(
    visit: Visit,
    State(app): State<App>,
    Query(query): Query<ReturnTo>,
) -> Result<Response, PageError> {
    if visit.person.is_some() {
        return Ok(Redirect::to(&local_path(&query.return_to)).into_response());
    }
    page(&Page { shell: visit.shell().await?, return_to: query.return_to, clouds: clouds::choices(&app) })
}

/// `POST /sign-in`: to Microsoft.
pub(super) async fn post(
    visit: Visit,
    State(app): State<App>,
    Form(form): Form<ReturnTo>,
) -> Result<Response, PageError> {
    let return_to = given(&form.return_to).map(local_path);
    let Some(cloud) = clouds::chosen(&app, &form.cloud, None) else {
        // Not from our page: that offers only what there is.
        return Ok(Redirect::to("/sign-in").into_response());
    };
    match begin(&app, &visit.session, cloud, Purpose::SignIn { return_to }).await? {
        Ok(url) => Ok(Redirect::to(url.as_str()).into_response()),
        Err(error) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "a sign-in could not begin");
            failed(StatusCode::BAD_GATEWAY, visit.shell().await?, error.words())
        }
    }
}
