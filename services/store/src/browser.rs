//! Browser sessions, as bytes. The ids are secrets: only their hashes are kept, and none is logged.

use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use crate::{Result, SystemTx};

/// Expired sessions that each new one clears away, so that they never pile up.
const CLEARED_AT_ONCE: i64 = 100;

fn hash(id: &str) -> Vec<u8> {
    Sha256::digest(id).to_vec()
}

/// Keeps a new session until `expires_at`. `false`: the id is taken.
pub async fn create(
    tx: &mut SystemTx,
    id: &str,
    data: &[u8],
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<bool> {
    sqlx::query!(
        "DELETE FROM browser_session WHERE id_hash IN (
             SELECT id_hash FROM browser_session WHERE expires_at <= $1 LIMIT $2 FOR UPDATE SKIP LOCKED)",
        now,
        CLEARED_AT_ONCE,
    )
    .execute(tx.conn())
    .await?;
    let done = sqlx::query!(
        "INSERT INTO browser_session (id_hash, data, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        hash(id),
        data,
        expires_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Replaces a session. `false`: it is gone, and a request that was still in flight must not bring it back.
pub async fn save(
    tx: &mut SystemTx,
    id: &str,
    data: &[u8],
    now: OffsetDateTime,
    expires_at: OffsetDateTime,
) -> Result<bool> {
    let done = sqlx::query!(
        "UPDATE browser_session SET data = $2, expires_at = $4 WHERE id_hash = $1 AND expires_at > $3",
        hash(id),
        data,
        now,
        expires_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}

/// The session's bytes, unless it has expired.
pub async fn load(tx: &mut SystemTx, id: &str, now: OffsetDateTime) -> Result<Option<Vec<u8>>> {
    let data = sqlx::query_scalar!(
        "SELECT data FROM browser_session WHERE id_hash = $1 AND expires_at > $2",
        hash(id),
        now,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(data)
}

/// Ends a session.
pub async fn delete(tx: &mut SystemTx, id: &str) -> Result<()> {
    sqlx::query!("DELETE FROM browser_session WHERE id_hash = $1", hash(id)).execute(tx.conn()).await?;
    Ok(())
}
