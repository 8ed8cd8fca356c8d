//! What the buttons of a row do: move, switch on and off, duplicate.

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
use crate::shell::{Area, Shell, page_as};
use crate::visit::Member;

/// Exactly one of the buttons is sent.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ActForm {
    revision: i64,
    /// The place to move to, counted from 1.
    #[serde(default)]
    to: Option<usize>,
    /// `enable`, `disable` or `duplicate`.
    #[serde(default)]
    act: Option<String>,
}

#[derive(Template)]
#[template(path = "auth_policies/conflict.html")]
struct ConflictPage {
    shell: Shell,
    base: String,
    action: String,
    what: String,
    by: String,
    revision: i64,
    form: ActForm,
}

/// `POST /orgs/{org_id}/auth-policies/rules/{rule_id}/act`
pub(super) async fn post(
    member: Member,
    State(app): State<App>,
    Path((_, id)): Path<(OrgId, RuleId)>,
    Form(form): Form<ActForm>,
) -> Result<Response, PageError> {
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
        (None, Some("duplicate")) => (
            Edit::DuplicateRule { id, copy: app.ids.make(member.now()) },
            "The copy stands behind the rule, disabled.",
            "duplicate the rule".to_owned(),
        ),
        _ => return Err(PageError::BadRequest("Use the buttons of the rule.".to_owned())),
    };
    match app.policies.edit(member.org.id, &member.actor(), form.revision, edit).await {
        Ok(_) => {
            member.flash(Flash::good(done)).await?;
            Ok(Redirect::to(&member.path("auth-policies")).into_response())
        }
        Err(EditError::Conflict { current, by }) => page_as(
            StatusCode::CONFLICT,
            &ConflictPage {
                shell: member.shell(Area::AuthPolicies).await?,
                base: member.path("auth-policies"),
                action: member.path(&format!("auth-policies/rules/{id}/act")),
                what,
                by,
                revision: current,
                form,
            },
        ),
        Err(EditError::NotFound) => Err(PageError::NotFound),
        Err(EditError::Fields(errors)) => {
            let messages: Vec<_> = errors.into_iter().map(|e| e.message).collect();
            Err(PageError::Conflict(messages.join(" ")))
        }
        Err(error @ EditError::InUse(_)) => Err(PageError::Conflict(error.to_string())),
        Err(EditError::Store(error)) => Err(error.into()),
    }
}
