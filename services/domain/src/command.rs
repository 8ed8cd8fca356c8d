//! Commands to edges: at least once, acknowledged, expired, superseded.

use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::coa::{CoaCause, CoaKind};
use crate::decision::Outcome;
use crate::event::{Event, EventKind};
use crate::request::words;
use crate::{CommandId, EdgeId, EventId, Mac, OrgId, SessionId, SiteId};

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
    /// What the edge said of it.
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
            CommandState::Delivered => "was delivered to the edge",
            CommandState::Acked => "was done by the NAS",
            CommandState::Failed => "failed at the NAS",
            CommandState::Expired => "expired",
            CommandState::Superseded => "is no longer wanted",
        };
        let not_before = self.not_before.and_then(|due| due.format(&Rfc3339).ok());
        let result = self.result.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
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
            summary: format!("{what} {state}{result}"),
            detail: serde_json::json!({
                "command_id": self.id,
                "state": self.state,
                "kind": self.kind,
                "cause": self.cause,
                "not_before": not_before,
                "from": self.from,
                "to": self.to,
                "result": self.result,
            }),
        }
    }
}
