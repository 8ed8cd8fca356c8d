//! Writes devices in bulk.

use domain::LinkId;
use domain::device::DeviceFacts;
use serde_json::Value;
use sqlx::types::mac_address::MacAddress;
use time::OffsetDateTime;
use uuid::Uuid;

use super::address;
use crate::{OrgTx, Result, StoreError};

/// A record to write.
#[derive(Clone, Debug)]
pub struct DeviceWrite {
    pub facts: DeviceFacts,
    pub ordinal: u32,
    /// SHA-256.
    pub content_hash: [u8; 32],
    pub udid: Option<String>,
    /// The record as Microsoft Graph gave it.
    pub raw: Option<Value>,
    /// A single GET, which knows adapters and UDID; a list knows neither.
    pub single: bool,
    /// When it is worth a look of its own.
    pub next_look_at: Option<OffsetDateTime>,
    /// Looks in a row that showed nothing new.
    pub idle_looks: u32,
}

/// Inserts and updates in one statement. A stored record that was fetched later than the one given stays. Ethernet
/// MAC and UDID stay where a list brought the record, which never shows them; where it tells of other hardware, they
/// are due to be asked for again.
pub async fn upsert(tx: &mut OrgTx, link: LinkId, writes: &[DeviceWrite]) -> Result<u64> {
    if writes.is_empty() {
        return Ok(0);
    }
    let org = tx.org().uuid();
    let c = Columns::of(writes)?;
    let done = sqlx::query!(
        "INSERT INTO device (org_id, link_id, id, ordinal, content_hash, name, name_key, serial, serial_key, entra_id,
             wifi_mac, ethernet_mac, compliance, grace_expires_at, last_check_in, fetched_at, missing_since,
             enrolled_at, os, os_version, owner, encrypted, jailbroken, threat_state, category, manufacturer, model,
             user_principal_name, management_state, udid, raw, enriched_at, next_look_at, idle_looks)
         SELECT $1, $2, * FROM unnest($3::uuid[], $4::int[], $5::bytea[], $6::text[], $7::text[], $8::text[],
             $9::text[], $10::uuid[], $11::macaddr[], $12::macaddr[], $13::text[], $14::timestamptz[],
             $15::timestamptz[], $16::timestamptz[], $17::timestamptz[], $18::timestamptz[], $19::text[],
             $20::text[], $21::text[], $22::bool[], $23::bool[], $24::text[], $25::text[], $26::text[], $27::text[],
             $28::text[], $29::text[], $30::text[], $31::jsonb[], $32::timestamptz[], $33::timestamptz[],
             $34::int[])
         ON CONFLICT (org_id, link_id, id) DO UPDATE SET
             content_hash = excluded.content_hash, name = excluded.name, name_key = excluded.name_key,
             serial = excluded.serial, serial_key = excluded.serial_key, entra_id = excluded.entra_id,
             wifi_mac = excluded.wifi_mac,
             ethernet_mac = CASE WHEN excluded.enriched_at IS NOT NULL THEN excluded.ethernet_mac
                 ELSE coalesce(excluded.ethernet_mac, device.ethernet_mac) END,
             udid = CASE WHEN excluded.enriched_at IS NOT NULL THEN excluded.udid
                 ELSE coalesce(excluded.udid, device.udid) END,
             enriched_at = CASE WHEN excluded.enriched_at IS NOT NULL THEN excluded.enriched_at
                 WHEN (device.wifi_mac, device.serial, device.model, device.enrolled_at) IS DISTINCT FROM
                      (excluded.wifi_mac, excluded.serial, excluded.model, excluded.enrolled_at) THEN NULL
                 ELSE device.enriched_at END,
             raw = excluded.raw, next_look_at = excluded.next_look_at, idle_looks = excluded.idle_looks,
             compliance = excluded.compliance, grace_expires_at = excluded.grace_expires_at,
             last_check_in = excluded.last_check_in, fetched_at = excluded.fetched_at,
             missing_since = excluded.missing_since, enrolled_at = excluded.enrolled_at, os = excluded.os,
             os_version = excluded.os_version, owner = excluded.owner, encrypted = excluded.encrypted,
             jailbroken = excluded.jailbroken, threat_state = excluded.threat_state, category = excluded.category,
             manufacturer = excluded.manufacturer, model = excluded.model,
             user_principal_name = excluded.user_principal_name, management_state = excluded.management_state
         WHERE device.fetched_at <= excluded.fetched_at",
        org,
        link.uuid(),
        &c.id,
        &c.ordinal,
        &c.content_hash,
        &c.name as &[Option<&str>],
        &c.name_key as &[Option<String>],
        &c.serial as &[Option<&str>],
        &c.serial_key as &[Option<String>],
        &c.entra_id as &[Option<Uuid>],
        &c.wifi_mac as &[Option<MacAddress>],
        &c.ethernet_mac as &[Option<MacAddress>],
        &c.compliance as &[&str],
        &c.grace_expires_at as &[Option<OffsetDateTime>],
        &c.last_check_in as &[Option<OffsetDateTime>],
        &c.fetched_at,
        &c.missing_since as &[Option<OffsetDateTime>],
        &c.enrolled_at as &[Option<OffsetDateTime>],
        &c.os as &[Option<&str>],
        &c.os_version as &[Option<&str>],
        &c.owner as &[Option<&str>],
        &c.encrypted as &[Option<bool>],
        &c.jailbroken as &[Option<bool>],
        &c.threat_state as &[Option<&str>],
        &c.category as &[Option<&str>],
        &c.manufacturer as &[Option<&str>],
        &c.model as &[Option<&str>],
        &c.user_principal_name as &[Option<&str>],
        &c.management_state as &[Option<&str>],
        &c.udid as &[Option<&str>],
        &c.raw as &[Option<&Value>],
        &c.enriched_at as &[Option<OffsetDateTime>],
        &c.next_look_at as &[Option<OffsetDateTime>],
        &c.idle_looks,
    )
    .execute(tx.conn())
    .await?;
    Ok(done.rows_affected())
}

