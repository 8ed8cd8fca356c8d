//! Entra ID as its login host: discovery, sign-in, tokens, admin consent, logout.

pub mod aadsts;
mod adminconsent;
pub mod authority;
mod authorize;
mod callback;
mod client_auth;
mod discovery;
mod pages;
mod session;
pub mod sign_ins;
mod token;

use std::sync::Arc;

use axum::{
    Router,
    extract::{ConnectInfo, Path, Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};

use self::{aadsts::Aadsts, authority::Authority};
use crate::{
    connection::Scissors,
    faults::{Effect, Target},
    requests::Request as LoggedRequest,
    transport,
    world::World,
};

/// Routes below `/{tenant|organizations|common|consumers}`.
pub fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/{authority}/v2.0/.well-known/openid-configuration", get(discovery::configuration))
        .route("/{authority}/discovery/v2.0/keys", get(discovery::keys))
        .route("/{authority}/discovery/instance", get(discovery::instance))
        .route("/{authority}/oauth2/v2.0/authorize", get(authorize::show).post(authorize::submit))
        .route("/{authority}/oauth2/v2.0/token", post(token::token))
        .route("/{authority}/oauth2/v2.0/logout", get(logout))
        .route("/{authority}/v2.0/adminconsent", get(adminconsent::show_v2).post(adminconsent::submit_v2))
        .route("/{authority}/adminconsent", get(adminconsent::show_v1).post(adminconsent::submit_v1))
}

/// Ends the session and goes to `post_logout_redirect_uri`, if it is an app's redirect URI or shares its origin.
async fn logout(
    State(world): State<Arc<World>>,
    Path(_): Path<String>,
    Query(query): Query<authorize::Parameters>,
    headers: HeaderMap,
) -> Response {
    let origin = |uri: &str| url::Url::parse(uri).map(|uri| uri.origin()).ok();
    let target = query.get("post_logout_redirect_uri").filter(|uri| {
        world.apps().iter().flat_map(|app| &app.redirect_uris).any(|known| origin(known) == origin(uri))
    });
    let mut response = target.map_or_else(|| pages::SignedOut.into_response(), |uri| callback::redirect(uri));
    session::sign_out(&world, &headers, &mut response);
    response
}

/// The name of a login endpoint in counters and fault rules.
fn endpoint(path: &str) -> &'static str {
    let known = [
        ("/.well-known/openid-configuration", "discovery"),
        ("/discovery/v2.0/keys", "keys"),
        ("/discovery/instance", "discovery.instance"),
        ("/oauth2/v2.0/authorize", "authorize"),
        ("/oauth2/v2.0/token", "token"),
        ("/oauth2/v2.0/logout", "logout"),
        ("/adminconsent", "adminconsent"),
    ];
    known.iter().find(|(end, _)| path.ends_with(end)).map_or("unknown", |(_, name)| name)
}

/// Faults, latency and the request log around every login endpoint.
pub async fn guard(
    State(world): State<Arc<World>>,
    ConnectInfo(scissors): ConnectInfo<Scissors>,
    request: Request,
    next: Next,
) -> Response {
    world.settle();
    let path = request.uri().path().to_owned();
    let endpoint = endpoint(&path);
    let segment = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    let tenant_id = Authority::find(&world, segment).ok().and_then(|at| at.tenant().map(|tenant| tenant.id));
    let target = Target { endpoint, path: &path, tenant_id, client_id: None };
    let effect = world.faults().draw(target);
    let method = request.method().to_string();
    let client_request_id =
        request.headers().get("client-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let response = match &effect {
        Some(Effect::Status { status, retry_after, aadsts, body }) => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            // 50196 and 90033 are what Entra says when it throttles and when it is unwell.
            let code =
                aadsts.unwrap_or(if status == StatusCode::TOO_MANY_REQUESTS { 50_196 } else { 90_033 });
            let mut response = match body {
                Some(body) => (status, body.clone()).into_response(),
                None => Aadsts::by_code(code, status).response(&world.public_url, world.clock.login()),
            };
            if let Some(value) =
                retry_after.as_ref().and_then(|after| HeaderValue::try_from(after.header()).ok())
            {
                response.headers_mut().insert("retry-after", value);
            }
            response
        }
        Some(Effect::Reset) => StatusCode::OK.into_response(),
        _ => next.run(request).await,
    };
    world.requests().push(LoggedRequest {
        sequence: 0,
        at: world.clock.fleet(),
        endpoint: endpoint.to_owned(),
        method,
        // Without the query: it carries codes and states.
        path,
        tenant_id,
        client_id: None,
        status: response.status().as_u16(),
        in_batch: false,
        client_request_id,
    });
    transport::deliver(response, effect, world.settings().latency_ms, &scissors).await
}
