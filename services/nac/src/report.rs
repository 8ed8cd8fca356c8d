//! `POST /v1/nac/report`: the agent beside an edge tells once a minute how it stands.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use httpkit::{Json, Problem};
use serde_json::{Map, Value};

use crate::auth::Caller;
use crate::{Shared, openapi};

/// Takes an agent's word on how it stands, for people to see. It is written down within seconds, and replaces what was
/// told before; where the stores are away it is lost, and the next one tells again.
#[utoipa::path(
    post,
    path = "/v1/nac/report",
    tag = "nac",
    operation_id = "report",
    request_body(content = Object, description = "`version` of the agent and `started_at`; and, as far as they apply: \
        `channel` by which commands reach it (`stream`, `poll`), `radius` (who asks it, by User-Agent), bodies that \
        are `waiting` for the cloud or were `refused` by it, the `bundle` it holds (`version`, `issued_at`, `over`), \
        how many `nas` it may send commands to, decisions `decided_offline` since it started, and the last of them, \
        `decided_offline_at`",
        examples(("stands" = (summary = "All is well", value = json!(openapi::report_example()))))),
    responses(
        (status = 204, description = "It is noted"),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn report(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode, Problem> {
    let report = wire::report::read(&body)?;
    shared.seen.reported(caller.org, caller.edge, report, shared.clock.now());
    Ok(StatusCode::NO_CONTENT)
}
