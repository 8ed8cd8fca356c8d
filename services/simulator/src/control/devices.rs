//! Devices: search, create, change, remove.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use super::{Refusal, Reply, body, created, no_content, ok, tenant};
use crate::{
    directory::Tenant,
    fleet::{Device, Fleet, PatchError, Precision, Property, timestamp, transitions::Cause},
    graph::managed_devices::whole,
    world::World,
};

/// How many devices one search looks at before it hands back a cursor.
const SCANNED_MAX: usize = 200_000;
const LIMIT_MAX: usize = 10_000;

impl From<PatchError> for Refusal {
    fn from(error: PatchError) -> Self {
        let status = match error {
            PatchError::IdTaken(_) => StatusCode::CONFLICT,
            _ => StatusCode::BAD_REQUEST,
        };
        Self(status, error.to_string())
    }
}

fn shown(device: &Device<'_>) -> Value {
    let mut object = whole(device);
    object.insert(
        "_sim".to_owned(),
        json!({
            "number": device.index,
            "inIntune": device.in_intune(),
            "inEntra": device.in_entra(),
            "partnerManaged": device.partner_managed(),
            "entraObjectId": device.entra_object_id(),
            "isCompliant": device.entra_compliance(),
        }),
    );
    Value::Object(object)
}

/// What a search found.
pub struct Found {
    pub numbers: Vec<u64>,
    /// Where to go on, if there may be more.
    pub next: Option<u64>,
}

/// Devices from number `from` on whose id, name, serial, user or address holds `text`, in `state` if one is
/// given.
#[must_use]
pub fn search(fleet: &Fleet, now: OffsetDateTime, text: &str, state: &str, from: u64, limit: usize) -> Found {
    if let Some(index) = fleet.find(text) {
        return Found { numbers: vec![index], next: None };
    }
    let wanted = text.to_lowercase();
    let mac: String = wanted.chars().filter(char::is_ascii_hexdigit).collect();
    let looks_like_mac =
        mac.len() == 12 && wanted.chars().all(|c| c.is_ascii_hexdigit() || ":-.".contains(c));
    let hit = |device: &Device<'_>| {
        if !(device.in_intune() || device.partner_managed()) {
            return false;
        }
        if !state.is_empty() && device.text(Property::ComplianceState) != state {
            return false;
        }
        let has = |property| device.text(property).to_lowercase().contains(&wanted);
        wanted.is_empty()
            || has(Property::DeviceName)
            || has(Property::SerialNumber)
            || has(Property::UserPrincipalName)
            || looks_like_mac
                && [Property::WiFiMacAddress, Property::EthernetMacAddress]
                    .into_iter()
                    .any(|property| device.text(property).eq_ignore_ascii_case(&mac))
    };
    let mut numbers = Vec::new();
    let mut next = from;
    for device in fleet.devices(from, now).take(SCANNED_MAX) {
        if numbers.len() >= limit {
            break;
        }
        next = device.index + 1;
        if hit(&device) {
            numbers.push(device.index);
        }
    }
    Found { numbers, next: (next < fleet.len()).then_some(next) }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    compliance_state: String,
    #[serde(default)]
    from: u64,
    #[serde(default = "hundred")]
    limit: usize,
}

const fn hundred() -> usize {
    100
}

pub async fn list(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Query(query): Query<ListQuery>,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let now = world.clock.fleet();
    let state = tenant.read();
    let limit = query.limit.clamp(1, LIMIT_MAX);
    let found = search(&state.fleet, now, &query.search, &query.compliance_state, query.from, limit);
    let devices: Vec<_> =
        found.numbers.iter().map(|number| shown(&state.fleet.device(*number, now))).collect();
    ok(json!({ "total": state.fleet.managed(), "devices": devices, "next": found.next }))
}

fn device(world: &World, tenant: &Tenant, index: u64) -> Value {
    shown(&tenant.read().fleet.device(index, world.clock.fleet()))
}

