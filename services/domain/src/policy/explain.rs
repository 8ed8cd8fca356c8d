//! Why a client was denied, and what would have to change.

use std::fmt::Write as _;

use serde::Serialize;

use super::compile::CompiledPolicy;
use super::decide::{Answers, Input, evaluate, outcome};
use super::lint;
use super::model::{Action, MatchLabelKey};
use super::trace::told;
use crate::decision::{ConditionTrace, Outcome, Reason, RuleRef, Subject};

/// A decision, explained.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub reason: Reason,
    /// What the reason means.
    pub meaning: &'static str,
    /// What to do about it.
    pub fix: &'static str,
    /// The rule that decided.
    pub rule: Option<RuleRef>,
    /// Where the client was denied by the rules: the allow rule that it came nearest to.
    pub nearest: Option<NearMiss>,
}

/// An allow rule that a client did not reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NearMiss {
    pub rule: RuleRef,
    /// What the client would have got.
    pub outcome: Outcome,
    /// The conditions that stood in the way.
    pub needs: Vec<Need>,
    /// Earlier block rules that match the client, and would have to match it no more.
    pub in_the_way: Vec<RuleRef>,
}

/// One condition that would have to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Need {
    pub condition: ConditionTrace,
    /// What was wanted and what was seen.
    pub words: String,
    /// What to change at the client; the other way is to change the rule.
    pub remedy: &'static str,
}

impl NearMiss {
    /// All of it in one paragraph.
    #[must_use]
    pub fn words(&self) -> String {
        let mut out =
            format!("Rule “{}” (place {}) would have let the client in", self.rule.name, self.rule.position);
        if let Some(vlan) = &self.outcome.vlan {
            let _ = write!(out, " with VLAN {vlan}");
        }
        out.push('.');
        for need in &self.needs {
            let _ = write!(out, " {}", need.words);
        }
        if !self.in_the_way.is_empty() {
            let names: Vec<_> = self.in_the_way.iter().map(|rule| format!("“{}”", rule.name)).collect();
            let _ = write!(out, " Before it, the client is blocked by {}.", names.join(", "));
        }
        out
    }
}

/// Explains a decision by making it again. Pure, like the decision.
#[must_use]
pub fn explain(policy: Option<&CompiledPolicy>, input: &Input<'_>) -> Explanation {
    let evaluation = evaluate(policy, input);
    let (meaning, fix) = evaluation.reason.explain();
    let by_rules = matches!(evaluation.reason, Reason::ImplicitDeny | Reason::RuleBlock);
    Explanation {
        reason: evaluation.reason,
        meaning,
        fix,
        rule: policy.zip(evaluation.rule).and_then(|(policy, rule)| policy.rule(rule)).cloned(),
        nearest: policy.filter(|_| by_rules).and_then(|policy| nearest(policy, input)),
    }
}

/// The allow rule with the fewest things in its way; of several, the first.
fn nearest(policy: &CompiledPolicy, input: &Input<'_>) -> Option<NearMiss> {
    let mut answers = Answers::new(policy, input);
    let mut blocking = Vec::new();
    let mut best: Option<(usize, NearMiss)> = None;
    for gate in &policy.active {
        let rule = &policy.rules[gate.rule as usize];
        let matched = answers.matches(gate);
        if rule.action == Action::Block {
            if matched {
                blocking.push(rule.rule.clone());
            }
            continue;
        }
        let conditions = told(policy, rule, input, |condition| condition.holds(&mut answers)).conditions;
        let needs: Vec<_> = conditions.into_iter().filter(ConditionTrace::blocked).collect();
        let cost = needs.len() + blocking.len();
        if best.as_ref().is_none_or(|(least, _)| cost < *least) {
            let evaluation =
                super::decide::Evaluation { reason: Reason::RuleAllow, rule: Some(gate.rule as usize) };
            let near = NearMiss {
                rule: rule.rule.clone(),
                outcome: outcome(Some(policy), evaluation, input.request),
                needs: needs.into_iter().map(Need::of).collect(),
                in_the_way: blocking.clone(),
            };
            best = Some((cost, near));
        }
    }
    best.map(|(_, near)| near)
}

impl Need {
    fn of(condition: ConditionTrace) -> Self {
        let (subject, remedy) = match &condition.subject {
            Subject::AuthType => ("authentication".to_owned(), MatchLabelKey::AuthType.spec().remedy),
            Subject::PortType => ("port type".to_owned(), "Connect at a port of another kind."),
            Subject::Site => ("site".to_owned(), "Connect at another site."),
            Subject::Vendor => {
                ("NAS vendor".to_owned(), "Connect at another switch, access point or gateway.")
            }
            Subject::Label { name, key, .. } => match key.parse::<MatchLabelKey>() {
                Ok(key) => (format!("{} (“{name}”)", key.spec().title), key.spec().remedy),
                Err(_) => (format!("“{name}”"), "Take the missing label out of the rule."),
            },
        };
        let not = if condition.negated { "not " } else { "" };
        let joint = if condition.all { " and " } else { " or " };
        let saw = match condition.saw.as_slice() {
            [] => "nothing was seen".to_owned(),
            saw => format!("it was {}", saw.join(", ")),
        };
        let words = format!("Its {subject} must {not}be {}; {saw}.", condition.wanted.join(joint));
        Self { condition, words, remedy }
    }
}

