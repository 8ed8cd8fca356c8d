//! The way back from Microsoft's sign-in page.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use linking::{PendingSignIn, SignInCallback, SignInError, Words};

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::identity_providers;
use crate::session::key;
use crate::visit::{Member, Visit};

use super::failed;
use super::pending::{Purpose, take};

pub(crate) const PATH: &str = "/sign-in/callback";

/// `GET /sign-in/callback`
pub(crate) async fn get(
    visit: Visit,
    State(app): State<App>,
    Query(callback): Query<SignInCallback>,
) -> Result<Response, PageError> {
    match take(&visit.session, &callback).await? {
        Some((pending, Purpose::SignIn { return_to })) => {
            sign_in(visit, app, callback, pending, return_to).await
        }
        Some((pending, Purpose::LinkTenant { org })) => {
            match boxed(app.linking.verify_identity(&callback, &pending)).await {
                Ok(tenant) => identity_providers::begin_for(visit, app, org, tenant).await,
                Err(error) => refused(visit, error).await,
            }
        }
        Some((pending, Purpose::LinkWithApp { org, app: id })) => {
            match boxed(app.linking.verify_identity(&callback, &pending)).await {
                Ok(tenant) => {
                    let member = Member::of(visit, &app, org).await?;
                    identity_providers::apps::link_with(member, app, id, tenant).await
                }
                Err(error) => refused(visit, error).await,
            }
        }
        // Whoever is signed in already, and came back by the browser's history, has nothing to fear.
        None if visit.person.is_some() => Ok(Redirect::to("/").into_response()),
        None => {
            let words = Words {
                title: "That sign-in is not yours".to_owned(),
                cause: "This answer belongs to no sign-in that this browser began, or it began too long ago."
                    .to_owned(),
                remedy: "Sign in again.".to_owned(),
                detail: None,
            };
            failed(StatusCode::FORBIDDEN, visit.shell().await?, words)
        }
    }
}

async fn sign_in(
    visit: Visit,
    app: App,
    callback: SignInCallback,
    pending: PendingSignIn,
    return_to: Option<String>,
) -> Result<Response, PageError> {
    match boxed(app.linking.complete_sign_in(&callback, &pending)).await {
        Ok(person) => {
            // A new id: whoever may have planted the old one in this browser does not know it.
            visit.session.cycle_id().await?;
            visit.session.insert(key::PERSON, person).await?;
            Ok(Redirect::to(return_to.as_deref().unwrap_or("/")).into_response())
        }
        Err(error) => refused(visit, error).await,
    }
}

async fn refused(visit: Visit, error: SignInError) -> Result<Response, PageError> {
    tracing::info!(error = &error as &dyn std::error::Error, "nobody was signed in");
    failed(StatusCode::FORBIDDEN, visit.shell().await?, error.words())
}
