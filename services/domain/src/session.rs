//! Sessions and accounting.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::event::{Event, EventKind};
use crate::request::words;
use crate::time::{truncate_micros, uuid_of};
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
    /// Acct-Session-Id, where the session is named otherwise: it names one stay, and is never used again (RFC 2866
    /// 5.5).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acct_session_id: Option<String>,
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

/// `terminate_cause` of a session that a denial ended.
pub const ENDED_BY_DENIAL: &str = "Access-Denied";

/// `terminate_cause` of a session that was not heard of for so long that its stop must have been lost.
pub const ENDED_BY_SILENCE: &str = "Lost-Stop";

/// `terminate_cause` of a session whose NAS started or stopped as a whole, in RADIUS's own word (RFC 2866 5.10).
pub const ENDED_BY_NAS_RESTART: &str = "NAS-Reboot";

/// A start that is known from its stop alone is told as at most so long ago.
const BEGAN_BEFORE_MAX: time::Duration = time::Duration::days(1);

/// The longest interval of interim updates that is believed, in seconds.
const INTERIM_SECONDS_MAX: i64 = 86_400;

/// A NAS that tells of longer ago than this has no clock: it woke up in 1970, or in the year that its software is of.
const CLOCK_UNSET: time::Duration = time::Duration::days(366);

/// When something happened at a NAS, as far as its clock can be believed. A clock that runs ahead says now; what lies
/// further back than `age_max` counts as that old. Where the NAS has no clock, it happened now, or `delay` ago where
/// the message has been under way for so long (Acct-Delay-Time).
#[must_use]
pub fn happened_at(
    told: Option<OffsetDateTime>,
    delay: time::Duration,
    now: OffsetDateTime,
    age_max: std::time::Duration,
) -> OffsetDateTime {
    let told = told.filter(|told| now - *told < CLOCK_UNSET).unwrap_or(now - delay);
    truncate_micros(told.clamp(now - age_max, now))
}

/// What accounting knows of a session.
///
/// Messages come twice, late and in any order. So a session is open or ended by the times that they carry, not by
/// the order in which they come: a stop ends it unless a decision or a start came after it, and nothing that is
/// older than the stop opens it again. Where the NAS names its stays (Acct-Session-Id), a stop ends its own stay, also
/// where the NAS's clock is slow, and no other one; and a start of an ended one is a late one, whatever time it bears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stay {
    /// The last decision.
    pub decided_at: Option<OffsetDateTime>,
    pub started_at: OffsetDateTime,
    /// The latest message that counted.
    pub accounted_at: Option<OffsetDateTime>,
    pub ended_at: Option<OffsetDateTime>,
    pub framed_ip: Option<IpAddr>,
    pub bytes_in: Option<i64>,
    pub bytes_out: Option<i64>,
    pub terminate_cause: Option<String>,
    /// The NAS's own name of this stay.
    pub acct_session_id: Option<String>,
    /// The longest time between two messages that was seen.
    pub interim_seconds: Option<i32>,
}

impl Stay {
    /// A session of which nothing is known but that `message` speaks of it.
    #[must_use]
    pub fn unknown(message: &Accounting) -> Self {
        let lasted = message.session_seconds.unwrap_or(0).clamp(0, 366 * 86_400);
        Self {
            decided_at: None,
            started_at: message.at - time::Duration::seconds(lasted),
            accounted_at: None,
            ended_at: None,
            framed_ip: None,
            bytes_in: None,
            bytes_out: None,
            terminate_cause: None,
            acct_session_id: None,
            interim_seconds: None,
        }
    }

