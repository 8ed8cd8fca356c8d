//! What the local FreeRADIUS calls: the same paths and bodies as the cloud's, so that either can be asked.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use domain::answer::without_facts;
use domain::bundle::Fallback;
use domain::decision::{Answer, Reason};
use domain::radius::rest::{Attributes, answer as rest_answer, request as rest_request};
use domain::request::AccessRequest;
use domain::session::{session_id, session_key};
use domain::time::{Ids, SharedClock};
use domain::{DecisionId, EdgeId, OrgId, SiteId};
use httpkit::{FrontLayer, Problem, body_limit};
use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;
use wire::authorize::{read_request, write_answer};
use wire::{events, fields};

use crate::bundle::Bundles;
use crate::cloud::{Cloud, Reply, Said};
use crate::config::Limits;
use crate::deliver::{Courier, Delivered};
use crate::report::Reporter;

const AUTHORIZE: &str = "/v1/nac/authorize";
const RADIUS_AUTHORIZE: &str = "/v1/nac/radius/authorize";
const RADIUS_REFUSED: &str = "/v1/nac/radius/refused";

/// Where an answer names its decision and says whether that is recorded, as JSON pointers.
struct Marks {
    id: &'static str,
    recorded: &'static str,
}

const MARKS: Marks = Marks { id: "/decision_id", recorded: "/recorded" };
const RADIUS_MARKS: Marks =
    Marks { id: "/control:Gatehouse-Decision-Id/value", recorded: "/control:Gatehouse-Recorded/value" };

pub struct Shared {
    pub cloud: Arc<Cloud>,
    pub courier: Arc<Courier>,
    pub reporter: Arc<Reporter>,
    /// `None`: no key was given to know bundles by.
    pub bundles: Option<Arc<Bundles>>,
    pub clock: SharedClock,
    pub ids: Ids,
    pub limits: Limits,
    pub org: OrgId,
}

pub fn router(shared: Arc<Shared>) -> Router {
    let front = FrontLayer::new(
        Arc::clone(&shared.clock),
        shared.ids.clone(),
        shared.limits.answer_timeout() + std::time::Duration::from_secs(10),
    );
    let bytes_max = shared.limits.body_bytes_max;
    Router::new()
        .route(AUTHORIZE, post(authorize))
        .route(RADIUS_AUTHORIZE, post(radius_authorize))
        .route("/v1/nac/accounting", post(accounting))
        .route("/v1/nac/radius/accounting", post(radius_accounting))
        .route(RADIUS_REFUSED, post(radius_refused))
        .route("/v1/nac/events", post(forward))
        .route("/status", get(status))
        .fallback(httpkit::not_found)
        .method_not_allowed_fallback(httpkit::method_not_allowed)
        .with_state(shared)
        .layer(body_limit(bytes_max))
        .layer(front)
}

async fn authorize(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    shared.reporter.asked_by(&headers);
    let (reply, ask) = shared.decide(AUTHORIZE, &body).await;
    match reply {
        // The cloud itself could read nothing: the bundle knows better.
        Reply::Said(said) if !is_blind(&said) => {
            return Ok(response(shared.keep_unrecorded(said, &MARKS).await));
        }
        Reply::Revoked(said) => return Ok(response(said)),
        Reply::Said(_) | Reply::Away => {}
    }
    let object = object(&body)?;
    let place = Place::of(&shared);
    let request = fields::read(&object, |fields| read_request(fields, place.edge, place.site))?;
    let (id, now) = (shared.id(), shared.clock.now());
    let key =
        session_key(request.session_id.as_deref(), request.mac).unwrap_or_else(|| format!("decision:{id}"));
    let session = session_id(shared.org, place.edge, &key);
    let answer = place.decide(&request, id, now);
    let vendor = request.nas.vendor.clone();
    let recorded = shared.record(&request, &answer, &key, ask).await;
    let mut told = serde_json::to_value(write_answer(&answer, vendor.as_deref(), Some(session), recorded))
        .map_err(|_| Problem::internal())?;
    told["decided_offline"] = Value::Bool(true);
    Ok(axum::Json(told).into_response())
}