/// `REASONS.md`: every code that decisions and lint give, for people.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(
        "# Reason codes\n\n\
         Codes are stable: one never changes its meaning. This page is generated from the code; a test compares \
         them.\n\n\
         ## Of a decision\n\n| code | means | do |\n|---|---|---|\n",
    );
    for reason in Reason::ALL {
        let (meaning, fix) = reason.explain();
        let _ = writeln!(out, "| `{reason}` | {meaning} | {fix} |");
    }
    out.push_str(
        "\n## Of lint\n\nErrors block publishing.\n\n| code | weight | means | do |\n|---|---|---|---|\n",
    );
    for code in lint::Code::ALL {
        let (severity, meaning, fix) = code.explain();
        let _ = writeln!(out, "| `{code}` | {severity} | {meaning} | {fix} |");
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::policy::generate::{
        Traffic, any_doc, any_traffic, device, label, matching, policy, rule, site,
    };
    use crate::policy::model::{LabelKind, MatchLabelKey as Key};
    use crate::request::{AccessRequest, AuthType};
    use crate::resolver::MatchKey;

    fn phone() -> Traffic {
        let mut request = AccessRequest::bare(crate::EdgeId(uuid::Uuid::nil()), site(1));
        request.auth_type = Some(AuthType::Mab);
        request.ssid = Some("Corp".into());
        Traffic {
            request,
            device: Some(device("noncompliant")),
            ambiguous: false,
            key: MatchKey::Mac,
            linked: true,
        }
    }

    #[test]
    fn a_denial_names_the_nearest_allow_rule_and_what_it_lacks() {
        let doc = policy(
            vec![
                matching(1, Key::MdmStatus, &["compliant"]),
                matching(2, Key::MatchStrength, &["certificate"]),
                matching(3, Key::Ssid, &["Corp"]),
                label(8, LabelKind::Vlan { vlan: "10".into() }),
            ],
            vec![
                rule(1, Action::Allow, &[1, 2, 3], &[8]),
                rule(2, Action::Allow, &[1, 3], &[8]),
                rule(3, Action::Allow, &[2, 1], &[8]),
            ],
        );
        let compiled = CompiledPolicy::compile(1, &doc);
        let explanation = phone().with(|input| explain(Some(&compiled), input));
        let near = explanation.nearest.unwrap();
        assert_eq!((explanation.reason, near.rule.position, near.needs.len()), (Reason::ImplicitDeny, 2, 1));
        assert_eq!(
            near.words(),
            "Rule “Rule 2” (place 2) would have let the client in with VLAN 10. Its MDM compliance (“Label 1”) must \
             be compliant; it was non-compliant."
        );
        assert!(near.needs[0].remedy.contains("Company Portal"));
    }

    #[test]
    fn a_block_in_the_way_is_named() {
        let doc = policy(
            vec![matching(3, Key::Ssid, &["Corp"])],
            vec![rule(1, Action::Block, &[3], &[]), rule(2, Action::Allow, &[], &[])],
        );
        let compiled = CompiledPolicy::compile(1, &doc);
        let near = phone().with(|input| explain(Some(&compiled), input)).nearest.unwrap();
        assert_eq!((near.needs.len(), near.in_the_way.len()), (0, 1));
        assert!(near.words().ends_with("Before it, the client is blocked by “Rule 1”."));
        assert_eq!(phone().with(|input| explain(None, input)).nearest, None);
    }

    #[test]
    fn the_page_is_the_code() {
        crate::assert_page("REASONS.md", &documentation());
    }

    proptest! {
        #[test]
        fn every_denial_by_rules_has_a_nearest_rule_if_any_allows(doc in any_doc(), traffic in any_traffic()) {
            let compiled = CompiledPolicy::compile(1, &doc);
            let explanation = traffic.with(|input| explain(Some(&compiled), input));
            let allows = doc.rules.iter().any(|rule| rule.enforced() && rule.action == Action::Allow);
            let denied = matches!(explanation.reason, Reason::ImplicitDeny | Reason::RuleBlock);
            prop_assert_eq!(explanation.nearest.is_some(), denied && allows);
            if let Some(near) = explanation.nearest {
                prop_assert!(!near.needs.is_empty() || !near.in_the_way.is_empty());
            }
        }
    }
}
