//! The form of a label, and the label that it makes.

use domain::LabelId;
use domain::compliance::Literal;
use domain::decision::Redirect;
use domain::policy::draft::FieldError;
use domain::policy::keys::KeySpec;
use domain::policy::{AuthMatch, Label, LabelKind, UsernameAttr};
use domain::resolver::MatchStrength;
use serde::Deserialize;

use crate::form::lines;

use super::{Kind, kind, kind_of};

/// The form, as it was sent.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct LabelForm {
    pub revision: i64,
    pub kind: String,
    #[serde(default)]
    pub name: String,
    /// The values that were checked.
    #[serde(default)]
    pub values: Vec<String>,
    /// `any`: one of the values; `none`: none of them.
    #[serde(default)]
    pub sense: String,
    /// Values, one per line.
    #[serde(default)]
    pub text: String,
    /// All lines must hold, instead of any.
    #[serde(default)]
    pub match_all: Option<String>,
    #[serde(default)]
    vlan: String,
    #[serde(default)]
    radius_group: String,
    #[serde(default)]
    session_timeout: String,
    #[serde(default)]
    egress_vlan_names: String,
    #[serde(default)]
    gbp_tag: String,
    #[serde(default)]
    username_attr: String,
    #[serde(default)]
    radius_attrs: String,
    #[serde(default)]
    radius_vendor_attrs: String,
    #[serde(default)]
    redirect_url: String,
    /// `gatehouse`: Gatehouse's own page, whatever is typed as an address.
    #[serde(default)]
    redirect_to: String,
    /// One more attribute: its name, chosen from the dictionary, and its value.
    #[serde(default)]
    pub attribute: String,
    #[serde(default)]
    pub attribute_value: String,
}

/// How a result is typed.
pub(super) enum Control {
    Line {
        numeric: bool,
    },
    Lines,
    Words(Vec<Choice>),
    /// Gatehouse's own page, or the address of another.
    Page {
        is_ours: bool,
    },
}

/// One word that can be checked.
pub(super) struct Choice {
    pub word: String,
    pub help: &'static str,
    pub checked: bool,
}

/// The field of a result.
pub(super) struct ResultField {
    pub word: &'static str,
    pub label: &'static str,
    pub help: &'static str,
    pub value: String,
    pub control: Control,
    /// Whether names of attributes can be completed.
    pub attributes: bool,
}

impl LabelForm {
    pub(super) fn empty(kind: &Kind, revision: i64) -> Self {
        Self {
            revision,
            kind: kind.word.clone(),
            sense: "any".to_owned(),
            username_attr: UsernameAttr::Automatic.to_string(),
            redirect_to: Redirect::REMEDIATION.to_owned(),
            ..Self::default()
        }
    }

    /// The form that would make this label.
    pub(super) fn of(label: &Label, revision: i64) -> Self {
        let mut form = Self::empty(kind_of(&label.kind), revision);
        form.name.clone_from(&label.name);
        match &label.kind {
            LabelKind::Match { values, match_all, .. } => {
                form.text = values.join("\n");
                form.match_all = match_all.then(|| "on".to_owned());
                let negated: Vec<_> =
                    values.iter().filter_map(|v| v.strip_prefix('!')).map(|v| v.trim().to_owned()).collect();
                if !values.is_empty() && negated.len() == values.len() && (*match_all || values.len() == 1) {
                    form.sense = "none".to_owned();
                    form.values = negated;
                } else if *match_all && values.len() > 1 {
                    // Shown as text: boxes cannot say that all of several must hold.
                    form.values = vec![String::new()];
                } else {
                    form.values.clone_from(values);
                }
            }
            LabelKind::Vlan { vlan } => form.vlan.clone_from(vlan),
            LabelKind::RadiusGroup { radius_group } => form.radius_group.clone_from(radius_group),
            LabelKind::SessionTimeout { session_timeout } => {
                form.session_timeout = session_timeout.to_string();
            }
            LabelKind::EgressVlanNames { egress_vlan_names } => {
                form.egress_vlan_names = egress_vlan_names.join("\n");
            }
            LabelKind::GbpTag { gbp_tag } => form.gbp_tag = gbp_tag.to_string(),
            LabelKind::UsernameAttr { username_attr } => form.username_attr = username_attr.to_string(),
            LabelKind::RadiusAttrs { radius_attrs } => form.radius_attrs = radius_attrs.join("\n"),
            LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => {
                form.radius_vendor_attrs = radius_vendor_attrs.join("\n");
            }
            LabelKind::RedirectUrl { redirect_url } if redirect_url == Redirect::REMEDIATION => {}
            LabelKind::RedirectUrl { redirect_url } => {
                form.redirect_url.clone_from(redirect_url);
                form.redirect_to = String::new();
            }
        }
        form
    }

