//! What others did to the draft while somebody was typing.

use store::audit::AuditRow;

use crate::app::App;
use crate::error::PageError;
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
        "section.update" => "renamed to this the section",
        "section.delete" => "deleted the section",
        "section.move" => "moved the section",
        "policy.replace" => "replaced the whole draft:",
        other => other,
    }
}
