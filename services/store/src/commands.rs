//! Commands to edges, as planning sees them: planned, held, released, superseded, withdrawn.
//!
//! A session has at most one open command. Each state a command comes to is an event on its session, written in the
//! same transaction.

use std::collections::HashMap;

use domain::coa::hold::HoldState;
use domain::coa::{CoaCause, CoaKind};
use domain::command::{Command, CommandState, ERROR_CAUSES, ErrorCause, NasAnswer, Next};
use domain::compliance::Verdict;
use domain::decision::Outcome;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use domain::{CommandId, DeviceId, EdgeId, HoldId, LinkId, Mac, SessionId, SiteId};
use serde_json::Value;
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

/// When a command goes out, and what it came of. The default: at once, because somebody asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The edge is not told before.
    pub not_before: Option<OffsetDateTime>,
    /// It waits for an admin.
    pub hold: Option<HoldId>,
    /// The link and the device that the client was taken for.
    pub link: Option<LinkId>,
    pub device: Option<DeviceId>,
    /// When Gatehouse learned of the change that asks for the move.
    pub noticed_at: Option<OffsetDateTime>,
    /// The pace of its edge, which is kept where the edge was away when its turn came.
    pub per_second: Option<u32>,
}

/// The latest command of a session that was not superseded, unless an admin discarded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatestCommand {
    pub id: CommandId,
    pub state: CommandState,
    pub kind: CoaKind,
    pub cause: CoaCause,
    pub to: Outcome,
    pub answered_at: Option<OffsetDateTime>,
    pub created_at: OffsetDateTime,
    pub not_before: Option<OffsetDateTime>,
    pub delivered_at: Option<OffsetDateTime>,
    /// Where the hold stands that it waits or waited for; `None`: there is none.
    pub hold: Option<HoldState>,
    pub answer: Option<NasAnswer>,
    /// The device's compliance changed after the hold was decided.
    pub changed_since: bool,
}

/// A client was moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub at: OffsetDateTime,
    pub to: Outcome,
}

/// What planning knows of a session besides its answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The policy version that answered it.
    pub policy_version: Option<i32>,
    /// The verdict on it then.
    pub verdict: Option<Verdict>,
    /// The link of the device that it was taken for then.
    pub link: Option<LinkId>,
    /// The last time that the edge was told to move this client, since the moment that was asked about: in this
    /// session, or in one that this session followed.
    pub moved: Option<Moved>,
    pub latest: Option<LatestCommand>,
}

/// A command as it is stored, to be read once it was written.
pub(crate) struct Row {
    pub id: Uuid,
    pub edge_id: Uuid,
    pub site_id: Option<Uuid>,
    pub session_id: Uuid,
    pub session_key: String,
    pub mac: Option<MacAddress>,
    pub kind: String,
    pub cause: String,
    pub from_outcome: Value,
    pub to_outcome: Value,
    pub state: String,
    pub created_at: OffsetDateTime,
    pub not_before: Option<OffsetDateTime>,
    pub expires_at: OffsetDateTime,
    pub delivered_at: Option<OffsetDateTime>,
    pub finished_at: Option<OffsetDateTime>,
    pub answer: Option<String>,
    pub error_cause: Option<i64>,
    pub result: Option<String>,
}

impl Row {
    /// The command, and the site of its edge.
    pub(crate) fn read(self) -> Result<(Command, Option<SiteId>)> {
        let command = Command {
            id: CommandId(self.id),
            edge: EdgeId(self.edge_id),
            session: SessionId(self.session_id),
            session_key: self.session_key,
            mac: self.mac.map(|mac| Mac(mac.bytes())),
            kind: self.kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
            cause: self.cause.parse().map_err(|e| StoreError::corrupt("command.cause", e))?,
            from: serde_json::from_value(self.from_outcome)
                .map_err(|e| StoreError::corrupt("command.from_outcome", e))?,
            to: serde_json::from_value(self.to_outcome)
                .map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
            state: self.state.parse().map_err(|e| StoreError::corrupt("command.state", e))?,
            created_at: self.created_at,
            not_before: self.not_before,
            expires_at: self.expires_at,
            delivered_at: self.delivered_at,
            finished_at: self.finished_at,
            answer: read_answer(self.answer.as_deref(), self.error_cause)?,
            result: self.result,
        };
        Ok((command, self.site_id.map(SiteId)))
    }
}

