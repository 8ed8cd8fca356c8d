//! Who changed what, newest first.

use askama::Template;
use axum::extract::{Query, State};
use axum::response::Response;
use serde::Deserialize;
use store::audit::{self, AuditRow};
use uuid::Uuid;

use crate::app::App;
use crate::error::PageError;
use crate::paging;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "settings/audit.html")]
struct Page {
    shell: Shell,
    base: String,
    rows: Vec<(AuditRow, String)>,
    older: Option<Uuid>,
    first: bool,
}

#[derive(Deserialize)]
pub(super) struct AuditQuery {
    before: Option<Uuid>,
}

/// `GET /orgs/{org_id}/audit`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Query(query): Query<AuditQuery>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let mut rows = audit::page(&mut tx, query.before, paging::ASKED).await?;
    tx.commit().await?;
    let older = paging::cut(&mut rows, |row| row.id);
    let with_detail = |row: AuditRow| {
        let detail = match &row.detail {
            serde_json::Value::Object(fields) if fields.is_empty() => String::new(),
            other => serde_json::to_string_pretty(other).unwrap_or_default(),
        };
        (row, detail)
    };
    page(&Page {
        shell: member.shell(Area::Audit).await?,
        base: member.path("audit"),
        rows: rows.into_iter().map(with_detail).collect(),
        older,
        first: query.before.is_none(),
    })
}
