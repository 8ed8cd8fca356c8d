//! What a draft changes against what is live, in words.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::model::{Conditions, Label, LabelKind, PolicyDoc, Rule};
use crate::decision::Redirect;
use crate::{LabelId, RuleId};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    LabelAdded {
        name: String,
    },
    LabelRemoved {
        name: String,
    },
    LabelChanged {
        name: String,
    },
    RuleAdded {
        name: String,
        position: usize,
    },
    RuleRemoved {
        name: String,
    },
    RuleChanged {
        name: String,
    },
    RuleMoved {
        name: String,
        from: usize,
        to: usize,
    },
    SectionAdded {
        name: String,
    },
    SectionRemoved {
        name: String,
    },
    /// It stands before another rule than it did.
    SectionMoved {
        name: String,
    },
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::LabelAdded { name } => write!(f, "Label “{name}” is new"),
            Self::LabelRemoved { name } => write!(f, "Label “{name}” is removed"),
            Self::LabelChanged { name } => write!(f, "Label “{name}” is changed"),
            Self::RuleAdded { name, position } => write!(f, "Rule “{name}” is new, at place {position}"),
            Self::RuleRemoved { name } => write!(f, "Rule “{name}” is removed"),
            Self::RuleChanged { name } => write!(f, "Rule “{name}” is changed"),
            Self::RuleMoved { name, from, to } => write!(f, "Rule “{name}” moves from place {from} to {to}"),
            Self::SectionAdded { name } => write!(f, "Section “{name}” is new"),
            Self::SectionRemoved { name } => write!(f, "Section “{name}” is removed"),
            Self::SectionMoved { name } => write!(f, "Section “{name}” moves"),
        }
    }
}

/// The differences from `old` to `new`: labels, then rules in the order of the new document. Places count from 1;
/// a rule counts as moved only against the rules that stand in both.
#[must_use]
pub fn diff(old: &PolicyDoc, new: &PolicyDoc) -> Vec<Change> {
    let mut out = Vec::new();
    let name_of = |label: &Label| label.name.clone();
    for label in &new.labels {
        match old.label(label.id) {
            None => out.push(Change::LabelAdded { name: name_of(label) }),
            Some(before) if before != label => out.push(Change::LabelChanged { name: name_of(label) }),
            Some(_) => {}
        }
    }
    let gone = old.labels.iter().filter(|label| new.label(label.id).is_none());
    out.extend(gone.map(|label| Change::LabelRemoved { name: name_of(label) }));

    let moved = moved(old, new);
    let place =
        |rule: &Rule, doc: &PolicyDoc| doc.rules.iter().position(|r| r.id == rule.id).map_or(0, |i| i + 1);
    for (index, rule) in new.rules.iter().enumerate() {
        let Some(was) = old.rule(rule.id) else {
            out.push(Change::RuleAdded { name: rule.name.clone(), position: index + 1 });
            continue;
        };
        if was != rule {
            out.push(Change::RuleChanged { name: rule.name.clone() });
        }
        if moved.contains(&rule.id) {
            out.push(Change::RuleMoved { name: rule.name.clone(), from: place(was, old), to: index + 1 });
        }
    }
    let gone = old.rules.iter().filter(|rule| new.rule(rule.id).is_none());
    out.extend(gone.map(|rule| Change::RuleRemoved { name: rule.name.clone() }));

    let stands_before = |doc: &PolicyDoc, at: usize| doc.rules.get(at).map(|rule| rule.id);
    for section in &new.sections {
        let name = section.name.clone();
        match old.sections.iter().find(|other| other.name == section.name) {
            None => out.push(Change::SectionAdded { name }),
            Some(was) if stands_before(old, was.at) != stands_before(new, section.at) => {
                out.push(Change::SectionMoved { name });
            }
            Some(_) => {}
        }
    }
    let gone = old.sections.iter().filter(|was| !new.sections.iter().any(|section| section.name == was.name));
    out.extend(gone.map(|section| Change::SectionRemoved { name: section.name.clone() }));
    out
}

