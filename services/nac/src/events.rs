//! `POST /v1/nac/events`: an edge tells what it decided by itself while the cloud was away, and what the cloud decided
//! and could record nowhere.
//!
//! Each decision bears the edge's own id and is recorded under it, so that telling it twice leaves it once. It is
//! marked as decided offline, and its session is decided again from what is known by now. Where the edge's clock runs
//! ahead, it keeps its time in the history, and counts for its session from when it was told.

use std::sync::Arc;

use axum::extract::State;
use cache::SpilledRecord;
use domain::DecisionId;
use domain::decision::Answer;
use domain::event::DecisionRecord;
use domain::request::{AccessRequest, NAME_CHARS_MAX};
use domain::resolver::LookupPlan;
use domain::session::session_id;
use domain::time::uuid_time;
use httpkit::{FieldProblem, Json, Problem};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::auth::{Caller, store_away};
use crate::authorize::overloaded;
use crate::record::Fate;
use crate::{Shared, openapi};

/// An edge's clock may run ahead by this.
const AHEAD_MAX: time::Duration = time::Duration::hours(1);
/// Names of an answer, by which events and sessions are found: what is kept of Intune's has no more (`microsoft`).
const ANSWER_NAME_CHARS_MAX: usize = 256;
/// No other text of an answer is longer, its trace excepted.
const TEXT_BYTES_MAX: usize = 16_384;

/// What was taken.
#[derive(Debug, Serialize, ToSchema)]
pub struct EventsAnswer {
    /// Events that are kept now, or were already.
    pub taken: usize,
    /// Those that cannot be taken, and would not be if they were told again.
    #[schema(value_type = Vec<Object>)]
    pub refused: Vec<FieldProblem>,
}

/// A decision, as the edge made it.
#[derive(Deserialize)]
struct Decided {
    id: DecisionId,
    session_key: String,
    #[serde(default)]
    ask: Option<Uuid>,
    request: Value,
    answer: Answer,
}

/// Takes decisions that an edge made by itself, or that were answered as `unrecorded`; at most 500 at once.
#[utoipa::path(
    post,
    path = "/v1/nac/events",
    tag = "nac",
    operation_id = "events",
    request_body(content = Object, description = "`events`: each with `type` `decision`, the edge's own `id` (a UUID of \
        version 7 whose time is the decision's), the session's name, the request, and the answer with its trace; \
        with `ask` where the cloud was asked first and not heard (`Gatehouse-Ask`)",
        examples(("decision" = (summary = "A denial", value = json!(openapi::events_example()))))),
    responses(
        (status = 200, description = "What was taken, and what cannot be", body = EventsAnswer),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(body): Json<Map<String, Value>>,
) -> Result<Json<EventsAnswer>, Problem> {
    let Some(Value::Array(events)) = body.get("events") else {
        return Err(Problem::invalid(Vec::new()).field("events", "required", "a list of events"));
    };
    if events.len() > shared.config.events_max {
        let message = format!("at most {} events", shared.config.events_max);
        return Err(Problem::invalid(Vec::new()).field("events", "too_many", message));
    }
    let now = shared.clock.now();
    let mut records = Vec::with_capacity(events.len());
    let mut refused = Vec::new();
    for (n, event) in events.iter().enumerate() {
        // Each a moment after the one before, so that the last of a session is the last.
        let told_at = now - time::Duration::microseconds(i64::try_from(events.len() - n).unwrap_or(0));
        match read(event, caller, (now, told_at), &shared) {
            Ok(record) => records.push((n, record)),
            Err((code, why)) => refused.push(problem(n, code, why)),
        }
    }
    let mut taken = 0;
    let fates = records.into_iter().map(|(n, record)| {
        let recorded = shared.recorder.record(SpilledRecord::Decision(Box::new(record)));
        async move { (n, recorded.await) }
    });
    for (n, fate) in futures::future::join_all(fates).await {
        match fate {
            Ok(Fate::Kept) => taken += 1,
            Ok(Fate::Refused) => {
                refused.push(problem(n, "not_storable", "it cannot be kept".to_owned()));
            }
            // Told again, what was kept already stays once.
            Ok(Fate::Lost) => return Err(store_away()),
            Err(_) => return Err(overloaded()),
        }
    }
    Ok(Json(EventsAnswer { taken, refused }))
}

