//! A file into the draft: read, shown as what it changes, then put in its place.

use askama::Template;
use axum::extract::{Multipart, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use domain::policy::diff::diff;
use domain::policy::transfer::{self, FileError, Format};
use policy::{EditError, ImportError};

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

/// Errors of a file that are shown.
const ERRORS_MAX: usize = 100;

#[derive(Default)]
struct ImportForm {
    text: String,
    /// The revision that was looked at; on the first form there is none.
    revision: Option<i64>,
    confirm: bool,
}

#[derive(Template)]
#[template(path = "policy_file/import.html")]
struct Page {
    shell: Shell,
    base: String,
    rules: String,
    text: String,
    errors: Vec<FileError>,
    more_errors: usize,
    /// Nothing was sent.
    empty: bool,
    live: Option<i32>,
}

#[derive(Template)]
#[template(path = "policy_file/preview.html")]
struct Preview {
    shell: Shell,
    base: String,
    rules: String,
    text: String,
    revision: i64,
    changes: Vec<String>,
    labels: usize,
    rule_count: usize,
    /// Who changed the draft while the preview was looked at.
    conflict: Option<String>,
}

/// `GET /orgs/{org_id}/auth-policies/import`
pub(super) async fn get(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    form(&member, &app, StatusCode::OK, String::new(), Vec::new(), false).await
}

async fn form(
    member: &Member,
    app: &App,
    status: StatusCode,
    text: String,
    mut errors: Vec<FileError>,
    empty: bool,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let live = store::orgs::get(&mut tx).await?.and_then(|org| org.policy_version);
    tx.commit().await?;
    let more_errors = errors.len().saturating_sub(ERRORS_MAX);
    errors.truncate(ERRORS_MAX);
    let template = Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        rules: member.path("auth-policies"),
        text,
        errors,
        more_errors,
        empty,
        live,
    };
    page_as(status, &template)
}

async fn preview(
    member: &Member,
    app: &App,
    status: StatusCode,
    text: String,
    conflict: Option<String>,
) -> Result<Response, PageError> {
    let mut tx = member.tx(app).await?;
    let draft = store::policies::draft(&mut tx).await?;
    tx.commit().await?;
    match transfer::read(&text, Format::of(&text), &draft.doc) {
        Err(errors) => form(member, app, StatusCode::UNPROCESSABLE_ENTITY, text, errors, false).await,
        Ok(doc) => {
            let template = Preview {
                shell: member.shell(Area::AuthPolicies).await?,
                base: member.path("auth-policies/import"),
                rules: member.path("auth-policies"),
                text,
                revision: draft.revision,
                changes: diff(&draft.doc, &doc).iter().map(ToString::to_string).collect(),
                labels: doc.labels.len(),
                rule_count: doc.rules.len(),
                conflict,
            };
            page_as(status, &template)
        }
    }
}

/// `POST /orgs/{org_id}/auth-policies/import`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    multipart: Multipart,
) -> Result<Response, PageError> {
    let sent = read(multipart).await?;
    if sent.text.trim().is_empty() {
        return form(&member, &app, StatusCode::UNPROCESSABLE_ENTITY, String::new(), Vec::new(), true).await;
    }
    let Some(revision) = sent.revision.filter(|_| sent.confirm) else {
        return preview(&member, &app, StatusCode::OK, sent.text, None).await;
    };
    let (org, actor, format) = (member.org.id, member.actor(), Format::of(&sent.text));
    match app.policies.import(org, &actor, revision, &sent.text, format).await {
        Ok(_) => {
            member.flash(Flash::good("The draft is what the file says. Publish it to make it live.")).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(ImportError::File(errors)) => {
            form(&member, &app, StatusCode::UNPROCESSABLE_ENTITY, sent.text, errors, false).await
        }
        Err(ImportError::Edit(EditError::Conflict { by, .. })) => {
            preview(&member, &app, StatusCode::CONFLICT, sent.text, Some(by)).await
        }
        Err(ImportError::Edit(EditError::Fields(errors))) => {
            let errors = errors.into_iter().map(|error| FileError {
                path: error.field.to_owned(),
                place: None,
                message: error.message,
            });
            let errors = errors.collect();
            form(&member, &app, StatusCode::UNPROCESSABLE_ENTITY, sent.text, errors, false).await
        }
        Err(ImportError::Edit(EditError::Store(error))) => Err(error.into()),
        Err(ImportError::Edit(error @ (EditError::NotFound | EditError::InUse(_)))) => {
            Err(PageError::Conflict(error.to_string()))
        }
    }
}

/// A chosen file goes before pasted text.
async fn read(mut multipart: Multipart) -> Result<ImportForm, PageError> {
    let unread =
        |_| PageError::BadRequest("The form could not be read: it is too large or cut short.".to_owned());
    let mut out = ImportForm::default();
    let mut file = String::new();
    while let Some(field) = multipart.next_field().await.map_err(unread)? {
        let name = field.name().unwrap_or_default().to_owned();
        let bytes = field.bytes().await.map_err(unread)?;
        let text = String::from_utf8(bytes.to_vec()).map_err(|_| {
            PageError::BadRequest("The file is not text in UTF-8. Choose a JSON or YAML file.".to_owned())
        })?;
        match name.as_str() {
            "file" => file = text,
            // Browsers send the lines of a text area with CR LF.
            "text" => out.text = text.replace("\r\n", "\n"),
            "revision" => out.revision = text.parse().ok(),
            "confirm" => out.confirm = true,
            _ => {}
        }
    }
    if !file.trim().is_empty() {
        out.text = file;
    }
    Ok(out)
}
