//! What a decision needs of an organization besides its devices: small, cached whole, replaced whole.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::coa::CoaKind;
use crate::policy::PolicyDoc;
use crate::{LinkId, OrgId};

/// What an organization's admins set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgSettings {
    /// A record confirmed longer ago than this is stale. Default 24 h.
    pub stale_after_seconds: u32,
    /// Whether `inGracePeriod` counts as compliant, as Conditional Access has it. Default yes.
    pub grace_is_compliant: bool,
    /// What moves a session. Default re-authentication.
    pub coa: CoaKind,
}

impl Default for OrgSettings {
    fn default() -> Self {
        Self { stale_after_seconds: 86_400, grace_is_compliant: true, coa: CoaKind::Reauth }
    }
}

/// What a decision needs of a linked account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkFacts {
    pub id: LinkId,
    /// The start of the last sweep that went through: every record that is not missing was seen since then.
    /// `None`: no sweep ever finished.
    #[serde(with = "time::serde::rfc3339::option")]
    pub confirmed_at: Option<OffsetDateTime>,
}

/// The live policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPolicy {
    pub version: i32,
    pub doc: PolicyDoc,
}

/// All of it, at one revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrgSnapshot {
    pub org: OrgId,
    /// Grows with every change of settings, links or policy; an older snapshot never replaces a newer one.
    pub revision: i64,
    pub settings: OrgSettings,
    pub links: Vec<LinkFacts>,
    /// `None` until the first publish.
    pub policy: Option<PublishedPolicy>,
}
