//! Unlinking an account.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::{LinkId, OrgId};
use linking::UnlinkError;
use store::views::links::LinkView;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "identity_providers/unlink.html")]
struct Page {
    shell: Shell,
    base: String,
    link: LinkView,
    active_sessions: i64,
}

/// `GET /orgs/{org_id}/identity-providers/{link_id}/unlink`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let link = store::views::links::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let active_sessions = store::views::overview::active_sessions(&mut tx).await?;
    tx.commit().await?;
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        link,
        active_sessions,
    })
}

/// `POST /orgs/{org_id}/identity-providers/{link_id}/unlink`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    match app.linking.unlink(member.org.id, &member.person, id).await {
        Ok(done) => {
            let devices = crate::format::count(i64::try_from(done.devices).unwrap_or(i64::MAX));
            let text =
                format!("{} is unlinked, and {devices} device records are forgotten.", done.tenant_name);
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path("identity-providers")).into_response())
        }
        Err(UnlinkError::NotFound) => Err(PageError::NotFound),
        Err(UnlinkError::Store(error)) => Err(error.into()),
    }
}
