//! `POST /v1/nac/radius/authorize` and `/accounting`: the same for a FreeRADIUS with `rlm_rest`, in its own words.
//!
//! What the status says to FreeRADIUS differs from what it says to others: a denial is a 200 with an explicit verdict,
//! and where no decision can be made the answer is a 503, upon which an edge goes by the last decision that it holds.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use cache::SpilledRecord;
use domain::radius::rest::accounting::{self, Message, Told};
use domain::radius::rest::{Attributes, Unreadable, answer, request};
use domain::session::{Accounting, session_id};
use domain::time::{truncate_micros, uuid_of};
use domain::{DecisionId, EventId};
use httpkit::{Json, Problem};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::Instrument;
use wire::events;

use crate::auth::{Caller, store_away};
use crate::authorize::{Deciding, Recorded, decide, overloaded, record, tells_later};
use crate::{Shared, openapi};

/// Decides what a client may have, for `rlm_rest` with `body = 'json'`.
///
/// Send the packet of the `post-auth` section: after the TLS handshake it holds the certificate. Of the answer, accept
/// nothing but `Gatehouse-Decision = accept`. A 401 means that the edge's credential is revoked: do not fall back to
/// what was decided before. A 429 or 503, or no answer, does not: the last decision holds.
#[utoipa::path(
    post,
    path = "/v1/nac/radius/authorize",
    tag = "radius",
    operation_id = "radius_authorize",
    params(("Gatehouse-Tells-Later" = Option<String>, Header,
        description = "Whatever it says: where the decision cannot be recorded, the answer holds it as `unrecorded`, an \
            event that `/v1/nac/events` takes later")),
    request_body(content = Object, description = "The attributes of an Access-Request, as `rlm_rest` writes them",
        examples(("packet" = (summary = "EAP-TLS, after the handshake", value = json!(openapi::packet_example()))))),
    responses(
        (status = 200, description = "The decision, accept or reject", body = Object, examples(
            ("accept" = (summary = "Accepted", value = json!(openapi::accept_example()))),
            ("reject" = (summary = "Rejected", value = json!(openapi::reject_example()))))),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Json(body): Json<Map<String, Value>>,
) -> Result<Json<Value>, Problem> {
    let started = Instant::now();
    let now = shared.clock.now();
    let id: DecisionId = shared.ids.make(now);
    let attributes = Attributes::read(&body).map_err(|error| unreadable(&error))?;
    let asked = request::read(&attributes, caller.edge, caller.site).map_err(|error| unreadable(&error))?;
    let span = tracing::info_span!("decision", decision_id = %id, org = %caller.org, edge = %caller.edge);
    async {
        let (answer, keys) = decide(&shared, caller.org, &asked.request, id, now).await;
        // What was decided before is better than a denial that knows nothing.
        let answer = answer.ok_or_else(store_away)?;
        let deciding = Deciding { request: asked.request, answer, keys, tells_later: tells_later(&headers) };
        let Recorded { record, recorded, unrecorded } =
            record(&shared, caller.org, deciding, asked.session_key, started).await?;
        let vendor = record.request.nas.vendor.as_deref();
        let mut told = answer::write(&record.answer, vendor, Some(&record.session_key), recorded);
        answer::name_client(&mut told, record.request.user_name.as_deref(), attributes.first("User-Name"));
        if let Some(unrecorded) = unrecorded {
            told[events::UNRECORDED] = unrecorded;
        }
        Ok(Json(told))
    }
    .instrument(span)
    .await
}

/// Takes an accounting packet from `rlm_rest` with `body = 'json'`.
///
/// Repeated, late and reordered packets do no harm. Packets that tell nothing of a session are answered like others,
/// because a NAS would send them for ever.
#[utoipa::path(
    post,
    path = "/v1/nac/radius/accounting",
    tag = "radius",
    operation_id = "radius_accounting",
    request_body(content = Object, description = "The attributes of an Accounting-Request, as `rlm_rest` writes them",
        examples(("packet" = (summary = "A session starts", value = json!(openapi::accounting_packet_example()))))),
    responses(
        (status = 204, description = "It is kept"),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn accounting(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode, Problem> {
    let attributes = Attributes::read(&body).map_err(|error| unreadable(&error))?;
    match accounting::read(&attributes) {
        Told::Session(message) => {
            let message = accounted(*message, caller, shared.clock.now(), &shared);
            match shared.recorder.record(SpilledRecord::Accounting(Box::new(message))).await {
                Ok(true) => Ok(StatusCode::NO_CONTENT),
                Ok(false) => Err(store_away()),
                Err(_) => Err(overloaded()),
            }
        }
        Told::NasRestarted | Told::Nothing => Ok(StatusCode::NO_CONTENT),
    }
}

/// Names and dates a message.
pub(crate) fn accounted(
    message: Message,
    caller: Caller,
    now: OffsetDateTime,
    shared: &Shared,
) -> Accounting {
    let Message { status, session_key, acct_session_id, at, .. } = message;
    let oldest = now - shared.config.accounting_age_max;
    let at = at.map_or(now, |at| truncate_micros(at.clamp(oldest, now)));
    let session = session_id(caller.org, caller.edge, &session_key);
    Accounting {
        org: caller.org,
        id: EventId(uuid_of(at, &format!("{session}/{status}"))),
        edge: caller.edge,
        site: caller.site,
        session,
        session_key,
        acct_session_id,
        status,
        at,
        mac: message.mac,
        user_name: message.user_name,
        framed_ip: message.framed_ip,
        bytes_in: message.bytes_in,
        bytes_out: message.bytes_out,
        session_seconds: message.session_seconds,
        terminate_cause: message.terminate_cause,
    }
}

fn unreadable(error: &Unreadable) -> Problem {
    let field = if let Unreadable::Attribute(name) = error { name.clone() } else { String::new() };
    Problem::invalid(Vec::new()).field(field, "unreadable", error.to_string())
}
