//! The form of the file. Fields that say nothing are left out.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::policy::model::{Action, AuthMatch, LabelKind, MatchLabelKey, UsernameAttr};
use crate::request::PortType;

/// The format that this version writes and reads.
pub const FORMAT: &str = "gatehouse-policy/1";

/// An auth policy: labels, and ordered rules that use them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// `gatehouse-policy/1`.
    pub format: String,
    #[serde(default)]
    pub labels: Vec<FileLabel>,
    /// In order of evaluation: the first that matches decides.
    #[serde(default)]
    pub rules: Vec<FileRule>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sections: Vec<FileSection>,
}

/// What a label does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileType {
    Match,
    Vlan,
    RadiusGroup,
    SessionTimeout,
    EgressVlanNames,
    GbpTag,
    UsernameAttr,
    RadiusAttrs,
    RadiusVendorAttrs,
    RedirectUrl,
}

/// A named match or a named result. Beside `name` and `type` stands the field named like the type; a match has `match`
/// and `values` instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileLabel {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Unique among the labels, without regard to case.
    pub name: String,
    #[serde(rename = "type")]
    pub kind: FileType,
    /// What a match looks at.
    #[serde(default, rename = "match", skip_serializing_if = "Option::is_none")]
    pub key: Option<MatchLabelKey>,
    /// OR-ed, or AND-ed with `match_all`. A leading `!` negates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub values: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub match_all: bool,
    /// An id from 1 to 4094, or a name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vlan: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_group: Option<String>,
    /// Seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_timeout: Option<u32>,
    /// `1name` tagged, `2name` untagged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_vlan_names: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbp_tag: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_attr: Option<UsernameAttr>,
    /// Each as `Name=Value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_attrs: Option<Vec<String>>,
    /// Each as `Name=Value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub radius_vendor_attrs: Option<Vec<String>>,
    /// An address, or `gatehouse` for Gatehouse's remediation page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_url: Option<String>,
}

/// One side of a rule. Everything named must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FileConditions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub auth_types: Vec<AuthMatch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub port_types: Vec<PortType>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub site_ids: Vec<Uuid>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub vendors: Vec<String>,
    /// Match labels, by name or id.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
}

impl FileConditions {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// One ordered rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileRule {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// Unique among the rules, without regard to case.
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub comment: String,
    #[serde(default = "yes", skip_serializing_if = "is_yes")]
    pub enabled: bool,
    /// Evaluated and recorded, never enforced.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    pub action: Action,
    /// All of it must hold. Empty matches every client.
    #[serde(default, skip_serializing_if = "FileConditions::is_empty")]
    pub matching: FileConditions,
    /// None of it may hold.
    #[serde(default, skip_serializing_if = "FileConditions::is_empty")]
    pub not_matching: FileConditions,
    /// Result labels, by name or id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub apply: Vec<String>,
}

/// A named separator in the list of rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileSection {
    /// Unique among the sections, without regard to case.
    pub name: String,
    /// The rule that it stands before, by name or id; left out at the end of the list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
}

const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_yes(enabled: &bool) -> bool {
    *enabled
}

impl FileLabel {
    /// One with nothing but its name.
    pub(super) fn empty(id: Uuid, name: &str) -> Self {
        Self {
            id: Some(id),
            name: name.to_owned(),
            kind: FileType::Match,
            key: None,
            values: None,
            match_all: false,
            vlan: None,
            radius_group: None,
            session_timeout: None,
            egress_vlan_names: None,
            gbp_tag: None,
            username_attr: None,
            radius_attrs: None,
            radius_vendor_attrs: None,
            redirect_url: None,
        }
    }

    /// What the label is; or the field that is missing or in the wrong place, and what to do.
    pub(super) fn kind(&self) -> Result<LabelKind, (&'static str, String)> {
        let given = [
            ("match", self.key.is_some()),
            ("values", self.values.is_some()),
            ("match_all", self.match_all),
            ("vlan", self.vlan.is_some()),
            ("radius_group", self.radius_group.is_some()),
            ("session_timeout", self.session_timeout.is_some()),
            ("egress_vlan_names", self.egress_vlan_names.is_some()),
            ("gbp_tag", self.gbp_tag.is_some()),
            ("username_attr", self.username_attr.is_some()),
            ("radius_attrs", self.radius_attrs.is_some()),
            ("radius_vendor_attrs", self.radius_vendor_attrs.is_some()),
            ("redirect_url", self.redirect_url.is_some()),
        ];
        let kind = match self.kind {
            FileType::Match => LabelKind::Match {
                key: need("match", self.key.as_ref())?,
                values: need("values", self.values.as_ref())?,
                match_all: self.match_all,
            },
            FileType::Vlan => LabelKind::Vlan { vlan: need("vlan", self.vlan.as_ref())? },
            FileType::RadiusGroup => {
                LabelKind::RadiusGroup { radius_group: need("radius_group", self.radius_group.as_ref())? }
            }
            FileType::SessionTimeout => LabelKind::SessionTimeout {
                session_timeout: need("session_timeout", self.session_timeout.as_ref())?,
            },
            FileType::EgressVlanNames => LabelKind::EgressVlanNames {
                egress_vlan_names: need("egress_vlan_names", self.egress_vlan_names.as_ref())?,
            },
            FileType::GbpTag => LabelKind::GbpTag { gbp_tag: need("gbp_tag", self.gbp_tag.as_ref())? },
            FileType::UsernameAttr => {
                LabelKind::UsernameAttr { username_attr: need("username_attr", self.username_attr.as_ref())? }
            }
            FileType::RadiusAttrs => {
                LabelKind::RadiusAttrs { radius_attrs: need("radius_attrs", self.radius_attrs.as_ref())? }
            }
            FileType::RadiusVendorAttrs => LabelKind::RadiusVendorAttrs {
                radius_vendor_attrs: need("radius_vendor_attrs", self.radius_vendor_attrs.as_ref())?,
            },
            FileType::RedirectUrl => {
                LabelKind::RedirectUrl { redirect_url: need("redirect_url", self.redirect_url.as_ref())? }
            }
        };
        let own = |field: &str| match kind {
            LabelKind::Match { .. } => ["match", "values", "match_all"].contains(&field),
            _ => field == kind.type_name(),
        };
        match given.into_iter().find(|(field, given)| *given && !own(field)) {
            Some((field, _)) => {
                Err((field, format!("A label of type {} has no such field: take it out.", kind.type_name())))
            }
            None => Ok(kind),
        }
    }
}

fn need<T: Clone>(field: &'static str, value: Option<&T>) -> Result<T, (&'static str, String)> {
    value.cloned().ok_or_else(|| (field, "A label of this type needs this field.".to_owned()))
}
