//! Removing an app that no link uses.

use askama::Template;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::OrgId;
use store::apps::AppRow;
use uuid::Uuid;

use crate::app::{App, boxed};
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "identity_providers/apps/remove.html")]
struct Page {
    shell: Shell,
    base: String,
    app: AppRow,
    /// Those that it speaks for: then it stays.
    tenants: Vec<String>,
}

/// `GET /orgs/{org_id}/identity-providers/apps/{app_id}/remove`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let row = store::apps::get(&mut tx, id).await?.ok_or(PageError::NotFound)?;
    let links = store::links::list(&mut tx).await?;
    tx.commit().await?;
    let using = links.into_iter().filter(|link| link.app == Some(id));
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        app: row,
        tenants: using.map(|link| link.tenant_name).collect(),
    })
}

/// `POST /orgs/{org_id}/identity-providers/apps/{app_id}/remove`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, Uuid)>,
) -> Result<Response, PageError> {
    match boxed(app.linking.remove_app(member.org.id, &member.person, id)).await {
        Ok(row) => {
            let text = format!("The app {} is removed, with its credentials.", row.client_id);
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path("identity-providers/apps")).into_response())
        }
        Err(error) => super::failed(&member, Some(id), error).await,
    }
}
