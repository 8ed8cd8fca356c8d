//! `POST /v1/nac/radius/authorize` and `/accounting`: the same for a FreeRADIUS with `rlm_rest`, in its own words.
//!
//! What the status says to FreeRADIUS differs from what it says to others: a denial is a 200 with an explicit verdict,
//! and where no decision can be made the answer is a 503, upon which an edge goes by the last decision that it holds.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use domain::radius::rest::accounting::{self, Message, Restart, Told};
use domain::radius::rest::{Attributes, Unreadable, answer, request};
use domain::session::{Accounting, happened_at, session_id};
use domain::time::uuid_of;
use domain::{DecisionId, EventId};
use httpkit::{Json, Problem};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::Instrument;
use wire::events;

use crate::accounting::keep;
use crate::auth::{Caller, store_away};
use crate::authorize::{Deciding, Manner, Recorded, decide, record};
use crate::gate::GateError;
use crate::{Shared, openapi};

/// Sessions of a NAS that are ended in one transaction.
const SESSIONS_AT_ONCE: i64 = 500;

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
    params(
        ("Gatehouse-Tells-Later" = Option<String>, Header,
            description = "Whatever it says: where the decision cannot be recorded, the answer holds it as \
                `unrecorded`, an event that `/v1/nac/events` takes later"),
        ("Gatehouse-Ask" = Option<String>, Header,
            description = "A UUID, the edge's name of what it asks: see `/v1/nac/authorize`"),
    ),
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
        let deciding = Deciding { request: asked.request, answer, keys, manner: Manner::of(&headers) };
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
            keep(&shared, message).await
        }
        Told::NasRestarted(restart) => restarted(&shared, caller, &restart).await,
        Told::Nothing => Ok(StatusCode::NO_CONTENT),
    }
}

/// Ends what the NAS had going on: some sessions per transaction, until none is left. Where it cannot be done now, the
/// edge keeps the message and tells it again; by then it ends what is left of the same sessions, and none that came
/// later.
async fn restarted(shared: &Shared, caller: Caller, restart: &Restart) -> Result<StatusCode, Problem> {
    let now = shared.clock.now();
    let at = happened_at(restart.at, restart.delay, now, shared.config.accounting_age_max);
    loop {
        let write = async {
            let mut tx = shared.store.org(caller.org).await?;
            let ended =
                store::sessions::end_of_nas(&mut tx, caller.edge, &restart.nas, at, SESSIONS_AT_ONCE).await?;
            tx.commit().await?;
            Ok(ended)
        };
        match shared.gate.ask(shared.config.store_write_timeout, write).await {
            Ok(0) => return Ok(StatusCode::NO_CONTENT),
            Ok(_) => shared.announcer.events(caller.org),
            Err(GateError::Away) => return Err(store_away()),
            Err(GateError::Failed(error)) => {
                tracing::error!(org = %caller.org, edge = %caller.edge, %error, "sessions of a NAS could not be ended");
                return Err(store_away());
            }
        }
    }
}

/// Names and dates a message.
pub(crate) fn accounted(
    message: Message,
    caller: Caller,
    now: OffsetDateTime,
    shared: &Shared,
) -> Accounting {
    let Message { status, session_key, acct_session_id, at, delay, .. } = message;
    let at = happened_at(at, delay, now, shared.config.accounting_age_max);
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

pub(crate) fn unreadable(error: &Unreadable) -> Problem {
    let field = if let Unreadable::Attribute(name) = error { name.clone() } else { String::new() };
    Problem::invalid(Vec::new()).field(field, "unreadable", error.to_string())
}
