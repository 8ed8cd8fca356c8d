//! Sections: named separators in the list of rules.

use askama::Template;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::edit::Edit;
use domain::policy::{PolicyDoc, Row};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::auth_policies::act::refused;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::conflict::Wish;

#[derive(Template)]
#[template(path = "auth_policies/section.html")]
struct Page {
    shell: Shell,
    base: String,
    /// The section's present name; `None` for a new one.
    section: Option<String>,
    revision: i64,
    name: String,
    /// The row that a new section stands before.
    row: usize,
    /// Rows to stand before, each with its place.
    places: Vec<(usize, String)>,
    errors: Errors,
}

fn places(doc: &PolicyDoc) -> Vec<(usize, String)> {
    let rows = doc.rows();
    let end = rows.len() + 1;
    let name = |(row, at): (Row<'_>, usize)| match row {
        Row::Section(section) => (at, format!("before section “{}”", section.name)),
        Row::Rule { position, rule } => (at, format!("before rule {position} “{}”", rule.name)),
    };
    rows.into_iter().zip(1..).map(name).chain([(end, "at the end".to_owned())]).collect()
}

#[derive(Deserialize)]
pub(super) struct NewQuery {
    #[serde(default)]
    row: Option<usize>,
}

/// `GET /orgs/{org_id}/auth-policies/sections/new?row=`
pub(super) async fn new(
    member: Member,
    State(app): State<App>,
    Query(query): Query<NewQuery>,
) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    page(&Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        section: None,
        revision: draft.revision,
        name: String::new(),
        row: query.row.unwrap_or(1),
        places: places(&draft.doc),
        errors: Errors::default(),
    })
}

#[derive(Deserialize)]
pub(super) struct EditQuery {
    name: String,
}

/// `GET /orgs/{org_id}/auth-policies/sections/edit?name=`
pub(super) async fn edit(
    member: Member,
    State(app): State<App>,
    Query(query): Query<EditQuery>,
) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    if !draft.doc.sections.iter().any(|section| section.name == query.name) {
        return Err(PageError::NotFound);
    }
    page(&Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        section: Some(query.name.clone()),
        revision: draft.revision,
        name: query.name,
        row: 0,
        places: Vec::new(),
        errors: Errors::default(),
    })
}

/// The form of either page.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SectionForm {
    revision: i64,
    /// The present name; empty for a new one.
    #[serde(default)]
    section: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    row: Option<usize>,
    /// `delete`, or nothing.
    #[serde(default)]
    act: String,
}

/// `POST /orgs/{org_id}/auth-policies/sections`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Form(form): Form<SectionForm>,
) -> Result<Response, PageError> {
    let name = form.name.trim().to_owned();
    let (edit, done, what) = match (form.section.is_empty(), form.act.as_str()) {
        (false, "delete") => (
            Edit::DeleteSection { name: form.section.clone() },
            format!("Section “{}” is deleted; its rules stay.", form.section),
            format!("delete section “{}”", form.section),
        ),
        (false, _) => (
            Edit::RenameSection { name: form.section.clone(), to: name.clone() },
            format!("The section is called “{name}” now."),
            format!("rename section “{}” to “{name}”", form.section),
        ),
        (true, _) => (
            Edit::AddSection { name: name.clone(), row: form.row.unwrap_or(usize::MAX) },
            format!("Section “{name}” is made."),
            format!("make section “{name}”"),
        ),
    };
    let wish = Wish {
        action: member.path("auth-policies/sections"),
        what,
        fields: [
            ("section", form.section.clone()),
            ("name", name.clone()),
            ("row", form.row.map(|row| row.to_string()).unwrap_or_default()),
            ("act", form.act.clone()),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .collect(),
    };
    match app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await {
        Ok(_) => {
            member.flash(Flash::good(done)).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(EditError::Fields(errors)) => {
            let doc = app.policies.overview(member.org.id).await?.draft.doc;
            let view = Page {
                shell: member.shell(Area::AuthPolicies).await?,
                base: member.path("auth-policies"),
                section: (!form.section.is_empty()).then_some(form.section),
                revision: form.revision,
                name: form.name,
                row: form.row.unwrap_or(1),
                places: places(&doc),
                errors: Errors(errors),
            };
            page_as(StatusCode::UNPROCESSABLE_ENTITY, &view)
        }
        Err(error) => refused(&member, &app, wish, form.revision, error).await,
    }
}
