//! Devices that are worth a look of their own.

use std::collections::{HashMap, HashSet};

use domain::{DeviceId, LinkId};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::{Identity, TouchedDevice};
use crate::{OrgTx, Result};

/// A device whose look is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueLook {
    pub id: DeviceId,
    /// Since when.
    pub due_at: OffsetDateTime,
    /// A client of it is on the network.
    pub session: bool,
}

/// Devices whose look is due, at most `limit`: first those with an active session. Of clients that stand on another
/// verdict than compliant none is overlooked, however many others are longer due.
pub async fn due_looks(
    tx: &mut OrgTx,
    link: LinkId,
    now: OffsetDateTime,
    limit: i64,
) -> Result<Vec<DueLook>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT id AS "id!", due_at AS "due_at!", session AS "session!"
           FROM (
               SELECT d.id, d.next_look_at AS due_at, true AS session
               FROM (SELECT DISTINCT device_id FROM session
                     WHERE org_id = $1 AND link_id = $2 AND ended_at IS NULL AND device_id IS NOT NULL
                       AND verdict <> 'compliant') s
               JOIN device d ON d.org_id = $1 AND d.link_id = $2 AND d.id = s.device_id
               WHERE d.next_look_at <= $3
               UNION
               SELECT d.id, d.next_look_at, EXISTS (
                   SELECT 1 FROM session s WHERE s.org_id = $1 AND s.device_id = d.id AND s.ended_at IS NULL)
               FROM (SELECT id, next_look_at FROM device
                     WHERE org_id = $1 AND link_id = $2 AND next_look_at <= $3
                     ORDER BY next_look_at LIMIT 10 * $4::bigint) d
           ) due
           ORDER BY session DESC, due_at LIMIT $4"#,
        org,
        link.uuid(),
        now,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let rows = rows.into_iter().map(|row| DueLook {
        id: DeviceId(row.id),
        due_at: row.due_at,
        session: row.session,
    });
    Ok(rows.collect())
}

/// Whoever came a moment after the last look waits until this long after it.
const HEAT_PAUSE: Duration = Duration::seconds(30);

/// Makes devices of the link due at `due` that Intune does not vouch for and whose clients are on the network on
/// another verdict than compliant, where nobody has it in mind to look at them, or where a client came again since
/// the last look. Returns how many.
pub async fn heat_sessions(tx: &mut OrgTx, link: LinkId, due: OffsetDateTime, limit: i64) -> Result<u64> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE device d SET next_look_at = hot.due_at, idle_looks = 0
         FROM (SELECT DISTINCT ON (s.device_id) s.device_id, greatest($3, c.fetched_at + $5::interval) AS due_at
               FROM session s
               JOIN device c ON c.org_id = $1 AND c.link_id = $2 AND c.id = s.device_id
               WHERE s.org_id = $1 AND s.link_id = $2 AND s.ended_at IS NULL AND s.device_id IS NOT NULL
                 AND s.verdict <> 'compliant' AND c.missing_since IS NULL AND c.compliance <> 'compliant'
                 AND (c.compliance <> 'inGracePeriod' OR c.grace_expires_at <= $3)
                 AND (c.next_look_at IS NULL OR (s.decided_at > c.fetched_at
                      AND c.next_look_at > greatest($3, c.fetched_at + $5::interval)))
               ORDER BY s.device_id LIMIT $4) AS hot
         WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = hot.device_id",
        org,
        link.uuid(),
        due,
        limit,
        crate::interval(HEAT_PAUSE),
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Devices in grace, of those whose grace ends soonest, that are looked through at once.
const GRACES_MAX: i64 = 10_000;

