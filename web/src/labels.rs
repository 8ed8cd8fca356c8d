//! Labels: named matches and named results.

mod delete;
mod edit;
mod list;

use axum::Router;
use axum::routing::get;
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
pub(crate) struct Kind {
    /// The match key, or the result type.
    pub word: &'static str,
    pub name: &'static str,
    pub icon: &'static str,
    pub help: &'static str,
    pub is_match: bool,
}

/// Every kind, matches first.
pub(crate) const KINDS: &[Kind] = &[
    Kind {
        word: "mdm_status",
        name: "MDM compliance",
        icon: "shield-check",
        help: "What Intune says of the client's device: compliant, non-compliant, unknown, or one of the finer states.",
        is_match: true,
    },
    Kind {
        word: "auth_type",
        name: "Authentication method",
        icon: "key",
        help: "How the client authenticated: EAP-TLS, MAB, any method with a certificate, …",
        is_match: true,
    },
    Kind {
        word: "ssid",
        name: "SSID",
        icon: "wifi",
        help: "The wireless network that the client joins.",
        is_match: true,
    },
    Kind {
        word: "client_mac",
        name: "Client MAC address",
        icon: "port",
        help: "Whole addresses, or how they begin.",
        is_match: true,
    },
    Kind {
        word: "match_strength",
        name: "Match strength",
        icon: "strength",
        help: "How surely the client is the device it claims to be: by certificate, by name, or by MAC address alone.",
        is_match: true,
    },
    Kind {
        word: "vlan",
        name: "VLAN",
        icon: "vlan",
        help: "Puts the client into a VLAN, by id or by name (Tunnel-Private-Group-Id).",
        is_match: false,
    },
    Kind {
        word: "radius_group",
        name: "Role",
        icon: "role",
        help: "Gives the client a role (Filter-Id).",
        is_match: false,
    },
    Kind {
        word: "session_timeout",
        name: "Session timeout",
        icon: "clock",
        help: "Has the client authenticate again after a while (Session-Timeout).",
        is_match: false,
    },
];

/// The kind with this word.
pub(crate) fn kind(word: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.word == word)
}

/// The word of a label's kind.
pub(crate) const fn kind_word(label: &LabelKind) -> &'static str {
    match label {
        LabelKind::Match { key, .. } => match key {
            MatchLabelKey::MdmStatus => "mdm_status",
            MatchLabelKey::AuthType => "auth_type",
            MatchLabelKey::Ssid => "ssid",
            MatchLabelKey::ClientMac => "client_mac",
            MatchLabelKey::MatchStrength => "match_strength",
        },
        other => other.type_name(),
    }
}

/// The icon of a label.
pub(crate) fn icon(label: &LabelKind) -> &'static str {
    kind(kind_word(label)).map_or("tag", |kind| kind.icon)
}

/// What a label matches or gives, in a few words.
pub(crate) fn describe(label: &Label) -> String {
    match &label.kind {
        LabelKind::Match { values, match_all, .. } => values.join(if *match_all { " and " } else { " or " }),
        LabelKind::Vlan { vlan } => vlan.clone(),
        LabelKind::RadiusGroup { radius_group } => radius_group.clone(),
        LabelKind::SessionTimeout { session_timeout } => {
            crate::format::exact_span(i64::from(*session_timeout))
        }
    }
}
