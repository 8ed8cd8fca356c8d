//! Managed devices, as last fetched.
//!
//! The sync alone writes here, under a lease ([`crate::jobs::hold`]); everyone else reads by lookup key.

mod enrich;
mod looks;
mod missing;
mod upsert;

use std::collections::HashMap;

use domain::device::{ComplianceState, DeviceFacts};
use domain::outbox::OutboxMessage;
use domain::resolver::{LookupKey, keys_of};
use domain::{DeviceId, LinkId, Mac};
use sqlx::types::mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

pub use enrich::{Enriched, enriched, unenriched};
pub use looks::{
    DueLook, Looked, delete_absent, due_looks, heat_graces, heat_sessions, in_session, looked, next_look,
    put_off, with_entra_ids,
};
pub use missing::{MissingPlace, delete_missing, mark_missing, missing, missing_in_session};
pub use upsert::{DeviceWrite, upsert};

use crate::{OrgTx, Result, StoreError};

/// Enough candidates of one key: with two the match is ambiguous already, and the rest only serves to tell a MAC
/// shared by a few docks from a stranger's.
pub const CANDIDATES_MAX: u16 = 8;

struct Row {
    link_id: Uuid,
    id: Uuid,
    name: Option<String>,
    serial: Option<String>,
    entra_id: Option<Uuid>,
    wifi_mac: Option<MacAddress>,
    ethernet_mac: Option<MacAddress>,
    compliance: String,
    grace_expires_at: Option<OffsetDateTime>,
    last_check_in: Option<OffsetDateTime>,
    fetched_at: OffsetDateTime,
    missing_since: Option<OffsetDateTime>,
    enrolled_at: Option<OffsetDateTime>,
    os: Option<String>,
    os_version: Option<String>,
    owner: Option<String>,
    encrypted: Option<bool>,
    jailbroken: Option<bool>,
    threat_state: Option<String>,
    category: Option<String>,
    manufacturer: Option<String>,
    model: Option<String>,
    user_principal_name: Option<String>,
    management_state: Option<String>,
}

impl From<Row> for DeviceFacts {
    fn from(row: Row) -> Self {
        Self {
            link: LinkId(row.link_id),
            id: DeviceId(row.id),
            name: row.name,
            serial: row.serial,
            entra_id: row.entra_id,
            wifi_mac: row.wifi_mac.map(mac),
            ethernet_mac: row.ethernet_mac.map(mac),
            compliance: ComplianceState::from(row.compliance),
            grace_expires_at: row.grace_expires_at,
            last_check_in: row.last_check_in,
            fetched_at: row.fetched_at,
            missing_since: row.missing_since,
            enrolled_at: row.enrolled_at,
            os: row.os,
            os_version: row.os_version,
            owner: row.owner,
            encrypted: row.encrypted,
            jailbroken: row.jailbroken,
            threat_state: row.threat_state,
            category: row.category,
            manufacturer: row.manufacturer,
            model: row.model,
            user_principal_name: row.user_principal_name,
            management_state: row.management_state,
        }
    }
}

fn mac(address: MacAddress) -> Mac {
    Mac(address.bytes())
}

fn address(mac: Mac) -> MacAddress {
    MacAddress::new(mac.0)
}