/// The fewest rules that must have moved to bring the old order into the new one: those outside the longest run of
/// rules that stand in both in the same order.
fn moved(old: &PolicyDoc, new: &PolicyDoc) -> HashSet<RuleId> {
    let was_at: HashMap<RuleId, usize> =
        old.rules.iter().enumerate().map(|(at, rule)| (rule.id, at)).collect();
    let kept: Vec<(RuleId, usize)> =
        new.rules.iter().filter_map(|rule| Some((rule.id, *was_at.get(&rule.id)?))).collect();
    // The longest run that ends at each rule, and the rule before it there.
    let mut runs: Vec<(usize, Option<usize>)> = Vec::with_capacity(kept.len());
    for (index, (_, at)) in kept.iter().enumerate() {
        let before =
            (0..index).filter(|earlier| kept[*earlier].1 < *at).max_by_key(|earlier| runs[*earlier].0);
        runs.push((before.map_or(1, |earlier| runs[earlier].0 + 1), before));
    }
    let mut moved: HashSet<RuleId> = kept.iter().map(|(id, _)| *id).collect();
    let mut next = (0..runs.len()).max_by_key(|index| runs[*index].0);
    while let Some(index) = next {
        moved.remove(&kept[index].0);
        next = runs[index].1;
    }
    moved
}

/// One field of a label or rule that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldChange {
    /// For people: “name”, “matching: authentication”, ….
    pub field: &'static str,
    /// Empty where there was nothing.
    pub before: String,
    pub after: String,
}

impl std::fmt::Display for FieldChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { field, before, after } = self;
        match (before.as_str(), after.as_str()) {
            ("", after) => write!(f, "{field}: {after} is new"),
            (before, "") => write!(f, "{field}: {before} is taken out"),
            (before, after) => write!(f, "{field}: {after} instead of {before}"),
        }
    }
}

/// What differs between two states of a rule, each with the document that it stands in.
#[must_use]
pub fn rule_changes(old: (&Rule, &PolicyDoc), new: (&Rule, &PolicyDoc)) -> Vec<FieldChange> {
    fields(rule_fields(old.0, old.1), rule_fields(new.0, new.1))
}

/// What differs between two states of a label.
#[must_use]
pub fn label_changes(old: &Label, new: &Label) -> Vec<FieldChange> {
    fields(label_fields(old), label_fields(new))
}

