//! `POST /{authority}/oauth2/v2.0/token`: authorization codes and client credentials.

use std::{collections::HashMap, sync::Arc};

use aws_lc_rs::digest::{SHA256, digest};
use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use time::Duration;
use uuid::Uuid;

use super::{
    aadsts::{Aadsts, stamp},
    authority::Authority,
    client_auth::authenticate,
    sign_ins::Code,
};
use crate::{
    clock::random_guid,
    directory::{
        App, PrincipalState, Tenant, User,
        roles::{GRAPH_APP_ID, GRAPH_RESOURCE, INTUNE_API_RESOURCE, is_intune_api_role},
        user::PERSONAL_ACCOUNTS,
    },
    keys::Signs,
    world::World,
};

/// A form body; a parameter given twice counts once, and an empty one is absent.
#[derive(Debug, Default)]
pub struct Form(HashMap<String, String>);

impl Form {
    #[must_use]
    pub fn parse(body: &[u8]) -> Self {
        let pairs = url::form_urlencoded::parse(body);
        Self(pairs.into_owned().filter(|(_, value)| !value.is_empty()).collect())
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    fn require(&self, name: &str) -> Result<&str, Aadsts> {
        self.get(name).ok_or_else(|| Aadsts::missing_parameter(name))
    }
}

pub async fn token(
    State(world): State<Arc<World>>,
    Path(segment): Path<String>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Response {
    let form = Form::parse(&body);
    match answer(&world, &segment, &headers, &form) {
        Ok(body) => {
            let mut response = (StatusCode::OK, Json(body)).into_response();
            response
                .headers_mut()
                .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
            stamp(&mut response);
            response
        }
        Err(error) => error.response(&world.public_url, world.clock.login()),
    }
}

fn answer(world: &World, segment: &str, headers: &HeaderMap, form: &Form) -> Result<Value, Aadsts> {
    let authority = Authority::find(world, segment)?;
    let grant_type = form.require("grant_type")?;
    let audience = format!("{}/{segment}/oauth2/v2.0/token", world.public_url);
    let directory = authority.tenant().map_or_else(|| segment.to_owned(), |tenant| tenant.name.clone());
    match grant_type {
        "client_credentials" => {
            let Authority::Tenant(tenant) = &authority else { return Err(Aadsts::common_not_supported()) };
            let app = authenticate(world, form, headers, &directory, &audience)?;
            client_credentials(world, tenant, &app, form.require("scope")?)
        }
        "authorization_code" => {
            let code = form.require("code")?;
            let app = authenticate(world, form, headers, &directory, &audience)?;
            let code = redeem(world, &app, segment, code, form)?;
            tokens_for_user(world, &app, &code, form.get("client_info") == Some("1"))
        }
        other => Err(Aadsts::unsupported_grant_type(other)),
    }
}

/// An app-only token. An app without granted roles gets one all the same, without `roles`: what fails is then
/// the call of Graph.
fn client_credentials(world: &World, tenant: &Tenant, app: &App, scope: &str) -> Result<Value, Aadsts> {
    let scopes: Vec<_> = scope.split_whitespace().collect();
    let resource = match scopes.as_slice() {
        [one] => one.strip_suffix("/.default").ok_or_else(|| Aadsts::scope_not_default(scope))?,
        _ => return Err(Aadsts::several_resources(scope)),
    };
    let state = tenant.read();
    // The id URI of the Intune API ends in a slash, so its scope has two.
    let intune_api = resource.trim_end_matches('/') == INTUNE_API_RESOURCE;
    let graph = [GRAPH_RESOURCE, GRAPH_APP_ID, world.public_url.as_str()].contains(&resource);
    let reachable = graph || (intune_api && state.licensed);
    if !reachable {
        return Err(Aadsts::resource_missing(resource, &tenant.name));
    }
    let principal = match state.principals.get(&app.client_id.to_lowercase()) {
        Some(principal) if principal.state != PrincipalState::Deleted => principal,
        _ if world.settings().missing_principal_code == 700_016 => {
            return Err(Aadsts::app_not_found(&app.client_id, &tenant.name));
        }
        _ => return Err(Aadsts::principal_missing(&app.client_id, &tenant.id.to_string())),
    };
    if principal.state == PrincipalState::Disabled {
        return Err(Aadsts::app_disabled(&app.client_id, &app.name));
    }
    if state.blocked_by_conditional_access {
        return Err(Aadsts::blocked_by_conditional_access());
    }
    let now = world.clock.login();
    let roles: Vec<_> =
        principal.effective_roles(now).filter(|role| is_intune_api_role(role) == intune_api).collect();
    let lifetime = lifetime_seconds(world);
    let mut claims = json!({
        "aud": if intune_api { format!("{INTUNE_API_RESOURCE}/") } else { GRAPH_RESOURCE.to_owned() },
        "iss": format!("https://sts.windows.net/{}/", tenant.id),
        "iat": now.unix_timestamp(), "nbf": now.unix_timestamp(),
        "exp": now.unix_timestamp() + i64::from(lifetime),
        "app_displayname": app.name, "appid": app.client_id, "appidacr": "1", "idtyp": "app",
        "tid": tenant.id, "ver": "1.0", "sim_generation": principal.token_generation,
        "uti": URL_SAFE_NO_PAD.encode(random_guid().as_bytes()),
    });
    if !roles.is_empty() {
        claims["roles"] = json!(roles);
    }
    Ok(json!({
        "token_type": "Bearer", "expires_in": lifetime, "ext_expires_in": lifetime,
        "access_token": world.keys().sign(Signs::Organizations, &claims),
    }))
}

/// 3599 to 5399 seconds: the service draws 60 to 90 minutes.
fn lifetime_seconds(world: &World) -> u32 {
    world.settings().token_lifetime_seconds.unwrap_or_else(|| 3_599 + world.faults().random_below(1_801))
}

fn redeem(world: &World, app: &App, segment: &str, value: &str, form: &Form) -> Result<Code, Aadsts> {
    let lifetime = Duration::seconds(i64::from(world.settings().code_lifetime_seconds));
    let now = world.clock.login();
    let mut sign_ins = world.sign_ins();
    let code = sign_ins.code_mut(value).ok_or_else(Aadsts::code_unknown)?;
    if code.client_id != app.client_id {
        return Err(Aadsts::code_unknown());
    }
    if code.redeemed {
        return Err(Aadsts::code_redeemed());
    }
    if now - code.issued > lifetime {
        return Err(Aadsts::code_expired());
    }
    if !code.authority.eq_ignore_ascii_case(segment) {
        return Err(Aadsts::code_of_other_authority());
    }
    let redirect_uri = form.require("redirect_uri")?;
    if code.redirect_uri != redirect_uri {
        return Err(Aadsts::code_of_other_redirect(redirect_uri));
    }
    match (&code.challenge, form.get("code_verifier")) {
        (None, None) => {}
        (Some(challenge), Some(verifier)) => {
            if URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) != *challenge {
                return Err(Aadsts::verifier_mismatch());
            }
        }
        (Some(_), None) => return Err(Aadsts::verifier_missing()),
        (None, Some(_)) => return Err(Aadsts::verifier_mismatch()),
    }
    code.redeemed = true;
    Ok(code.clone())
}

fn tokens_for_user(world: &World, app: &App, code: &Code, client_info: bool) -> Result<Value, Aadsts> {
    let personal = code.tenant == PERSONAL_ACCOUNTS;
    let user = if personal {
        Some(User::personal())
    } else {
        world.tenant(code.tenant).and_then(|tenant| tenant.user(&code.user.to_string()))
    };
    let user = user.ok_or_else(|| Aadsts::tenant_not_found(&code.tenant.to_string()))?;
    let signs = if personal { Signs::PersonalAccounts } else { Signs::Organizations };
    let now = world.clock.login().unix_timestamp();
    let lifetime = lifetime_seconds(world);
    let scopes: Vec<_> = code.scope.split_whitespace().collect();
    let granted: Vec<_> = scopes.iter().copied().filter(|scope| *scope != "offline_access").collect();
    let access_token = world.keys().sign(
        signs,
        &json!({
            "aud": GRAPH_RESOURCE, "iss": format!("https://sts.windows.net/{}/", code.tenant),
            "iat": now, "nbf": now, "exp": now + i64::from(lifetime), "appid": app.client_id,
            "idtyp": "user", "oid": user.id, "scp": granted.join(" "), "tid": code.tenant, "ver": "1.0",
        }),
    );
    let mut body = json!({
        "token_type": "Bearer", "scope": granted.join(" "), "expires_in": lifetime,
        "ext_expires_in": lifetime, "access_token": access_token,
    });
    if scopes.contains(&"openid") {
        let claims = id_token_claims(world, app, code, &user, &scopes);
        body["id_token"] = json!(world.keys().sign(signs, &claims));
    }
    if client_info {
        let info = json!({ "uid": user.id, "utid": code.tenant });
        body["client_info"] = json!(URL_SAFE_NO_PAD.encode(info.to_string()));
    }
    Ok(body)
}

/// The claims of a v2 id_token; `oid`, `name` and `preferred_username` come with the scope `profile` alone.
fn id_token_claims(world: &World, app: &App, code: &Code, user: &User, scopes: &[&str]) -> Value {
    let issuer = |tenant: Uuid| format!("{}/{tenant}/v2.0", world.public_url);
    let now = world.clock.login().unix_timestamp();
    let mut claims = json!({
        "aud": app.client_id, "iss": issuer(code.tenant), "iat": now, "nbf": now, "exp": now + 3_599,
        "sub": user.subject(&app.client_id), "tid": code.tenant, "ver": "2.0",
        "aio": URL_SAFE_NO_PAD.encode(random_guid().as_bytes()), "rh": "0.AAAA.",
        "uti": URL_SAFE_NO_PAD.encode(random_guid().as_bytes()),
        "sid": random_guid(),
        "acct": u8::from(user.home_tenant.is_some()),
    });
    if scopes.contains(&"profile") {
        claims["oid"] = json!(user.id);
        claims["name"] = json!(user.display_name);
        claims["preferred_username"] = json!(user.user_principal_name);
    }
    if scopes.contains(&"email") {
        claims["email"] = json!(user.user_principal_name);
    }
    if let Some(nonce) = &code.nonce {
        claims["nonce"] = json!(nonce);
    }
    let wids = user.role.wids();
    if !wids.is_empty() && code.tenant != PERSONAL_ACCOUNTS {
        claims["wids"] = json!(wids);
    }
    if let Some(home) = user.home_tenant {
        claims["idp"] = json!(format!("https://sts.windows.net/{home}/"));
    }
    claims
}
