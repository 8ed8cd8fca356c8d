//! What changes by the passing of time alone: grace that ends, records that go stale.

use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::keys_of;
use domain::{DeviceId, LinkId, Mac};
use time::{Duration, OffsetDateTime};

use crate::devices::TouchedDevice;
use crate::{OrgTx, Result};

/// A stretch of time that is looked at: after `from`, up to and with `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub from: OffsetDateTime,
    pub to: OffsetDateTime,
    /// A record that was confirmed longer ago is stale.
    pub stale_after: Duration,
}

/// Devices of a link whose compliance changed within the stretch: their grace ended, or they are missing and went
/// stale. In the order of ids, after `after`.
pub async fn changed(
    tx: &mut OrgTx,
    link: LinkId,
    stretch: Stretch,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<TouchedDevice>> {
    let org = tx.org().uuid();
    let Stretch { from, to, stale_after } = stretch;
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", compliance AS "compliance!", name, serial, entra_id, wifi_mac, ethernet_mac,
                  fetched_at AS "fetched_at!"
           FROM (
               SELECT id, compliance, name, serial, entra_id, wifi_mac, ethernet_mac, fetched_at
               FROM device WHERE org_id = $1 AND link_id = $2 AND compliance = 'inGracePeriod'
                   AND grace_expires_at > $3 AND grace_expires_at <= $4
               UNION
               SELECT id, compliance, name, serial, entra_id, wifi_mac, ethernet_mac, fetched_at
               FROM device WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL
                   AND fetched_at >= $5 AND fetched_at < $6
           ) d
           WHERE $7::uuid IS NULL OR id > $7
           ORDER BY id LIMIT $8"#,
        org,
        link.uuid(),
        from,
        to,
        from - stale_after,
        to - stale_after,
        after.map(DeviceId::uuid),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let devices = rows.into_iter().map(|row| {
        let mac = |mac: mac_address::MacAddress| Mac(mac.bytes());
        let facts = DeviceFacts {
            name: row.name,
            serial: row.serial,
            entra_id: row.entra_id,
            wifi_mac: row.wifi_mac.map(mac),
            ethernet_mac: row.ethernet_mac.map(mac),
            ..DeviceFacts::bare(link, DeviceId(row.id), ComplianceState::from(row.compliance), row.fetched_at)
        };
        let keys = keys_of(&facts);
        TouchedDevice {
            id: facts.id,
            mac: facts.wifi_mac.or(facts.ethernet_mac),
            name: facts.name,
            fetched_at: facts.fetched_at,
            compliance: facts.compliance,
            keys,
        }
    });
    Ok(devices.collect())
}

/// Counts those of them as turned worse that were compliant until then. Returns how many.
pub async fn note_worse(
    tx: &mut OrgTx,
    link: LinkId,
    stretch: Stretch,
    grace_is_compliant: bool,
) -> Result<u64> {
    let org = tx.org().uuid();
    let Stretch { from, to, stale_after } = stretch;
    let done = sqlx::query!(
        "INSERT INTO turned_worse (org_id, link_id, device_id, at)
         SELECT $1, $2, id, $4 FROM device
         WHERE org_id = $1 AND link_id = $2 AND compliance = 'inGracePeriod' AND $7
             AND grace_expires_at > $3 AND grace_expires_at <= $4
         UNION
         SELECT $1, $2, id, $4 FROM device
         WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL
             AND fetched_at >= $5 AND fetched_at < $6
             AND (compliance = 'compliant' OR (compliance = 'inGracePeriod' AND $7 AND grace_expires_at > $3))
         ON CONFLICT (org_id, link_id, device_id) DO UPDATE SET at = excluded.at",
        org,
        link.uuid(),
        from,
        to,
        from - stale_after,
        to - stale_after,
        grace_is_compliant,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// How many devices of the link count as compliant while it is fresh.
pub async fn trusted(
    tx: &mut OrgTx,
    link: LinkId,
    grace_is_compliant: bool,
    now: OffsetDateTime,
) -> Result<u64> {
    let org = tx.org().uuid();
    let count = sqlx::query_scalar!(
        r#"SELECT count(*) AS "count!" FROM device
           WHERE org_id = $1 AND link_id = $2 AND missing_since IS NULL
             AND (compliance = 'compliant'
                  OR (compliance = 'inGracePeriod' AND $3 AND (grace_expires_at IS NULL OR grace_expires_at > $4)))"#,
        org,
        link.uuid(),
        grace_is_compliant,
        now,
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(u64::try_from(count).unwrap_or(0))
}

/// The next moment after `now` at which something of the link changes by itself; `None`: nothing will.
pub async fn next_moment(
    tx: &mut OrgTx,
    link: LinkId,
    now: OffsetDateTime,
    stale_after: Duration,
) -> Result<Option<OffsetDateTime>> {
    let org = tx.org().uuid();
    let confirmed_before = now - stale_after;
    let row = sqlx::query!(
        r#"SELECT
               (SELECT min(grace_expires_at) FROM device
                WHERE org_id = $1 AND link_id = $2 AND compliance = 'inGracePeriod' AND grace_expires_at > $3)
                   AS grace,
               (SELECT min(fetched_at) FROM device
                WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL AND fetched_at >= $4) AS missing,
               (SELECT confirmed_at FROM link WHERE org_id = $1 AND id = $2 AND confirmed_at >= $4) AS confirmed"#,
        org,
        link.uuid(),
        now,
        confirmed_before,
    )
    .fetch_one(tx.conn())
    .await?;
    // A record is stale once more than the time has passed; PostgreSQL keeps microseconds.
    let stale = [row.missing, row.confirmed].into_iter().flatten().min();
    let stale = stale.map(|at| at + stale_after + Duration::MICROSECOND);
    Ok([row.grace, stale].into_iter().flatten().min())
}