fn fields<const N: usize>(
    old: [(&'static str, String); N],
    new: [(&'static str, String); N],
) -> Vec<FieldChange> {
    let pairs = old.into_iter().zip(new).filter(|((_, before), (_, after))| before != after);
    pairs.map(|((field, before), (_, after))| FieldChange { field, before, after }).collect()
}

fn rule_fields(rule: &Rule, doc: &PolicyDoc) -> [(&'static str, String); 16] {
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let labels = |ids: &[LabelId]| {
        list(ids.iter().map(|id| doc.label(*id).map_or_else(|| id.to_string(), |label| label.name.clone())))
    };
    let side = |side: &Conditions| {
        [
            list(&side.auth_types),
            list(&side.port_types),
            list(&side.site_ids),
            list(&side.vendors),
            labels(&side.labels),
        ]
    };
    let [auth, ports, sites, vendors, matching] = side(&rule.matching);
    let [not_auth, not_ports, not_sites, not_vendors, not_matching] = side(&rule.not_matching);
    [
        ("name", rule.name.clone()),
        ("comment", rule.comment.clone()),
        ("enabled", yes(rule.enabled)),
        ("dry run", yes(rule.dry_run)),
        ("action", rule.action.to_string()),
        ("matching: authentication", auth),
        ("matching: port types", ports),
        ("matching: sites", sites),
        ("matching: vendors", vendors),
        ("matching: labels", matching),
        ("not matching: authentication", not_auth),
        ("not matching: port types", not_ports),
        ("not matching: sites", not_sites),
        ("not matching: vendors", not_vendors),
        ("not matching: labels", not_matching),
        ("apply", labels(&rule.apply)),
    ]
}

fn label_fields(label: &Label) -> [(&'static str, String); 4] {
    let (what, all) = match &label.kind {
        LabelKind::Match { key, match_all, .. } => (key.spec().title, *match_all),
        kind => (kind.type_name(), false),
    };
    let value = match &label.kind {
        LabelKind::Match { values, .. } => list(values),
        LabelKind::Vlan { vlan } => vlan.clone(),
        LabelKind::RadiusGroup { radius_group } => radius_group.clone(),
        LabelKind::SessionTimeout { session_timeout } => session_timeout.to_string(),
        LabelKind::EgressVlanNames { egress_vlan_names } => list(egress_vlan_names),
        LabelKind::GbpTag { gbp_tag } => gbp_tag.to_string(),
        LabelKind::UsernameAttr { username_attr } => username_attr.to_string(),
        LabelKind::RadiusAttrs { radius_attrs } => list(radius_attrs),
        LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => list(radius_vendor_attrs),
        LabelKind::RedirectUrl { redirect_url } => Redirect::describe(redirect_url).to_owned(),
    };
    let all = if all { "all of them" } else { "any of them" }.to_owned();
    [("name", label.name.clone()), ("type", what.to_owned()), ("value", value), ("must hold", all)]
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| item.to_string()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::generate::{any_doc, label, matching, policy, rule};
    use crate::policy::model::{Action, MatchLabelKey as Key, Section};

    #[test]
    fn changes_are_told_in_words() {
        let old = policy(
            vec![matching(1, Key::Ssid, &["Corp"]), label(2, LabelKind::Vlan { vlan: "10".into() })],
            vec![rule(1, Action::Allow, &[1], &[]), rule(2, Action::Block, &[], &[])],
        );
        let mut new = old.clone();
        new.rules[0].apply = vec![new.labels[1].id];
        new.rules[0].action = Action::Block;
        new.labels[0] = matching(1, Key::Ssid, &["Corp", "Guest"]);
        new.sections.push(Section { name: "Guests".into(), at: 1 });
        let words: Vec<_> = diff(&old, &new).iter().map(ToString::to_string).collect();
        assert_eq!(
            words,
            ["Label “Label 1” is changed", "Rule “Rule 1” is changed", "Section “Guests” is new"]
        );
        let words = |changes: Vec<FieldChange>| changes.iter().map(ToString::to_string).collect::<Vec<_>>();
        let rule = rule_changes((&old.rules[0], &old), (&new.rules[0], &new));
        assert_eq!(words(rule), ["action: block instead of allow", "apply: Label 2 is new"]);
        assert_eq!(
            words(label_changes(&old.labels[0], &new.labels[0])),
            ["value: Corp, Guest instead of Corp"]
        );
    }

    proptest::proptest! {
        #[test]
        fn a_rule_that_moves_is_the_only_one_told_of(count in 2u128..9, from in 0usize..9, to in 0usize..9) {
            let rules = (1..=count).map(|n| rule(n, Action::Allow, &[], &[])).collect();
            let old = policy(Vec::new(), rules);
            let (from, to) = (from % old.rules.len(), to % old.rules.len());
            let mut new = old.clone();
            let one = new.rules.remove(from);
            new.rules.insert(to, one.clone());
            let told = diff(&old, &new);
            proptest::prop_assert_eq!(told.len(), usize::from(from != to));
            if from.abs_diff(to) > 1 {
                let moved = Change::RuleMoved { name: one.name, from: from + 1, to: to + 1 };
                proptest::prop_assert_eq!(told, [moved]);
            }
        }

        #[test]
        fn whatever_differs_is_told(old in any_doc(), new in any_doc()) {
            proptest::prop_assert_eq!(diff(&old, &old), []);
            for (a, b) in old.rules.iter().zip(&new.rules).filter(|(a, b)| a != b) {
                let told = rule_changes((a, &old), (b, &new));
                // The same label ids may bear other names, but here names go with ids.
                proptest::prop_assert!(!told.is_empty(), "{:?} {:?}", a, b);
            }
            for (a, b) in old.labels.iter().zip(&new.labels).filter(|(a, b)| a != b) {
                proptest::prop_assert!(!label_changes(a, b).is_empty());
            }
        }
    }
}
