//! Labels: named matches and named results.

mod delete;
mod edit;
mod form;
mod list;

use std::sync::LazyLock;

use axum::Router;
use axum::routing::get;
use domain::decision::Redirect;
use domain::policy::keys::{Group, KEYS, KeySpec};
use domain::policy::{Label, LabelKind, MatchLabelKey};

use crate::app::App;

pub(crate) fn routes() -> Router<App> {
    Router::new()
        .route("/labels", get(list::get).post(edit::create))
        .route("/labels/new", get(edit::new))
        .route("/labels/{label_id}", get(edit::get).post(edit::update))
        .route("/labels/{label_id}/delete", get(delete::get).post(delete::post))
}

/// A kind of label, as people choose it.
#[derive(Debug)]
pub(crate) struct Kind {
    /// Names it in addresses and forms: the result type, or the match key, behind `match_` where a result has its
    /// name.
    pub word: String,
    pub name: &'static str,
    /// The heading it stands under.
    pub group: &'static str,
    pub icon: &'static str,
    pub help: &'static str,
    pub is_match: bool,
    /// Of match labels.
    pub key: Option<&'static KeySpec>,
}

/// Every kind: matches first, in the order of their groups.
static KINDS: LazyLock<Vec<Kind>> = LazyLock::new(|| {
    let groups = [
        Group::Compliance,
        Group::Client,
        Group::Certificate,
        Group::Identity,
        Group::Network,
        Group::Posture,
    ];
    let of_group = |group| KEYS.iter().filter(move |spec| spec.group == group).map(match_kind);
    groups.into_iter().flat_map(of_group).chain(RESULTS.iter().map(result_kind)).collect()
});

fn match_kind(spec: &'static KeySpec) -> Kind {
    let key = spec.key.as_str();
    Kind {
        word: if LabelKind::TYPES.contains(&key) { format!("match_{key}") } else { key.to_owned() },
        name: spec.title,
        group: spec.group.title(),
        icon: key_icon(spec),
        help: spec.help,
        is_match: true,
        key: Some(spec),
    }
}

fn result_kind((word, name, icon, help): &(&str, &'static str, &'static str, &'static str)) -> Kind {
    let word = (*word).to_owned();
    Kind { word, name, group: "Results", icon, help, is_match: false, key: None }
}

/// Result types: word, name, icon, help.
const RESULTS: [(&str, &str, &str, &str); 9] = [
    ("vlan", "VLAN", "vlan", "Puts the client into a VLAN, by id or by name (Tunnel-Private-Group-Id)."),
    ("radius_group", "Role", "role", "Gives the client a role (Filter-Id)."),
    (
        "session_timeout",
        "Session timeout",
        "clock",
        "Has the client authenticate again after a while (Session-Timeout).",
    ),
    (
        "egress_vlan_names",
        "Egress VLANs",
        "vlan",
        "The VLANs of a trunk port, tagged or untagged (Egress-VLAN-Name).",
    ),
    ("gbp_tag", "GBP tag", "tag", "Marks the client's traffic for a group-based policy."),
    (
        "username_attr",
        "User name",
        "user",
        "Gives a name of the client's certificate back as User-Name, for logs and accounting.",
    ),
    (
        "radius_attrs",
        "RADIUS attributes",
        "settings",
        "Any standard attributes, checked against the dictionary.",
    ),
    (
        "radius_vendor_attrs",
        "Vendor attributes",
        "edge",
        "Any attributes of a vendor, checked against that vendor's dictionary.",
    ),
    (
        "redirect_url",
        "Redirect",
        "link",
        "Leads the client to a page: Gatehouse’s, which says why and what to do, or one of yours.",
    ),
];

fn key_icon(spec: &KeySpec) -> &'static str {
    match (spec.key, spec.group) {
        (MatchLabelKey::AuthType, _) | (_, Group::Certificate) => "key",
        (MatchLabelKey::MatchStrength, _) => "strength",
        (MatchLabelKey::ClientMac | MatchLabelKey::RandomMac, _) => "port",
        (MatchLabelKey::IngressVlan, _) => "vlan",
        (MatchLabelKey::NasIp | MatchLabelKey::GbpTag, _) => "edge",
        (_, Group::Compliance) => "shield-check",
        (_, Group::Client) => "clients",
        (_, Group::Identity) => "user",
        (_, Group::Network) => "wifi",
        (_, Group::Posture) => "shield",
    }
}

/// Every kind under its heading.
pub(crate) fn groups() -> &'static [(&'static str, &'static [Kind])] {
    static GROUPS: LazyLock<Vec<(&'static str, &'static [Kind])>> = LazyLock::new(|| {
        KINDS.chunk_by(|a, b| a.group == b.group).map(|kinds| (kinds[0].group, kinds)).collect()
    });
    &GROUPS
}

/// The kinds of results.
pub(crate) fn results() -> impl Iterator<Item = &'static Kind> {
    KINDS.iter().filter(|kind| !kind.is_match)
}

/// The kind with this word.
pub(crate) fn kind(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word == word)
}

/// The kind of a label.
pub(crate) fn kind_of(label: &LabelKind) -> &'static Kind {
    let found = match label {
        LabelKind::Match { key, .. } => {
            KINDS.iter().find(|kind| kind.key.is_some_and(|spec| spec.key == *key))
        }
        result => KINDS.iter().find(|kind| !kind.is_match && kind.word == result.type_name()),
    };
    // The table has every key and every type, which a test sees to.
    found.unwrap_or(&KINDS[0])
}

/// The icon of a label.
pub(crate) fn icon(label: &LabelKind) -> &'static str {
    kind_of(label).icon
}

/// What a label matches or gives, in a few words.
pub(crate) fn describe(label: &Label) -> String {
    match &label.kind {
        LabelKind::Match { values, match_all, .. } => {
            let shown = values.iter().take(12).map(String::as_str).collect::<Vec<_>>();
            let text = shown.join(if *match_all { " and " } else { " or " });
            match values.len().saturating_sub(shown.len()) {
                0 => text,
                more => format!("{text} … and {more} more"),
            }
        }
        LabelKind::Vlan { vlan } => vlan.clone(),
        LabelKind::RadiusGroup { radius_group } => radius_group.clone(),
        LabelKind::SessionTimeout { session_timeout } => {
            crate::format::exact_span(i64::from(*session_timeout))
        }
        LabelKind::EgressVlanNames { egress_vlan_names } => egress_vlan_names.join(", "),
        LabelKind::GbpTag { gbp_tag } => gbp_tag.to_string(),
        LabelKind::UsernameAttr { username_attr } => username_attr.to_string(),
        LabelKind::RadiusAttrs { radius_attrs } => radius_attrs.join(", "),
        LabelKind::RadiusVendorAttrs { radius_vendor_attrs } => radius_vendor_attrs.join(", "),
        LabelKind::RedirectUrl { redirect_url } => Redirect::describe(redirect_url).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_label_has_a_word_of_its_own() {
        assert_eq!(KINDS.len(), KEYS.len() + LabelKind::TYPES.len() - 1);
        for word in LabelKind::TYPES.iter().filter(|word| **word != "match") {
            assert!(kind(word).is_some_and(|kind| !kind.is_match), "{word}");
        }
        for spec in &KEYS {
            let label = LabelKind::Match { key: spec.key, values: Vec::new(), match_all: false };
            let found = kind_of(&label);
            assert!(std::ptr::eq(found, kind(&found.word).unwrap()), "{}", found.word);
            assert_eq!(found.key.unwrap().key, spec.key);
        }
        assert_eq!(groups().len(), 7);
    }
}
