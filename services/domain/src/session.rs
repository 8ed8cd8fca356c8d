//! Sessions and accounting.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::request::words;
use crate::{EdgeId, EventId, Mac, OrgId, SessionId, SiteId};

/// Acct-Status-Type (RFC 2866 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccountingStatus {
    Start,
    Interim,
    Stop,
}

words!(AccountingStatus, "accounting status",
    AccountingStatus::Start => "start", AccountingStatus::Interim => "interim", AccountingStatus::Stop => "stop",
);

/// One accounting message of an edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounting {
    pub org: OrgId,
    /// Made from edge, session, status and event time, so that a repeated message is the same event.
    pub id: EventId,
    pub edge: EdgeId,
    pub site: SiteId,
    pub session: SessionId,
    pub session_key: String,
    pub status: AccountingStatus,
    /// When it happened at the NAS.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub mac: Option<Mac>,
    pub user_name: Option<String>,
    pub framed_ip: Option<IpAddr>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub session_seconds: Option<i64>,
    pub terminate_cause: Option<String>,
}

/// The name under which an edge's session is kept: the edge's own, or its MAC where it gave none.
#[must_use]
pub fn session_key(edge_session_id: Option<&str>, mac: Option<Mac>) -> Option<String> {
    match (edge_session_id.map(str::trim).filter(|s| !s.is_empty()), mac) {
        (Some(id), _) => Some(id.to_owned()),
        (None, Some(mac)) => Some(format!("mac:{}", mac.digits())),
        (None, None) => None,
    }
}

/// The id of a session: the same on every replica, because it is made from what names it.
#[must_use]
pub fn session_id(org: OrgId, edge: EdgeId, key: &str) -> SessionId {
    let name = format!("{org}/{edge}/{key}");
    SessionId(uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, name.as_bytes()))
}
