//! Commands to edges, as planning sees them: inserted, superseded, withdrawn.
//!
//! A session has at most one open command. Each state a command comes to is an event on its session, written in the
//! same transaction.

use std::collections::HashMap;

use domain::coa::{CoaCause, CoaKind};
use domain::command::CommandState;
use domain::decision::Outcome;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CommandId, EdgeId, Mac, SessionId};
use sqlx::types::mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError, outbox};

/// A command to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommand {
    pub edge: EdgeId,
    pub session: SessionId,
    /// The edge's own name of the session.
    pub session_key: String,
    pub mac: Option<Mac>,
    pub kind: CoaKind,
    pub cause: CoaCause,
    /// What the session was answered, and what it would be answered now.
    pub from: Outcome,
    pub to: Outcome,
    /// When `from` was answered.
    pub answered_at: Option<OffsetDateTime>,
    pub expires_at: OffsetDateTime,
}

/// The latest command of a session that was not superseded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestCommand {
    pub id: CommandId,
    pub state: CommandState,
    pub kind: CoaKind,
    pub to: Outcome,
    pub answered_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
}

/// Lets one planner at a time work on an organization, until the transaction ends: what it reads afterwards is not
/// older than what the planner before it acted upon.
pub async fn lock_planning(tx: &mut OrgTx) -> Result<()> {
    let org = tx.org().to_string();
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 20))", org).execute(tx.conn()).await?;
    Ok(())
}

/// The latest command of each session, leaving out superseded ones; sessions without any are not in the answer.
pub async fn latest(tx: &mut OrgTx, sessions: &[SessionId]) -> Result<HashMap<SessionId, LatestCommand>> {
    let org = tx.org().uuid();
    let sessions: Vec<Uuid> = sessions.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT s.id AS "session_id!", c.id, c.state, c.kind, c.to_outcome, c.answered_at, c.created_at
           FROM unnest($2::uuid[]) AS s(id)
           CROSS JOIN LATERAL (
               SELECT id, state, kind, to_outcome, answered_at, created_at FROM command
               WHERE org_id = $1 AND session_id = s.id AND state <> 'superseded'
               ORDER BY created_at DESC, id DESC LIMIT 1
           ) c"#,
        org,
        &sessions,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        let command = LatestCommand {
            id: CommandId(row.id),
            state: row.state.parse().map_err(|e| StoreError::corrupt("command.state", e))?,
            kind: row.kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
            to: serde_json::from_value(row.to_outcome).map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
            answered_at: row.answered_at,
            created_at: row.created_at,
        };
        Ok((SessionId(row.session_id), command))
    });
    rows.collect()
}

/// Inserts a command in the place of the session's open one, if there is any, and wakes the edge.
pub async fn insert(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, command: &NewCommand) -> Result<CommandId> {
    withdraw(tx, ids, now, command.session, "superseded by a newer command").await?;
    let org = tx.org().uuid();
    let id: CommandId = ids.make(now);
    let from = serde_json::to_value(&command.from).map_err(|e| StoreError::corrupt("command.from_outcome", e))?;
    let to = serde_json::to_value(&command.to).map_err(|e| StoreError::corrupt("command.to_outcome", e))?;
    sqlx::query!(
        "INSERT INTO command (org_id, id, edge_id, session_id, session_key, mac, kind, cause, from_outcome, to_outcome,
             state, created_at, expires_at, answered_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'pending', $11, $12, $13)",
        org,
        id.uuid(),
        command.edge.uuid(),
        command.session.uuid(),
        command.session_key,
        command.mac.map(|mac| MacAddress::new(mac.0)),
        command.kind.as_str(),
        command.cause.as_str(),
        from,
        to,
        now,
        command.expires_at,
        command.answered_at,
    )
    .execute(tx.conn())
    .await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CommandReady { edge: command.edge }).await?;
    Ok(id)
}

/// Withdraws the session's open command, if there is any: it is superseded, for the reason given.
pub async fn withdraw(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    session: SessionId,
    why: &str,
) -> Result<Option<CommandId>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "UPDATE command SET state = 'superseded', finished_at = $3, result = $4
         WHERE org_id = $1 AND session_id = $2 AND state IN ('pending', 'delivered')
         RETURNING id, kind, cause, edge_id, mac",
        org,
        session.uuid(),
        now,
        why,
    )
    .fetch_optional(tx.conn())
    .await?;
    let _ = ids;
    Ok(row.map(|row| CommandId(row.id)))
}
