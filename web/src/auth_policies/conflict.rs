//! What others did to the draft while somebody was at work on it.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;
use store::audit::AuditRow;

use crate::app::App;
use crate::error::PageError;
use crate::shell::{Area, Shell, page_as};
use crate::ui;
use crate::visit::Member;

/// How many lines of the audit log are looked through.
const LOOK_BACK: i64 = 200;

/// Shown with what was typed, so that it can be applied again on the present draft.
pub(crate) struct Meanwhile {
    /// Who changed the draft last.
    pub by: String,
    /// The edits since, oldest first.
    pub edits: Vec<AuditRow>,
    /// What saving again would change in the draft as it is now.
    pub saving: Vec<String>,
}

impl Meanwhile {
    /// The edits that made revisions after `since`.
    pub(crate) async fn read(member: &Member, app: &App, by: String, since: i64) -> Result<Self, PageError> {
        let mut tx = member.tx(app).await?;
        let rows = store::audit::page(&mut tx, None, LOOK_BACK).await?;
        tx.commit().await?;
        let later = |row: &AuditRow| {
            row.detail.get("draft_revision").and_then(serde_json::Value::as_i64).is_some_and(|r| r > since)
        };
        let mut edits: Vec<_> = rows.into_iter().filter(later).collect();
        edits.reverse();
        Ok(Self { by, edits, saving: Vec::new() })
    }
}

/// An action of the audit log in words: “changed the rule”.
pub(crate) fn action(action: &str) -> &str {
    match action {
        "rule.create" => "made the rule",
        "rule.update" => "changed the rule",
        "rule.delete" => "deleted the rule",
        "rule.move" => "moved the rule",
        "rule.enable" => "enabled the rule",
        "rule.disable" => "disabled the rule",
        "rule.dry_run" => "put on trial the rule",
        "rule.enforce" => "enforced the rule",
        "label.create" => "made the label",
        "label.update" => "changed the label",
        "label.delete" => "deleted the label",
        "section.create" => "made the section",
        "section.update" => "gave a section the name",
        "section.delete" => "deleted the section",
        "section.move" => "moved the section",
        "policy.replace" => "replaced the whole draft:",
        other => other,
    }
}

/// What somebody wanted to do to the draft, to be done again on its present revision.
pub(super) struct Wish {
    pub action: String,
    /// “move the rule to place 3”
    pub what: String,
    /// The form's fields besides the revision.
    pub fields: Vec<(&'static str, String)>,
}

#[derive(Template)]
#[template(path = "auth_policies/conflict.html")]
struct Page {
    shell: Shell,
    base: String,
    wish: Wish,
    meanwhile: Meanwhile,
    revision: i64,
}

/// The page that shows what changed meanwhile, and offers to do it all the same.
pub(super) async fn page(
    member: &Member,
    app: &App,
    wish: Wish,
    since: i64,
    (current, by): (i64, String),
) -> Result<Response, PageError> {
    let view = Page {
        shell: member.shell(Area::AuthPolicies).await?,
        base: member.path("auth-policies"),
        wish,
        meanwhile: Meanwhile::read(member, app, by, since).await?,
        revision: current,
    };
    page_as(StatusCode::CONFLICT, &view)
}
