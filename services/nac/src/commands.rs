//! `GET /v1/nac/commands`, a long poll, and `POST /v1/nac/commands/{id}/ack`.
//!
//! A command is handed out at least once: until it is acknowledged, again and again. While a poll waits it holds no
//! connection to any store.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use domain::CommandId;
use domain::command::{Command, ErrorCause, NasAnswer, words_beyond};
use domain::decision::{Outcome, Redirect};
use domain::edge::Channel;
use domain::radius::{self, RadiusAttribute};
use httpkit::{FieldProblem, Json, Problem};
use serde::Serialize;
use serde_json::{Map, Value};
use store::commands_edge::{self, Delivery};
use store::edge_status;
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;
use wire::authorize::RadiusAttributeAnswer;
use wire::fields::{self, Fields};

use crate::auth::{Caller, is_revoked, store_away};
use crate::authorize::overloaded;
use crate::gate::GateError;
use crate::{Shared, openapi};

const MESSAGE_CHARS_MAX: usize = 500;
/// A poll does not look for the next command sooner than this, however close its turn is.
const TURN_MIN: Duration = Duration::from_millis(10);

/// The commands that wait for the edge.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandsAnswer {
    /// Those whose turn has come, the longest due first; empty where none came while the poll waited. Commands to
    /// one edge are paced, so that many clients do not move at once.
    pub commands: Vec<CommandAnswer>,
    /// An admin tries whether commands get through: there where one does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Probe>,
}

/// A command that does nothing. Acknowledge it like any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Probe {
    pub id: uuid::Uuid,
}

/// One Change of Authorization for one session.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandAnswer {
    /// Acknowledge it by this id. It may be handed out more than once.
    pub id: uuid::Uuid,
    #[schema(schema_with = openapi::coa_kind)]
    pub kind: &'static str,
    #[schema(schema_with = openapi::coa_cause)]
    pub cause: &'static str,
    pub session: CommandSession,
    /// What the client will be answered when it asks again.
    pub to: CommandTarget,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// Later, it is no longer wanted.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// The same as a span from now on, for edges whose clock may be wrong.
    #[schema(example = 600)]
    pub expires_in_seconds: u64,
}

/// The session to move, in the words that a NAS is told it in (RFC 5176 3).
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandSession {
    /// Gatehouse's own name of it.
    pub id: uuid::Uuid,
    /// The edge's own name of it (Acct-Session-Id); null where the edge gave none.
    pub session_id: Option<String>,
    /// Calling-Station-Id.
    #[schema(example = "d4:6e:0e:02:28:96")]
    pub mac: Option<String>,
    /// The name that the NAS knows it by: the one that it was answered, otherwise the one that it asked with.
    pub user_name: Option<String>,
    pub ssid: Option<String>,
    /// NAS-IP-Address.
    pub nas_ip: Option<String>,
    /// NAS-Identifier.
    pub nas_identifier: Option<String>,
    pub nas_vendor: Option<String>,
    /// NAS-Port-Id.
    pub nas_port_id: Option<String>,
}

/// An outcome.
#[derive(Debug, Serialize, ToSchema)]
pub struct CommandTarget {
    #[schema(schema_with = openapi::action)]
    pub action: &'static str,
    pub vlan: Option<String>,
    pub role: Option<String>,
    /// Seconds.
    pub session_timeout: Option<u32>,
    /// VLANs of a trunk port (RFC 4675): `1name` tagged, `2name` untagged.
    pub egress_vlan_names: Vec<String>,
    /// The tag of a group-based policy.
    pub gbp_tag: Option<u16>,
    /// Given back as User-Name.
    pub user_name: Option<String>,
    /// A page that the client is led to.
    pub redirect_url: Option<String>,
    /// In the words of the session's `nas_vendor`, as in an answer.
    #[schema(value_type = Vec<RadiusAttributeAnswer>)]
    pub radius_attributes: Vec<RadiusAttribute>,
}

/// What came of a command.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct AckRequest {
    #[schema(schema_with = openapi::ack_result, required)]
    pub result: String,
    #[schema(schema_with = openapi::error_cause)]
    pub error_cause: Option<u32>,
    /// For people: what the NAS said besides, or the edge.
    #[schema(example = "the supplicant is being upgraded")]
    pub message: Option<String>,
}

