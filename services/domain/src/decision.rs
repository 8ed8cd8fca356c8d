//! The answer to one access request, with its full trace.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::compliance::Compliance;
use crate::device::DeviceFacts;
use crate::request::words;
use crate::resolver::{Match, MatchKey, MatchStrength, Outcome as MatchOutcome};
use crate::{DecisionId, DeviceId, LabelId, LinkId, RuleId};

/// What the client gets. Two decisions with equal outcomes need no Change of Authorization between them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Outcome {
    pub permit: bool,
    pub vlan: Option<String>,
    pub role: Option<String>,
    /// Seconds.
    pub session_timeout: Option<u32>,
    /// VLANs of a trunk port: `1name` tagged, `2name` untagged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub egress_vlan_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbp_tag: Option<u16>,
    /// Given back as User-Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<Redirect>,
    /// Further attributes, standard ones first, each group in the order of the rule's labels.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attrs: Vec<RadiusAttr>,
}

/// A page that a client is led to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum Redirect {
    /// Gatehouse's own page, which tells the person at the device why, and what to do. Its address is personal, and so
    /// no part of a decision: whoever answers puts it in ([`Outcome::lead_to`]), and two answers that lead there are
    /// the same answer.
    Remediation,
    /// A page of the organization's.
    Url(String),
}

impl Redirect {
    /// How a label names Gatehouse's own page.
    pub const REMEDIATION: &'static str = "gatehouse";

    /// The address, where it is no personal one that has yet to be put in.
    #[must_use]
    pub fn url(&self) -> Option<&str> {
        match self {
            Self::Remediation => None,
            Self::Url(url) => Some(url),
        }
    }

    /// What a label's value means, for people.
    #[must_use]
    pub fn describe(value: &str) -> &str {
        if value == Self::REMEDIATION { "Gatehouse’s remediation page" } else { value }
    }
}

impl From<String> for Redirect {
    fn from(text: String) -> Self {
        if text == Self::REMEDIATION { Self::Remediation } else { Self::Url(text) }
    }
}

impl From<Redirect> for String {
    fn from(redirect: Redirect) -> Self {
        match redirect {
            Redirect::Remediation => Redirect::REMEDIATION.to_owned(),
            Redirect::Url(url) => url,
        }
    }
}

/// One attribute of RADIUS that a label names, in the dictionary's spelling.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RadiusAttr {
    /// With `:tag` behind it where the attribute has one (RFC 2868).
    pub name: String,
    pub value: String,
}

impl Outcome {
    /// A denial.
    pub const DENY: Self = Self {
        permit: false,
        vlan: None,
        role: None,
        session_timeout: None,
        egress_vlan_names: Vec::new(),
        gbp_tag: None,
        user_name: None,
        redirect_url: None,
        attrs: Vec::new(),
    };

    /// Whether the client is to be led to Gatehouse's own page.
    #[must_use]
    pub fn leads_to_remediation(&self) -> bool {
        self.redirect_url == Some(Redirect::Remediation)
    }

    /// Puts the client's own address of Gatehouse's page in, for the answer that goes out. Where there is none, the
    /// redirect is left out, and all else holds.
    pub fn lead_to(&mut self, page: Option<String>) {
        if self.leads_to_remediation() {
            self.redirect_url = page.map(Redirect::Url);
        }
    }
}

/// Why, for machines. Stable: a code never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// A rule that allows matched.
    RuleAllow,
    /// A rule that blocks matched.
    RuleBlock,
    /// No rule matched.
    ImplicitDeny,
    /// The organization has not published a policy.
    NoPolicy,
    /// EAP-TLS without a client certificate, as a resumed session would show it.
    CertificateMissing,
    /// The client's certificate is past its end.
    CertificateExpired,
    /// What the decision needs could be read from no store at all.
    FactsUnavailable,
    /// The cloud was away, and the edge's bundle was too old or did not know the client: the site's fallback.
    SiteFallback,
}

