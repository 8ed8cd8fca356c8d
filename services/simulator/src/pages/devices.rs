//! A tenant's page: consent, devices, and what changed last.

use std::sync::Arc;

use askama::Template;
use askama_web::WebTemplate;
use axum::{
    extract::{Form, Path, Query, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Map, json};

use super::{Badge, Head, consent_badge, encoded, not_found, see_other};
use crate::{
    control::{
        self,
        consent::{Kind, apply},
        devices::search,
    },
    fleet::{Precision, Property, timestamp, transitions::Cause},
    world::World,
};

const DEVICES_PER_PAGE: usize = 50;
const TRANSITIONS_SHOWN: usize = 12;
/// The states that the filter offers.
const STATES: [&str; 7] =
    ["compliant", "noncompliant", "inGracePeriod", "unknown", "error", "conflict", "configManager"];

struct Row {
    id: String,
    name: String,
    system: String,
    user: String,
    serial: String,
    mac: String,
    state: String,
    kind: &'static str,
    last_sync: String,
    grace: Option<String>,
}

struct Change {
    at: String,
    device: String,
    from: String,
    to: String,
    cause: String,
}

#[derive(Template, WebTemplate)]
#[template(path = "tenant.html")]
struct TenantPage<'a> {
    head: Head,
    id: String,
    name: String,
    domain: String,
    badge: Badge,
    licensed: bool,
    blocked: bool,
    roles: Vec<String>,
    people: Vec<(String, String, &'static str)>,
    total: u64,
    search: &'a str,
    state: &'a str,
    states: [&'static str; 7],
    from: u64,
    rows: Vec<Row>,
    next: Option<u64>,
    /// The query of this page, to come back to after a flip.
    here: String,
    changes: Vec<Change>,
}

#[derive(Debug, Deserialize)]
pub struct PageQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    state: String,
    #[serde(default)]
    from: u64,
}

const fn colour(state: &str) -> &'static str {
    match state.as_bytes() {
        b"compliant" => "good",
        b"noncompliant" | b"error" | b"conflict" => "bad",
        b"inGracePeriod" => "warn",
        _ => "plain",
    }
}

pub async fn tenant(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Query(query): Query<PageQuery>,
) -> Response {
    let head = Head::new(&world, "Devices");
    let Ok(tenant) = control::tenant(&world, &key) else { return not_found("such tenant") };
    let badge = consent_badge(&world, &tenant);
    let changes = world
        .transitions()
        .latest(tenant.id)
        .take(TRANSITIONS_SHOWN)
        .map(|change| Change {
            at: timestamp(change.at, Precision::Seconds),
            device: change.device_name.clone(),
            from: change.from.clone(),
            to: change.to.clone(),
            cause: json!(change.cause).as_str().unwrap_or_default().to_owned(),
        })
        .collect();
    let now = world.clock.fleet();
    let state = tenant.read();
    let found = search(&state.fleet, now, query.search.trim(), &query.state, query.from, DEVICES_PER_PAGE);
    let rows = found
        .numbers
        .iter()
        .map(|number| {
            let device = state.fleet.device(*number, now);
            let compliance = device.text(Property::ComplianceState);
            let time = |property| device.time(property).map(|at| timestamp(at, Precision::Seconds));
            Row {
                id: device.id(),
                name: device.text(Property::DeviceName),
                system: format!(
                    "{} {}",
                    device.text(Property::OperatingSystem),
                    device.text(Property::OsVersion)
                ),
                user: device.text(Property::UserPrincipalName),
                serial: device.text(Property::SerialNumber),
                mac: device.text(Property::WiFiMacAddress),
                kind: colour(&compliance),
                last_sync: time(Property::LastSyncDateTime).unwrap_or_default(),
                grace: (compliance == "inGracePeriod")
                    .then(|| time(Property::ComplianceGracePeriodExpirationDateTime))
                    .flatten(),
                state: compliance,
            }
        })
        .collect();
    let roles = state
        .principals
        .get(&world.config.client_id.to_lowercase())
        .map(|principal| principal.roles.keys().cloned().collect())
        .unwrap_or_default();
    TenantPage {
        head: Head { title: tenant.name.clone(), ..head },
        id: tenant.id.to_string(),
        name: tenant.name.clone(),
        domain: tenant.domain.clone(),
        badge,
        licensed: state.licensed,
        blocked: state.blocked_by_conditional_access,
        roles,
        people: state
            .users
            .iter()
            .map(|user| (user.display_name.clone(), user.user_principal_name.clone(), user.role.title()))
            .collect(),
        total: state.fleet.managed(),
        search: &query.search,
        state: &query.state,
        states: STATES,
        from: query.from,
        rows,
        next: found.next,
        here: format!("search={}&state={}&from={}", encoded(&query.search), query.state, query.from),
        changes,
    }
    .into_response()
}

#[derive(Debug, Deserialize)]
pub struct FlipForm {
    state: String,
    #[serde(default)]
    back: String,
}

pub async fn flip(
    State(world): State<Arc<World>>,
    Path((key, id)): Path<(String, String)>,
    Form(form): Form<FlipForm>,
) -> Response {
    let Ok(tenant) = control::tenant(&world, &key) else { return not_found("such tenant") };
    let index = tenant.read().fleet.find(&id);
    let Some(index) = index else { return not_found("such device") };
    let mut patch = Map::new();
    patch.insert(Property::ComplianceState.name().to_owned(), json!(form.state));
    let _ = world.patch_device(&tenant, index, patch, Cause::Page);
    see_other(&format!("/_sim/tenants/{}?{}", tenant.id, form.back))
}

#[derive(Debug, Deserialize)]
pub struct ConsentForm {
    action: String,
}

pub async fn consent(
    State(world): State<Arc<World>>,
    Path(key): Path<String>,
    Form(form): Form<ConsentForm>,
) -> Response {
    let Ok(tenant) = control::tenant(&world, &key) else { return not_found("such tenant") };
    let client_id = &world.config.client_id;
    let revoke = |kind| apply(&world, &tenant, client_id, kind, None);
    match form.action.as_str() {
        "grant" => {
            world.consent(&tenant, client_id, None, world.settings().consent_propagation_seconds);
        }
        "delete" => revoke(Kind::Delete),
        "disable" => revoke(Kind::Disable),
        "roles" => revoke(Kind::Roles),
        "licence" => revoke(Kind::Licence),
        "license" => tenant.write().licensed = true,
        _ => {}
    }
    world.touch();
    see_other(&format!("/_sim/tenants/{}", tenant.id))
}
