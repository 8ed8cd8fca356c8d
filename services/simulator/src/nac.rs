//! Intune's Compliance Retrieval service ("NAC 2.0", version 3 of the ISE interface): XML by MAC address or by
//! Intune device id, with compliance, management state and both keys as its only properties.
//!
//! Exact forms as ISE calls it (vbobrov/iseutils, intune.py). What it answers for an unknown device is not
//! documented; here it is `register_status` false.

use std::sync::Arc;

use axum::{
    Router,
    extract::{ConnectInfo, Query, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;

use crate::{
    connection::Scissors,
    directory::roles::{DEVICE_COMPLIANCE, INTUNE_API_RESOURCE},
    faults::{Effect, Target},
    fleet::{Device, Property},
    graph::{Caller, caller},
    requests::Request,
    transport,
    world::World,
};

/// Where the service lives, on Intune's own hosts; here on the one that there is.
pub const PATH: &str = "/TrafficGateway/TrafficRoutingService/ResourceAccess/ComplianceRetrievalService";
const NAMESPACE: &str = "http://schemas.datacontract.org/2004/07/Microsoft.Intune.ResourceAccess.ComplianceRetrievalService.Model";
/// How many devices a search by MAC address looks at.
const SCANNED_MAX: usize = 1_000_000;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route(&format!("{PATH}/ciscoise/mdminfo/"), get(info))
        .route(&format!("{PATH}/cisco/devices/"), get(devices))
}

async fn info(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = authorized(&world, &headers) {
        return refusal.into_response();
    }
    xml(&format!(
        "<name>mdminfo</name><api_version>3</api_version><api_path>{PATH}/cisco</api_path>\
         <redirect_url>https://portal.manage.microsoft.com/networkaccesscontrol/index</redirect_url>\
         <query_max_size>100</query_max_size><messaging_support>false</messaging_support>\
         <vendor>Microsoft</vendor><product_name>Microsoft Intune</product_name>\
         <product_version>5.0</product_version>"
    ))
}

fn authorized(world: &World, headers: &HeaderMap) -> Result<Caller, (StatusCode, &'static str)> {
    world.settle();
    let audience = format!("{INTUNE_API_RESOURCE}/");
    let caller = caller(world, headers, &audience).map_err(|message| (StatusCode::UNAUTHORIZED, message))?;
    if !caller.has_any(&[DEVICE_COMPLIANCE]) {
        return Err((StatusCode::FORBIDDEN, "The token lacks the role get_device_compliance."));
    }
    if !caller.tenant.read().licensed {
        return Err((StatusCode::FORBIDDEN, "The tenant has no Intune licence."));
    }
    Ok(caller)
}

#[derive(Debug, Deserialize)]
struct DeviceQuery {
    #[serde(default)]
    querycriteria: String,
    #[serde(default)]
    value: String,
    /// Which key a list of noncompliant devices names them by.
    #[serde(default)]
    deviceidentifier: String,
}

async fn devices(
    State(world): State<Arc<World>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    Query(query): Query<DeviceQuery>,
    headers: HeaderMap,
) -> Response {
    let caller = match authorized(&world, &headers) {
        Ok(caller) => caller,
        Err(refusal) => return refusal.into_response(),
    };
    let path = format!("{PATH}/cisco/devices/");
    let endpoint = "nac.devices";
    let target = Target {
        endpoint,
        path: &path,
        tenant_id: Some(caller.tenant.id),
        client_id: Some(&caller.client_id),
    };
    let effect = world.faults().draw(target);
    let response = match &effect {
        Some(Effect::Status { status, .. }) => {
            StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR).into_response()
        }
        _ => answer(&world, &caller, &query),
    };
    world.requests().push(Request {
        sequence: 0,
        at: world.clock.fleet(),
        endpoint: endpoint.to_owned(),
        method: "GET".to_owned(),
        path: format!("{path}?querycriteria={}&value={}", query.querycriteria, query.value),
        tenant_id: Some(caller.tenant.id),
        client_id: Some(caller.client_id),
        status: response.status().as_u16(),
        in_batch: false,
        client_request_id: None,
    });
    transport::deliver(response, effect, world.settings().latency_ms, &scissors).await
}

fn answer(world: &World, caller: &Caller, query: &DeviceQuery) -> Response {
    let now = world.clock.fleet();
    let state = caller.tenant.read();
    let fleet = &state.fleet;
    let managed = |device: &Device<'_>| device.in_intune();
    match query.querycriteria.as_str() {
        "guid" => {
            let found = fleet.index_of(&query.value).map(|index| fleet.device(index, now)).filter(managed);
            one(&query.value, found.as_ref(), "guid")
        }
        "macaddress" => {
            let has = |device: &Device<'_>| {
                managed(device)
                    && [Property::WiFiMacAddress, Property::EthernetMacAddress]
                        .into_iter()
                        .any(|property| device.text(property).eq_ignore_ascii_case(&query.value))
            };
            let found = fleet.devices(0, now).take(SCANNED_MAX).find(has);
            one(&query.value, found.as_ref(), "macaddress")
        }
        "compliance" if query.value == "false" => {
            // Intune asks for at most one such list in four hours, and answers 503 to more.
            if !world.throttle().may_list(&caller.client_id, caller.tenant.id, now) {
                return StatusCode::SERVICE_UNAVAILABLE.into_response();
            }
            let key = if query.deviceidentifier == "macaddress" { "macaddress" } else { "guid" };
            let list: String = fleet
                .devices(0, now)
                .filter(|device| managed(device) && !compliant(device))
                .map(|device| element(&identifier(&device, key), Some(&device), key))
                .collect();
            xml(&format!(
                "<name>attributes</name><api_version>3</api_version><paging_info>0</paging_info>\
                 <deviceList>{list}</deviceList>"
            ))
        }
        _ => StatusCode::BAD_REQUEST.into_response(),
    }
}

/// Grace counts as compliant, as in Conditional Access.
fn compliant(device: &Device<'_>) -> bool {
    device.entra_compliance() == Some(true)
}

fn identifier(device: &Device<'_>, key: &str) -> String {
    if key == "macaddress" { device.text(Property::WiFiMacAddress) } else { device.id() }
}

fn one(value: &str, device: Option<&Device<'_>>, key: &str) -> Response {
    xml(&format!(
        "<name>attributes</name><api_version>3</api_version><deviceList>{}</deviceList>",
        element(value, device, key)
    ))
}

/// `Attributes` and `Compliance` are capitalised in this version, unlike in the one before.
fn element(value: &str, device: Option<&Device<'_>>, key: &str) -> String {
    let id: String = value.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let attributes = match device {
        Some(device) => format!(
            "<guid>{}</guid><register_status>true</register_status><Compliance><status>{}</status></Compliance>",
            device.id(),
            compliant(device)
        ),
        None => "<register_status>false</register_status>".to_owned(),
    };
    format!("<device><{key}>{id}</{key}><Attributes>{attributes}</Attributes></device>")
}

fn xml(inner: &str) -> Response {
    let body = format!("<ise_api xmlns=\"{NAMESPACE}\">{inner}</ise_api>");
    ([(header::CONTENT_TYPE, "application/xml; charset=utf-8")], body).into_response()
}