pub(crate) fn read_answer(result: Option<&str>, error_cause: Option<i64>) -> Result<Option<NasAnswer>> {
    let Some(result) = result else { return Ok(None) };
    let result = result.parse().map_err(|e| StoreError::corrupt("command.answer", e))?;
    let error_cause = error_cause.map(u32::try_from).transpose();
    let error_cause = error_cause.map_err(|e| StoreError::corrupt("command.error_cause", e))?.map(ErrorCause);
    Ok(Some(NasAnswer { result, error_cause }))
}

/// The causes of a NAK that say that there is nobody to move ([`Next::Gone`]): such a command is `failed`, and nobody
/// has to see to it.
pub(crate) fn gone_causes() -> Vec<i64> {
    let gone = ERROR_CAUSES.iter().filter(|entry| entry.next == Next::Gone);
    gone.map(|entry| i64::from(entry.number)).collect()
}

/// Lets one planner at a time work on an organization, until the transaction ends: what it reads afterwards is not
/// older than what the planner before it acted upon.
pub async fn lock_planning(tx: &mut OrgTx) -> Result<()> {
    let org = tx.org().to_string();
    sqlx::query!("SELECT pg_advisory_xact_lock(hashtextextended($1, 20))", org).execute(tx.conn()).await?;
    Ok(())
}

/// Where each session stands; sessions that do not exist are not in the answer. Moves are looked for after
/// `moved_after`.
pub async fn standing(
    tx: &mut OrgTx,
    sessions: &[SessionId],
    moved_after: OffsetDateTime,
) -> Result<HashMap<SessionId, Standing>> {
    let org = tx.org().uuid();
    let sessions: Vec<Uuid> = sessions.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT s.id AS session_id, s.policy_version, s.verdict, s.link_id, c.id AS "id?", c.state AS "state?",
                  c.kind AS "kind?", c.cause AS "cause?", c.to_outcome AS "to_outcome?",
                  c.answered_at AS "answered_at?", c.created_at AS "created_at?", c.not_before AS "not_before?",
                  c.delivered_at AS "delivered_at?", c.answer AS "answer?",
                  c.error_cause AS "error_cause?",
                  c.hold_state AS "hold_state?",
                  c.hold_state = 'discarded' AND EXISTS (
                      SELECT FROM device_transition t
                      WHERE t.org_id = $1 AND t.device_id = c.device_id AND t.at > c.decided_at
                  ) AS "changed_since?",
                  m.delivered_at AS "moved_at?", m.to_outcome AS "moved_to?"
           FROM session s
           LEFT JOIN LATERAL (
               SELECT c.id, c.state, c.kind, c.cause, c.to_outcome, c.answered_at, c.created_at, c.not_before,
                      c.delivered_at, c.answer, c.error_cause, c.device_id,
                      h.state AS hold_state, h.decided_at
               FROM command c LEFT JOIN hold h ON h.org_id = $1 AND h.id = c.hold_id
               WHERE c.org_id = $1 AND c.session_id = s.id
                 AND (c.state <> 'superseded' OR h.state = 'discarded')
               ORDER BY c.created_at DESC, c.id DESC LIMIT 1
           ) c ON true
           LEFT JOIN LATERAL (
               (SELECT m.delivered_at, m.to_outcome FROM command m
                WHERE m.org_id = $1 AND m.session_id = s.id AND m.delivered_at > $3
                  AND m.state <> 'failed' AND m.cause <> 'admin_asked')
               UNION ALL
               (SELECT m.delivered_at, m.to_outcome FROM command m
                WHERE m.org_id = $1 AND m.mac = s.mac AND m.session_id <> s.id AND m.delivered_at > $3
                  AND m.delivered_at <= s.started_at AND m.state <> 'failed' AND m.cause <> 'admin_asked')
               ORDER BY delivered_at DESC LIMIT 1
           ) m ON true
           WHERE s.org_id = $1 AND s.id = ANY($2)"#,
        org,
        &sessions,
        moved_after,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        let latest = match (row.id, row.state, row.kind, row.cause, row.to_outcome, row.created_at) {
            (Some(id), Some(state), Some(kind), Some(cause), Some(to), Some(created_at)) => {
                Some(LatestCommand {
                    id: CommandId(id),
                    state: state.parse().map_err(|e| StoreError::corrupt("command.state", e))?,
                    kind: kind.parse().map_err(|e| StoreError::corrupt("command.kind", e))?,
                    cause: cause.parse().map_err(|e| StoreError::corrupt("command.cause", e))?,
                    to: serde_json::from_value(to)
                        .map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
                    answered_at: row.answered_at,
                    created_at,
                    not_before: row.not_before,
                    delivered_at: row.delivered_at,
                    hold: row
                        .hold_state
                        .map(|state| state.parse().map_err(|e| StoreError::corrupt("hold.state", e)))
                        .transpose()?,
                    answer: read_answer(row.answer.as_deref(), row.error_cause)?,
                    changed_since: row.changed_since.unwrap_or(false),
                })
            }
            _ => None,
        };
        let standing = Standing {
            policy_version: row.policy_version,
            verdict: row.verdict.and_then(|word| word.parse().ok()),
            link: row.link_id.map(LinkId),
            moved: match (row.moved_at, row.moved_to) {
                (Some(at), Some(to)) => Some(Moved {
                    at,
                    to: serde_json::from_value(to)
                        .map_err(|e| StoreError::corrupt("command.to_outcome", e))?,
                }),
                _ => None,
            },
            latest,
        };
        Ok((SessionId(row.session_id), standing))
    });
    rows.collect()
}

