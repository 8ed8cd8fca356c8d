//! One tenant's devices: a generated fleet, and records for the devices that somebody changed.

mod catalogue;
pub mod changes;
pub mod generate;
mod permutation;
pub mod property;
pub mod transitions;

use std::collections::{BTreeMap, HashMap};

pub use generate::Recipe;
pub use permutation::mix;
pub use property::{
    NEVER_OR_NO_GRACE, NO_ENTRA_ID, NO_GRACE, Precision, Property, Scalar, parse_timestamp, timestamp,
};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use self::changes::{ChangeLog, Touched};

/// How long a device may stay silent before Intune calls it noncompliant: the default of
/// `deviceComplianceCheckinThresholdDays`.
pub const VALIDITY: Duration = Duration::days(30);
/// The grace that a device gets when it is put into grace without an expiry.
const DEFAULT_GRACE: Duration = Duration::days(3);

/// What differs from the generated device.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Record {
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub patch: Map<String, Value>,
    /// Gone from Intune: LIST omits it and GET answers 404.
    #[serde(default)]
    pub retired: bool,
    /// Gone from Entra as well.
    #[serde(default)]
    pub unregistered: bool,
    /// Managed by a partner (Jamf and others): in Entra, never in Intune.
    #[serde(default)]
    pub partner_managed: bool,
}

#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Fleet {
    pub recipe: Recipe,
    #[serde(default)]
    records: BTreeMap<u64, Record>,
    #[serde(default)]
    pub changes: ChangeLog,
    /// Devices that were created under an id of the caller's choice, by lower-case id.
    #[serde(default)]
    named: HashMap<String, u64>,
    /// Devices whose Entra device id was set by hand, by lower-case id.
    #[serde(default)]
    entra_named: HashMap<String, u64>,
}

#[derive(Debug, thiserror::Error, PartialEq)]
pub enum PatchError {
    #[error("managedDevice has no property {0}")]
    UnknownProperty(String),
    #[error("{0} takes an RFC 3339 time, as in 2026-01-09T02:02:12Z")]
    NotATime(String),
    #[error("id cannot be changed; create a device under the id that you want")]
    IdIsFixed,
    #[error("a device with id {0} exists")]
    IdTaken(String),
}

/// A change of compliance, as the log wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Flip {
    pub from: String,
    pub to: String,
}

impl Fleet {
    #[must_use]
    pub fn new(recipe: Recipe) -> Self {
        Self {
            recipe,
            records: BTreeMap::new(),
            changes: ChangeLog::default(),
            named: HashMap::new(),
            entra_named: HashMap::new(),
        }
    }

