//! The engine: one pass over the rules, first match decides; then the trace that explains it.

use time::OffsetDateTime;

use super::compile::{
    CompiledConditions, CompiledLabel, CompiledPolicy, CompiledRule, ValueMatch, ValuePattern, auth_holds,
};
use super::model::{Action, MatchLabelKey};
use crate::compliance::Compliance;
use crate::decision::{ConditionTrace, Decision, Outcome, Reason, RuleTrace, Subject};
use crate::request::{AccessRequest, AuthType};
use crate::resolver::Match;

/// Everything that a decision looks at besides the policy.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    pub request: &'a AccessRequest,
    pub found: &'a Match<'a>,
    pub compliance: &'a Compliance,
    pub now: OffsetDateTime,
}

/// Decides. Total and pure: the same policy version, request, facts and time give the same answer everywhere.
#[must_use]
pub fn decide(policy: Option<&CompiledPolicy>, input: &Input<'_>) -> Decision {
    let deny = |reason| Decision {
        outcome: Outcome::DENY,
        reason,
        rule: None,
        policy_version: policy.map(CompiledPolicy::version),
        trace: Vec::new(),
    };
    let request = input.request;
    // A resumed TLS session hides the certificate, and with it who is asking.
    if request.auth_type == Some(AuthType::EapTls) && request.cert.is_none() {
        return deny(Reason::CertificateMissing);
    }
    let not_after = request.cert.as_ref().and_then(|cert| cert.not_after);
    if not_after.is_some_and(|end| end <= input.now) {
        return deny(Reason::CertificateExpired);
    }
    let Some(policy) = policy else { return deny(Reason::NoPolicy) };

    let deciding = policy.rules.iter().position(|rule| rule.enabled && matches(rule, input));
    let looked_at = deciding.map_or(policy.rules.len(), |index| index + 1);
    let trace = policy.rules[..looked_at].iter().map(|rule| trace(rule, input)).collect();
    match deciding.map(|index| &policy.rules[index]) {
        None => Decision { trace, ..deny(Reason::ImplicitDeny) },
        Some(rule) => Decision {
            outcome: rule.outcome.clone(),
            reason: if rule.action == Action::Allow { Reason::RuleAllow } else { Reason::RuleBlock },
            rule: Some(rule.rule.clone()),
            policy_version: Some(policy.version),
            trace,
        },
    }
}

/// Every condition of `matching` holds, and none of `not_matching`.
fn matches(rule: &CompiledRule, input: &Input<'_>) -> bool {
    let CompiledConditions { auth_types, port_types, sites, vendors, labels } = &rule.matching;
    (auth_types.is_empty() || auth_type_holds(&rule.matching, input))
        && (port_types.is_empty() || port_type_holds(&rule.matching, input))
        && (sites.is_empty() || site_holds(&rule.matching, input))
        && (vendors.is_empty() || vendor_holds(&rule.matching, input))
        && labels.iter().all(|label| label_holds(label, input))
        && !auth_type_holds(&rule.not_matching, input)
        && !port_type_holds(&rule.not_matching, input)
        && !site_holds(&rule.not_matching, input)
        && !vendor_holds(&rule.not_matching, input)
        && !rule.not_matching.labels.iter().any(|label| label_holds(label, input))
}

fn auth_type_holds(conditions: &CompiledConditions, input: &Input<'_>) -> bool {
    let Some(method) = input.request.auth_type else { return false };
    conditions.auth_types.iter().any(|wanted| auth_holds(*wanted, method, input.request.cert.is_some()))
}

fn port_type_holds(conditions: &CompiledConditions, input: &Input<'_>) -> bool {
    input.request.nas.port_type.is_some_and(|port| conditions.port_types.contains(&port))
}

fn site_holds(conditions: &CompiledConditions, input: &Input<'_>) -> bool {
    conditions.sites.contains(&input.request.site)
}

fn vendor_holds(conditions: &CompiledConditions, input: &Input<'_>) -> bool {
    let Some(vendor) = &input.request.nas.vendor else { return false };
    conditions.vendors.iter().any(|wanted| vendor.to_lowercase() == *wanted)
}

