//! The engine: one pass over the rules, first match decides; then the trace, which explains it.

use time::OffsetDateTime;

use super::compile::{ActiveRule, CompiledPolicy, CompiledRule, auth_state, port_state};
use super::model::Action;
use super::trace;
use crate::compliance::Compliance;
use crate::decision::{Decision, DryRun, Held, Outcome, Reason, Trace};
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

/// What was decided, without the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evaluation {
    pub reason: Reason,
    /// The deciding rule's place, counted from 0.
    pub rule: Option<usize>,
}

/// Evaluates the rules without allocating (but for text that must be folded). Total and pure.
#[must_use]
pub fn evaluate(policy: Option<&CompiledPolicy>, input: &Input<'_>) -> Evaluation {
    let deny = |reason| Evaluation { reason, rule: None };
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
    let mut answers = Answers::new(policy, input);
    match policy.active.iter().find(|rule| answers.matches(rule)) {
        None => deny(Reason::ImplicitDeny),
        Some(ActiveRule { rule, .. }) => {
            let rule = *rule as usize;
            let allow = policy.rules[rule].action == Action::Allow;
            let reason = if allow { Reason::RuleAllow } else { Reason::RuleBlock };
            Evaluation { reason, rule: Some(rule) }
        }
    }
}

/// What the evaluated client gets.
#[must_use]
pub fn outcome(policy: Option<&CompiledPolicy>, evaluation: Evaluation, request: &AccessRequest) -> Outcome {
    let rule = policy.zip(evaluation.rule).and_then(|(policy, rule)| policy.rules.get(rule));
    rule.map_or(Outcome::DENY, |rule| rule.outcome_for(request))
}

/// Decides. Total and pure: the same policy version, request, facts and time give the same answer everywhere.
#[must_use]
pub fn decide(policy: Option<&CompiledPolicy>, input: &Input<'_>) -> Decision {
    let evaluation = evaluate(policy, input);
    let mut decision = Decision {
        outcome: outcome(policy, evaluation, input.request),
        reason: evaluation.reason,
        rule: None,
        policy_version: policy.map(CompiledPolicy::version),
        trace: Trace::default(),
        dry_run: Vec::new(),
    };
    let Some(policy) = policy else { return decision };
    let looked_at = match (evaluation.rule, evaluation.reason) {
        (Some(rule), _) => rule + 1,
        (None, Reason::ImplicitDeny) => policy.rules.len(),
        (None, _) => return decision,
    };
    let mut answers = Answers::new(policy, input);
    let rules = &policy.rules[..looked_at];
    let conditions = rules.iter().flat_map(trace::conditions);
    decision.trace = Trace::Held(conditions.map(|condition| condition.holds(&mut answers)).collect::<Held>());
    for rule in rules.iter().filter(|rule| rule.enabled && rule.dry_run) {
        let matched = answers.matches(&rule.gate);
        decision.dry_run.push(DryRun {
            rule: rule.rule.clone(),
            matched,
            outcome: matched.then(|| rule.outcome_for(input.request)),
        });
    }
    decision.rule = evaluation.rule.map(|rule| policy.rules[rule].rule.clone());
    decision
}

impl CompiledRule {
    fn outcome_for(&self, request: &AccessRequest) -> Outcome {
        let mut outcome = self.outcome.clone();
        if let (Some(which), Some(cert)) = (self.user_name, &request.cert) {
            // The certificate's text is the client's own: what RADIUS servers would trip over stays behind.
            let fits = |name: &&str| name.len() <= 253 && !name.chars().any(|c| c.is_control() || c == '%');
            outcome.user_name = which.of(cert).filter(fits).map(str::to_owned);
        }
        outcome
    }
}

/// Tests that are looked at once, then remembered. Those beyond the memory are looked at each time.
pub(super) struct Answers<'a> {
    policy: &'a CompiledPolicy,
    input: &'a Input<'a>,
    pub(super) auth: u16,
    pub(super) ports: u8,
    known: [u64; MEMORY],
    held: [u64; MEMORY],
}

/// In words of 64 tests: enough for as many labels as a policy may have.
const MEMORY: usize = 32;

impl<'a> Answers<'a> {
    pub(super) fn new(policy: &'a CompiledPolicy, input: &'a Input<'a>) -> Self {
        let request = input.request;
        Self {
            policy,
            input,
            auth: 1 << auth_state(request.auth_type, request.cert.is_some()),
            ports: 1 << port_state(request.nas.port_type),
            known: [0; MEMORY],
            held: [0; MEMORY],
        }
    }

    /// Every condition of `matching` holds, and none of `not_matching`.
    pub(super) fn matches(&mut self, rule: &ActiveRule) -> bool {
        if rule.auth & self.auth == 0 || rule.ports & self.ports == 0 {
            return false;
        }
        let policy = self.policy;
        let (start, end) = rule.terms;
        policy.terms[start as usize..end as usize].iter().all(|term| self.holds(term.test) == term.wanted)
    }

    pub(super) fn holds(&mut self, test: u32) -> bool {
        let test = test as usize;
        let (word, bit) = (test / 64, 1u64 << (test % 64));
        if word >= MEMORY {
            return self.policy.tests[test].holds(self.input);
        }
        if self.known[word] & bit == 0 {
            self.known[word] |= bit;
            if self.policy.tests[test].holds(self.input) {
                self.held[word] |= bit;
            }
        }
        self.held[word] & bit != 0
    }
}

#[cfg(test)]
mod tests;
