//! What a draft changes against what is live, in words.

use serde::Serialize;

use super::model::{Label, PolicyDoc, Rule};

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

    let common = |doc: &PolicyDoc, other: &PolicyDoc| -> Vec<_> {
        doc.rules.iter().map(|rule| rule.id).filter(|id| other.rule(*id).is_some()).collect()
    };
    let (before, after) = (common(old, new), common(new, old));
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
        let rank = |ids: &[_]| ids.iter().position(|id| *id == rule.id);
        if rank(&before) != rank(&after) {
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
