//! `POST /v1/nac/radius/refused`: a FreeRADIUS tells whom it refused by itself, before it would have asked.
//!
//! A certificate that has expired, a wrong password: nothing is decided here, and the edge waits for no answer. It is a
//! line of history, so that the client's page says why it does not come in.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use domain::event::Event;
use domain::radius::rest::{Attributes, refusal};
use httpkit::{Json, Problem};
use serde_json::{Map, Value};

use crate::auth::Caller;
use crate::gate::GateError;
use crate::radius::unreadable;
use crate::{Shared, openapi};

/// A supplicant that is refused tries again and again: the same cause is told once in this time.
const ONCE_WITHIN: time::Duration = time::Duration::minutes(1);

/// Takes a client that the edge refused by itself.
///
/// Send the packet of `Post-Auth-Type REJECT` without its secrets, with `Module-Failure-Message`, and wait for nothing:
/// whatever the answer, the client stays refused. What is told again within a minute is told once.
#[utoipa::path(
    post,
    path = "/v1/nac/radius/refused",
    tag = "radius",
    operation_id = "radius_refused",
    request_body(content = Object, description = "The attributes of an Access-Request, as `rlm_rest` writes them",
        examples(("packet" = (summary = "A certificate that has expired",
            value = json!(openapi::refused_packet_example()))))),
    responses(
        (status = 204, description = "It is kept, if that can be done now"),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn refused(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode, Problem> {
    let attributes = Attributes::read(&body).map_err(|error| unreadable(&error))?;
    let refusal = refusal::read(&attributes);
    let now = shared.clock.now();
    let event = Event {
        org: caller.org,
        id: shared.ids.make(now),
        at: now,
        kind: refusal.cause.kind(),
        mac: refusal.mac,
        session: None,
        edge: Some(caller.edge),
        site: Some(caller.site),
        summary: refusal.summary(),
        detail: refusal.detail(),
    };
    let write = async {
        let mut tx = shared.store.org(caller.org).await?;
        let told = store::events::append_unless_lately(&mut tx, &event, ONCE_WITHIN).await?;
        tx.commit().await?;
        Ok(told)
    };
    match shared.gate.ask(shared.config.store_write_timeout, write).await {
        Ok(told) => {
            if told {
                shared.announcer.events(caller.org);
            }
            Ok(StatusCode::NO_CONTENT)
        }
        // Nobody tells it again, and a 503 would have an agent believe that there are no decisions either.
        Err(GateError::Away) => Ok(StatusCode::NO_CONTENT),
        Err(GateError::Failed(error)) => {
            tracing::error!(org = %caller.org, edge = %caller.edge, %error, "a refusal could not be written");
            Ok(StatusCode::NO_CONTENT)
        }
    }
}