    /// How many device numbers are in use, removed ones included.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.recipe.count
    }

    /// How many devices Intune manages now.
    #[must_use]
    pub fn managed(&self) -> u64 {
        let gone = self.records.values().filter(|record| record.retired || record.partner_managed).count();
        self.recipe.count - gone as u64
    }

    #[must_use]
    pub fn device(&self, index: u64, now: OffsetDateTime) -> Device<'_> {
        Device { fleet: self, index, record: self.records.get(&index), now }
    }

    /// All devices from number `from` on, removed ones included.
    pub fn devices(&self, from: u64, now: OffsetDateTime) -> impl Iterator<Item = Device<'_>> {
        let mut records = self.records.range(from..).peekable();
        (from..self.recipe.count).map(move |index| {
            let record = records.next_if(|(at, _)| **at == index).map(|(_, record)| record);
            Device { fleet: self, index, record, now }
        })
    }

    /// The number of the device with this Intune id, managed or not.
    #[must_use]
    pub fn index_of(&self, intune_id: &str) -> Option<u64> {
        let wanted = intune_id.to_lowercase();
        self.named.get(&wanted).copied().or_else(|| {
            Uuid::parse_str(&wanted).ok().and_then(|id| self.recipe.index_of_intune_id(id)).filter(|index| {
                !self.records.get(index).is_some_and(|record| record.patch.contains_key("id"))
            })
        })
    }

    /// The device that `id` names: an Intune id, an Entra device id or an Entra object id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<u64> {
        self.index_of(id)
            .or_else(|| self.index_of_entra_device(id))
            .or_else(|| self.index_of_entra_object(id))
    }

    #[must_use]
    pub fn index_of_entra_device(&self, device_id: &str) -> Option<u64> {
        let wanted = device_id.to_lowercase();
        self.entra_named.get(&wanted).copied().or_else(|| {
            let index =
                Uuid::parse_str(&wanted).ok().and_then(|id| self.recipe.index_of_entra_device_id(id))?;
            let moved = self
                .records
                .get(&index)
                .is_some_and(|record| record.patch.contains_key(Property::AzureAdDeviceId.name()));
            (!moved).then_some(index)
        })
    }

    #[must_use]
    pub fn index_of_entra_object(&self, object_id: &str) -> Option<u64> {
        Uuid::parse_str(object_id).ok().and_then(|id| self.recipe.index_of_entra_object_id(id))
    }

    /// Adds one device, generated like the others except for what `patch` says. `partner_managed` devices live
    /// in Entra alone.
    pub fn create(
        &mut self,
        patch: Map<String, Value>,
        partner_managed: bool,
        now: OffsetDateTime,
    ) -> Result<u64, PatchError> {
        let id = patch.get("id").and_then(Value::as_str).map(str::to_lowercase);
        if let Some(id) = &id
            && self.index_of(id).is_some()
        {
            return Err(PatchError::IdTaken(id.clone()));
        }
        check(&patch)?;
        let index = self.recipe.count;
        self.recipe.count += 1;
        if let Some(id) = id {
            self.named.insert(id, index);
        }
        self.records.insert(index, Record { partner_managed, ..Record::default() });
        self.write(index, patch, now);
        self.changes.push(index, Touched::everything());
        Ok(index)
    }

    /// Adds `count` generated devices.
    pub fn generate(&mut self, count: u64) {
        let from = self.recipe.count;
        self.recipe.count += count;
        self.changes.push_range(from, count);
    }

    /// Sets properties of a device. A new compliance state brings the grace expiry that goes with it, unless the
    /// patch names one.
    pub fn patch(
        &mut self,
        index: u64,
        patch: Map<String, Value>,
        now: OffsetDateTime,
    ) -> Result<Option<Flip>, PatchError> {
        if patch.contains_key("id") {
            return Err(PatchError::IdIsFixed);
        }
        check(&patch)?;
        let from = self.device(index, now).text(Property::ComplianceState);
        let was = self.device(index, now).entra_compliance();
        self.write(index, patch, now);
        let device = self.device(index, now);
        let to = device.text(Property::ComplianceState);
        let touched =
            Touched { compliance: device.entra_compliance() != was, other: from == to, removed: false };
        self.changes.push(index, touched);
        Ok((from != to).then_some(Flip { from, to }))
    }

    fn write(&mut self, index: u64, mut patch: Map<String, Value>, now: OffsetDateTime) {
        let expiry = Property::ComplianceGracePeriodExpirationDateTime;
        if let Some(state) = patch.get(Property::ComplianceState.name()).and_then(Value::as_str)
            && !patch.contains_key(expiry.name())
        {
            let current = self.device(index, now).time(expiry).unwrap_or(NO_GRACE);
            let at = match state {
                "inGracePeriod" if current == NO_GRACE || current <= now => now + DEFAULT_GRACE,
                "inGracePeriod" => current,
                _ => NO_GRACE,
            };
            patch.insert(expiry.name().to_owned(), Value::String(timestamp(at, Precision::Ticks)));
        }
        if let Some(id) = patch.get(Property::AzureAdDeviceId.name()).and_then(Value::as_str) {
            self.entra_named.retain(|_, at| *at != index);
            if id != NO_ENTRA_ID && !id.is_empty() {
                self.entra_named.insert(id.to_lowercase(), index);
            }
        }
        self.records.entry(index).or_default().patch.extend(patch);
    }

    /// Removes a device from Intune and, unless `keep_entra`, from Entra.
    pub fn remove(&mut self, index: u64, keep_entra: bool) {
        let record = self.records.entry(index).or_default();
        record.retired = true;
        record.unregistered |= !keep_entra;
        self.changes.push(index, Touched { compliance: true, other: true, removed: !keep_entra });
    }

    /// When Intune has to look at a device again by itself: the end of its grace, or of its validity where a
    /// last check-in was set by hand.
    #[must_use]
    pub fn deadline(&self, index: u64, now: OffsetDateTime) -> Option<OffsetDateTime> {
        let device = self.device(index, now);
        if !device.in_intune() {
            return None;
        }
        match device.text(Property::ComplianceState).as_str() {
            "inGracePeriod" => device.time(Property::ComplianceGracePeriodExpirationDateTime),
            "compliant" if device.is_set(Property::LastSyncDateTime) => {
                device.time(Property::LastSyncDateTime).map(|sync| sync + VALIDITY)
            }
            _ => None,
        }
        .filter(|at| *at < NO_GRACE)
    }
}

fn check(patch: &Map<String, Value>) -> Result<(), PatchError> {
    for (name, value) in patch {
        let property = Property::named(name).ok_or_else(|| PatchError::UnknownProperty(name.clone()))?;
        if property.is_time() && value.as_str().and_then(parse_timestamp).is_none() {
            return Err(PatchError::NotATime(name.clone()));
        }
    }
    Ok(())
}

/// One device as it is at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    fleet: &'a Fleet,
    pub index: u64,
    record: Option<&'a Record>,
    now: OffsetDateTime,
}

impl<'a> Device<'a> {
    /// Whether Intune lists it.
    #[must_use]
    pub fn in_intune(&self) -> bool {
        !self.record.is_some_and(|record| record.retired || record.partner_managed)
    }

    #[must_use]
    pub fn partner_managed(&self) -> bool {
        self.record.is_some_and(|record| record.partner_managed)
    }

