//! Making and changing a label.

use askama::Template;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::edit::Edit;
use domain::policy::{Label, PolicyDoc};
use domain::radius::dictionary::Dictionary;
use domain::{LabelId, OrgId};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::auth_policies::conflict::Meanwhile;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::form::{Choice, Control, LabelForm, ResultField};
use super::{Kind, kind, kind_of};

#[derive(Template)]
#[template(path = "labels/kinds.html")]
struct KindsPage {
    shell: Shell,
    base: String,
}

#[derive(Template)]
#[template(path = "labels/edit.html")]
struct EditPage {
    shell: Shell,
    base: String,
    rules: String,
    /// `None`: a new label.
    id: Option<LabelId>,
    kind: &'static Kind,
    form: LabelForm,
    /// Of kinds whose values are words of a list; empty where values are text.
    choices: Vec<Choice>,
    /// Of result kinds.
    result: Option<ResultField>,
    /// Whether this deployment can make addresses of remediation pages.
    has_pages: bool,
    /// Names of attributes to complete from, each with what its values are.
    attributes: Vec<(&'static str, String)>,
    errors: Errors,
    /// What others did to the draft in the meantime, and what saving would do to it now.
    meanwhile: Option<Meanwhile>,
    used_by: Vec<(String, String)>,
}

impl EditPage {
    async fn new(
        member: &Member,
        app: &App,
        id: Option<LabelId>,
        kind: &'static Kind,
        mut form: LabelForm,
        doc: &PolicyDoc,
    ) -> Result<Self, PageError> {
        let choices = kind.key.map(|spec| form.choices(spec)).unwrap_or_default();
        if !choices.is_empty() {
            form.text = String::new();
        } else if kind.key.is_some() && form.text.is_empty() {
            // Values that are no words of the list are shown as text, to be mended.
            form.text = form.values.join("\n");
        }
        let result = form.result(kind);
        let attributes = result.as_ref().is_some_and(|field| field.attributes);
        let attributes =
            if attributes { completions(kind.word == "radius_vendor_attrs") } else { Vec::new() };
        let used_by = id.map(|id| doc.users_of(id).map(|r| (r.id.to_string(), r.name.clone())).collect());
        Ok(Self {
            shell: member.shell(Area::Labels).await?,
            base: member.path("labels"),
            rules: member.path("auth-policies/rules"),
            id,
            kind,
            form,
            choices,
            result,
            has_pages: app.config().page_keys.is_some(),
            attributes,
            errors: Errors::default(),
            meanwhile: None,
            used_by: used_by.unwrap_or_default(),
        })
    }
}

/// The names of standard or vendors' attributes, each with a hint.
fn completions(vendor: bool) -> Vec<(&'static str, String)> {
    let hint = |values: &[(&str, i128)], vendor: Option<&str>| {
        let words: Vec<_> = values.iter().take(4).map(|(word, _)| *word).collect();
        let more = if values.len() > words.len() { ", …" } else { "" };
        [vendor.unwrap_or_default(), &words.join(", "), more].join(" ").trim().to_owned()
    };
    Dictionary::get()
        .attributes()
        .filter(|attribute| attribute.vendor.is_some() == vendor)
        .map(|attribute| (attribute.name, hint(&attribute.values, attribute.vendor)))
        .collect()
}

#[derive(Deserialize)]
pub(super) struct NewQuery {
    kind: Option<String>,
    /// A name that was typed before another kind was chosen.
    #[serde(default)]
    name: String,
}

/// `GET /orgs/{org_id}/labels/new?kind=`
pub(super) async fn new(
    member: Member,
    State(app): State<App>,
    Query(query): Query<NewQuery>,
) -> Result<Response, PageError> {
    let Some(kind) = query.kind.as_deref().and_then(kind) else {
        return page(&KindsPage { shell: member.shell(Area::Labels).await?, base: member.path("labels") });
    };
    let draft = app.policies.overview(member.org.id).await?.draft;
    let mut form = LabelForm::empty(kind, draft.revision);
    form.name = query.name;
    page(&EditPage::new(&member, &app, None, kind, form, &draft.doc).await?)
}

/// `GET /orgs/{org_id}/labels/{label_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let label = draft.doc.label(id).ok_or(PageError::NotFound)?;
    let form = LabelForm::of(label, draft.revision);
    page(&EditPage::new(&member, &app, Some(id), kind_of(&label.kind), form, &draft.doc).await?)
}

/// `POST /orgs/{org_id}/labels`
pub(super) async fn create(
    member: Member,
    State(app): State<App>,
    Form(form): Form<LabelForm>,
) -> Result<Response, PageError> {
    save(&member, &app, None, form).await
}

/// `POST /orgs/{org_id}/labels/{label_id}`
pub(super) async fn update(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, LabelId)>,
    Form(form): Form<LabelForm>,
) -> Result<Response, PageError> {
    save(&member, &app, Some(id), form).await
}

async fn save(
    member: &Member,
    app: &App,
    id: Option<LabelId>,
    form: LabelForm,
) -> Result<Response, PageError> {
    let kind = kind(&form.kind)
        .ok_or_else(|| PageError::BadRequest("Choose what the label is about.".to_owned()))?;
    let label_id = id.unwrap_or_else(|| app.ids.make(member.now()));
    let typed = form.label(label_id);
    let saved = match typed.clone() {
        Err(errors) => Err(EditError::Fields(errors)),
        Ok(label) => {
            let edit = Edit::PutLabel(label);
            app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await
        }
    };
    let (status, errors, conflict) = match saved {
        Ok(_) => {
            let name = typed.map(|label| label.name).unwrap_or_default();
            let text =
                format!("Label “{name}” is saved in the draft. It takes effect when the draft is published.");
            member.flash(Flash::good(text)).await?;
            return Ok(Redirect::to(&member.path("labels")).into_response());
        }
        Err(EditError::Fields(errors)) => (StatusCode::UNPROCESSABLE_ENTITY, errors, None),
        Err(EditError::Conflict { by, .. }) => (StatusCode::CONFLICT, Vec::new(), Some(by)),
        Err(EditError::NotFound | EditError::InUse(_)) => return Err(PageError::NotFound),
        Err(EditError::Store(error)) => return Err(error.into()),
    };
    let draft = app.policies.overview(member.org.id).await?.draft;
    let since = form.revision;
    let mut form = form;
    if conflict.is_some() {
        form.revision = draft.revision;
    }
    // Somebody deleted the label meanwhile: saving again makes it anew.
    let id = id.filter(|id| draft.doc.label(*id).is_some());
    let mut view = EditPage::new(member, app, id, kind, form, &draft.doc).await?;
    view.errors = Errors(errors);
    if let Some(by) = conflict {
        let mut meanwhile = Meanwhile::read(member, app, by, since).await?;
        let before = id.and_then(|id| draft.doc.label(id));
        if let (Some(before), Ok(typed)) = (before, &typed) {
            meanwhile.saving = changed(before, typed);
        }
        view.meanwhile = Some(meanwhile);
    }
    page_as(status, &view)
}

fn changed(before: &Label, typed: &Label) -> Vec<String> {
    domain::policy::diff::label_changes(before, typed).iter().map(ToString::to_string).collect()
}
