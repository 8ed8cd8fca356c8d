//! What the buttons of a row do: move, switch on and off, try, duplicate.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect, Response};
use axum_extra::extract::Form;
use domain::policy::edit::Edit;
use domain::policy::{PolicyDoc, Row};
use domain::{OrgId, RuleId};
use policy::EditError;
use serde::Deserialize;

use crate::app::App;
use crate::error::PageError;
use crate::session::Flash;
use crate::visit::Member;

use super::conflict::{self, Wish};

/// Exactly one of the buttons is sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ActForm {
    revision: i64,
    /// The place among the rules to move to, counted from 1.
    #[serde(default)]
    to: Option<usize>,
    /// `enable`, `disable`, `dry-run`, `enforce` or `duplicate`.
    #[serde(default)]
    act: Option<String>,
}

/// `POST /orgs/{org_id}/auth-policies/rules/{rule_id}/act`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
    let copy: RuleId = app.ids.make(member.now());
    let (edit, done, what) = match (&form.to, form.act.as_deref()) {
        (Some(to), None) => {
            (Edit::MoveRule { id, to: *to }, "The rule is moved.", format!("move the rule to place {to}"))
        }
        (None, Some("enable")) => {
            (Edit::SetRuleEnabled { id, enabled: true }, "The rule is enabled.", "enable the rule".to_owned())
        }
        (None, Some("disable")) => (
            Edit::SetRuleEnabled { id, enabled: false },
            "The rule is disabled: it is skipped.",
            "disable the rule".to_owned(),
        ),
        (None, Some("dry-run")) => (
            Edit::SetRuleDryRun { id, dry_run: true },
            "The rule is on trial: it is tried and recorded, and never enforced.",
            "put the rule on trial".to_owned(),
        ),
        (None, Some("enforce")) => (
            Edit::SetRuleDryRun { id, dry_run: false },
            "The rule is enforced again.",
            "enforce the rule".to_owned(),
        ),
        (None, Some("duplicate")) => (
            Edit::DuplicateRule { id, copy },
            "The copy stands behind the rule, disabled.",
            "duplicate the rule".to_owned(),
        ),
        _ => return Err(PageError::BadRequest("Use the buttons of the rule.".to_owned())),
    };
    let shown = if matches!(edit, Edit::DuplicateRule { .. }) { copy } else { id };
    let wish = Wish {
        action: member.path(&format!("auth-policies/rules/{id}/act")),
        what,
        fields: form
            .to
            .map(|to| ("to", to.to_string()))
            .into_iter()
            .chain(form.act.map(|act| ("act", act)))
            .collect(),
    };
    match app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await {
        Ok(_) => {
            member.flash(Flash::good(done)).await?;
            Ok(Redirect::to(&member.path(&format!("auth-policies#rule-{shown}"))).into_response())
        }
        Err(error) => refused(&member, &app, wish, form.revision, error).await,
    }
}

/// A row to move: exactly one of rule and section is sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct MoveForm {
    revision: i64,
    #[serde(default)]
    rule: Option<RuleId>,
    #[serde(default)]
    section: Option<String>,
    /// The place among rules and separators, counted from 1.
    to: usize,
    /// The button that was used, `up` or `down`: it gets the focus again.
    #[serde(default)]
    by: String,
}

/// `POST /orgs/{org_id}/auth-policies/move`
pub(super) async fn move_row(
    member: Member,
    State(app): State<App>,
    Form(form): Form<MoveForm>,
) -> Result<Response, PageError> {
    let doc = app.policies.overview(member.org.id).await?.draft.doc;
    let from = row_of(&doc, &form).ok_or(PageError::NotFound)?;
    let rows = doc.rows().len();
    let to = form.to.clamp(1, rows);
    let name = match doc.rows().get(from - 1) {
        Some(Row::Section(section)) => format!("Section “{}”", section.name),
        Some(Row::Rule { rule, .. }) => format!("Rule “{}”", rule.name),
        None => return Err(PageError::NotFound),
    };
    let wish = Wish {
        action: member.path("auth-policies/move"),
        what: format!("move {name} to row {to}"),
        fields: form
            .rule
            .map(|rule| ("rule", rule.to_string()))
            .into_iter()
            .chain(form.section.clone().map(|section| ("section", section)))
            .chain([("to", to.to_string())])
            .collect(),
    };
    let edit = Edit::MoveRow { from, to };
    match app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await {
        Ok(_) => {
            member.flash(Flash::good(format!("{name} is moved to row {to} of {rows}."))).await?;
            let by = if form.by == "up" { "up" } else { "down" };
            Ok(Redirect::to(&member.path(&format!("auth-policies?row={to}&by={by}"))).into_response())
        }
        Err(error) => refused(&member, &app, wish, form.revision, error).await,
    }
}

/// The row that a form names, counted from 1.
fn row_of(doc: &PolicyDoc, form: &MoveForm) -> Option<usize> {
    let is_it = |row: &Row<'_>| match (row, &form.rule, &form.section) {
        (Row::Rule { rule, .. }, Some(id), None) => rule.id == *id,
        (Row::Section(section), None, Some(name)) => section.name == *name,
        _ => false,
    };
    doc.rows().iter().position(is_it).map(|at| at + 1)
}

/// The page of an edit that was not made.
pub(super) async fn refused(
    member: &Member,
    app: &App,
    wish: Wish,
    since: i64,
    error: EditError,
) -> Result<Response, PageError> {
    match error {
        EditError::Conflict { current, by } => conflict::page(member, app, wish, since, (current, by)).await,
        EditError::NotFound => Err(PageError::NotFound),
        EditError::Fields(errors) => {
            let messages: Vec<_> = errors.into_iter().map(|e| e.message).collect();
            Err(PageError::Conflict(messages.join(" ")))
        }
        error @ EditError::InUse(_) => Err(PageError::Conflict(error.to_string())),
        EditError::Store(error) => Err(error.into()),
    }
}
