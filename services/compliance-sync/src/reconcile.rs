//! What was fetched, held against what is stored. Pure.

use std::collections::{BTreeSet, HashMap};

use domain::device::{ComplianceState, DeviceFacts};
use domain::resolver::{LookupKey, keys_of};
use domain::{DeviceId, LinkId, Mac};
use microsoft::GraphDevice;
use serde_json::Value;
use sha2::{Digest, Sha256};
use store::devices::StoredDevice;
use time::OffsetDateTime;

#[cfg(test)]
mod tests;

/// A record as it was just fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    pub facts: DeviceFacts,
    /// See [`content_hash`].
    pub hash: [u8; 32],
    /// Only a single GET knows it, as the Ethernet MAC.
    pub udid: Option<String>,
    /// The record as Graph gave it.
    pub raw: Option<Value>,
}

impl Fetched {
    /// With its hash.
    #[must_use]
    pub fn new(facts: DeviceFacts) -> Self {
        let hash = content_hash(&facts);
        Self { facts, hash, udid: None, raw: None }
    }

    /// A record of Graph that was asked for at `asked_at`.
    #[must_use]
    pub fn of(mut device: GraphDevice, link: LinkId, asked_at: OffsetDateTime) -> Self {
        let (udid, raw) = (device.udid.take(), device.raw.take());
        Self { udid, raw: Some(raw), ..Self::new(device.into_facts(link, asked_at)) }
    }
}

/// A known record whose content differs, or that was missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub fetched: Fetched,
    /// The number it has.
    pub ordinal: u32,
}

/// A change of compliance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComplianceChange {
    pub device: DeviceId,
    pub name: Option<String>,
    pub mac: Option<Mac>,
    /// `None`: the device is new.
    pub from: Option<ComplianceState>,
    /// `None`: its record is gone.
    pub to: Option<ComplianceState>,
    /// The earliest moment at which Microsoft can have shown it; see [`store::transitions::Transition`].
    pub visible_after: Option<OffsetDateTime>,
}

/// What a page comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diff {
    pub new: Vec<Fetched>,
    pub changed: Vec<Changed>,
    /// Known, and nothing to write.
    pub unchanged: Vec<DeviceId>,
    /// Numbers of all known devices on the page.
    pub known: Vec<u32>,
    pub transitions: Vec<ComplianceChange>,
    /// Every key under which a new or changed device was or is found.
    pub keys: BTreeSet<LookupKey>,
}

impl Diff {
    /// New and changed devices.
    pub fn touched(&self) -> impl Iterator<Item = DeviceId> {
        let new = self.new.iter().map(|fetched| fetched.facts.id);
        new.chain(self.changed.iter().map(|changed| changed.fetched.facts.id))
    }
}

/// Diffs a page. A device that comes twice counts once, as it came last. A stored record that was fetched later than
/// the one on the page (by a targeted look at the device) is newer, and stays; the time that counts is that of the
/// question. `confirmed_at` is the start of the link's last sweep that went through.
#[must_use]
pub fn page(
    fetched: Vec<Fetched>,
    stored: &HashMap<DeviceId, StoredDevice>,
    confirmed_at: Option<OffsetDateTime>,
) -> Diff {
    let mut last: HashMap<DeviceId, usize> = HashMap::with_capacity(fetched.len());
    for (index, one) in fetched.iter().enumerate() {
        last.insert(one.facts.id, index);
    }
    let mut diff = Diff::default();
    for (index, one) in fetched.into_iter().enumerate() {
        let id = one.facts.id;
        if last.get(&id) != Some(&index) {
            continue;
        }
        let Some(was) = stored.get(&id) else {
            diff.keys.extend(keys_of(&one.facts));
            // Of a fleet that is read for the first time nothing is known.
            let visible_after = confirmed_at.map(|confirmed| one.facts.enrolled_at.max(Some(confirmed)));
            diff.transitions.push(change(&one.facts, None, None, visible_after.flatten()));
            diff.new.push(one);
            continue;
        };
        diff.known.push(was.ordinal);
        let same = was.content_hash == one.hash && was.missing_since.is_none();
        if same || was.fetched_at > one.facts.fetched_at {
            diff.unchanged.push(id);
            continue;
        }
        diff.keys.extend(was.keys.iter().cloned());
        diff.keys.extend(keys_of(&one.facts));
        if was.compliance != one.facts.compliance {
            let visible_after = Some(visible_after(was, &one.facts, confirmed_at));
            diff.transitions.push(change(&one.facts, Some(was.compliance.clone()), was.mac, visible_after));
        }
        diff.changed.push(Changed { fetched: one, ordinal: was.ordinal });
    }
    diff
}