pub async fn create(State(world): State<Arc<World>>, Path(key): Path<String>, bytes: bytes::Bytes) -> Reply {
    let tenant = tenant(&world, &key)?;
    let mut patch: Map<String, Value> = body(&bytes)?;
    let partner_managed = patch.remove("partnerManaged") == Some(Value::Bool(true));
    let index = world.create_device(&tenant, patch, partner_managed)?;
    created(device(&world, &tenant, index))
}

#[derive(Debug, Deserialize)]
pub struct Generate {
    count: u64,
}

pub async fn generate(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    bytes: bytes::Bytes,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let Generate { count } = body(&bytes)?;
    if count > 10_000_000 {
        return Err(Refusal::bad("at most 10000000 devices at a time"));
    }
    let from = world.generate_devices(&tenant, count);
    let total = tenant.read().fleet.managed();
    created(json!({ "from": from, "count": count, "total": total }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FlipMany {
    /// Devices in this state …
    from: String,
    /// … become this.
    to: String,
    /// At most so many.
    count: usize,
}

/// Flips many devices at once.
pub async fn flip(State(world): State<Arc<World>>, Path(key): Path<String>, bytes: bytes::Bytes) -> Reply {
    let tenant = tenant(&world, &key)?;
    let many: FlipMany = body(&bytes)?;
    let now = world.clock.fleet();
    let chosen: Vec<(u64, String)> = tenant
        .read()
        .fleet
        .devices(0, now)
        .filter(|device| device.in_intune() && device.text(Property::ComplianceState) == many.from)
        .take(many.count)
        .map(|device| (device.index, device.id()))
        .collect();
    for (index, _) in &chosen {
        let mut patch = Map::new();
        patch.insert(Property::ComplianceState.name().to_owned(), json!(many.to));
        world.patch_device(&tenant, *index, patch, Cause::Api)?;
    }
    let ids: Vec<_> = chosen.into_iter().map(|(_, id)| id).collect();
    ok(json!({ "flipped": ids.len(), "deviceIds": ids }))
}

fn find(tenant: &Tenant, id: &str) -> Result<u64, Refusal> {
    tenant.read().fleet.find(id).ok_or_else(|| Refusal::missing("device", id))
}

pub async fn get(State(world): State<Arc<World>>, Path((key, id)): Path<(String, String)>) -> Reply {
    let tenant = tenant(&world, &key)?;
    let index = find(&tenant, &id)?;
    ok(device(&world, &tenant, index))
}

pub async fn patch(
    State(world): State<Arc<World>>,
    Path((key, id)): Path<(String, String)>,
    bytes: bytes::Bytes,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let index = find(&tenant, &id)?;
    world.patch_device(&tenant, index, body(&bytes)?, Cause::Api)?;
    ok(device(&world, &tenant, index))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteQuery {
    #[serde(default)]
    keep_entra: bool,
}

/// Retires a device: gone from Intune, and from Entra too unless `keepEntra=true`.
pub async fn delete(
    State(world): State<Arc<World>>,
    Path((key, id)): Path<(String, String)>,
    Query(query): Query<DeleteQuery>,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let index = find(&tenant, &id)?;
    tenant.write().fleet.remove(index, query.keep_entra);
    world.touch();
    no_content()
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckIn {
    /// What the evaluation finds; default: the state stays.
    compliance_state: Option<String>,
}

/// The device syncs now and is evaluated: `lastSyncDateTime` is the present.
pub async fn check_in(
    State(world): State<Arc<World>>,
    Path((key, id)): Path<(String, String)>,
    bytes: bytes::Bytes,
) -> Reply {
    let tenant = tenant(&world, &key)?;
    let index = find(&tenant, &id)?;
    let check_in: CheckIn = body(&bytes)?;
    let mut patch = Map::new();
    let now = timestamp(world.clock.fleet(), Precision::Ticks);
    patch.insert(Property::LastSyncDateTime.name().to_owned(), json!(now));
    if let Some(state) = check_in.compliance_state {
        patch.insert(Property::ComplianceState.name().to_owned(), json!(state));
    }
    world.patch_device(&tenant, index, patch, Cause::CheckIn)?;
    ok(device(&world, &tenant, index))
}
