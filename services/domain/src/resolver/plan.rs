//! From a request to the keys worth looking up, in the order in which they are believed.

use uuid::Uuid;

use super::{LookupKey, MatchKey, san};
use crate::Mac;
use crate::request::{AccessRequest, Certificate};

/// The keys of one rank.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tier {
    pub key: MatchKey,
    /// Tried in order; the keys within one alternative are looked up together, and their candidates united.
    pub alternatives: Vec<Vec<LookupKey>>,
}

/// Everything to look up for a client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LookupPlan {
    pub tiers: Vec<Tier>,
    /// The client's MAC where it can identify a station: not a group address, not randomized.
    pub mac: Option<Mac>,
}

impl LookupPlan {
    /// Plans the search for a request.
    #[must_use]
    pub fn of(request: &AccessRequest) -> Self {
        let mut tiers = Vec::new();
        if let Some(cert) = &request.cert {
            push(&mut tiers, MatchKey::SanUri, vec![intune_ids(cert)]);
            push(&mut tiers, MatchKey::CertificateId, vec![bare_ids(cert)]);
            let serial = cert.subject.as_deref().filter(|_| !cn_smuggles(cert)).and_then(san::subject_serial);
            let serial = serial.map(|s| LookupKey::Serial(s.to_lowercase()));
            push(&mut tiers, MatchKey::SubjectSerial, vec![serial.into_iter().collect()]);
            push(&mut tiers, MatchKey::DeviceName, names(cert));
        }
        let mac = request.mac.filter(|mac| mac.is_station() && !mac.is_locally_administered());
        push(&mut tiers, MatchKey::Mac, vec![mac.map(LookupKey::Mac).into_iter().collect()]);
        Self { tiers, mac }
    }

    /// Every key, without repeats, in the order of belief.
    #[must_use]
    pub fn keys(&self) -> Vec<LookupKey> {
        let mut keys: Vec<LookupKey> = Vec::new();
        for key in self.tiers.iter().flat_map(|t| &t.alternatives).flatten() {
            if !keys.contains(key) {
                keys.push(key.clone());
            }
        }
        keys
    }
}

fn push(tiers: &mut Vec<Tier>, key: MatchKey, mut alternatives: Vec<Vec<LookupKey>>) {
    alternatives.retain(|keys| !keys.is_empty());
    if !alternatives.is_empty() {
        tiers.push(Tier { key, alternatives });
    }
}

fn intune_ids(cert: &Certificate) -> Vec<LookupKey> {
    unique(cert.san_uri.iter().flat_map(|text| san::intune_ids(text)).map(LookupKey::IntuneId))
}

/// A CN such as `x/serialNumber=VICTIM` would read as a serial number in an edge's unescaped one-line subject.
fn cn_smuggles(cert: &Certificate) -> bool {
    let cn = cert.cn.as_deref().unwrap_or_default().to_lowercase();
    cn.contains("serialnumber=") || cn.contains("2.5.4.5=")
}

/// An id that stands alone may be Intune's or Entra's: both are tried.
fn bare_ids(cert: &Certificate) -> Vec<LookupKey> {
    let texts = cert.san_dns.iter().chain(cert.cn.iter());
    let ids = texts.filter_map(|text| san::device_guid(text));
    unique(ids.flat_map(|id| [LookupKey::IntuneId(id), LookupKey::EntraId(id)]))
}

/// The CN as a device name: whole, then up to its first dot. A user principal name is no device name.
fn names(cert: &Certificate) -> Vec<Vec<LookupKey>> {
    let Some(cn) = cert.cn.as_deref().map(str::trim) else { return Vec::new() };
    let name = strip_host(cn).to_lowercase();
    if name.is_empty() || name.contains('@') || Uuid::parse_str(&name).is_ok() {
        return Vec::new();
    }
    let mut out = Vec::new();
    if let Some((short, _)) = name.split_once('.').filter(|(short, _)| !short.is_empty()) {
        out.push(vec![LookupKey::Name(short.to_owned())]);
    }
    out.insert(0, vec![LookupKey::Name(name)]);
    out
}

/// FreeRADIUS writes the slash of `host/NAME` as `\/` in its one-line subjects.
fn strip_host(cn: &str) -> &str {
    for prefix in ["host/", "host\\/"] {
        if let Some(head) = cn.get(..prefix.len())
            && head.eq_ignore_ascii_case(prefix)
        {
            return &cn[prefix.len()..];
        }
    }
    cn
}

fn unique(keys: impl Iterator<Item = LookupKey>) -> Vec<LookupKey> {
    let mut out: Vec<LookupKey> = Vec::new();
    for key in keys {
        if !out.contains(&key) {
            out.push(key);
        }
    }
    out
}