/// The devices that bear each key, at most `limit_per_key` of them in the order of link and id. Every key that was
/// asked for is in the answer, also where nobody bears it.
pub async fn by_keys(
    tx: &mut OrgTx,
    keys: &[LookupKey],
    limit_per_key: u16,
) -> Result<HashMap<LookupKey, Vec<DeviceFacts>>> {
    let mut found: HashMap<LookupKey, Vec<DeviceFacts>> =
        keys.iter().map(|key| (key.clone(), Vec::new())).collect();
    if keys.is_empty() {
        return Ok(found);
    }
    let wanted = Wanted::of(keys);
    let org = tx.org().uuid();
    // One index probe per key, whole rows from there. Joining them back to the table by primary key looks harmless,
    // and takes seconds while statistics are missing: several indexes begin with org_id and link_id, and the planner
    // cannot tell which of them is the precise one.
    let rows = sqlx::query!(
        r#"WITH hit AS (
               SELECT w.n, d.* FROM unnest($2::int[], $3::uuid[]) AS w(n, v)
               CROSS JOIN LATERAL (SELECT * FROM device WHERE org_id = $1 AND id = w.v
                                   ORDER BY link_id, id LIMIT $12) d
               UNION ALL
               SELECT w.n, d.* FROM unnest($4::int[], $5::uuid[]) AS w(n, v)
               CROSS JOIN LATERAL (SELECT * FROM device WHERE org_id = $1 AND entra_id = w.v
                                   ORDER BY link_id, id LIMIT $12) d
               UNION ALL
               SELECT w.n, d.* FROM unnest($6::int[], $7::text[]) AS w(n, v)
               CROSS JOIN LATERAL (SELECT * FROM device WHERE org_id = $1 AND serial_key = w.v
                                   ORDER BY link_id, id LIMIT $12) d
               UNION ALL
               SELECT w.n, d.* FROM unnest($8::int[], $9::text[]) AS w(n, v)
               CROSS JOIN LATERAL (SELECT * FROM device WHERE org_id = $1 AND name_key = w.v
                                   ORDER BY link_id, id LIMIT $12) d
               UNION ALL
               SELECT w.n, d.* FROM unnest($10::int[], $11::macaddr[]) AS w(n, v)
               CROSS JOIN LATERAL (SELECT * FROM device WHERE org_id = $1 AND (wifi_mac = w.v OR ethernet_mac = w.v)
                                   ORDER BY link_id, id LIMIT $12) d
           )
           SELECT n AS "n!", link_id AS "link_id!", id AS "id!", name, serial, entra_id, wifi_mac, ethernet_mac,
                  compliance AS "compliance!", grace_expires_at, last_check_in, fetched_at AS "fetched_at!",
                  missing_since, enrolled_at, os, os_version, owner, encrypted, jailbroken, threat_state, category,
                  manufacturer, model, user_principal_name, management_state
           FROM hit"#,
        org,
        &wanted.intune.0,
        &wanted.intune.1,
        &wanted.entra.0,
        &wanted.entra.1,
        &wanted.serial.0,
        &wanted.serial.1,
        &wanted.name.0,
        &wanted.name.1,
        &wanted.mac.0,
        &wanted.mac.1,
        i64::from(limit_per_key),
    )
    .fetch_all(tx.conn())
    .await?;
    for r in rows {
        let key = usize::try_from(r.n).ok().and_then(|n| keys.get(n));
        let Some(devices) = key.and_then(|key| found.get_mut(key)) else { continue };
        let row = Row {
            link_id: r.link_id,
            id: r.id,
            name: r.name,
            serial: r.serial,
            entra_id: r.entra_id,
            wifi_mac: r.wifi_mac,
            ethernet_mac: r.ethernet_mac,
            compliance: r.compliance,
            grace_expires_at: r.grace_expires_at,
            last_check_in: r.last_check_in,
            fetched_at: r.fetched_at,
            missing_since: r.missing_since,
            enrolled_at: r.enrolled_at,
            os: r.os,
            os_version: r.os_version,
            owner: r.owner,
            encrypted: r.encrypted,
            jailbroken: r.jailbroken,
            threat_state: r.threat_state,
            category: r.category,
            manufacturer: r.manufacturer,
            model: r.model,
            user_principal_name: r.user_principal_name,
            management_state: r.management_state,
        };
        devices.push(row.into());
    }
    for devices in found.values_mut() {
        devices.sort_by_key(|device| (device.link, device.id));
        devices.dedup_by_key(|device| (device.link, device.id));
    }
    Ok(found)
}

