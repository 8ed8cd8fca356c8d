//! Identifiers, one type each, so that a site can never be passed where an organization is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The raw UUID, as the database stores it.
            #[must_use]
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }

        impl From<$name> for Uuid {
            fn from(value: $name) -> Self {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(s).map(Self)
            }
        }
    };
}

id!(
    /// An organization: the tenant of Gatehouse.
    OrgId
);
id!(
    /// A person who signed in, known by Entra `(tid, oid)`.
    AccountId
);
id!(
    /// A place of an organization.
    SiteId
);
id!(
    /// A NAC edge device.
    EdgeId
);
id!(
    /// One credential of an edge.
    CredentialId
);
id!(
    /// A linked account: one Entra tenant of an organization.
    LinkId
);
id!(
    /// An Intune managed device: Graph's `managedDevice.id`.
    DeviceId
);
id!(
    /// A label of a policy.
    LabelId
);
id!(
    /// A rule of a policy.
    RuleId
);
id!(
    /// A client's stay.
    SessionId
);
id!(
    /// One immutable line of NAC history. Version 7: its first 48 bits are the event's time in milliseconds.
    EventId
);
id!(
    /// A Change of Authorization sent to an edge.
    CommandId
);
id!(
    /// Moves to a worse state that wait for an admin together.
    HoldId
);
id!(
    /// One change of a device's compliance.
    TransitionId
);

/// A decision is recorded as exactly one event, and bears its id.
pub type DecisionId = EventId;
