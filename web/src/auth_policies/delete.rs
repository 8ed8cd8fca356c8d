//! Deleting a rule.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::edit::Edit;
use domain::{OrgId, RuleId};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "auth_policies/delete.html")]
struct Page {
    shell: Shell,
    base: String,
    id: RuleId,
    name: String,
    revision: i64,
    conflict: Option<String>,
}

async fn view(member: &Member, app: &App, id: RuleId, conflict: Option<String>) -> Result<Page, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let name = draft.doc.rule(id).ok_or(PageError::NotFound)?.name.clone();
    Ok(Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        id,
        name,
        revision: draft.revision,
        conflict,
    })
}

/// `GET /orgs/{org_id}/auth-policies/rules/{rule_id}/delete`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
) -> Result<Response, PageError> {
    page(&view(&member, &app, id, None).await?)
}

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    revision: i64,
}

/// `POST /orgs/{org_id}/auth-policies/rules/{rule_id}/delete`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
    Form(form): Form<DeleteForm>,
) -> Result<Response, PageError> {
    match app.policies.edit(member.org.id, &member.actor(), form.revision, Edit::DeleteRule(id)).await {
        Ok(_) => {
            member.flash(Flash::good("The rule is deleted from the draft.")).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(EditError::Conflict { by, .. }) => {
            page_as(StatusCode::CONFLICT, &view(&member, &app, id, Some(by)).await?)
        }
        Err(EditError::NotFound | EditError::InUse(_) | EditError::Fields(_)) => Err(PageError::NotFound),
        Err(EditError::Store(error)) => Err(error.into()),
    }
}
