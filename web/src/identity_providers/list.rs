//! The linked accounts.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use store::views::links::LinkView;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "identity_providers/list.html")]
struct Page {
    shell: Shell,
    base: String,
    links: Vec<LinkView>,
}

/// `GET /orgs/{org_id}/identity-providers`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let links = store::views::links::list(&mut tx).await?;
    tx.commit().await?;
    page(&Page {
        shell: member.shell(Area::IdentityProviders).await?,
        base: member.path("identity-providers"),
        links,
    })
}
