//! A whole policy as one file, JSON or YAML, to keep, review, copy and write by hand.
//!
//! - The form is [`file::PolicyFile`]; `policy.schema.json` is its JSON Schema.
//! - Labels and rules are named: rules refer to labels by name (in any case), sections to rules. Where a name would be
//!   ambiguous, the id is written instead; an id is always understood.
//! - Ids are written on export and optional on import. What has none keeps the id of the label or rule of that name in
//!   the policy that it replaces, so that its history stays; what is new gets an id made from its name.
//! - What was exported and is imported again is the same policy, exactly.
//! - Sites are ids of the organization: in a file for another organization, take `site_ids` out or replace them.

pub mod file;
mod names;

use std::fmt;

use serde::Serialize;

use self::file::{FORMAT, PolicyFile};
use self::names::Names;
use super::draft;
use super::model::{Conditions, Label, LabelKind, PolicyDoc, Rule, Section};

/// The largest file that is read, in bytes.
pub const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
}

impl Format {
    /// What a text looks like: JSON begins with a brace.
    #[must_use]
    pub fn of(text: &str) -> Self {
        if text.trim_start_matches('\u{feff}').trim_start().starts_with('{') {
            Self::Json
        } else {
            Self::Yaml
        }
    }
}

/// One thing wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileError {
    /// For example `rules[2].matching.labels[0]`; empty for the whole file.
    pub path: String,
    /// Line and column, counted from 1, where they are known.
    pub place: Option<(u64, u64)>,
    pub message: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.place {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl FileError {
    fn at(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { path: path.into(), place: None, message: message.into() }
    }
}

/// Writes a policy. An error names what the format cannot hold, which no policy is known to have.
pub fn write(doc: &PolicyDoc, format: Format) -> Result<String, String> {
    let file = to_file(doc);
    match format {
        Format::Json => {
            serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|e| e.to_string())
        }
        Format::Yaml => serde_saphyr::to_string(&file).map_err(|e| e.to_string()),
    }
}

/// Reads a policy that may go into the draft: every check of saving holds for it. `current` is the policy that it
/// replaces.
pub fn read(text: &str, format: Format, current: &PolicyDoc) -> Result<PolicyDoc, Vec<FileError>> {
    let doc = parse(text, format, current)?;
    let errors = draft::check(&doc).into_iter().map(|(path, error)| {
        let path =
            [path.as_str(), error.field].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>();
        FileError::at(path.join("."), error.message)
    });
    let errors: Vec<_> = errors.collect();
    if errors.is_empty() { Ok(doc) } else { Err(errors) }
}

/// Reads a policy as it is written, without the checks of saving.
pub fn parse(text: &str, format: Format, current: &PolicyDoc) -> Result<PolicyDoc, Vec<FileError>> {
    if text.len() > FILE_BYTES_MAX {
        let message = format!("The file has {} bytes; {FILE_BYTES_MAX} are read at most.", text.len());
        return Err(vec![FileError::at("", message)]);
    }
    let text = text.trim_start_matches('\u{feff}');
    let file = match format {
        Format::Json => {
            let mut reader = serde_json::Deserializer::from_str(text);
            let file = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
                let place = (error.inner().line() as u64, error.inner().column() as u64);
                FileError { place: Some(place), ..of_path(error.path(), error.inner().to_string()) }
            });
            file.and_then(|file: PolicyFile| {
                reader.end().map_err(|e| FileError::at("", e.to_string()))?;
                Ok(file)
            })
        }
        Format::Yaml => yaml(text),
    };
    from_file(file.map_err(|error| vec![error])?, current)
}

fn yaml(text: &str) -> Result<PolicyFile, FileError> {
    let mut path = String::new();
    let read = serde_saphyr::with_deserializer_from_str(text, |reader| {
        serde_path_to_error::deserialize(reader).map_err(|error| {
            path = error.path().to_string();
            error.into_inner()
        })
    });
    read.map_err(|error| {
        let place = error.location().map(|location| (location.line(), location.column()));
        let path = if path == "." { String::new() } else { path.clone() };
        FileError { path, place, message: error.without_snippet().to_string() }
    })
}

fn of_path(path: &serde_path_to_error::Path, message: String) -> FileError {
    let path = path.to_string();
    FileError::at(if path == "." { String::new() } else { path }, message)
}

fn to_file(doc: &PolicyDoc) -> PolicyFile {
    let labels = Names::of(doc.labels.iter().map(|label| (label.id.uuid(), label.name.as_str())));
    let rules = Names::of(doc.rules.iter().map(|rule| (rule.id.uuid(), rule.name.as_str())));
    let refer = |ids: &[crate::LabelId]| ids.iter().map(|id| labels.write(id.uuid())).collect::<Vec<_>>();
    let conditions = |side: &Conditions| file::FileConditions {
        auth_types: side.auth_types.clone(),
        port_types: side.port_types.clone(),
        site_ids: side.site_ids.iter().map(|id| id.uuid()).collect(),
        vendors: side.vendors.clone(),
        labels: refer(&side.labels),
    };
    PolicyFile {
        format: FORMAT.to_owned(),
        labels: doc.labels.iter().map(file::FileLabel::of).collect(),
        rules: doc
            .rules
            .iter()
            .map(|rule| file::FileRule {
                id: Some(rule.id.uuid()),
                name: rule.name.clone(),
                comment: rule.comment.clone(),
                enabled: rule.enabled,
                dry_run: rule.dry_run,
                action: rule.action,
                matching: conditions(&rule.matching),
                not_matching: conditions(&rule.not_matching),
                apply: refer(&rule.apply),
            })
            .collect(),
        sections: doc
            .sections
            .iter()
            .map(|section| file::FileSection {
                name: section.name.clone(),
                before: doc.rules.get(section.at).map(|rule| rules.write(rule.id.uuid())),
            })
            .collect(),
    }
}

