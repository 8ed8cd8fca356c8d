//! Admin consent: `/{tenant|organizations}/v2.0/adminconsent`, and the older `/{…}/adminconsent`.
//!
//! What comes back: on success `admin_consent=True&tenant=<guid>&scope=<urls>&state=…`. On v2 a refusal has
//! `admin_consent=True` too, so that only `error` tells them apart. Who is not privileged enough stays on
//! Microsoft's page; nothing comes back.

use std::sync::Arc;

use axum::{
    extract::{Path, Query, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};

use super::{
    aadsts::Aadsts,
    authority::Authority,
    authorize::{Parameters, own_url},
    callback::{Callback, ResponseMode, redirect},
    pages::{self, Consent, error_page, sign_in_page},
    session::{self, Person},
    token::Form,
};
use crate::{
    clock::random_guid,
    directory::{App, Tenant, roles::GRAPH_RESOURCE, user::Role},
    settings::CancelError,
    world::World,
};

/// The two generations of the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

struct Request {
    authority: Authority,
    app: App,
    callback: Callback,
    /// The app roles asked for, by name.
    roles: Vec<String>,
    choose_account: bool,
}

impl Request {
    fn check(world: &World, version: Version, segment: &str, query: &Parameters) -> Result<Self, Aadsts> {
        let get = |name: &str| query.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let authority = Authority::find(world, segment)?;
        let unusable = matches!(authority, Authority::Consumers)
            || version == Version::V2 && matches!(authority, Authority::Common);
        if unusable {
            return Err(Aadsts::new(
                90_023,
                StatusCode::BAD_REQUEST,
                "invalid_request",
                format!("Admin consent is not supported over /{segment}; use a tenant or /organizations."),
            ));
        }
        let client_id = get("client_id").ok_or_else(|| Aadsts::missing_parameter("client_id"))?;
        let app =
            world.app(client_id).ok_or_else(|| Aadsts::app_not_found(client_id, &authority.segment()))?;
        if !app.multi_tenant {
            return Err(Aadsts::not_multi_tenant(client_id));
        }
        let redirect_uri = get("redirect_uri").ok_or_else(|| Aadsts::missing_parameter("redirect_uri"))?;
        if !app.redirect_uris.iter().any(|known| known == redirect_uri) {
            return Err(Aadsts::wrong_redirect(redirect_uri, client_id));
        }
        // Application permissions come through `/.default` alone, which means all that the manifest lists.
        let roles = match (version, get("scope")) {
            (Version::V2, None) => return Err(Aadsts::missing_parameter("scope")),
            (Version::V2, Some(scope)) if !scope.split_whitespace().any(|one| one.ends_with("/.default")) => {
                Vec::new()
            }
            _ => app.required_roles.clone(),
        };
        Ok(Self {
            callback: Callback {
                redirect_uri: redirect_uri.to_owned(),
                mode: ResponseMode::Query,
                state: get("state").map(str::to_owned),
            },
            choose_account: get("prompt") == Some("select_account"),
            authority,
            app,
            roles,
        })
    }

    /// The reasons for which Microsoft's page goes no further for this person.
    fn obstacle(&self, tenant: &Tenant, person: &Person) -> Option<Aadsts> {
        let every_api_but_graph = person.user.role == Role::CloudApplicationAdministrator
            && self.roles.iter().all(|role| crate::directory::roles::is_intune_api_role(role));
        if !(person.user.role.may_consent() || every_api_but_graph) {
            return Some(Aadsts::needs_admin(&self.app.client_id, &self.app.name));
        }
        let unsubscribed = self.app.needs_intune_api() && !tenant.read().licensed;
        unsubscribed.then(|| Aadsts::not_subscribed(&self.app.client_id, &self.app.name))
    }

    fn approve(&self, world: &World, version: Version, tenant: &Tenant) -> Response {
        world.consent(
            tenant,
            &self.app.client_id,
            Some(self.roles.clone()),
            world.settings().consent_propagation_seconds,
        );
        let id = tenant.id.to_string();
        if version == Version::V1 {
            // The older endpoint puts the tenant first and knows no scope.
            return self.callback.send(&[("tenant", &id)], &[("admin_consent", "True")]);
        }
        let scopes: Vec<_> = self.roles.iter().map(|role| format!("{GRAPH_RESOURCE}/{role}")).collect();
        let scope = format!("{} {GRAPH_RESOURCE}/.default", scopes.join(" "));
        self.callback.send(&[("admin_consent", "True"), ("tenant", &id), ("scope", scope.trim())], &[])
    }

    fn cancel(&self, world: &World, version: Version) -> Response {
        if version == Version::V1 {
            let fields =
                [("error", "permission_denied"), ("error_description", "The admin canceled the request")];
            return self.callback.send(&fields, &[]);
        }
        let denied = Aadsts::new(
            65_004,
            StatusCode::BAD_REQUEST,
            "consent_required",
            "The resource owner or authorization server denied the request.",
        );
        let (trace, correlation) = (random_guid().to_string(), random_guid().to_string());
        let description = denied.description(&trace, &correlation, world.clock.login());
        let mut fields = vec![("admin_consent", "True")];
        match world.settings().cancel_error {
            CancelError::ConsentRequired => fields.push(("error", "consent_required")),
            CancelError::AccessDenied => {
                fields.extend([("error", "access_denied"), ("error_subcode", "cancel")]);
            }
        }
        fields.push(("error_description", &description));
        self.callback.send(&fields, &[])
    }
}

fn path(version: Version, segment: &str) -> String {
    match version {
        Version::V1 => format!("/{segment}/adminconsent"),
        Version::V2 => format!("/{segment}/v2.0/adminconsent"),
    }
}

pub async fn show_v1(
    world: State<Arc<World>>,
    segment: Path<String>,
    raw: RawQuery,
    query: Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    show(&world, Version::V1, &segment, raw.0.as_deref(), &query, &headers)
}

pub async fn show_v2(
    world: State<Arc<World>>,
    segment: Path<String>,
    raw: RawQuery,
    query: Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    show(&world, Version::V2, &segment, raw.0.as_deref(), &query, &headers)
}

fn show(
    world: &World,
    version: Version,
    segment: &str,
    raw: Option<&str>,
    query: &Parameters,
    headers: &HeaderMap,
) -> Response {
    let request = match Request::check(world, version, segment, query) {
        Ok(request) => request,
        Err(error) => return error_page(world, &error),
    };
    let action = own_url(&path(version, segment), raw);
    let person = session::current(world, headers)
        .filter(|person| person.may_use(&request.authority) && !request.choose_account);
    let found = person.and_then(|person| world.tenant(person.tenant).map(|tenant| (tenant, person)));
    let Some((tenant, person)) = found else {
        return sign_in_page(world, &request.authority, &request.app, &action, query, "Sign in to approve");
    };
    if let Some(obstacle) = request.obstacle(&tenant, &person) {
        return error_page(world, &obstacle);
    }
    Consent {
        app: &request.app,
        tenant: &tenant.name,
        domain: &tenant.domain,
        user: &person.user,
        roles: request.roles.clone(),
        action: &action,
        other_account: format!("{action}&prompt=select_account"),
    }
    .into_response()
}

pub async fn submit_v1(
    world: State<Arc<World>>,
    segment: Path<String>,
    raw: RawQuery,
    query: Query<Parameters>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Response {
    submit(&world, Version::V1, &segment, raw.0.as_deref(), &query, &headers, &body)
}

pub async fn submit_v2(
    world: State<Arc<World>>,
    segment: Path<String>,
    raw: RawQuery,
    query: Query<Parameters>,
    headers: HeaderMap,
    body: bytes::Bytes,
) -> Response {
    submit(&world, Version::V2, &segment, raw.0.as_deref(), &query, &headers, &body)
}

fn submit(
    world: &World,
    version: Version,
    segment: &str,
    raw: Option<&str>,
    query: &Parameters,
    headers: &HeaderMap,
    body: &[u8],
) -> Response {
    let request = match Request::check(world, version, segment, query) {
        Ok(request) => request,
        Err(error) => return error_page(world, &error),
    };
    let form = Form::parse(body);
    if let Some(name) = form.get("user") {
        let Some(person) = session::find(world, name).filter(|person| person.may_use(&request.authority))
        else {
            return error_page(world, &pages::not_in_tenant(name, &request.authority.segment()));
        };
        let back = raw.unwrap_or_default().replace("&prompt=select_account", "");
        let mut response = redirect(&own_url(&path(version, segment), Some(&back)));
        session::set_cookie(&mut response, &session::sign_in(world, &person));
        return response;
    }
    if form.get("decision") != Some("approve") {
        return request.cancel(world, version);
    }
    let person = session::current(world, headers).filter(|person| person.may_use(&request.authority));
    let found = person.and_then(|person| world.tenant(person.tenant).map(|tenant| (tenant, person)));
    match found {
        Some((tenant, person)) => match request.obstacle(&tenant, &person) {
            Some(obstacle) => error_page(world, &obstacle),
            None => request.approve(world, version, &tenant),
        },
        None => redirect(&own_url(&path(version, segment), raw)),
    }
}
