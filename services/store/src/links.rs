//! Linked accounts: the Entra tenants of an organization.

use domain::device::{ComplianceState, DeviceFacts};
use domain::link::LinkState;
use domain::outbox::OutboxMessage;
use domain::resolver::{LookupKey, keys_of};
use domain::time::Ids;
use domain::{AccountId, DeviceId, LinkId, Mac, OrgId};
use mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::jobs::{self, JobKind};
use crate::{OrgTx, Result, StoreError, SystemTx, commands, outbox};

/// A linked account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRow {
    pub id: LinkId,
    /// `intune`.
    pub provider: String,
    /// Microsoft's cloud that the tenant lives in: `global`, `gcc_high`, `dod`, `china` or `custom`.
    pub cloud: String,
    /// The organization's own app registration that speaks for the link; `None`: Gatehouse's.
    pub app: Option<Uuid>,
    /// The Entra tenant.
    pub tid: Uuid,
    pub tenant_name: String,
    pub state: LinkState,
    /// What Microsoft said, for people; `None` while connected.
    pub state_detail: Option<String>,
    pub state_since: OffsetDateTime,
    pub linked_by: AccountId,
    pub linked_by_name: String,
    pub linked_at: OffsetDateTime,
    /// The start of the last sweep that went through; `None`: none ever did.
    pub confirmed_at: Option<OffsetDateTime>,
}

/// An account to be linked.
#[derive(Clone, Copy, Debug)]
pub struct NewLink<'a> {
    pub id: LinkId,
    /// Of a link that exists it stays as it is.
    pub cloud: &'a str,
    /// The organization's own app registration; `None`: Gatehouse's.
    pub app: Option<Uuid>,
    pub tid: Uuid,
    pub tenant_name: &'a str,
    pub linked_by: AccountId,
    pub linked_by_name: &'a str,
}

/// A link, as a worker finds it across organizations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRef {
    pub org: OrgId,
    pub link: LinkId,
    pub tid: Uuid,
    pub state: LinkState,
    pub confirmed_at: Option<OffsetDateTime>,
}

struct Row {
    id: Uuid,
    provider: String,
    cloud: String,
    app_id: Option<Uuid>,
    tid: Uuid,
    tenant_name: String,
    state: String,
    state_detail: Option<String>,
    state_since: OffsetDateTime,
    linked_by: Uuid,
    linked_by_name: String,
    linked_at: OffsetDateTime,
    confirmed_at: Option<OffsetDateTime>,
}

impl TryFrom<Row> for LinkRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self> {
        Ok(Self {
            id: LinkId(row.id),
            provider: row.provider,
            cloud: row.cloud,
            app: row.app_id,
            tid: row.tid,
            tenant_name: row.tenant_name,
            state: read_state(&row.state)?,
            state_detail: row.state_detail,
            state_since: row.state_since,
            linked_by: AccountId(row.linked_by),
            linked_by_name: row.linked_by_name,
            linked_at: row.linked_at,
            confirmed_at: row.confirmed_at,
        })
    }
}

fn read_state(word: &str) -> Result<LinkState> {
    word.parse().map_err(|e| StoreError::corrupt("link.state", e))
}

/// Inserts a connected link, and its jobs of every kind, due at once. A tenant that the organization has linked already runs
/// into the unique index `link_tid`.
pub async fn insert(tx: &mut OrgTx, now: OffsetDateTime, new: NewLink<'_>) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "INSERT INTO link (org_id, id, provider, tid, tenant_name, state, state_since, linked_by, linked_by_name,
                           linked_at, cloud, app_id)
         VALUES ($1, $2, 'intune', $3, $4, $5, $6, $7, $8, $6, $9, $10)",
        org,
        new.id.uuid(),
        new.tid,
        new.tenant_name,
        LinkState::Connected.as_str(),
        now,
        new.linked_by.uuid(),
        new.linked_by_name,
        new.cloud,
        new.app,
    )
    .execute(tx.conn())
    .await?;
    create_jobs(tx, new.id, now).await
}

/// The end of a sweep that changed something wakes the enrichment. Due before, it would find nothing, or keep the
/// sweeps of others waiting.
const ENRICH_AFTER: time::Duration = time::Duration::minutes(5);