/// The moments, after `after`, at which the open commands of each edge go out.
pub async fn on_their_way(
    tx: &mut OrgTx,
    edges: &[EdgeId],
    after: OffsetDateTime,
) -> Result<HashMap<EdgeId, Vec<OffsetDateTime>>> {
    let org = tx.org().uuid();
    let edges: Vec<Uuid> = edges.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        r#"SELECT edge_id, not_before AS "not_before!" FROM command
           WHERE org_id = $1 AND edge_id = ANY($2) AND state IN ('pending', 'delivered') AND not_before > $3"#,
        org,
        &edges,
        after,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut moments: HashMap<EdgeId, Vec<OffsetDateTime>> = HashMap::new();
    for row in rows {
        moments.entry(EdgeId(row.edge_id)).or_default().push(row.not_before);
    }
    Ok(moments)
}

/// The sessions with a command of the link that no edge was told of yet, by id, after `after`.
pub async fn sessions_waiting(
    tx: &mut OrgTx,
    link: LinkId,
    after: Option<SessionId>,
    limit: i64,
) -> Result<Vec<SessionId>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_scalar!(
        "SELECT session_id FROM command
         WHERE org_id = $1 AND link_id = $2 AND state IN ('held', 'pending')
           AND ($3::uuid IS NULL OR session_id > $3)
         ORDER BY session_id LIMIT $4",
        org,
        link.uuid(),
        after.map(SessionId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(SessionId).collect())
}

/// Inserts a command that goes out at once, in the place of the session's open one, and wakes the edge.
pub async fn insert(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, new: NewCommand) -> Result<CommandId> {
    let edge = new.edge;
    let id = plan(tx, ids, now, new, Plan::default()).await?;
    ready(tx, ids, now, edge).await?;
    Ok(id)
}

/// Has the edge's polls look for commands.
pub async fn ready(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, edge: EdgeId) -> Result<()> {
    outbox::enqueue(tx, ids, now, &OutboxMessage::CommandReady { edge }).await
}