async fn radius_authorize(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    shared.reporter.asked_by(&headers);
    let (reply, ask) = shared.decide(RADIUS_AUTHORIZE, &body).await;
    match reply {
        Reply::Said(said) => return Ok(response(shared.keep_unrecorded(said, &RADIUS_MARKS).await)),
        Reply::Revoked(said) => return Ok(response(said)),
        Reply::Away => {}
    }
    let attributes = attributes(&object(&body)?)?;
    let place = Place::of(&shared);
    let asked =
        rest_request::read(&attributes, place.edge, place.site).map_err(|error| unreadable(&error))?;
    let (id, now) = (shared.id(), shared.clock.now());
    let key = asked.session_key.unwrap_or_else(|| format!("decision:{id}"));
    let answer = place.decide(&asked.request, id, now);
    // FreeRADIUS remembers what the cloud said of a client that is not in the bundle yet: better than the fallback.
    let remembered = attributes.first("Gatehouse-Remembered") == Some("yes") && !shared.cloud.is_revoked();
    if remembered && answer.decision.reason == Reason::SiteFallback && !place.is_over(now) {
        return Err(Problem::unavailable("not_in_bundle", "Nothing is known of this client here.", 1));
    }
    let (vendor, name) = (asked.request.nas.vendor.clone(), asked.request.user_name.clone());
    let recorded = shared.record(&asked.request, &answer, &key, ask).await;
    let mut told = rest_answer::write(&answer, vendor.as_deref(), Some(&key), recorded);
    rest_answer::name_client(&mut told, name.as_deref(), attributes.first("User-Name"));
    told["control:Gatehouse-Decided-Offline"] = json!({"op": ":=", "do_xlat": false, "value": "yes"});
    Ok(axum::Json(told).into_response())
}

