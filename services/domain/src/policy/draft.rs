//! Checking what people type: every error names its field and the remedy.

use crate::policy::model::{Label, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use crate::policy::value::ValueMatch;
use crate::radius::check::Kind;

mod results;

/// The longest name of a label or rule, in characters.
pub const NAME_MAX: usize = 64;
/// The longest comment of a rule, in characters.
pub const COMMENT_MAX: usize = 1_000;
/// The most values in one label.
pub const VALUES_MAX: usize = 1_000;
/// The most rules, and the most labels, in a policy.
pub const ITEMS_MAX: usize = 2_000;

/// What is wrong with one field.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FieldError {
    /// The form's field: `name`, `values`, `vlan`, `radius_group`, `session_timeout`, `apply`, …
    pub field: &'static str,
    /// Stable, for machines.
    pub code: &'static str,
    /// What is wrong and what to do, for people.
    pub message: String,
}

impl FieldError {
    /// An error of a field.
    pub fn new(field: &'static str, code: &'static str, message: impl Into<String>) -> Self {
        Self { field, code, message: message.into() }
    }
}

/// Checks a label against the policy that it stands in (or will stand in).
#[must_use]
pub fn check_label(label: &Label, doc: &PolicyDoc) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let others = doc.labels.iter().filter(|other| other.id != label.id).map(|other| other.name.as_str());
    check_name(&label.name, "label", others, &mut errors);
    match &label.kind {
        LabelKind::Match { key, values, .. } => check_values(*key, values, &mut errors),
        LabelKind::Vlan { vlan } => results::vlan(vlan, &mut errors),
        LabelKind::RadiusGroup { radius_group } => results::role(radius_group, &mut errors),
        LabelKind::SessionTimeout { session_timeout } => {
            if !(60..=2_592_000).contains(session_timeout) {
                let message = "Give a number of seconds from 60 (a minute) to 2592000 (30 days).";
                errors.push(FieldError::new("session_timeout", "out_of_range", message));
            }
        }
        LabelKind::EgressVlanNames { egress_vlan_names } => results::egress(egress_vlan_names, &mut errors),
        LabelKind::GbpTag { gbp_tag } => {
            if *gbp_tag == 0 {
                let message = "Give a tag from 1 to 65535.";
                errors.push(FieldError::new("gbp_tag", "out_of_range", message));
            }
        }
        LabelKind::UsernameAttr { .. } => {}
        LabelKind::RadiusAttrs { radius_attrs } => {
            results::attributes("radius_attrs", Kind::Standard, radius_attrs, &mut errors);
        }
        LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => {
            results::attributes("radius_vendor_attrs", Kind::Vendor, radius_vendor_attrs, &mut errors);
        }
        LabelKind::RedirectUrl { redirect_url } => results::redirect(redirect_url, &mut errors),
    }
    let still_fits = |rule: &&Rule| {
        let in_conditions =
            rule.matching.labels.iter().chain(&rule.not_matching.labels).any(|id| *id == label.id);
        (in_conditions && !label.kind.is_match()) || (rule.apply.contains(&label.id) && label.kind.is_match())
    };
    if let Some(rule) = doc.rules.iter().find(still_fits) {
        errors.push(FieldError::new(
            "type",
            "in_use",
            format!(
                "Rule “{}” uses this label as it was: take it out there first, or make a new label.",
                rule.name
            ),
        ));
    }
    errors
}

