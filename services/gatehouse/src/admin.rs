//! The admin listener of a process: `/healthz`, `/readyz`, `/metrics`. Not for the public.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use cache::Cache;
use httpkit::health::{self, Check};
use prometheus::{Encoder as _, TextEncoder};
use store::Store;

use crate::roles::Roles;

/// The routes.
pub fn router(roles: Roles, store: &Store, cache: &Cache, registry: prometheus::Registry) -> Router {
    let metrics = Router::new().route("/metrics", get(metrics)).with_state(registry);
    health::router(checks(roles, store, cache)).merge(metrics)
}

/// What a role cannot do without. Decisions go on without PostgreSQL and without Redis, so a NAC process stays
/// ready while they are away; but none may serve with a wrong schema, or as a role above row level security.
fn checks(roles: Roles, store: &Store, cache: &Cache) -> Vec<Check> {
    let check = |needed: bool, name, run: fn(Store) -> Ran| {
        let store = store.clone();
        let run = move || run(store.clone());
        if needed { Check::needed(name, run) } else { Check::shown(name, run) }
    };
    let redis = {
        let cache = cache.clone();
        let run = move || {
            let cache = cache.clone();
            async move { cache.ping().await.map_err(|error| told("Redis", &error)) }
        };
        // The sessions of the dashboard's visitors are there.
        if roles.dashboard { Check::needed("redis", run) } else { Check::shown("redis", run) }
    };
    vec![
        check(roles.dashboard || roles.sync, "postgres", |store| {
            Box::pin(async move { store.ping().await.map_err(|error| told("PostgreSQL", &error)) })
        }),
        check(true, "schema", |store| Box::pin(schema(store))),
        redis,
    ]
}

type Ran = std::pin::Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

async fn schema(store: Store) -> Result<(), String> {
    match store::readiness::check(&store).await {
        Ok(problems) if problems.is_empty() => Ok(()),
        Ok(problems) => Err(problems.join("; ")),
        // That it is away is told by the other check.
        Err(error) if error.is_unavailable() => Ok(()),
        Err(error) => Err(told("PostgreSQL", &error)),
    }
}

/// The error may name hosts and users: it goes to the log, and a sentence to the caller.
fn told(what: &str, error: &dyn std::error::Error) -> String {
    tracing::warn!(%error, "{what} does not answer as it should");
    format!("{what} does not answer as it should; the log says why")
}

async fn metrics(State(registry): State<prometheus::Registry>) -> Response {
    let mut body = Vec::new();
    match TextEncoder::new().encode(&registry.gather(), &mut body) {
        Ok(()) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], body).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
