//! The machinery: faults, settings, clock, keys, and the logs.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, State},
    http::StatusCode,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use time::Duration;

use super::{Refusal, Reply, body, created, no_content, ok, tenant};
use crate::{
    faults::Fault,
    fleet::{Precision, parse_timestamp, timestamp},
    settings::Settings,
    world::World,
};

pub async fn faults(State(world): State<Arc<World>>) -> Reply {
    let faults = json!(world.faults().list());
    ok(json!({ "faults": faults }))
}

pub async fn add_fault(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let fault: Fault = body(&bytes)?;
    if !(0.0..=1.0).contains(&fault.probability) {
        return Err(Refusal::bad("probability lies between 0 and 1"));
    }
    let fault = world.faults().add(fault);
    created(json!(fault))
}

pub async fn remove_fault(State(world): State<Arc<World>>, Path(id): Path<u64>) -> Reply {
    let removed = world.faults().remove(id);
    if removed { no_content() } else { Err(Refusal::missing("fault", &id.to_string())) }
}

pub async fn clear_faults(State(world): State<Arc<World>>) -> Reply {
    world.faults().clear();
    no_content()
}

pub async fn settings(State(world): State<Arc<World>>) -> Reply {
    ok(json!(world.settings()))
}

/// Changes what the body names and leaves the rest.
pub async fn patch_settings(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let patch: Map<String, Value> = body(&bytes)?;
    let mut settings = json!(world.settings());
    if let Value::Object(settings) = &mut settings {
        settings.extend(patch);
    }
    let settings: Settings = serde_json::from_value(settings).map_err(Refusal::bad)?;
    world.set_settings(settings.clone());
    ok(json!(settings))
}

pub async fn default_settings(State(world): State<Arc<World>>) -> Reply {
    world.set_settings(Settings { latency_ms: world.config.latency_ms, ..Settings::default() });
    ok(json!(world.settings()))
}

pub async fn reset_throttle(State(world): State<Arc<World>>) -> Reply {
    world.throttle().clear();
    no_content()
}

fn clock_shown(world: &World) -> Value {
    let (fleet, login) = world.clock.offsets();
    json!({
        "now": timestamp(world.clock.fleet(), Precision::Ticks),
        "offsetSeconds": fleet.whole_seconds(),
        "loginNow": timestamp(world.clock.login(), Precision::Ticks),
        "loginOffsetSeconds": login.whole_seconds(),
    })
}

pub async fn clock(State(world): State<Arc<World>>) -> Reply {
    ok(clock_shown(&world))
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClockChange {
    advance_seconds: Option<i64>,
    /// The distance to real time; 0 goes back to it.
    offset_seconds: Option<i64>,
    /// The time that it shall be.
    now: Option<String>,
    /// Whether the clock of tokens moves along.
    #[serde(default)]
    tokens: bool,
}

pub async fn set_clock(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let change: ClockChange = body(&bytes)?;
    let by = match change {
        ClockChange { advance_seconds: Some(seconds), .. } => Duration::seconds(seconds),
        ClockChange { offset_seconds: Some(seconds), .. } => {
            Duration::seconds(seconds) - world.clock.offsets().0
        }
        ClockChange { now: Some(now), .. } => {
            let wanted = parse_timestamp(&now).ok_or_else(|| Refusal::bad("now is not an RFC 3339 time"))?;
            wanted - world.clock.fleet()
        }
        _ => return Err(Refusal::bad("give advanceSeconds, offsetSeconds or now")),
    };
    world.clock.advance(by, change.tokens);
    world.settle();
    world.touch();
    ok(clock_shown(&world))
}

pub async fn keys(State(world): State<Arc<World>>) -> Reply {
    let ids = world.keys().key_ids();
    ok(json!({ "keyIds": ids }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rotation {
    /// Whether the old keys stay published; default: yes.
    #[serde(default = "yes")]
    keep_old: bool,
}

const fn yes() -> bool {
    true
}

pub async fn rotate_keys(State(world): State<Arc<World>>, bytes: bytes::Bytes) -> Reply {
    let rotation: Rotation = body(&bytes)?;
    let now = world.clock.login();
    let worker = Arc::clone(&world);
    // Generating an RSA key takes a while.
    let rotated = tokio::task::spawn_blocking(move || worker.keys_mut().rotate(rotation.keep_old, now)).await;
    match rotated {
        Ok(Ok(key_id)) => ok(json!({ "keyId": key_id, "keyIds": world.keys().key_ids() })),
        Ok(Err(error)) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
        Err(error) => Err(Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string())),
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LogQuery {
    #[serde(default)]
    since: u64,
    #[serde(default = "thousand")]
    limit: usize,
    /// GUID or domain.
    tenant: Option<String>,
    endpoint: Option<String>,
}

const fn thousand() -> usize {
    1_000
}

pub async fn transitions(State(world): State<Arc<World>>, Query(query): Query<LogQuery>) -> Reply {
    world.settle();
    let tenant = query.tenant.as_deref().map(|key| tenant(&world, key)).transpose()?;
    let log = world.transitions();
    let entries: Vec<_> = log.since(query.since, tenant.map(|tenant| tenant.id)).take(query.limit).collect();
    ok(json!({ "sequence": log.sequence(), "transitions": entries }))
}

pub async fn requests(State(world): State<Arc<World>>, Query(query): Query<LogQuery>) -> Reply {
    let tenant = query.tenant.as_deref().map(|key| tenant(&world, key)).transpose()?;
    let log = world.requests();
    let entries: Vec<_> = log
        .since(query.since)
        .filter(|request| tenant.as_ref().is_none_or(|tenant| request.tenant_id == Some(tenant.id)))
        .filter(|request| query.endpoint.as_ref().is_none_or(|endpoint| request.endpoint == *endpoint))
        .take(query.limit)
        .collect();
    ok(json!({ "sequence": log.sequence(), "requests": entries }))
}

pub async fn clear_requests(State(world): State<Arc<World>>) -> Reply {
    world.requests().clear();
    no_content()
}

pub async fn counters(State(world): State<Arc<World>>) -> Reply {
    let counters = json!(world.requests().counters());
    ok(json!({ "counters": counters }))
}

pub async fn reset(State(world): State<Arc<World>>) -> Reply {
    world.reset().map_err(|error| Refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    no_content()
}