fn label_holds(label: &CompiledLabel, input: &Input<'_>) -> bool {
    if label.values.is_empty() {
        return false;
    }
    let mut values = label.values.iter();
    if label.all {
        values.all(|value| value_holds(value, input))
    } else {
        values.any(|value| value_holds(value, input))
    }
}

/// What is absent equals nothing: a plain value does not hold, a negated one does.
fn value_holds(value: &ValueMatch, input: &Input<'_>) -> bool {
    let request = input.request;
    let holds = match &value.what {
        ValuePattern::Compliance(literal) => input.compliance.has(*literal),
        ValuePattern::AuthType(wanted) => {
            request.auth_type.is_some_and(|method| auth_holds(*wanted, method, request.cert.is_some()))
        }
        ValuePattern::Strength(strength) => input.found.strength() == Some(*strength),
        ValuePattern::Text(pattern) => request.ssid.as_deref().is_some_and(|ssid| pattern.matches(ssid)),
        ValuePattern::MacPrefix(digits) => {
            request.mac.is_some_and(|mac| mac.digits().starts_with(digits.as_str()))
        }
        ValuePattern::Never => return false,
    };
    holds != value.negated
}

fn trace(rule: &CompiledRule, input: &Input<'_>) -> RuleTrace {
    if !rule.enabled {
        return RuleTrace { rule: rule.rule.clone(), matched: false, disabled: true, conditions: Vec::new() };
    }
    let mut conditions = Vec::new();
    side(&rule.matching, false, input, &mut conditions);
    side(&rule.not_matching, true, input, &mut conditions);
    RuleTrace { rule: rule.rule.clone(), matched: matches(rule, input), disabled: false, conditions }
}

fn side(conditions: &CompiledConditions, negated: bool, input: &Input<'_>, out: &mut Vec<ConditionTrace>) {
    let request = input.request;
    let mut add = |subject, wanted: Vec<String>, saw: Option<String>, held| {
        if !wanted.is_empty() {
            out.push(ConditionTrace {
                negated,
                subject,
                wanted,
                all: false,
                saw: saw.into_iter().collect(),
                held,
            });
        }
    };
    add(
        Subject::AuthType,
        texts(&conditions.auth_types),
        request.auth_type.map(|v| v.to_string()),
        auth_type_holds(conditions, input),
    );
    add(
        Subject::PortType,
        texts(&conditions.port_types),
        request.nas.port_type.map(|v| v.to_string()),
        port_type_holds(conditions, input),
    );
    add(
        Subject::Site,
        texts(&conditions.sites),
        Some(request.site.to_string()),
        site_holds(conditions, input),
    );
    add(
        Subject::Vendor,
        conditions.vendors.clone(),
        request.nas.vendor.clone(),
        vendor_holds(conditions, input),
    );
    for label in &conditions.labels {
        out.push(ConditionTrace {
            negated,
            subject: Subject::Label {
                id: label.id,
                name: label.name.clone(),
                key: label.key.map_or("missing", MatchLabelKey::as_str).to_owned(),
            },
            wanted: label.wanted.clone(),
            all: label.all,
            saw: seen(label.key, input),
            held: label_holds(label, input),
        });
    }
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

fn seen(key: Option<MatchLabelKey>, input: &Input<'_>) -> Vec<String> {
    let request = input.request;
    match key {
        None => Vec::new(),
        Some(MatchLabelKey::MdmStatus) => texts(&input.compliance.literals),
        Some(MatchLabelKey::AuthType) => request.auth_type.iter().map(ToString::to_string).collect(),
        Some(MatchLabelKey::Ssid) => request.ssid.iter().cloned().collect(),
        Some(MatchLabelKey::ClientMac) => request.mac.iter().map(ToString::to_string).collect(),
        Some(MatchLabelKey::MatchStrength) => {
            input.found.strength().iter().map(ToString::to_string).collect()
        }
    }
}

#[cfg(test)]
mod tests;
