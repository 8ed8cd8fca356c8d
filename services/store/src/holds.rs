//! Moves to a worse state that wait for an admin, and the count of devices that turned worse.

use domain::coa::hold::{Hold, MassChange};
use domain::{DeviceId, HoldId, LinkId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result, StoreError};

struct Row {
    id: Uuid,
    link_id: Uuid,
    state: String,
    opened_at: OffsetDateTime,
    counted_since: Option<OffsetDateTime>,
    worse: i32,
    fleet: i32,
    decided_at: Option<OffsetDateTime>,
    decided_by: Option<String>,
}

impl TryFrom<Row> for Hold {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: HoldId(row.id),
            link: LinkId(row.link_id),
            state: row.state.parse().map_err(|e| StoreError::corrupt("hold.state", e))?,
            opened_at: row.opened_at,
            counted_since: row.counted_since.unwrap_or(row.opened_at),
            worse: u64::try_from(row.worse).unwrap_or(0),
            fleet: u64::try_from(row.fleet).unwrap_or(0),
            decided_at: row.decided_at,
            decided_by: row.decided_by,
        })
    }
}

/// How much may turn worse at once before an admin is asked, and whether grace counts as compliant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub mass_change: MassChange,
    pub grace_is_compliant: bool,
}

/// What the organization has set; `None` where there is no such organization.
pub async fn limits(tx: &mut OrgTx) -> Result<Option<Limits>> {
    let org = tx.org().uuid();
    let row = sqlx::query!(
        "SELECT mass_change_percent, mass_change_min, grace_is_compliant FROM org WHERE org_id = $1",
        org,
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(row.map(|row| Limits {
        mass_change: MassChange {
            percent: u32::try_from(row.mass_change_percent).unwrap_or(0),
            min: u32::try_from(row.mass_change_min).unwrap_or(0),
        },
        grace_is_compliant: row.grace_is_compliant,
    }))
}

/// The holds of the organization because of which moves wait; at most one per link.
pub async fn active(tx: &mut OrgTx) -> Result<Vec<Hold>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, link_id, state, opened_at, counted_since, worse, fleet, decided_at, decided_by FROM hold
         WHERE org_id = $1 AND state IN ('suspected', 'open')",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter().map(Hold::try_from).collect()
}

/// The link's hold because of which moves wait, locked for the transaction.
pub async fn active_of(tx: &mut OrgTx, link: LinkId) -> Result<Option<Hold>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        "SELECT id, link_id, state, opened_at, counted_since, worse, fleet, decided_at, decided_by FROM hold
         WHERE org_id = $1 AND link_id = $2 AND state IN ('suspected', 'open') FOR UPDATE",
        org,
        link.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(Hold::try_from).transpose()
}

/// A hold, locked for the transaction; its link first, as those do who count devices.
pub async fn lock(tx: &mut OrgTx, id: HoldId) -> Result<Option<Hold>> {
    let org = tx.org().uuid();
    sqlx::query!(
        "SELECT l.id FROM link l JOIN hold h ON h.org_id = $1 AND h.link_id = l.id
         WHERE l.org_id = $1 AND h.id = $2 FOR NO KEY UPDATE OF l",
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    let row = sqlx::query_as!(
        Row,
        "SELECT id, link_id, state, opened_at, counted_since, worse, fleet, decided_at, decided_by FROM hold
         WHERE org_id = $1 AND id = $2 FOR UPDATE",
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(Hold::try_from).transpose()
}

/// Writes a hold as it stands now, a new one or one that is known. A second active one of a link runs into the unique
/// index `hold_open`.
pub async fn save(tx: &mut OrgTx, hold: &Hold) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO hold (org_id, id, link_id, state, opened_at, counted_since, worse, fleet, decided_at, decided_by)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
         ON CONFLICT (org_id, id) DO UPDATE SET state = $4, counted_since = $6, worse = $7, fleet = $8,
             decided_at = $9, decided_by = $10",
        org,
        hold.id.uuid(),
        hold.link.uuid(),
        hold.state.as_str(),
        hold.opened_at,
        hold.counted_since,
        i32::try_from(hold.worse).unwrap_or(i32::MAX),
        i32::try_from(hold.fleet).unwrap_or(i32::MAX),
        hold.decided_at,
        hold.decided_by,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How many commands wait because of a hold.
pub async fn held(tx: &mut OrgTx, id: HoldId) -> Result<u64> {
    let org = tx.org().uuid();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM command WHERE org_id = $1 AND hold_id = $2 AND state = 'held'"#,
        org,
        id.uuid(),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Counts devices as turned worse at `now`, and takes out those that turned better.
pub async fn note_turns(
    tx: &mut OrgTx,
    link: LinkId,
    worse: &[DeviceId],
    better: &[DeviceId],
    now: OffsetDateTime,
) -> Result<()> {
    let org = tx.org().uuid();
    if !worse.is_empty() {
        let mut worse: Vec<Uuid> = worse.iter().map(|id| id.uuid()).collect();
        worse.sort_unstable();
        worse.dedup();
        sqlx::query!(
            "INSERT INTO turned_worse (org_id, link_id, device_id, at) SELECT $1, $2, d, $4 FROM unnest($3::uuid[]) d
             ON CONFLICT (org_id, link_id, device_id) DO UPDATE SET at = excluded.at",
            org,
            link.uuid(),
            &worse,
            now,
        )
        .execute(tx.conn())
        .await?;
    }
    if !better.is_empty() {
        let better: Vec<Uuid> = better.iter().map(|id| id.uuid()).collect();
        sqlx::query!(
            "DELETE FROM turned_worse WHERE org_id = $1 AND link_id = $2 AND device_id = ANY($3)",
            org,
            link.uuid(),
            &better,
        )
        .execute(tx.conn())
        .await?;
    }
    Ok(())
}

/// How many devices of the link turned worse since then, and did not turn back.
pub async fn turned_worse(tx: &mut OrgTx, link: LinkId, since: OffsetDateTime) -> Result<u64> {
    let org = tx.org().uuid();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM turned_worse WHERE org_id = $1 AND link_id = $2 AND at >= $3"#,
        org,
        link.uuid(),
        since,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// Forgets what turned worse before then; `None`: everything, because an admin decided on it.
pub async fn forget_turns(tx: &mut OrgTx, link: LinkId, before: Option<OffsetDateTime>) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "DELETE FROM turned_worse WHERE org_id = $1 AND link_id = $2 AND ($3::timestamptz IS NULL OR at < $3)",
        org,
        link.uuid(),
        before,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// How many devices the link has; beyond `most` they are not counted.
pub async fn fleet(tx: &mut OrgTx, link: LinkId, most: u64) -> Result<u64> {
    let org = tx.org().uuid();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!"
           FROM (SELECT FROM device WHERE org_id = $1 AND link_id = $2 LIMIT $3) counted"#,
        org,
        link.uuid(),
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}
