//! `managedDevice`: from what Graph sends to what is known.
//!
//! Graph's nulls, empty strings, sentinel dates, all-zero GUIDs and placeholder serials all become `None`. Enums
//! are open. A field of an unexpected type is unknown, not an error: one odd record must not stop a fleet.

use domain::device::{ComplianceState, DeviceFacts};
use domain::time::truncate_micros;
use domain::{DeviceId, LinkId, Mac};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};
use uuid::Uuid;

/// What is asked for. `ethernetMacAddress` and `udid` are null in lists whatever one asks; a single GET has them.
pub(super) const SELECT: &str = "id,deviceName,serialNumber,azureADDeviceId,wiFiMacAddress,ethernetMacAddress,\
complianceState,complianceGracePeriodExpirationDateTime,lastSyncDateTime,enrolledDateTime,operatingSystem,osVersion,\
managedDeviceOwnerType,isEncrypted,jailBroken,partnerReportedThreatState,deviceCategoryDisplayName,manufacturer,\
model,userPrincipalName,managementState,udid";

/// Longer texts are cut: names of hundreds of characters are somebody's mischief.
const TEXT_CHARS_MAX: usize = 256;
const RAW_CHARS_MAX: usize = 1024;

/// A managed device as Graph knows it, normalized.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphDevice {
    pub id: DeviceId,
    pub name: Option<String>,
    pub serial: Option<String>,
    pub entra_id: Option<Uuid>,
    pub wifi_mac: Option<Mac>,
    /// Only a single GET knows it.
    pub ethernet_mac: Option<Mac>,
    pub compliance: ComplianceState,
    pub grace_expires_at: Option<OffsetDateTime>,
    pub last_check_in: Option<OffsetDateTime>,
    pub enrolled_at: Option<OffsetDateTime>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub owner: Option<String>,
    pub encrypted: Option<bool>,
    pub jailbroken: Option<bool>,
    pub threat_state: Option<String>,
    pub category: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub user_principal_name: Option<String>,
    pub management_state: Option<String>,
    /// Only a single GET knows it.
    pub udid: Option<String>,
    /// The record as it came, of the properties that are asked for: an object of texts, numbers and booleans.
    pub raw: Value,
}

impl GraphDevice {
    /// `None` where the record has no usable id.
    pub(super) fn read(value: &Value) -> Option<Self> {
        let field = |name: &str| value.get(name).unwrap_or(&Value::Null);
        let word = |name: &str| text(field(name));
        Some(Self {
            id: DeviceId(guid(field("id"))?),
            name: word("deviceName"),
            serial: word("serialNumber").filter(|serial| !is_placeholder(serial)),
            entra_id: guid(field("azureADDeviceId")),
            wifi_mac: mac(field("wiFiMacAddress")),
            ethernet_mac: mac(field("ethernetMacAddress")),
            compliance: word("complianceState").map_or(ComplianceState::Unknown, ComplianceState::from),
            grace_expires_at: instant(field("complianceGracePeriodExpirationDateTime")),
            last_check_in: instant(field("lastSyncDateTime")),
            enrolled_at: instant(field("enrolledDateTime")),
            os: word("operatingSystem"),
            os_version: word("osVersion"),
            owner: word("managedDeviceOwnerType"),
            encrypted: boolean(field("isEncrypted")),
            jailbroken: boolean(field("jailBroken")),
            threat_state: word("partnerReportedThreatState"),
            category: word("deviceCategoryDisplayName")
                .filter(|category| !category.eq_ignore_ascii_case("unknown")),
            manufacturer: word("manufacturer"),
            model: word("model"),
            user_principal_name: word("userPrincipalName"),
            management_state: word("managementState"),
            udid: word("udid"),
            raw: raw(value),
        })
    }

    /// The facts of a link's device, read at `fetched_at`.
    #[must_use]
    pub fn into_facts(self, link: LinkId, fetched_at: OffsetDateTime) -> DeviceFacts {
        let Self {
            id,
            name,
            serial,
            entra_id,
            wifi_mac,
            ethernet_mac,
            compliance,
            grace_expires_at,
            last_check_in,
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
            udid: _,
            raw: _,
        } = self;
        DeviceFacts {
            link,
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
            missing_since: None,
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
        }
    }
}

/// Trimmed, without control characters (PostgreSQL refuses NUL in text), never empty.
pub(super) fn text(value: &Value) -> Option<String> {
    let raw = match value {
        Value::String(raw) => raw.trim(),
        Value::Number(number) => return Some(number.to_string()),
        _ => return None,
    };
    let clean: String = raw.chars().filter(|c| !c.is_control()).take(TEXT_CHARS_MAX).collect();
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// The selected properties, unchanged but for what PostgreSQL's `jsonb` refuses (NUL) or nobody reads (texts beyond
/// [`RAW_CHARS_MAX`], values within values).
fn raw(value: &Value) -> Value {
    let clean = |value: &Value| match value {
        Value::String(text) => {
            Some(text.chars().filter(|c| *c != '\0').take(RAW_CHARS_MAX).collect::<String>().into())
        }
        Value::Array(_) | Value::Object(_) => None,
        other => Some(other.clone()),
    };
    let field = |name: &str| Some((name.to_owned(), clean(value.get(name)?)?));
    Value::Object(SELECT.split(',').filter_map(field).collect())
}

/// Never the all-zero GUID, which stands for "none".
pub(super) fn guid(value: &Value) -> Option<Uuid> {
    Uuid::parse_str(value.as_str()?.trim()).ok().filter(|id| !id.is_nil())
}

/// Twelve digits as a rule; any usual notation is read. Zeros and group addresses are no station's.
pub(super) fn mac(value: &Value) -> Option<Mac> {
    value.as_str()?.parse().ok().filter(|mac: &Mac| mac.is_station())
}

/// A boolean, also as `jailBroken` has it: the strings "True", "False" and "Unknown".
pub(super) fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(known) => Some(*known),
        Value::String(word) if word.trim().eq_ignore_ascii_case("true") => Some(true),
        Value::String(word) if word.trim().eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// RFC 3339 with up to nine fractional digits, cut to the microsecond; a time without an offset is UTC. The years 1
/// ("never") and 9999 ("no end") are sentinels.
fn instant(value: &Value) -> Option<OffsetDateTime> {
    const WITHOUT_OFFSET: &[time::format_description::BorrowedFormatItem<'_>] = time::macros::format_description!(
        "[year]-[month]-[day]T[hour]:[minute]:[second][optional [.[subsecond]]]"
    );
    let raw = value.as_str()?.trim();
    let at = OffsetDateTime::parse(raw, &Rfc3339)
        .or_else(|_| PrimitiveDateTime::parse(raw, WITHOUT_OFFSET).map(PrimitiveDateTime::assume_utc))
        .ok()?;
    let at = at.checked_to_offset(UtcOffset::UTC)?;
    (1900..9998).contains(&at.year()).then(|| truncate_micros(at))
}

/// What firmware says where nobody wrote a serial number: thousands of machines share it.
pub(super) fn is_placeholder(serial: &str) -> bool {
    const PLACEHOLDERS: &[&str] = &[
        "default string",
        "n/a",
        "none",
        "not applicable",
        "not available",
        "not specified",
        "serialnumber",
        "system serial number",
        "to be filled by o.e.m.",
        "unknown",
    ];
    serial.chars().all(|c| matches!(c, '0' | '-' | '.' | ' '))
        || PLACEHOLDERS.iter().any(|word| serial.eq_ignore_ascii_case(word))
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
