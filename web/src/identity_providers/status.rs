//! How a linked account fares.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::{LinkId, OrgId};
use serde_json::json;
use store::audit;
use store::views::links::{LinkView, RunView};
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "identity_providers/status.html")]
struct Page {
    shell: Shell,
    base: String,
    link: LinkView,
    runs: Vec<RunView>,
    now: OffsetDateTime,
}

/// What changes while a sweep runs.
#[derive(Template)]
#[template(path = "identity_providers/progress.html")]
pub(super) struct Progress<'a> {
    pub link: &'a LinkView,
    pub runs: &'a [RunView],
    pub now: OffsetDateTime,
}

/// `GET /orgs/{org_id}/identity-providers/{link_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let link = store::views::links::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let runs = store::views::links::runs(&mut tx, id, 20).await?;
    tx.commit().await?;
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        link,
        runs,
        now: member.now(),
    })
}

/// `POST /orgs/{org_id}/identity-providers/{link_id}/sync`
pub(super) async fn sync(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let link = store::views::links::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    if !store::jobs::request_sweep(&mut tx, id, now).await? {
        return Err(PageError::Conflict(
            "The account has no sync job. Link it again to make one.".to_owned(),
        ));
    }
    let detail = json!({ "link": id });
    audit::write(&mut tx, &app.ids, now, &member.actor(), "link.sync", &link.tenant_name, detail).await?;
    tx.commit().await?;
    member.flash(Flash::good("A sync is on its way.")).await?;
    Ok(Redirect::to(&member.path(&format!("identity-providers/{id}"))).into_response())
}
