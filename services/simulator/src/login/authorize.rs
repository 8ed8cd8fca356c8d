//! `/{authority}/oauth2/v2.0/authorize`: a page on which one picks a user, then a code.

use std::{collections::HashMap, sync::Arc};

use axum::{
    extract::{Path, Query, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

use super::{
    aadsts::Aadsts,
    authority::Authority,
    callback::{Callback, ResponseMode},
    pages::{self, error_page, sign_in_page},
    session::{self, Person},
    sign_ins::Code,
    token::Form,
};
use crate::{clock::random_token, directory::App, world::World};

pub type Parameters = HashMap<String, String>;

/// A request that was found in order.
struct Authorize {
    authority: Authority,
    app: App,
    callback: Callback,
    scope: String,
    nonce: Option<String>,
    challenge: Option<String>,
    prompt: Option<String>,
}

/// Errors before the redirect URI is trusted are shown; later ones are sent there.
enum Refusal {
    Shown(Aadsts),
    Sent(Box<Callback>, &'static str, Aadsts),
}

impl From<Aadsts> for Refusal {
    fn from(error: Aadsts) -> Self {
        Self::Shown(error)
    }
}

impl Authorize {
    fn check(world: &World, segment: &str, query: &Parameters) -> Result<Self, Refusal> {
        let get = |name: &str| query.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let authority = Authority::find(world, segment)?;
        let client_id = get("client_id").ok_or_else(|| Aadsts::missing_parameter("client_id"))?;
        let app =
            world.app(client_id).ok_or_else(|| Aadsts::app_not_found(client_id, &authority.segment()))?;
        if !app.multi_tenant && authority.tenant().is_none() {
            return Err(Aadsts::not_multi_tenant(client_id).into());
        }
        let redirect_uri = get("redirect_uri").ok_or_else(|| Aadsts::missing_parameter("redirect_uri"))?;
        if !app.redirect_uris.iter().any(|known| known == redirect_uri) {
            return Err(Aadsts::wrong_redirect(redirect_uri, client_id).into());
        }
        let mode = match get("response_mode") {
            None | Some("query") => Some(ResponseMode::Query),
            Some("form_post") => Some(ResponseMode::FormPost),
            Some(_) => None,
        };
        let callback = Callback {
            redirect_uri: redirect_uri.to_owned(),
            mode: mode.unwrap_or(ResponseMode::Query),
            state: get("state").map(str::to_owned),
        };
        let refuse = |error: &'static str, code: u32, message: &str| {
            let aadsts = Aadsts::new(code, StatusCode::BAD_REQUEST, error, message);
            Err(Refusal::Sent(Box::new(callback.clone()), error, aadsts))
        };
        match get("response_type") {
            Some("code") => {}
            None => return refuse("invalid_request", 900_144, "The request must contain 'response_type'."),
            Some(_) => {
                return refuse(
                    "unsupported_response_type",
                    700_051,
                    "response_type is not enabled for the application; the simulator supports 'code'.",
                );
            }
        }
        if mode.is_none() {
            return refuse("invalid_request", 90_023, "The response_mode is not supported.");
        }
        let Some(scope) = get("scope") else {
            return refuse("invalid_request", 900_144, "The request must contain 'scope'.");
        };
        let challenge = get("code_challenge").map(str::to_owned);
        match (&challenge, get("code_challenge_method")) {
            (None, None) | (Some(_), Some("S256")) => {}
            _ => {
                return refuse(
                    "invalid_request",
                    501_491,
                    "Invalid size of Code_Challenge parameter, or its method is not S256.",
                );
            }
        }
        if challenge.as_ref().is_some_and(|challenge| challenge.len() != 43) {
            return refuse("invalid_request", 501_491, "Invalid size of Code_Challenge parameter.");
        }
        let prompt = get("prompt").map(str::to_owned);
        if !matches!(
            prompt.as_deref(),
            None | Some("none" | "login" | "select_account" | "consent" | "create" | "admin_consent")
        ) {
            return refuse("invalid_request", 90_023, "The value of 'prompt' is not supported.");
        }
        Ok(Self {
            authority,
            app,
            scope: scope.to_owned(),
            nonce: get("nonce").map(str::to_owned),
            challenge,
            prompt,
            callback,
        })
    }

    /// Issues a code for `person` and sends it back.
    fn finish(self, world: &World, segment: &str, person: &Person) -> Response {
        let now = world.clock.login();
        let code = Code {
            client_id: self.app.client_id,
            redirect_uri: self.callback.redirect_uri.clone(),
            authority: segment.to_owned(),
            tenant: person.tenant,
            user: person.user.id,
            scope: self.scope,
            nonce: self.nonce,
            challenge: self.challenge,
            issued: now,
            redeemed: false,
        };
        let value = format!("1.{}", random_token::<48>());
        world.sign_ins().issue(value.clone(), code, now - time::Duration::days(1));
        let session_state = crate::clock::random_guid().to_string();
        self.callback.send(&[("code", &value)], &[("session_state", &session_state)])
    }
}

/// Where the form of a page posts to: the same URL again.
pub fn own_url(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

pub async fn show(
    State(world): State<Arc<World>>,
    Path(segment): Path<String>,
    RawQuery(raw): RawQuery,
    Query(query): Query<Parameters>,
    headers: HeaderMap,
) -> Response {
    let request = match Authorize::check(&world, &segment, &query) {
        Ok(request) => request,
        Err(refusal) => return refuse(&world, refusal),
    };
    let signed_in = session::current(&world, &headers).filter(|person| person.may_use(&request.authority));
    match (request.prompt.as_deref(), signed_in) {
        (None | Some("none"), Some(person)) => request.finish(&world, &segment, &person),
        (Some("none"), None) => {
            let aadsts = Aadsts::new(
                50_058,
                StatusCode::BAD_REQUEST,
                "login_required",
                "A silent sign-in request was sent but no user is signed in.",
            );
            send_error(&world, &request.callback, "login_required", &aadsts)
        }
        _ => {
            let action = own_url(&format!("/{segment}/oauth2/v2.0/authorize"), raw.as_deref());
            sign_in_page(&world, &request.authority, &request.app, &action, &query, "Sign in")
        }
    }
}

pub async fn submit(
    State(world): State<Arc<World>>,
    Path(segment): Path<String>,
    Query(query): Query<Parameters>,
    body: bytes::Bytes,
) -> Response {
    let request = match Authorize::check(&world, &segment, &query) {
        Ok(request) => request,
        Err(refusal) => return refuse(&world, refusal),
    };
    let form = Form::parse(&body);
    let Some(name) = form.get("user") else {
        let aadsts = Aadsts::new(
            65_004,
            StatusCode::BAD_REQUEST,
            "access_denied",
            "User declined to consent to access the app.",
        );
        return send_error(&world, &request.callback, "access_denied", &aadsts);
    };
    match session::find(&world, name).filter(|person| person.may_use(&request.authority)) {
        Some(person) => {
            let cookie = session::sign_in(&world, &person);
            let mut response = request.finish(&world, &segment, &person);
            session::set_cookie(&mut response, &cookie);
            response
        }
        None => error_page(&world, &pages::not_in_tenant(name, &request.authority.segment())),
    }
}

fn refuse(world: &World, refusal: Refusal) -> Response {
    match refusal {
        Refusal::Shown(error) => error_page(world, &error),
        Refusal::Sent(callback, error, aadsts) => send_error(world, &callback, error, &aadsts),
    }
}

fn send_error(world: &World, callback: &Callback, error: &str, aadsts: &Aadsts) -> Response {
    let (trace, correlation) =
        (crate::clock::random_guid().to_string(), crate::clock::random_guid().to_string());
    let description = aadsts.description(&trace, &correlation, world.clock.login());
    let uri = format!("{}/error?code={}", world.public_url, aadsts.code);
    callback.send(&[("error", error), ("error_description", &description), ("error_uri", &uri)], &[])
}
