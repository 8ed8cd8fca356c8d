//! A Graph that does as it is told: tokens, pages of managed devices, single devices.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

/// The next answers, whatever is asked.
#[derive(Clone, Debug)]
pub enum Fault {
    Throttle(Option<u32>),
    Status(u16),
    /// The token endpoint refuses with this AADSTS code.
    Token(u32, u16, &'static str),
}

#[derive(Default)]
pub struct Tenant {
    pub devices: BTreeMap<Uuid, Value>,
    /// In Intune, and yet on no page.
    pub unlisted: Vec<Uuid>,
    /// What was asked for: `page 0`, `page 1000`, `device <id>`.
    pub asked: Vec<String>,
    pub faults: VecDeque<Fault>,
    /// Pages from this offset on wait until the gate opens.
    pub gate: Option<(usize, Arc<Gate>)>,
    /// Pages that come again at the end of each list.
    pub repeat_first: bool,
}

#[derive(Default)]
pub struct Gate {
    pub reached: Notify,
    pub open: Notify,
}

#[derive(Clone, Default)]
pub struct Graph {
    tenants: Arc<Mutex<HashMap<Uuid, Tenant>>>,
    pub base: String,
}

impl Graph {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let graph = Self { tenants: Arc::default(), base };
        let router = Router::new()
            .route("/{tid}/oauth2/v2.0/token", post(token))
            .route("/v1.0/deviceManagement/managedDevices", get(list))
            .route("/v1.0/deviceManagement/managedDevices/{id}", get(single))
            .with_state(graph.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        graph
    }

    pub fn tenants(&self) -> MutexGuard<'_, HashMap<Uuid, Tenant>> {
        self.tenants.lock().unwrap()
    }

    pub fn tenant<T>(&self, tid: Uuid, with: impl FnOnce(&mut Tenant) -> T) -> T {
        with(self.tenants().entry(tid).or_default())
    }

    /// Sets a device, as Graph's LIST has it.
    pub fn put(&self, tid: Uuid, n: u32, state: &str) -> Uuid {
        self.put_with(tid, n, state, &json!({}))
    }

    pub fn put_with(&self, tid: Uuid, n: u32, state: &str, more: &Value) -> Uuid {
        let id = device_id(tid, n);
        let mut device = json!({
            "id": id,
            "deviceName": format!("LAPTOP-{n}"),
            "serialNumber": format!("SN{n:06}"),
            "azureADDeviceId": Uuid::from_u128(id.as_u128() ^ 0xffff),
            "wiFiMacAddress": format!("D46E0E{n:06X}"),
            "ethernetMacAddress": null,
            "complianceState": state,
            "complianceGracePeriodExpirationDateTime": "9999-12-31T23:59:59Z",
            "lastSyncDateTime": "2026-11-20T08:00:00Z",
            "enrolledDateTime": "2026-01-01T00:00:00Z",
            "operatingSystem": "Windows",
            "osVersion": "10.0.22631.3737",
            "managedDeviceOwnerType": "company",
            "isEncrypted": true,
            "jailBroken": "Unknown",
            "partnerReportedThreatState": "unknown",
            "deviceCategoryDisplayName": "",
            "manufacturer": "Contoso",
            "model": "Book 3",
            "userPrincipalName": "u@contoso.example",
        });
        device.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tenant(tid, |tenant| tenant.devices.insert(id, device));
        id
    }

    pub fn fault(&self, tid: Uuid, fault: Fault) {
        self.tenant(tid, |tenant| tenant.faults.push_back(fault));
    }

    pub fn asked(&self, tid: Uuid) -> Vec<String> {
        self.tenant(tid, |tenant| std::mem::take(&mut tenant.asked))
    }
}

pub fn device_id(tid: Uuid, n: u32) -> Uuid {
    Uuid::from_u128((tid.as_u128() << 32) ^ u128::from(n) ^ (0xd << 124))
}

fn refusal(fault: &Fault) -> Response {
    match fault {
        Fault::Throttle(retry_after) => {
            let body = json!({"error": {"code": "TooManyRequests", "message": "slow down"}});
            let mut response = (StatusCode::TOO_MANY_REQUESTS, axum::Json(body)).into_response();
            if let Some(seconds) = retry_after {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            response
        }
        Fault::Status(status) => {
            let body = json!({"error": {"code": "Trouble", "message": format!("status {status}")}});
            (StatusCode::from_u16(*status).unwrap(), axum::Json(body)).into_response()
        }
        Fault::Token(code, status, error) => {
            let body = json!({"error": error, "error_description": format!("AADSTS{code}: refused."),
                              "error_codes": [code]});
            (StatusCode::from_u16(*status).unwrap(), axum::Json(body)).into_response()
        }
    }
}

async fn token(State(graph): State<Graph>, Path(tid): Path<Uuid>) -> Response {
    let refused = graph.tenant(tid, |tenant| match tenant.faults.front() {
        Some(Fault::Token(..)) => tenant.faults.pop_front(),
        _ => None,
    });
    match refused {
        Some(fault) => refusal(&fault),
        None => {
            let body = json!({"token_type": "Bearer", "expires_in": 86_400, "access_token": tid.to_string()});
            axum::Json(body).into_response()
        }
    }
}

fn tid_of(headers: &axum::http::HeaderMap) -> Uuid {
    let token = headers[header::AUTHORIZATION].to_str().unwrap();
    token.strip_prefix("Bearer ").unwrap().parse().unwrap()
}

async fn list(
    State(graph): State<Graph>,
    headers: axum::http::HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let tid = tid_of(&headers);
    let number =
        |name: &str, otherwise| query.get(name).map_or(otherwise, |text| text.parse::<usize>().unwrap());
    let (offset, top) = (number("$skiptoken", 0), number("$top", 1000));
    let gate = graph.tenant(tid, |tenant| tenant.gate.clone().filter(|(from, _)| offset >= *from));
    if let Some((_, gate)) = gate {
        gate.reached.notify_one();
        gate.open.notified().await;
    }
    graph.tenant(tid, |tenant| {
        tenant.asked.push(format!("page {offset}"));
        if let Some(fault) = tenant.faults.pop_front() {
            return refusal(&fault);
        }
        let listed = tenant.devices.iter().filter(|(id, _)| !tenant.unlisted.contains(id));
        let mut value: Vec<&Value> = listed.map(|(_, device)| device).skip(offset).take(top).collect();
        let more = tenant.devices.len() - tenant.unlisted.len() > offset + top;
        if tenant.repeat_first && !more {
            value.extend(tenant.devices.values().next());
        }
        let mut page = json!({"@odata.count": value.len(), "value": value});
        if more {
            let next = format!(
                "{}/v1.0/deviceManagement/managedDevices?$top={top}&$skiptoken={}",
                graph.base,
                offset + top
            );
            page["@odata.nextLink"] = json!(next);
        }
        axum::Json(page).into_response()
    })
}

async fn single(
    State(graph): State<Graph>,
    headers: axum::http::HeaderMap,
    Path(id): Path<Uuid>,
) -> Response {
    let tid = tid_of(&headers);
    graph.tenant(tid, |tenant| {
        tenant.asked.push(format!("device {id}"));
        match tenant.devices.get(&id) {
            Some(device) => {
                let mut device = device.clone();
                device["ethernetMacAddress"] = json!("001122334455");
                axum::Json(device).into_response()
            }
            None => {
                let body = json!({"error": {"code": "ResourceNotFound", "message": "{}"}});
                (StatusCode::NOT_FOUND, axum::Json(body)).into_response()
            }
        }
    })
}
