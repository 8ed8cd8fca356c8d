//! Changes of compliance, never rewritten.

use domain::device::ComplianceState;
use domain::{DeviceId, LinkId, TransitionId};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::jobs::JobKind;
use crate::{OrgTx, Result, StoreError};

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
    /// The kind of work that saw it; `None` in records of releases that did not say.
    pub noticed_by: Option<JobKind>,
    /// The earliest moment at which Microsoft can have shown it: the device's check-in that brought it, or the last
    /// look that did not show it, whichever came later. `None`: unknown, as for a fleet's first sweep.
    pub visible_after: Option<OffsetDateTime>,
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
    let noticed_by: Vec<Option<&str>> =
        transitions.iter().map(|t| t.noticed_by.map(JobKind::as_str)).collect();
    let visible_after: Vec<Option<OffsetDateTime>> = transitions.iter().map(|t| t.visible_after).collect();
    sqlx::query!(
        "INSERT INTO device_transition (org_id, id, link_id, device_id, at, from_state, to_state, noticed_by,
                                        visible_after)
         SELECT $1, * FROM unnest($2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[], $6::text[], $7::text[],
                                  $8::text[], $9::timestamptz[])",
        org,
        &id,
        &link,
        &device,
        &at,
        &from as &[Option<&str>],
        &to as &[Option<&str>],
        &noticed_by as &[Option<&str>],
        &visible_after as &[Option<OffsetDateTime>],
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A device's history, the latest first.
pub async fn of_device(tx: &mut OrgTx, device: DeviceId, limit: i64) -> Result<Vec<Transition>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "SELECT id, link_id, device_id, at, from_state, to_state, noticed_by, visible_after FROM device_transition
         WHERE org_id = $1 AND device_id = $2 ORDER BY at DESC, id DESC LIMIT $3",
        org,
        device.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| {
        let noticed_by = row.noticed_by.map(|kind| kind.parse()).transpose();
        Ok(Transition {
            id: TransitionId(row.id),
            link: LinkId(row.link_id),
            device: DeviceId(row.device_id),
            at: row.at,
            from: row.from_state.map(ComplianceState::from),
            to: row.to_state.map(ComplianceState::from),
            noticed_by: noticed_by.map_err(|e| StoreError::corrupt("device_transition.noticed_by", e))?,
            visible_after: row.visible_after,
        })
    });
    rows.collect()
}

/// Those of the devices whose records went at `since` or later: an answer that was asked for before then must not
/// bring them back.
pub async fn gone_since(
    tx: &mut OrgTx,
    devices: &[DeviceId],
    since: OffsetDateTime,
) -> Result<Vec<DeviceId>> {
    if devices.is_empty() {
        return Ok(Vec::new());
    }
    let org = tx.org().uuid();
    let devices: Vec<Uuid> = devices.iter().map(|id| id.uuid()).collect();
    let gone = sqlx::query_scalar!(
        "SELECT DISTINCT device_id FROM device_transition
         WHERE org_id = $1 AND device_id = ANY($2) AND at >= $3 AND to_state IS NULL",
        org,
        &devices,
        since,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(gone.into_iter().map(DeviceId).collect())
}
