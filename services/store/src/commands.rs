//! Commands to edges, as planning sees them: inserted, superseded, withdrawn.
//!
//! A session has at most one open command. Each state a command comes to is an event on its session, written in the
//! same transaction.

use std::collections::HashMap;

use domain::coa::{CoaCause, CoaKind};
use domain::command::{Command, CommandState};
use domain::decision::Outcome;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CommandId, EdgeId, Mac, SessionId, SiteId};
use sqlx::types::mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError, events, outbox};

/// A command to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewCommand {
    pub edge: EdgeId,
    pub site: SiteId,
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

/// What planning knows of a session besides its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The policy version that answered it.
    pub policy_version: Option<i32>,
    pub latest: Option<LatestCommand>,
}

/// Lets one planner at a time work on an organization, until the transaction ends: what it reads afterwards is not
/// older than what the planner before it acted upon.
pub async fn lock_planning(tx: &mut OrgTx) -> Result<()> {
    let org = tx.org().to_string();
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 20))", org).execute(tx.conn()).await?;
    Ok(())
}

/// Where each session stands; sessions that do not exist are not in the answer.
pub async fn standing(tx: &mut OrgTx, sessions: &[SessionId]) -> Result<HashMap<SessionId, Standing>> {
    let org = tx.org().uuid();
    let sessions: Vec<Uuid> = sessions.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT s.id AS session_id, s.policy_version, c.id AS "id?", c.state AS "state?", c.kind AS "kind?",
                  c.to_outcome AS "to_outcome?", c.answered_at AS "answered_at?", c.created_at AS "created_at?"
           FROM session s
           LEFT JOIN LATERAL (
               SELECT id, state, kind, to_outcome, answered_at, created_at FROM command
               WHERE org_id = $1 AND session_id = s.id AND state <> 'superseded'
               ORDER BY created_at DESC, id DESC LIMIT 1
           ) c ON true
           WHERE s.org_id = $1 AND s.id = ANY($2)"#,
        org,
        &sessions,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        let latest = match (row.id, row.state, row.kind, row.to_outcome, row.created_at) {
            (Some(id), Some(state), Some(kind), Some(to), Some(created_at)) => Some(LatestCommand {
                id: CommandId(id),
                state: state.parse().map_err(|e| StoreError::corrupt("command.state", e))?,
                kind: kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
                to: serde_json::from_value(to).map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
                answered_at: row.answered_at,
                created_at,
            }),
            _ => None,
        };
        Ok((SessionId(row.session_id), Standing { policy_version: row.policy_version, latest }))
    });
    rows.collect()
}

/// Inserts a command in the place of the session's open one, if there is any, and wakes the edge.
pub async fn insert(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, new: NewCommand) -> Result<CommandId> {
    withdraw(tx, ids, now, new.session, "a newer command took its place").await?;
    let org = tx.org();
    let NewCommand { edge, site, session, session_key, mac, kind, cause, from, to, answered_at, expires_at } =
        new;
    let command = Command {
        id: ids.make(now),
        edge,
        session,
        session_key,
        mac,
        kind,
        cause,
        from,
        to,
        state: CommandState::Pending,
        created_at: now,
        expires_at,
        delivered_at: None,
        finished_at: None,
        result: None,
    };
    let from =
        serde_json::to_value(&command.from).map_err(|e| StoreError::corrupt("command.from_outcome", e))?;
    let to = serde_json::to_value(&command.to).map_err(|e| StoreError::corrupt("command.to_outcome", e))?;
    sqlx::query!(
        "INSERT INTO command (org_id, id, edge_id, session_id, session_key, mac, kind, cause, from_outcome, to_outcome,
             state, created_at, expires_at, answered_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        org.uuid(),
        command.id.uuid(),
        command.edge.uuid(),
        command.session.uuid(),
        command.session_key,
        command.mac.map(|mac| MacAddress::new(mac.0)),
        command.kind.as_str(),
        command.cause.as_str(),
        from,
        to,
        command.state.as_str(),
        now,
        command.expires_at,
        answered_at,
    )
    .execute(tx.conn())
    .await?;
    events::append(tx, &command.event(org, Some(site), ids.make(now), now)).await?;
    outbox::enqueue(tx, ids, now, &OutboxMessage::CommandReady { edge: command.edge }).await?;
    Ok(command.id)
}

/// Withdraws the session's open command, if there is any: it is superseded, for the reason given.
pub async fn withdraw(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    session: SessionId,
    why: &str,
) -> Result<Option<CommandId>> {
    let org = tx.org();
    let row = sqlx::query!(
        r#"UPDATE command c SET state = 'superseded', finished_at = $3, result = $4
           WHERE org_id = $1 AND session_id = $2 AND state IN ('pending', 'delivered')
           RETURNING id, kind, cause, edge_id, session_key, mac, from_outcome, to_outcome, created_at, expires_at,
                     delivered_at,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id"#,
        org.uuid(),
        session.uuid(),
        now,
        why,
    )
    .fetch_optional(tx.conn())
    .await?;
    let Some(row) = row else { return Ok(None) };
    let command = Command {
        id: CommandId(row.id),
        edge: EdgeId(row.edge_id),
        session,
        session_key: row.session_key,
        mac: row.mac.map(|mac| Mac(mac.bytes())),
        kind: row.kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
        cause: row.cause.parse().map_err(|e| StoreError::corrupt("command.cause", e))?,
        from: serde_json::from_value(row.from_outcome)
            .map_err(|e| StoreError::corrupt("command.from_outcome", e))?,
        to: serde_json::from_value(row.to_outcome)
            .map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
        state: CommandState::Superseded,
        created_at: row.created_at,
        expires_at: row.expires_at,
        delivered_at: row.delivered_at,
        finished_at: Some(now),
        result: Some(why.to_owned()),
    };
    events::append(tx, &command.event(org, row.site_id.map(SiteId), ids.make(now), now)).await?;
    Ok(Some(command.id))
}
