//! Pages of the machinery: faults, clock, app registrations.

use std::sync::Arc;

use askama::Template;
use askama_web::WebTemplate;
use axum::{
    extract::{Form, State},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::json;

use super::{Head, see_other};
use crate::{
    directory::App,
    faults::{Effect, Fault, RetryAfter},
    world::World,
};

struct FaultRow {
    id: u64,
    endpoint: String,
    effect: String,
    probability: f64,
    struck: u64,
}

struct Counter {
    endpoint: String,
    statuses: String,
}

#[derive(Template, WebTemplate)]
#[template(path = "faults.html")]
struct FaultsPage {
    head: Head,
    faults: Vec<FaultRow>,
    counters: Vec<Counter>,
    settings: String,
}

pub async fn faults(State(world): State<Arc<World>>) -> Response {
    let faults = world
        .faults()
        .list()
        .iter()
        .map(|fault| FaultRow {
            id: fault.id,
            endpoint: fault.endpoint.clone().unwrap_or_else(|| "all".to_owned()),
            effect: json!(fault.effect).to_string(),
            probability: fault.probability,
            struck: fault.struck,
        })
        .collect();
    let counters = world
        .requests()
        .counters()
        .iter()
        .map(|(endpoint, statuses)| Counter {
            endpoint: endpoint.clone(),
            statuses: statuses
                .iter()
                .map(|(status, count)| format!("{status} × {count}"))
                .collect::<Vec<_>>()
                .join(", "),
        })
        .collect();
    FaultsPage {
        head: Head::new(&world, "Faults and counters"),
        faults,
        counters,
        settings: serde_json::to_string_pretty(&world.settings()).unwrap_or_default(),
    }
    .into_response()
}

#[derive(Debug, Deserialize)]
pub struct FaultForm {
    #[serde(default)]
    clear: String,
    #[serde(default)]
    endpoint: String,
    #[serde(default)]
    effect: String,
    #[serde(default)]
    percent: f64,
}

pub async fn change_faults(State(world): State<Arc<World>>, Form(form): Form<FaultForm>) -> Response {
    if !form.clear.is_empty() {
        match form.clear.parse() {
            Ok(id) => {
                world.faults().remove(id);
            }
            Err(_) => world.faults().clear(),
        }
        return see_other("/_sim/faults");
    }
    let status = |status, retry_after| Effect::Status { status, retry_after, aadsts: None, body: None };
    let effect = match form.effect.as_str() {
        "429" => status(429, Some(RetryAfter::Seconds(10))),
        "429-plain" => status(429, None),
        "503" => status(503, Some(RetryAfter::Seconds(5))),
        "504" => status(504, None),
        "401" => status(401, None),
        "slow" => Effect::Slow { latency_ms: 5_000 },
        "truncate" => Effect::Truncate { bytes: 200 },
        _ => Effect::Reset,
    };
    world.faults().add(Fault {
        id: 0,
        endpoint: (!form.endpoint.is_empty()).then_some(form.endpoint),
        tenant_id: None,
        client_id: None,
        path_contains: None,
        probability: (form.percent / 100.0).clamp(0.0, 1.0),
        skip: 0,
        times: None,
        effect,
        struck: 0,
    });
    see_other("/_sim/faults")
}

#[derive(Debug, Deserialize)]
pub struct ClockForm {
    /// Seconds to advance; "real" goes back to real time.
    advance: String,
}

pub async fn clock(State(world): State<Arc<World>>, Form(form): Form<ClockForm>) -> Response {
    let by = match form.advance.parse() {
        Ok(seconds) => time::Duration::seconds(seconds),
        Err(_) => -world.clock.offsets().0,
    };
    world.clock.advance(by, false);
    world.settle();
    world.touch();
    see_other("/_sim")
}

#[derive(Template, WebTemplate)]
#[template(path = "apps.html")]
struct AppsPage {
    head: Head,
    apps: Vec<App>,
}

pub async fn apps(State(world): State<Arc<World>>) -> Response {
    let apps = world.apps().clone();
    AppsPage { head: Head::new(&world, "App registrations"), apps }.into_response()
}

#[derive(Debug, Deserialize)]
pub struct RedirectForm {
    client_id: String,
    redirect_uri: String,
}

pub async fn add_redirect_uri(State(world): State<Arc<World>>, Form(form): Form<RedirectForm>) -> Response {
    let uri = form.redirect_uri.trim().to_owned();
    if let Some(app) = world.apps_mut().iter_mut().find(|app| app.client_id == form.client_id)
        && url::Url::parse(&uri).is_ok()
        && !app.redirect_uris.contains(&uri)
    {
        app.redirect_uris.push(uri);
    }
    see_other("/_sim/apps")
}
