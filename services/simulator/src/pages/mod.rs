//! The simulator's own pages below `/_sim`, for people: plain forms, no script.

mod devices;
mod machine;

use std::sync::Arc;

use askama::Template;
use askama_web::WebTemplate;
use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Deserialize;

use crate::{
    directory::Tenant,
    fleet::{Precision, timestamp},
    world::World,
};

const TENANTS_PER_PAGE: usize = 50;

pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/", get(|| async { Redirect::to("/_sim") }))
        .route("/_sim", get(overview))
        .route("/_sim/", get(overview))
        .route("/_sim/clock", post(machine::clock))
        .route("/_sim/faults", get(machine::faults).post(machine::change_faults))
        .route("/_sim/apps", get(machine::apps).post(machine::add_redirect_uri))
        .route("/_sim/tenants/{tenant}", get(devices::tenant))
        .route("/_sim/tenants/{tenant}/consent", post(devices::consent))
        .route("/_sim/tenants/{tenant}/devices/{device}", post(devices::flip))
}

/// What every page's head shows.
struct Head {
    title: String,
    now: String,
    advanced: bool,
}

impl Head {
    fn new(world: &World, title: impl Into<String>) -> Self {
        world.settle();
        Self {
            title: title.into(),
            now: timestamp(world.clock.fleet(), Precision::Seconds),
            advanced: world.clock.offsets().0 != time::Duration::ZERO,
        }
    }
}

struct TenantRow {
    id: String,
    name: String,
    domain: String,
    devices: u64,
    state: Badge,
    licensed: bool,
}

/// A word and its colour.
struct Badge {
    text: &'static str,
    kind: &'static str,
}

/// How the default app stands with a tenant.
fn consent_badge(world: &World, tenant: &Tenant) -> Badge {
    use crate::directory::PrincipalState;
    let state = tenant.read();
    let principal = state.principals.get(&world.config.client_id.to_lowercase());
    let (text, kind) = match principal.map(|principal| (principal.state, principal.roles.is_empty())) {
        None => ("no consent", "plain"),
        Some((PrincipalState::Deleted, _)) => ("app deleted", "bad"),
        Some((PrincipalState::Disabled, _)) => ("app disabled", "bad"),
        Some((PrincipalState::Consented, true)) => ("roles removed", "warn"),
        Some((PrincipalState::Consented, false)) => ("consented", "good"),
    };
    Badge { text, kind }
}

#[derive(Template, WebTemplate)]
#[template(path = "overview.html")]
struct Overview {
    head: Head,
    search: String,
    tenants: Vec<TenantRow>,
    total: usize,
    next: Option<usize>,
    previous: Option<usize>,
    public_url: String,
    client_id: String,
}

#[derive(Debug, Deserialize)]
struct OverviewQuery {
    #[serde(default)]
    search: String,
    #[serde(default)]
    from: usize,
}

async fn overview(State(world): State<Arc<World>>, Query(query): Query<OverviewQuery>) -> Response {
    let head = Head::new(&world, "Tenants");
    let wanted = query.search.to_lowercase();
    let found: Vec<_> = world
        .tenants()
        .into_iter()
        .filter(|tenant| {
            tenant.name.to_lowercase().contains(&wanted)
                || tenant.domain.contains(&wanted)
                || tenant.id.to_string() == wanted
        })
        .collect();
    let tenants = found
        .iter()
        .skip(query.from)
        .take(TENANTS_PER_PAGE)
        .map(|tenant| {
            let (devices, licensed) = {
                let state = tenant.read();
                (state.fleet.managed(), state.licensed)
            };
            TenantRow {
                id: tenant.id.to_string(),
                name: tenant.name.clone(),
                domain: tenant.domain.clone(),
                devices,
                licensed,
                state: consent_badge(&world, tenant),
            }
        })
        .collect();
    let total = found.len();
    Overview {
        head,
        tenants,
        total,
        next: (query.from + TENANTS_PER_PAGE < total).then_some(query.from + TENANTS_PER_PAGE),
        previous: (query.from > 0).then(|| query.from.saturating_sub(TENANTS_PER_PAGE)),
        search: query.search,
        public_url: world.public_url.clone(),
        client_id: world.config.client_id.clone(),
    }
    .into_response()
}

fn not_found(what: &str) -> Response {
    (StatusCode::NOT_FOUND, format!("There is no {what} here. Go back to /_sim.")).into_response()
}

/// Back to the page of the form, as a GET.
fn see_other(to: &str) -> Response {
    Redirect::to(to).into_response()
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
