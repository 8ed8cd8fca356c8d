//! The policy as a value: what is edited as a draft, published as a version, and stored as JSON.

use serde::{Deserialize, Serialize};

use crate::request::{AuthType, Certificate, PortType, words};
use crate::{LabelId, RuleId, SiteId};

/// The whole ordered list of rules, with the labels they use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyDoc {
    pub labels: Vec<Label>,
    /// In order of evaluation.
    pub rules: Vec<Rule>,
    /// Named separators in the list of rules, in order. They bear no meaning for decisions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<Section>,
}

/// A named separator in the list of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// 1 to 64 characters, unique among the sections without regard to case: sections are addressed by it.
    pub name: String,
    /// How many rules stand before it. Beyond the end is the end.
    pub at: usize,
}

/// One row of the list as it is shown: separators and rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Row<'a> {
    Section(&'a Section),
    Rule {
        /// The rule's place among the rules, counted from 1.
        position: usize,
        rule: &'a Rule,
    },
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

    /// Separators and rules, as they are shown.
    #[must_use]
    pub fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::with_capacity(self.rules.len() + self.sections.len());
        let mut sections = self.sections.iter().peekable();
        for (before, rule) in self.rules.iter().enumerate() {
            while let Some(section) = sections.next_if(|section| section.at <= before) {
                rows.push(Row::Section(section));
            }
            rows.push(Row::Rule { position: before + 1, rule });
        }
        rows.extend(sections.map(Row::Section));
        rows
    }

    /// The section that a rule stands in, by the rule's index; `None` before the first separator.
    #[must_use]
    pub fn section_of(&self, index: usize) -> Option<&Section> {
        self.sections.iter().take_while(|section| section.at <= index).last()
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
    /// VLANs of a trunk port: `1name` tagged, `2name` untagged (RFC 4675 2.3).
    EgressVlanNames { egress_vlan_names: Vec<String> },
    /// The tag of a group-based policy, 1 to 65535.
    GbpTag { gbp_tag: u16 },
    /// What the Access-Accept gives back as User-Name.
    UsernameAttr { username_attr: UsernameAttr },
    /// Standard attributes, each as `Name=Value`, checked against the dictionary.
    RadiusAttrs { radius_attrs: Vec<String> },
    /// Vendors' attributes, each as `Name=Value`, checked against the dictionary.
    RadiusVendorAttrs { radius_vendor_attrs: Vec<String> },
    /// A page that the client is led to, for remediation: an address, or `gatehouse` for Gatehouse's own page, which
    /// knows the client.
    RedirectUrl { redirect_url: String },
}

impl LabelKind {
    /// Every type's name, as in JSON.
    pub const TYPES: &'static [&'static str] = &[
        "match",
        "vlan",
        "radius_group",
        "session_timeout",
        "egress_vlan_names",
        "gbp_tag",
        "username_attr",
        "radius_attrs",
        "radius_vendor_attrs",
        "redirect_url",
    ];

    /// The type's name, as in JSON.
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self {
            Self::Match { .. } => "match",
            Self::Vlan { .. } => "vlan",
            Self::RadiusGroup { .. } => "radius_group",
            Self::SessionTimeout { .. } => "session_timeout",
            Self::EgressVlanNames { .. } => "egress_vlan_names",
            Self::GbpTag { .. } => "gbp_tag",
            Self::UsernameAttr { .. } => "username_attr",
            Self::RadiusAttrs { .. } => "radius_attrs",
            Self::RadiusVendorAttrs { .. } => "radius_vendor_attrs",
            Self::RedirectUrl { .. } => "redirect_url",
        }
    }

    /// The result type of which a rule may hold only one label; `None` for match labels and for the lists of RADIUS
    /// attributes, of which a rule may hold several.
    #[must_use]
    pub const fn single_valued(&self) -> Option<SingleValued> {
        match self {
            Self::Match { .. } | Self::RadiusAttrs { .. } | Self::RadiusVendorAttrs { .. } => None,
            Self::Vlan { .. } => Some(SingleValued::Vlan),
            Self::RadiusGroup { .. } => Some(SingleValued::RadiusGroup),
            Self::SessionTimeout { .. } => Some(SingleValued::SessionTimeout),
            Self::EgressVlanNames { .. } => Some(SingleValued::EgressVlanNames),
            Self::GbpTag { .. } => Some(SingleValued::GbpTag),
            Self::UsernameAttr { .. } => Some(SingleValued::UsernameAttr),
            Self::RedirectUrl { .. } => Some(SingleValued::RedirectUrl),
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
    EgressVlanNames,
    GbpTag,
    UsernameAttr,
    RedirectUrl,
}

/// Which name of the client's certificate is given back as User-Name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UsernameAttr {
    /// The first that is there: UPN, e-mail, DNS name, CN.
    Automatic,
    Cn,
    Dns,
    Email,
    Upn,
}