    /// Takes a message in. Returns the history that it makes; a repeated message makes none.
    pub fn apply(&mut self, message: &Accounting) -> Vec<Event> {
        let first = self.accounted_at.is_none();
        let newest = self.accounted_at.is_none_or(|at| message.at >= at);
        let stays = (&self.acct_session_id, &message.acct_session_id);
        let (same_stay, other_stay) = match stays {
            (Some(held), Some(told)) => (held == told, held != told),
            _ => (false, false),
        };
        let silent = self.terminate_cause.as_deref() == Some(ENDED_BY_SILENCE);
        let restarted = self.terminate_cause.as_deref() == Some(ENDED_BY_NAS_RESTART);
        match (message.status, self.ended_at) {
            // Of two stays, one may begin in the second in which the other ended.
            (AccountingStatus::Start, Some(ended))
                if (message.at > ended && !same_stay) || (message.at == ended && other_stay) =>
            {
                let Self { decided_at, interim_seconds, .. } = *self;
                *self = Self { decided_at, interim_seconds, ..Self::unknown(message) };
                self.count(message, true);
                let mut events =
                    vec![message.event(EventKind::NacSessionStarted, "Session started".to_owned())];
                events.extend(self.framed_ip.map(|ip| message.ip_event(ip)));
                return events;
            }
            // What a denial ended is now ended by the NAS, too.
            (AccountingStatus::Stop, Some(_))
                if self.terminate_cause.as_deref() == Some(ENDED_BY_DENIAL) && !first =>
            {
                self.count(message, newest);
                self.terminate_cause = Some(message.terminate_cause.clone().unwrap_or_default());
                return vec![message.ended_event()];
            }
            // It was only silent.
            (AccountingStatus::Stop, Some(ended))
                if silent && (same_stay || (!other_stay && message.at >= whole_second(ended))) =>
            {
                self.count(message, newest);
                self.end(message.at);
                self.terminate_cause = Some(message.terminate_cause.clone().unwrap_or_default());
                return vec![message.ended_event()];
            }
            (AccountingStatus::Start | AccountingStatus::Interim, Some(ended))
                if message.at > ended && (silent || (restarted && same_stay)) =>
            {
                self.ended_at = None;
                self.terminate_cause = None;
                self.count(message, newest);
                return vec![message.event(EventKind::NacSessionStarted, "Session goes on".to_owned())];
            }
            // A late one of the stay that ended fills what is not known of it; a start says when it began.
            (_, Some(ended)) if !first && !other_stay && (same_stay || message.at <= ended) => {
                let had = self.framed_ip;
                self.count(message, false);
                if message.status == AccountingStatus::Start {
                    self.started_at = message.at;
                }
                let ip = self.framed_ip.filter(|ip| had != Some(*ip));
                return ip.map(|ip| message.ip_event(ip)).into_iter().collect();
            }
            (_, Some(_)) => return Vec::new(),
            // Of a stay that another one of the same client has followed.
            (AccountingStatus::Stop, None) if other_stay => return Vec::new(),
            (AccountingStatus::Interim, None) if other_stay && !newest => return Vec::new(),
            (AccountingStatus::Stop, None) => {
                // A NAS tells whole seconds. Where it does not say which stay has ended, one before the last decision
                // was another.
                let earlier = self.decided_at.is_some_and(|decided| message.at < whole_second(decided));
                if earlier && !same_stay {
                    return Vec::new();
                }
                self.count(message, newest);
                self.end(message.at);
                self.terminate_cause.clone_from(&message.terminate_cause);
                // The first that is heard of it: its start is late, or lost.
                let began = first.then(|| message.began_event(self.started_at));
                return began.into_iter().chain([message.ended_event()]).collect();
            }
            (AccountingStatus::Start | AccountingStatus::Interim, None) => {}
        }
        let had = self.framed_ip;
        self.count(message, newest);
        let mut events = Vec::new();
        if message.status == AccountingStatus::Start && (first || (!newest && !other_stay)) {
            self.started_at = message.at;
        }
        if first {
            events.push(message.event(EventKind::NacSessionStarted, "Session started".to_owned()));
        }
        events.extend(self.framed_ip.filter(|ip| had != Some(*ip)).map(|ip| message.ip_event(ip)));
        events
    }

    /// By the NAS's clock, which may be behind ours: no stay begins after its end.
    fn end(&mut self, at: OffsetDateTime) {
        self.started_at = self.started_at.min(at);
        self.ended_at = Some(at);
    }

    /// Figures of a later message replace those of an earlier one; an earlier one only fills gaps.
    fn count(&mut self, message: &Accounting, newest: bool) {
        fn merge<T: Copy>(held: &mut Option<T>, new: Option<T>, newest: bool) {
            if newest || held.is_none() {
                *held = new.or(*held);
            }
        }
        merge(&mut self.framed_ip, message.framed_ip, newest);
        merge(&mut self.bytes_in, message.bytes_in, newest);
        merge(&mut self.bytes_out, message.bytes_out, newest);
        if (newest || self.acct_session_id.is_none()) && message.acct_session_id.is_some() {
            self.acct_session_id.clone_from(&message.acct_session_id);
        }
        if let Some(before) = self.accounted_at
            && message.status == AccountingStatus::Interim
            && message.at > before
        {
            let gap = (message.at - before).whole_seconds().clamp(1, INTERIM_SECONDS_MAX);
            self.interim_seconds = self.interim_seconds.max(i32::try_from(gap).ok());
        }
        self.accounted_at = self.accounted_at.max(Some(message.at));
    }
}

fn whole_second(at: OffsetDateTime) -> OffsetDateTime {
    at.replace_nanosecond(0).unwrap_or(at)
}

impl Accounting {
    fn event(&self, kind: EventKind, summary: String) -> Event {
        let name = format!("{}/{kind}", self.id);
        Event {
            org: self.org,
            id: EventId(uuid_of(self.at, &name)),
            at: self.at,
            kind,
            mac: self.mac,
            session: Some(self.session),
            edge: Some(self.edge),
            site: Some(self.site),
            summary,
            detail: serde_json::json!({
                "status": self.status,
                "session_key": self.session_key,
                "user_name": self.user_name,
                "framed_ip": self.framed_ip,
                "bytes_in": self.bytes_in,
                "bytes_out": self.bytes_out,
                "session_seconds": self.session_seconds,
                "terminate_cause": self.terminate_cause,
            }),
        }
    }

    /// Of a session whose start was not told before its end.
    fn began_event(&self, at: OffsetDateTime) -> Event {
        let event = self.event(EventKind::NacSessionStarted, "Session started".to_owned());
        // As far back as there is room for history.
        let at = at.max(self.at - BEGAN_BEFORE_MAX);
        // An event is looked for where its id says that it is.
        let id = EventId(uuid_of(at, &format!("{}/{}", self.id, event.kind)));
        Event { at, id, ..event }
    }

    fn ended_event(&self) -> Event {
        let cause = self.terminate_cause.as_deref().map(|cause| format!(": {cause}")).unwrap_or_default();
        self.event(EventKind::NacSessionEnded, format!("Session ended{cause}"))
    }

    fn ip_event(&self, ip: IpAddr) -> Event {
        self.event(EventKind::NacClientIpAssigned, format!("Client has address {ip}"))
    }
}

#[cfg(test)]
mod tests;
