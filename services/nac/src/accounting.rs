//! `POST /v1/nac/accounting`: an edge tells of a session's start, course and end.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use cache::SpilledRecord;
use domain::EventId;
use domain::request::NAME_CHARS_MAX;
use domain::session::{Accounting, happened_at, session_id, session_key};
use domain::time::uuid_of;
use httpkit::{Json, Problem};
use serde::Serialize;
use serde_json::{Map, Value};
use time::OffsetDateTime;
use utoipa::ToSchema;
use wire::fields::{self, Fields};

use crate::auth::{Caller, store_away};
use crate::authorize::overloaded;
use crate::record::Fate;
use crate::{Shared, openapi};

/// One accounting message. `status` and one of `session_id` and `mac` are needed.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct AccountingRequest {
    #[schema(schema_with = openapi::accounting_status, required)]
    pub status: String,
    /// The edge's own name of the session (Acct-Session-Id), as in the access request.
    #[schema(example = "8f3a-0001")]
    pub session_id: Option<String>,
    #[schema(example = "d4:6e:0e:02:28:96")]
    pub mac: Option<String>,
    #[schema(example = "alex@contoso.example")]
    pub user_name: Option<String>,
    /// Framed-IP-Address, or an IPv6 address of the client.
    #[schema(example = "10.1.30.42")]
    pub framed_ip: Option<String>,
    /// Octets from the client, gigawords included.
    pub bytes_in: Option<i64>,
    /// Octets to the client, gigawords included.
    pub bytes_out: Option<i64>,
    /// Acct-Session-Time.
    pub session_seconds: Option<i64>,
    #[schema(example = "User-Request")]
    pub terminate_cause: Option<String>,
    /// When it happened at the NAS (Event-Timestamp): RFC 3339 or seconds since 1970. A repeated message has the
    /// same one. Left out: now.
    #[schema(example = "2026-11-20T12:00:00Z")]
    pub event_timestamp: Option<String>,
}

/// Takes an accounting message. Repeated, late and reordered messages do no harm.
#[utoipa::path(
    post,
    path = "/v1/nac/accounting",
    tag = "nac",
    operation_id = "accounting",
    request_body(content = AccountingRequest, examples(
        ("start" = (summary = "A session starts", value = json!(openapi::start_example()))),
        ("stop" = (summary = "A session ends", value = json!(openapi::stop_example()))),
    )),
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
    let now = shared.clock.now();
    let message = fields::read(&body, |fields| read_message(fields, caller, now, &shared))?;
    // Nothing is missing where no problem was found.
    let Some(message) = message else { return Err(Problem::invalid(Vec::new())) };
    keep(&shared, message).await
}

/// Records a message, and answers for it.
pub(crate) async fn keep(shared: &Shared, message: Accounting) -> Result<StatusCode, Problem> {
    match shared.recorder.record(SpilledRecord::Accounting(Box::new(message))).await {
        Ok(Fate::Kept) => Ok(StatusCode::NO_CONTENT),
        // The edge keeps it and sends it again: that is what its detail file is for.
        Ok(Fate::Lost) => Err(store_away()),
        Ok(Fate::Refused) => Err(not_storable()),
        Err(_) => Err(overloaded()),
    }
}

/// What the database takes in no case: told again, it would be refused again.
fn not_storable() -> Problem {
    Problem::invalid(Vec::new()).field("", "not_storable", "this cannot be kept, and is not to be sent again")
}

fn read_message(
    fields: &mut Fields<'_>,
    caller: Caller,
    now: OffsetDateTime,
    shared: &Shared,
) -> Option<Accounting> {
    let status = fields.word("status");
    if status.is_none() && !fields.is_wrong("status") {
        fields.needed("status", "one of start, interim, stop");
    }
    let edge_session = fields.text("session_id", NAME_CHARS_MAX);
    let mac = fields.mac("mac");
    let key = session_key(edge_session.as_deref(), mac);
    if key.is_none() && !fields.is_wrong("session_id") && !fields.is_wrong("mac") {
        fields.needed(
            "session_id",
            "say which session: give session_id, or mac where the edge has no session id",
        );
    }
    // A NAS whose clock runs ahead, or that wakes up in 1970, must not close what comes after, or land in a
    // partition that nobody made.
    let told = fields.time("event_timestamp");
    let at = happened_at(told, time::Duration::ZERO, now, shared.config.accounting_age_max);
    let (user_name, framed_ip) = (fields.text("user_name", NAME_CHARS_MAX), fields.ip("framed_ip"));
    let (bytes_in, bytes_out) = (fields.count("bytes_in"), fields.count("bytes_out"));
    let session_seconds = fields.count("session_seconds");
    let terminate_cause = fields.text("terminate_cause", NAME_CHARS_MAX);
    let (status, key): (domain::session::AccountingStatus, String) = (status?, key?);
    let session = session_id(caller.org, caller.edge, &key);
    Some(Accounting {
        org: caller.org,
        id: EventId(uuid_of(at, &format!("{session}/{status}"))),
        edge: caller.edge,
        site: caller.site,
        session,
        session_key: key,
        acct_session_id: None,
        status,
        at,
        mac,
        user_name,
        framed_ip,
        bytes_in,
        bytes_out,
        session_seconds,
        terminate_cause,
    })
}
