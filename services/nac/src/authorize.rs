//! `POST /v1/nac/authorize`: an edge asks what a client may have.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use cache::SpilledRecord;
use domain::answer::{answer, without_facts};
use domain::decision::{Answer, Outcome, Reason};
use domain::event::DecisionRecord;
use domain::request::AccessRequest;
use domain::resolver::{LookupPlan, resolve};
use domain::session::{session_id, session_key};
use domain::{DecisionId, OrgId};
use httpkit::{Json, Problem};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::Instrument;
use wire::authorize::{AuthorizeAnswer, AuthorizeRequest, read_request, write_answer};
use wire::fields;

use crate::auth::{Caller, MaybeCaller};
use crate::{Shared, openapi};

/// Decides what a client may have, and records it before the answer leaves.
#[utoipa::path(
    post,
    path = "/v1/nac/authorize",
    tag = "nac",
    operation_id = "authorize",
    request_body(content = AuthorizeRequest, examples(
        ("certificate" = (summary = "EAP-TLS with an Intune certificate", value = json!(openapi::certificate_example()))),
        ("mab" = (summary = "MAC authentication on a switch port", value = json!(openapi::mab_example()))),
        ("user" = (summary = "A user behind an identity provider", value = json!(openapi::user_example()))),
    )),
    responses(
        (status = 200, description = "The decision, allow or deny", body = AuthorizeAnswer,
            examples(("allow" = (summary = "Allowed", value = json!(openapi::allow_example()))))),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn authorize(
    State(shared): State<Arc<Shared>>,
    caller: MaybeCaller,
    Json(body): Json<Map<String, Value>>,
) -> Result<Json<AuthorizeAnswer>, Problem> {
    let started = Instant::now();
    let now = shared.clock.now();
    let id: DecisionId = shared.ids.make(now);
    match caller {
        MaybeCaller::Known(caller) => {
            let request = fields::read(&body, |fields| read_request(fields, caller.edge, caller.site))?;
            let span =
                tracing::info_span!("decision", decision_id = %id, org = %caller.org, edge = %caller.edge);
            decided(&shared, caller.org, request, id, now, started).instrument(span).await.map(Json)
        }
        MaybeCaller::NobodyKnows => {
            let nobody = Caller {
                org: OrgId(uuid::Uuid::nil()),
                edge: uuid::Uuid::nil().into(),
                site: uuid::Uuid::nil().into(),
            };
            fields::read(&body, |fields| read_request(fields, nobody.edge, nobody.site))?;
            // Nobody can say whether this edge may ask; a denial gives nothing away.
            let answer = unavailable(id, now);
            shared.metrics.decision(&answer.decision, started.elapsed());
            Ok(Json(write_answer(&answer, None, None, false)))
        }
    }
}

async fn decided(
    shared: &Shared,
    org: OrgId,
    request: AccessRequest,
    id: DecisionId,
    now: OffsetDateTime,
    started: Instant,
) -> Result<AuthorizeAnswer, Problem> {
    let plan = LookupPlan::of(&request);
    let keys = plan.keys();
    // Without either of them, whatever was answered might be wrong.
    let (snapshot, candidates) = tokio::join!(shared.facts.org(org), shared.facts.candidates(org, &keys));
    let answer = match (&snapshot, &candidates) {
        (Some(snapshot), Some(candidates)) => {
            let found = resolve(&plan, |key| candidates.of(key));
            answer(snapshot.ground(), &request, &found, id, now)
        }
        _ => unavailable(id, now),
    };
    // A client without any name is new every time.
    let key =
        session_key(request.session_id.as_deref(), request.mac).unwrap_or_else(|| format!("decision:{id}"));
    let session = session_id(org, request.edge, &key);
    let record = DecisionRecord { org, session, session_key: key, request, answer, keys };
    let mut wire = write_answer(&record.answer, record.request.nas.vendor.as_deref(), Some(session), true);
    let decision = record.answer.decision.clone();
    wire.recorded =
        shared.recorder.record(SpilledRecord::Decision(Box::new(record))).await.map_err(|_| overloaded())?;
    shared.metrics.decision(&decision, started.elapsed());
    tracing::debug!(action = wire.action, reason = wire.reason, recorded = wire.recorded, "decided");
    Ok(wire)
}

/// The decision where what it needs could be read nowhere.
fn unavailable(id: DecisionId, at: OffsetDateTime) -> Answer {
    without_facts(Outcome::DENY, Reason::FactsUnavailable, id, at)
}

pub(crate) fn overloaded() -> Problem {
    Problem::unavailable("overloaded", "More requests wait than can be recorded in time; ask again.", 1)
}