/// Rows turned into columns, as `unnest` takes them.
#[derive(Default)]
struct Columns<'a> {
    id: Vec<Uuid>,
    ordinal: Vec<i32>,
    content_hash: Vec<Vec<u8>>,
    name: Vec<Option<&'a str>>,
    name_key: Vec<Option<String>>,
    serial: Vec<Option<&'a str>>,
    serial_key: Vec<Option<String>>,
    entra_id: Vec<Option<Uuid>>,
    wifi_mac: Vec<Option<MacAddress>>,
    ethernet_mac: Vec<Option<MacAddress>>,
    compliance: Vec<&'a str>,
    grace_expires_at: Vec<Option<OffsetDateTime>>,
    last_check_in: Vec<Option<OffsetDateTime>>,
    fetched_at: Vec<OffsetDateTime>,
    missing_since: Vec<Option<OffsetDateTime>>,
    enrolled_at: Vec<Option<OffsetDateTime>>,
    os: Vec<Option<&'a str>>,
    os_version: Vec<Option<&'a str>>,
    owner: Vec<Option<&'a str>>,
    encrypted: Vec<Option<bool>>,
    jailbroken: Vec<Option<bool>>,
    threat_state: Vec<Option<&'a str>>,
    category: Vec<Option<&'a str>>,
    manufacturer: Vec<Option<&'a str>>,
    model: Vec<Option<&'a str>>,
    user_principal_name: Vec<Option<&'a str>>,
    management_state: Vec<Option<&'a str>>,
    udid: Vec<Option<&'a str>>,
    raw: Vec<Option<&'a Value>>,
    enriched_at: Vec<Option<OffsetDateTime>>,
    next_look_at: Vec<Option<OffsetDateTime>>,
    idle_looks: Vec<i32>,
}

impl<'a> Columns<'a> {
    fn of(writes: &'a [DeviceWrite]) -> Result<Self> {
        let mut c = Self::default();
        for write in writes {
            let DeviceWrite { facts, ordinal, content_hash, udid, raw, single, next_look_at, idle_looks } =
                write;
            let DeviceFacts {
                link: _,
                id,
                name,
                serial,
                entra_id,
                wifi_mac,
                ethernet_mac,
                compliance,
                grace_expires_at,
                last_check_in,
                fetched_at,
                missing_since,
                enrolled_at,
                os,
                os_version,
                owner,
                encrypted,
                jailbroken,
                threat_state,
                category,
                manufacturer,
                model,
                user_principal_name,
                management_state,
            } = facts;
            c.id.push(id.uuid());
            c.ordinal.push(i32::try_from(*ordinal).map_err(|e| StoreError::corrupt("device.ordinal", e))?);
            c.content_hash.push(content_hash.to_vec());
            c.name.push(name.as_deref());
            c.name_key.push(name.as_deref().map(str::to_lowercase));
            c.serial.push(serial.as_deref());
            c.serial_key.push(serial.as_deref().map(str::to_lowercase));
            c.entra_id.push(*entra_id);
            c.wifi_mac.push(wifi_mac.map(address));
            c.ethernet_mac.push(ethernet_mac.map(address));
            c.compliance.push(compliance.as_str());
            c.grace_expires_at.push(*grace_expires_at);
            c.last_check_in.push(*last_check_in);
            c.fetched_at.push(*fetched_at);
            c.missing_since.push(*missing_since);
            c.enrolled_at.push(*enrolled_at);
            c.os.push(os.as_deref());
            c.os_version.push(os_version.as_deref());
            c.owner.push(owner.as_deref());
            c.encrypted.push(*encrypted);
            c.jailbroken.push(*jailbroken);
            c.threat_state.push(threat_state.as_deref());
            c.category.push(category.as_deref());
            c.manufacturer.push(manufacturer.as_deref());
            c.model.push(model.as_deref());
            c.user_principal_name.push(user_principal_name.as_deref());
            c.management_state.push(management_state.as_deref());
            c.udid.push(udid.as_deref());
            c.raw.push(raw.as_ref());
            c.enriched_at.push(single.then_some(*fetched_at));
            c.next_look_at.push(*next_look_at);
            c.idle_looks.push(i32::try_from(*idle_looks).unwrap_or(i32::MAX));
        }
        Ok(c)
    }
}
