//! `deviceManagement/managedDevices`: the fleet as Intune shows it, with its traps.
//!
//! LIST hides seven properties, writes "" for what is missing and whole seconds; filters that it does not
//! support are ignored without a word, so that all devices come back; a page may be short or empty and go on.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use time::Duration;

use super::{
    Answer, Call, Caller,
    error::Ids,
    filter::{Filter, Operator},
    paging::{TokenError, link, open, seal},
};
use crate::{
    directory::roles::{MANAGED_DEVICES_READ, MANAGED_DEVICES_READ_WRITE},
    fleet::{Device, Precision, Property, Scalar, timestamp},
    world::World,
};

const PAGE_MAX: usize = 1_000;
/// How many devices one request looks at; a filter that finds few gives a short page and a nextLink.
const SCANNED_MAX: usize = 100_000;
const KIND: &str = "managedDevices";

/// Where a page begins.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Position {
    /// Number of the next device.
    n: u64,
    /// Number of the page, from 1.
    p: usize,
    /// The device that the page before ended with.
    l: Option<u64>,
}

/// Filters that the CSDL documents; all others are ignored.
fn supported(property: &str, operator: Operator) -> bool {
    use Operator::{Contains, Eq, Ge, Gt, Le, Lt, Ne};
    match property {
        "azureADDeviceId"
        | "complianceState"
        | "deviceCategoryDisplayName"
        | "exchangeAccessState"
        | "imei"
        | "jailBroken"
        | "managementAgent"
        | "managementState"
        | "manufacturer"
        | "operatingSystem"
        | "serialNumber" => operator == Eq,
        "deviceName" | "model" => matches!(operator, Eq | Contains),
        "emailAddress" | "osVersion" | "phoneNumber" => operator == Contains,
        "complianceGracePeriodExpirationDateTime" | "enrolledDateTime" | "lastSyncDateTime" => {
            matches!(operator, Lt | Le | Gt | Ge)
        }
        "userPrincipalName" => matches!(operator, Eq | Ne),
        _ => false,
    }
}

/// The role and the licence that every call of Intune needs.
fn refused(ids: &Ids, caller: &Caller) -> Option<Answer> {
    if !caller.has_any(&[MANAGED_DEVICES_READ, MANAGED_DEVICES_READ_WRITE]) {
        return Some(ids.intune_forbidden());
    }
    (!caller.tenant.read().licensed).then(|| ids.unlicensed())
}

fn selected(call: &Call, ids: &Ids) -> Result<Option<Vec<Property>>, Answer> {
    let Some(select) = call.option("$select") else { return Ok(None) };
    let mut properties = Vec::new();
    for name in select.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let property = Property::named(name).ok_or_else(|| {
            ids.bad_request(&format!(
                "Parsing OData Select and Expand failed: Could not find a property named '{name}' on type \
                 'microsoft.management.services.api.managedDevice'."
            ))
        })?;
        properties.push(property);
    }
    Ok(Some(properties))
}

pub fn list(world: &World, call: &Call, ids: &Ids, caller: &Caller, user: Option<&str>) -> Answer {
    if let Some(answer) = refused(ids, caller) {
        return answer;
    }
    match page(world, call, ids, caller, user) {
        Ok(answer) | Err(answer) => answer,
    }
}