    /// The boxes of a key whose values are words of a list; empty where values are text, or where a label that was
    /// written elsewhere says what boxes cannot.
    pub(super) fn choices(&self, spec: &KeySpec) -> Vec<Choice> {
        let words = spec.choices();
        let fits = self.values.iter().all(|value| words.iter().any(|word| word.eq_ignore_ascii_case(value)));
        if !fits {
            return Vec::new();
        }
        let choice = |word: &'static str| Choice {
            word: word.to_owned(),
            help: word_help(word),
            checked: self.values.iter().any(|value| value.eq_ignore_ascii_case(word)),
        };
        words.into_iter().map(choice).collect()
    }

    /// The field of a result kind; `None` for match labels.
    pub(super) fn result(&self, kind: &Kind) -> Option<ResultField> {
        if kind.is_match {
            return None;
        }
        let line = |word, label, help, value: &str, numeric| ResultField {
            word,
            label,
            help,
            value: value.to_owned(),
            control: Control::Line { numeric },
            attributes: false,
        };
        let several = |word, label, help, value: &str, attributes| ResultField {
            word,
            label,
            help,
            value: value.to_owned(),
            control: Control::Lines,
            attributes,
        };
        Some(match kind.word.as_str() {
            "vlan" => line(
                "vlan",
                "VLAN",
                "An id from 1 to 4094, or a name that the switches and access points know.",
                &self.vlan,
                false,
            ),
            "radius_group" => line(
                "radius_group",
                "Role",
                "Sent as Filter-Id: the name of a role or filter on the network device.",
                &self.radius_group,
                false,
            ),
            "session_timeout" => line(
                "session_timeout",
                "Seconds until the client authenticates again",
                "From 60 (a minute) to 2592000 (30 days); 28800 is a working day.",
                &self.session_timeout,
                true,
            ),
            "egress_vlan_names" => several(
                "egress_vlan_names",
                "VLANs of the port, one per line",
                "A VLAN's name behind 1 where it is tagged, behind 2 where it is untagged: 1voice, 2data.",
                &self.egress_vlan_names,
                false,
            ),
            "gbp_tag" => line("gbp_tag", "Tag", "A whole number from 1 to 65535.", &self.gbp_tag, true),
            "username_attr" => ResultField {
                word: "username_attr",
                label: "Name to give back",
                help: "Of the client's certificate. Clients without one keep the name that they came with.",
                value: self.username_attr.clone(),
                control: Control::Words(
                    UsernameAttr::ALL
                        .iter()
                        .map(|word| Choice {
                            word: word.to_string(),
                            help: username_help(*word),
                            checked: word.as_str() == self.username_attr,
                        })
                        .collect(),
                ),
                attributes: false,
            },
            "radius_attrs" => several(
                "radius_attrs",
                "Attributes, one per line",
                "Name=Value, for example Idle-Timeout=600 or Tunnel-Preference:1=3. Names and values are checked \
                 against the RFCs' dictionaries.",
                &self.radius_attrs,
                true,
            ),
            "radius_vendor_attrs" => several(
                "radius_vendor_attrs",
                "Attributes, one per line",
                "Name=Value, for example Aruba-User-Role=guest or Cisco-AVPair=device-traffic-class=voice. Names \
                 and values are checked against the vendors' dictionaries.",
                &self.radius_vendor_attrs,
                true,
            ),
            _ => ResultField {
                word: "redirect_url",
                label: "Where the client is led",
                help: "Apply it in a rule that allows, beside a quarantine VLAN, role or access list through which the \
                       page and Microsoft’s portal can be reached: a denial (Access-Reject) leads nobody anywhere.",
                value: self.redirect_url.clone(),
                control: Control::Page { is_ours: self.redirect_to == Redirect::REMEDIATION },
                attributes: false,
            },
        })
    }

    /// The label that was typed, or what cannot be read of it. Everything else is checked by the policy.
    pub(super) fn label(&self, id: LabelId) -> Result<Label, Vec<FieldError>> {
        let kind = kind(&self.kind).ok_or_else(|| {
            vec![FieldError::new("kind", "unknown", "Choose what the label matches or gives.")]
        })?;
        let one = |text: &str| text.trim().to_owned();
        let kind = if let Some(spec) = kind.key {
            let (values, match_all) = if spec.choices().is_empty() || !self.text.trim().is_empty() {
                (lines(&self.text), self.match_all.is_some())
            } else if self.sense == "none" {
                (self.values.iter().map(|v| format!("!{v}")).collect(), self.values.len() > 1)
            } else {
                (self.values.clone(), false)
            };
            LabelKind::Match { key: spec.key, values, match_all }
        } else {
            match kind.word.as_str() {
                "vlan" => LabelKind::Vlan { vlan: one(&self.vlan) },
                "radius_group" => LabelKind::RadiusGroup { radius_group: one(&self.radius_group) },
                "session_timeout" => LabelKind::SessionTimeout {
                    session_timeout: number(
                        "session_timeout",
                        &self.session_timeout,
                        "Give a number of seconds from 60 (a minute) to 2592000 (30 days).",
                    )?,
                },
                "egress_vlan_names" => {
                    LabelKind::EgressVlanNames { egress_vlan_names: lines(&self.egress_vlan_names) }
                }
                "gbp_tag" => LabelKind::GbpTag {
                    gbp_tag: number("gbp_tag", &self.gbp_tag, "Give a tag from 1 to 65535.")?,
                },
                "username_attr" => LabelKind::UsernameAttr {
                    username_attr: self.username_attr.parse().map_err(|_| {
                        let message =
                            format!("“{}” is not one of the names: choose one.", self.username_attr);
                        vec![FieldError::new("username_attr", "unknown", message)]
                    })?,
                },
                "radius_attrs" => {
                    LabelKind::RadiusAttrs { radius_attrs: self.with_one_more(&self.radius_attrs) }
                }
                "radius_vendor_attrs" => LabelKind::RadiusVendorAttrs {
                    radius_vendor_attrs: self.with_one_more(&self.radius_vendor_attrs),
                },
                _ if self.redirect_to == Redirect::REMEDIATION => {
                    LabelKind::RedirectUrl { redirect_url: Redirect::REMEDIATION.to_owned() }
                }
                _ => LabelKind::RedirectUrl { redirect_url: one(&self.redirect_url) },
            }
        };
        Ok(Label { id, name: one(&self.name), kind })
    }

    /// The lines, and the attribute that was typed into the fields beside them.
    fn with_one_more(&self, text: &str) -> Vec<String> {
        let mut out = lines(text);
        let (name, value) = (self.attribute.trim(), self.attribute_value.trim());
        if !(name.is_empty() && value.is_empty()) {
            out.push(format!("{name}={value}"));
        }
        out
    }
}

