//! The control API below `/_sim/api`: what a test does to the simulated Microsoft. README.md shows each call.

mod apps;
pub mod consent;
pub mod devices;
mod machine;
mod tenants;

use std::sync::Arc;

use axum::{
    Json, Router,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{directory::Tenant, world::World};

/// A refusal, said in words.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(json!({ "error": self.1 }))).into_response()
    }
}

pub type Reply = Result<Response, Refusal>;

impl Refusal {
    pub fn bad(message: impl std::fmt::Display) -> Self {
        Self(StatusCode::BAD_REQUEST, message.to_string())
    }

    pub fn missing(what: &str, id: &str) -> Self {
        Self(StatusCode::NOT_FOUND, format!("there is no {what} {id}"))
    }
}

fn ok(body: Value) -> Reply {
    Ok(Json(body).into_response())
}

fn created(body: Value) -> Reply {
    Ok((StatusCode::CREATED, Json(body)).into_response())
}

fn no_content() -> Reply {
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// A JSON body; an empty one counts as `{}`, so that a bare `curl -X POST` does.
fn body<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let bytes = if bytes.trim_ascii().is_empty() { b"{}" } else { bytes };
    serde_json::from_slice(bytes).map_err(Refusal::bad)
}

/// A tenant by GUID or domain.
pub fn tenant(world: &World, key: &str) -> Result<Arc<Tenant>, Refusal> {
    world.settle();
    let found = match Uuid::parse_str(key) {
        Ok(id) => world.tenant(id),
        Err(_) => world.directory().with_domain(key),
    };
    found.ok_or_else(|| Refusal::missing("tenant", key))
}

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/_sim/api/tenants", get(tenants::list).post(tenants::create))
        .route("/_sim/api/tenants/{tenant}", get(tenants::get).patch(tenants::patch).delete(tenants::delete))
        .route("/_sim/api/tenants/{tenant}/users", get(tenants::users).post(tenants::add_user))
        .route("/_sim/api/tenants/{tenant}/consent", post(consent::grant))
        .route("/_sim/api/tenants/{tenant}/revoke", post(consent::revoke))
        .route("/_sim/api/tenants/{tenant}/tokens/revoke", post(consent::revoke_tokens))
        .route("/_sim/api/tenants/{tenant}/delta/expire", post(tenants::expire_delta))
        .route("/_sim/api/tenants/{tenant}/devices", get(devices::list).post(devices::create))
        .route("/_sim/api/tenants/{tenant}/devices/generate", post(devices::generate))
        .route("/_sim/api/tenants/{tenant}/devices/flip", post(devices::flip))
        .route(
            "/_sim/api/tenants/{tenant}/devices/{device}",
            get(devices::get).patch(devices::patch).delete(devices::delete),
        )
        .route("/_sim/api/tenants/{tenant}/devices/{device}/checkin", post(devices::check_in))
        .route("/_sim/api/apps", get(apps::list).post(apps::create))
        .route("/_sim/api/apps/{app}", get(apps::get).patch(apps::patch).delete(apps::delete))
        .route(
            "/_sim/api/faults",
            get(machine::faults).post(machine::add_fault).delete(machine::clear_faults),
        )
        .route("/_sim/api/faults/{fault}", axum::routing::delete(machine::remove_fault))
        .route(
            "/_sim/api/settings",
            get(machine::settings).patch(machine::patch_settings).delete(machine::default_settings),
        )
        .route("/_sim/api/throttle/reset", post(machine::reset_throttle))
        .route("/_sim/api/clock", get(machine::clock).post(machine::set_clock))
        .route("/_sim/api/keys", get(machine::keys))
        .route("/_sim/api/keys/rotate", post(machine::rotate_keys))
        .route("/_sim/api/transitions", get(machine::transitions))
        .route("/_sim/api/requests", get(machine::requests).delete(machine::clear_requests))
        .route("/_sim/api/counters", get(machine::counters))
        .route("/_sim/api/reset", post(machine::reset))
}
