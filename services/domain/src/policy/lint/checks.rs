//! Findings that do not need the order of the rules.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::reach::{Map, covered};
use super::set::Set;
use super::space::{DEVICE, as_match, device_cells};
use super::{Code, Finding, Known};
use crate::compliance::Literal;
use crate::policy::compile::CompiledPolicy;
use crate::policy::model::{Action, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use crate::policy::value::{Case, Form, Pattern, ValueMatch};
use crate::resolver::MatchStrength;

/// Labels by themselves.
pub fn labels(doc: &PolicyDoc, map: &Map, out: &mut Vec<Finding>) {
    let used: BTreeSet<_> = doc.rules.iter().flat_map(|rule| rule.labels()).collect();
    let mut twins: HashMap<String, usize> = HashMap::new();
    // By key and lower-case value: the spellings, each with the first label that has it.
    let mut spellings: BTreeMap<(MatchLabelKey, String), BTreeMap<&str, usize>> = BTreeMap::new();
    for (index, label) in doc.labels.iter().enumerate() {
        let name = &label.name;
        if !used.contains(&label.id) {
            out.push(Finding::new(Code::UnusedLabel, format!("No rule uses label “{name}”.")).label(label));
        }
        let twin = *twins.entry(format!("{:?}", label.kind)).or_insert(index);
        if twin != index {
            let twin = &doc.labels[twin];
            let message = format!("Labels “{}” and “{name}” say the same.", twin.name);
            out.push(Finding::new(Code::DuplicateLabel, message).label(twin).label(label));
        }
        let Some((_, key, values, _)) = as_match(label) else { continue };
        if let Some((dim, set)) = map.space.label(label) {
            if set.is_empty() && !values.is_empty() {
                let message = format!("Label “{name}” can never hold: its values exclude each other.");
                out.push(Finding::new(Code::ContradictoryLabel, message).label(label));
            } else if set == map.space.whole(dim) {
                let message = format!("Label “{name}” holds for every client.");
                out.push(Finding::new(Code::AlwaysTrueLabel, message).label(label));
            }
        }
        let Form::Text { case: Case::Exact, .. } = key.spec().form else { continue };
        for value in values {
            let text = value.trim().trim_start_matches('!').trim_start();
            spellings.entry((key, text.to_lowercase())).or_default().entry(text).or_insert(index);
            if text.parse::<Literal>().is_ok_and(|l| matches!(l, Literal::Compliant | Literal::NonCompliant))
            {
                let message = format!(
                    "Label “{name}” compares {} with “{text}”, which is a word of MDM compliance.",
                    key.spec().title
                );
                out.push(Finding::new(Code::CaseMistake, message).label(label));
            }
        }
    }
    for ((key, _), spelled) in spellings.into_iter().filter(|(_, spelled)| spelled.len() > 1) {
        let values: Vec<_> = spelled.keys().map(|text| format!("“{text}”")).collect();
        let message = format!(
            "{} values {} differ only in case, which matters there.",
            key.spec().title,
            values.join(" and ")
        );
        let indexes: BTreeSet<_> = spelled.into_values().collect();
        let finding = Finding::new(Code::CaseMistake, message);
        out.push(indexes.into_iter().fold(finding, |finding, index| finding.label(&doc.labels[index])));
    }
}

/// Rules by themselves, and beside each other.
pub fn rules(doc: &PolicyDoc, known: &Known<'_>, out: &mut Vec<Finding>) {
    let gives_vlan = |index: usize| {
        let mut kinds = doc.rules[index].apply.iter().filter_map(|id| doc.label(*id));
        kinds.any(|label| matches!(label.kind, LabelKind::Vlan { .. } | LabelKind::EgressVlanNames { .. }))
    };
    let allows = |index: &usize| doc.rules[*index].enabled && doc.rules[*index].action == Action::Allow;
    let with_vlan: Vec<_> = (0..doc.rules.len()).filter(allows).filter(|i| gives_vlan(*i)).collect();
    for (index, rule) in doc.rules.iter().enumerate() {
        let name = &rule.name;
        if rule.labels().any(|id| doc.label(id).is_none()) {
            let message = format!("Rule “{name}” names a label that does not exist.");
            out.push(Finding::new(Code::UnknownLabel, message).rule(doc, index));
        }
        if allows(&index) && rule.matching.is_empty() && rule.not_matching.is_empty() {
            let message = format!("Rule “{name}” lets every client in that comes so far.");
            out.push(Finding::new(Code::MatchesEveryone, message).rule(doc, index));
        }
        if rule.action == Action::Block && !rule.apply.is_empty() {
            let message = format!("Rule “{name}” blocks: the labels that it applies are never sent.");
            out.push(Finding::new(Code::BlockWithResults, message).rule(doc, index));
        }
        if allows(&index) && redirects_alone(rule, doc) {
            let message = format!("Rule “{name}” leads clients to a page, and does not keep them apart.");
            out.push(Finding::new(Code::RedirectUnconfined, message).rule(doc, index));
        }
        if allows(&index) && !with_vlan.is_empty() && !gives_vlan(index) {
            let message = format!("Rule “{name}” gives no VLAN, while other allow rules do.");
            out.push(Finding::new(Code::AllowWithoutVlan, message).rule(doc, index).others(doc, &with_vlan));
        }
        for side in [&rule.matching, &rule.not_matching] {
            if let Some(sites) = known.sites {
                for site in side.site_ids.iter().filter(|site| !sites.contains(site)) {
                    let message = format!("Rule “{name}” names site {site}, which does not exist.");
                    out.push(Finding::new(Code::UnknownSite, message).rule(doc, index));
                }
            }
            if let Some(vendors) = known.vendors {
                let is_known =
                    |wanted: &str| vendors.iter().any(|v| v.trim().eq_ignore_ascii_case(wanted.trim()));
                for vendor in side.vendors.iter().filter(|vendor| !is_known(vendor)) {
                    let message = format!("Rule “{name}” names vendor “{vendor}”, which no edge reports.");
                    out.push(Finding::new(Code::UnknownVendor, message).rule(doc, index));
                }
            }
        }
    }
}

/// Whether a rule gives a redirect, and nothing by which a NAS could keep the client apart meanwhile.
fn redirects_alone(rule: &Rule, doc: &PolicyDoc) -> bool {
    let mut gives_page = false;
    for label in rule.apply.iter().filter_map(|id| doc.label(*id)) {
        match label.kind {
            LabelKind::RedirectUrl { .. } => gives_page = true,
            LabelKind::Match { .. } | LabelKind::SessionTimeout { .. } | LabelKind::UsernameAttr { .. } => {}
            _ => return false,
        }
    }
    gives_page
}

/// What the policy makes of compliance as a whole.
pub fn compliance(doc: &PolicyDoc, map: &Map, out: &mut Vec<Finding>) {
    let cells = device_cells();
    let trusted = |literals: &[Literal]| literals.contains(&Literal::Compliant);
    let with =
        |strength| Set::of(cells.len(), |cell| trusted(cells[cell].0) && cells[cell].1 == Some(strength));
    let (by_mac, by_certificate) = (with(MatchStrength::Mac), with(MatchStrength::Certificate));
    let compliant = Set::of(cells.len(), |cell| trusted(cells[cell].0));
    let compiled = CompiledPolicy::compile(0, doc);
    let tight: Vec<_> = (0..doc.rules.len()).map(|index| map.tight(index)).collect();
    let device = |index: usize| {
        let region = &tight[index];
        let side = || region.side(DEVICE).cloned().unwrap_or_else(|| map.space.whole(DEVICE));
        (!region.is_empty()).then(side)
    };
    // Whether some client of these states comes as far as the rule, and matches it.
    let reached_by = |index: usize, states: &Set| {
        let mut region = tight[index].clone();
        region.restrict(DEVICE, states);
        !region.is_empty() && covered(doc, map, index, region).is_none()
    };
    let enforced: Vec<_> = (0..doc.rules.len()).filter(|i| doc.rules[*i].enforced()).collect();
    let allows: Vec<_> = enforced.iter().copied().filter(|i| doc.rules[*i].action == Action::Allow).collect();
    let certified: Vec<_> = allows
        .iter()
        .copied()
        .filter(|index| device(*index).is_some_and(|set| set.is_subset(&compliant)))
        .filter(|index| reached_by(*index, &by_certificate))
        .collect();
    for &index in &allows {
        let Some(own) = device(index) else { continue };
        let rule = &doc.rules[index];
        // Trusts compliance, and a MAC is enough to have it.
        if own.is_subset(&compliant) && reached_by(index, &by_mac) {
            let same: Vec<_> = certified
                .iter()
                .copied()
                .filter(|other| compiled.rules[*other].outcome == compiled.rules[index].outcome)
                .collect();
            if !same.is_empty() {
                let message = format!(
                    "Rule “{}” gives a client that is known only by its MAC address what a certificate gives.",
                    rule.name
                );
                out.push(Finding::new(Code::WeakMatch, message).rule(doc, index).others(doc, &same));
            }
        }
        let negated = rule.matching.labels.iter().filter_map(|id| doc.label(*id)).find(|label| {
            as_match(label).is_some_and(|(_, key, values, _)| {
                key == MatchLabelKey::MdmStatus
                    && values.iter().any(|value| {
                        let value = ValueMatch::compile(key.spec().form, value);
                        value.negated && value.what == Pattern::Compliance(Literal::NonCompliant)
                    })
            })
        });
        if let Some(label) = negated
            && (0..cells.len()).any(|cell| own.contains(cell) && cells[cell].0.contains(&Literal::Unknown))
        {
            let message = format!(
                "Rule “{}” lets in every client that is not non-compliant by label “{}”, unknown ones too.",
                rule.name, label.name
            );
            out.push(Finding::new(Code::NegatedCompliance, message).rule(doc, index).label(label));
        }
    }
    let looks =
        enforced.iter().flat_map(|i| doc.rules[*i].matching.labels.iter()).filter_map(|id| doc.label(*id));
    let mut keys = looks.filter_map(as_match).map(|(_, key, ..)| key);
    if !keys.any(|key| key == MatchLabelKey::MdmStatus) {
        return;
    }
    let handled: Vec<_> = enforced.iter().filter_map(|i| device(*i)).collect();
    let mut missed: Vec<&str> = Vec::new();
    for (cell, (literals, _)) in cells.iter().enumerate() {
        let unknown = literals.contains(&Literal::Unknown);
        if unknown && !handled.iter().any(|set| set.contains(cell)) {
            missed.extend(literals.iter().filter(|l| **l != Literal::Unknown).map(|l| l.as_str()));
        }
    }
    missed.dedup();
    if !missed.is_empty() {
        let message = format!("No rule handles clients whose compliance is {}.", missed.join(", "));
        out.push(Finding::new(Code::UnknownUnhandled, message));
    }
}
