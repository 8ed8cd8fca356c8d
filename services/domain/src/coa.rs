//! Change of Authorization: which sessions must move, and how.

use serde::{Deserialize, Serialize};

use crate::decision::Outcome;
use crate::request::words;

/// How a session is moved (RFC 5176, and what vendors make of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoaKind {
    /// The client authenticates again, without losing its link where the NAS can do that.
    Reauth,
    /// The session ends; the client comes back by itself.
    Disconnect,
    /// The port goes down and up.
    PortBounce,
}

words!(CoaKind, "CoA kind",
    CoaKind::Reauth => "reauth", CoaKind::Disconnect => "disconnect", CoaKind::PortBounce => "port_bounce",
);

/// Why a session was looked at again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoaCause {
    ComplianceChanged,
    PolicyPublished,
    AdminAsked,
}

words!(CoaCause, "CoA cause",
    CoaCause::ComplianceChanged => "compliance_changed", CoaCause::PolicyPublished => "policy_published",
    CoaCause::AdminAsked => "admin_asked",
);

/// What to do with one active session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CoaPlan {
    /// The answer would be the same. A command that is still waiting is no longer wanted.
    Keep,
    /// The answer would differ.
    Move { kind: CoaKind, to: Outcome },
}

/// Plans for one session: only one whose answer would differ is moved.
#[must_use]
pub fn plan(answered: &Outcome, now_would_be: &Outcome, kind: CoaKind) -> CoaPlan {
    if answered == now_would_be { CoaPlan::Keep } else { CoaPlan::Move { kind, to: now_would_be.clone() } }
}