/// An accounting message that does not say when it happened happened now, not when it is delivered.
async fn accounting(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> Result<Response, Problem> {
    let mut object = object(&body)?;
    let told = object.get("event_timestamp").is_some_and(|at| !at.is_null() && *at != "");
    if !told {
        let now = shared.clock.now().format(&Rfc3339).map_err(|_| Problem::internal())?;
        object.insert("event_timestamp".to_owned(), now.into());
    }
    shared.pass_on(&uri, Value::Object(object).to_string()).await
}

async fn radius_accounting(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut object = object(&body)?;
    let attributes = attributes(&object)?;
    let told =
        ["Gatehouse-Event-Time", "Event-Timestamp"].iter().any(|name| attributes.first(name).is_some());
    if !told {
        let seconds = shared.clock.now().unix_timestamp();
        let value = json!({"type": "integer", "value": [seconds]});
        object.insert("Gatehouse-Event-Time".to_owned(), value);
    }
    shared.pass_on(&uri, Value::Object(object).to_string()).await
}

/// Whom FreeRADIUS refused by itself. Not kept while the cloud is away: whoever tries passwords must not fill what is
/// there for accounting.
async fn radius_refused(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    match shared.cloud.ask(RADIUS_REFUSED, body, shared.limits.answer_timeout()).await {
        Reply::Said(said) | Reply::Revoked(said) => response(said),
        Reply::Away => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Passes a body on as it is.
async fn forward(State(shared): State<Arc<Shared>>, uri: Uri, body: Bytes) -> Result<Response, Problem> {
    let object = object(&body)?;
    shared.pass_on(&uri, Value::Object(object).to_string()).await
}

/// How the agent stands, for people.
async fn status(State(shared): State<Arc<Shared>>) -> axum::Json<Value> {
    let bundle = shared.bundles.as_ref().and_then(|bundles| bundles.ready()).map(|ready| {
        let age = shared.clock.now() - ready.manifest.issued_at;
        json!({
            "version": ready.manifest.version,
            "age_seconds": age.whole_seconds().max(0),
            "over": ready.bundle.is_over(shared.clock.now()),
        })
    });
    axum::Json(json!({
        "cloud": if shared.cloud.is_revoked() { "revoked" } else if shared.cloud.is_spared() { "away" } else { "up" },
        "bundle": bundle,
        "waiting": shared.courier.spool.len().await.ok(),
        "refused": shared.courier.spool.refused().await.ok(),
        "version": env!("CARGO_PKG_VERSION"),
    }))
}

/// What the agent may decide from, and where it stands.
struct Place {
    ready: Option<Arc<crate::bundle::Ready>>,
    edge: EdgeId,
    site: SiteId,
}

impl Place {
    fn of(shared: &Shared) -> Self {
        // Whose credential is revoked may not decide.
        let ready = shared.bundles.as_ref().filter(|_| !shared.cloud.is_revoked()).and_then(|b| b.ready());
        let (edge, site) = match &ready {
            Some(ready) => (ready.manifest.edge, ready.manifest.site),
            None => (EdgeId(Uuid::nil()), SiteId(Uuid::nil())),
        };
        Self { ready, edge, site }
    }

    /// Whether the bundle is too old to decide from.
    fn is_over(&self, now: time::OffsetDateTime) -> bool {
        self.ready.as_ref().is_some_and(|ready| ready.bundle.is_over(now))
    }

    fn decide(&self, request: &AccessRequest, id: DecisionId, now: time::OffsetDateTime) -> Answer {
        match &self.ready {
            Some(ready) => ready.bundle.answer(request, id, now),
            // Nobody has told what the site falls back to: denied.
            None => without_facts(Fallback::default().outcome(), Reason::SiteFallback, id, now),
        }
    }
}

impl Shared {
    fn id(&self) -> DecisionId {
        self.ids.make(self.clock.now())
    }

    /// Asks the cloud. With the name of the ask, where it may have been heard.
    async fn decide(&self, path: &str, body: &Bytes) -> (Reply, Option<Uuid>) {
        let ask = self.ids.uuid(self.clock.now());
        self.cloud.decide(path, ask, body.clone(), self.limits.answer_timeout()).await
    }

    /// Keeps a decision that was made here, for the cloud, with the name of what that was asked before. `false`: it could
    /// not be kept.
    async fn record(&self, request: &AccessRequest, answer: &Answer, key: &str, ask: Option<Uuid>) -> bool {
        self.reporter.decided_offline(answer.at);
        match events::decision(request, answer, key, ask) {
            Ok(event) => self.keep(event, &answer.id.to_string()).await,
            Err(error) => {
                tracing::error!(%error, decision = %answer.id, "a decision cannot be written as an event");
                false
            }
        }
    }

    /// Keeps a decision that the cloud made and could record nowhere, to be told again; its answer then says that it is
    /// recorded. Should it have been written after all, the cloud knows it by its id.
    async fn keep_unrecorded(&self, said: Said, marks: &Marks) -> Said {
        let Ok(mut body) = serde_json::from_slice::<Value>(&said.body) else { return said };
        if body.pointer(marks.recorded).is_none_or(|told| *told != false && told != "no") {
            return said;
        }
        let id = body.pointer(marks.id).and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(event) = body.as_object_mut().and_then(|body| body.remove(events::UNRECORDED)) else {
            // An older cloud does not say what it decided from.
            tracing::error!(decision = id, "a decision is recorded nowhere, and cannot be told again");
            return said;
        };
        if self.keep(event, &id).await
            && let Some(told) = body.pointer_mut(marks.recorded)
        {
            *told = if told.is_boolean() { true.into() } else { "yes".into() };
        }
        Said { body: body.to_string().into(), ..said }
    }

    /// Keeps an event for the cloud. `false`: it could not be kept.
    async fn keep(&self, event: Value, decision: &str) -> bool {
        let kept = self.courier.keep(events::PATH.to_owned(), events::body(&[event]).to_string()).await;
        if let Err(error) = &kept {
            tracing::error!(%error, decision, "a decision could not be kept");
        }
        kept.is_ok()
    }

    async fn pass_on(&self, uri: &Uri, body: String) -> Result<Response, Problem> {
        match self.courier.deliver(uri.path().to_owned(), body).await {
            Ok(Delivered::Said(said)) => Ok(response(said)),
            Ok(Delivered::Spooled) => Ok(StatusCode::NO_CONTENT.into_response()),
            Err(error) => {
                // FreeRADIUS keeps it in its detail file, and sends it again.
                tracing::error!(%error, "a body could not be kept");
                Err(Problem::unavailable("spool_full", "As much waits for the cloud as may wait.", 30))
            }
        }
    }
}

fn is_blind(said: &Said) -> bool {
    let reason = serde_json::from_slice::<Value>(&said.body).ok();
    reason.is_some_and(|body| body["reason"] == Reason::FactsUnavailable.as_str())
}

fn object(body: &Bytes) -> Result<Map<String, Value>, Problem> {
    serde_json::from_slice(body).map_err(|error| {
        Problem::new(StatusCode::BAD_REQUEST, "invalid_json", "The body is not a JSON object")
            .detail(error.to_string())
    })
}

fn attributes(object: &Map<String, Value>) -> Result<Attributes, Problem> {
    Attributes::read(object).map_err(|error| unreadable(&error))
}

fn unreadable(error: &domain::radius::rest::Unreadable) -> Problem {
    Problem::invalid(Vec::new()).field("", "unreadable", error.to_string())
}

fn response(said: Said) -> Response {
    let mut response = Response::new(Body::from(said.body));
    *response.status_mut() = said.status;
    let kind = said.content_type.unwrap_or(HeaderValue::from_static("application/json"));
    if said.status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
    }
    response
}

#[cfg(test)]
mod tests;
