//! What an admin does to an edge once it is there.

use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CredentialId, EdgeId};
use serde_json::json;
use time::{Duration, OffsetDateTime};

use crate::audit::{self, Actor};
use crate::edges::{EdgeToken, issue_credential};
use crate::{OrgTx, Result, outbox};

/// Why an edge cannot be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InUse {
    /// It is not switched off, and was heard of before.
    pub on: bool,
    pub active_sessions: i64,
    pub open_commands: i64,
}

impl InUse {
    /// Whether nothing keeps it.
    #[must_use]
    pub const fn is_free(self) -> bool {
        !self.on && self.active_sessions == 0 && self.open_commands == 0
    }
}

/// Gives an edge another name. `false`: the organization has no such edge. A name that another edge bears runs into
/// the unique index `edge_name`.
pub async fn rename(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
    name: &str,
) -> Result<bool> {
    let org = tx.org().uuid();
    let before = sqlx::query_scalar!(
        "UPDATE edge e SET name = $3 FROM edge old
         WHERE e.org_id = $1 AND e.id = $2 AND old.org_id = $1 AND old.id = $2 RETURNING old.name",
        org,
        edge.uuid(),
        name,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(before) = before else { return Ok(false) };
    if before != name {
        let detail = json!({"edge_id": edge, "before": before});
        audit::write(tx, ids, now, actor, "edge.rename", name, detail).await?;
    }
    Ok(true)
}

/// Switches an edge off, so that its credentials are refused, or on again. `None`: the organization has no such
/// edge; `Some(false)`: it was so already.
pub async fn switch(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
    on: bool,
) -> Result<Option<bool>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"UPDATE edge e SET disabled_at = CASE WHEN $3 THEN NULL ELSE coalesce(e.disabled_at, $4) END
           FROM edge old WHERE e.org_id = $1 AND e.id = $2 AND old.org_id = $1 AND old.id = $2
           RETURNING e.name, old.disabled_at IS NULL AS "was_on!""#,
        org,
        edge.uuid(),
        on,
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    if row.was_on == on {
        return Ok(Some(false));
    }
    let action = if on { "edge.enable" } else { "edge.disable" };
    audit::write(tx, ids, now, actor, action, &row.name, json!({"edge_id": edge})).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CredentialChanged { edge }).await?;
    Ok(Some(true))
}

/// What keeps an edge from being deleted.
pub async fn in_use(tx: &mut OrgTx, edge: EdgeId) -> Result<InUse> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        r#"SELECT coalesce((SELECT disabled_at IS NULL AND last_seen_at IS NOT NULL FROM edge
                            WHERE org_id = $1 AND id = $2), false) AS "on!",
                  (SELECT count(*) FROM session WHERE org_id = $1 AND edge_id = $2 AND ended_at IS NULL)
                      AS "sessions!",
                  (SELECT count(*) FROM command WHERE org_id = $1 AND edge_id = $2
                      AND state IN ('held', 'pending', 'delivered')) AS "commands!""#,
        org,
        edge.uuid(),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(InUse { on: row.on, active_sessions: row.sessions, open_commands: row.commands })
}

/// Deletes an edge with its credentials and its finished commands, where nothing keeps it. Events and sessions stay.
/// `None`: the organization has no such edge.
pub async fn delete(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
) -> Result<Option<InUse>> {
    let org = tx.org().uuid();
    // Nothing new can come to hang on it meanwhile.
    let name = sqlx::query_scalar!(
        "SELECT name FROM edge WHERE org_id = $1 AND id = $2 FOR UPDATE",
        org,
        edge.uuid()
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(name) = name else { return Ok(None) };
    let in_use = in_use(tx, edge).await?;
    if !in_use.is_free() {
        return Ok(Some(in_use));
    }
    // No cache need be told: a credential that may still be cached belongs to an edge that is switched off.
    sqlx::query!("DELETE FROM edge_credential WHERE org_id = $1 AND edge_id = $2", org, edge.uuid())
        .execute(tx.conn())
        .await?;
    sqlx::query!("DELETE FROM command WHERE org_id = $1 AND edge_id = $2", org, edge.uuid())
        .execute(tx.conn())
        .await?;
    sqlx::query!("DELETE FROM edge WHERE org_id = $1 AND id = $2", org, edge.uuid())
        .execute(tx.conn())
        .await?;
    audit::write(tx, ids, now, actor, "edge.delete", &name, json!({"edge_id": edge})).await?;
    Ok(Some(in_use))
}

/// Makes a new credential, and lets all others of the edge end after `overlap`; at once where that is zero. `None`:
/// the organization has no such edge.
pub async fn rotate(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    edge: EdgeId,
    overlap: Duration,
) -> Result<Option<(EdgeToken, CredentialId)>> {
    let org = tx.org().uuid();
    let until = now + overlap;
    let ending = sqlx::query!(
        r#"UPDATE edge_credential c
           SET revoked_at = CASE WHEN $4 <= $3 THEN $3 END,
               expires_at = CASE WHEN $4 <= $3 THEN c.expires_at ELSE least(c.expires_at, $4) END
           FROM edge e
           WHERE c.org_id = $1 AND c.edge_id = $2 AND e.org_id = $1 AND e.id = c.edge_id AND c.revoked_at IS NULL
             AND (c.expires_at IS NULL OR c.expires_at > $3)
           RETURNING c.id, c.prefix, e.name"#,
        org,
        edge.uuid(),
        now,
        until,
    )
    .fetch_all(tx.conn())
    .await?;
    for row in ending {
        let detail = json!({
            "edge_id": edge, "credential_id": row.id, "prefix": row.prefix,
            "overlap_seconds": overlap.whole_seconds(),
        });
        audit::write(tx, ids, now, actor, "edge.credential.replace", &row.name, detail).await?;
    }
    // Its message tells the caches of all credentials of the edge.
    issue_credential(tx, ids, now, actor, edge).await
}

/// Lets a credential that ends by itself hold until `until`. `false`: it is over, or ends not by itself, or later.
pub async fn extend(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    actor: &Actor,
    credential: CredentialId,
    until: OffsetDateTime,
) -> Result<bool> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "UPDATE edge_credential c SET expires_at = $4 FROM edge e
         WHERE c.org_id = $1 AND c.id = $2 AND e.org_id = $1 AND e.id = c.edge_id AND c.revoked_at IS NULL
           AND c.expires_at > $3 AND c.expires_at < $4
         RETURNING e.id, e.name, c.prefix",
        org,
        credential.uuid(),
        now,
        until,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(false) };
    let edge = EdgeId(row.id);
    let seconds = (until - now).whole_seconds();
    let detail =
        json!({"edge_id": edge, "credential_id": credential, "prefix": row.prefix, "seconds": seconds});
    audit::write(tx, ids, now, actor, "edge.credential.extend", &row.name, detail).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CredentialChanged { edge }).await?;
    Ok(true)
}
