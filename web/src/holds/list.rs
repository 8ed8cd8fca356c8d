//! What was held, the latest first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use store::views::holds::HoldView;

use crate::app::App;
use crate::error::PageError;
use crate::events::{read_cursor, write_cursor};
use crate::paging;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "holds/list.html")]
struct Page {
    shell: Shell,
    base: String,
    settings: String,
    holds: Vec<HoldView>,
    older: Option<String>,
    first: bool,
    percent: u32,
    min: u32,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    /// Where the page before ended.
    #[serde(default)]
    before: String,
}

/// `GET /orgs/{org_id}/holds?before=`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, PageError> {
    let before = read_cursor(&query.before);
    let mut tx = member.tx(&app).await?;
    let mut holds = store::views::holds::list(&mut tx, before, paging::ASKED).await?;
    let limits = store::holds::limits(&mut tx).await?.ok_or(PageError::NotFound)?.mass_change;
    tx.commit().await?;
    let mut shell = member.shell(Area::None).await?;
    shell.holds.clear();
    let base = member.path("holds");
    let cursor = paging::cut(&mut holds, HoldView::cursor);
    page(&Page {
        shell,
        older: cursor.map(|cursor| paging::address(&base, String::new(), "before", &write_cursor(&cursor))),
        first: before.is_none(),
        base,
        settings: member.path("settings"),
        holds,
        percent: limits.percent,
        min: limits.min,
    })
}
