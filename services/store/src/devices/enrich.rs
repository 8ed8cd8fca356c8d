//! What lists leave out: Ethernet MAC and UDID.

use domain::device::ComplianceState;
use domain::{DeviceId, LinkId, Mac};
use sqlx::types::mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use super::{Identity, TouchedDevice, address};
use crate::{OrgTx, Result};

/// Devices of the link after `after` of which this was never asked, or whose hardware may have changed since.
pub async fn unenriched(
    tx: &mut OrgTx,
    link: LinkId,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<DeviceId>> {
    let org = tx.org().uuid();
    let ids = sqlx::query_scalar!(
        "SELECT id FROM device WHERE org_id = $1 AND link_id = $2 AND enriched_at IS NULL AND id > $3
         ORDER BY id LIMIT $4",
        org,
        link.uuid(),
        after.map_or(Uuid::nil(), DeviceId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(ids.into_iter().map(DeviceId).collect())
}

/// What was found out about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enriched {
    pub id: DeviceId,
    pub ethernet_mac: Option<Mac>,
    pub udid: Option<String>,
}

/// Notes what a single GET, asked for at `asked_at`, told. Returns those devices that are found by another key now,
/// with their former keys beside the new ones.
pub async fn enriched(
    tx: &mut OrgTx,
    link: LinkId,
    rows: &[Enriched],
    asked_at: OffsetDateTime,
) -> Result<Vec<TouchedDevice>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let org = tx.org().uuid();
    let id: Vec<Uuid> = rows.iter().map(|row| row.id.uuid()).collect();
    let mac: Vec<Option<MacAddress>> = rows.iter().map(|row| row.ethernet_mac.map(address)).collect();
    let udid: Vec<Option<&str>> = rows.iter().map(|row| row.udid.as_deref()).collect();
    let rows = sqlx::query!(
        r#"UPDATE device d SET ethernet_mac = e.mac, udid = e.udid, enriched_at = $6
           FROM unnest($3::uuid[], $4::macaddr[], $5::text[]) AS e (id, mac, udid)
           JOIN device was ON was.org_id = $1 AND was.link_id = $2 AND was.id = e.id
           WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = e.id
             AND (d.enriched_at IS NULL OR d.enriched_at <= $6)
           RETURNING d.id, d.compliance, d.fetched_at, d.name, d.serial, d.entra_id, d.wifi_mac, d.ethernet_mac,
                     was.ethernet_mac AS former_mac"#,
        org,
        link.uuid(),
        &id,
        &mac as &[Option<MacAddress>],
        &udid as &[Option<&str>],
        asked_at,
    )
    .fetch_all(tx.conn())
    .await?;
    let mut touched = Vec::new();
    for row in rows.into_iter().filter(|row| row.ethernet_mac != row.former_mac) {
        let former = row.former_mac;
        let mut some: Vec<TouchedDevice> = super::touched!(link, [row]);
        for device in &mut some {
            device.keys.extend(former.map(|mac| domain::resolver::LookupKey::Mac(super::mac(mac))));
        }
        touched.extend(some);
    }
    Ok(touched)
}
