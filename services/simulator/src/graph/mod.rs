//! Microsoft Graph v1.0, as far as Gatehouse and its tests call it. A request and an item of `$batch` take the
//! same way: [`dispatch`].

mod batch;
mod delta;
mod entra_devices;
pub mod error;
mod filter;
pub mod managed_devices;
mod organization;
mod paging;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, OriginalUri, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode},
    response::Response,
    routing::any,
};
use serde_json::Value;
use uuid::Uuid;

use self::error::{Ids, new_ids};
use crate::{
    connection::Scissors,
    directory::{Tenant, roles::GRAPH_RESOURCE},
    faults::{Effect, Target},
    requests::Request as LoggedRequest,
    throttle::Service,
    transport,
    world::World,
};

/// One call, by itself or out of a batch.
#[derive(Debug)]
pub struct Call {
    pub method: Method,
    /// Below `/v1.0`, percent-decoded.
    pub path: String,
    pub query: Vec<(String, String)>,
    pub headers: HeaderMap,
    pub body: bytes::Bytes,
    pub in_batch: bool,
}

impl Call {
    /// `url` is relative to `/v1.0`.
    #[must_use]
    pub fn new(method: Method, url: &str, headers: HeaderMap, body: bytes::Bytes, in_batch: bool) -> Self {
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned();
        let query = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { method, path, query, headers, body, in_batch }
    }

    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What goes back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Vec<(&'static str, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    #[must_use]
    pub fn json(status: StatusCode, body: &Value) -> Self {
        Self { status, headers: Vec::new(), body: body.to_string().into_bytes() }
    }

    #[must_use]
    pub fn ok(body: Vec<u8>) -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body }
    }

    #[must_use]
    pub fn with_header(mut self, name: &'static str, value: String) -> Self {
        self.headers.push((name, value));
        self
    }

    fn into_response(self, ids: &Ids) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        let kind = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
        headers.insert("content-type", HeaderValue::from_static(kind));
        headers.insert("cache-control", HeaderValue::from_static("no-cache"));
        let request_id = ids.request_id.to_string();
        let client_request_id = ids.client_request_id.clone().unwrap_or_else(|| request_id.clone());
        let own = [("request-id", request_id), ("client-request-id", client_request_id)];
        for (name, value) in self.headers.into_iter().chain(own) {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// Who calls: an application in a tenant, with the roles of its token.
#[derive(Debug)]
pub struct Caller {
    pub tenant: Arc<Tenant>,
    pub client_id: String,
    roles: Vec<String>,
}

impl Caller {
    #[must_use]
    pub fn has_any(&self, roles: &[&str]) -> bool {
        self.roles.iter().any(|role| roles.contains(&role.as_str()))
    }
}

pub fn routes() -> Router<Arc<World>> {
    Router::new().route("/v1.0/{*path}", any(serve))
}

async fn serve(
    State(world): State<Arc<World>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    OriginalUri(uri): OriginalUri,
    method: Method,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Response {
    let url = uri.path_and_query().map_or("/", |path| path.as_str()).trim_start_matches("/v1.0");
    let call = Call::new(method, url, headers, body, false);
    let ids = new_ids(world.clock.fleet(), call.header("client-request-id").map(str::to_owned));
    let (answer, effect) = dispatch(&world, &call, &ids);
    let latency = world.settings().latency_ms;
    transport::deliver(answer.into_response(&ids), effect, latency, &scissors).await
}

/// Answers one call. What its answer has to suffer on the wire comes along.
fn dispatch(world: &World, call: &Call, ids: &Ids) -> (Answer, Option<Effect>) {
    world.settle();
    let endpoint = endpoint(call);
    let caller = authenticate(world, call, ids);
    let (tenant_id, client_id) = match &caller {
        Ok(caller) => (Some(caller.tenant.id), Some(caller.client_id.as_str())),
        Err(_) => (None, None),
    };
    let target = Target { endpoint: endpoint.name(), path: &call.path, tenant_id, client_id };
    let effect = world.faults().draw(target);
    let client = client_id.map(str::to_owned);
    let answer = match &effect {
        Some(Effect::Status { status, retry_after, body, .. }) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            let mut answer = ids.faulty(status);
            if let Some(body) = body {
                answer.body = body.clone().into_bytes();
            }
            match retry_after {
                Some(retry_after) => answer.with_header("Retry-After", retry_after.header()),
                None => answer,
            }
        }
        Some(Effect::Reset) => Answer::ok(Vec::new()),
        _ => match caller {
            Ok(caller) => handle(world, call, ids, &endpoint, &caller),
            Err(answer) => answer,
        },
    };
    log(world, call, endpoint.name(), tenant_id, client, answer.status.as_u16());
    (answer, effect)
}

fn log(
    world: &World,
    call: &Call,
    endpoint: &str,
    tenant: Option<Uuid>,
    client: Option<String>,
    status: u16,
) {
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let joint = if query.is_empty() { "" } else { "?" };
    world.requests().push(LoggedRequest {
        sequence: 0,
        at: world.clock.fleet(),
        endpoint: endpoint.to_owned(),
        method: call.method.to_string(),
        path: format!("/v1.0{}{joint}{}", call.path, query.join("&")),
        tenant_id: tenant,
        client_id: client,
        status,
        in_batch: call.in_batch,
        client_request_id: call.header("client-request-id").map(str::to_owned),
    });
}

/// What a call is for. Ids are as the caller wrote them.
#[derive(Debug, Clone, PartialEq)]
enum Endpoint {
    ManagedDevices,
    ManagedDevice(String),
    UserManagedDevices(String),
    Devices,
    Device(String),
    DeviceByDeviceId(String),
    DevicesDelta,
    Organization,
    User(String),
    /// The service endpoints of Intune in this tenant: where its network access control answers.
    IntuneEndpoints,
    Batch,
    Unknown,
}

impl Endpoint {
    const fn name(&self) -> &'static str {
        match self {
            Self::ManagedDevices => "managedDevices.list",
            Self::ManagedDevice(_) => "managedDevices.get",
            Self::UserManagedDevices(_) => "users.managedDevices",
            Self::Devices => "devices.list",
            Self::Device(_) | Self::DeviceByDeviceId(_) => "devices.get",
            Self::DevicesDelta => "devices.delta",
            Self::Organization => "organization",
            Self::User(_) => "users.get",
            Self::IntuneEndpoints => "servicePrincipals.endpoints",
            Self::Batch => "batch",
            Self::Unknown => "unknown",
        }
    }
}

