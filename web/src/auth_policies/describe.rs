//! Rules in few words, for tables.

use std::collections::HashMap;

use domain::policy::diff::{Change, FieldChange, label_changes, rule_changes};
use domain::policy::{Action, Conditions, PolicyDoc, Row, Rule};
use domain::{LabelId, SiteId};
use store::views::hits::{Hits, RuleHits};

use crate::labels;

/// One condition or result.
pub(super) struct Chip {
    pub icon: &'static str,
    /// What it is about; empty where the icon says it all.
    pub about: &'static str,
    pub text: String,
    pub title: String,
}

/// One row of the table: a separator or a rule.
pub(super) enum TableRow {
    Section {
        name: String,
        /// The row's place, counted from 1.
        row: usize,
        /// `added` or empty.
        mark: &'static str,
    },
    Rule(Box<RuleRow>),
}

/// A rule in the table.
pub(super) struct RuleRow {
    pub id: String,
    pub position: usize,
    /// The row's place among rules and separators, counted from 1; 0 for a rule that is not there any more.
    pub row: usize,
    pub name: String,
    pub comment: String,
    pub enabled: bool,
    pub dry_run: bool,
    pub allow: bool,
    pub matching: Vec<Chip>,
    pub not_matching: Vec<Chip>,
    pub apply: Vec<Chip>,
    /// Nothing is named on either side.
    pub everyone: bool,
    pub hits: RuleHits,
    /// Against what is live: `added`, `changed`, `moved`, `removed` or empty.
    pub mark: &'static str,
    /// What of it changed.
    pub fields: Vec<FieldChange>,
}

impl RuleRow {
    /// Whether the rule, its comment or anything that it names contains `q`, which is in lower case.
    pub(super) fn contains(&self, q: &str) -> bool {
        let chips = self.matching.iter().chain(&self.not_matching).chain(&self.apply);
        let mut texts = chips.flat_map(|chip| [chip.text.as_str(), chip.title.as_str()]);
        [self.name.as_str(), self.comment.as_str()].iter().any(|text| text.to_lowercase().contains(q))
            || texts.any(|text| text.to_lowercase().contains(q))
    }
}

/// The names of sites, to show instead of their ids.
pub(super) type SiteNames = HashMap<SiteId, String>;

/// The rows of a document, as they are.
pub(super) fn rows(doc: &PolicyDoc, sites: &SiteNames, hits: &Hits) -> Vec<TableRow> {
    let of = |(row, at): (Row<'_>, usize)| match row {
        Row::Section(section) => TableRow::Section { name: section.name.clone(), row: at, mark: "" },
        Row::Rule { position, rule } => {
            TableRow::Rule(Box::new(rule_row(rule, doc, sites, hits, position, at)))
        }
    };
    doc.rows().into_iter().zip(1..).map(of).collect()
}

/// The rows of a document with marks for what differs from `live`, and the rules of `live` that are gone where they
/// stood.
pub(super) fn marked_rows(
    doc: &PolicyDoc,
    live: &PolicyDoc,
    changes: &[Change],
    sites: &SiteNames,
    hits: &Hits,
) -> Vec<TableRow> {
    let mut rows = rows(doc, sites, hits);
    for row in &mut rows {
        match row {
            TableRow::Section { name, mark, .. } => {
                if !live.sections.iter().any(|section| section.name == *name) {
                    *mark = "added";
                }
            }
            TableRow::Rule(row) => {
                let Some(rule) = doc.rules.get(row.position - 1) else { continue };
                match live.rule(rule.id) {
                    None => row.mark = "added",
                    Some(before) if before != rule => {
                        row.mark = "changed";
                        row.fields = named(rule_changes((before, live), (rule, doc)), sites);
                    }
                    Some(_) => {
                        let moved =
                            |c: &Change| matches!(c, Change::RuleMoved { name, .. } if *name == rule.name);
                        if changes.iter().any(moved) {
                            row.mark = "moved";
                        }
                    }
                }
            }
        }
    }
    let mut after: Option<String> = None;
    for rule in &live.rules {
        if doc.rule(rule.id).is_none() {
            let mut gone = rule_row(rule, live, sites, hits, 0, 0);
            gone.mark = "removed";
            let is_it = |row: &TableRow| matches!(row, TableRow::Rule(r) if Some(&r.id) == after.as_ref());
            let at = rows.iter().position(is_it).map_or(0, |at| at + 1);
            after = Some(gone.id.clone());
            rows.insert(at, TableRow::Rule(Box::new(gone)));
        } else {
            after = Some(rule.id.to_string());
        }
    }
    rows
}

fn rule_row(
    rule: &Rule,
    doc: &PolicyDoc,
    sites: &SiteNames,
    hits: &Hits,
    position: usize,
    row: usize,
) -> RuleRow {
    RuleRow {
        id: rule.id.to_string(),
        position,
        row,
        name: rule.name.clone(),
        comment: rule.comment.clone(),
        enabled: rule.enabled,
        dry_run: rule.dry_run,
        allow: rule.action == Action::Allow,
        matching: conditions(&rule.matching, doc, sites),
        not_matching: conditions(&rule.not_matching, doc, sites),
        apply: rule.apply.iter().map(|id| label(*id, doc)).collect(),
        everyone: rule.matching.is_empty() && rule.not_matching.is_empty(),
        hits: hits.of(rule.id),
        mark: "",
        fields: Vec::new(),
    }
}

/// Changes with the names of sites instead of their ids.
pub(super) fn named(changes: Vec<FieldChange>, sites: &SiteNames) -> Vec<FieldChange> {
    let with_names = |text: String| {
        sites.iter().fold(text, |text, (id, name)| {
            let id = id.to_string();
            if text.contains(&id) { text.replace(&id, name) } else { text }
        })
    };
    changes
        .into_iter()
        .map(|change| FieldChange {
            before: with_names(change.before),
            after: with_names(change.after),
            ..change
        })
        .collect()
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
    /// Field by field, where something is changed.
    pub fields: Vec<FieldChange>,
}

/// What changed from `old` to `new`, with each change's fields.
pub(super) fn changes(
    changes: &[Change],
    old: &PolicyDoc,
    new: &PolicyDoc,
    sites: &SiteNames,
) -> Vec<ChangeLine> {
    let line = |change: &Change| {
        let (class, icon) = match change {
            Change::LabelAdded { .. } | Change::RuleAdded { .. } | Change::SectionAdded { .. } => {
                ("added", "plus")
            }
            Change::LabelRemoved { .. } | Change::RuleRemoved { .. } | Change::SectionRemoved { .. } => {
                ("removed", "minus")
            }
            Change::LabelChanged { .. } | Change::RuleChanged { .. } => ("changed", "edit"),
            Change::RuleMoved { .. } | Change::SectionMoved { .. } => ("moved", "move"),
        };
        let fields = match change {
            Change::RuleChanged { name } => new
                .rules
                .iter()
                .find(|rule| rule.name == *name)
                .and_then(|rule| Some(rule_changes((old.rule(rule.id)?, old), (rule, new)))),
            Change::LabelChanged { name } => new
                .labels
                .iter()
                .find(|label| label.name == *name)
                .and_then(|label| Some(label_changes(old.label(label.id)?, label))),
            _ => None,
        };
        let fields = named(fields.unwrap_or_default(), sites);
        ChangeLine { class, icon, text: change.to_string(), fields }
    };
    changes.iter().map(line).collect()
}