/// Hands out the edge's commands; where there are none, waits for one.
#[utoipa::path(
    get,
    path = "/v1/nac/commands",
    tag = "nac",
    operation_id = "commands",
    params(
        ("wait" = Option<u32>, Query, minimum = 0, maximum = 60, example = 30,
            description = "Seconds to wait for a command where there is none yet; 0 where it is left out"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 100, example = 20,
            description = "Commands to hand out at most; 100 where it is left out"),
    ),
    responses(
        (status = 200, description = "The commands, or none", body = CommandsAnswer,
            examples(("reauth" = (summary = "One command", value = json!(openapi::commands_example()))))),
        openapi::QueryProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn commands(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    query: Result<Query<HashMap<String, String>>, axum::extract::rejection::QueryRejection>,
    mut parts: Parts,
) -> Result<Json<CommandsAnswer>, Problem> {
    let (wait, limit) = read_query(&query.map(|Query(query)| query).unwrap_or_default(), &shared)?;
    let Ok(_place) = shared.polls.try_acquire() else { return Err(overloaded()) };
    let until = Instant::now() + wait;
    let listening = shared.wakeups.listen(caller.org, caller.edge);
    loop {
        let rung = listening.bell.notified();
        tokio::pin!(rung);
        // Heard from now on: a command that comes after the look below rings.
        rung.as_mut().enable();
        let fetched = fetch(&shared, caller, limit, Channel::Poll).await;
        let over = Instant::now() >= until || shared.stop.is_cancelled();
        let next_turn = match fetched {
            Ok(Fetched { commands, probe, .. }) if !commands.is_empty() || probe.is_some() || over => {
                let commands = write_commands(&shared, caller, commands);
                return Ok(Json(CommandsAnswer { commands, probe }));
            }
            Err(()) if over => return Err(store_away()),
            Ok(Fetched { next_turn, .. }) => next_turn,
            Err(()) => None,
        };
        let look_again = look_again(&shared, next_turn, shared.config.poll_recheck);
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep_until(until.min(Instant::now() + look_again)) => {}
            () = shared.stop.cancelled() => {}
        }
        // Who was let in a minute ago may not be any more.
        if is_revoked(&mut parts, &shared).await {
            return Err(Problem::unauthorized());
        }
    }
}

/// Takes an edge's word on what came of a command. Said twice, it changes nothing.
///
/// After a `timeout`, and where the NAS had no resources (506), the command is handed out again after a while, as long
/// as it is wanted: carry it out again then. Any other answer ends it.
#[utoipa::path(
    post,
    path = "/v1/nac/commands/{id}/ack",
    tag = "nac",
    operation_id = "acknowledge",
    params(("id" = uuid::Uuid, Path, description = "The command's id")),
    request_body(content = AckRequest, examples(
        ("ack" = (summary = "The NAS did it", value = json!({"result": "ack"}))),
        ("nak" = (summary = "The NAS refused", value = json!({"result": "nak", "error_cause": 503}))),
        ("timeout" = (summary = "The NAS did not answer", value = json!({"result": "timeout",
            "message": "192.0.2.7:3799 did not answer 5 transmissions"}))),
    )),
    responses(
        (status = 204, description = "It is noted"),
        (status = 404, description = "The edge has no such command", body = Problem,
            content_type = "application/problem+json"),
        openapi::BodyProblems,
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    Json(body): Json<Map<String, Value>>,
) -> Result<StatusCode, Problem> {
    let (answer, said) = fields::read(&body, read_ack)?;
    let Some(answer) = answer else { return Err(Problem::invalid(Vec::new())) };
    let id = id.ok().and_then(|Path(id)| id.parse::<CommandId>().ok());
    let Some(id) = id else { return Err(Problem::not_found("command")) };
    let said = said.as_deref();
    let write = async {
        let mut tx = shared.store.org(caller.org).await?;
        let now = shared.clock.now();
        let mut known = commands_edge::ack(&mut tx, &shared.ids, now, caller.edge, id, answer, said).await?;
        if !known {
            let said = said.unwrap_or_default();
            known = edge_status::answer_probe(&mut tx, caller.edge, id.uuid(), now, said).await?;
        }
        tx.commit().await?;
        Ok(known)
    };
    match shared.gate.ask(shared.config.store_write_timeout, write).await {
        Ok(true) => {
            shared.announcer.events(caller.org);
            Ok(StatusCode::NO_CONTENT)
        }
        Ok(false) => Err(Problem::not_found("command")),
        Err(GateError::Away) => Err(store_away()),
        Err(GateError::Failed(error)) => {
            tracing::error!(org = %caller.org, command = %id, %error, "an acknowledgement could not be written");
            Err(store_away())
        }
    }
}

/// What a look for commands came to.
pub(crate) struct Fetched {
    pub commands: Vec<Delivery>,
    pub probe: Option<Probe>,
    /// Where there are none: how long until the next one's turn, if one waits for it.
    pub next_turn: Option<Duration>,
}

/// How long who found no command waits before the next look, if nobody rings: until the next one's turn, and no longer
/// than `recheck`, less where nobody can ring.
pub(crate) fn look_again(shared: &Shared, next_turn: Option<Duration>, recheck: Duration) -> Duration {
    let recheck = if shared.cache.bus_is_up() { recheck } else { shared.config.poll_recheck_without_bus };
    next_turn.map_or(recheck, |turn| turn.clamp(TURN_MIN.min(recheck), recheck))
}

