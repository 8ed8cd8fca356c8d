//! The transactional outbox: what changed in PostgreSQL, on its way to Redis and to CoA planning.

use domain::outbox::OutboxMessage;
use domain::time::Ids;
use time::OffsetDateTime;

use crate::{OrgTx, Result, StoreError};

/// Adds a message, to be seen when the transaction commits.
pub async fn enqueue(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, message: &OutboxMessage) -> Result<()> {
    let org = tx.org().uuid();
    let message = serde_json::to_value(message).map_err(|e| StoreError::corrupt("outbox.message", e))?;
    sqlx::query!(
        "INSERT INTO outbox (org_id, id, message, created_at) VALUES ($1, $2, $3, $4)",
        org,
        ids.uuid(now),
        message,
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
