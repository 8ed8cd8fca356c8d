//! Edits of a draft, as values: one edit in, the new document or what is wrong with it out.

use super::draft::{FieldError, check_label, check_rule, check_section_name};
use super::model::{Label, PolicyDoc, Row, Rule, Section};
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
    /// Moves a rule to a place counted from 1; beyond the end is the end. It joins the section of the rule that
    /// stood there.
    MoveRule {
        id: RuleId,
        to: usize,
    },
    /// Moves a row, separator or rule, to the place of another. Rows count from 1, as [`PolicyDoc::rows`] has them;
    /// beyond the end is the end.
    MoveRow {
        from: usize,
        to: usize,
    },
    SetRuleDryRun {
        id: RuleId,
        dry_run: bool,
    },
    /// Puts a separator before the row at a place counted from 1; beyond the end is the end.
    AddSection {
        name: String,
        row: usize,
    },
    RenameSection {
        name: String,
        to: String,
    },
    /// Takes a separator out; its rules stay.
    DeleteSection {
        name: String,
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
            for section in doc.sections.iter_mut().filter(|section| section.at > index) {
                section.at -= 1;
            }
            done("rule.delete", &doc.rules.remove(index).name)
        }
        Edit::MoveRule { id, to } => {
            let index = rule_index(&doc, id)?;
            let to = to.clamp(1, doc.rules.len());
            let row_of = |position: usize| {
                let mut rows = doc.rows().into_iter();
                rows.position(|row| matches!(row, Row::Rule { position: p, .. } if p == position))
                    .map_or(1, |at| at + 1)
            };
            let (from, to) = (row_of(index + 1), row_of(to));
            let name = move_row(&mut doc, from, to).ok_or(Refusal::NotFound)?;
            done("rule.move", &name)
        }
        Edit::MoveRow { from, to } => {
            let is_rule = matches!(doc.rows().get(from.wrapping_sub(1)), Some(Row::Rule { .. }));
            let name = move_row(&mut doc, from, to).ok_or(Refusal::NotFound)?;
            done(if is_rule { "rule.move" } else { "section.move" }, &name)
        }
        Edit::SetRuleDryRun { id, dry_run } => {
            let index = rule_index(&doc, id)?;
            doc.rules[index].dry_run = dry_run;
            done(if dry_run { "rule.dry_run" } else { "rule.enforce" }, &doc.rules[index].name)
        }
        Edit::AddSection { name, row } => {
            refuse(check_section_name(&name, &doc, None))?;
            doc.sections.push(Section { name: name.clone(), at: doc.rules.len() });
            let last = doc.rows().len();
            move_row(&mut doc, last, row);
            done("section.create", &name)
        }
        Edit::RenameSection { name, to } => {
            let index = section_index(&doc, &name)?;
            refuse(check_section_name(&to, &doc, Some(index)))?;
            doc.sections[index].name.clone_from(&to);
            done("section.update", &to)
        }
        Edit::DeleteSection { name } => {
            let index = section_index(&doc, &name)?;
            done("section.delete", &doc.sections.remove(index).name)
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
            for section in doc.sections.iter_mut().filter(|section| section.at > index) {
                section.at += 1;
            }
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

fn section_index(doc: &PolicyDoc, name: &str) -> Result<usize, Refusal> {
    let name = name.to_lowercase();
    doc.sections.iter().position(|section| section.name.to_lowercase() == name).ok_or(Refusal::NotFound)
}

/// Moves a row and returns its name; `None` where there is no such row.
fn move_row(doc: &mut PolicyDoc, from: usize, to: usize) -> Option<String> {
    /// What a row is, by its index.
    enum Owned {
        Section(Section),
        Rule(Box<Rule>),
    }
    let mut rows: Vec<_> = doc
        .rows()
        .into_iter()
        .map(|row| match row {
            Row::Section(section) => Owned::Section(section.clone()),
            Row::Rule { rule, .. } => Owned::Rule(Box::new(rule.clone())),
        })
        .collect();
    if from == 0 || from > rows.len() {
        return None;
    }
    let row = rows.remove(from - 1);
    let name = match &row {
        Owned::Section(section) => section.name.clone(),
        Owned::Rule(rule) => rule.name.clone(),
    };
    rows.insert(to.clamp(1, rows.len() + 1) - 1, row);
    doc.rules.clear();
    doc.sections.clear();
    for row in rows {
        match row {
            Owned::Section(section) => doc.sections.push(Section { at: doc.rules.len(), ..section }),
            Owned::Rule(rule) => doc.rules.push(*rule),
        }
    }
    Some(name)
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
    fn separators_stay_where_they_are_put() {
        let shape = |doc: &PolicyDoc| -> Vec<String> {
            let name = |row: &Row<'_>| match row {
                Row::Section(section) => format!("[{}]", section.name),
                Row::Rule { rule, .. } => rule.name.clone(),
            };
            doc.rows().iter().map(name).collect()
        };
        let add = |doc: &PolicyDoc, name: &str, row| {
            apply(doc, Edit::AddSection { name: name.into(), row }).map(|(doc, _)| doc)
        };
        let doc = add(&add(&doc(3), "Guests", 3).unwrap(), "End", 99).unwrap();
        assert_eq!(shape(&doc), ["Rule 1", "Rule 2", "[Guests]", "Rule 3", "[End]"]);
        assert_eq!(doc.section_of(2).map(|s| s.name.as_str()), Some("Guests"));
        assert!(matches!(add(&doc, "guests", 1), Err(Refusal::Fields(_))));
        let id = |n| RuleId(Uuid::from_u128(n));
        let (down, _) = apply(&doc, Edit::MoveRule { id: id(1), to: 3 }).unwrap();
        assert_eq!(shape(&down), ["Rule 2", "[Guests]", "Rule 3", "Rule 1", "[End]"]);
        let (across, _) = apply(&doc, Edit::MoveRow { from: 4, to: 3 }).unwrap();
        assert_eq!(shape(&across), ["Rule 1", "Rule 2", "Rule 3", "[Guests]", "[End]"]);
        let (gone, _) = apply(&doc, Edit::DeleteRule(id(1))).unwrap();
        assert_eq!(shape(&gone), ["Rule 2", "[Guests]", "Rule 3", "[End]"]);
        let (twin, _) = apply(&doc, Edit::DuplicateRule { id: id(2), copy: id(9) }).unwrap();
        assert_eq!(shape(&twin), ["Rule 1", "Rule 2", "Rule 2 (copy)", "[Guests]", "Rule 3", "[End]"]);
        let (less, done) = apply(&doc, Edit::DeleteSection { name: "GUESTS".into() }).unwrap();
        assert_eq!((shape(&less).len(), done.action), (4, "section.delete"));
    }

    #[test]
    fn what_is_gone_is_not_found() {
        let id = RuleId(Uuid::from_u128(77));
        assert_eq!(apply(&doc(1), Edit::DeleteRule(id)), Err(Refusal::NotFound));
        assert_eq!(apply(&doc(1), Edit::MoveRule { id, to: 1 }), Err(Refusal::NotFound));
    }

    proptest! {
        #[test]
        fn moving_a_row_back_restores_the_list(
            count in 1u128..6, at in proptest::collection::vec(0usize..7, 0..4), from in 1usize..10, to in 1usize..10,
        ) {
            let mut before = doc(count);
            let mut at = at;
            at.sort_unstable();
            before.sections = at.iter().zip(0..)
                .map(|(at, n)| Section { name: format!("Part {n}"), at: (*at).min(before.rules.len()) }).collect();
            let rows = before.rows().len();
            let (from, to) = (from.min(rows), to.min(rows));
            let (moved, _) = apply(&before, Edit::MoveRow { from, to }).unwrap();
            prop_assert_eq!(moved.rows().len(), rows);
            let (back, _) = apply(&moved, Edit::MoveRow { from: to, to: from }).unwrap();
            prop_assert_eq!(back, before);
        }

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
