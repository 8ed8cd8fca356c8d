//! The form of a rule, and the rule that it makes.

use domain::policy::draft::FieldError;
use domain::policy::{Action, AuthMatch, Conditions, LabelKind, PolicyDoc, Rule};
use domain::request::PortType;
use domain::{LabelId, RuleId, SiteId};
use serde::Deserialize;
use store::edges::SiteRow;

use crate::labels;

/// The form, as it was sent. `m_…` stands for matching, `n_…` for not matching.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RuleForm {
    pub revision: i64,
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub action: String,
    #[serde(default)]
    pub enabled: Option<String>,
    #[serde(default)]
    pub m_auth: Vec<String>,
    #[serde(default)]
    pub m_port: Vec<String>,
    #[serde(default)]
    pub m_site: Vec<String>,
    #[serde(default)]
    pub m_vendor: String,
    #[serde(default)]
    pub m_label: Vec<String>,
    #[serde(default)]
    pub n_auth: Vec<String>,
    #[serde(default)]
    pub n_port: Vec<String>,
    #[serde(default)]
    pub n_site: Vec<String>,
    #[serde(default)]
    pub n_vendor: String,
    #[serde(default)]
    pub n_label: Vec<String>,
    #[serde(default)]
    pub apply_vlan: String,
    #[serde(default)]
    pub apply_radius_group: String,
    #[serde(default)]
    pub apply_session_timeout: String,
}

impl RuleForm {
    /// The form of a new rule.
    pub(super) fn empty(revision: i64) -> Self {
        Self { revision, action: "allow".to_owned(), enabled: Some("on".to_owned()), ..Self::default() }
    }

    /// The form that would make this rule.
    pub(super) fn of(rule: &Rule, doc: &PolicyDoc, revision: i64) -> Self {
        fn texts<T: ToString>(values: &[T]) -> Vec<String> {
            values.iter().map(ToString::to_string).collect()
        }
        let mut form = Self {
            revision,
            name: rule.name.clone(),
            action: rule.action.to_string(),
            enabled: rule.enabled.then(|| "on".to_owned()),
            m_auth: texts(&rule.matching.auth_types),
            m_port: texts(&rule.matching.port_types),
            m_site: texts(&rule.matching.site_ids),
            m_vendor: rule.matching.vendors.join(", "),
            m_label: texts(&rule.matching.labels),
            n_auth: texts(&rule.not_matching.auth_types),
            n_port: texts(&rule.not_matching.port_types),
            n_site: texts(&rule.not_matching.site_ids),
            n_vendor: rule.not_matching.vendors.join(", "),
            n_label: texts(&rule.not_matching.labels),
            ..Self::default()
        };
        for id in &rule.apply {
            match doc.label(*id).map(|label| &label.kind) {
                Some(LabelKind::Vlan { .. }) => form.apply_vlan = id.to_string(),
                Some(LabelKind::RadiusGroup { .. }) => form.apply_radius_group = id.to_string(),
                Some(LabelKind::SessionTimeout { .. }) => form.apply_session_timeout = id.to_string(),
                Some(LabelKind::Match { .. }) | None => {}
            }
        }
        form
    }

    /// The rule that was typed, or what cannot be read of it. Everything else is checked by the policy.
    pub(super) fn rule(&self, id: RuleId) -> Result<Rule, Vec<FieldError>> {
        let mut errors = Vec::new();
        let action = self.action.parse::<Action>();
        if action.is_err() {
            errors.push(FieldError::new("action", "unknown", "Choose whether the rule allows or blocks."));
        }
        let matching = side(
            "matching",
            &self.m_auth,
            &self.m_port,
            &self.m_site,
            &self.m_vendor,
            &self.m_label,
            &mut errors,
        );
        let not_matching = side(
            "not_matching",
            &self.n_auth,
            &self.n_port,
            &self.n_site,
            &self.n_vendor,
            &self.n_label,
            &mut errors,
        );
        let mut apply = Vec::new();
        for text in [&self.apply_vlan, &self.apply_radius_group, &self.apply_session_timeout] {
            read(std::slice::from_ref(text), "apply", &mut apply, &mut errors);
        }
        match action {
            Ok(action) if errors.is_empty() => Ok(Rule {
                id,
                name: self.name.trim().to_owned(),
                enabled: self.enabled.is_some(),
                action,
                matching,
                not_matching,
                // Results mean nothing where a rule blocks; they are kept nowhere, so that none can surprise later.
                apply: if action == Action::Allow { apply } else { Vec::new() },
            }),
            _ => Err(errors),
        }
    }
}

fn side(
    field: &'static str,
    auth: &[String],
    ports: &[String],
    sites: &[String],
    vendors: &str,
    labels: &[String],
    errors: &mut Vec<FieldError>,
) -> Conditions {
    let mut out = Conditions::default();
    read::<AuthMatch>(auth, field, &mut out.auth_types, errors);
    read::<PortType>(ports, field, &mut out.port_types, errors);
    read::<SiteId>(sites, field, &mut out.site_ids, errors);
    read::<LabelId>(labels, field, &mut out.labels, errors);
    out.vendors =
        vendors.split([',', '\n']).map(str::trim).filter(|v| !v.is_empty()).map(str::to_owned).collect();
    out
}

