//! A cloud on a real socket, that answers as it is told and remembers what came.

use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use domain::time::{SharedClock, SystemClock};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::cloud::Cloud;
use crate::config::EdgeConfig;
use crate::deliver::Courier;
use crate::spool::Spool;

type Heard = Arc<Mutex<Vec<(String, Value, HeaderMap)>>>;

pub struct StubCloud {
    pub cloud: Arc<Cloud>,
    pub config: EdgeConfig,
    heard: Heard,
    _directory: tempfile::TempDir,
}

impl StubCloud {
    /// Starts one that answers a path and a body.
    pub async fn start(answer: impl Fn(&str, &Value) -> (StatusCode, Value) + Send + Sync + 'static) -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let heard = Heard::default();
        let (kept, answer) = (Arc::clone(&heard), Arc::new(answer));
        let take = async move |uri: Uri, headers: HeaderMap, body: Bytes| -> Response {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let (status, told) = answer(uri.path(), &body);
            kept.lock().unwrap().push((uri.path().to_owned(), body, headers));
            if status == StatusCode::NO_CONTENT {
                return status.into_response();
            }
            (status, axum::Json(told)).into_response()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(take);
        tokio::spawn(async move { axum::serve(listener, router).await });
        let directory = tempfile::tempdir().unwrap();
        let config = config(directory.path(), &url, "");
        let cloud = Arc::new(Cloud::new(&config, clock()).unwrap());
        Self { cloud, config, heard, _directory: directory }
    }

    /// What came so far: path and body.
    pub fn heard(&self) -> Vec<(String, Value)> {
        self.heard.lock().unwrap().iter().map(|(path, body, _)| (path.clone(), body.clone())).collect()
    }

    /// The headers of what came last.
    pub fn last_headers(&self) -> HeaderMap {
        self.heard.lock().unwrap().last().unwrap().2.clone()
    }

    pub fn spool(&self) -> Spool {
        Spool::open(&self.config.directory.join("spool.redb"), &self.config.limits).unwrap()
    }

    pub fn courier(&self, spool: Spool) -> Arc<Courier> {
        Courier::new(Arc::clone(&self.cloud), spool, clock(), &self.config.limits)
    }
}

pub fn clock() -> SharedClock {
    Arc::new(SystemClock)
}

/// The configuration of an agent of that cloud; `more` comes behind it.
pub fn config(directory: &Path, url: &str, more: &str) -> EdgeConfig {
    let file = directory.join("edge.toml");
    let text = format!(
        "directory = \"{}\"\n[cloud]\nurl = \"{url}\"\n\
         token = \"ghe_AAAAAAAAAAAAAAAAAAAAAQAAAAAAAAAAAAAAAAAAAAI_x\"\n{more}",
        directory.display()
    );
    std::fs::write(&file, text).unwrap();
    EdgeConfig::read(&file).unwrap()
}
