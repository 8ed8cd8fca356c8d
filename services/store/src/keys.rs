//! Data keys of the organization, wrapped with the operator's master key. What wraps and unwraps is not known here.

use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// A wrapped data key.
#[derive(Clone, PartialEq, Eq)]
pub struct KeyRow {
    pub id: Uuid,
    /// Names the master key that wraps it.
    pub master_id: String,
    pub wrapped: Vec<u8>,
    pub created_at: OffsetDateTime,
}

impl std::fmt::Debug for KeyRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyRow")
            .field("id", &self.id)
            .field("master_id", &self.master_id)
            .finish_non_exhaustive()
    }
}

/// Keeps a new key.
pub async fn insert(tx: &mut OrgTx, key: &KeyRow) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO org_key (org_id, id, master_id, wrapped, created_at) VALUES ($1, $2, $3, $4, $5)",
        org,
        key.id,
        key.master_id,
        key.wrapped,
        key.created_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// The keys of the organization, newest first: the first one seals.
pub async fn list(tx: &mut OrgTx) -> Result<Vec<KeyRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        KeyRow,
        "SELECT id, master_id, wrapped, created_at FROM org_key WHERE org_id = $1 ORDER BY created_at DESC, id DESC",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows)
}

/// Replaces how a key is wrapped. False where another rotation was faster.
pub async fn rewrap(tx: &mut OrgTx, before: &KeyRow, master_id: &str, wrapped: &[u8]) -> Result<bool> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE org_key SET master_id = $4, wrapped = $5 WHERE org_id = $1 AND id = $2 AND master_id = $3",
        org,
        before.id,
        before.master_id,
        master_id,
        wrapped,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected() == 1)
}
