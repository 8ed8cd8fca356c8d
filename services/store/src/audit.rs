//! Who changed what. A line is written in the transaction of the change.

use domain::AccountId;
use domain::time::Ids;
use serde_json::Value;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `None`: Gatehouse itself.
    pub account: Option<AccountId>,
    /// As it is shown, also when the account is long gone.
    pub name: String,
}

impl Actor {
    /// Gatehouse itself.
    #[must_use]
    pub fn system() -> Self {
        Self { account: None, name: "Gatehouse".to_owned() }
    }
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    pub id: Uuid,
    pub at: OffsetDateTime,
    pub actor: String,
    /// For example `policy.publish`.
    pub action: String,
    pub target: String,
    pub detail: Value,
}

/// Writes a line: `action` such as `link.create`, `target` the name of what was acted on.
pub async fn write(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    action: &str,
    target: &str,
    detail: Value,
) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO audit (org_id, id, at, account_id, actor, action, target, detail)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        org,
        ids.uuid(now),
        now,
        actor.account.map(AccountId::uuid),
        actor.name,
        action,
        target,
        detail,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The newest lines, older than `before` (an id from an earlier page) where it is given.
pub async fn page(tx: &mut OrgTx, before: Option<Uuid>, limit: i64) -> Result<Vec<AuditRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        AuditRow,
        "SELECT id, at, actor, action, target, detail FROM audit
         WHERE org_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3",
        org,
        before,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}
