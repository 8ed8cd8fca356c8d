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
    /// The start of the link's last sweep that went through.
    pub confirmed_at: Option<OffsetDateTime>,
}

impl Stretch {
    /// Whether no sweep vouches for the link's records any more, at the end of the stretch. What was looked at since
    /// goes stale on its own from then on; before, nothing does that is not missing.
    #[must_use]
    pub fn link_is_stale(&self) -> bool {
        self.confirmed_at.is_none_or(|confirmed| confirmed + self.stale_after < self.to)
    }
}

/// Devices of a link whose compliance changed within the stretch: their grace ended, or they went stale on their own:
/// they are missing, or were fetched after the last sweep that went through began. In the order of ids, after `after`.
///
/// The last of these is a walk over the link's devices, and is done only while no sweep vouches for them: an index on
/// `fetched_at` would be one more to write for each device that a sweep or a look finds changed.
pub async fn changed(
    tx: &mut OrgTx,
    link: LinkId,
    stretch: Stretch,
    after: Option<DeviceId>,
    limit: i64,
) -> Result<Vec<TouchedDevice>> {
    let org = tx.org().uuid();
    let Stretch { from, to, stale_after, confirmed_at } = stretch;
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
               UNION
               (SELECT id, compliance, name, serial, entra_id, wifi_mac, ethernet_mac, fetched_at
                FROM device WHERE $9 AND org_id = $1 AND link_id = $2 AND missing_since IS NULL
                    AND fetched_at >= $5 AND fetched_at < $6
                    AND fetched_at > coalesce($10::timestamptz, '-infinity')
                    AND id > coalesce($7::uuid, '00000000-0000-0000-0000-000000000000')
                ORDER BY id LIMIT $8)
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
        stretch.link_is_stale(),
        confirmed_at,
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
    let Stretch { from, to, stale_after, confirmed_at } = stretch;
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
         UNION
         SELECT $1, $2, id, $4 FROM device
         WHERE $8 AND org_id = $1 AND link_id = $2 AND missing_since IS NULL
             AND fetched_at >= $5 AND fetched_at < $6 AND fetched_at > coalesce($9::timestamptz, '-infinity')
             AND (compliance = 'compliant' OR (compliance = 'inGracePeriod' AND $7 AND grace_expires_at > $3))
         ON CONFLICT (org_id, link_id, device_id) DO UPDATE SET at = excluded.at",
        org,
        link.uuid(),
        from,
        to,
        from - stale_after,
        to - stale_after,
        grace_is_compliant,
        stretch.link_is_stale(),
        confirmed_at,
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

/// The next moment after the stretch at which something of the link changes by itself; `None`: nothing will.
pub async fn next_moment(tx: &mut OrgTx, link: LinkId, stretch: Stretch) -> Result<Option<OffsetDateTime>> {
    let org = tx.org().uuid();
    let Stretch { to: now, stale_after, confirmed_at, .. } = stretch;
    let fresh_since = now - stale_after;
    let row = sqlx::query!(
        r#"SELECT
               (SELECT min(grace_expires_at) FROM device
                WHERE org_id = $1 AND link_id = $2 AND compliance = 'inGracePeriod' AND grace_expires_at > $3)
                   AS grace,
               (SELECT min(fetched_at) FROM device
                WHERE org_id = $1 AND link_id = $2 AND missing_since IS NOT NULL AND fetched_at >= $4) AS missing,
               (SELECT min(fetched_at) FROM device
                WHERE $5 AND org_id = $1 AND link_id = $2 AND missing_since IS NULL AND fetched_at >= $4
                  AND fetched_at > coalesce($6::timestamptz, '-infinity')) AS own"#,
        org,
        link.uuid(),
        now,
        fresh_since,
        stretch.link_is_stale(),
        confirmed_at,
    )
    .fetch_one(tx.conn())
    .await?;
    let confirmed = confirmed_at.filter(|confirmed| *confirmed >= fresh_since);
    // A record is stale once more than the time has passed; PostgreSQL keeps microseconds.
    let stale = [row.missing, row.own, confirmed].into_iter().flatten().min();
    let stale = stale.map(|at| at + stale_after + Duration::MICROSECOND);
    Ok([row.grace, stale].into_iter().flatten().min())
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn a_link_is_stale_once_more_than_the_time_has_passed() {
        let now = datetime!(2026-11-20 12:00 UTC);
        let stale = |confirmed_at| {
            let stale_after = Duration::DAY;
            Stretch { from: now - Duration::HOUR, to: now, stale_after, confirmed_at }.link_is_stale()
        };
        assert!(stale(None));
        assert!(stale(Some(now - Duration::DAY - Duration::MICROSECOND)));
        assert!(!stale(Some(now - Duration::DAY)));
        assert!(!stale(Some(now)));
    }
}