fn read<T: std::str::FromStr + PartialEq>(
    texts: &[String],
    field: &'static str,
    into: &mut Vec<T>,
    errors: &mut Vec<FieldError>,
) {
    for text in texts.iter().filter(|text| !text.is_empty()) {
        match text.parse() {
            Ok(value) if into.contains(&value) => {}
            Ok(value) => into.push(value),
            Err(_) => {
                let message = format!("“{text}” is not one of the choices: choose again.");
                errors.push(FieldError::new(field, "unknown", message));
            }
        }
    }
}

/// One box to check, or one option.
pub(super) struct Choice {
    pub value: String,
    pub text: String,
    pub help: String,
    pub icon: &'static str,
    pub checked: bool,
}

/// What can be chosen on one side of the rule.
pub(super) struct SideChoices {
    /// `m` or `n`.
    pub prefix: &'static str,
    pub field: &'static str,
    pub auth: Vec<Choice>,
    pub ports: Vec<Choice>,
    pub sites: Vec<Choice>,
    pub vendor: String,
    pub labels: Vec<Choice>,
    /// Something besides labels is chosen: then the rest is shown opened.
    pub more_open: bool,
}

/// One result type with its labels.
pub(super) struct ResultChoices {
    pub field: &'static str,
    pub name: &'static str,
    pub icon: &'static str,
    pub kind: &'static str,
    pub options: Vec<Choice>,
}

/// What can be chosen under `Matching` (`negated` false) or `Not matching`.
pub(super) fn side_choices(
    form: &RuleForm,
    negated: bool,
    doc: &PolicyDoc,
    sites: &[SiteRow],
) -> SideChoices {
    let (prefix, field, auth, ports, chosen_sites, vendor, chosen_labels) = if negated {
        ("n", "not_matching", &form.n_auth, &form.n_port, &form.n_site, &form.n_vendor, &form.n_label)
    } else {
        ("m", "matching", &form.m_auth, &form.m_port, &form.m_site, &form.m_vendor, &form.m_label)
    };
    let word = |value: String, help: &str, chosen: &[String]| Choice {
        checked: chosen.contains(&value),
        text: value.clone(),
        help: help.to_owned(),
        icon: "",
        value,
    };
    let mut match_labels: Vec<_> = doc.labels.iter().filter(|label| label.kind.is_match()).collect();
    match_labels.sort_by_key(|label| (labels::kind_word(&label.kind), label.name.to_lowercase()));
    SideChoices {
        prefix,
        field,
        auth: AuthMatch::ALL
            .iter()
            .map(|method| {
                let help = match method {
                    AuthMatch::Cert => "any with a certificate",
                    AuthMatch::Idp => "any with a password",
                    AuthMatch::Exactly(_) => "",
                };
                word(method.to_string(), help, auth)
            })
            .collect(),
        ports: PortType::ALL.iter().map(|port| word(port.to_string(), "", ports)).collect(),
        sites: sites
            .iter()
            .map(|site| Choice { text: site.name.clone(), ..word(site.id.to_string(), "", chosen_sites) })
            .collect(),
        vendor: vendor.clone(),
        labels: match_labels
            .into_iter()
            .map(|label| Choice {
                text: label.name.clone(),
                help: format!("{}: {}", labels::kind_word(&label.kind), labels::describe(label)),
                icon: labels::icon(&label.kind),
                ..word(label.id.to_string(), "", chosen_labels)
            })
            .collect(),
        more_open: !(auth.is_empty() && ports.is_empty() && chosen_sites.is_empty() && vendor.is_empty()),
    }
}

/// What can be chosen under `Apply`.
pub(super) fn result_choices(form: &RuleForm, doc: &PolicyDoc) -> Vec<ResultChoices> {
    let kinds = [
        ("apply_vlan", "VLAN", "vlan", &form.apply_vlan),
        ("apply_radius_group", "Role", "radius_group", &form.apply_radius_group),
        ("apply_session_timeout", "Session timeout", "session_timeout", &form.apply_session_timeout),
    ];
    let choices = kinds.map(|(field, name, kind, chosen)| {
        let of_kind = doc.labels.iter().filter(|label| labels::kind_word(&label.kind) == kind);
        let option = |label: &domain::policy::Label| Choice {
            value: label.id.to_string(),
            text: format!("{} ({})", label.name, labels::describe(label)),
            help: String::new(),
            icon: "",
            checked: label.id.to_string() == *chosen,
        };
        let icon = labels::kind(kind).map_or("tag", |kind| kind.icon);
        ResultChoices { field, name, icon, kind, options: of_kind.map(option).collect() }
    });
    choices.into()
}