words!(Reason, "reason",
    Reason::RuleAllow => "rule_allow", Reason::RuleBlock => "rule_block", Reason::ImplicitDeny => "implicit_deny",
    Reason::NoPolicy => "no_policy", Reason::CertificateMissing => "certificate_missing",
    Reason::CertificateExpired => "certificate_expired", Reason::FactsUnavailable => "facts_unavailable",
    Reason::SiteFallback => "site_fallback",
);

impl Reason {
    /// What it means and what to do about it, for people.
    #[must_use]
    pub const fn explain(self) -> (&'static str, &'static str) {
        match self {
            Self::RuleAllow => ("An allow rule matched.", "Nothing to do."),
            Self::RuleBlock => {
                ("A block rule matched.", "Change the rule, or what it matches, if this is not wanted.")
            }
            Self::ImplicitDeny => (
                "No rule matched, so the implicit last rule denied.",
                "Compare the conditions below with what was seen, and add or widen a rule.",
            ),
            Self::NoPolicy => ("No policy is published.", "Publish the draft under Auth Policies."),
            Self::CertificateMissing => (
                "EAP-TLS came without a client certificate.",
                "Turn the edge's TLS session cache off: a resumed session hides the certificate.",
            ),
            Self::CertificateExpired => (
                "The client certificate has expired.",
                "Renew the device's certificate; check its SCEP or PKCS profile in Intune.",
            ),
            Self::FactsUnavailable => (
                "Neither PostgreSQL nor Redis answered, and this process had nothing in memory yet.",
                "Bring the stores back; the edge asks again by itself.",
            ),
            Self::SiteFallback => (
                "The edge could not reach Gatehouse, and its bundle was too old or did not know the client, so the \
                 client got what its site falls back to.",
                "Find out why the edge could not reach Gatehouse; the client is decided anew when it authenticates \
                 again.",
            ),
        }
    }
}

/// The rule that decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleRef {
    pub id: RuleId,
    pub name: String,
    /// Its place, counted from 1.
    pub position: u32,
}

/// What the engine returns: pure, and the same on every replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub outcome: Outcome,
    pub reason: Reason,
    pub rule: Option<RuleRef>,
    /// The published version that decided.
    pub policy_version: Option<i32>,
    /// How every rule up to the deciding one fared.
    pub trace: Trace,
    /// The rules on trial up to the deciding one, in order. The first that matched would have decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dry_run: Vec<DryRun>,
}

impl Decision {
    /// The rule on trial that would have decided, had it been in force.
    #[must_use]
    pub fn would_decide(&self) -> Option<&DryRun> {
        self.dry_run.iter().find(|trial| trial.matched)
    }
}

/// How a rule on trial fared. Events carry it as `dryrun_nacrule_id` and `dryrun_nacrule_matched`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    pub rule: RuleRef,
    pub matched: bool,
    /// What it would have given, where it matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How the rules up to the deciding one fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Trace {
    /// Which conditions held; `policy::trace::retell` tells the rest.
    Held(Held),
    /// In words, as earlier releases recorded it.
    Told(Vec<RuleTrace>),
}

impl Default for Trace {
    fn default() -> Self {
        Self::Held(Held::default())
    }
}

/// A bit for each condition of each rule that was looked at, in the order of the policy's document, as hexadecimal
/// digits: the first bit is the highest of the first digit, and what the last digit has over is zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Held(String);

impl Held {
    /// Whether it is of so many conditions.
    #[must_use]
    pub fn is_of(&self, conditions: usize) -> bool {
        self.0.len() == conditions.div_ceil(4)
    }

    /// The bits, and up to three zeroes behind them.
    pub fn iter(&self) -> impl Iterator<Item = bool> {
        let digits = self.0.chars().map(|digit| digit.to_digit(16).unwrap_or(0));
        digits.flat_map(|digit| [8, 4, 2, 1].map(|bit| digit & bit != 0))
    }
}