/// The last time that Microsoft did not show the change, or the check-in that brought it, whichever came later.
fn visible_after(
    was: &StoredDevice,
    facts: &DeviceFacts,
    confirmed_at: Option<OffsetDateTime>,
) -> OffsetDateTime {
    let looked = confirmed_at.filter(|_| was.missing_since.is_none()).max(Some(was.fetched_at));
    let checked_in = facts.last_check_in.filter(|at| Some(*at) != was.last_check_in);
    looked.max(checked_in).unwrap_or(was.fetched_at)
}

fn change(
    facts: &DeviceFacts,
    from: Option<ComplianceState>,
    known_mac: Option<Mac>,
    visible_after: Option<OffsetDateTime>,
) -> ComplianceChange {
    ComplianceChange {
        device: facts.id,
        name: facts.name.clone(),
        mac: facts.wifi_mac.or(facts.ethernet_mac).or(known_mac),
        from,
        to: Some(facts.compliance.clone()),
        visible_after,
    }
}

/// SHA-256 over everything that LIST tells of a device. Neither the Ethernet MAC, which only a single GET tells, nor
/// anything of Gatehouse's own is in it. Times count to the second, which is all that LIST tells; a single GET tells
/// more of the same.
#[must_use]
pub fn content_hash(facts: &DeviceFacts) -> [u8; 32] {
    let DeviceFacts {
        link: _,
        id,
        name,
        serial,
        entra_id,
        wifi_mac,
        ethernet_mac: _,
        compliance,
        grace_expires_at,
        last_check_in,
        fetched_at: _,
        missing_since: _,
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
    let mut hash = Hash::default();
    hash.part(Some(id.uuid().as_bytes()));
    hash.part(entra_id.as_ref().map(|id| id.as_bytes().as_slice()));
    hash.part(wifi_mac.as_ref().map(|mac| mac.0.as_slice()));
    hash.part(Some(compliance.as_str().as_bytes()));
    for text in [name, serial, os, os_version, owner, threat_state, category, manufacturer, model] {
        hash.part(text.as_deref().map(str::as_bytes));
    }
    hash.part(user_principal_name.as_deref().map(str::as_bytes));
    hash.part(management_state.as_deref().map(str::as_bytes));
    for at in [grace_expires_at, last_check_in, enrolled_at] {
        hash.part(at.map(|at| at.unix_timestamp().to_be_bytes()).as_ref().map(<[u8; 8]>::as_slice));
    }
    for flag in [encrypted, jailbroken] {
        hash.part(flag.map(|flag| [u8::from(flag)]).as_ref().map(<[u8; 1]>::as_slice));
    }
    hash.0.finalize().into()
}

/// Parts with their lengths, so that no two different lists of parts give the same bytes.
#[derive(Default)]
struct Hash(Sha256);

impl Hash {
    fn part(&mut self, bytes: Option<&[u8]>) {
        match bytes {
            None => self.0.update([0]),
            Some(bytes) => {
                self.0.update([1]);
                self.0.update((bytes.len() as u64).to_be_bytes());
                self.0.update(bytes);
            }
        }
    }
}