fn from_file(file: PolicyFile, current: &PolicyDoc) -> Result<PolicyDoc, Vec<FileError>> {
    let mut errors = Vec::new();
    if file.format != FORMAT {
        return Err(vec![FileError::at("format", format!("This version reads “{FORMAT}” alone."))]);
    }
    let PolicyFile { format: _, labels, rules, sections } = file;
    let known = Names::of(current.labels.iter().map(|label| (label.id.uuid(), label.name.as_str())));
    let label_ids = names::identify(
        "label",
        labels.iter().map(|label| (label.id, label.name.as_str())),
        &known,
        &mut errors,
    );
    let known = Names::of(current.rules.iter().map(|rule| (rule.id.uuid(), rule.name.as_str())));
    let rule_ids =
        names::identify("rule", rules.iter().map(|rule| (rule.id, rule.name.as_str())), &known, &mut errors);
    let label_names =
        Names::of(label_ids.iter().copied().zip(labels.iter().map(|label| label.name.as_str())));
    let rule_names = Names::of(rule_ids.iter().copied().zip(rules.iter().map(|rule| rule.name.as_str())));

    let mut refer = |path: String, names: &[String]| -> Vec<crate::LabelId> {
        let resolved = names.iter().enumerate().filter_map(|(at, name)| {
            let found = label_names.read("label", name);
            found.map_err(|message| errors.push(FileError::at(format!("{path}[{at}]"), message))).ok()
        });
        resolved.map(crate::LabelId).collect()
    };
    let mut out = PolicyDoc::default();
    for (at, rule) in rules.iter().enumerate() {
        let mut side = |name: &str, side: &file::FileConditions| Conditions {
            auth_types: side.auth_types.clone(),
            port_types: side.port_types.clone(),
            site_ids: side.site_ids.iter().copied().map(crate::SiteId).collect(),
            vendors: side.vendors.clone(),
            labels: refer(format!("rules[{at}].{name}.labels"), &side.labels),
        };
        let (matching, not_matching) =
            (side("matching", &rule.matching), side("not_matching", &rule.not_matching));
        out.rules.push(Rule {
            id: crate::RuleId(rule_ids[at]),
            name: rule.name.clone(),
            comment: rule.comment.clone(),
            enabled: rule.enabled,
            dry_run: rule.dry_run,
            action: rule.action,
            matching,
            not_matching,
            apply: refer(format!("rules[{at}].apply"), &rule.apply),
        });
    }
    for (at, label) in labels.iter().enumerate() {
        match label.kind() {
            Ok(kind) => {
                out.labels.push(Label { id: crate::LabelId(label_ids[at]), name: label.name.clone(), kind });
            }
            Err((field, message)) => errors.push(FileError::at(format!("labels[{at}].{field}"), message)),
        }
    }
    for (at, section) in sections.iter().enumerate() {
        let place = match &section.before {
            None => Ok(out.rules.len()),
            Some(rule) => rule_names
                .read("rule", rule)
                .map(|id| out.rules.iter().position(|rule| rule.id.uuid() == id).unwrap_or(out.rules.len())),
        };
        match place {
            Ok(place) => out.sections.push(Section { name: section.name.clone(), at: place }),
            Err(message) => errors.push(FileError::at(format!("sections[{at}].before"), message)),
        }
    }
    if errors.is_empty() { Ok(out) } else { Err(errors) }
}

/// The JSON Schema of the file.
#[must_use]
pub fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(PolicyFile).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".to_owned(), "Gatehouse auth policy".into());
    }
    schema
}

impl file::FileLabel {
    fn of(label: &Label) -> Self {
        let mut out = Self::empty(label.id.uuid(), &label.name);
        match label.kind.clone() {
            LabelKind::Match { key, values, match_all } => {
                (out.kind, out.key, out.values) = (file::FileType::Match, Some(key), Some(values));
                out.match_all = match_all;
            }
            LabelKind::Vlan { vlan } => (out.kind, out.vlan) = (file::FileType::Vlan, Some(vlan)),
            LabelKind::RadiusGroup { radius_group } => {
                (out.kind, out.radius_group) = (file::FileType::RadiusGroup, Some(radius_group));
            }
            LabelKind::SessionTimeout { session_timeout } => {
                (out.kind, out.session_timeout) = (file::FileType::SessionTimeout, Some(session_timeout));
            }
            LabelKind::EgressVlanNames { egress_vlan_names } => {
                (out.kind, out.egress_vlan_names) =
                    (file::FileType::EgressVlanNames, Some(egress_vlan_names));
            }
            LabelKind::GbpTag { gbp_tag } => {
                (out.kind, out.gbp_tag) = (file::FileType::GbpTag, Some(gbp_tag));
            }
            LabelKind::UsernameAttr { username_attr } => {
                (out.kind, out.username_attr) = (file::FileType::UsernameAttr, Some(username_attr));
            }
            LabelKind::RadiusAttrs { radius_attrs } => {
                (out.kind, out.radius_attrs) = (file::FileType::RadiusAttrs, Some(radius_attrs));
            }
            LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => {
                (out.kind, out.radius_vendor_attrs) =
                    (file::FileType::RadiusVendorAttrs, Some(radius_vendor_attrs));
            }
            LabelKind::RedirectUrl { redirect_url } => {
                (out.kind, out.redirect_url) = (file::FileType::RedirectUrl, Some(redirect_url));
            }
        }
        out
    }
}

#[cfg(test)]
mod tests;
