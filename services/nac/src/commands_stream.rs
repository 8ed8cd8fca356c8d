//! `GET /v1/nac/commands/stream`: the commands as server-sent events.
//!
//! The same commands as the long poll hands out, each under its id and not before its turn. Who comes back with
//! `Last-Event-ID` is given at once what went out after it; who comes back without, all that is not acknowledged. While a stream waits it holds no
//! connection to any store, and it ends where its credential is revoked.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use domain::CommandId;
use domain::edge::Channel;
use futures::Stream;
use httpkit::Problem;
use store::commands_edge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::auth::{Caller, is_revoked, store_away};
use crate::authorize::overloaded;
use crate::commands::{CommandAnswer, Fetched, fetch, look_again, write_commands};
use crate::gate::GateError;
use crate::{Shared, openapi, seen};

/// Commands that may have been lost and go out again as a stream begins; further ones follow as the poll would have
/// them.
const RESUMED_MAX: i64 = 1_000;

/// Streams the edge's commands as their turn comes, the longest due first, and of one session in their order.
#[utoipa::path(
    get,
    path = "/v1/nac/commands/stream",
    tag = "nac",
    operation_id = "commands_stream",
    params(("Last-Event-ID" = Option<String>, Header, description = "The id of the last command that arrived")),
    responses(
        (status = 200, description = "Events of type `command`, whose data is one command and whose id is the \
            command's; and of type `probe`, whose data has the `id` of a command that does nothing and is acknowledged \
            like any other. A comment comes every 15 seconds; where none comes for a minute, connect again.",
            body = CommandAnswer, content_type = "text/event-stream"),
        openapi::CommonProblems,
    ),
    security(("edge_token" = [])),
)]
pub(crate) async fn stream(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    mut parts: Parts,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Ok(place) = Arc::clone(&shared.polls).try_acquire_owned() else { return Err(overloaded()) };
    let after: Option<CommandId> =
        parts.headers.get("last-event-id").and_then(|id| id.to_str().ok()).and_then(|id| id.parse().ok());
    let waiting = resume(&shared, caller, after).await?;
    // What its clock said as the stream began says nothing when its credential is asked for again.
    parts.headers.remove(seen::CLOCK);
    let until = Instant::now() + shared.config.stream_max;
    let heartbeat = KeepAlive::new().interval(shared.config.stream_heartbeat);
    let streaming = Streaming { shared, caller, parts, waiting, until, _place: place };
    let events = futures::stream::unfold(streaming, async |mut streaming| {
        let event = streaming.next().await?;
        Some((Ok(event), streaming))
    });
    Ok(Sse::new(events).keep_alive(heartbeat))
}

fn event(command: &CommandAnswer) -> Event {
    let event = Event::default().event("command").id(command.id.to_string());
    match event.clone().json_data(command) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(%error, command = %command.id, "a command could not be written");
            event
        }
    }
}

async fn resume(
    shared: &Shared,
    caller: Caller,
    after: Option<CommandId>,
) -> Result<VecDeque<Event>, Problem> {
    let write = async {
        let mut tx = shared.store.org(caller.org).await?;
        let now = shared.clock.now();
        let commands =
            commands_edge::resume(&mut tx, &shared.ids, now, caller.edge, RESUMED_MAX, after).await?;
        tx.commit().await?;
        Ok(commands)
    };
    match shared.gate.ask(shared.config.store_write_timeout, write).await {
        Ok(commands) => {
            if !commands.is_empty() {
                shared.announcer.events(caller.org);
            }
            Ok(write_commands(shared, caller, commands).iter().map(event).collect())
        }
        Err(GateError::Away) => Err(store_away()),
        Err(GateError::Failed(error)) => {
            tracing::error!(org = %caller.org, edge = %caller.edge, %error, "a stream could not begin");
            Err(store_away())
        }
    }
}

struct Streaming {
    shared: Arc<Shared>,
    caller: Caller,
    /// Whose credential is asked for again and again.
    parts: Parts,
    waiting: VecDeque<Event>,
    until: Instant,
    _place: OwnedSemaphorePermit,
}

impl Streaming {
    /// The next event; `None` where the stream is over.
    async fn next(&mut self) -> Option<Event> {
        let Self { shared, caller, parts, waiting, until, .. } = self;
        loop {
            if let Some(event) = waiting.pop_front() {
                return Some(event);
            }
            if shared.stop.is_cancelled() || Instant::now() >= *until {
                return None;
            }
            if is_revoked(parts, shared).await {
                return None;
            }
            let listening = shared.wakeups.listen(caller.org, caller.edge);
            let rung = listening.bell.notified();
            tokio::pin!(rung);
            // Heard from now on: a command that comes after the look below rings.
            rung.as_mut().enable();
            let next_turn = match fetch(shared, *caller, shared.config.commands_max, Channel::Stream).await {
                Ok(Fetched { commands, probe, next_turn }) => {
                    waiting.extend(write_commands(shared, *caller, commands).iter().map(event));
                    // Without an id: whoever comes back goes on behind the last command.
                    waiting.extend(
                        probe.and_then(|probe| Event::default().event("probe").json_data(probe).ok()),
                    );
                    next_turn
                }
                Err(()) => None,
            };
            if !waiting.is_empty() {
                continue;
            }
            let look_again = look_again(shared, next_turn, shared.config.stream_recheck);
            tokio::select! {
                () = rung => {}
                () = tokio::time::sleep_until((*until).min(Instant::now() + look_again)) => {}
                () = shared.stop.cancelled() => {}
            }
        }
    }
}
