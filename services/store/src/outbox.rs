//! The transactional outbox: what changed in PostgreSQL, on its way to Redis and to CoA planning.
//!
//! A message is claimed for a while, carried out, and deleted. Whoever dies in between leaves a claim that runs
//! out; effects are level-triggered, so that carrying one out twice does no harm.

use domain::OrgId;
use domain::outbox::OutboxMessage;
use domain::time::Ids;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError, SystemTx};

/// Adds a message, to be seen when the transaction commits.
pub async fn enqueue(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, message: &OutboxMessage) -> Result<()> {
    enqueue_at(tx, ids, now, now, message).await
}

/// Adds a message that nobody carries before `due`.
pub async fn enqueue_at(
    tx: &mut OrgTx,
    ids: &Ids,
    now: OffsetDateTime,
    due: OffsetDateTime,
    message: &OutboxMessage,
) -> Result<()> {
    let org = tx.org().uuid();
    let message = serde_json::to_value(message).map_err(|e| StoreError::corrupt("outbox.message", e))?;
    sqlx::query!(
        "INSERT INTO outbox (org_id, id, message, created_at, claimed_until) VALUES ($1, $2, $3, $4, $5)",
        org,
        ids.uuid(now),
        message,
        now,
        (due > now).then_some(due),
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A message that the caller holds for a while.
#[derive(Clone, Debug, PartialEq)]
pub struct ClaimedMessage {
    pub org: OrgId,
    pub id: Uuid,
    /// `None`: nobody understands it, which a newer version may.
    pub message: Option<OutboxMessage>,
    pub created_at: OffsetDateTime,
    /// How often it was claimed in its present phase, this time included.
    pub attempts: u32,
    /// Its effects were carried out once; this is the repetition.
    pub settling: bool,
}

/// Organizations that have messages, also such as are not due, by id, after `after`.
pub async fn orgs(tx: &mut SystemTx, after: Option<OrgId>, limit: i64) -> Result<Vec<OrgId>> {
    // One probe of the index for each organization, however many messages it has.
    let orgs = sqlx::query_scalar!(
        r#"WITH RECURSIVE walk AS (
             (SELECT org_id, 1::bigint AS n FROM outbox WHERE $1::uuid IS NULL OR org_id > $1
              ORDER BY org_id LIMIT 1)
             UNION ALL
             SELECT (SELECT o.org_id FROM outbox o WHERE o.org_id > w.org_id ORDER BY o.org_id LIMIT 1), w.n + 1
             FROM walk w WHERE w.org_id IS NOT NULL AND w.n < $2
           )
           SELECT org_id AS "org_id!" FROM walk WHERE org_id IS NOT NULL ORDER BY n"#,
        after.map(OrgId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(orgs.into_iter().map(OrgId).collect())
}

/// Claims up to `per_org` due messages of each of the organizations until `until`: new ones first, then those that
/// are to be repeated or tried again. Any number of relays may ask at once.
pub async fn claim(
    tx: &mut SystemTx,
    now: OffsetDateTime,
    until: OffsetDateTime,
    orgs: &[OrgId],
    per_org: i64,
) -> Result<Vec<ClaimedMessage>> {
    let orgs: Vec<Uuid> = orgs.iter().map(|org| org.uuid()).collect();
    let rows = sqlx::query!(
        "WITH due AS (
             SELECT d.org_id, d.id FROM unnest($3::uuid[]) AS w (org_id)
             CROSS JOIN LATERAL (
                 SELECT o.org_id, o.id FROM outbox o
                 WHERE o.org_id = w.org_id AND (o.claimed_until IS NULL OR o.claimed_until <= $1)
                 ORDER BY o.claimed_until NULLS FIRST, o.id LIMIT $4 FOR UPDATE SKIP LOCKED
             ) d
         )
         UPDATE outbox o SET claimed_until = $2, attempts = o.attempts + 1
         FROM due WHERE o.org_id = due.org_id AND o.id = due.id
         RETURNING o.org_id, o.id, o.message, o.created_at, o.attempts, o.settling",
        now,
        until,
        &orgs,
        per_org,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut claimed: Vec<ClaimedMessage> = rows
        .into_iter()
        .map(|row| ClaimedMessage {
            org: OrgId(row.org_id),
            id: row.id,
            message: serde_json::from_value(row.message).ok(),
            created_at: row.created_at,
            attempts: u32::try_from(row.attempts).unwrap_or(u32::MAX),
            settling: row.settling,
        })
        .collect();
    claimed.sort_by_key(|message| message.id);
    Ok(claimed)
}

/// Deletes messages whose effects are carried out.
pub async fn done(tx: &mut SystemTx, messages: &[(OrgId, Uuid)]) -> Result<()> {
    let (orgs, ids) = columns(messages);
    sqlx::query!(
        "DELETE FROM outbox o USING unnest($1::uuid[], $2::uuid[]) AS m(org_id, id)
         WHERE o.org_id = m.org_id AND o.id = m.id",
        &orgs,
        &ids,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Sets messages aside until `again_at`, when their effects are repeated once.
pub async fn settle(tx: &mut SystemTx, messages: &[(OrgId, Uuid)], again_at: OffsetDateTime) -> Result<()> {
    let (orgs, ids) = columns(messages);
    sqlx::query!(
        "UPDATE outbox o SET settling = true, attempts = 0, claimed_until = $3
         FROM unnest($1::uuid[], $2::uuid[]) AS m(org_id, id)
         WHERE o.org_id = m.org_id AND o.id = m.id AND NOT o.settling",
        &orgs,
        &ids,
        again_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Gives messages back, to be tried again at `again_at`.
pub async fn retry(tx: &mut SystemTx, messages: &[(OrgId, Uuid)], again_at: OffsetDateTime) -> Result<()> {
    let (orgs, ids) = columns(messages);
    sqlx::query!(
        "UPDATE outbox o SET claimed_until = $3 FROM unnest($1::uuid[], $2::uuid[]) AS m(org_id, id)
         WHERE o.org_id = m.org_id AND o.id = m.id",
        &orgs,
        &ids,
        again_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

fn columns(messages: &[(OrgId, Uuid)]) -> (Vec<Uuid>, Vec<Uuid>) {
    messages.iter().map(|(org, id)| (org.uuid(), *id)).unzip()
}

/// When the oldest message that was not carried out yet was written; `None` where nothing waits. Messages that are for
/// later do not count.
pub async fn oldest(tx: &mut SystemTx) -> Result<Option<OffsetDateTime>> {
    let at = sqlx::query_scalar!(
        "SELECT created_at FROM outbox
         WHERE NOT settling AND (claimed_until IS NULL OR attempts > 0) ORDER BY id LIMIT 1"
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(at)
}
