//! The policy as a value: what is edited as a draft, published as a version, and stored as JSON.

use serde::{Deserialize, Serialize};

use crate::request::{AuthType, PortType, words};
use crate::{LabelId, RuleId, SiteId};

/// The whole ordered list of rules, with the labels they use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDoc {
    pub labels: Vec<Label>,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
}

impl PolicyDoc {
    /// The label with this id.
    #[must_use]
    pub fn label(&self, id: LabelId) -> Option<&Label> {
        self.labels.iter().find(|label| label.id == id)
    }

    /// The rule with this id.
    #[must_use]
    pub fn rule(&self, id: RuleId) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// The rules that use a label.
    pub fn users_of(&self, id: LabelId) -> impl Iterator<Item = &Rule> {
        self.rules.iter().filter(move |rule| rule.labels().any(|used| used == id))
    }
}

/// A named match or a named result. Mist calls it a nactag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    pub id: LabelId,
    /// 1 to 64 characters, unique in the policy without regard to case.
    pub name: String,
    #[serde(flatten)]
    pub kind: LabelKind,
}

/// What a label matches or applies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum LabelKind {
    Match {
        #[serde(rename = "match")]
        key: MatchLabelKey,
        /// OR-ed, or AND-ed where `match_all` is set.
        values: Vec<String>,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        match_all: bool,
    },
    /// A VLAN id (1 to 4094) or name.
    Vlan { vlan: String },
    /// A role, sent as Filter-Id (RFC 2865 5.11).
    RadiusGroup { radius_group: String },
    /// Seconds until the client must authenticate again (RFC 2865 5.27).
    SessionTimeout { session_timeout: u32 },
}

impl LabelKind {
    /// The type's name, as in JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Match { .. } => "match",
            Self::Vlan { .. } => "vlan",
            Self::RadiusGroup { .. } => "radius_group",
            Self::SessionTimeout { .. } => "session_timeout",
        }
    }

    /// The result type of which a rule may hold only one label; `None` for match labels.
    #[must_use]
    pub const fn single_valued(&self) -> Option<SingleValued> {
        match self {
            Self::Match { .. } => None,
            Self::Vlan { .. } => Some(SingleValued::Vlan),
            Self::RadiusGroup { .. } => Some(SingleValued::RadiusGroup),
            Self::SessionTimeout { .. } => Some(SingleValued::SessionTimeout),
        }
    }

    /// Whether the label stands in conditions rather than in results.
    #[must_use]
    pub const fn is_match(&self) -> bool {
        matches!(self, Self::Match { .. })
    }
}

/// A result type of which a rule holds at most one label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SingleValued {
    Vlan,
    RadiusGroup,
    SessionTimeout,
}

/// What a match label looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatchLabelKey {
    MdmStatus,
    AuthType,
    Ssid,
    ClientMac,
    MatchStrength,
}

words!(MatchLabelKey, "match key",
    MatchLabelKey::MdmStatus => "mdm_status", MatchLabelKey::AuthType => "auth_type",
    MatchLabelKey::Ssid => "ssid", MatchLabelKey::ClientMac => "client_mac",
    MatchLabelKey::MatchStrength => "match_strength",
);

/// What a condition says of the authentication method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AuthMatch {
    Exactly(AuthType),
    /// Any method that presented a client certificate.
    Cert,
    /// Any method that presented a password.
    Idp,
}

impl AuthMatch {
    /// Every value, in the order of the documentation.
    pub const ALL: &'static [Self] = &[
        Self::Cert,
        Self::Idp,
        Self::Exactly(AuthType::EapTls),
        Self::Exactly(AuthType::EapTtls),
        Self::Exactly(AuthType::EapPeap),
        Self::Exactly(AuthType::EapTeap),
        Self::Exactly(AuthType::Mab),
        Self::Exactly(AuthType::Psk),
        Self::Exactly(AuthType::Admin),
    ];

    /// The word that stands for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cert => "cert",
            Self::Idp => "idp",
            Self::Exactly(method) => method.as_str(),
        }
    }
}

impl std::fmt::Display for AuthMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for AuthMatch {
    type Err = crate::request::UnknownWord;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        Self::ALL.iter().copied().find(|v| v.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let allowed: Vec<_> = Self::ALL.iter().map(|v| v.as_str()).collect();
            crate::request::UnknownWord { what: "auth type", allowed: allowed.join(", ") }
        })
    }
}

impl Serialize for AuthMatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for AuthMatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a rule does with a client that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Allow,
    Block,
}

words!(Action, "action", Action::Allow => "allow", Action::Block => "block",);

/// One side of a rule. Everything named must hold; an empty list names nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Conditions {
    /// The method is one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_types: Vec<AuthMatch>,
    /// The port is one of these kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_types: Vec<PortType>,
    /// The edge stands at one of these sites.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub site_ids: Vec<SiteId>,
    /// The NAS is of one of these vendors; compared without regard to case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vendors: Vec<String>,
    /// Match labels, each of which is a condition of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelId>,
}

impl Conditions {
    /// Whether nothing is named.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.auth_types.is_empty()
            && self.port_types.is_empty()
            && self.site_ids.is_empty()
            && self.vendors.is_empty()
            && self.labels.is_empty()
    }
}

/// One ordered rule. Mist calls it a nacrule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    pub id: RuleId,
    /// 1 to 64 characters, unique in the policy without regard to case.
    pub name: String,
    pub enabled: bool,
    pub action: Action,
    /// All of it must hold. Empty matches every client.
    #[serde(default)]
    pub matching: Conditions,
    /// None of it may hold.
    #[serde(default)]
    pub not_matching: Conditions,
    /// Result labels, applied where the action is allow.
    #[serde(default)]
    pub apply: Vec<LabelId>,
}

impl Rule {
    /// Every label that the rule names.
    pub fn labels(&self) -> impl Iterator<Item = LabelId> {
        self.matching.labels.iter().chain(&self.not_matching.labels).chain(&self.apply).copied()
    }
}