fn number<T: std::str::FromStr>(
    field: &'static str,
    text: &str,
    message: &'static str,
) -> Result<T, Vec<FieldError>> {
    text.trim().parse().map_err(|_| vec![FieldError::new(field, "not_a_number", message)])
}

/// A hint for words that do not speak for themselves.
fn word_help(word: &str) -> &'static str {
    if let Ok(literal) = word.parse::<Literal>() {
        return literal_help(literal);
    }
    if let Ok(strength) = word.parse::<MatchStrength>() {
        return match strength {
            MatchStrength::Certificate => "Its certificate names the device",
            MatchStrength::Name => "Its certificate bears the device's name",
            MatchStrength::Mac => "Only its MAC address fits: addresses can be forged",
        };
    }
    match word.parse::<AuthMatch>() {
        Ok(AuthMatch::Cert) => "Any method that presented a client certificate",
        Ok(AuthMatch::Idp) => "Any method that presented a password",
        _ => "",
    }
}

const fn literal_help(literal: Literal) -> &'static str {
    match literal {
        Literal::Compliant => "Compliant, or in grace where the organization counts that as compliant",
        Literal::NonCompliant => "Not compliant, or its grace is over",
        Literal::Unknown => "Everything else: exactly one of these first three always holds",
        Literal::InGracePeriod => "Not compliant, but still in grace",
        Literal::NotEvaluated => "Enrolled, and not evaluated yet",
        Literal::Error => "Intune failed to evaluate it",
        Literal::Conflict => "Its compliance policies contradict each other",
        Literal::ConfigManager => "Evaluated by Configuration Manager",
        Literal::Other => "A state that Microsoft added lately",
        Literal::NotEnrolled => "No device of the fleet fits the client",
        Literal::Ambiguous => "Several devices fit the client",
        Literal::Stale => "What is known of it is too old",
        Literal::Unlinked => "No account is linked, or none was ever synced",
    }
}

const fn username_help(word: UsernameAttr) -> &'static str {
    match word {
        UsernameAttr::Automatic => "The first that is there: UPN, e-mail, DNS name, CN",
        UsernameAttr::Cn => "Common name of the subject",
        UsernameAttr::Dns => "DNS name",
        UsernameAttr::Email => "E-mail address",
        UsernameAttr::Upn => "User principal name",
    }
}
