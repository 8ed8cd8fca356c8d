//! A stand-in for Microsoft with scripted answers, and keys, for this crate's tests.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Response, Uri};
use domain::time::{Clock as _, Ids, ManualClock};
use proptest::prelude::*;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256};
use secrecy::SecretString;
use time::OffsetDateTime;
use time::macros::datetime;
use url::Url;
use uuid::Uuid;

use crate::{AppRegistration, Certificate, Cloud, Credential, HttpLimits, Microsoft};

pub const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);
pub const TID: Uuid = Uuid::from_u128(0xa8990e1f_ff32_408a_9f8e_78d3b9139b95);
pub const CLIENT_ID: Uuid = Uuid::from_u128(0x11111111_2222_3333_4444_555555555555);

/// RSA keys cost seconds in a debug build: each is made once.
static KEYS: LazyLock<[String; 2]> =
    LazyLock::new(|| [(); 2].map(|()| KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap().serialize_pem()));

pub fn rsa_key() -> KeyPair {
    KeyPair::from_pem(&KEYS[0]).unwrap()
}

pub fn other_rsa_key() -> KeyPair {
    KeyPair::from_pem(&KEYS[1]).unwrap()
}

pub fn certificate_pem(key: &KeyPair) -> String {
    CertificateParams::new(vec!["gatehouse.test".to_owned()]).unwrap().self_signed(key).unwrap().pem()
}

/// Of a certificate with its key, valid from so many days after [`NOW`] until so many.
pub fn pem_of_days(key: &KeyPair, from: i64, until: i64) -> String {
    let mut params = CertificateParams::new(vec!["gatehouse.test".to_owned()]).unwrap();
    params.not_before = NOW + time::Duration::days(from);
    params.not_after = NOW + time::Duration::days(until);
    format!("{}{}", params.self_signed(key).unwrap().pem(), key.serialize_pem())
}

pub fn certificate_of_days(key: &KeyPair, from: i64, until: i64) -> Certificate {
    Certificate::all_from_pem(&pem_of_days(key, from, until).into()).unwrap().remove(0)
}

pub fn certificate(key: &KeyPair) -> Certificate {
    Certificate::from_pem(&certificate_pem(key), &SecretString::from(key.serialize_pem())).unwrap()
}

/// One request that came.
#[derive(Clone, Debug)]
pub struct Seen {
    pub path_and_query: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub fn form(&self) -> Vec<(String, String)> {
        url::form_urlencoded::parse(self.body.as_bytes()).into_owned().collect()
    }
}

type Answers = Arc<Mutex<Script>>;

#[derive(Default)]
struct Script {
    /// By path: answered in order, the last one again and again.
    answers: Vec<(String, VecDeque<Answer>)>,
    seen: Vec<Seen>,
}

/// A scripted answer.
#[derive(Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    delay: std::time::Duration,
    declared_length: Option<usize>,
}

pub fn json(status: u16, body: &serde_json::Value) -> Answer {
    Answer {
        status,
        headers: vec![("content-type", "application/json; charset=utf-8".to_owned())],
        body: body.to_string(),
        delay: std::time::Duration::ZERO,
        declared_length: None,
    }
}

/// An answer of something in between, not of Microsoft.
pub fn text(status: u16, body: &str) -> Answer {
    Answer { body: body.to_owned(), headers: Vec::new(), ..json(status, &serde_json::Value::Null) }
}

impl Answer {
    pub fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }

    pub fn after(mut self, delay: std::time::Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Announces a longer body than it sends, and breaks off.
    pub fn truncated(mut self) -> Self {
        self.declared_length = Some(self.body.len() + 100);
        self
    }
}

/// The stand-in, listening.
pub struct Stub {
    pub base: Url,
    pub clock: Arc<ManualClock>,
    script: Answers,
}

impl Stub {
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let script = Answers::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let router = Router::new().fallback(answer).with_state(script.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base, clock: Arc::new(ManualClock::new(NOW)), script }
    }

    /// Sets the answers of a path; the last one is given again and again.
    pub fn on(&self, path: &str, answers: impl IntoIterator<Item = Answer>) {
        let mut script = self.script.lock().unwrap();
        script.answers.retain(|(known, _)| known != path);
        script.answers.push((path.to_owned(), answers.into_iter().collect()));
    }

    /// Tokens are issued, numbered.
    pub fn issues_tokens(&self) {
        let token = |n: u32| {
            json(
                200,
                &serde_json::json!({
                    "token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": format!("token-{n}"),
                }),
            )
        };
        self.on(&token_path(), (1..100).map(token));
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.script.lock().unwrap().seen.clone()
    }

    pub fn seen_at(&self, path: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.path == path).collect()
    }

    pub fn microsoft(&self) -> Microsoft {
        self.microsoft_with(Credential::Secret("hunter2".into()), HttpLimits::default())
    }

    pub fn microsoft_with(&self, credential: Credential, limits: HttpLimits) -> Microsoft {
        self.microsoft_as(AppRegistration::new(CLIENT_ID, credential), limits)
    }

    pub fn microsoft_as(&self, app: AppRegistration, limits: HttpLimits) -> Microsoft {
        let cloud = Cloud::custom(self.base.clone(), self.base.clone());
        Microsoft::new(cloud, app, self.clock.clone(), Ids::seeded(1), limits).unwrap()
    }

    pub fn now(&self) -> OffsetDateTime {
        self.clock.now()
    }
}

/// Any JSON, some of it under the names that Graph uses.
pub fn any_json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::from("7809c88c-b33b-4c1c-94e0-00ce3175037b")),
        Just(Value::from("0")),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "value",
            "responses",
            "id",
            "status",
            "headers",
            "body",
            "Retry-After",
            "@odata.nextLink",
            "@odata.deltaLink",
            "@removed",
            "reason",
            "deviceId",
            "isCompliant",
            "error",
            "code",
            "message",
        ])
        .prop_map(str::to_owned),
        "\\PC{0,8}",
    ];
    leaf.prop_recursive(4, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

pub fn token_path() -> String {
    format!("/{TID}/oauth2/v2.0/token")
}

async fn answer(State(script): State<Answers>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let path = uri.path().to_owned();
    let answer =
        {
            let mut script = script.lock().unwrap();
            let path_and_query = uri.path_and_query().unwrap().to_string();
            let body = String::from_utf8(body.to_vec()).unwrap();
            script.seen.push(Seen { path_and_query, path: path.clone(), headers, body });
            script.answers.iter_mut().find(|(known, _)| *known == path).and_then(|(_, queue)| {
                if queue.len() > 1 { queue.pop_front() } else { queue.front().cloned() }
            })
        };
    let answer = answer
        .unwrap_or_else(|| json(404, &serde_json::json!({"error": {"code": "NotFound", "message": path}})));
    tokio::time::sleep(answer.delay).await;
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.headers {
        response = response.header(*name, value);
    }
    match answer.declared_length {
        None => response.body(Body::from(answer.body)).unwrap(),
        Some(length) => {
            let response = response.header("content-length", length.to_string());
            let chunks =
                [Ok::<_, std::io::Error>(Bytes::from(answer.body)), Err(std::io::Error::other("broken"))];
            response.body(Body::from_stream(futures::stream::iter(chunks))).unwrap()
        }
    }
}
