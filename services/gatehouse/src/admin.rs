//! The admin listener of a process: `/healthz`, `/readyz`, `/metrics`. Not for the public.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache::Cache;
use prometheus::{Encoder as _, TextEncoder};
use store::Store;

/// What readiness is asked of.
#[derive(Clone, Debug)]
pub struct Admin {
    pub store: Store,
    pub cache: Cache,
    pub registry: prometheus::Registry,
    /// Answer `/readyz` within this.
    pub patience: Duration,
}

/// The routes.
pub fn router(admin: Admin) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

/// 200 `ready`, or 503 with a line for everything that is in the way.
async fn readyz(State(admin): State<Admin>) -> Response {
    let problems = problems(&admin).await;
    if problems.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, problems.join("\n") + "\n").into_response()
    }
}

/// Everything that keeps this process from serving well.
pub async fn problems(admin: &Admin) -> Vec<String> {
    let database = async {
        match tokio::time::timeout(admin.patience, store::readiness::check(&admin.store)).await {
            Ok(Ok(problems)) => problems,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "PostgreSQL is not ready");
                vec!["PostgreSQL does not answer as it should: see the log".to_owned()]
            }
            Err(_) => vec!["PostgreSQL does not answer in time".to_owned()],
        }
    };
    let redis = async {
        match tokio::time::timeout(admin.patience, admin.cache.ping()).await {
            Ok(Ok(())) => None,
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "Redis is not ready");
                Some("Redis does not answer as it should: see the log".to_owned())
            }
            Err(_) => Some("Redis does not answer in time".to_owned()),
        }
    };
    let (mut problems, redis) = tokio::join!(database, redis);
    problems.extend(redis);
    problems
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&admin.registry.gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => {
            tracing::error!(error = %error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
