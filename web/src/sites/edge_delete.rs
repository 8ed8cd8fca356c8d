//! Deleting an edge on which nothing hangs.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::{EdgeId, OrgId};
use store::edges::change::{self, InUse};
use store::views::sites::{self as views, EdgeView};

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "sites/edge_delete.html")]
struct Page {
    shell: Shell,
    base: String,
    clients: String,
    edge: EdgeView,
    in_use: InUse,
}

async fn show(member: &Member, app: &App, id: EdgeId, status: StatusCode) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let edge = views::edge(&mut tx, id, member.now()).await?.ok_or(PageError::NotFound)?;
    let in_use = change::in_use(&mut tx, id).await?;
    tx.commit().await?;
    let shell = member.shell(Area::Sites).await?;
    let (base, clients) = (member.path("sites"), member.path("clients"));
    page_as(status, &Page { shell, base, clients, edge, in_use })
}

/// `GET /orgs/{org_id}/sites/edges/{edge_id}/delete`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    show(&member, &app, id, StatusCode::OK).await
}

/// `POST /orgs/{org_id}/sites/edges/{edge_id}/delete`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, EdgeId)>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let in_use = change::delete(&mut tx, &app.ids, member.now(), &member.actor(), id).await?;
    if !in_use.ok_or(PageError::NotFound)?.is_free() {
        drop(tx);
        return show(&member, &app, id, StatusCode::CONFLICT).await;
    }
    tx.commit().await?;
    member.flash(Flash::good("The edge is deleted.")).await?;
    Ok(Redirect::to(&member.path("sites")).into_response())
}
