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
    /// What the directory has told so far: `azureADDeviceId`s, in the order of their changes. A delta link is a place
    /// in it.
    pub told: Vec<Uuid>,
    /// Delta links before this place expired.
    pub delta_from: usize,
    /// `Device.Read.All` is missing.
    pub directory_forbidden: bool,
    /// The answer to single devices, in batches as well: a status, and how long to wait.
    pub odd: HashMap<Uuid, (u16, Option<u32>)>,
    /// In lists and batches it is not to be found, alone it is.
    pub shy: Vec<Uuid>,
    /// No request for data is answered at all.
    pub silent: bool,
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
            .route("/v1.0/$batch", post(batch))
            .route("/v1.0/devices/delta", get(delta))
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

    /// The directory tells of a device's change.
    pub fn tell(&self, tid: Uuid, n: u32) {
        self.tenant(tid, |tenant| tenant.told.push(entra_id(tid, n)));
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

pub fn entra_id(tid: Uuid, n: u32) -> Uuid {
    Uuid::from_u128(device_id(tid, n).as_u128() ^ 0xffff)
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

/// Nobody answers: the connection stays open.
async fn silence(graph: &Graph, tid: Uuid) {
    if graph.tenant(tid, |tenant| tenant.silent) {
        graph.tenant(tid, |tenant| tenant.asked.push("silence".to_owned()));
        std::future::pending::<()>().await;
    }
}

async fn list(
    State(graph): State<Graph>,
    headers: axum::http::HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let tid = tid_of(&headers);
    silence(&graph, tid).await;
    if let Some(filter) = query.get("$filter") {
        return graph.tenant(tid, |tenant| {
            tenant.asked.push(format!("filter {filter}"));
            match tenant.faults.pop_front() {
                Some(fault) => refusal(&fault),
                None => axum::Json(tenant.filtered(filter)).into_response(),
            }
        });
    }
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
    silence(&graph, tid).await;
    let gate = graph.tenant(tid, |tenant| tenant.gate.clone().filter(|(from, _)| *from == SINGLES));
    let answer = graph.tenant(tid, |tenant| {
        tenant.asked.push(format!("device {id}"));
        match tenant.faults.pop_front() {
            Some(fault) => Err(fault),
            None => Ok(tenant.one(id, false)),
        }
    });
    if let Some((_, gate)) = gate {
        gate.reached.notify_one();
        gate.open.notified().await;
    }
    match answer {
        Err(fault) => refusal(&fault),
        Ok((status, wait, body)) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), axum::Json(body)).into_response();
            if let Some(seconds) = wait {
                response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
            }
            response
        }
    }
}

/// Of a gate: single devices and batches wait, with what was true when they were asked for; so does delta.
pub const SINGLES: usize = usize::MAX;

impl Tenant {
    /// What a GET of one device answers: status, wait, body.
    fn one(&self, id: Uuid, in_batch: bool) -> (u16, Option<u32>, Value) {
        let error = |code: &str| json!({"error": {"code": code, "message": "{}"}});
        if let Some((status, wait)) = self.odd.get(&id) {
            return (*status, *wait, error("Trouble"));
        }
        match self.devices.get(&id).filter(|_| !(in_batch && self.shy.contains(&id))) {
            Some(device) => {
                let mut device = device.clone();
                device["ethernetMacAddress"] = json!("001122334455");
                device["udid"] = json!("UDID-1");
                (200, None, device)
            }
            None => (404, None, error("ResourceNotFound")),
        }
    }

    fn filtered(&self, filter: &str) -> Value {
        let (property, value) = filter.split_once(" eq ").unwrap();
        let value = value.trim_matches('\'').to_lowercase();
        let fits =
            |device: &&Value| device[property].as_str().is_some_and(|have| have.to_lowercase() == value);
        let found: Vec<&Value> = self.devices.values().filter(fits).collect();
        json!({"@odata.count": found.len(), "value": found})
    }
}

async fn batch(
    State(graph): State<Graph>,
    headers: axum::http::HeaderMap,
    axum::Json(body): axum::Json<Value>,
) -> Response {
    let tid = tid_of(&headers);
    silence(&graph, tid).await;
    let requests = body["requests"].as_array().unwrap();
    let gate = graph.tenant(tid, |tenant| tenant.gate.clone().filter(|(from, _)| *from == SINGLES));
    let answer = graph.tenant(tid, |tenant| {
        tenant.asked.push(format!("batch {}", requests.len()));
        if let Some(fault) = tenant.faults.pop_front() {
            return refusal(&fault);
        }
        let mut responses: Vec<Value> = requests
            .iter()
            .map(|request| {
                let url: url::Url =
                    format!("http://graph{}", request["url"].as_str().unwrap()).parse().unwrap();
                let id = url.path().rsplit('/').next().and_then(|last| last.parse::<Uuid>().ok());
                let filter = url.query_pairs().find(|(name, _)| name == "$filter");
                let (status, wait, body) = match (id, filter) {
                    (Some(id), _) => tenant.one(id, true),
                    (None, Some((_, filter))) => (200, None, tenant.filtered(&filter)),
                    (None, None) => panic!("{url}"),
                };
                let mut answer = json!({"id": request["id"], "status": status, "headers": {}, "body": body});
                if let Some(seconds) = wait {
                    answer["headers"]["Retry-After"] = json!(seconds.to_string());
                }
                answer
            })
            .collect();
        responses.reverse();
        axum::Json(json!({"responses": responses})).into_response()
    });
    if let Some((_, gate)) = gate {
        gate.reached.notify_one();
        gate.open.notified().await;
    }
    answer
}

/// Pages of two changes each.
async fn delta(
    State(graph): State<Graph>,
    headers: axum::http::HeaderMap,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let tid = tid_of(&headers);
    silence(&graph, tid).await;
    let gate = graph.tenant(tid, |tenant| tenant.gate.clone().filter(|(from, _)| *from == SINGLES));
    if let Some((_, gate)) = gate {
        gate.reached.notify_one();
        gate.open.notified().await;
    }
    graph.tenant(tid, |tenant| {
        let token = query.get("$deltatoken").or_else(|| query.get("$skiptoken")).cloned();
        tenant.asked.push(format!("delta {}", token.clone().unwrap_or_default()));
        if tenant.directory_forbidden {
            return refusal(&Fault::Status(403));
        }
        if let Some(fault) = tenant.faults.pop_front() {
            return refusal(&fault);
        }
        let from = match token.as_deref() {
            Some("latest") => tenant.told.len(),
            Some(token) => token.parse().unwrap(),
            None => 0,
        };
        if from < tenant.delta_from {
            return refusal(&Fault::Status(410));
        }
        let to = tenant.told.len().min(from + 2);
        let mut value: Vec<Value> = tenant.told[from..to]
            .iter()
            .map(|id| json!({"id": Uuid::from_u128(id.as_u128() ^ 1), "deviceId": id, "isManaged": true}))
            .collect();
        if !value.is_empty() {
            // Items may repeat, and some are gone.
            value.push(value[0].clone());
            value.push(json!({"id": Uuid::from_u128(9), "@removed": {"reason": "deleted"}}));
        }
        let (name, token) = if to < tenant.told.len() {
            ("@odata.nextLink", "$skiptoken")
        } else {
            ("@odata.deltaLink", "$deltatoken")
        };
        let mut page = json!({"value": value});
        page[name] = json!(format!("{}/v1.0/devices/delta?{token}={to}", graph.base));
        axum::Json(page).into_response()
    })
}