/// An error is told where the poll is over; until then it goes on trying.
pub(crate) async fn fetch(
    shared: &Shared,
    caller: Caller,
    limit: u32,
    channel: Channel,
) -> Result<Fetched, ()> {
    shared.seen.listened(caller.org, caller.edge, channel, shared.clock.now());
    let read = async {
        let mut tx = shared.store.org(caller.org).await?;
        let (now, again) = (shared.clock.now(), shared.config.redeliver_after);
        let commands =
            commands_edge::fetch(&mut tx, &shared.ids, now, caller.edge, i64::from(limit), again).await?;
        let next_turn = match commands.is_empty() {
            true => commands_edge::next_due(&mut tx, caller.edge, now).await?,
            false => None,
        };
        let probe = edge_status::take_probe(&mut tx, caller.edge, now).await?.map(|id| Probe { id });
        tx.commit().await?;
        let next_turn = next_turn.map(|due| Duration::try_from(due - now).unwrap_or_default());
        Ok(Fetched { commands, probe, next_turn })
    };
    match shared.gate.ask(shared.config.store_write_timeout, read).await {
        Ok(fetched) => {
            if !fetched.commands.is_empty() || fetched.probe.is_some() {
                shared.announcer.events(caller.org);
            }
            Ok(fetched)
        }
        Err(GateError::Away) => Err(()),
        Err(GateError::Failed(error)) => {
            tracing::error!(org = %caller.org, edge = %caller.edge, %error, "commands could not be fetched");
            Err(())
        }
    }
}

fn read_query(query: &HashMap<String, String>, shared: &Shared) -> Result<(Duration, u32), Problem> {
    let mut problems = Vec::new();
    let mut number =
        |name: &str, from: u64, to: u64, default: u64| match query.get(name).map(|text| text.trim()) {
            None | Some("") => default,
            Some(text) => text.parse().ok().filter(|n| (from..=to).contains(n)).unwrap_or_else(|| {
                problems.push(FieldProblem::new(
                    name,
                    "out_of_range",
                    format!("a whole number from {from} to {to}"),
                ));
                default
            }),
        };
    let wait = number("wait", 0, shared.config.poll_wait_max.as_secs(), 0);
    let commands_max = u64::from(shared.config.commands_max);
    let limit = number("limit", 1, commands_max, commands_max);
    if problems.is_empty() {
        Ok((Duration::from_secs(wait), u32::try_from(limit).unwrap_or(1)))
    } else {
        Err(Problem::invalid(problems))
    }
}

fn read_ack(fields: &mut Fields<'_>) -> (Option<NasAnswer>, Option<String>) {
    let result = fields.word("result");
    if result.is_none() && !fields.is_wrong("result") {
        fields.needed("result", "one of ack, nak, timeout");
    }
    let error_cause = fields.attribute("error_cause").map(ErrorCause);
    let said = words_beyond(error_cause, fields.text("message", MESSAGE_CHARS_MAX));
    (result.map(|result| NasAnswer { result, error_cause }), said)
}

/// With the addresses of remediation pages, where a command leads its client to one.
pub(crate) fn write_commands(shared: &Shared, caller: Caller, commands: Vec<Delivery>) -> Vec<CommandAnswer> {
    let now = shared.clock.now();
    let write = |mut delivery: Delivery| {
        let Command { session, mac, to, .. } = &mut delivery.command;
        shared.pages.lead(to, caller.org, *session, *mac);
        write_command(delivery, now)
    };
    commands.into_iter().map(write).collect()
}

fn write_command(Delivery { command, request }: Delivery, now: OffsetDateTime) -> CommandAnswer {
    let nas = request.as_ref().map(|request| &request.nas);
    let asked_with = || request.as_ref().and_then(|request| request.user_name.clone());
    let session = CommandSession {
        id: command.session.uuid(),
        session_id: request.as_ref().and_then(|request| request.session_id.clone()),
        mac: command.mac.map(|mac| mac.to_string()),
        user_name: command.from.user_name.clone().or_else(asked_with),
        ssid: request.as_ref().and_then(|request| request.ssid.clone()),
        nas_ip: nas.and_then(|nas| nas.ip).map(|ip| ip.to_string()),
        nas_identifier: nas.and_then(|nas| nas.identifier.clone()),
        nas_vendor: nas.and_then(|nas| nas.vendor.clone()),
        nas_port_id: nas.and_then(|nas| nas.port_id.clone()),
    };
    let vendor = nas.and_then(|nas| nas.vendor.as_deref());
    let radius_attributes = radius::attributes_for(&command.to, vendor);
    // What else an outcome holds is in its attributes alone.
    let Outcome {
        permit,
        vlan,
        role,
        session_timeout,
        egress_vlan_names,
        gbp_tag,
        user_name,
        redirect_url,
        attrs: _,
    } = command.to;
    CommandAnswer {
        id: command.id.uuid(),
        kind: command.kind.as_str(),
        cause: command.cause.as_str(),
        session,
        to: CommandTarget {
            action: if permit { "allow" } else { "deny" },
            vlan,
            role,
            session_timeout,
            egress_vlan_names,
            gbp_tag,
            user_name,
            redirect_url: redirect_url.as_ref().and_then(Redirect::url).map(str::to_owned),
            radius_attributes,
        },
        created_at: command.created_at,
        expires_at: command.expires_at,
        expires_in_seconds: (command.expires_at - now).whole_seconds().try_into().unwrap_or(0),
    }
}
