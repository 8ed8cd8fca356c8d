//! What is known of an Intune managed device.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{DeviceId, LinkId, Mac};

/// Intune's `complianceState`, an open enum: Microsoft may add values, which are kept as they came.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub enum ComplianceState {
    Compliant,
    InGracePeriod,
    Noncompliant,
    /// Enrolled, not evaluated yet.
    Unknown,
    Error,
    Conflict,
    /// Evaluated by Configuration Manager.
    ConfigManager,
    /// A value that Graph's schema did not have when this was written.
    Other(String),
}

impl ComplianceState {
    /// Graph's spelling.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Compliant => "compliant",
            Self::InGracePeriod => "inGracePeriod",
            Self::Noncompliant => "noncompliant",
            Self::Unknown => "unknown",
            Self::Error => "error",
            Self::Conflict => "conflict",
            Self::ConfigManager => "configManager",
            Self::Other(text) => text,
        }
    }
}

impl From<String> for ComplianceState {
    fn from(text: String) -> Self {
        match text.as_str() {
            "compliant" => Self::Compliant,
            "inGracePeriod" => Self::InGracePeriod,
            "noncompliant" => Self::Noncompliant,
            "unknown" => Self::Unknown,
            "error" => Self::Error,
            "conflict" => Self::Conflict,
            "configManager" => Self::ConfigManager,
            _ => Self::Other(text),
        }
    }
}

impl From<ComplianceState> for String {
    fn from(state: ComplianceState) -> Self {
        match state {
            ComplianceState::Other(text) => text,
            known => known.as_str().to_owned(),
        }
    }
}

impl FromStr for ComplianceState {
    type Err = std::convert::Infallible;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Ok(Self::from(s.to_owned()))
    }
}

impl fmt::Display for ComplianceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One managed device, as last fetched. Empty strings and sentinels of Graph are already `None`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceFacts {
    pub link: LinkId,
    pub id: DeviceId,
    /// Intune's `deviceName`.
    pub name: Option<String>,
    pub serial: Option<String>,
    /// Entra's `deviceId` (Intune's `azureADDeviceId`), never the all-zero GUID.
    pub entra_id: Option<Uuid>,
    pub wifi_mac: Option<Mac>,
    /// Null in Graph's LIST; known only where a single GET fetched it.
    pub ethernet_mac: Option<Mac>,
    pub compliance: ComplianceState,
    /// `complianceGracePeriodExpirationDateTime`, `None` for Graph's sentinels.
    #[serde(with = "time::serde::rfc3339::option")]
    pub grace_expires_at: Option<OffsetDateTime>,
    /// `lastSyncDateTime`: the device's last contact with Intune.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_check_in: Option<OffsetDateTime>,
    /// When Gatehouse last read this record from Graph with these values. A later sweep that saw it unchanged is
    /// told by the link's `confirmed_at`, unless the record was missing there.
    #[serde(with = "time::serde::rfc3339")]
    pub fetched_at: OffsetDateTime,
    /// Set while sweeps no longer show the record and its deletion is not confirmed.
    #[serde(with = "time::serde::rfc3339::option")]
    pub missing_since: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub enrolled_at: Option<OffsetDateTime>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    /// `company`, `personal` or `unknown`; an open enum.
    pub owner: Option<String>,
    pub encrypted: Option<bool>,
    pub jailbroken: Option<bool>,
    pub threat_state: Option<String>,
    pub category: Option<String>,
    pub manufacturer: Option<String>,
    pub model: Option<String>,
    pub user_principal_name: Option<String>,
    pub management_state: Option<String>,
}

impl DeviceFacts {
    /// A record with nothing known but its identity and state, for building others from.
    #[must_use]
    pub const fn bare(
        link: LinkId,
        id: DeviceId,
        compliance: ComplianceState,
        fetched_at: OffsetDateTime,
    ) -> Self {
        Self {
            link,
            id,
            name: None,
            serial: None,
            entra_id: None,
            wifi_mac: None,
            ethernet_mac: None,
            compliance,
            grace_expires_at: None,
            last_check_in: None,
            fetched_at,
            missing_since: None,
            enrolled_at: None,
            os: None,
            os_version: None,
            owner: None,
            encrypted: None,
            jailbroken: None,
            threat_state: None,
            category: None,
            manufacturer: None,
            model: None,
            user_principal_name: None,
            management_state: None,
        }
    }
}
