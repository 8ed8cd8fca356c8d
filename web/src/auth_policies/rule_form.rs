//! The form of a rule, and the rule that it makes.

use domain::policy::draft::FieldError;
use domain::policy::{Action, AuthMatch, Conditions, PolicyDoc, Rule};
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
    pub comment: String,
    #[serde(default)]
    pub dry_run: Option<String>,
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
    #[serde(default)]
    pub apply_egress_vlan_names: String,
    #[serde(default)]
    pub apply_gbp_tag: String,
    #[serde(default)]
    pub apply_username_attr: String,
    #[serde(default)]
    pub apply_redirect_url: String,
    /// Labels of RADIUS attributes, of which a rule may hold several.
    #[serde(default)]
    pub apply: Vec<String>,
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
            comment: rule.comment.clone(),
            dry_run: rule.dry_run.then(|| "on".to_owned()),
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
            let Some(label) = doc.label(*id) else { continue };
            match form.single(label.kind.type_name()) {
                Some(field) => *field = id.to_string(),
                None => form.apply.push(id.to_string()),
            }
        }
        form
    }

    /// The field of a result type of which a rule holds one label.
    fn single(&mut self, kind: &str) -> Option<&mut String> {
        match kind {
            "vlan" => Some(&mut self.apply_vlan),
            "radius_group" => Some(&mut self.apply_radius_group),
            "session_timeout" => Some(&mut self.apply_session_timeout),
            "egress_vlan_names" => Some(&mut self.apply_egress_vlan_names),
            "gbp_tag" => Some(&mut self.apply_gbp_tag),
            "username_attr" => Some(&mut self.apply_username_attr),
            "redirect_url" => Some(&mut self.apply_redirect_url),
            _ => None,
        }
    }

    /// Puts what the form lists in an order of its own into the order that the rule had, so that saving a form
    /// that nobody touched changes nothing.
    pub(super) fn keep_order(typed: &mut Rule, before: &Rule) {
        fn like<T: PartialEq>(typed: &mut [T], before: &[T]) {
            typed.sort_by_key(|item| before.iter().position(|old| old == item).unwrap_or(usize::MAX));
        }
        let sides =
            [(&mut typed.matching, &before.matching), (&mut typed.not_matching, &before.not_matching)];
        for (typed, before) in sides {
            like(&mut typed.auth_types, &before.auth_types);
            like(&mut typed.port_types, &before.port_types);
            like(&mut typed.site_ids, &before.site_ids);
            like(&mut typed.labels, &before.labels);
        }
        like(&mut typed.apply, &before.apply);
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
        for text in [
            &self.apply_vlan,
            &self.apply_radius_group,
            &self.apply_session_timeout,
            &self.apply_egress_vlan_names,
            &self.apply_gbp_tag,
            &self.apply_username_attr,
            &self.apply_redirect_url,
        ] {
            read(std::slice::from_ref(text), "apply", &mut apply, &mut errors);
        }
        read(&self.apply, "apply", &mut apply, &mut errors);
        match action {
            Ok(action) if errors.is_empty() => Ok(Rule {
                id,
                name: self.name.trim().to_owned(),
                comment: self.comment.replace("\r\n", "\n").trim().to_owned(),
                enabled: self.enabled.is_some(),
                dry_run: self.dry_run.is_some(),
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
    pub field: String,
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
    match_labels.sort_by_key(|label| (labels::kind_of(&label.kind).name, label.name.to_lowercase()));
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
                help: format!("{}: {}", labels::kind_of(&label.kind).name, labels::describe(label)),
                icon: labels::icon(&label.kind),
                ..word(label.id.to_string(), "", chosen_labels)
            })
            .collect(),
        more_open: !(auth.is_empty() && ports.is_empty() && chosen_sites.is_empty() && vendor.is_empty()),
    }
}

/// What can be chosen under `Apply`.
pub(super) fn result_choices(form: &RuleForm, doc: &PolicyDoc) -> Vec<ResultChoices> {
    let mut form = form.clone();
    let mut choices = Vec::new();
    for kind in labels::results() {
        let Some(chosen) = form.single(&kind.word).cloned() else { continue };
        let of_kind = doc.labels.iter().filter(|label| std::ptr::eq(labels::kind_of(&label.kind), kind));
        let option = |label: &domain::policy::Label| Choice {
            value: label.id.to_string(),
            text: format!("{} ({})", label.name, labels::describe(label)),
            help: String::new(),
            icon: "",
            checked: label.id.to_string() == chosen,
        };
        choices.push(ResultChoices {
            field: format!("apply_{}", kind.word),
            name: kind.name,
            icon: kind.icon,
            kind: &kind.word,
            options: of_kind.map(option).collect(),
        });
    }
    choices
}

/// The labels of RADIUS attributes, of which a rule may hold several.
pub(super) fn attribute_choices(form: &RuleForm, doc: &PolicyDoc) -> Vec<Choice> {
    let several = doc.labels.iter().filter(|l| !l.kind.is_match() && l.kind.single_valued().is_none());
    several
        .map(|label| Choice {
            value: label.id.to_string(),
            text: label.name.clone(),
            help: labels::describe(label),
            icon: labels::icon(&label.kind),
            checked: form.apply.contains(&label.id.to_string()),
        })
        .collect()
}
