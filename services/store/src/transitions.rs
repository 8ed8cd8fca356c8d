//! Changes of compliance, never rewritten.

use domain::device::ComplianceState;
use domain::{DeviceId, LinkId, TransitionId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{OrgTx, Result};

/// One change that Gatehouse saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    pub id: TransitionId,
    pub link: LinkId,
    pub device: DeviceId,
    pub at: OffsetDateTime,
    /// `None`: the device was new.
    pub from: Option<ComplianceState>,
    /// `None`: its record is gone.
    pub to: Option<ComplianceState>,
}

/// Records changes.
pub async fn record(tx: &mut OrgTx, transitions: &[Transition]) -> Result<()> {
    if transitions.is_empty() {
        return Ok(());
    }
    let org = tx.org().uuid();
    let id: Vec<Uuid> = transitions.iter().map(|t| t.id.uuid()).collect();
    let link: Vec<Uuid> = transitions.iter().map(|t| t.link.uuid()).collect();
    let device: Vec<Uuid> = transitions.iter().map(|t| t.device.uuid()).collect();
    let at: Vec<OffsetDateTime> = transitions.iter().map(|t| t.at).collect();
    let from: Vec<Option<&str>> =
        transitions.iter().map(|t| t.from.as_ref().map(ComplianceState::as_str)).collect();
    let to: Vec<Option<&str>> =
        transitions.iter().map(|t| t.to.as_ref().map(ComplianceState::as_str)).collect();
    sqlx::query!(
        "INSERT INTO device_transition (org_id, id, link_id, device_id, at, from_state, to_state)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[])",
        org,
        &id,
        &link,
        &device,
        &at,
        &from as &[Option<&str>],
        &to as &[Option<&str>],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A device's history, the latest first.
pub async fn of_device(tx: &mut OrgTx, device: DeviceId, limit: i64) -> Result<Vec<Transition>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT id, link_id, device_id, at, from_state, to_state FROM device_transition
         WHERE org_id = $1 AND device_id = $2 ORDER BY at DESC, id DESC LIMIT $3",
        org,
        device.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| Transition {
        id: TransitionId(row.id),
        link: LinkId(row.link_id),
        device: DeviceId(row.device_id),
        at: row.at,
        from: row.from_state.map(ComplianceState::from),
        to: row.to_state.map(ComplianceState::from),
    });
    Ok(rows.collect())
}
