//! Commands to edges: at least once, acknowledged, expired, superseded.

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::coa::{CoaCause, CoaKind};
use crate::decision::Outcome;
use crate::event::{Event, EventKind};
use crate::request::words;
use crate::{CommandId, EdgeId, EventId, Mac, OrgId, SessionId, SiteId};

mod answer;

pub use answer::{
    ERROR_CAUSES, ErrorCause, ErrorCauseEntry, NasAnswer, NasResult, Next, again_after, words_beyond,
};

/// Where a command stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CommandState {
    /// A move to a worse state that waits for an admin, because too much of the fleet would move at once.
    Held,
    /// Waiting for the edge to fetch it.
    Pending,
    /// Handed to the edge at least once, not acknowledged yet; handed out again after a while.
    Delivered,
    /// The NAS did it.
    Acked,
    /// The NAS refused, or did not answer the edge.
    Failed,
    /// Nobody fetched or acknowledged it in time.
    Expired,
    /// A newer command for the session took its place, or it was no longer wanted.
    Superseded,
}

words!(CommandState, "command state",
    CommandState::Held => "held", CommandState::Pending => "pending", CommandState::Delivered => "delivered", CommandState::Acked => "acked",
    CommandState::Failed => "failed", CommandState::Expired => "expired", CommandState::Superseded => "superseded",
);

impl CommandState {
    /// Whether the edge may still be asked to carry it out. A session has at most one such command.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Held | Self::Pending | Self::Delivered)
    }
}

/// One Change of Authorization for one session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    pub id: CommandId,
    pub edge: EdgeId,
    pub session: SessionId,
    /// The edge's own name of the session.
    pub session_key: String,
    pub mac: Option<Mac>,
    pub kind: CoaKind,
    pub cause: CoaCause,
    pub from: Outcome,
    pub to: Outcome,
    pub state: CommandState,
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// The edge is not told before: its pace, or the calm that follows a move. `None`: at once.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub not_before: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339::option")]
    pub delivered_at: Option<OffsetDateTime>,
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
    /// What the NAS answered, the last time that it was asked.
    #[serde(default)]
    pub answer: Option<NasAnswer>,
    /// Why it is no longer wanted; what the edge said of it beyond the NAS's answer.
    pub result: Option<String>,
}

impl Command {
    /// The line of history that tells where the command stands now.
    #[must_use]
    pub fn event(&self, org: OrgId, site: Option<SiteId>, id: EventId, at: OffsetDateTime) -> Event {
        let what = match self.kind {
            CoaKind::Reauth => "Re-authentication",
            CoaKind::Disconnect => "Disconnect",
            CoaKind::PortBounce => "Port bounce",
        };
        let state = match self.state {
            CommandState::Held => "is held until an admin decides, because so much of the fleet would move",
            CommandState::Pending if self.not_before.is_some_and(|due| due - at > Duration::SECOND) => {
                "waits for its turn"
            }
            CommandState::Pending => "waits for the edge",
            CommandState::Delivered if self.answer.is_some() => "is tried again",
            CommandState::Delivered => "was delivered to the edge",
            CommandState::Acked => "was done by the NAS",
            CommandState::Failed if self.answer.is_some_and(|answer| answer.next() == Next::Gone) => {
                "found nobody to move"
            }
            CommandState::Failed => "failed",
            CommandState::Expired => "expired",
            CommandState::Superseded => "is no longer wanted",
        };
        let not_before = self.not_before.and_then(|due| due.format(&Rfc3339).ok());
        // That it was done says all, unless the NAS has more to say.
        let answer = self
            .answer
            .filter(|answer| self.state != CommandState::Acked || answer.error_cause.is_some())
            .map(NasAnswer::describe);
        let said: Vec<&str> = [answer.as_deref(), self.result.as_deref()].into_iter().flatten().collect();
        let said = if said.is_empty() { String::new() } else { format!(": {}", said.join("; ")) };
        let cause = self.answer.and_then(|answer| answer.error_cause);
        let known = cause.and_then(ErrorCause::entry);
        Event {
            org,
            id,
            at,
            kind: match self.kind {
                CoaKind::Reauth => EventKind::NacClientCoaReauth,
                CoaKind::Disconnect | CoaKind::PortBounce => EventKind::NacClientCoaDisconnect,
            },
            mac: self.mac,
            session: Some(self.session),
            edge: Some(self.edge),
            site,
            summary: format!("{what} {state}{said}"),
            detail: serde_json::json!({
                "command_id": self.id,
                "state": self.state,
                "kind": self.kind,
                "cause": self.cause,
                "not_before": not_before,
                "from": self.from,
                "to": self.to,
                "answer": self.answer.map(|answer| answer.result),
                "error_cause": cause,
                "error_cause_name": known.map(|entry| entry.name),
                "meaning": known.map(|entry| entry.meaning),
                "remedy": known.map(|entry| entry.remedy),
                "result": self.result,
            }),
        }
    }
}