/// Keys by kind, each with its place in the question.
#[derive(Default)]
struct Wanted {
    intune: (Vec<i32>, Vec<Uuid>),
    entra: (Vec<i32>, Vec<Uuid>),
    serial: (Vec<i32>, Vec<String>),
    name: (Vec<i32>, Vec<String>),
    mac: (Vec<i32>, Vec<MacAddress>),
}

impl Wanted {
    fn of(keys: &[LookupKey]) -> Self {
        fn push<T>(to: &mut (Vec<i32>, Vec<T>), n: i32, value: T) {
            to.0.push(n);
            to.1.push(value);
        }
        let mut wanted = Self::default();
        for (n, key) in (0..).zip(keys) {
            match key {
                LookupKey::IntuneId(id) => push(&mut wanted.intune, n, *id),
                LookupKey::EntraId(id) => push(&mut wanted.entra, n, *id),
                LookupKey::Serial(text) => push(&mut wanted.serial, n, text.clone()),
                LookupKey::Name(text) => push(&mut wanted.name, n, text.clone()),
                LookupKey::Mac(mac) => push(&mut wanted.mac, n, address(*mac)),
            }
        }
        wanted
    }
}

/// What a diff needs of a stored device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDevice {
    pub id: DeviceId,
    /// Its number within the link.
    pub ordinal: u32,
    /// SHA-256 of what was fetched.
    pub content_hash: Vec<u8>,
    pub compliance: ComplianceState,
    pub fetched_at: OffsetDateTime,
    pub missing_since: Option<OffsetDateTime>,
    pub last_check_in: Option<OffsetDateTime>,
    pub ethernet_mac: Option<Mac>,
    pub udid: Option<String>,
    /// Looks in a row that showed nothing new.
    pub idle_looks: u32,
    /// Every key under which it can be found today.
    pub keys: Vec<LookupKey>,
    /// A MAC to show it under.
    pub mac: Option<Mac>,
}

/// The columns from which a device's keys are made.
struct Identity {
    id: Uuid,
    name: Option<String>,
    serial: Option<String>,
    entra_id: Option<Uuid>,
    wifi_mac: Option<MacAddress>,
    ethernet_mac: Option<MacAddress>,
}

impl Identity {
    fn mac(&self) -> Option<Mac> {
        self.wifi_mac.or(self.ethernet_mac).map(mac)
    }

    fn keys(self, link: LinkId) -> Vec<LookupKey> {
        let bare =
            DeviceFacts::bare(link, DeviceId(self.id), ComplianceState::Unknown, OffsetDateTime::UNIX_EPOCH);
        keys_of(&DeviceFacts {
            name: self.name,
            serial: self.serial,
            entra_id: self.entra_id,
            wifi_mac: self.wifi_mac.map(mac),
            ethernet_mac: self.ethernet_mac.map(mac),
            ..bare
        })
    }
}