    /// Whether Entra lists it.
    #[must_use]
    pub fn in_entra(&self) -> bool {
        !self.record.is_some_and(|record| record.unregistered) && self.entra_device_id().is_some()
    }

    #[must_use]
    pub fn is_set(&self, property: Property) -> bool {
        self.record.is_some_and(|record| record.patch.contains_key(property.name()))
    }

    #[must_use]
    pub fn get(&self, property: Property) -> Scalar<'a> {
        match self.record.and_then(|record| record.patch.get(property.name())) {
            None => self.fleet.recipe.property(self.index, property, self.now),
            Some(Value::Null) => Scalar::Null,
            Some(Value::Bool(value)) => Scalar::Bool(*value),
            Some(Value::String(text)) if property.is_time() => {
                parse_timestamp(text).map_or(Scalar::Null, Scalar::Time)
            }
            Some(Value::String(text)) => Scalar::Text(text.as_str().into()),
            Some(Value::Number(number)) if number.is_i64() => Scalar::Int(number.as_i64().unwrap_or(0)),
            Some(value) => Scalar::Json(value.clone()),
        }
    }

    #[must_use]
    pub fn text(&self, property: Property) -> String {
        self.get(property).into_text()
    }

    #[must_use]
    pub fn time(&self, property: Property) -> Option<OffsetDateTime> {
        match self.get(property) {
            Scalar::Time(at) => Some(at),
            _ => None,
        }
    }

    #[must_use]
    pub fn id(&self) -> String {
        self.text(Property::Id)
    }

    #[must_use]
    pub fn entra_device_id(&self) -> Option<String> {
        let id = self.text(Property::AzureAdDeviceId);
        (!id.is_empty() && id != NO_ENTRA_ID).then_some(id)
    }

    #[must_use]
    pub fn entra_object_id(&self) -> Uuid {
        self.fleet.recipe.entra_object_id(self.index)
    }

    /// `device.isCompliant` in Entra: grace counts as compliant, as Conditional Access has it; a state that is
    /// not determined is null.
    #[must_use]
    pub fn entra_compliance(&self) -> Option<bool> {
        match self.text(Property::ComplianceState).as_str() {
            "compliant" | "inGracePeriod" => Some(true),
            "noncompliant" | "error" | "conflict" => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use time::macros::datetime;

    use super::*;

    const NOW: OffsetDateTime = datetime!(2026-01-01 12:00 UTC);

    fn fleet() -> Fleet {
        let epoch = datetime!(2026-01-01 0:00 UTC);
        Fleet::new(Recipe { seed: 7, domain: "contoso.example".into(), epoch, count: 60 })
    }

    fn map(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!("{value}") };
        map
    }

    #[test]
    fn a_flip_names_both_states_and_a_patch_of_something_else_is_no_flip() {
        let mut fleet = fleet();
        let flip = fleet.patch(0, map(json!({"complianceState": "noncompliant"})), NOW).unwrap();
        assert_eq!(flip, Some(Flip { from: "compliant".into(), to: "noncompliant".into() }));
        assert_eq!(fleet.patch(0, map(json!({"model": "X"})), NOW).unwrap(), None);
    }

    #[test]
    fn grace_gets_an_expiry_and_loses_it_with_the_state() {
        let mut fleet = fleet();
        let expiry = Property::ComplianceGracePeriodExpirationDateTime;
        fleet.patch(0, map(json!({"complianceState": "inGracePeriod"})), NOW).unwrap();
        assert_eq!(fleet.device(0, NOW).time(expiry), Some(NOW + DEFAULT_GRACE));
        assert_eq!(fleet.deadline(0, NOW), Some(NOW + DEFAULT_GRACE));
        fleet.patch(0, map(json!({"complianceState": "compliant"})), NOW).unwrap();
        assert_eq!(fleet.device(0, NOW).time(expiry), Some(NO_GRACE));
        assert_eq!(fleet.deadline(0, NOW), None);
    }

    #[test]
    fn a_device_created_under_an_id_is_found_by_it_and_only_once() {
        let mut fleet = fleet();
        let id = "7809c88c-b33b-4c1c-94e0-00ce3175037b";
        let index = fleet.create(map(json!({"id": id, "serialNumber": "S1"})), false, NOW).unwrap();
        assert_eq!(fleet.index_of(&id.to_uppercase()), Some(index));
        assert_eq!(fleet.device(index, NOW).id(), id);
        let again = fleet.create(map(json!({"id": id})), false, NOW);
        assert_eq!(again, Err(PatchError::IdTaken(id.into())));
    }

    #[test]
    fn unknown_properties_and_bad_times_are_refused() {
        let mut fleet = fleet();
        let unknown = fleet.patch(0, map(json!({"complianceStatus": "x"})), NOW);
        assert_eq!(unknown, Err(PatchError::UnknownProperty("complianceStatus".into())));
        let time = fleet.patch(0, map(json!({"lastSyncDateTime": "yesterday"})), NOW);
        assert_eq!(time, Err(PatchError::NotATime("lastSyncDateTime".into())));
    }
}