fn endpoint(call: &Call) -> Endpoint {
    let path = call.path.trim_matches('/');
    // OData knows both /collection/{id} and /collection('{id}').
    let path = path.replace("('", "/").replace("')", "");
    let segments: Vec<_> = path.split('/').collect();
    let method = &call.method;
    match segments.as_slice() {
        ["$batch"] if method == Method::POST => Endpoint::Batch,
        _ if method != Method::GET => Endpoint::Unknown,
        ["deviceManagement", "managedDevices"] => Endpoint::ManagedDevices,
        ["deviceManagement", "managedDevices", id] => Endpoint::ManagedDevice((*id).to_owned()),
        ["users", id, "managedDevices"] => Endpoint::UserManagedDevices((*id).to_owned()),
        ["users", id] => Endpoint::User((*id).to_owned()),
        ["servicePrincipals", "appId=0000000a-0000-0000-c000-000000000000", "endpoints"] => {
            Endpoint::IntuneEndpoints
        }
        ["devices"] => Endpoint::Devices,
        ["devices", "delta" | "delta()" | "microsoft.graph.delta()"] => Endpoint::DevicesDelta,
        ["devices", id] => Endpoint::Device((*id).to_owned()),
        ["organization"] => Endpoint::Organization,
        [one] => match one.strip_prefix("devices(deviceId='") {
            Some(id) => Endpoint::DeviceByDeviceId(id.to_owned()),
            None => Endpoint::Unknown,
        },
        _ => Endpoint::Unknown,
    }
}

fn authenticate(world: &World, call: &Call, ids: &Ids) -> Result<Caller, Answer> {
    caller(world, &call.headers, GRAPH_RESOURCE).map_err(|message| ids.unauthenticated(message))
}

