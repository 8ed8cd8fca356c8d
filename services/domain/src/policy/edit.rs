//! Edits of a draft, as values: one edit in, the new document or what is wrong with it out.

use super::draft::{FieldError, check_label, check_rule};
use super::model::{Label, PolicyDoc, Rule};
use crate::{LabelId, RuleId};

/// One thing that an admin does to the draft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Adds a label, or replaces the one with its id.
    PutLabel(Label),
    DeleteLabel(LabelId),
    /// Adds a rule at the end, or replaces the one with its id where it stands.
    PutRule(Box<Rule>),
    DeleteRule(RuleId),
    /// Moves a rule to a place counted from 1; beyond the end is the end.
    MoveRule {
        id: RuleId,
        to: usize,
    },
    SetRuleEnabled {
        id: RuleId,
        enabled: bool,
    },
    /// Puts a copy, disabled and with a name of its own, right behind a rule.
    DuplicateRule {
        id: RuleId,
        copy: RuleId,
    },
    /// Replaces everything: a rollback into the draft.
    Replace(PolicyDoc),
}

/// Why an edit was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// What is wrong, field by field.
    Fields(Vec<FieldError>),
    /// The label or rule is not in the draft any more.
    NotFound,
    /// Rules, by name, that use the label.
    InUse(Vec<String>),
}

/// What was done, for the audit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// For example `rule.create`.
    pub action: &'static str,
    /// The name of what was edited.
    pub target: String,
}

/// Applies an edit.
pub fn apply(doc: &PolicyDoc, edit: Edit) -> Result<(PolicyDoc, Done), Refusal> {
    let mut doc = doc.clone();
    let done = |action, target: &str| Done { action, target: target.to_owned() };
    let done = match edit {
        Edit::PutLabel(label) => {
            refuse(check_label(&label, &doc))?;
            let name = label.name.clone();
            match doc.labels.iter_mut().find(|old| old.id == label.id) {
                Some(old) => {
                    *old = label;
                    done("label.update", &name)
                }
                None => {
                    doc.labels.push(label);
                    done("label.create", &name)
                }
            }
        }
        Edit::DeleteLabel(id) => {
            let users: Vec<_> = doc.users_of(id).map(|rule| rule.name.clone()).collect();
            if !users.is_empty() {
                return Err(Refusal::InUse(users));
            }
            let index = doc.labels.iter().position(|label| label.id == id).ok_or(Refusal::NotFound)?;
            done("label.delete", &doc.labels.remove(index).name)
        }
        Edit::PutRule(rule) => {
            refuse(check_rule(&rule, &doc))?;
            let name = rule.name.clone();
            match doc.rules.iter_mut().find(|old| old.id == rule.id) {
                Some(old) => {
                    *old = *rule;
                    done("rule.update", &name)
                }
                None => {
                    doc.rules.push(*rule);
                    done("rule.create", &name)
                }
            }
        }
        Edit::DeleteRule(id) => {
            let index = rule_index(&doc, id)?;
            done("rule.delete", &doc.rules.remove(index).name)
        }
        Edit::MoveRule { id, to } => {
            let index = rule_index(&doc, id)?;
            let rule = doc.rules.remove(index);
            let name = rule.name.clone();
            let to = to.max(1).min(doc.rules.len() + 1) - 1;
            doc.rules.insert(to, rule);
            done("rule.move", &name)
        }
        Edit::SetRuleEnabled { id, enabled } => {
            let index = rule_index(&doc, id)?;
            doc.rules[index].enabled = enabled;
            done(if enabled { "rule.enable" } else { "rule.disable" }, &doc.rules[index].name)
        }
        Edit::DuplicateRule { id, copy } => {
            let index = rule_index(&doc, id)?;
            let original = &doc.rules[index];
            let name = free_name(&doc, &original.name);
            let twin = Rule { id: copy, name: name.clone(), enabled: false, ..original.clone() };
            doc.rules.insert(index + 1, twin);
            done("rule.create", &name)
        }
        Edit::Replace(new) => {
            doc = new;
            done("policy.replace", "Auth policy")
        }
    };
    Ok((doc, done))
}

fn refuse(errors: Vec<FieldError>) -> Result<(), Refusal> {
    if errors.is_empty() { Ok(()) } else { Err(Refusal::Fields(errors)) }
}

fn rule_index(doc: &PolicyDoc, id: RuleId) -> Result<usize, Refusal> {
    doc.rules.iter().position(|rule| rule.id == id).ok_or(Refusal::NotFound)
}

