//! A simulator on a free port, and the calls that most tests make.

use std::collections::HashMap;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, redirect};
use serde_json::{Value, json};
use simulator::{
    Config,
    config::{DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET},
    serve_until,
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use url::Url;

pub const CONTOSO: &str = "b05aafed-15fd-5db6-8981-4fa0293ccc6a";
pub const FABRIKAM: &str = "592e7d4b-896c-53cd-998c-8870f0819d81";
pub const REDIRECT: &str = "http://127.0.0.1:9/callback";
pub const CLIENT: &str = DEFAULT_CLIENT_ID;
pub const LIST: &str = "/v1.0/deviceManagement/managedDevices";

pub struct Sim {
    pub base: String,
    pub http: Client,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<()>,
}

pub async fn start() -> Sim {
    start_with(Config::default()).await
}

pub async fn start_with(config: Config) -> Sim {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let (stop, stopped) = oneshot::channel();
    let config = Config { redirect_uris: vec![REDIRECT.to_owned()], ..config };
    let served = tokio::spawn(async move {
        let stopped = async { drop(stopped.await) };
        serve_until(listener, config, stopped).await.unwrap();
    });
    let http = Client::builder()
        .redirect(redirect::Policy::none())
        .cookie_store(true)
        .pool_max_idle_per_host(0)
        .build()
        .unwrap();
    Sim { base, http, stop: Some(stop), served }
}

impl Sim {
    /// Stops as SIGTERM does, with the state file written.
    pub async fn stop(mut self) {
        let _ = self.stop.take().unwrap().send(());
        drop(self.http);
        self.served.await.unwrap();
    }

    pub fn url(&self, path: &str) -> String {
        if path.starts_with("http") { path.to_owned() } else { format!("{}{path}", self.base) }
    }

    pub async fn get(&self, path: &str) -> Response {
        self.http.get(self.url(path)).send().await.unwrap()
    }

    /// A call of the control API that must succeed.
    pub async fn control(&self, method: Method, path: &str, body: Value) -> Value {
        let url = self.url(&format!("/_sim/api{path}"));
        let response = self.http.request(method, url).json(&body).send().await.unwrap();
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.control(Method::POST, path, body).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Value {
        self.control(Method::PATCH, path, body).await
    }

    pub async fn settings(&self, body: Value) {
        self.patch("/settings", body).await;
    }

    pub async fn grant(&self) {
        self.post(&format!("/tenants/{CONTOSO}/consent"), json!({})).await;
    }

    pub async fn token_request(&self, authority: &str, fields: &[(&str, &str)]) -> (StatusCode, Value) {
        let url = self.url(&format!("/{authority}/oauth2/v2.0/token"));
        answer(self.http.post(url).form(fields)).await
    }

    pub async fn app_token(&self, tenant: &str) -> (StatusCode, Value) {
        let fields = [
            ("grant_type", "client_credentials"),
            ("client_id", CLIENT),
            ("client_secret", DEFAULT_CLIENT_SECRET),
            ("scope", "https://graph.microsoft.com/.default"),
        ];
        self.token_request(tenant, &fields).await
    }

    /// Consent to Contoso, and a token for it.
    pub async fn linked(&self) -> String {
        self.grant().await;
        self.token().await
    }

    pub async fn token(&self) -> String {
        let (status, body) = self.app_token(CONTOSO).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    pub async fn graph(&self, token: &str, path: &str) -> (StatusCode, Value) {
        answer(self.http.get(self.url(path)).bearer_auth(token)).await
    }

    /// All pages of a collection.
    pub async fn pages(&self, token: &str, path: &str) -> Vec<Value> {
        let mut pages = Vec::new();
        let mut next = Some(path.to_owned());
        while let Some(url) = next {
            let (status, page) = self.graph(token, &url).await;
            assert_eq!(status, 200, "{page}");
            next = page["@odata.nextLink"].as_str().map(str::to_owned);
            pages.push(page);
        }
        pages
    }

    /// Device number `number` of Contoso, as the control API shows it.
    pub async fn device(&self, number: usize) -> Value {
        let path = format!("/tenants/{CONTOSO}/devices?from={number}&limit=1");
        self.control(Method::GET, &path, json!(null)).await["devices"][0].clone()
    }

    pub async fn set(&self, device: &str, patch: Value) -> Value {
        self.patch(&format!("/tenants/{CONTOSO}/devices/{device}"), patch).await
    }

    pub fn authorize_url(&self, authority: &str, extra: &[(&str, &str)]) -> Url {
        let mut parameters = vec![
            ("client_id", CLIENT),
            ("response_type", "code"),
            ("redirect_uri", REDIRECT),
            ("scope", "openid profile"),
            ("state", "s 1"),
            ("nonce", "n1"),
        ];
        for (name, value) in extra {
            parameters.retain(|(known, _)| known != name);
            if !value.is_empty() {
                parameters.push((name, value));
            }
        }
        Url::parse_with_params(&self.url(&format!("/{authority}/oauth2/v2.0/authorize")), parameters).unwrap()
    }

    /// Picks `user` on the sign-in page; the parameters of the redirect that follows.
    pub async fn sign_in(
        &self,
        authority: &str,
        user: &str,
        extra: &[(&str, &str)],
    ) -> HashMap<String, String> {
        let url = self.authorize_url(authority, extra);
        let response = self.http.post(url).form(&[("user", user)]).send().await.unwrap();
        callback(&response)
    }
}

async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.unwrap();
    let status = response.status();
    (status, response.json().await.unwrap_or(Value::Null))
}

/// The parameters of a redirect to the application.
pub fn callback(response: &Response) -> HashMap<String, String> {
    assert_eq!(response.status(), 302, "{response:?}");
    let location = response.headers()["location"].to_str().unwrap();
    assert!(location.starts_with(REDIRECT), "{location}");
    Url::parse(location).unwrap().query_pairs().into_owned().collect()
}

pub fn ids(page: &Value) -> Vec<String> {
    page["value"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}
