//! What was published, and going back to it.

use std::collections::HashMap;

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::OrgId;
use domain::policy::diff::diff;
use policy::PublishError;
use serde::Deserialize;
use store::policies::VersionRow;
use store::views::hits::Hits;

use crate::app::App;
use crate::error::PageError;
use crate::paging;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::describe::{ChangeLine, TableRow, changes, marked_rows, rows};

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
    rows: Vec<TableRow>,
    /// Whether marks show what differs from what is live.
    compared: bool,
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
    let mut versions = store::policies::versions(&mut tx, query.before, paging::ASKED).await?;
    tx.commit().await?;
    let older = paging::cut(&mut versions, |row| row.version);
    page(&ListPage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        older,
        versions,
        live: member.org.policy_version,
    })
}

#[derive(Deserialize)]
pub(super) struct OneQuery {
    /// `live`: mark what differs from what is live.
    #[serde(default)]
    against: String,
}

/// `GET /orgs/{org_id}/auth-policies/versions/{version}?against=live`
pub(super) async fn one(
    member: Member,
    State(app): State<App>,
    Path((_, version)): Path<(OrgId, i32)>,
    Query(query): Query<OneQuery>,
) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(&app).await?;
    let doc = store::policies::version(&mut tx, version).await?.ok_or(PageError::NotFound)?;
    let row = store::policies::versions(&mut tx, version.checked_add(1), 1).await?.pop();
    let row = row.filter(|row| row.version == version).ok_or(PageError::NotFound)?;
    let before = store::policies::version(&mut tx, version - 1).await?.unwrap_or_default();
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    let active_sessions = store::views::overview::active_sessions(&mut tx).await?;
    tx.commit().await?;
    let live = overview.live.as_ref();
    let hits = Hits::default();
    let compared = query.against == "live" && live.is_some_and(|(live, _)| *live != version);
    let back = live.map(|(_, live)| (live, diff(live, &doc)));
    page(&OnePage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        row,
        live: live.map(|(version, _)| *version),
        rows: match &back {
            Some((live, changed)) if compared => marked_rows(&doc, live, changed, &sites, &hits),
            _ => rows(&doc, &sites, &hits),
        },
        compared,
        changes: changes(&diff(&before, &doc), &before, &doc, &sites),
        back: back.map_or_else(Vec::new, |(live, changed)| changes(&changed, live, &doc, &sites)),
        active_sessions,
        draft_differs: !overview.changes.is_empty(),
    })
}

#[derive(Template)]
#[template(path = "auth_policies/roll_back.html")]
struct RollBackPage {
    shell: Shell,
    base: String,
    version: i32,
    live: i32,
    revision: i64,
    changes: Vec<ChangeLine>,
    /// Changes of the draft that would be replaced.
    lost: Vec<ChangeLine>,
    active_sessions: i64,
    /// Somebody published or edited since the page was opened.
    moved_on: bool,
}

async fn roll_back_view(
    member: &Member,
    app: &App,
    version: i32,
    moved_on: bool,
) -> Result<RollBackPage, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(app).await?;
    let doc = store::policies::version(&mut tx, version).await?.ok_or(PageError::NotFound)?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    let active_sessions = store::views::overview::active_sessions(&mut tx).await?;
    tx.commit().await?;
    let (live_version, live) = overview.live.as_ref().ok_or(PageError::NotFound)?;
    Ok(RollBackPage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        version,
        live: *live_version,
        revision: overview.draft.revision,
        changes: changes(&diff(live, &doc), live, &doc, &sites),
        lost: changes(&overview.changes, live, &overview.draft.doc, &sites),
        active_sessions,
        moved_on,
    })
}

/// `GET /orgs/{org_id}/auth-policies/versions/{version}/roll-back`
pub(super) async fn confirm_roll_back(
    member: Member,
    State(app): State<App>,
    Path((_, version)): Path<(OrgId, i32)>,
) -> Result<Response, PageError> {
    page(&roll_back_view(&member, &app, version, false).await?)
}

/// What was live, and how the draft stood, when the page was opened.
#[derive(Deserialize)]
pub(super) struct RollBackForm {
    live: i32,
    revision: i64,
}

/// `POST /orgs/{org_id}/auth-policies/versions/{version}/roll-back`
pub(super) async fn roll_back(
    member: Member,
    State(app): State<App>,
    Path((_, version)): Path<(OrgId, i32)>,
    Form(form): Form<RollBackForm>,
) -> Result<Response, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let seen = overview.live.is_some_and(|(live, _)| live == form.live);
    if !seen || overview.draft.revision != form.revision {
        let view = roll_back_view(&member, &app, version, true).await?;
        return page_as(StatusCode::CONFLICT, &view);
    }
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
