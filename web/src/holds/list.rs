//! What was held, the latest first.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use store::views::holds::HoldView;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

const ROWS_MAX: i64 = 50;

#[derive(Template)]
#[template(path = "holds/list.html")]
struct Page {
    shell: Shell,
    base: String,
    settings: String,
    holds: Vec<HoldView>,
    percent: u32,
    min: u32,
}

/// `GET /orgs/{org_id}/holds`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let holds = store::views::holds::list(&mut tx, ROWS_MAX).await?;
    let limits = store::holds::limits(&mut tx).await?.ok_or(PageError::NotFound)?.mass_change;
    tx.commit().await?;
    let mut shell = member.shell(Area::None).await?;
    shell.holds.clear();
    page(&Page {
        shell,
        base: member.path("holds"),
        settings: member.path("settings"),
        holds,
        percent: limits.percent,
        min: limits.min,
    })
}
