//! The sites with their edges.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use domain::policy::FieldError;
use store::edges::SiteRow;
use store::views::sites::EdgeView;

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "sites/list.html")]
struct Page {
    shell: Shell,
    base: String,
    sites: Vec<(SiteRow, Vec<EdgeView>)>,
    name: String,
    errors: Errors,
}

/// `GET /orgs/{org_id}/sites`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    show(&member, &app, String::new(), Vec::new()).await
}

/// The list, with what was typed for a new site and what is wrong with it.
pub(super) async fn show(
    member: &Member,
    app: &App,
    name: String,
    errors: Vec<FieldError>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let sites = store::edges::list_sites(&mut tx).await?;
    let edges = store::views::sites::edges(&mut tx).await?;
    tx.commit().await?;
    let of = |site: &SiteRow| edges.iter().filter(|edge| edge.site == site.id).cloned().collect();
    let status = if errors.is_empty() {
        axum::http::StatusCode::OK
    } else {
        axum::http::StatusCode::UNPROCESSABLE_ENTITY
    };
    let view = Page {
        shell: member.shell(Area::Sites).await?,
        base: member.path("sites"),
        sites: sites.into_iter().map(|site| (site.clone(), of(&site))).collect(),
        name,
        errors: Errors(errors),
    };
    page_as(status, &view)
}
