//! Making and changing a rule.

use askama::Template;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::PolicyDoc;
use domain::policy::diff::rule_changes;
use domain::policy::edit::Edit;
use domain::{OrgId, RuleId};
use policy::EditError;

use crate::app::App;
use crate::error::PageError;
use crate::form::Errors;
use crate::session::Flash;
use crate::shell::{Area, Shell, page, page_as};
use crate::ui;
use crate::visit::Member;

use super::conflict::Meanwhile;
use super::rule_form::{
    Choice, ResultChoices, RuleForm, SideChoices, attribute_choices, result_choices, side_choices,
};

#[derive(Template)]
#[template(path = "auth_policies/rule.html")]
struct Page {
    shell: Shell,
    base: String,
    labels: String,
    /// `None`: a new rule.
    id: Option<RuleId>,
    form: RuleForm,
    matching: SideChoices,
    not_matching: SideChoices,
    results: Vec<ResultChoices>,
    /// Labels of RADIUS attributes.
    attributes: Vec<Choice>,
    errors: Errors,
    /// What others did to the draft in the meantime, and what saving would do to it now.
    meanwhile: Option<Meanwhile>,
}

impl Page {
    async fn new(
        member: &Member,
        app: &App,
        id: Option<RuleId>,
        form: RuleForm,
        doc: &PolicyDoc,
    ) -> Result<Self, PageError> {
        let mut tx = member.tx(app).await?;
        let sites = store::edges::list_sites(&mut tx).await?;
        tx.commit().await?;
        Ok(Self {
            shell: member.shell(Area::AuthPolicies).await?,
            base: member.path("auth-policies"),
            labels: member.path("labels"),
            id,
            matching: side_choices(&form, false, doc, &sites),
            not_matching: side_choices(&form, true, doc, &sites),
            results: result_choices(&form, doc),
            attributes: attribute_choices(&form, doc),
            form,
            errors: Errors::default(),
            meanwhile: None,
        })
    }
}

/// `GET /orgs/{org_id}/auth-policies/rules/new`
pub(super) async fn new(member: Member, State(app): State<App>) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    page(&Page::new(&member, &app, None, RuleForm::empty(draft.revision), &draft.doc).await?)
}

/// `GET /orgs/{org_id}/auth-policies/rules/{rule_id}`
pub(super) async fn get(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let rule = draft.doc.rule(id).ok_or(PageError::NotFound)?;
    let form = RuleForm::of(rule, &draft.doc, draft.revision);
    page(&Page::new(&member, &app, Some(id), form, &draft.doc).await?)
}

/// `POST /orgs/{org_id}/auth-policies/rules`
pub(super) async fn create(
    member: Member,
    State(app): State<App>,
    Form(form): Form<RuleForm>,
) -> Result<Response, PageError> {
    save(&member, &app, None, form).await
}

/// `POST /orgs/{org_id}/auth-policies/rules/{rule_id}`
pub(super) async fn update(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
    Form(form): Form<RuleForm>,
) -> Result<Response, PageError> {
    save(&member, &app, Some(id), form).await
}

async fn save(member: &Member, app: &App, id: Option<RuleId>, form: RuleForm) -> Result<Response, PageError> {
    let draft = app.policies.overview(member.org.id).await?.draft;
    let rule_id = id.unwrap_or_else(|| app.ids.make(member.now()));
    let before = draft.doc.rule(rule_id);
    let typed = form.rule(rule_id).map(|mut rule| {
        if let Some(before) = before {
            RuleForm::keep_order(&mut rule, before);
        }
        rule
    });
    let saved = match typed.clone() {
        Err(errors) => Err(EditError::Fields(errors)),
        Ok(rule) => {
            let edit = Edit::PutRule(Box::new(rule));
            app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await
        }
    };
    let (status, errors, conflict) = match saved {
        Ok(_) => {
            let name = typed.map(|rule| rule.name).unwrap_or_default();
            let text =
                format!("Rule “{name}” is saved in the draft. It takes effect when the draft is published.");
            member.flash(Flash::good(text)).await?;
            let path = member.path(&format!("auth-policies#rule-{rule_id}"));
            return Ok(Redirect::to(&path).into_response());
        }
        Err(EditError::Fields(errors)) => (StatusCode::UNPROCESSABLE_ENTITY, errors, None),
        Err(EditError::Conflict { by, .. }) => (StatusCode::CONFLICT, Vec::new(), Some(by)),
        Err(EditError::NotFound | EditError::InUse(_)) => return Err(PageError::NotFound),
        Err(EditError::Store(error)) => return Err(error.into()),
    };
    let draft = app.policies.overview(member.org.id).await?.draft;
    let since = form.revision;
    let form = if conflict.is_some() { RuleForm { revision: draft.revision, ..form } } else { form };
    // Somebody deleted the rule meanwhile: saving again makes it anew.
    let id = id.filter(|id| draft.doc.rule(*id).is_some());
    let mut view = Page::new(member, app, id, form, &draft.doc).await?;
    view.errors = Errors(errors);
    if let Some(by) = conflict {
        let mut meanwhile = Meanwhile::read(member, app, by, since).await?;
        if let (Some(before), Ok(typed)) = (draft.doc.rule(rule_id), &typed) {
            let changes = rule_changes((before, &draft.doc), (typed, &draft.doc));
            meanwhile.saving = changes.iter().map(ToString::to_string).collect();
        }
        view.meanwhile = Some(meanwhile);
    }
    page_as(status, &view)
}
