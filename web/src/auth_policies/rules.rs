//! The rules of the draft, in order, and how the draft differs from what is live.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use time::{Duration, OffsetDateTime};

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::describe::{ChangeLine, RuleRow, changes, rows};

#[derive(Template)]
#[template(path = "auth_policies/rules.html")]
struct Page {
    shell: Shell,
    base: String,
    events: String,
    labels: String,
    revision: i64,
    rows: Vec<RuleRow>,
    changes: Vec<ChangeLine>,
    live: Option<i32>,
    updated: Option<(OffsetDateTime, String)>,
    any_label: bool,
}

/// `GET /orgs/{org_id}/auth-policies`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(&app).await?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    let hits = store::views::events::hits(&mut tx, member.now() - Duration::hours(24)).await?;
    tx.commit().await?;
    let draft = overview.draft;
    page(&Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        events: member.path("events"),
        labels: member.path("labels"),
        revision: draft.revision,
        rows: rows(&draft.doc, &sites, &hits),
        changes: changes(&overview.changes),
        live: overview.live.map(|(version, _)| version),
        updated: (draft.revision > 1).then_some((draft.updated_at, draft.updated_by)),
        any_label: !draft.doc.labels.is_empty(),
    })
}
