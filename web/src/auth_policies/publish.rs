//! Making the draft live, or giving it up.

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::PolicyDoc;
use domain::policy::draft::{self, FieldError};
use domain::policy::edit::Edit;
use policy::{EditError, PublishError};
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::describe::{ChangeLine, changes};

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
    live: Option<i32>,
    rules: usize,
    active_sessions: i64,
    problems: Vec<Problem>,
    /// Rules that every client matches, by name, though others stand behind them.
    catch_all: Option<(String, usize)>,
    conflict: Option<String>,
}

async fn view(member: &Member, app: &App, conflict: Option<String>) -> Result<Page, PageError> {
    let overview = app.policies.overview(member.org.id).await?;
    let mut tx = member.tx(app).await?;
    let figures = store::views::overview::figures(&mut tx, member.now()).await?;
    tx.commit().await?;
    let doc = &overview.draft.doc;
    let base = member.path("auth-policies");
    let problems = draft::check(doc).into_iter().map(|(path, error)| problem(doc, member, &path, error));
    let open = |rule: &&domain::policy::Rule| {
        rule.enabled && rule.matching.is_empty() && rule.not_matching.is_empty()
    };
    let catch_all = doc.rules.iter().find(open).and_then(|rule| {
        let place = doc.rules.iter().position(|other| other.id == rule.id)?;
        let behind = doc.rules.len() - place - 1;
        (behind > 0).then(|| (rule.name.clone(), behind))
    });
    Ok(Page {
        shell: member.shell(Area::AuthPolicies).await?,
        revision: overview.draft.revision,
        changes: changes(&overview.changes),
        live: overview.live.as_ref().map(|(version, _)| *version),
        rules: doc.rules.iter().filter(|rule| rule.enabled).count(),
        active_sessions: figures.active_sessions,
        problems: problems.collect(),
        catch_all,
        conflict,
        base,
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
            page_as(StatusCode::CONFLICT, &view(&member, &app, Some(by)).await?)
        }
        Err(PublishError::Invalid(_) | PublishError::Lint(_)) => {
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view(&member, &app, None).await?)
        }
        Err(PublishError::NoVersion(_)) => Err(PageError::NotFound),
        Err(PublishError::Store(error)) => Err(error.into()),
    }
}

/// `POST /orgs/{org_id}/auth-policies/discard`: the draft becomes what is live.
pub(super) async fn discard(
    member: Member,
    State(app): State<App>,
    Form(form): Form<PublishForm>,
) -> Result<Response, PageError> {
    let live = app.policies.overview(member.org.id).await?.live;
    let Some((version, doc)) = live else {
        return Err(PageError::Conflict(
            "Nothing is published yet, so there is nothing to go back to.".to_owned(),
        ));
    };
    match app.policies.edit(member.org.id, &member.actor(), form.revision, Edit::Replace(doc)).await {
        Ok(_) => {
            member.flash(Flash::good(format!("The draft is what is live again: version {version}."))).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(EditError::Store(error)) => Err(error.into()),
        Err(error) => Err(PageError::Conflict(error.to_string())),
    }
}
