//! Signing out, here and at Microsoft.

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Shell, page};
use crate::visit::Visit;

/// `POST /sign-out`: the session ends, and Microsoft's with it, or the next person at this browser would be signed
/// in with one click.
pub(super) async fn post(visit: Visit, State(app): State<App>) -> Result<Response, PageError> {
    let cloud = visit.person.as_ref().map(|person| person.identity.cloud);
    visit.session.flush().await?;
    let back = app.config().public_url.join("signed-out").map_err(|e| PageError::Inside(e.to_string()))?;
    // Nobody was signed in, or their cloud is gone: the usual one.
    let host =
        cloud.and_then(|cloud| app.linking.login_url(cloud)).or_else(|| app.linking.login_urls().next());
    let Some(host) = host else { return Ok(Redirect::to("/signed-out").into_response()) };
    let base = host.as_str().trim_end_matches('/');
    let to = url::Url::parse_with_params(
        &format!("{base}/organizations/oauth2/v2.0/logout"),
        [("post_logout_redirect_uri", back.as_str())],
    );
    let to = to.map_err(|e| PageError::Inside(e.to_string()))?;
    Ok(Redirect::to(to.as_str()).into_response())
}

#[derive(Template)]
#[template(path = "sign_in/out.html")]
struct Page {
    shell: Shell,
}

/// `GET /signed-out`
pub(super) async fn get(visit: Visit) -> Result<Response, PageError> {
    page(&Page { shell: visit.shell().await? })
}