words!(UsernameAttr, "user name attribute",
    UsernameAttr::Automatic => "automatic", UsernameAttr::Cn => "cn", UsernameAttr::Dns => "dns",
    UsernameAttr::Email => "email", UsernameAttr::Upn => "upn",
);

impl UsernameAttr {
    /// The name that a certificate bears under it.
    #[must_use]
    pub fn of(self, cert: &Certificate) -> Option<&str> {
        let upn = || first(&cert.san_upn);
        let email = || first(&cert.san_email);
        let dns = || first(&cert.san_dns);
        let cn = || cert.cn.as_deref().filter(|cn| !cn.is_empty());
        match self {
            Self::Automatic => upn().or_else(email).or_else(dns).or_else(cn),
            Self::Cn => cn(),
            Self::Dns => dns(),
            Self::Email => email(),
            Self::Upn => upn(),
        }
    }
}

fn first(names: &[String]) -> Option<&str> {
    names.iter().map(String::as_str).find(|name| !name.is_empty())
}

/// What a match label looks at. What each sees, and how its values read, is in [`super::keys`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum MatchLabelKey {
    MdmStatus,
    AuthType,
    Ssid,
    UserName,
    Realm,
    ClientMac,
    UsermacLabel,
    Hostname,
    CertCn,
    CertIssuer,
    CertSan,
    CertSerial,
    CertSub,
    CertEku,
    CertTemplate,
    NasIp,
    IngressVlan,
    RadiusGroup,
    GbpTag,
    IdpRole,
    MatchStrength,
    Os,
    OsVersion,
    Owner,
    Encrypted,
    Jailbroken,
    ThreatState,
    DeviceCategory,
    Manufacturer,
    Model,
    LastCheckInDays,
    RandomMac,
}

words!(MatchLabelKey, "match key",
    MatchLabelKey::MdmStatus => "mdm_status", MatchLabelKey::AuthType => "auth_type",
    MatchLabelKey::Ssid => "ssid", MatchLabelKey::UserName => "user_name", MatchLabelKey::Realm => "realm",
    MatchLabelKey::ClientMac => "client_mac", MatchLabelKey::UsermacLabel => "usermac_label",
    MatchLabelKey::Hostname => "hostname", MatchLabelKey::CertCn => "cert_cn",
    MatchLabelKey::CertIssuer => "cert_issuer", MatchLabelKey::CertSan => "cert_san",
    MatchLabelKey::CertSerial => "cert_serial", MatchLabelKey::CertSub => "cert_sub",
    MatchLabelKey::CertEku => "cert_eku", MatchLabelKey::CertTemplate => "cert_template",
    MatchLabelKey::NasIp => "nas_ip", MatchLabelKey::IngressVlan => "ingress_vlan",
    MatchLabelKey::RadiusGroup => "radius_group", MatchLabelKey::GbpTag => "gbp_tag",
    MatchLabelKey::IdpRole => "idp_role", MatchLabelKey::MatchStrength => "match_strength",
    MatchLabelKey::Os => "os", MatchLabelKey::OsVersion => "os_version", MatchLabelKey::Owner => "owner",
    MatchLabelKey::Encrypted => "encrypted", MatchLabelKey::Jailbroken => "jailbroken",
    MatchLabelKey::ThreatState => "threat_state", MatchLabelKey::DeviceCategory => "device_category",
    MatchLabelKey::Manufacturer => "manufacturer", MatchLabelKey::Model => "model",
    MatchLabelKey::LastCheckInDays => "last_check_in_days", MatchLabelKey::RandomMac => "random_mac",
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

impl schemars::JsonSchema for AuthMatch {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AuthMatch".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let words: Vec<_> = Self::ALL.iter().map(|word| word.as_str()).collect();
        schemars::json_schema!({ "type": "string", "enum": words })
    }
}

impl<'de> Deserialize<'de> for AuthMatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a rule does with a client that it matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
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
    /// What people want to remember about it; up to 1000 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    pub enabled: bool,
    /// Evaluated and recorded, never enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
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
    /// Whether the rule can decide: enabled, and not on trial.
    #[must_use]
    pub const fn enforced(&self) -> bool {
        self.enabled && !self.dry_run
    }

    /// Every label that the rule names.
    pub fn labels(&self) -> impl Iterator<Item = LabelId> {
        self.matching.labels.iter().chain(&self.not_matching.labels).chain(&self.apply).copied()
    }
}
