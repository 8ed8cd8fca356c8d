//! `devices`: the directory's view of the fleet, including what partners manage.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::Duration;

use super::{
    Answer, Call, Caller,
    error::Ids,
    filter::{Filter, Operator},
    paging::{link, open, seal},
};
use crate::{
    directory::roles::{DEVICE_READ, DIRECTORY_READ},
    fleet::{Device, NEVER_OR_NO_GRACE, Precision, Property, Scalar, timestamp},
    world::World,
};

/// Intune's app id: the `mdmAppId` of what it manages.
const INTUNE_MDM_APP_ID: &str = "0000000a-0000-0000-c000-000000000000";
/// An MDM of another maker, for partner-managed devices.
const PARTNER_MDM_APP_ID: &str = "6ebaf3a1-7d2b-4f4c-9b0a-1c5b3f6d2e10";
const PAGE_MAX: usize = 999;
const SCANNED_MAX: usize = 100_000;
const KIND: &str = "devices";

#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    n: u64,
}

/// The properties of an Entra device.
#[must_use]
pub fn object(device: &Device<'_>) -> Map<String, Value> {
    let compliance = device.entra_compliance();
    let managed = device.in_intune() || device.partner_managed();
    let sync = device.time(Property::LastSyncDateTime);
    let expiry = device
        .time(Property::ComplianceGracePeriodExpirationDateTime)
        .filter(|expiry| !NEVER_OR_NO_GRACE.contains(expiry))
        .or_else(|| sync.map(|sync| sync + crate::fleet::VALIDITY));
    let seconds = |at| timestamp(at, Precision::Seconds);
    let mdm = if device.partner_managed() { PARTNER_MDM_APP_ID } else { INTUNE_MDM_APP_ID };
    let personal = device.text(Property::ManagedDeviceOwnerType) == "personal";
    let Value::Object(object) = json!({
        "id": device.entra_object_id(),
        "deviceId": device.entra_device_id(),
        "displayName": device.text(Property::DeviceName),
        "accountEnabled": true,
        "isCompliant": if managed { json!(compliance) } else { Value::Null },
        "isManaged": managed,
        "mdmAppId": managed.then_some(mdm),
        "managementType": managed.then_some("MDM"),
        "trustType": if personal { "Workplace" } else { "AzureAd" },
        "operatingSystem": device.text(Property::OperatingSystem),
        "operatingSystemVersion": device.text(Property::OsVersion),
        "approximateLastSignInDateTime": sync.map(seconds),
        "complianceExpirationDateTime": expiry.map(seconds),
        "registrationDateTime": device.time(Property::EnrolledDateTime).map(seconds),
        "deviceOwnership": if personal { "Personal" } else { "Company" },
        "manufacturer": device.text(Property::Manufacturer),
        "model": device.text(Property::Model),
        "profileType": "RegisteredDevice",
    }) else {
        return Map::new();
    };
    object
}

/// `$select` applied; `id` always comes along, as the directory has it.
#[must_use]
pub fn select(mut object: Map<String, Value>, select: Option<&str>) -> Value {
    if let Some(select) = select {
        let names: Vec<_> = select.split(',').map(str::trim).collect();
        object.retain(|name, _| name == "id" || names.contains(&name.as_str()));
    }
    Value::Object(object)
}

/// The refusal of a caller without the role.
#[must_use]
pub fn refused(ids: &Ids, caller: &Caller) -> Option<Answer> {
    (!caller.has_any(&[DEVICE_READ, DIRECTORY_READ])).then(|| ids.directory_forbidden())
}

fn supported(property: &str, operator: Operator) -> bool {
    match property {
        "id" | "deviceId" | "mdmAppId" | "isCompliant" | "isManaged" | "operatingSystem" | "trustType"
        | "accountEnabled" => matches!(operator, Operator::Eq | Operator::Ne),
        "displayName" => matches!(operator, Operator::Eq | Operator::StartsWith),
        "approximateLastSignInDateTime" => {
            matches!(operator, Operator::Ge | Operator::Le | Operator::Gt | Operator::Lt)
        }
        _ => false,
    }
}

