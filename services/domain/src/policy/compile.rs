//! A published document, prepared once so that deciding is one pass over ready-made matchers.

use std::collections::HashMap;

use crate::compliance::Literal;
use crate::decision::{Outcome, RuleRef};
use crate::mac::hex_digits;
use crate::policy::model::{Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc};
use crate::request::{AuthType, PortType};
use crate::resolver::MatchStrength;
use crate::{LabelId, SiteId};

/// A policy, ready to decide.
#[derive(Clone, Debug)]
pub struct CompiledPolicy {
    pub(super) version: i32,
    pub(super) rules: Vec<CompiledRule>,
}

impl CompiledPolicy {
    /// Compiles a document. Total: a document that was never checked compiles too, and what cannot be understood
    /// in it matches nothing (see `draft::check`, which refuses such a document before it is saved).
    #[must_use]
    pub fn compile(version: i32, doc: &PolicyDoc) -> Self {
        let labels: HashMap<LabelId, &Label> = doc.labels.iter().map(|label| (label.id, label)).collect();
        let rules = doc.rules.iter().zip(1..).map(|(rule, position)| CompiledRule {
            rule: RuleRef { id: rule.id, name: rule.name.clone(), position },
            enabled: rule.enabled,
            action: rule.action,
            matching: CompiledConditions::compile(&rule.matching, &labels),
            not_matching: CompiledConditions::compile(&rule.not_matching, &labels),
            outcome: outcome(rule.action, &rule.apply, &labels),
        });
        Self { version, rules: rules.collect() }
    }

    /// The published version that this was compiled from.
    #[must_use]
    pub const fn version(&self) -> i32 {
        self.version
    }
}

#[derive(Clone, Debug)]
pub(super) struct CompiledRule {
    pub rule: RuleRef,
    pub enabled: bool,
    pub action: Action,
    pub matching: CompiledConditions,
    pub not_matching: CompiledConditions,
    pub outcome: Outcome,
}

#[derive(Clone, Debug, Default)]
pub(super) struct CompiledConditions {
    pub auth_types: Vec<AuthMatch>,
    pub port_types: Vec<PortType>,
    pub sites: Vec<SiteId>,
    /// Lower case.
    pub vendors: Vec<String>,
    pub labels: Vec<CompiledLabel>,
}

#[derive(Clone, Debug)]
pub(super) struct CompiledLabel {
    pub id: LabelId,
    pub name: String,
    pub key: Option<MatchLabelKey>,
    pub wanted: Vec<String>,
    pub values: Vec<ValueMatch>,
    pub all: bool,
}

/// One value of a match label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ValueMatch {
    pub negated: bool,
    pub what: ValuePattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValuePattern {
    Compliance(Literal),
    AuthType(AuthMatch),
    Strength(MatchStrength),
    Text(TextPattern),
    /// Twelve hexadecimal digits or fewer: the address, or what it begins with.
    MacPrefix(String),
    /// Was never checked, and means nothing.
    Never,
}

/// `x`, `x*`, `*x`, `*x*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TextPattern {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
}

impl TextPattern {
    pub(super) fn parse(text: &str) -> Self {
        match (text.strip_prefix('*'), text.strip_suffix('*')) {
            (Some(_), Some(_)) => Self::Contains(text.trim_matches('*').to_owned()),
            (Some(rest), None) => Self::Suffix(rest.to_owned()),
            (None, Some(rest)) => Self::Prefix(rest.to_owned()),
            (None, None) => Self::Exact(text.to_owned()),
        }
    }

    pub(super) fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(want) => text == want,
            Self::Prefix(want) => text.starts_with(want),
            Self::Suffix(want) => text.ends_with(want),
            Self::Contains(want) => text.contains(want),
        }
    }
}

/// Takes a leading `!` off a value.
pub(super) fn split_negation(value: &str) -> (bool, &str) {
    let value = value.trim();
    match value.strip_prefix('!') {
        Some(rest) => (true, rest.trim_start()),
        None => (false, value),
    }
}

impl ValueMatch {
    pub(super) fn compile(key: MatchLabelKey, value: &str) -> Self {
        let (negated, text) = split_negation(value);
        let what = match key {
            MatchLabelKey::MdmStatus => text.parse().map_or(ValuePattern::Never, ValuePattern::Compliance),
            MatchLabelKey::AuthType => text.parse().map_or(ValuePattern::Never, ValuePattern::AuthType),
            MatchLabelKey::MatchStrength => text.parse().map_or(ValuePattern::Never, ValuePattern::Strength),
            MatchLabelKey::Ssid => ValuePattern::Text(TextPattern::parse(text)),
            MatchLabelKey::ClientMac => hex_digits(text.strip_suffix('*').unwrap_or(text))
                .filter(|digits| !digits.is_empty())
                .map_or(ValuePattern::Never, ValuePattern::MacPrefix),
        };
        Self { negated: negated && what != ValuePattern::Never, what }
    }
}

impl CompiledConditions {
    fn compile(conditions: &Conditions, labels: &HashMap<LabelId, &Label>) -> Self {
        let compiled = conditions.labels.iter().map(|id| match labels.get(id) {
            Some(Label { name, kind: LabelKind::Match { key, values, match_all }, .. }) => CompiledLabel {
                id: *id,
                name: name.clone(),
                key: Some(*key),
                wanted: values.clone(),
                values: values.iter().map(|value| ValueMatch::compile(*key, value)).collect(),
                all: *match_all,
            },
            // A label that is not there, or is no match label, holds for nobody.
            other => CompiledLabel {
                id: *id,
                name: other.map_or_else(|| "(missing label)".to_owned(), |label| label.name.clone()),
                key: None,
                wanted: Vec::new(),
                values: Vec::new(),
                all: false,
            },
        });
        Self {
            auth_types: conditions.auth_types.clone(),
            port_types: conditions.port_types.clone(),
            sites: conditions.site_ids.clone(),
            vendors: conditions.vendors.iter().map(|v| v.trim().to_lowercase()).collect(),
            labels: compiled.collect(),
        }
    }
}

fn outcome(action: Action, apply: &[LabelId], labels: &HashMap<LabelId, &Label>) -> Outcome {
    let mut outcome = Outcome::DENY;
    if action == Action::Block {
        return outcome;
    }
    outcome.permit = true;
    for label in apply.iter().filter_map(|id| labels.get(id)) {
        match &label.kind {
            LabelKind::Match { .. } => {}
            LabelKind::Vlan { vlan } => outcome.vlan = Some(vlan.clone()),
            LabelKind::RadiusGroup { radius_group } => outcome.role = Some(radius_group.clone()),
            LabelKind::SessionTimeout { session_timeout } => outcome.session_timeout = Some(*session_timeout),
        }
    }
    outcome
}

/// Whether a condition on the method holds.
pub(super) fn auth_holds(wanted: AuthMatch, method: AuthType, presented_certificate: bool) -> bool {
    match wanted {
        AuthMatch::Exactly(exactly) => exactly == method,
        AuthMatch::Cert => presented_certificate || method == AuthType::EapTls,
        AuthMatch::Idp => matches!(method, AuthType::EapTtls | AuthType::EapPeap) && !presented_certificate,
    }
}