/// Who a bearer token for `audience` stands for, or why it is refused.
pub fn caller(world: &World, headers: &HeaderMap, audience: &str) -> Result<Caller, &'static str> {
    let token = headers.get("authorization").and_then(|value| {
        let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    });
    let Some(token) = token.filter(|token| !token.is_empty()) else {
        return Err("Access token is empty.");
    };
    let claims = world.keys().verify(token).ok_or("Access token validation failure. Invalid signature.")?;
    if claims["aud"] != audience {
        return Err("Access token validation failure. Invalid audience.");
    }
    if claims["exp"].as_i64().is_none_or(|expires| expires <= world.clock.login().unix_timestamp()) {
        return Err("Lifetime validation failed, the token is expired.");
    }
    let tenant = claims["tid"]
        .as_str()
        .and_then(|id| Uuid::parse_str(id).ok())
        .and_then(|id| world.tenant(id))
        .ok_or("Access token validation failure. Tenant not found.")?;
    let client_id = claims["appid"].as_str().unwrap_or_default().to_owned();
    let generation = tenant
        .read()
        .principals
        .get(&client_id.to_lowercase())
        .map_or(0, |principal| principal.token_generation);
    if claims["sim_generation"].as_u64().unwrap_or(0) < u64::from(generation) {
        return Err(
            "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: \
                    TokenIssuedBeforeRevocationTimestamp",
        );
    }
    let roles = claims["roles"]
        .as_array()
        .map(|roles| roles.iter().filter_map(|role| role.as_str().map(str::to_owned)).collect())
        .unwrap_or_default();
    Ok(Caller { tenant, client_id, roles })
}

fn handle(world: &World, call: &Call, ids: &Ids, endpoint: &Endpoint, caller: &Caller) -> Answer {
    let (service, units) = match endpoint {
        Endpoint::Batch => return batch::batch(world, call, ids),
        Endpoint::ManagedDevices | Endpoint::ManagedDevice(_) | Endpoint::UserManagedDevices(_) => {
            (Service::Intune, 1.0)
        }
        _ => (Service::Directory, directory_units(call, endpoint)),
    };
    let settings = world.settings();
    let budget = match service {
        Service::Intune => settings.intune_budget,
        Service::Directory => settings.directory_budget,
    };
    let now = world.clock.fleet();
    let spent = world.throttle().spend(service, &caller.client_id, caller.tenant.id, units, budget, now);
    if let Some(seconds) = spent.retry_after {
        let answer = ids.throttled(settings.retry_after_header.then(|| seconds.to_string()));
        return match service {
            Service::Intune => answer,
            Service::Directory => answer
                .with_header(
                    "x-ms-throttle-scope",
                    format!("Tenant_Application/ReadWrite/{}/{}", caller.client_id, caller.tenant.id),
                )
                .with_header("x-ms-throttle-information", "ResourceUnitLimitExceeded".to_owned()),
        };
    }
    let answer = match endpoint {
        Endpoint::ManagedDevices => managed_devices::list(world, call, ids, caller, None),
        Endpoint::UserManagedDevices(user) => managed_devices::list(world, call, ids, caller, Some(user)),
        Endpoint::ManagedDevice(id) => managed_devices::get(world, call, ids, caller, id),
        Endpoint::Devices => entra_devices::list(world, call, ids, caller),
        Endpoint::Device(id) => entra_devices::get(world, call, ids, caller, id, false),
        Endpoint::DeviceByDeviceId(id) => entra_devices::get(world, call, ids, caller, id, true),
        Endpoint::DevicesDelta => delta::delta(world, call, ids, caller),
        Endpoint::Organization => organization::organization(world, ids, caller),
        Endpoint::User(id) => organization::user(world, ids, caller, id),
        Endpoint::IntuneEndpoints => organization::intune_endpoints(world, ids, caller),
        Endpoint::Batch | Endpoint::Unknown => ids.bad_request(&format!(
            "Resource not found for the segment '{}'.",
            call.path.trim_matches('/').split('/').next().unwrap_or_default()
        )),
    };
    if service == Service::Intune {
        return answer;
    }
    let answer = answer.with_header("x-ms-resource-unit", format!("{units:.0}"));
    if spent.used >= 0.8 {
        return answer.with_header("x-ms-throttle-limit-percentage", format!("{:.1}", spent.used));
    }
    answer
}

/// What a directory request costs: users 2, all else 1; one less for `$select` or a small page, one more for
/// `$expand`; at least one.
fn directory_units(call: &Call, endpoint: &Endpoint) -> f64 {
    let base = if matches!(endpoint, Endpoint::User(_)) { 2.0 } else { 1.0 };
    let select = if call.option("$select").is_some() { -1.0 } else { 0.0 };
    let expand = if call.option("$expand").is_some() { 1.0 } else { 0.0 };
    f64::max(base + select + expand, 1.0)
}
