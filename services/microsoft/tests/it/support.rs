//! A simulator on a free port, and what tests ask of it.

use std::sync::Arc;

use domain::time::{Clock as _, Ids, ManualClock, SystemClock};
use microsoft::{AppRegistration, Cloud, Credential, HttpLimits, Microsoft};
use serde_json::{Value, json};
use simulator::config::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET};
use tokio::net::TcpListener;
use url::Url;
use uuid::Uuid;

pub const CONTOSO: Uuid = Uuid::from_u128(0xb05aafed_15fd_5db6_8981_4fa0293ccc6a);
pub const FABRIKAM: Uuid = Uuid::from_u128(0x592e7d4b_896c_53cd_998c_8870f0819d81);

pub struct Sim {
    pub base: Url,
    pub clock: Arc<ManualClock>,
    http: reqwest::Client,
}

pub fn client_id() -> Uuid {
    DEFAULT_CLIENT_ID.parse().unwrap()
}

impl Sim {
    /// Three tenants that have consented, with sixty devices each.
    pub async fn start() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let config = simulator::Config { consented: true, ..simulator::Config::default() };
        tokio::spawn(async move { simulator::serve(listener, config).await.unwrap() });
        let clock = Arc::new(ManualClock::new(SystemClock.now()));
        Self { base, clock, http: reqwest::Client::new() }
    }

    pub fn microsoft(&self) -> Microsoft {
        self.microsoft_as(AppRegistration::new(client_id(), Credential::Secret(DEFAULT_CLIENT_SECRET.into())))
    }

    pub fn microsoft_as(&self, app: AppRegistration) -> Microsoft {
        let cloud = Cloud::custom(self.base.clone(), self.base.clone());
        Microsoft::new(cloud, app, self.clock.clone(), Ids::seeded(1), HttpLimits::default()).unwrap()
    }

    pub async fn api(&self, method: &str, path: &str, body: &Value) -> Value {
        let url = format!("{}_sim/api/{path}", self.base);
        let mut request = self.http.request(method.parse().unwrap(), url);
        if !body.is_null() {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let response = request.send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn get(&self, path: &str) -> Value {
        self.api("GET", path, &Value::Null).await
    }

    pub async fn settings(&self, settings: Value) {
        self.api("PATCH", "settings", &settings).await;
    }

    /// A device as the simulator has it.
    pub async fn device(&self, tid: Uuid, from: u64) -> Value {
        let found = self.get(&format!("tenants/{tid}/devices?from={from}&limit=1")).await;
        found["devices"][0].clone()
    }

    pub async fn registers(&self, certificates: &[&str]) {
        self.api("PATCH", &format!("apps/{}", client_id()), &json!({ "certificates": certificates })).await;
    }
}