pub fn list(world: &World, call: &Call, ids: &Ids, caller: &Caller) -> Answer {
    if let Some(answer) = refused(ids, caller) {
        return answer;
    }
    match page(world, call, ids, caller) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn page(world: &World, call: &Call, ids: &Ids, caller: &Caller) -> Result<Answer, Answer> {
    let settings = world.settings();
    let top = match call.option("$top").map(str::parse) {
        None => settings.devices_page,
        Some(Ok(top)) if (1..=PAGE_MAX).contains(&top) => top,
        Some(_) => {
            return Err(ids.unsupported_query("Invalid page size specified: must be between 1 and 999."));
        }
    };
    // Unlike Intune, the directory says so when it does not support a filter.
    let filter = match call.option("$filter").map(|text| Filter::parse(text).map(|f| f.keep(&supported))) {
        None => None,
        Some(Some((filter, false))) => Some(filter),
        Some(Some((_, true))) => {
            return Err(ids.unsupported_query("Unsupported or invalid query filter clause specified."));
        }
        Some(None) => return Err(ids.bad_request("Invalid filter clause")),
    };
    let position: Position = match call.option("$skiptoken") {
        None => Position::default(),
        Some(token) => {
            let lifetime = Duration::seconds(i64::from(settings.skip_token_lifetime_seconds));
            open(world, KIND, caller.tenant.id, token, lifetime).map_err(|_| {
                ids.error(
                    StatusCode::BAD_REQUEST,
                    "Directory_ExpiredPageToken",
                    "The specified page token value has expired.",
                )
            })?
        }
    };
    let state = caller.tenant.read();
    let now = world.clock.fleet();
    let mut next = position.n;
    let mut value = Vec::new();
    let narrowed = filter.as_ref().and_then(|filter| {
        filter
            .required("deviceId")
            .map(|id| state.fleet.index_of_entra_device(id))
            .or_else(|| filter.required("id").map(|id| state.fleet.index_of_entra_object(id)))
    });
    let accepts = |object: &Map<String, Value>| {
        filter.as_ref().is_none_or(|filter| filter.accepts(&|name| scalar(object.get(name))))
    };
    let chosen = call.option("$select");
    if let Some(found) = narrowed {
        let device = found.map(|index| state.fleet.device(index, now)).filter(Device::in_entra);
        value.extend(
            device.map(|device| object(&device)).filter(accepts).map(|object| select(object, chosen)),
        );
        next = state.fleet.len();
    } else {
        for device in state.fleet.devices(position.n, now).take(SCANNED_MAX) {
            if value.len() >= top {
                break;
            }
            next = device.index + 1;
            if device.in_entra() {
                let object = object(&device);
                if accepts(&object) {
                    value.push(select(object, chosen));
                }
            }
        }
    }
    let mut body = json!({ "@odata.context": format!("{}/v1.0/$metadata#devices", world.public_url) });
    if next < state.fleet.len() {
        let token = seal(world, KIND, caller.tenant.id, Position { n: next });
        let repeated: Vec<_> = call
            .query
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        body["@odata.nextLink"] = json!(link(world, "/devices", &repeated, ("$skiptoken", &token)));
    }
    body["value"] = Value::Array(value);
    Ok(Answer::json(StatusCode::OK, &body))
}

fn scalar(value: Option<&Value>) -> Scalar<'static> {
    match value {
        Some(Value::Bool(value)) => Scalar::Bool(*value),
        Some(Value::String(text)) => {
            crate::fleet::parse_timestamp(text).map_or_else(|| Scalar::from(text.clone()), Scalar::Time)
        }
        _ => Scalar::Null,
    }
}

/// `GET /devices/{id}` by object id, or `/devices(deviceId='{id}')`.
pub fn get(world: &World, call: &Call, ids: &Ids, caller: &Caller, id: &str, by_device_id: bool) -> Answer {
    if let Some(answer) = refused(ids, caller) {
        return answer;
    }
    let state = caller.tenant.read();
    let index = match by_device_id {
        true => state.fleet.index_of_entra_device(id),
        false => state.fleet.index_of_entra_object(id),
    };
    let device = index.map(|index| state.fleet.device(index, world.clock.fleet())).filter(Device::in_entra);
    let Some(device) = device else { return ids.directory_not_found(id) };
    let mut body = select(object(&device), call.option("$select"));
    body["@odata.context"] = json!(format!("{}/v1.0/$metadata#devices/$entity", world.public_url));
    Answer::json(StatusCode::OK, &body)
}
