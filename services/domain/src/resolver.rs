//! Which device is this client? Certificate first, MAC last, and the match says which key it used.
//!
//! Shells turn a request into a [`LookupPlan`], fetch the candidates of each [`LookupKey`] from wherever they are
//! kept, and hand both to [`resolve`].

mod plan;
mod san;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use plan::{LookupPlan, Tier};
pub use san::{intune_ids, subject_serial, uris_of_joined_names};

use crate::device::DeviceFacts;
use crate::request::words;
use crate::{DeviceId, Mac};

/// One exact key by which devices of an organization are looked up. Text keys are lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum LookupKey {
    IntuneId(Uuid),
    EntraId(Uuid),
    Serial(String),
    Name(String),
    Mac(Mac),
}

impl fmt::Display for LookupKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IntuneId(id) => write!(f, "intune:{id}"),
            Self::EntraId(id) => write!(f, "entra:{id}"),
            Self::Serial(text) => write!(f, "serial:{text}"),
            Self::Name(text) => write!(f, "name:{text}"),
            Self::Mac(mac) => write!(f, "mac:{}", mac.digits()),
        }
    }
}

/// The text is not a lookup key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a lookup key: {0}")]
pub struct LookupKeyError(String);

impl FromStr for LookupKey {
    type Err = LookupKeyError;

    fn from_str(text: &str) -> Result<Self, LookupKeyError> {
        let bad = || LookupKeyError(text.to_owned());
        let (kind, value) = text.split_once(':').ok_or_else(bad)?;
        match kind {
            "intune" => value.parse().map(Self::IntuneId).map_err(|_| bad()),
            "entra" => value.parse().map(Self::EntraId).map_err(|_| bad()),
            "serial" => Ok(Self::Serial(value.to_owned())),
            "name" => Ok(Self::Name(value.to_owned())),
            "mac" => value.parse().map(Self::Mac).map_err(|_| bad()),
            _ => Err(bad()),
        }
    }
}

impl From<LookupKey> for String {
    fn from(key: LookupKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<String> for LookupKey {
    type Error = LookupKeyError;
    fn try_from(text: String) -> Result<Self, LookupKeyError> {
        text.parse()
    }
}

/// Every key under which a device can be found.
#[must_use]
pub fn keys_of(device: &DeviceFacts) -> Vec<LookupKey> {
    let mut keys = vec![LookupKey::IntuneId(device.id.uuid())];
    keys.extend(device.entra_id.map(LookupKey::EntraId));
    keys.extend(device.serial.as_deref().map(|s| LookupKey::Serial(s.to_lowercase())));
    keys.extend(device.name.as_deref().map(|s| LookupKey::Name(s.to_lowercase())));
    let macs = [device.wifi_mac, device.ethernet_mac];
    keys.extend(macs.into_iter().flatten().map(LookupKey::Mac));
    keys.dedup();
    keys
}

/// The kind of key that found the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchKey {
    /// Intune device id in SAN:URI.
    SanUri,
    /// Intune or Entra device id in SAN:DNS, or as the CN.
    CertificateId,
    /// The subject's serialNumber.
    SubjectSerial,
    /// The CN as device name.
    DeviceName,
    Mac,
}

/// How much a match proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchStrength {
    Mac,
    Name,
    Certificate,
}

words!(MatchStrength, "match strength",
    MatchStrength::Certificate => "certificate", MatchStrength::Name => "name", MatchStrength::Mac => "mac",
);
words!(MatchKey, "match key",
    MatchKey::SanUri => "san-uri", MatchKey::CertificateId => "certificate-id",
    MatchKey::SubjectSerial => "subject-serial", MatchKey::DeviceName => "device-name", MatchKey::Mac => "mac",
);

impl MatchKey {
    /// What a match by this key proves.
    #[must_use]
    pub const fn strength(self) -> MatchStrength {
        match self {
            Self::SanUri | Self::CertificateId | Self::SubjectSerial => MatchStrength::Certificate,
            Self::DeviceName => MatchStrength::Name,
            Self::Mac => MatchStrength::Mac,
        }
    }
}

/// What the search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// Exactly one device.
    Device(&'a DeviceFacts),
    /// No device bears any of the keys.
    NotEnrolled,
    /// Two or more devices bear the first key that hit at all.
    Ambiguous,
}

/// The answer of [`resolve`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    pub outcome: Outcome<'a>,
    /// The key that decided, also where it came out ambiguous or ended the search.
    pub key: Option<MatchKey>,
    /// The certificate names one device while the MAC belongs to another.
    pub mac_mismatch: bool,
    /// Intune ids that a certificate names and nobody knows: worth a targeted lookup.
    pub wanted: Vec<DeviceId>,
}

impl<'a> Match<'a> {
    /// The one device that matched.
    #[must_use]
    pub const fn device(&self) -> Option<&'a DeviceFacts> {
        match self.outcome {
            Outcome::Device(device) => Some(device),
            Outcome::NotEnrolled | Outcome::Ambiguous => None,
        }
    }

    /// What the match proves; `None` where nothing matched.
    #[must_use]
    pub fn strength(&self) -> Option<MatchStrength> {
        self.device().and(self.key).map(MatchKey::strength)
    }
}

/// Resolves a client. `candidates` gives the devices of the organization that bear a key; it may be asked for any
/// key of the plan.
pub fn resolve<'a>(plan: &LookupPlan, candidates: impl Fn(&LookupKey) -> &'a [DeviceFacts]) -> Match<'a> {
    for tier in &plan.tiers {
        for alternatives in &tier.alternatives {
            let mut hits: Vec<&DeviceFacts> = Vec::new();
            for device in alternatives.iter().flat_map(&candidates) {
                if !hits.iter().any(|seen| seen.id == device.id && seen.link == device.link) {
                    hits.push(device);
                }
            }
            let outcome = match hits.as_slice() {
                [] => continue,
                [device] => Outcome::Device(device),
                _ => Outcome::Ambiguous,
            };
            let mac_mismatch = match &outcome {
                Outcome::Device(device) if tier.key != MatchKey::Mac => {
                    mac_belongs_elsewhere(plan, device, &candidates)
                }
                _ => false,
            };
            return Match { outcome, key: Some(tier.key), mac_mismatch, wanted: Vec::new() };
        }
        if tier.key == MatchKey::SanUri {
            let wanted = tier.alternatives.iter().flatten().filter_map(|key| match key {
                LookupKey::IntuneId(id) => Some(DeviceId(*id)),
                _ => None,
            });
            return Match {
                outcome: Outcome::NotEnrolled,
                key: Some(MatchKey::SanUri),
                mac_mismatch: false,
                wanted: wanted.collect(),
            };
        }
    }
    Match { outcome: Outcome::NotEnrolled, key: None, mac_mismatch: false, wanted: Vec::new() }
}

fn mac_belongs_elsewhere<'a>(
    plan: &LookupPlan,
    device: &DeviceFacts,
    candidates: impl Fn(&LookupKey) -> &'a [DeviceFacts],
) -> bool {
    let Some(mac) = plan.mac else { return false };
    let bearers = candidates(&LookupKey::Mac(mac));
    !bearers.is_empty() && !bearers.iter().any(|d| d.id == device.id && d.link == device.link)
}
