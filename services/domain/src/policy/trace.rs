//! How each rule up to the deciding one fared: recorded as one bit per condition, told in words when somebody asks.
//!
//! What a condition wanted is in the policy version, which never changes; what was there to be seen is in the recorded
//! request and facts. Only what held is a decision's own, so that is what is recorded of it.

use super::compile::{CompiledConditions, CompiledPolicy, CompiledRule, Test};
use super::decide::{Answers, Input};
use super::model::{AuthMatch, MatchLabelKey};
use crate::decision::{ConditionTrace, Decision, Reason, RuleTrace, Subject, Trace};
use crate::request::PortType;

/// One condition of a rule.
#[derive(Clone, Copy)]
pub(super) struct Condition<'a> {
    negated: bool,
    what: What<'a>,
}

#[derive(Clone, Copy)]
enum What<'a> {
    /// With the mask that they make.
    AuthTypes(&'a [AuthMatch], u16),
    PortTypes(&'a [PortType], u8),
    Test(u32),
}

/// The conditions of a rule, in the order of its document. A disabled rule is not looked at.
pub(super) fn conditions(rule: &CompiledRule) -> impl Iterator<Item = Condition<'_>> {
    let side = |conditions, negated| side(conditions).map(move |what| Condition { negated, what });
    let both = side(&rule.matching, false).chain(side(&rule.not_matching, true));
    both.take_while(|_| rule.enabled)
}

fn side(conditions: &CompiledConditions) -> impl Iterator<Item = What<'_>> {
    let CompiledConditions { auth_types, auth, port_types, ports, sites, vendors, labels } = conditions;
    let auth_types = (!auth_types.is_empty()).then_some(What::AuthTypes(auth_types, *auth));
    let port_types = (!port_types.is_empty()).then_some(What::PortTypes(port_types, *ports));
    let tests = sites.iter().chain(vendors).chain(labels);
    auth_types.into_iter().chain(port_types).chain(tests.map(|test| What::Test(*test)))
}

impl Condition<'_> {
    pub(super) fn holds(self, answers: &mut Answers<'_>) -> bool {
        match self.what {
            What::AuthTypes(_, mask) => mask & answers.auth != 0,
            What::PortTypes(_, mask) => mask & answers.ports != 0,
            What::Test(test) => answers.holds(test),
        }
    }

    fn tell(self, policy: &CompiledPolicy, input: &Input<'_>, held: bool) -> ConditionTrace {
        let request = input.request;
        let (subject, wanted, all, saw) = match self.what {
            What::AuthTypes(wanted, _) => {
                let saw = request.auth_type.iter().map(ToString::to_string).collect();
                (Subject::AuthType, texts(wanted), false, saw)
            }
            What::PortTypes(wanted, _) => {
                let saw = request.nas.port_type.iter().map(ToString::to_string).collect();
                (Subject::PortType, texts(wanted), false, saw)
            }
            What::Test(test) => match &policy.tests[test as usize] {
                Test::Sites(sites) => (Subject::Site, texts(sites), false, vec![request.site.to_string()]),
                Test::Vendors(vendors) => {
                    let saw = request.nas.vendor.iter().cloned().collect();
                    (Subject::Vendor, vendors.clone(), false, saw)
                }
                Test::Label(label) => {
                    let subject = Subject::Label {
                        id: label.id,
                        name: label.name.clone(),
                        key: label.key.map_or("missing", MatchLabelKey::as_str).to_owned(),
                    };
                    let saw = label.key.map_or_else(Vec::new, |key| key.spec().see(input).words());
                    (subject, label.wanted.clone(), label.all, saw)
                }
            },
        };
        ConditionTrace { negated: self.negated, subject, wanted, all, saw, held }
    }
}

/// How a rule fares, in words.
pub(super) fn told(
    policy: &CompiledPolicy,
    rule: &CompiledRule,
    input: &Input<'_>,
    mut held: impl FnMut(Condition<'_>) -> bool,
) -> RuleTrace {
    let conditions: Vec<_> =
        conditions(rule).map(|condition| condition.tell(policy, input, held(condition))).collect();
    RuleTrace {
        rule: rule.rule.clone(),
        matched: rule.enabled && !conditions.iter().any(ConditionTrace::blocked),
        disabled: !rule.enabled,
        dry_run: rule.dry_run,
        conditions,
    }
}

/// A decision's trace in words, from the policy version that decided and what it decided on. `None`: another version.
#[must_use]
pub fn retell(policy: &CompiledPolicy, input: &Input<'_>, decision: &Decision) -> Option<Vec<RuleTrace>> {
    let held = match &decision.trace {
        Trace::Told(told) => return Some(told.clone()),
        Trace::Held(held) => held,
    };
    let rules = match (&decision.rule, decision.reason) {
        (Some(rule), _) => policy.rules.get(..usize::try_from(rule.position).ok()?)?,
        (None, Reason::ImplicitDeny) => &policy.rules,
        (None, _) => return Some(Vec::new()),
    };
    let known = decision.policy_version == Some(policy.version());
    if !known || !held.is_of(rules.iter().flat_map(conditions).count()) {
        return None;
    }
    let mut held = held.iter();
    Some(rules.iter().map(|rule| told(policy, rule, input, |_| held.next().unwrap_or(false))).collect())
}

fn texts<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}