/// `name (copy)`, `name (copy 2)`, …, cut so that it fits.
fn free_name(doc: &PolicyDoc, name: &str) -> String {
    let taken: Vec<_> = doc.rules.iter().map(|rule| rule.name.to_lowercase()).collect();
    let mut n = 1;
    loop {
        let suffix = if n == 1 { " (copy)".to_owned() } else { format!(" (copy {n})") };
        let keep = super::draft::NAME_MAX - suffix.chars().count();
        let stem: String = name.chars().take(keep).collect();
        let candidate = format!("{}{suffix}", stem.trim_end());
        if !taken.contains(&candidate.to_lowercase()) {
            return candidate;
        }
        n += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::policy::model::{Action, Conditions, LabelKind};

    fn rule(n: u128) -> Rule {
        Rule {
            id: RuleId(Uuid::from_u128(n)),
            name: format!("Rule {n}"),
            comment: String::new(),
            enabled: true,
            dry_run: false,
            action: Action::Allow,
            matching: Conditions::default(),
            not_matching: Conditions::default(),
            apply: Vec::new(),
        }
    }

    fn doc(rules: u128) -> PolicyDoc {
        let vlan = LabelKind::Vlan { vlan: "10".into() };
        let label = Label { id: LabelId(Uuid::from_u128(100)), name: "Corp".into(), kind: vlan };
        PolicyDoc { labels: vec![label], rules: (1..=rules).map(rule).collect(), sections: Vec::new() }
    }

    #[test]
    fn a_label_in_use_stays() {
        let mut doc = doc(2);
        doc.rules[1].apply.push(doc.labels[0].id);
        let id = doc.labels[0].id;
        assert_eq!(apply(&doc, Edit::DeleteLabel(id)), Err(Refusal::InUse(vec!["Rule 2".into()])));
        doc.rules[1].apply.clear();
        let (left, done) = apply(&doc, Edit::DeleteLabel(id)).unwrap();
        assert!(left.labels.is_empty());
        assert_eq!(done, Done { action: "label.delete", target: "Corp".into() });
    }

    #[test]
    fn names_are_unique_without_regard_to_case() {
        let doc = doc(2);
        let twin = Rule { name: "RULE 1".into(), ..rule(9) };
        let Err(Refusal::Fields(errors)) = apply(&doc, Edit::PutRule(Box::new(twin))) else {
            panic!("a twin was accepted")
        };
        assert_eq!((errors[0].field, errors[0].code), ("name", "taken"));
    }

    #[test]
    fn a_copy_stands_behind_its_original_and_sleeps() {
        let copy = RuleId(Uuid::from_u128(50));
        let edit = || Edit::DuplicateRule { id: RuleId(Uuid::from_u128(1)), copy };
        let (doc, _) = apply(&doc(2), edit()).unwrap();
        assert_eq!(doc.rules[1].name, "Rule 1 (copy)");
        assert!(!doc.rules[1].enabled);
        let again = Edit::DuplicateRule { id: RuleId(Uuid::from_u128(1)), copy: RuleId(Uuid::from_u128(51)) };
        let (doc, _) = apply(&doc, again).unwrap();
        assert_eq!(doc.rules[1].name, "Rule 1 (copy 2)");
    }

    #[test]
    fn what_is_gone_is_not_found() {
        let id = RuleId(Uuid::from_u128(77));
        assert_eq!(apply(&doc(1), Edit::DeleteRule(id)), Err(Refusal::NotFound));
        assert_eq!(apply(&doc(1), Edit::MoveRule { id, to: 1 }), Err(Refusal::NotFound));
    }

    proptest! {
        #[test]
        fn moving_keeps_every_rule_and_the_order_of_the_others(count in 1u128..8, which in 0usize..8, to in 0usize..20) {
            let before = doc(count);
            let which = which % before.rules.len();
            let id = before.rules[which].id;
            let (after, _) = apply(&before, Edit::MoveRule { id, to }).unwrap();
            let rest = |d: &PolicyDoc| d.rules.iter().map(|r| r.id).filter(|r| *r != id).collect::<Vec<_>>();
            prop_assert_eq!(rest(&before), rest(&after));
            let place = after.rules.iter().position(|r| r.id == id).unwrap() + 1;
            prop_assert_eq!(place, to.clamp(1, before.rules.len()));
        }
    }
}
