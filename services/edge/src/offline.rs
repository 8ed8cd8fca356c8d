//! A decision that was made without the cloud, as it is told later.

use domain::decision::Answer;
use domain::request::AccessRequest;
use serde_json::json;

/// Where it is told.
pub const PATH: &str = "/v1/nac/events";

/// The body: one decision, under the id that the edge gave it, with all that it was made from.
pub fn record(
    request: AccessRequest,
    answer: Answer,
    session_key: &str,
) -> Result<String, serde_json::Error> {
    let decision = json!({
        "type": "decision",
        "id": answer.id,
        "session_key": session_key,
        "request": serde_json::to_value(request)?,
        "answer": serde_json::to_value(answer)?,
    });
    Ok(json!({ "events": [decision] }).to_string())
}
