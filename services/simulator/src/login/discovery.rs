//! OpenID Connect discovery, signing keys, and the instance discovery of Microsoft's own libraries.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Value, json};

use super::{
    aadsts::{Aadsts, stamp},
    authority::Authority,
};
use crate::world::World;

/// `GET /{authority}/v2.0/.well-known/openid-configuration`. For anything but one tenant the issuer holds the
/// literal placeholder `{tenantid}`.
pub async fn configuration(State(world): State<Arc<World>>, Path(segment): Path<String>) -> Response {
    let authority = match Authority::find(&world, &segment) {
        Ok(authority) => authority,
        // The token endpoint calls the same code invalid_request.
        Err(error) => {
            return Aadsts { error: "invalid_tenant", ..error }
                .response(&world.public_url, world.clock.login());
        }
    };
    let base = &world.public_url;
    let at = authority.segment();
    let (issuer, region) = match authority.tenant() {
        Some(tenant) => (format!("{base}/{}/v2.0", tenant.id), json!("WW")),
        None => (format!("{base}/{{tenantid}}/v2.0"), Value::Null),
    };
    cached(json!({
        "token_endpoint": format!("{base}/{at}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported":
            ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{base}/{at}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": issuer,
        "request_uri_parameter_supported": false,
        "userinfo_endpoint": format!("{base}/oidc/userinfo"),
        "authorization_endpoint": format!("{base}/{at}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{base}/{at}/oauth2/v2.0/devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{base}/{at}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
            "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce",
            "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"],
        "kerberos_endpoint": format!("{base}/{at}/kerberos"),
        "tenant_region_scope": region,
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": "graph.microsoft.com",
        "rbac_url": "https://pas.windows.net",
    }))
}

/// `GET /{authority}/discovery/v2.0/keys`: each key with the issuer that it signs for.
pub async fn keys(State(world): State<Arc<World>>, Path(segment): Path<String>) -> Response {
    if let Err(error) = Authority::find(&world, &segment) {
        return error.response(&world.public_url, world.clock.login());
    }
    cached(world.keys().published(&world.public_url))
}

/// `GET /common/discovery/instance`.
pub async fn instance(State(world): State<Arc<World>>, Path(_): Path<String>) -> Response {
    let base = &world.public_url;
    let host = base.split_once("://").map_or(base.as_str(), |(_, host)| host);
    cached(json!({
        "tenant_discovery_endpoint": format!("{base}/common/v2.0/.well-known/openid-configuration"),
        "api-version": "1.1",
        "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
    }))
}

fn cached(body: Value) -> Response {
    let mut response = (StatusCode::OK, Json(body)).into_response();
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400, private"));
    stamp(&mut response);
    response
}