fn page(
    world: &World,
    call: &Call,
    ids: &Ids,
    caller: &Caller,
    user: Option<&str>,
) -> Result<Answer, Answer> {
    let settings = world.settings();
    let select = selected(call, ids)?;
    let top = match call.option("$top").map(str::parse) {
        None => settings.managed_devices_page,
        Some(Ok(top)) if top > 0 => top,
        Some(_) => return Err(ids.bad_request("The value for OData query '$top' is invalid.")),
    };
    let top = top.clamp(1, PAGE_MAX);
    let filter = match call.option("$filter") {
        None => None,
        Some(text) => match Filter::parse(text) {
            Some(filter) => Some(filter.keep(&supported).0),
            None => return Err(ids.bad_request("Invalid filter clause")),
        },
    };
    let position = match call.option("$skiptoken") {
        None => Position { n: 0, p: 1, l: None },
        Some(token) => {
            let lifetime = Duration::seconds(i64::from(settings.skip_token_lifetime_seconds));
            open(world, KIND, caller.tenant.id, token, lifetime).map_err(|error| match error {
                TokenError::Invalid => ids.bad_request("The $skiptoken is invalid."),
                TokenError::Expired => ids.bad_request("The $skiptoken has expired."),
            })?
        }
    };

    let state = caller.tenant.read();
    let fleet = &state.fleet;
    let now = world.clock.fleet();
    let mut body = Body::new(select.as_deref(), settings.list_ethernet_mac);
    let mut next = position.n;
    let empty = settings.empty_page_every > 0 && position.p.is_multiple_of(settings.empty_page_every);
    let accepts = |device: &Device<'_>| {
        device.in_intune()
            && user.is_none_or(|user| {
                device.text(Property::UserId).eq_ignore_ascii_case(user)
                    || device.text(Property::UserPrincipalName).eq_ignore_ascii_case(user)
            })
            && filter.as_ref().is_none_or(|filter| {
                filter.accepts(&|name| {
                    Property::named(name).map_or(Scalar::Null, |property| device.get(property))
                })
            })
    };
    if let Some(last) = position.l.filter(|_| settings.repeat_across_pages && !empty) {
        let device = fleet.device(last, now);
        if device.in_intune() {
            body.push(&device);
        }
    }
    let mut last = position.l;
    if let Some(id) = filter.as_ref().and_then(|filter| filter.required(Property::AzureAdDeviceId.name())) {
        // The one filter that sync asks for device by device: found without looking at the rest.
        if let Some(device) = fleet.index_of_entra_device(id).map(|index| fleet.device(index, now))
            && accepts(&device)
        {
            body.push(&device);
        }
        next = fleet.len();
    } else if !empty {
        for device in fleet.devices(position.n, now).take(SCANNED_MAX) {
            if body.count >= top {
                break;
            }
            next = device.index + 1;
            if accepts(&device) {
                last = Some(device.index);
                body.push(&device);
            }
        }
        // No nextLink when nothing is left but removed devices.
        if body.count >= top && !fleet.devices(next, now).take(SCANNED_MAX).any(|device| accepts(&device)) {
            next = fleet.len().max(next);
        }
    }
    let collection = user.map_or_else(
        || "/deviceManagement/managedDevices".to_owned(),
        |user| format!("/users/{user}/managedDevices"),
    );
    let link = (next < fleet.len()).then(|| {
        let token = seal(world, KIND, caller.tenant.id, Position { n: next, p: position.p + 1, l: last });
        let repeated: Vec<_> = call
            .query
            .iter()
            .filter(|(name, _)| !name.eq_ignore_ascii_case("$skiptoken"))
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        link(world, &collection, &repeated, ("$skiptoken", &token))
    });
    let context =
        collection.trim_start_matches('/').replace(&format!("users/{}", user.unwrap_or_default()), "users");
    Ok(Answer::ok(body.finish(&format!("{}/v1.0/$metadata#{context}", world.public_url), link.as_deref())))
}

pub fn get(world: &World, call: &Call, ids: &Ids, caller: &Caller, id: &str) -> Answer {
    if let Some(answer) = refused(ids, caller) {
        return answer;
    }
    let select = match selected(call, ids) {
        Ok(select) => select,
        Err(answer) => return answer,
    };
    let state = caller.tenant.read();
    let now = world.clock.fleet();
    let device = state.fleet.index_of(id).map(|index| state.fleet.device(index, now));
    let Some(device) = device.filter(Device::in_intune) else {
        return ids.intune_error(
            StatusCode::NOT_FOUND,
            "ResourceNotFound",
            &format!("The device with id {id} was not found."),
        );
    };
    let mut context = format!("{}/v1.0/$metadata#deviceManagement/managedDevices", world.public_url);
    if let Some(select) = call.option("$select") {
        context = format!("{context}({select})");
    }
    let mut body = Vec::with_capacity(2_500);
    body.extend_from_slice(b"{\"@odata.context\":");
    text(&mut body, &format!("{context}/$entity"));
    body.push(b',');
    let chosen = select.as_deref();
    members(&mut body, &device, chosen, View { list: false, ethernet: true });
    body.push(b'}');
    Answer::ok(body)
}

