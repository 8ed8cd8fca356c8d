//! Checking what people type: every error names its field and the remedy.

use crate::policy::model::{Label, LabelKind, MatchLabelKey, PolicyDoc, Rule};
use crate::policy::value::ValueMatch;

/// The longest name of a label or rule, in characters.
pub const NAME_MAX: usize = 64;
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
        LabelKind::Vlan { vlan } => check_vlan(vlan, &mut errors),
        LabelKind::RadiusGroup { radius_group } => check_role(radius_group, &mut errors),
        LabelKind::SessionTimeout { session_timeout } if !(60..=2_592_000).contains(session_timeout) => {
            errors.push(FieldError::new(
                "session_timeout",
                "out_of_range",
                "Give a number of seconds from 60 (a minute) to 2592000 (30 days).",
            ));
        }
        _ => {}
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
    errors
}

/// Checks a whole document, for publishing and for import. Each error comes with what it is about, as a path
/// such as `rules[2]`.
#[must_use]
pub fn check(doc: &PolicyDoc) -> Vec<(String, FieldError)> {
    let mut out = Vec::new();
    if doc.rules.len() > ITEMS_MAX || doc.labels.len() > ITEMS_MAX {
        let message = format!("A policy holds {ITEMS_MAX} rules and {ITEMS_MAX} labels at most.");
        out.push((String::new(), FieldError::new("policy", "too_large", message)));
        return out;
    }
    for (index, label) in doc.labels.iter().enumerate() {
        out.extend(check_label(label, doc).into_iter().map(|error| (format!("labels[{index}]"), error)));
    }
    for (index, rule) in doc.rules.iter().enumerate() {
        out.extend(check_rule(rule, doc).into_iter().map(|error| (format!("rules[{index}]"), error)));
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

fn check_vlan(vlan: &str, errors: &mut Vec<FieldError>) {
    let problem = if vlan.is_empty() {
        Some("Give a VLAN id (1 to 4094) or name.")
    } else if vlan.chars().all(|c| c.is_ascii_digit()) {
        let id = vlan.parse::<u32>().unwrap_or(u32::MAX);
        (!(1..=4094).contains(&id)).then_some("A VLAN id is a number from 1 to 4094 (IEEE 802.1Q).")
    } else if vlan.len() > 32 || !vlan.chars().all(|c| c.is_ascii_graphic()) || vlan.contains('%') {
        Some("A VLAN name has 32 visible ASCII characters at most, no spaces and no %.")
    } else {
        None
    };
    errors.extend(problem.map(|message| FieldError::new("vlan", "bad_value", message)));
}

fn check_role(role: &str, errors: &mut Vec<FieldError>) {
    // A RADIUS text attribute holds 253 bytes (RFC 2865 5); `%` would be expanded by some RADIUS servers.
    let fits = !role.is_empty() && role.len() <= 253 && role.trim() == role;
    if !fits || role.chars().any(|c| c.is_control() || c == '%') {
        let message = "Give a role of 1 to 253 bytes, without % and without spaces at its ends.";
        errors.push(FieldError::new("radius_group", "bad_value", message));
    }
}
