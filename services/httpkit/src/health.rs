//! `/healthz`: the process is alive. `/readyz`: it can do its work, or what keeps it from that.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use futures::future::BoxFuture;
use serde::Serialize;

/// A check may take this long.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);

/// One thing that must work.
#[derive(Clone)]
pub struct Check {
    name: &'static str,
    run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
    needed: bool,
}

impl Check {
    /// Without it the process is not ready. The error is shown: it must not hold secrets.
    pub fn needed<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { name, run: Arc::new(move || Box::pin(run())), needed: true }
    }

    /// Shown, but the process does its work without it.
    pub fn shown<F>(name: &'static str, run: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        Self { needed: false, ..Self::needed(name, run) }
    }
}

/// The answer of `/readyz`.
#[derive(Debug, Serialize)]
struct Readiness {
    ready: bool,
    checks: Vec<Checked>,
}

#[derive(Debug, Serialize)]
struct Checked {
    name: &'static str,
    ok: bool,
    needed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// The two routes.
pub fn router(checks: Vec<Check>) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(serde_json::json!({"alive": true}))))
        .route("/readyz", get(ready))
        .with_state(Arc::from(checks))
}

async fn ready(State(checks): State<Arc<[Check]>>) -> (StatusCode, Json<Readiness>) {
    let runs = checks.iter().map(async |check| {
        let ran = tokio::time::timeout(CHECK_TIMEOUT, (check.run)()).await;
        let error =
            ran.unwrap_or_else(|_| Err(format!("no answer within {} s", CHECK_TIMEOUT.as_secs()))).err();
        Checked { name: check.name, ok: error.is_none(), needed: check.needed, error }
    });
    let checks = futures::future::join_all(runs).await;
    let ready = checks.iter().all(|check| check.ok || !check.needed);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, checks }))
}