/// All properties of a device, as the single GET writes them.
#[must_use]
pub fn whole(device: &Device<'_>) -> serde_json::Map<String, serde_json::Value> {
    let mut body = vec![b'{'];
    members(&mut body, device, Some(Property::ALL), View { list: false, ethernet: true });
    body.push(b'}');
    serde_json::from_slice(&body).unwrap_or_default()
}

#[derive(Debug, Clone, Copy)]
struct View {
    list: bool,
    /// Whether LIST shows the Ethernet address where it is selected.
    ethernet: bool,
}

/// A LIST answer in the making. `@odata.context` and the link go in front at the end, as the service has them.
struct Body<'a> {
    values: Vec<u8>,
    count: usize,
    select: Option<&'a [Property]>,
    view: View,
}

impl<'a> Body<'a> {
    const fn new(select: Option<&'a [Property]>, list_ethernet_mac: bool) -> Self {
        let ethernet = list_ethernet_mac && select.is_some();
        Self { values: Vec::new(), count: 0, select, view: View { list: true, ethernet } }
    }

    fn push(&mut self, device: &Device<'_>) {
        if self.count > 0 {
            self.values.push(b',');
        }
        self.count += 1;
        self.values.push(b'{');
        members(&mut self.values, device, self.select, self.view);
        self.values.push(b'}');
    }

    fn finish(self, context: &str, next: Option<&str>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.values.len() + 512);
        body.extend_from_slice(b"{\"@odata.context\":");
        text(&mut body, context);
        // The number of items in this page, sent without being asked.
        body.extend_from_slice(format!(",\"@odata.count\":{}", self.count).as_bytes());
        if let Some(next) = next {
            body.extend_from_slice(b",\"@odata.nextLink\":");
            text(&mut body, next);
        }
        body.extend_from_slice(b",\"value\":[");
        body.extend(self.values);
        body.extend_from_slice(b"]}");
        body
    }
}

fn members(out: &mut Vec<u8>, device: &Device<'_>, select: Option<&[Property]>, view: View) {
    let mut first = true;
    for &property in Property::ALL {
        let wanted = match select {
            Some(select) => select.contains(&property),
            None => !property.only_when_selected(),
        };
        if !wanted {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        out.push(b'"');
        out.extend_from_slice(property.name().as_bytes());
        out.extend_from_slice(b"\":");
        scalar(out, property, device, view);
    }
}

fn scalar(out: &mut Vec<u8>, property: Property, device: &Device<'_>, view: View) {
    let shown = view.ethernet && property == Property::EthernetMacAddress;
    let value = match property.hidden_in_list() {
        Some(hidden) if view.list && !shown => hidden,
        _ => device.get(property),
    };
    match value {
        // Missing texts are "" in LIST; these four are null in the single GET, as recorded there.
        Scalar::Text(value)
            if value.is_empty()
                && !view.list
                && matches!(
                    property,
                    Property::Imei | Property::Meid | Property::PhoneNumber | Property::SubscriberCarrier
                ) =>
        {
            out.extend_from_slice(b"null");
        }
        Scalar::Null if view.list && property.is_empty_text_in_list() => out.extend_from_slice(b"\"\""),
        Scalar::Null => out.extend_from_slice(b"null"),
        Scalar::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
        Scalar::Int(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Scalar::Text(value) => text(out, &value),
        Scalar::Time(at) => {
            let precision = if view.list { Precision::Seconds } else { Precision::Ticks };
            text(out, &timestamp(at, precision));
        }
        Scalar::Json(value) => out.extend_from_slice(value.to_string().as_bytes()),
    }
}

fn text(out: &mut Vec<u8>, value: &str) {
    // Writing into a Vec cannot fail, and a text always serializes.
    let _ = serde_json::to_writer(out, value);
}
