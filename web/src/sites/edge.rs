//! One edge and its credentials.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::{CredentialId, EdgeId, OrgId};
use store::edges::{self, CredentialRow, EdgeToken};
use store::views::sites::EdgeView;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "sites/edge.html")]
struct Page {
    shell: Shell,
    base: String,
    events: String,
    edge: EdgeView,
    credentials: Vec<CredentialRow>,
    /// A new token: shown this once.
    token: Option<String>,
    nac_url: String,
}

/// The page, with a new token where one was just made.
pub(super) async fn show(
    member: &Member,
    app: &App,
    id: EdgeId,
    token: Option<EdgeToken>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let edge = store::views::sites::edge(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let mut credentials = edges::credentials_of(&mut tx, id).await?;
    tx.commit().await?;
    credentials.reverse();
    let status = if token.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        events: member.path("events"),
        edge,
        credentials,
        token: token.map(|token| token.reveal().to_owned()),
        nac_url: app.config().nac_url.as_str().trim_end_matches('/').to_owned(),
    };
    page_as(status, &view)
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    show(&member, &app, id, None).await
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials`: one more token, so that an edge can change over without
/// a gap.
pub(super) async fn issue(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let issued = edges::issue_credential(&mut tx, &app.ids, member.now(), &member.actor(), id).await?;
    let (token, _) = issued.ok_or(PageError::NotFound)?;
    tx.commit().await?;
    show(&member, &app, id, Some(token)).await
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/credentials/{credential_id}/revoke`
pub(super) async fn revoke(
    member: Member,
    State(app): State<App>,
    Path((_, edge, credential)): Path<(OrgId, EdgeId, CredentialId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let row = edges::credential(&mut tx, credential).await?;
    row.filter(|row| row.edge == edge).ok_or(PageError::NotFound)?;
    let revoked =
        edges::revoke_credential(&mut tx, &app.ids, member.now(), &member.actor(), credential).await?;
    tx.commit().await?;
    let flash = if revoked {
        Flash::good("The token is revoked: whoever holds it is refused from now on.")
    } else {
        Flash::warn("The token was revoked already.")
    };
    member.flash(flash).await?;
    Ok(Redirect::to(&member.path(&format!("sites/edges/{edge}"))).into_response())
}
