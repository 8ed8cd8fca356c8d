//! What the transactional outbox carries from PostgreSQL to Redis and to CoA planning.

use serde::{Deserialize, Serialize};

use crate::resolver::LookupKey;
use crate::{DeviceId, EdgeId, LinkId, SessionId};

/// One message. All are level-triggered: the consumer re-reads the present state, so that handling a message
/// twice, or late, does no harm.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "topic", rename_all = "snake_case")]
pub enum OutboxMessage {
    /// Devices of a link changed (or came, or went).
    DevicesChanged {
        link: LinkId,
        devices: Vec<DeviceId>,
        /// Every key under which they were or are found.
        keys: Vec<LookupKey>,
    },
    /// Decisions were recorded long after they were made, from facts that may have changed meanwhile: their sessions
    /// are decided again.
    DecisionsRecordedLate {
        /// Every key under which the clients' devices may be found.
        keys: Vec<LookupKey>,
    },
    /// Settings, links or the live policy changed: the snapshot's revision grew.
    SnapshotChanged {
        /// Sessions must be re-decided (a policy was published, a setting changed), not only cached values
        /// refreshed (a sweep confirmed what was known).
        redecide: bool,
    },
    /// An edge's credential was made, revoked, or given an end; or the edge was switched off or on.
    CredentialChanged { edge: EdgeId },
    /// Moves of a link's clients are held, or no longer are: those that no edge was told are decided again.
    HoldChanged { link: LinkId },
    /// Commands of these sessions came to nothing: they are decided again, and moved where that is still wanted.
    SessionsDue { sessions: Vec<SessionId> },
    /// A command waits for an edge.
    CommandReady { edge: EdgeId },
}
