//! What the sweeps did, for people.

use domain::LinkId;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError};

/// One sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncRun {
    pub id: Uuid,
    pub link: LinkId,
    pub started_at: OffsetDateTime,
    /// `None` while it runs.
    pub finished_at: Option<OffsetDateTime>,
    pub counts: Counts,
    /// Why it did not go through; `None` while it runs, and where it did.
    pub error: Option<String>,
}

/// What a sweep has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub pages: u32,
    /// Devices.
    pub seen: u32,
    /// New ones and those whose record differs.
    pub changed: u32,
    pub transitions: u32,
}

impl Counts {
    fn columns(self) -> Result<[i32; 4]> {
        let column = |n: u32| i32::try_from(n).map_err(|e| StoreError::corrupt("sync_run counts", e));
        Ok([column(self.pages)?, column(self.seen)?, column(self.changed)?, column(self.transitions)?])
    }
}

/// Notes that a sweep began. Runs of the link that are still open were lost with their worker, and end here.
pub async fn start(tx: &mut OrgTx, link: LinkId, id: Uuid, now: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE sync_run SET finished_at = $3, error = 'interrupted; started over'
         WHERE org_id = $1 AND link_id = $2 AND finished_at IS NULL",
        org,
        link.uuid(),
        now,
    )
    .execute(tx.conn())
    .await?;
    sqlx::query!(
        "INSERT INTO sync_run (org_id, id, link_id, started_at) VALUES ($1, $2, $3, $4)",
        org,
        id,
        link.uuid(),
        now,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes how far a sweep is.
pub async fn progress(tx: &mut OrgTx, id: Uuid, counts: Counts) -> Result<()> {
    let org = tx.org().uuid();
    let [pages, seen, changed, transitions] = counts.columns()?;
    sqlx::query!(
        "UPDATE sync_run SET pages = $3, seen = $4, changed = $5, transitions = $6 WHERE org_id = $1 AND id = $2",
        org,
        id,
        pages,
        seen,
        changed,
        transitions,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Notes that a sweep ended: `error` says why it did not go through.
pub async fn finish(tx: &mut OrgTx, id: Uuid, now: OffsetDateTime, error: Option<&str>) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE sync_run SET finished_at = $3, error = $4 WHERE org_id = $1 AND id = $2",
        org,
        id,
        now,
        error,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A link's sweeps, the latest first.
pub async fn recent(tx: &mut OrgTx, link: LinkId, limit: i64) -> Result<Vec<SyncRun>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT id, link_id, started_at, finished_at, pages, seen, changed, transitions, error FROM sync_run
         WHERE org_id = $1 AND link_id = $2 ORDER BY started_at DESC, id DESC LIMIT $3",
        org,
        link.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let count = |n: i32| u32::try_from(n).unwrap_or(0);
    let rows = rows.into_iter().map(|row| SyncRun {
        id: row.id,
        link: LinkId(row.link_id),
        started_at: row.started_at,
        finished_at: row.finished_at,
        counts: Counts {
            pages: count(row.pages),
            seen: count(row.seen),
            changed: count(row.changed),
            transitions: count(row.transitions),
        },
        error: row.error,
    });
    Ok(rows.collect())
}

/// Forgets a link's sweeps that began before `before`.
pub async fn forget(tx: &mut OrgTx, link: LinkId, before: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "DELETE FROM sync_run WHERE org_id = $1 AND link_id = $2 AND started_at < $3",
        org,
        link.uuid(),
        before,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}