impl FromIterator<bool> for Held {
    fn from_iter<I: IntoIterator<Item = bool>>(bits: I) -> Self {
        let mut bits = bits.into_iter().fuse();
        let mut digits = String::new();
        while let Some(first) = bits.next() {
            let rest = [(); 3].map(|()| bits.next().unwrap_or(false));
            let digit = rest.into_iter().fold(u32::from(first), |digit, bit| digit << 1 | u32::from(bit));
            digits.extend(char::from_digit(digit, 16));
        }
        Self(digits)
    }
}

/// How one rule fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleTrace {
    pub rule: RuleRef,
    pub matched: bool,
    /// Disabled rules are skipped, with no conditions evaluated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// On trial: it never decides.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    pub conditions: Vec<ConditionTrace>,
}

/// How one condition fared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionTrace {
    /// Stands under `not_matching`: the rule matches only where it does not hold.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub negated: bool,
    pub subject: Subject,
    pub wanted: Vec<String>,
    /// AND instead of OR between the wanted values.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// What was there; empty where nothing was.
    pub saw: Vec<String>,
    /// Whether the condition itself held, before negation.
    pub held: bool,
}

impl ConditionTrace {
    /// Whether it stood in the way of the rule.
    #[must_use]
    pub const fn blocked(&self) -> bool {
        self.held == self.negated
    }
}

/// What a condition is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    AuthType,
    PortType,
    Site,
    Vendor,
    Label { id: LabelId, name: String, key: String },
}

/// How the client was found in the fleet, as it is answered and recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchRecord {
    pub outcome: MatchOutcomeName,
    pub key: Option<MatchKey>,
    pub strength: Option<MatchStrength>,
    pub mac_mismatch: bool,
    pub link: Option<LinkId>,
    pub device: Option<DeviceId>,
    pub device_name: Option<String>,
    /// What the rules could see of the device: with it, the decision can be made again at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub posture: Option<Posture>,
}

/// What rules can see of a device besides its compliance, as it was at the decision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Posture {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jailbroken: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threat_state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(with = "time::serde::rfc3339::option", skip_serializing_if = "Option::is_none")]
    pub grace_expires_at: Option<OffsetDateTime>,
}

impl Posture {
    /// A device's posture.
    #[must_use]
    pub fn of(device: &DeviceFacts) -> Self {
        let DeviceFacts { os, os_version, owner, threat_state, category, manufacturer, model, .. } =
            device.clone();
        Self {
            os,
            os_version,
            owner,
            encrypted: device.encrypted,
            jailbroken: device.jailbroken,
            threat_state,
            category,
            manufacturer,
            model,
            grace_expires_at: device.grace_expires_at,
        }
    }
}

/// [`crate::resolver::Outcome`] without the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatchOutcomeName {
    Matched,
    NotEnrolled,
    Ambiguous,
}

words!(MatchOutcomeName, "match outcome",
    MatchOutcomeName::Matched => "matched", MatchOutcomeName::NotEnrolled => "not-enrolled",
    MatchOutcomeName::Ambiguous => "ambiguous",
);

impl MatchRecord {
    /// The record of a match.
    #[must_use]
    pub fn of(found: &Match<'_>) -> Self {
        let device: Option<&DeviceFacts> = found.device();
        Self {
            outcome: match found.outcome {
                MatchOutcome::Device(_) => MatchOutcomeName::Matched,
                MatchOutcome::NotEnrolled => MatchOutcomeName::NotEnrolled,
                MatchOutcome::Ambiguous => MatchOutcomeName::Ambiguous,
            },
            key: found.key,
            strength: found.strength(),
            mac_mismatch: found.mac_mismatch,
            link: device.map(|d| d.link),
            device: device.map(|d| d.id),
            device_name: device.and_then(|d| d.name.clone()),
            posture: device.map(Posture::of),
        }
    }
}

/// A decision with everything that went into it: what is answered, recorded and shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub id: DecisionId,
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    pub decision: Decision,
    pub compliance: Compliance,
    pub found: MatchRecord,
}