/// Inserts a command in the place of the session's open one, if there is any. Call [`ready`] in the same transaction,
/// once for each edge.
pub async fn plan(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    new: NewCommand,
    plan: Plan,
) -> Result<CommandId> {
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
        state: if plan.hold.is_some() { CommandState::Held } else { CommandState::Pending },
        created_at: now,
        not_before: plan.not_before,
        expires_at,
        delivered_at: None,
        finished_at: None,
        answer: None,
        result: None,
    };
    let from =
        serde_json::to_value(&command.from).map_err(|e| StoreError::corrupt("command.from_outcome", e))?;
    let to = serde_json::to_value(&command.to).map_err(|e| StoreError::corrupt("command.to_outcome", e))?;
    sqlx::query!(
        "INSERT INTO command (org_id, id, edge_id, session_id, session_key, mac, kind, cause, from_outcome, to_outcome,
             state, created_at, expires_at, answered_at, not_before, hold_id, link_id, device_id, noticed_at, per_second)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)",
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
        command.not_before,
        plan.hold.map(HoldId::uuid),
        plan.link.map(LinkId::uuid),
        plan.device.map(DeviceId::uuid),
        plan.noticed_at,
        plan.per_second.map(|pace| i32::try_from(pace.max(1)).unwrap_or(i32::MAX)),
    )
    .execute(tx.conn())
    .await?;
    events::append(tx, &command.event(org, Some(site), ids.make(now), now)).await?;
    Ok(command.id)
}

/// Holds the session's command that no edge was told of yet. False where there is none.
pub async fn hold(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    session: SessionId,
    hold: HoldId,
) -> Result<bool> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE command c SET state = 'held', hold_id = $3, not_before = NULL
           WHERE org_id = $1 AND session_id = $2 AND state = 'pending'
           RETURNING id, kind, cause, edge_id, session_id, session_key, mac, from_outcome, to_outcome, state,
                     created_at, not_before, expires_at, delivered_at, finished_at, answer, error_cause, result,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id"#,
        org,
        session.uuid(),
        hold.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    tell(tx, ids, now, row).await.map(|told| told.is_some())
}

/// Lets the session's held command go out at `not_before`. Call [`ready`] in the same transaction. False where there
/// is none.
pub async fn release(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    session: SessionId,
    not_before: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<bool> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        // What the admin took to decide is none of Gatehouse's delay.
        r#"UPDATE command c SET state = 'pending', not_before = $3, expires_at = $4,
               noticed_at = greatest(noticed_at,
                   (SELECT h.decided_at FROM hold h WHERE h.org_id = $1 AND h.id = c.hold_id))
           WHERE org_id = $1 AND session_id = $2 AND state = 'held'
           RETURNING id, kind, cause, edge_id, session_id, session_key, mac, from_outcome, to_outcome, state,
                     created_at, not_before, expires_at, delivered_at, finished_at, answer, error_cause, result,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id"#,
        org,
        session.uuid(),
        not_before,
        expires_at,
    )
    .fetch_optional(tx.conn())
    .await?;
    tell(tx, ids, now, row).await.map(|told| told.is_some())
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
    let row = sqlx::query_as!(
        Row,
        r#"UPDATE command c SET state = 'superseded', finished_at = $3, result = $4
           WHERE org_id = $1 AND session_id = $2 AND state IN ('held', 'pending', 'delivered')
           RETURNING id, kind, cause, edge_id, session_id, session_key, mac, from_outcome, to_outcome, state,
                     created_at, not_before, expires_at, delivered_at, finished_at, answer, error_cause, result,
                     (SELECT e.site_id FROM edge e WHERE e.org_id = $1 AND e.id = c.edge_id) AS site_id"#,
        org,
        session.uuid(),
        now,
        why,
    )
    .fetch_optional(tx.conn())
    .await?;
    tell(tx, ids, now, row).await
}

/// Writes the event of the state that a command came to.
async fn tell(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, row: Option<Row>) -> Result<Option<CommandId>> {
    let Some(row) = row else { return Ok(None) };
    let org = tx.org();
    let (command, site) = row.read()?;
    events::append(tx, &command.event(org, site, ids.make(now), now)).await?;
    Ok(Some(command.id))
}