/// Every kind of work, due at once where there is something to do.
async fn create_jobs(tx: &mut OrgTx, link: LinkId, now: OffsetDateTime) -> Result<()> {
    for kind in JobKind::ALL {
        let due = if kind == JobKind::Enrich { now + ENRICH_AFTER } else { now };
        jobs::create(tx, link, kind, due).await?;
        jobs::set_note(tx, link, kind, None).await?;
    }
    Ok(())
}

/// Consent was renewed for a linked tenant: connected again, by whom, and all its jobs due at once.
pub async fn relinked(tx: &mut OrgTx, now: OffsetDateTime, renewed: NewLink<'_>) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE link SET tenant_name = $3, linked_by = $4, linked_by_name = $5, linked_at = $6, app_id = $7
         WHERE org_id = $1 AND id = $2",
        org,
        renewed.id.uuid(),
        renewed.tenant_name,
        renewed.linked_by.uuid(),
        renewed.linked_by_name,
        now,
        renewed.app,
    )
    .execute(tx.conn())
    .await?;
    set_state(tx, renewed.id, LinkState::Connected, None, now).await?;
    create_jobs(tx, renewed.id, now).await?;
    jobs::request_sweep(tx, renewed.id, now).await?;
    Ok(())
}

/// The links of the organization, in the order in which they were linked.
pub async fn list(tx: &mut OrgTx) -> Result<Vec<LinkRow>> {
    let org = tx.org().uuid();
    let rows = sqlx::query_as!(
        Row,
        "SELECT id, provider, cloud, app_id, tid, tenant_name, state, state_detail, state_since, linked_by, linked_by_name,
                linked_at, confirmed_at
         FROM link WHERE org_id = $1 ORDER BY id",
        org,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter().map(LinkRow::try_from).collect()
}

/// A link of the organization.
pub async fn get(tx: &mut OrgTx, id: LinkId) -> Result<Option<LinkRow>> {
    let org = tx.org().uuid();
    let row = sqlx::query_as!(
        Row,
        "SELECT id, provider, cloud, app_id, tid, tenant_name, state, state_detail, state_since, linked_by, linked_by_name,
                linked_at, confirmed_at
         FROM link WHERE org_id = $1 AND id = $2",
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    row.map(LinkRow::try_from).transpose()
}

/// The organization's link of a tenant.
pub async fn by_tenant(tx: &mut OrgTx, cloud: &str, tid: Uuid) -> Result<Option<LinkRow>> {
    let links = list(tx).await?;
    Ok(links.into_iter().find(|link| link.tid == tid && link.cloud == cloud))
}

/// Every link of every organization, in pages after `after`.
pub async fn list_all(tx: &mut SystemTx, after: Option<(OrgId, LinkId)>, limit: i64) -> Result<Vec<LinkRef>> {
    let (org, link) = after.map_or((Uuid::nil(), Uuid::nil()), |(org, link)| (org.uuid(), link.uuid()));
    let rows = sqlx::query!(
        "SELECT org_id, id, tid, state, confirmed_at FROM link
         WHERE (org_id, id) > ($1, $2) ORDER BY org_id, id LIMIT $3",
        org,
        link,
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    rows.into_iter()
        .map(|row| {
            Ok(LinkRef {
                org: OrgId(row.org_id),
                link: LinkId(row.id),
                tid: row.tid,
                state: read_state(&row.state)?,
                confirmed_at: row.confirmed_at,
            })
        })
        .collect()
}

/// Whether another organization has linked the tenant.
pub async fn is_linked_elsewhere(tx: &mut SystemTx, cloud: &str, tid: Uuid, than: OrgId) -> Result<bool> {
    let found = sqlx::query_scalar!(
        "SELECT 1 AS \"one!\" FROM link WHERE tid = $1 AND cloud = $2 AND org_id <> $3 LIMIT 1",
        tid,
        cloud,
        than.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    Ok(found.is_some())
}

/// Records how the link fares. True where that is another state than before; `state_since` moves only then. The
/// snapshot holds no state, so `orgs::changed` is not needed.
pub async fn set_state(
    tx: &mut OrgTx,
    id: LinkId,
    state: LinkState,
    detail: Option<&str>,
    now: OffsetDateTime,
) -> Result<bool> {
    let org = tx.org().uuid();
    let moved = sqlx::query!(
        "UPDATE link SET state = $3, state_detail = $4, state_since = $5
         WHERE org_id = $1 AND id = $2 AND state <> $3",
        org,
        id.uuid(),
        state.as_str(),
        detail,
        now,
    )
    .execute(tx.conn())
    .await?;
    if moved.rows_affected() == 1 {
        return Ok(true);
    }
    sqlx::query!(
        "UPDATE link SET state_detail = $3
         WHERE org_id = $1 AND id = $2 AND state_detail IS DISTINCT FROM $3",
        org,
        id.uuid(),
        detail,
    )
    .execute(tx.conn())
    .await?;
    Ok(false)
}

/// A sweep that began at `started_at` went through: every record that is not missing is confirmed as of then. Call
/// `orgs::changed` in the same transaction. Never moves backwards.
pub async fn confirmed(tx: &mut OrgTx, id: LinkId, started_at: OffsetDateTime) -> Result<()> {
    let org = tx.org().uuid();
    sqlx::query!(
        "UPDATE link SET confirmed_at = GREATEST(confirmed_at, $3) WHERE org_id = $1 AND id = $2",
        org,
        id.uuid(),
        started_at,
    )
    .execute(tx.conn())
    .await?;
    Ok(())
}

/// Removes a link with its devices, jobs and runs, and has every key of its devices refreshed. History (events,
/// transitions, audit) stays. Returns how many devices went; `None` where there is no such link. Call
/// `orgs::changed` in the same transaction.
pub async fn delete(tx: &mut OrgTx, ids: &Ids, now: OffsetDateTime, id: LinkId) -> Result<Option<u64>> {
    let org = tx.org().uuid();
    // A page of a sweep holds a key-share lock on this row through its devices' foreign key: wait for it, and let
    // none begin.
    let locked = sqlx::query_scalar!(
        "SELECT 1 AS \"one!\" FROM link WHERE org_id = $1 AND id = $2 FOR UPDATE",
        org,
        id.uuid(),
    )
    .fetch_optional(tx.conn())
    .await?;
    if locked.is_none() {
        return Ok(None);
    }
    // What was planned because of its devices is off; the holds go with the link.
    commands::lock_planning(tx).await?;
    loop {
        let waiting = commands::sessions_waiting(tx, id, None, 1000).await?;
        if waiting.is_empty() {
            break;
        }
        for session in waiting {
            commands::withdraw(tx, ids, now, session, "the account was unlinked").await?;
        }
    }
    let mut gone = 0;
    loop {
        let chunk = delete_devices(tx, id, 1000).await?;
        if chunk.is_empty() {
            break;
        }
        gone += chunk.len() as u64;
        let mut devices = Vec::with_capacity(chunk.len());
        let mut keys: Vec<LookupKey> = Vec::with_capacity(chunk.len() * 5);
        for device in &chunk {
            devices.push(device.id);
            keys.extend(keys_of(device));
        }
        keys.sort_unstable();
        keys.dedup();
        outbox::enqueue(tx, ids, now, &OutboxMessage::DevicesChanged { link: id, devices, keys }).await?;
    }
    // The jobs and runs go with it.
    sqlx::query!("DELETE FROM link WHERE org_id = $1 AND id = $2", org, id.uuid()).execute(tx.conn()).await?;
    Ok(Some(gone))
}

/// Deletes up to `limit` devices of a link; returns what they were found by.
async fn delete_devices(tx: &mut OrgTx, link: LinkId, limit: i64) -> Result<Vec<DeviceFacts>> {
    let org = tx.org().uuid();
    let rows = sqlx::query!(
        "DELETE FROM device WHERE org_id = $1 AND link_id = $2 AND id IN (
             SELECT id FROM device WHERE org_id = $1 AND link_id = $2 ORDER BY id LIMIT $3)
         RETURNING id, name, serial, entra_id, wifi_mac, ethernet_mac, fetched_at",
        org,
        link.uuid(),
        limit,
    )
    .fetch_all(tx.conn())
    .await?;
    let mac = |mac: MacAddress| Mac(mac.bytes());
    let found_by = rows.into_iter().map(|row| DeviceFacts {
        name: row.name,
        serial: row.serial,
        entra_id: row.entra_id,
        wifi_mac: row.wifi_mac.map(mac),
        ethernet_mac: row.ethernet_mac.map(mac),
        ..DeviceFacts::bare(link, DeviceId(row.id), ComplianceState::Unknown, row.fetched_at)
    });
    Ok(found_by.collect())
}
