//! App registrations that the organization brings: some companies let nobody else's app into their tenant.

mod change;
mod credentials;
mod detail;
mod download;
mod link;
mod list;
mod new;
mod remove;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use linking::OwnAppError;
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, page_as};
use crate::ui;
use crate::visit::Member;

pub(crate) use link::finish as link_with;

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/identity-providers/apps", get(list::get).post(new::post))
        .route("/identity-providers/apps/new", get(new::get))
        .route("/identity-providers/apps/{app_id}", get(detail::get))
        .route("/identity-providers/apps/{app_id}/link", post(link::own))
        .route("/identity-providers/apps/{app_id}/link/other", post(link::other))
        .route("/identity-providers/apps/{app_id}/certificates", post(credentials::certificate))
        .route("/identity-providers/apps/{app_id}/secrets", post(credentials::secret))
        .route("/identity-providers/apps/{app_id}/credentials/{app_credential_id}/check", post(change::check))
        .route(
            "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/retire",
            get(change::ask).post(change::retire),
        )
        .route(
            "/identity-providers/apps/{app_id}/credentials/{app_credential_id}/{download}",
            get(download::get),
        )
        .route("/identity-providers/apps/{app_id}/remove", get(remove::get).post(remove::post))
}

/// Tells why nothing was done, and what to do; what is not theirs does not exist.
async fn failed(member: &Member, app_id: Option<Uuid>, error: OwnAppError) -> Result<Response, PageError> {
    let status = match &error {
        OwnAppError::NotFound => return Err(PageError::NotFound),
        OwnAppError::Store(_) => {
            let OwnAppError::Store(error) = error else { return Err(PageError::NotFound) };
            return Err(error.into());
        }
        OwnAppError::NotPrivileged | OwnAppError::OtherCloud { .. } => StatusCode::FORBIDDEN,
        OwnAppError::Refused(_) | OwnAppError::Graph(_) => StatusCode::BAD_GATEWAY,
        _ => StatusCode::CONFLICT,
    };
    tracing::info!(org = %member.org.id, error = &error as &dyn std::error::Error, "an own app could not be used");
    let base = member.path("identity-providers/apps");
    let view = FailedPage {
        shell: member.shell(Area::IdentityProviders).await?,
        back: app_id.map_or_else(|| base.clone(), |id| format!("{base}/{id}")),
        base: member.path("identity-providers"),
        words: error.words(),
    };
    page_as(status, &view)
}

#[derive(askama::Template)]
#[template(path = "identity_providers/apps/failed.html")]
struct FailedPage {
    shell: crate::shell::Shell,
    base: String,
    back: String,
    words: linking::Words,
}

/// To the page of an app.
fn to_app(member: &Member, id: Uuid) -> Response {
    Redirect::to(&member.path(&format!("identity-providers/apps/{id}"))).into_response()
}
