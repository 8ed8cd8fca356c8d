//! What was published, and going back to it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Redirect, Response};
use domain::OrgId;
use domain::policy::diff::diff;
use policy::PublishError;
use serde::Deserialize;
use store::policies::VersionRow;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page};
use crate::ui;
use crate::visit::Member;

use super::describe::{ChangeLine, RuleRow, changes, rows};

const PAGE: i64 = 50;

#[derive(Template)]
#[template(path = "auth_policies/versions.html")]
struct ListPage {
    shell: Shell,
    base: String,
    versions: Vec<VersionRow>,
    live: Option<i32>,
    older: Option<i32>,
}

#[derive(Template)]
#[template(path = "auth_policies/version.html")]
struct OnePage {
    shell: Shell,
    base: String,
    row: VersionRow,
    live: Option<i32>,
    rows: Vec<RuleRow>,
    /// Against the version before it.
    changes: Vec<ChangeLine>,
    /// What rolling back to it would change against what is live.
    back: Vec<ChangeLine>,
    active_sessions: i64,
    draft_differs: bool,
}

#[derive(Deserialize)]
pub(super) struct ListQuery {
    before: Option<i32>,
}

/// `GET /orgs/{org_id}/auth-policies/versions`
pub(super) async fn list(
    member: Member,
    State(app): State<App>,
    Query(query): Query<ListQuery>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(&app).await?;
    let versions = store::policies::versions(&mut tx, query.before, PAGE + 1).await?;
    tx.commit().await?;
    let mut versions = versions;
    let more = i64::try_from(versions.len()).unwrap_or(i64::MAX) > PAGE;
    versions.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    page(&ListPage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        older: versions.last().filter(|_| more).map(|row| row.version),
        versions,
        live: member.org.policy_version,
    })
}

/// `GET /orgs/{org_id}/auth-policies/versions/{version}`
pub(super) async fn one(
    member: Member,
    State(app): State<App>,
    Path((_, version)): Path<(OrgId, i32)>,
) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(&app).await?;
    let doc = store::policies::version(&mut tx, version).await?.ok_or(PageError::NotFound)?;
    let row = store::policies::versions(&mut tx, version.checked_add(1), 1).await?.pop();
    let row = row.filter(|row| row.version == version).ok_or(PageError::NotFound)?;
    let before = store::policies::version(&mut tx, version - 1).await?.unwrap_or_default();
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    let figures = store::views::overview::figures(&mut tx, member.now()).await?;
    tx.commit().await?;
    let live = overview.live.as_ref();
    page(&OnePage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        row,
        live: live.map(|(version, _)| *version),
        rows: rows(&doc, &sites, &HashMap::new()),
        changes: changes(&diff(&before, &doc)),
        back: live.map_or_else(Vec::new, |(_, live)| changes(&diff(live, &doc))),
        active_sessions: figures.active_sessions,
        draft_differs: !overview.changes.is_empty(),
    })
}

/// `POST /orgs/{org_id}/auth-policies/versions/{version}/roll-back`
pub(super) async fn roll_back(
    member: Member,
    State(app): State<App>,
    Path((_, version)): Path<(OrgId, i32)>,
) -> Result<Response, PageError> {
    match app.policies.rollback(member.org.id, &member.actor(), version).await {
        Ok(new) => {
            let text = format!(
                "What version {version} said is live again, as version {new}, and it is the draft too."
            );
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(PublishError::NoVersion(_)) => Err(PageError::NotFound),
        Err(PublishError::Store(error)) => Err(error.into()),
        Err(error) => Err(PageError::Conflict(error.to_string())),
    }
}
