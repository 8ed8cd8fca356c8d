//! Devices that sweeps no longer show, until a GET of their own says what became of them.

use domain::device::ComplianceState;
use domain::{DeviceId, LinkId};
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Identity, TouchedDevice};
use crate::{OrgTx, Result};

/// Marks as missing those of the numbered devices that were not fetched since a sweep began. They count as
/// confirmed by the sweep before it, `seen_until`, and by nothing after that.
pub async fn mark_missing(
    tx: &mut OrgTx,
    link: LinkId,
    ordinals: &[i32],
    sweep_started_at: OffsetDateTime,
    seen_until: Option<OffsetDateTime>,
    now: OffsetDateTime,
) -> Result<Vec<TouchedDevice>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "UPDATE device SET missing_since = $6, fetched_at = greatest(fetched_at, $5)
         WHERE org_id = $1 AND link_id = $2 AND ordinal = ANY($3) AND missing_since IS NULL AND fetched_at < $4
         RETURNING id, compliance, fetched_at, name, serial, entra_id, wifi_mac, ethernet_mac",
        org,
        link.uuid(),
        ordinals,
        sweep_started_at,
        seen_until,
        now,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(super::touched!(link, rows))
}

/// A place among a link's missing devices, of which the longest missing come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingPlace {
    pub since: OffsetDateTime,
    pub id: DeviceId,
}

/// The link's missing devices, the longest missing first, after `after`.
pub async fn missing(
    tx: &mut OrgTx,
    link: LinkId,
    after: Option<MissingPlace>,
    limit: i64,
) -> Result<Vec<MissingPlace>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT missing_since AS "since!", id FROM device
           WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL
             AND missing_since >= coalesce($3::timestamptz, '-infinity')
             AND ($3::timestamptz IS NULL OR (missing_since, id) > ($3, $4::uuid))
           ORDER BY missing_since, id LIMIT $5"#,
        org,
        link.uuid(),
        after.map(|place| place.since),
        after.map(|place| place.id.uuid()),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(|row| MissingPlace { since: row.since, id: DeviceId(row.id) }).collect())
}

/// Those of the link's missing devices whose clients are on the network, the longest missing first.
pub async fn missing_in_session(tx: &mut OrgTx, link: LinkId, limit: i64) -> Result<Vec<DeviceId>> {
    let org = tx.org().uuid();
    let ids = sqlx::query_scalar!(
        "SELECT id FROM device d
         WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL
           AND EXISTS (SELECT 1 FROM session s WHERE s.org_id = $1 AND s.device_id = d.id AND s.ended_at IS NULL)
         ORDER BY missing_since, id LIMIT $3",
        org,
        link.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(DeviceId).collect())
}

/// Deletes devices that are missing; one that came back meanwhile stays.
pub async fn delete_missing(tx: &mut OrgTx, link: LinkId, ids: &[DeviceId]) -> Result<Vec<TouchedDevice>> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        "DELETE FROM device
         WHERE org_id = $1 AND link_id = $2 AND id = ANY($3) AND missing_since IS NOT NULL
         RETURNING id, compliance, fetched_at, name, serial, entra_id, wifi_mac, ethernet_mac",
        org,
        link.uuid(),
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(super::touched!(link, rows))
}
