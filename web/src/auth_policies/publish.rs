//! The draft against what is live, what lint finds in it, and making it live or giving it up.

use std::collections::HashMap;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::PolicyDoc;
use domain::policy::draft::{self, FieldError};
use domain::policy::edit::Edit;
use policy::{EditError, Moving, MovingLimits, PublishError};
use serde::Deserialize;
use store::views::hits::Hits;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::conflict::Meanwhile;
use super::describe::{ChangeLine, TableRow, changes, marked_rows};
use super::lint::{FindingLine, findings};

/// What keeps the draft from being published: where, and what to do.
struct Problem {
    about: String,
    link: Option<String>,
    message: String,
}

#[derive(Template)]
#[template(path = "auth_policies/publish.html")]
struct Page {
    shell: Shell,
    base: String,
    revision: i64,
    changes: Vec<ChangeLine>,
    rows: Vec<TableRow>,
    live: Option<i32>,
    rules: usize,
    /// The open sessions that would move now.
    moving: Moving,
    problems: Vec<Problem>,
    /// What lint found: what blocks, and what does not.
    errors: Vec<FindingLine>,
    warnings: Vec<FindingLine>,
    blocked: bool,
    meanwhile: Option<Meanwhile>,
}

async fn view(member: &Member, app: &App, conflict: Option<(String, i64)>) -> Result<Page, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let moving = app.policies.moving(member.org.id, MovingLimits::default()).await?;
    let mut tx = member.tx(app).await?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    tx.commit().await?;
    let doc = &overview.draft.doc;
    let problems = draft::check(doc).into_iter().map(|(path, error)| problem(doc, member, &path, error));
    let problems: Vec<_> = problems.collect();
    let nothing = PolicyDoc::default();
    let live = overview.live.as_ref().map_or(&nothing, |(_, doc)| doc);
    let (errors, warnings) = findings(&overview.findings, member).into_iter().partition(|line| line.error);
    let meanwhile = match conflict {
        Some((by, since)) => Some(Meanwhile::read(member, app, by, since).await?),
        None => None,
    };
    Ok(Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        revision: overview.draft.revision,
        changes: changes(&overview.changes, live, doc, &sites),
        rows: marked_rows(doc, live, &overview.changes, &sites, &Hits::default()),
        live: overview.live.as_ref().map(|(version, _)| *version),
        rules: doc.rules.iter().filter(|rule| rule.enforced()).count(),
        moving,
        blocked: !problems.is_empty() || domain::policy::lint::blocks(&overview.findings),
        problems,
        errors,
        warnings,
        meanwhile,
    })
}

/// Says what an error is about: `rules[2]` becomes the rule's name, with a link to it.
fn problem(doc: &PolicyDoc, member: &Member, path: &str, error: FieldError) -> Problem {
    let index =
        |what: &str| path.strip_prefix(what)?.strip_prefix('[')?.strip_suffix(']')?.parse::<usize>().ok();
    let (about, link) = if let Some(rule) = index("rules").and_then(|i| doc.rules.get(i)) {
        (format!("Rule “{}”", rule.name), Some(member.path(&format!("auth-policies/rules/{}", rule.id))))
    } else if let Some(label) = index("labels").and_then(|i| doc.labels.get(i)) {
        (format!("Label “{}”", label.name), Some(member.path(&format!("labels/{}", label.id))))
    } else {
        ("The policy".to_owned(), None)
    };
    Problem { about, link, message: error.message }
}

/// `GET /orgs/{org_id}/auth-policies/publish`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    page(&view(&member, &app, None).await?)
}

#[derive(Deserialize)]
pub(super) struct PublishForm {
    revision: i64,
}

/// `POST /orgs/{org_id}/auth-policies/publish`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<PublishForm>,
) -> Result<Response, PageError> {
    match app.policies.publish(member.org.id, &member.actor(), form.revision).await {
        Ok(version) => {
            let text = format!(
                "Version {version} is live. Active sessions are looked at again; those whose answer differs are moved."
            );
            member.flash(Flash::good(text)).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(PublishError::Unchanged) => {
            member.flash(Flash::warn("The draft is what is live already: nothing was published.")).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(PublishError::Conflict { by, .. }) => {
            page_as(StatusCode::CONFLICT, &view(&member, &app, Some((by, form.revision))).await?)
        }
        Err(PublishError::Invalid(_) | PublishError::Lint(_)) => {
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view(&member, &app, None).await?)
        }
        Err(PublishError::NoVersion(_)) => Err(PageError::NotFound),
        Err(PublishError::Store(error)) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "auth_policies/discard.html")]
struct DiscardPage {
    shell: Shell,
    base: String,
    revision: i64,
    changes: Vec<ChangeLine>,
    live: i32,
    meanwhile: Option<Meanwhile>,
}

async fn discard_view(
    member: &Member,
    app: &App,
    conflict: Option<(String, i64)>,
) -> Result<DiscardPage, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(app).await?;
    let sites: HashMap<_, _> =
        store::edges::list_sites(&mut tx).await?.into_iter().map(|s| (s.id, s.name)).collect();
    tx.commit().await?;
    let (version, live) = overview.live.as_ref().ok_or_else(nothing_live)?;
    let meanwhile = match conflict {
        Some((by, since)) => Some(Meanwhile::read(member, app, by, since).await?),
        None => None,
    };
    Ok(DiscardPage {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        revision: overview.draft.revision,
        changes: changes(&overview.changes, live, &overview.draft.doc, &sites),
        live: *version,
        meanwhile,
    })
}

fn nothing_live() -> PageError {
    PageError::Conflict("Nothing is published yet, so there is nothing to go back to.".to_owned())
}

/// `GET /orgs/{org_id}/auth-policies/discard`
pub(super) async fn confirm_discard(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    page(&discard_view(&member, &app, None).await?)
}

/// `POST /orgs/{org_id}/auth-policies/discard`: the draft becomes what is live.
pub(super) async fn discard(
    member: Member,
    State(app): State<App>,
    Form(form): Form<PublishForm>,
) -> Result<Response, PageError> {
    let live = app.policies.overview(member.org.id).await?.live;
    let (version, doc) = live.ok_or_else(nothing_live)?;
    match app.policies.edit(member.org.id, &member.actor(), form.revision, Edit::Replace(doc)).await {
        Ok(_) => {
            member.flash(Flash::good(format!("The draft is what is live again: version {version}."))).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(EditError::Conflict { by, .. }) => {
            page_as(StatusCode::CONFLICT, &discard_view(&member, &app, Some((by, form.revision))).await?)
        }
        Err(EditError::Store(error)) => Err(error.into()),
        Err(error) => Err(PageError::Conflict(error.to_string())),
    }
}
