//! Rules in few words, for tables.

use std::collections::HashMap;

use domain::policy::diff::Change;
use domain::policy::{Action, Conditions, PolicyDoc, Rule};
use domain::{LabelId, RuleId, SiteId};
use store::views::events::Hits;

use crate::labels;

/// One condition or result.
pub(super) struct Chip {
    pub icon: &'static str,
    /// What it is about; empty where the icon says it all.
    pub about: &'static str,
    pub text: String,
    pub title: String,
}

/// One row of the table of rules.
pub(super) struct RuleRow {
    pub id: RuleId,
    pub position: usize,
    pub name: String,
    pub enabled: bool,
    pub allow: bool,
    pub matching: Vec<Chip>,
    pub not_matching: Vec<Chip>,
    pub apply: Vec<Chip>,
    /// Nothing is named on either side.
    pub everyone: bool,
    pub hits: Option<Hits>,
}

/// The names of sites, to show instead of their ids.
pub(super) type SiteNames = HashMap<SiteId, String>;

/// The rows of a document.
pub(super) fn rows(doc: &PolicyDoc, sites: &SiteNames, hits: &HashMap<RuleId, Hits>) -> Vec<RuleRow> {
    let row = |(rule, position): (&Rule, usize)| RuleRow {
        id: rule.id,
        position,
        name: rule.name.clone(),
        enabled: rule.enabled,
        allow: rule.action == Action::Allow,
        matching: conditions(&rule.matching, doc, sites),
        not_matching: conditions(&rule.not_matching, doc, sites),
        apply: rule.apply.iter().map(|id| label(*id, doc)).collect(),
        everyone: rule.matching.is_empty() && rule.not_matching.is_empty(),
        hits: hits.get(&rule.id).copied(),
    };
    doc.rules.iter().zip(1..).map(row).collect()
}

fn conditions(side: &Conditions, doc: &PolicyDoc, sites: &SiteNames) -> Vec<Chip> {
    let mut chips = Vec::new();
    let mut add = |icon, about, words: Vec<String>| {
        if !words.is_empty() {
            let text = words.join(" or ");
            chips.push(Chip { icon, about, title: text.clone(), text });
        }
    };
    add("key", "method", side.auth_types.iter().map(ToString::to_string).collect());
    add("port", "port", side.port_types.iter().map(ToString::to_string).collect());
    let site = |id: &SiteId| sites.get(id).cloned().unwrap_or_else(|| "(a site that is gone)".to_owned());
    add("site", "site", side.site_ids.iter().map(site).collect());
    add("edge", "vendor", side.vendors.clone());
    chips.extend(side.labels.iter().map(|id| label(*id, doc)));
    chips
}

fn label(id: LabelId, doc: &PolicyDoc) -> Chip {
    match doc.label(id) {
        Some(label) => Chip {
            icon: labels::icon(&label.kind),
            about: "",
            text: label.name.clone(),
            title: format!("{}: {}", labels::kind_of(&label.kind).name, labels::describe(label)),
        },
        None => Chip {
            icon: "unknown",
            about: "",
            text: "(missing label)".to_owned(),
            title: "It matches nobody".to_owned(),
        },
    }
}

/// One line of what changed, with its look.
pub(super) struct ChangeLine {
    pub class: &'static str,
    pub icon: &'static str,
    pub text: String,
}

pub(super) fn changes(changes: &[Change]) -> Vec<ChangeLine> {
    let line = |change: &Change| {
        let (class, icon) = match change {
            Change::LabelAdded { .. } | Change::RuleAdded { .. } | Change::SectionAdded { .. } => ("added", "plus"),
            Change::LabelRemoved { .. } | Change::RuleRemoved { .. } | Change::SectionRemoved { .. } => ("removed", "minus"),
            Change::LabelChanged { .. } | Change::RuleChanged { .. } => ("changed", "edit"),
            Change::RuleMoved { .. } | Change::SectionMoved { .. } => ("moved", "move"),
        };
        ChangeLine { class, icon, text: change.to_string() }
    };
    changes.iter().map(line).collect()
}