/// Checks a rule against the policy that it stands in (or will stand in).
#[must_use]
pub fn check_rule(rule: &Rule, doc: &PolicyDoc) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let others = doc.rules.iter().filter(|other| other.id != rule.id).map(|other| other.name.as_str());
    check_name(&rule.name, "rule", others, &mut errors);
    for (field, side) in [("matching", &rule.matching), ("not_matching", &rule.not_matching)] {
        for id in &side.labels {
            match doc.label(*id) {
                None => errors.push(FieldError::new(
                    field,
                    "unknown_label",
                    "A label named here does not exist any more: choose another.",
                )),
                Some(label) if !label.kind.is_match() => errors.push(FieldError::new(
                    field,
                    "not_a_match",
                    format!("“{}” is a result: put it under Apply.", label.name),
                )),
                Some(_) => {}
            }
        }
        if side.vendors.iter().any(|vendor| vendor.chars().any(char::is_control)) {
            let message = "Leave control characters out of the vendors.";
            errors.push(FieldError::new(field, "bad_characters", message));
        }
    }
    if rule.comment.chars().count() > COMMENT_MAX {
        let message = format!("Use {COMMENT_MAX} characters at most.");
        errors.push(FieldError::new("comment", "too_long", message));
    } else if rule.comment.chars().any(|c| c.is_control() && c != '\n' && c != '\r' && c != '\t') {
        errors.push(FieldError::new("comment", "bad_characters", "Leave out control characters."));
    }
    let mut taken = Vec::new();
    for id in &rule.apply {
        let Some(label) = doc.label(*id) else {
            errors.push(FieldError::new(
                "apply",
                "unknown_label",
                "A label named here does not exist any more: choose another.",
            ));
            continue;
        };
        match label.kind.single_valued() {
            None if !label.kind.is_match() => {}
            None => errors.push(FieldError::new(
                "apply",
                "not_a_result",
                format!("“{}” is a match: put it under Matching.", label.name),
            )),
            Some(kind) if taken.contains(&kind) => errors.push(FieldError::new(
                "apply",
                "repeated_result",
                format!(
                    "A rule gives one {} at most: take “{}” or the other out.",
                    label.kind.type_name(),
                    label.name
                ),
            )),
            Some(kind) => taken.push(kind),
        }
    }
    results::together(rule, doc, &mut errors);
    errors
}

/// Checks a section's name against the others. `own` is its place among the sections, where it is there already.
#[must_use]
pub fn check_section_name(name: &str, doc: &PolicyDoc, own: Option<usize>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let others = doc.sections.iter().enumerate().filter(|(index, _)| Some(*index) != own);
    check_name(name, "section", others.map(|(_, other)| other.name.as_str()), &mut errors);
    errors
}

/// Checks a whole document, for publishing and for import. Each error comes with what it is about, as a path
/// such as `rules[2]`.
#[must_use]
pub fn check(doc: &PolicyDoc) -> Vec<(String, FieldError)> {
    let mut out = Vec::new();
    if [doc.rules.len(), doc.labels.len(), doc.sections.len()].into_iter().any(|count| count > ITEMS_MAX) {
        let message = format!("A policy holds {ITEMS_MAX} rules, labels and sections at most, each.");
        out.push((String::new(), FieldError::new("policy", "too_large", message)));
        return out;
    }
    for (index, label) in doc.labels.iter().enumerate() {
        out.extend(check_label(label, doc).into_iter().map(|error| (format!("labels[{index}]"), error)));
    }
    for (index, rule) in doc.rules.iter().enumerate() {
        out.extend(check_rule(rule, doc).into_iter().map(|error| (format!("rules[{index}]"), error)));
    }
    for (index, section) in doc.sections.iter().enumerate() {
        let path = format!("sections[{index}]");
        let errors = check_section_name(&section.name, doc, Some(index));
        out.extend(errors.into_iter().map(|error| (path.clone(), error)));
        let before = index.checked_sub(1).map_or(0, |before| doc.sections[before].at);
        if section.at > doc.rules.len() || section.at < before {
            let message =
                "Give the number of rules before the section: sections stand in order, among the rules.";
            out.push((path, FieldError::new("at", "out_of_range", message)));
        }
    }
    out
}

fn check_name<'a>(
    name: &str,
    what: &str,
    mut others: impl Iterator<Item = &'a str>,
    errors: &mut Vec<FieldError>,
) {
    let length = name.chars().count();
    if name.trim() != name || name.chars().any(char::is_control) {
        errors.push(FieldError::new(
            "name",
            "bad_characters",
            "Leave out spaces at the ends and control characters.",
        ));
    } else if length == 0 {
        errors.push(FieldError::new("name", "required", format!("Give the {what} a name.")));
    } else if length > NAME_MAX {
        errors.push(FieldError::new("name", "too_long", format!("Use {NAME_MAX} characters at most.")));
    } else if others.any(|other| other.to_lowercase() == name.to_lowercase()) {
        errors.push(FieldError::new(
            "name",
            "taken",
            format!("Another {what} has this name: choose one of its own."),
        ));
    }
}

fn check_values(key: MatchLabelKey, values: &[String], errors: &mut Vec<FieldError>) {
    if values.is_empty() {
        errors.push(FieldError::new(
            "values",
            "required",
            "Give at least one value; without one the label matches nobody.",
        ));
    }
    if values.len() > VALUES_MAX {
        errors.push(FieldError::new("values", "too_many", format!("Use {VALUES_MAX} values at most.")));
    }
    for value in values {
        if let Err(problem) = ValueMatch::parse(key.spec().form, value) {
            errors.push(FieldError::new("values", "bad_value", format!("“{value}”: {problem}")));
        }
    }
}
