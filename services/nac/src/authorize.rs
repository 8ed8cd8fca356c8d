//! `POST /v1/nac/authorize`: an edge asks what a client may have.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::HeaderMap;
use cache::SpilledRecord;
use domain::answer::{answer, without_facts};
use domain::decision::{Answer, Outcome, Reason};
use domain::event::DecisionRecord;
use domain::request::AccessRequest;
use domain::resolver::{LookupKey, LookupPlan, resolve};
use domain::session::{session_id, session_key};
use domain::{DecisionId, OrgId};
use httpkit::{Json, Problem};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use tracing::Instrument;
use uuid::Uuid;
use wire::authorize::{AuthorizeAnswer, AuthorizeRequest, read_request, write_answer};
use wire::{events, fields};

use crate::auth::{Caller, MaybeCaller};
use crate::record::Fate;
use crate::{Shared, openapi};

/// Decides what a client may have, and records it before the answer leaves.
#[utoipa::path(
    post,
    path = "/v1/nac/authorize",
    tag = "nac",
    operation_id = "authorize",
    params(
        ("Gatehouse-Tells-Later" = Option<String>, Header,
            description = "Whatever it says: where the decision cannot be recorded, the answer holds it as \
                `unrecorded`, an event that `/v1/nac/events` takes later"),
        ("Gatehouse-Ask" = Option<String>, Header,
            description = "A UUID, the edge's name of what it asks. Where it hears nothing in time and decides by \
                itself, its event bears the same `ask`, and counts in the place of what was decided here"),
    ),
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
    headers: HeaderMap,
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
            let asked = Asked { request, manner: Manner::of(&headers), id, now, started };
            Box::pin(decided(&shared, caller.org, asked).instrument(span)).await.map(Json)
        }
        MaybeCaller::NobodyKnows => {
            let nobody =
                Caller { org: OrgId(Uuid::nil()), edge: Uuid::nil().into(), site: Uuid::nil().into() };
            fields::read(&body, |fields| read_request(fields, nobody.edge, nobody.site))?;
            // Nobody can say whether this edge may ask; a denial gives nothing away.
            let answer = unavailable(id, now);
            shared.metrics.decision(&answer.decision, started.elapsed());
            Ok(Json(write_answer(&answer, None, None, false)))
        }
    }
}

/// What an edge asks, and when.
struct Asked {
    request: AccessRequest,
    manner: Manner,
    id: DecisionId,
    now: OffsetDateTime,
    started: Instant,
}

async fn decided(shared: &Shared, org: OrgId, asked: Asked) -> Result<AuthorizeAnswer, Problem> {
    let Asked { request, manner, id, now, started } = asked;
    let (answer, keys) = decide(shared, org, &request, id, now).await;
    let answer = answer.unwrap_or_else(|| unavailable(id, now));
    let key = session_key(request.session_id.as_deref(), request.mac);
    let deciding = Deciding { request, answer, keys, manner };
    let Recorded { record, recorded, unrecorded } = record(shared, org, deciding, key, started).await?;
    let vendor = record.request.nas.vendor.as_deref();
    let told = write_answer(&record.answer, vendor, Some(record.session), recorded);
    Ok(AuthorizeAnswer { unrecorded, ..told })
}

/// How an edge asks.
#[derive(Clone, Copy)]
pub(crate) struct Manner {
    /// It tells later what cannot be recorded now.
    tells_later: bool,
    /// Its name of what it asks: should it hear nothing in time, what it then decides by itself counts.
    ask: Option<Uuid>,
}

impl Manner {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let ask = headers.get(events::ASK).and_then(|ask| ask.to_str().ok()?.parse().ok());
        Self { tells_later: headers.contains_key(events::TELLS_LATER), ask }
    }
}

/// Gathers what a decision needs, and decides: `None` where it could be read nowhere. With the keys under which the
/// client's device may be found.
pub(crate) async fn decide(
    shared: &Shared,
    org: OrgId,
    request: &AccessRequest,
    id: DecisionId,
    now: OffsetDateTime,
) -> (Option<Answer>, Vec<LookupKey>) {
    let plan = LookupPlan::of(request);
    let keys = plan.keys();
    // Without either of them, whatever was answered might be wrong.
    let (snapshot, candidates) = tokio::join!(shared.facts.org(org), shared.facts.candidates(org, &keys));
    let answer = match (&snapshot, &candidates) {
        (Some(snapshot), Some(candidates)) => {
            let found = resolve(&plan, |key| candidates.of(key));
            Some(answer(snapshot.ground(), request, &found, id, now))
        }
        _ => None,
    };
    (answer, keys)
}

/// A decision on its way to the record.
pub(crate) struct Deciding {
    pub request: AccessRequest,
    pub answer: Answer,
    pub keys: Vec<LookupKey>,
    pub manner: Manner,
}

/// A decision, and whether it is kept.
pub(crate) struct Recorded {
    /// As it is answered: with the address of the client's remediation page.
    pub record: Box<DecisionRecord>,
    pub recorded: bool,
    /// What the edge is to tell later, without the address.
    pub unrecorded: Option<Value>,
}

/// Records a decision under its session's name.
pub(crate) async fn record(
    shared: &Shared,
    org: OrgId,
    Deciding { request, answer, keys, manner }: Deciding,
    session_key: Option<String>,
    started: Instant,
) -> Result<Recorded, Problem> {
    // A client without any name is new every time.
    let session_key = session_key.unwrap_or_else(|| format!("decision:{}", answer.id));
    let session = session_id(org, request.edge, &session_key);
    let mut record = Box::new(DecisionRecord {
        org,
        session,
        session_key,
        request,
        answer,
        keys,
        offline: false,
        ask: manner.ask,
        told_at: None,
    });
    let fate =
        shared.recorder.record(SpilledRecord::Decision(record.clone())).await.map_err(|_| overloaded())?;
    let recorded = fate == Fate::Kept;
    let decision = &record.answer.decision;
    shared.metrics.decision(decision, started.elapsed());
    shared.seen.decided(org, record.request.edge, decision.outcome.permit, record.answer.at);
    tracing::debug!(permit = decision.outcome.permit, reason = decision.reason.as_str(), recorded, "decided");
    // What is refused now would be refused then, too.
    let unrecorded = match manner.tells_later && fate == Fate::Lost {
        true => event_of(&record),
        false => None,
    };
    // Only now: an address is personal, and no part of what was decided.
    let mac = record.request.mac;
    shared.pages.lead(&mut record.answer.decision.outcome, org, session, mac);
    Ok(Recorded { record, recorded, unrecorded })
}

/// A decision as [`crate::events`] takes it.
fn event_of(record: &DecisionRecord) -> Option<Value> {
    let event = events::decision(&record.request, &record.answer, &record.session_key, None);
    event.inspect_err(|error| tracing::error!(%error, "a decision cannot be written as an event")).ok()
}

/// The decision where what it needs could be read nowhere.
fn unavailable(id: DecisionId, at: OffsetDateTime) -> Answer {
    without_facts(Outcome::DENY, Reason::FactsUnavailable, id, at)
}

pub(crate) fn overloaded() -> Problem {
    Problem::unavailable("overloaded", "More requests wait than can be recorded in time; ask again.", 1)
}