/// Makes devices of the link due at `now` that are in their grace, whose clients are on the network, and at which
/// nobody has it in mind to look by `by`. Returns how many.
pub async fn heat_graces(
    tx: &mut OrgTx,
    link: LinkId,
    now: OffsetDateTime,
    by: OffsetDateTime,
    limit: i64,
) -> Result<u64> {
    let org = tx.org().uuid();
    let done = sqlx::query!(
        "UPDATE device d SET next_look_at = $3, idle_looks = 0
         FROM (SELECT g.id FROM (
                   SELECT id, next_look_at FROM device
                   WHERE org_id = $1 AND link_id = $2 AND compliance = 'inGracePeriod' AND grace_expires_at > $3
                     AND missing_since IS NULL
                   ORDER BY grace_expires_at LIMIT $6) g
               WHERE (g.next_look_at IS NULL OR g.next_look_at > $4)
                 AND EXISTS (SELECT 1 FROM session s
                             WHERE s.org_id = $1 AND s.device_id = g.id AND s.ended_at IS NULL)
               LIMIT $5) AS hot
         WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = hot.id",
        org,
        link.uuid(),
        now,
        by,
        limit,
        GRACES_MAX,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Those of the devices that have an active session.
pub async fn in_session(tx: &mut OrgTx, ids: &[DeviceId]) -> Result<HashSet<DeviceId>> {
    if ids.is_empty() {
        return Ok(HashSet::new());
    }
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query_scalar!(
        r#"SELECT DISTINCT device_id AS "device_id!" FROM session
           WHERE org_id = $1 AND device_id = ANY($2) AND ended_at IS NULL"#,
        org,
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(rows.into_iter().map(DeviceId).collect())
}

/// A look that showed nothing new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looked {
    pub id: DeviceId,
    /// When Microsoft was asked.
    pub fetched_at: OffsetDateTime,
    pub next_look_at: Option<OffsetDateTime>,
    pub idle_looks: u32,
}

/// Notes looks that showed nothing new. A record that was fetched later stays.
pub async fn looked(tx: &mut OrgTx, link: LinkId, looks: &[Looked]) -> Result<()> {
    if looks.is_empty() {
        return Ok(());
    }
    let org = tx.org().uuid();
    let id: Vec<Uuid> = looks.iter().map(|look| look.id.uuid()).collect();
    let fetched_at: Vec<OffsetDateTime> = looks.iter().map(|look| look.fetched_at).collect();
    let next_look_at: Vec<Option<OffsetDateTime>> = looks.iter().map(|look| look.next_look_at).collect();
    let idle: Vec<i32> =
        looks.iter().map(|look| i32::try_from(look.idle_looks).unwrap_or(i32::MAX)).collect();
    sqlx::query!(
        "UPDATE device d SET fetched_at = greatest(d.fetched_at, l.fetched_at), next_look_at = l.next_look_at,
             idle_looks = l.idle
         FROM unnest($3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::int[]) AS l (id, fetched_at, next_look_at, idle)
         WHERE d.org_id = $1 AND d.link_id = $2 AND d.id = l.id",
        org,
        link.uuid(),
        &id,
        &fetched_at,
        &next_look_at as &[Option<OffsetDateTime>],
        &idle,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// A device could not be asked about: its look, if it is due at `now`, waits until `until`.
pub async fn put_off(
    tx: &mut OrgTx,
    link: LinkId,
    id: DeviceId,
    now: OffsetDateTime,
    until: OffsetDateTime,
) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE device SET next_look_at = $5
         WHERE org_id = $1 AND link_id = $2 AND id = $3 AND next_look_at <= $4",
        org,
        link.uuid(),
        id.uuid(),
        now,
        until,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// When the link's next device is due for a look.
pub async fn next_look(tx: &mut OrgTx, link: LinkId) -> Result<Option<OffsetDateTime>> {
    let org = tx.org().uuid();
    let next = sqlx::query_scalar!(
        "SELECT min(next_look_at) FROM device WHERE org_id = $1 AND link_id = $2 AND next_look_at IS NOT NULL",
        org,
        link.uuid(),
    )
    .fetch_one(tx.conn())
    .await?;
    Ok(next)
}

/// The link's devices by Entra device id; several may bear one.
pub async fn with_entra_ids(
    tx: &mut OrgTx,
    link: LinkId,
    entra_ids: &[Uuid],
) -> Result<HashMap<Uuid, Vec<DeviceId>>> {
    let mut found: HashMap<Uuid, Vec<DeviceId>> = HashMap::new();
    if entra_ids.is_empty() {
        return Ok(found);
    }
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        r#"SELECT id, entra_id AS "entra_id!" FROM device
           WHERE org_id = $1 AND link_id = $2 AND entra_id = ANY($3) ORDER BY id"#,
        org,
        link.uuid(),
        entra_ids,
    )
    .fetch_all(tx.conn())
    .await?;
    for row in rows {
        found.entry(row.entra_id).or_default().push(DeviceId(row.id));
    }
    Ok(found)
}

/// Deletes devices of which Microsoft, asked for each at `asked_at`, has no record; one that was fetched later stays.
pub async fn delete_absent(
    tx: &mut OrgTx,
    link: LinkId,
    ids: &[DeviceId],
    asked_at: OffsetDateTime,
) -> Result<Vec<TouchedDevice>> {
    use domain::device::ComplianceState;

    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    let rows = sqlx::query!(
        "DELETE FROM device WHERE org_id = $1 AND link_id = $2 AND id = ANY($3) AND fetched_at <= $4
         RETURNING id, compliance, fetched_at, name, serial, entra_id, wifi_mac, ethernet_mac",
        org,
        link.uuid(),
        &ids,
        asked_at,
    )
    .fetch_all(tx.conn())
    .await?;
    Ok(super::touched!(link, rows))
}
