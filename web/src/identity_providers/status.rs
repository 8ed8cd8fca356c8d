//! How a linked account fares: its state, what is done for it, and how fast its changes get through.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::{LinkId, OrgId};
use serde_json::json;
use store::audit;
use store::views::links::LinkView;
use time::OffsetDateTime;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::work::{self, Work};

#[derive(Template)]
#[template(path = "identity_providers/status.html")]
struct Page {
    shell: Shell,
    base: String,
    devices: String,
    link: LinkView,
    work: Work,
    now: OffsetDateTime,
}

/// What changes while work goes on.
#[derive(Template)]
#[template(path = "identity_providers/progress.html")]
pub(super) struct Progress<'a> {
    pub link: &'a LinkView,
    pub work: &'a Work,
    pub devices: &'a str,
    pub now: OffsetDateTime,
}

/// `GET /orgs/{org_id}/identity-providers/{link_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LinkId)>,
) -> Result<Response, PageError> {
    let now = member.now();
    let mut tx = member.tx(&app).await?;
    let link = store::views::links::one(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let mut work = work::read(&mut tx, id, now).await?;
    tx.commit().await?;
    work::measure(&app, &mut work, &link).await;
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        devices: member.path("devices"),
        link,
        work,
        now,
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