/// What is stored of these devices of a link.
pub async fn stored(
    tx: &mut OrgTx,
    link: LinkId,
    ids: &[DeviceId],
) -> Result<HashMap<DeviceId, StoredDevice>> {
    let org = tx.org().uuid();
    let ids: Vec<Uuid> = ids.iter().map(|id| id.uuid()).collect();
    // One probe of the index for each device. While statistics are missing, as in the first minute of a fleet of any
    // size, the planner cannot tell the indexes that begin with org_id and link_id apart, and may read the whole link
    // for each page; IS NOT DISTINCT FROM leaves it the index on org_id and id alone.
    let rows = sqlx::query!(
        r#"SELECT d.id AS "id!", ordinal AS "ordinal!", content_hash AS "content_hash!", compliance AS "compliance!",
                  fetched_at AS "fetched_at!", missing_since, last_check_in, name, serial, entra_id, wifi_mac,
                  ethernet_mac, udid, idle_looks AS "idle_looks!"
           FROM unnest($3::uuid[]) AS w (id)
           CROSS JOIN LATERAL (SELECT * FROM device
                               WHERE org_id = $1 AND id = w.id AND link_id IS NOT DISTINCT FROM $2::uuid LIMIT 1) d"#,
        org,
        link.uuid(),
        &ids,
    )
    .fetch_all(tx.conn())
    .await?;
    let stored = rows.into_iter().map(|row| {
        let identity = Identity {
            id: row.id,
            name: row.name,
            serial: row.serial,
            entra_id: row.entra_id,
            wifi_mac: row.wifi_mac,
            ethernet_mac: row.ethernet_mac,
        };
        let device = StoredDevice {
            id: DeviceId(row.id),
            ordinal: ordinal(row.ordinal)?,
            content_hash: row.content_hash,
            compliance: ComplianceState::from(row.compliance),
            fetched_at: row.fetched_at,
            missing_since: row.missing_since,
            last_check_in: row.last_check_in,
            ethernet_mac: identity.ethernet_mac.map(mac),
            udid: row.udid,
            idle_looks: u32::try_from(row.idle_looks).unwrap_or(0),
            mac: identity.mac(),
            keys: identity.keys(link),
        };
        Ok((device.id, device))
    });
    stored.collect()
}

fn ordinal(stored: i32) -> Result<u32> {
    u32::try_from(stored).map_err(|e| StoreError::corrupt("device.ordinal", e))
}

/// Takes `count` unused numbers of a link; returns the first.
pub async fn take_ordinals(tx: &mut OrgTx, link: LinkId, count: u32) -> Result<u32> {
    let org = tx.org().uuid();
    let count = i32::try_from(count).map_err(|e| StoreError::corrupt("link.next_ordinal", e))?;
    let next = sqlx::query_scalar!(
        "UPDATE link SET next_ordinal = next_ordinal + $3 WHERE org_id = $1 AND id = $2 RETURNING next_ordinal",
        org,
        link.uuid(),
        count,
    )
    .fetch_one(tx.conn())
    .await?;
    ordinal(next - count)
}

/// The number that the next new device of a link will get: every number in use is below it.
pub async fn next_ordinal(tx: &mut OrgTx, link: LinkId) -> Result<u32> {
    let org = tx.org().uuid();
    let next =
        sqlx::query_scalar!("SELECT next_ordinal FROM link WHERE org_id = $1 AND id = $2", org, link.uuid())
            .fetch_one(tx.conn())
            .await?;
    ordinal(next)
}

macro_rules! touched {
    ($link:expr, $rows:expr) => {
        $rows
            .into_iter()
            .map(|row| {
                let identity = Identity {
                    id: row.id,
                    name: row.name,
                    serial: row.serial,
                    entra_id: row.entra_id,
                    wifi_mac: row.wifi_mac,
                    ethernet_mac: row.ethernet_mac,
                };
                TouchedDevice {
                    id: DeviceId(row.id),
                    name: identity.name.clone(),
                    compliance: ComplianceState::from(row.compliance),
                    fetched_at: row.fetched_at,
                    mac: identity.mac(),
                    keys: identity.keys($link),
                }
            })
            .collect()
    };
}
use touched;

/// A device that is touched by something else than a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TouchedDevice {
    pub id: DeviceId,
    pub name: Option<String>,
    pub compliance: ComplianceState,
    /// When it was last known to be there with what is stored.
    pub fetched_at: OffsetDateTime,
    pub keys: Vec<LookupKey>,
    pub mac: Option<Mac>,
}

/// The outbox message for devices that were touched.
#[must_use]
pub fn changed(link: LinkId, devices: &[TouchedDevice]) -> OutboxMessage {
    let mut keys: Vec<LookupKey> = devices.iter().flat_map(|device| device.keys.iter().cloned()).collect();
    keys.sort_unstable();
    keys.dedup();
    OutboxMessage::DevicesChanged { link, devices: devices.iter().map(|device| device.id).collect(), keys }
}
