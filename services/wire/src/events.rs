//! Decisions that are told after the fact, in the words of `POST /v1/nac/events`.

use domain::decision::Answer;
use domain::request::AccessRequest;
use serde_json::{Value, json};
use uuid::Uuid;

pub const PATH: &str = "/v1/nac/events";
/// Events in one body, unless the cloud is configured otherwise.
pub const EVENTS_MAX: usize = 500;

/// Who asks with this header tells later what could not be recorded now: the answer then holds the decision …
pub const TELLS_LATER: &str = "gatehouse-tells-later";
/// … under this name, as an event.
pub const UNRECORDED: &str = "unrecorded";

/// The edge's name of what it asks (a UUID). Where it then decides by itself because nothing was heard in time, its event
/// bears the name as `ask`: what the cloud may have decided all the same, nobody was told.
pub const ASK: &str = "gatehouse-ask";

/// A decision, under the id that it was answered with, with all that it was made from. `ask`: what the cloud was asked
/// before, without being heard.
pub fn decision(
    request: &AccessRequest,
    answer: &Answer,
    session_key: &str,
    ask: Option<Uuid>,
) -> Result<Value, serde_json::Error> {
    Ok(json!({
        "type": "decision",
        "id": answer.id,
        "session_key": session_key,
        "ask": ask,
        "request": serde_json::to_value(request)?,
        "answer": serde_json::to_value(answer)?,
    }))
}

/// The body that tells events.
#[must_use]
pub fn body(events: &[Value]) -> Value {
    json!({ "events": events })
}
