//! NAC history: immutable lines. Names follow Mist's.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::decision::Answer;
use crate::request::{AccessRequest, words};
use crate::resolver::LookupKey;
use crate::{EdgeId, EventId, Mac, OrgId, SessionId, SiteId};

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum EventKind {
    NacClientPermit,
    NacClientDeny,
    NacMdmLookupSuccess,
    NacMdmLookupFailure,
    NacMdmDeviceNotEnrolled,
    NacMdmComplianceChanged,
    /// How a linked account fares.
    NacMdmLinkStateChanged,
    /// A credential that links depend on ends soon, or has ended.
    NacMdmCredentialExpiring,
    /// The person at the device asked that it be looked at again.
    NacClientCheckAgain,
    NacClientCoaReauth,
    NacClientCoaDisconnect,
    /// Moves of many clients to a worse state wait for an admin, or no longer do.
    NacCoaHeld,
    NacSessionStarted,
    NacSessionEnded,
    NacClientIpAssigned,
    NacClientCertExpired,
    /// The edge refused the client's certificate.
    NacClientCertCheckFailure,
    /// The client refused the edge's certificate.
    NacServerCertValidationFailure,
    /// The edge refused a name and its password.
    NacIdpAuthcFailure,
    /// The edge refused the client for another reason.
    NacClientAuthFailure,
}

words!(EventKind, "event type",
    EventKind::NacClientPermit => "NAC_CLIENT_PERMIT", EventKind::NacClientDeny => "NAC_CLIENT_DENY",
    EventKind::NacMdmLookupSuccess => "NAC_MDM_LOOKUP_SUCCESS",
    EventKind::NacMdmLookupFailure => "NAC_MDM_LOOKUP_FAILURE",
    EventKind::NacMdmDeviceNotEnrolled => "NAC_MDM_DEVICE_NOT_ENROLLED",
    EventKind::NacMdmComplianceChanged => "NAC_MDM_COMPLIANCE_CHANGED",
    EventKind::NacMdmLinkStateChanged => "NAC_MDM_LINK_STATE_CHANGED",
    EventKind::NacMdmCredentialExpiring => "NAC_MDM_CREDENTIAL_EXPIRING",
    EventKind::NacClientCheckAgain => "NAC_CLIENT_CHECK_AGAIN",
    EventKind::NacClientCoaReauth => "NAC_CLIENT_COA_REAUTH",
    EventKind::NacClientCoaDisconnect => "NAC_CLIENT_COA_DISCONNECT",
    EventKind::NacCoaHeld => "NAC_COA_HELD",
    EventKind::NacSessionStarted => "NAC_SESSION_STARTED", EventKind::NacSessionEnded => "NAC_SESSION_ENDED",
    EventKind::NacClientIpAssigned => "NAC_CLIENT_IP_ASSIGNED",
    EventKind::NacClientCertExpired => "NAC_CLIENT_CERT_EXPIRED",
    EventKind::NacClientCertCheckFailure => "NAC_CLIENT_CERT_CHECK_FAILURE",
    EventKind::NacServerCertValidationFailure => "NAC_SERVER_CERT_VALIDATION_FAILURE",
    EventKind::NacIdpAuthcFailure => "NAC_IDP_AUTHC_FAILURE",
    EventKind::NacClientAuthFailure => "NAC_CLIENT_AUTH_FAILURE",
);

impl EventKind {
    /// Those that are written. How a lookup went, every decision tells by itself (its match, or the reason
    /// `facts_unavailable`): a line beside it would double what is written, most of all while a store is away.
    pub fn written() -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(|kind| !matches!(kind, Self::NacMdmLookupSuccess | Self::NacMdmLookupFailure))
    }
}

/// One line. The columns are what the dashboard searches; all else is in `detail`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub org: OrgId,
    pub id: EventId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub kind: EventKind,
    pub mac: Option<Mac>,
    pub session: Option<SessionId>,
    pub edge: Option<EdgeId>,
    pub site: Option<SiteId>,
    pub summary: String,
    pub detail: serde_json::Value,
}

/// A decision as it is recorded: enough to write the event and the session from, and to explain it for ever.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecisionRecord {
    pub org: OrgId,
    pub session: SessionId,
    /// The edge's own name of the session, or `mac:<digits>` where it gave none.
    pub session_key: String,
    pub request: AccessRequest,
    pub answer: Answer,
    /// Every key under which this client's device may be found: a device that changes under one of them
    /// concerns this session.
    pub keys: Vec<LookupKey>,
    /// The edge decided it from its bundle, because the cloud was away.
    #[serde(rename = "decided_offline", default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// The edge's name of what it asked the cloud. An offline decision that bears it stands in the place of the one
    /// that the cloud made of the same ask, which nobody heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ask: Option<uuid::Uuid>,
    /// When the cloud was told, where the edge's clock ran ahead of it.
    #[serde(with = "time::serde::rfc3339::option", default, skip_serializing_if = "Option::is_none")]
    pub told_at: Option<OffsetDateTime>,
}

impl DecisionRecord {
    /// The event kind of the decision.
    #[must_use]
    pub const fn kind(&self) -> EventKind {
        if self.answer.decision.outcome.permit {
            EventKind::NacClientPermit
        } else {
            EventKind::NacClientDeny
        }
    }

    /// From when it counts for its session: not from the future, or what is decided and told of it next would not.
    #[must_use]
    pub fn counts_from(&self) -> OffsetDateTime {
        self.told_at.map_or(self.answer.at, |told| told.min(self.answer.at))
    }

    /// The decision in one sentence, for lists.
    #[must_use]
    pub fn summary(&self) -> String {
        let decision = &self.answer.decision;
        let Some(rule) = &decision.rule else {
            let done = if decision.outcome.permit { "Permitted" } else { "Denied" };
            return format!("{done}: {}", decision.reason.explain().0);
        };
        let mut text = if decision.outcome.permit { "Permitted" } else { "Denied" }.to_owned();
        text.push_str(&format!(" by rule {} “{}”", rule.position, rule.name));
        if let Some(vlan) = &decision.outcome.vlan {
            text.push_str(&format!(", VLAN {vlan}"));
        }
        if let Some(role) = &decision.outcome.role {
            text.push_str(&format!(", role {role}"));
        }
        text
    }
}