fn problem(n: usize, code: &str, why: String) -> FieldProblem {
    FieldProblem::new(format!("events[{n}]"), code, why)
}

fn read(
    event: &Value,
    caller: Caller,
    (now, told_at): (OffsetDateTime, OffsetDateTime),
    shared: &Shared,
) -> Result<DecisionRecord, (&'static str, String)> {
    if event["type"] != "decision" {
        return Err(("unknown_type", "use decision".to_owned()));
    }
    let Decided { id, session_key, ask, mut request, answer } =
        serde_json::from_value(event.clone()).map_err(|error| ("invalid_value", error.to_string()))?;
    // Whose they are, the credential says.
    request["edge"] = json!(caller.edge);
    request["site"] = json!(caller.site);
    let request: AccessRequest =
        serde_json::from_value(request).map_err(|error| ("invalid_value", format!("request: {error}")))?;
    request.check_fit().map_err(|unfit| ("invalid_value", format!("request: {unfit}")))?;
    check_answer(&answer, &event["answer"])?;
    let at = answer.at;
    if answer.id != id || uuid_time(id.uuid()).is_none_or(|told| (told - at).abs() > time::Duration::SECOND) {
        return Err(("invalid_id", "a UUID of version 7 whose time is the answer's".to_owned()));
    }
    if at > now + AHEAD_MAX || at < now - shared.config.events_age_max {
        return Err(("out_of_range", "the decision lies in the future, or too far back".to_owned()));
    }
    let harmless = |c: char| !c.is_control();
    if session_key.is_empty()
        || session_key.chars().count() > NAME_CHARS_MAX
        || !session_key.chars().all(harmless)
    {
        return Err(("invalid_value", "session_key: 1 to 253 characters".to_owned()));
    }
    let keys = LookupPlan::of(&request).keys();
    let session = session_id(caller.org, caller.edge, &session_key);
    let told_at = (at > told_at).then_some(told_at);
    Ok(DecisionRecord {
        org: caller.org,
        session,
        session_key,
        request,
        answer,
        keys,
        offline: true,
        ask,
        told_at,
    })
}

/// An answer was made from what the cloud knows, but has been on an edge's disk meanwhile: that the database can hold it.
fn check_answer(answer: &Answer, written: &Value) -> Result<(), (&'static str, String)> {
    let names = [
        answer.found.device_name.as_deref(),
        answer.decision.rule.as_ref().map(|rule| rule.name.as_str()),
        answer.decision.outcome.vlan.as_deref(),
        answer.decision.outcome.role.as_deref(),
    ];
    if names.into_iter().flatten().any(|name| name.chars().nth(ANSWER_NAME_CHARS_MAX).is_some()) {
        let why = format!("answer: names have {ANSWER_NAME_CHARS_MAX} characters at most");
        return Err(("invalid_value", why));
    }
    if !holds_texts(written, TEXT_BYTES_MAX) {
        return Err((
            "invalid_value",
            format!("answer: texts have no NUL and {TEXT_BYTES_MAX} bytes at most"),
        ));
    }
    Ok(())
}

/// Whether PostgreSQL can hold every text.
fn holds_texts(value: &Value, bytes_max: usize) -> bool {
    let holds = |text: &str| !text.contains('\0') && text.len() <= bytes_max;
    match value {
        Value::String(text) => holds(text),
        Value::Array(values) => values.iter().all(|value| holds_texts(value, bytes_max)),
        Value::Object(fields) => fields.iter().all(|(name, value)| {
            // A trace is as long as its policy.
            let bytes_max = if name == "trace" { usize::MAX } else { bytes_max };
            holds(name) && holds_texts(value, bytes_max)
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}
