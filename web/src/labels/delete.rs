//! Deleting a label that no rule uses.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::edit::Edit;
use domain::{LabelId, OrgId};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

#[derive(Template)]
#[template(path = "labels/delete.html")]
struct Page {
    shell: Shell,
    base: String,
    rules: String,
    id: LabelId,
    name: String,
    revision: i64,
    used_by: Vec<(String, String)>,
    conflict: Option<String>,
}

async fn view(member: &Member, app: &App, id: LabelId, conflict: Option<String>) -> Result<Page, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let label = draft.doc.label(id).ok_or(PageError::NotFound)?;
    Ok(Page {
        shell: member.shell(Area::Labels).await?,
        base: member.path("labels"),
        rules: member.path("auth-policies/rules"),
        id,
        name: label.name.clone(),
        revision: draft.revision,
        used_by: draft.doc.users_of(id).map(|rule| (rule.id.to_string(), rule.name.clone())).collect(),
        conflict,
    })
}

/// `GET /orgs/{org_id}/labels/{label_id}/delete`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
) -> Result<Response, PageError> {
    page(&view(&member, &app, id, None).await?)
}

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    revision: i64,
}

/// `POST /orgs/{org_id}/labels/{label_id}/delete`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
    Form(form): Form<DeleteForm>,
) -> Result<Response, PageError> {
    match app.policies.edit(member.org.id, &member.actor(), form.revision, Edit::DeleteLabel(id)).await {
        Ok(_) => {
            member.flash(Flash::good("The label is deleted from the draft.")).await?;
            Ok(Redirect::to(&member.path("labels")).into_response())
        }
        Err(EditError::InUse(_)) => page_as(StatusCode::CONFLICT, &view(&member, &app, id, None).await?),
        Err(EditError::Conflict { by, .. }) => {
            page_as(StatusCode::CONFLICT, &view(&member, &app, id, Some(by)).await?)
        }
        Err(EditError::NotFound | EditError::Fields(_)) => Err(PageError::NotFound),
        Err(EditError::Store(error)) => Err(error.into()),
    }
}
