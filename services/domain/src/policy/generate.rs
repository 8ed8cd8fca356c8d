//! Generated policies and traffic, for the property tests of everything that reads a policy.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use time::macros::datetime;
use time::{Duration, OffsetDateTime};
use uuid::Uuid;

use super::decide::Input;
use super::keys::KEYS;
use super::model::{
    Action, AuthMatch, Conditions, Label, LabelKind, MatchLabelKey, PolicyDoc, Rule, Section, UsernameAttr,
};
use super::value::Form;
use crate::compliance::assess;
use crate::device::DeviceFacts;
use crate::request::{AccessRequest, AuthType, Certificate, PortType};
use crate::resolver::{Match, MatchKey, Outcome as Found};
use crate::snapshot::{LinkFacts, OrgSettings};
use crate::{DeviceId, EdgeId, LabelId, LinkId, RuleId, SiteId};

pub const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

pub fn link() -> LinkId {
    LinkId(Uuid::from_u128(1))
}

pub fn site(n: u128) -> SiteId {
    SiteId(Uuid::from_u128(1000 + n))
}

pub fn device(state: &str) -> DeviceFacts {
    DeviceFacts::bare(link(), DeviceId(Uuid::from_u128(2)), state.parse().unwrap(), NOW)
}

pub fn label(n: u128, kind: LabelKind) -> Label {
    Label { id: LabelId(Uuid::from_u128(n)), name: format!("Label {n}"), kind }
}

pub fn matching(n: u128, key: MatchLabelKey, values: &[&str]) -> Label {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    label(n, LabelKind::Match { key, values, match_all: false })
}

pub fn ids(ns: &[u128]) -> Vec<LabelId> {
    ns.iter().map(|n| LabelId(Uuid::from_u128(*n))).collect()
}

pub fn rule(n: u128, action: Action, labels: &[u128], apply: &[u128]) -> Rule {
    Rule {
        id: RuleId(Uuid::from_u128(n)),
        name: format!("Rule {n}"),
        comment: String::new(),
        enabled: true,
        dry_run: false,
        action,
        matching: Conditions { labels: ids(labels), ..Conditions::default() },
        not_matching: Conditions::default(),
        apply: ids(apply),
    }
}

pub fn policy(labels: Vec<Label>, rules: Vec<Rule>) -> PolicyDoc {
    PolicyDoc { labels, rules, sections: Vec::new() }
}

/// One client at an edge, and what is known of it.
#[derive(Clone, Debug)]
pub struct Traffic {
    pub request: AccessRequest,
    pub device: Option<DeviceFacts>,
    /// Two devices bear the key.
    pub ambiguous: bool,
    pub key: MatchKey,
    pub linked: bool,
}

impl Traffic {
    /// Runs something on the client's input.
    pub fn with<T>(&self, run: impl FnOnce(&Input<'_>) -> T) -> T {
        let outcome = match &self.device {
            Some(_) if self.ambiguous => Found::Ambiguous,
            Some(device) => Found::Device(device),
            None => Found::NotEnrolled,
        };
        let found = Match { outcome, key: Some(self.key), mac_mismatch: false, wanted: Vec::new() };
        let links = [LinkFacts { id: link(), confirmed_at: self.linked.then_some(NOW - Duration::hours(1)) }];
        let compliance = assess(&found, &links, &OrgSettings::default(), NOW);
        run(&Input { request: &self.request, found: &found, compliance: &compliance, now: NOW })
    }
}

/// Text that the keys' values below are likely to meet.
fn seen(key: MatchLabelKey) -> Vec<&'static str> {
    match key {
        MatchLabelKey::Ssid => vec!["Corp", "corp", "Guest", "Costs"],
        MatchLabelKey::UserName => vec!["ada@Example.com", "CORP\\ada", "host/pc1.corp"],
        MatchLabelKey::UsermacLabel => vec!["printer", "camera", "Printer"],
        MatchLabelKey::Hostname => vec!["Kiosk01", "kiosk02", "tv"],
        MatchLabelKey::CertCn => vec!["pc1", "pc1.example.com", "PC1"],
        MatchLabelKey::CertIssuer => vec!["/CN=CA 1", "/CN=CA 2"],
        MatchLabelKey::CertSan => vec!["ada@example.com", "pc1.example.com", "IntuneDeviceId://x"],
        MatchLabelKey::CertSerial => vec!["0a:0B", "a0b", "a0b1"],
        MatchLabelKey::CertSub => vec!["/O=X/CN=pc1", "/O=Y/CN=pc1"],
        MatchLabelKey::CertEku => vec!["1.3.6.1.5.5.7.3.2", "1.3.6.1.5.5.7.3.1"],
        MatchLabelKey::CertTemplate => vec!["1.3.6.1.4.1.311.21.8.1", "1.3.6.1.4.1.311.21.8.2"],
        MatchLabelKey::IngressVlan => vec!["30", "guest"],
        MatchLabelKey::RadiusGroup => vec!["staff", "contractor"],
        MatchLabelKey::IdpRole => vec!["staff", "it", "grp-net"],
        MatchLabelKey::Os => vec!["Windows", "windows", "iOS"],
        MatchLabelKey::OsVersion => vec!["10.0.22631.1", "10.0.19045", "17.5", "unknown", "10"],
        MatchLabelKey::Owner => vec!["company", "Personal", "unknown", "somethingNew"],
        MatchLabelKey::ThreatState => vec!["secured", "highSeverity"],
        MatchLabelKey::DeviceCategory => vec!["Kiosk", "Office"],
        MatchLabelKey::Manufacturer => vec!["Apple", "Dell Inc."],
        MatchLabelKey::Model => vec!["iPad 9", "Latitude"],
        _ => vec!["x"],
    }
}

fn values(key: MatchLabelKey) -> Vec<String> {
    let spec = key.spec();
    let texts: Vec<String> = match spec.form {
        Form::Text { .. } => {
            let mut out = Vec::new();
            for text in seen(key) {
                let (head, tail) = text.split_at(text.len().div_ceil(2));
                out.extend([text.to_owned(), format!("{head}*"), format!("*{tail}"), format!("*{tail}*")]);
            }
            out
        }
        Form::Mac => ["d4:6e:0e:00:00:01", "d46e0e*", "D4*", "da-a1-19-00-00-01"].map(str::to_owned).to_vec(),
        Form::Network => ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", "2001:db8::/32", "192.0.2.0/24"]
            .map(str::to_owned)
            .to_vec(),
        Form::Number { .. } => ["0", "7", ">=7", "<7", ">30", "<=30", "=100"].map(str::to_owned).to_vec(),
        Form::Version => {
            [">=10.0.20000", "<10.0.22631.1", "10.0.*", "=17.5.0", ">10", "<=17"].map(str::to_owned).to_vec()
        }
        _ => spec.choices().into_iter().map(str::to_owned).collect(),
    };
    // A serial's suffix may cut its separator off, which is no hexadecimal digit.
    texts.into_iter().filter(|t| super::value::ValueMatch::parse(spec.form, t).is_ok()).collect()
}

pub fn any_value(key: MatchLabelKey) -> impl Strategy<Value = String> {
    (select(values(key)), any::<bool>()).prop_map(|(v, not)| if not { format!("!{v}") } else { v })
}

pub fn any_match(keys: &'static [MatchLabelKey]) -> impl Strategy<Value = LabelKind> {
    select(keys).prop_flat_map(|key| {
        (prop_oneof![8 => vec(any_value(key), 1..4), 1 => vec(any_value(key), 9..14)], any::<bool>())
            .prop_map(move |(values, match_all)| LabelKind::Match { key, values, match_all })
    })
}

pub fn any_result() -> impl Strategy<Value = LabelKind> {
    prop_oneof![
        select(vec!["10", "99", "corp"]).prop_map(|v| LabelKind::Vlan { vlan: v.to_owned() }),
        Just(LabelKind::RadiusGroup { radius_group: "corp role".into() }),
        (60u32..600).prop_map(|session_timeout| LabelKind::SessionTimeout { session_timeout }),
        Just(LabelKind::EgressVlanNames { egress_vlan_names: vec!["1voice".into(), "2data".into()] }),
        (1u16..100).prop_map(|gbp_tag| LabelKind::GbpTag { gbp_tag }),
        select(UsernameAttr::ALL).prop_map(|username_attr| LabelKind::UsernameAttr { username_attr }),
        Just(LabelKind::RadiusAttrs { radius_attrs: vec!["Idle-Timeout=600".into()] }),
        Just(LabelKind::RadiusVendorAttrs {
            radius_vendor_attrs: vec!["Cisco-AVPair=shell:priv-lvl=15".into()]
        }),
        Just(LabelKind::RedirectUrl { redirect_url: "https://example.com/fix".into() }),
        Just(LabelKind::RedirectUrl { redirect_url: "gatehouse".into() }),
    ]
}

fn any_side() -> impl Strategy<Value = Conditions> {
    (
        vec(select(AuthMatch::ALL), 0..3),
        vec(select(PortType::ALL), 0..3),
        vec(1u128..3, 0..2),
        vec(select(vec!["juniper", "Cisco-IOS", "aruba"]), 0..2),
        vec(1u128..8, 0..3),
    )
        .prop_map(|(auth_types, port_types, sites, vendors, labels)| Conditions {
            auth_types,
            port_types,
            site_ids: sites.into_iter().map(site).collect(),
            vendors: vendors.into_iter().map(str::to_owned).collect(),
            labels: ids(&labels),
        })
}

/// A side that names little, so that rules are often reached and often shadowed.
fn sparse_side() -> impl Strategy<Value = Conditions> {
    (any_side(), any::<[bool; 4]>()).prop_map(|(mut side, keep)| {
        if !keep[0] {
            side.auth_types.clear();
        }
        if !keep[1] {
            side.port_types.clear();
        }
        if !keep[2] {
            side.site_ids.clear();
        }
        if !keep[3] {
            side.vendors.clear();
        }
        side.labels.truncate(1 + usize::from(keep[0]));
        side
    })
}

/// Labels 1 to 7 match by `keys`, 8 and 9 are results.
pub fn any_doc_of(keys: &'static [MatchLabelKey], rules: usize) -> impl Strategy<Value = PolicyDoc> {
    let one_rule = (
        prop_oneof![any_side(), sparse_side()],
        prop_oneof![3 => Just(Conditions::default()), 1 => sparse_side()],
        any::<bool>(),
        prop::bool::weighted(0.9),
        prop::bool::weighted(0.1),
        vec(8u128..10, 0..2),
        "[a-z]{0,3}",
    );
    (
        vec(any_match(keys), 7),
        vec(any_result(), 2),
        vec(one_rule, 0..rules),
        vec((0usize..rules, "[A-Z][a-z]{2,6}"), 0..3),
    )
        .prop_map(|(matches, results, rules, mut sections)| {
            let labels: Vec<_> =
                matches.into_iter().chain(results).zip(1..).map(|(kind, n)| label(n, kind)).collect();
            let rules: Vec<_> = rules
                .into_iter()
                .zip(1..)
                .map(|((yes, no, allow, enabled, dry_run, apply, comment), n)| Rule {
                    enabled,
                    dry_run,
                    comment,
                    matching: yes,
                    not_matching: no,
                    apply: ids(&apply),
                    ..rule(n, if allow { Action::Allow } else { Action::Block }, &[], &[])
                })
                .collect();
            sections.sort();
            sections.dedup_by(|a, b| a.1 == b.1);
            let sections = sections.into_iter().map(|(at, name)| Section { name, at: at.min(rules.len()) });
            PolicyDoc { labels, sections: sections.collect(), rules }
        })
}

pub fn any_doc() -> impl Strategy<Value = PolicyDoc> {
    any_doc_of(MatchLabelKey::ALL, 12)
}

fn text(key: MatchLabelKey) -> impl Strategy<Value = Option<String>> {
    option::weighted(0.8, select(seen(key)).prop_map(str::to_owned))
}

fn texts(key: MatchLabelKey) -> impl Strategy<Value = Vec<String>> {
    vec(select(seen(key)).prop_map(str::to_owned), 0..3)
}

fn any_certificate() -> impl Strategy<Value = Certificate> {
    let names = (
        text(MatchLabelKey::CertCn),
        text(MatchLabelKey::CertSub),
        text(MatchLabelKey::CertIssuer),
        text(MatchLabelKey::CertSerial),
        text(MatchLabelKey::CertTemplate),
    );
    let lists = (texts(MatchLabelKey::CertSan), texts(MatchLabelKey::CertSan), texts(MatchLabelKey::CertEku));
    (names, lists).prop_map(|((cn, subject, issuer, serial, template), (san_dns, san_upn, ekus))| {
        Certificate {
            cn,
            subject,
            issuer,
            serial,
            template,
            san_dns,
            san_upn,
            ekus,
            ..Certificate::default()
        }
    })
}

pub fn any_device() -> impl Strategy<Value = DeviceFacts> {
    let states = vec![
        "compliant",
        "noncompliant",
        "inGracePeriod",
        "unknown",
        "error",
        "conflict",
        "configManager",
        "new",
    ];
    let texts = (
        text(MatchLabelKey::Os),
        text(MatchLabelKey::OsVersion),
        text(MatchLabelKey::Owner),
        text(MatchLabelKey::ThreatState),
        text(MatchLabelKey::DeviceCategory),
        text(MatchLabelKey::Manufacturer),
        text(MatchLabelKey::Model),
    );
    let rest = (
        option::of(any::<bool>()),
        option::of(any::<bool>()),
        option::of(0i64..4_000),
        any::<bool>(),
        any::<bool>(),
    );
    (select(states), texts, rest).prop_map(
        |(state, (os, os_version, owner, threat_state, category, manufacturer, model), rest)| {
            let (encrypted, jailbroken, hours, old, grace_over) = rest;
            let mut device = DeviceFacts {
                os,
                os_version,
                owner,
                threat_state,
                category,
                manufacturer,
                model,
                encrypted,
                jailbroken,
                last_check_in: hours.map(|hours| NOW - Duration::hours(hours)),
                ..device(state)
            };
            if old {
                device.fetched_at = NOW - Duration::days(3);
                device.missing_since = Some(NOW - Duration::days(2));
            }
            device.grace_expires_at = grace_over.then_some(NOW - Duration::HOUR);
            device
        },
    )
}

pub fn any_request() -> impl Strategy<Value = AccessRequest> {
    let first = (
        option::weighted(0.9, select(AuthType::ALL)),
        option::weighted(0.9, select(PortType::ALL)),
        1u128..4,
        option::of(select(vec!["juniper", "cisco-ios", "Aruba", "meraki"])),
        option::of(select(vec![
            "10.1.2.3",
            "10.1.9.9",
            "10.9.9.9",
            "192.0.2.1",
            "2001:db8::1",
            "::ffff:10.1.2.3",
        ])),
        option::of(select(vec!["d4:6e:0e:00:00:01", "d4:6e:0f:00:00:01", "da:a1:19:00:00:01"])),
        option::weighted(0.7, any_certificate()),
    );
    let second = (
        text(MatchLabelKey::Ssid),
        text(MatchLabelKey::UserName),
        text(MatchLabelKey::Hostname),
        text(MatchLabelKey::IngressVlan),
        text(MatchLabelKey::RadiusGroup),
        option::of(select(vec![0u16, 7, 30, 31, 100])),
        texts(MatchLabelKey::IdpRole),
        texts(MatchLabelKey::UsermacLabel),
    );
    (first, second).prop_map(|((auth_type, port_type, at, vendor, ip, mac, cert), second)| {
        let (ssid, user_name, hostname, ingress_vlan, radius_group, gbp_tag, idp_roles, usermac_labels) =
            second;
        let mut request = AccessRequest {
            auth_type,
            ssid,
            user_name,
            hostname,
            ingress_vlan,
            radius_group,
            gbp_tag,
            idp_roles,
            usermac_labels,
            mac: mac.map(|m| m.parse().unwrap()),
            cert,
            ..AccessRequest::bare(EdgeId(Uuid::from_u128(3)), site(at))
        };
        request.nas.port_type = port_type;
        request.nas.vendor = vendor.map(str::to_owned);
        request.nas.ip = ip.map(|ip| ip.parse().unwrap());
        request
    })
}

pub fn any_traffic() -> impl Strategy<Value = Traffic> {
    let keys = vec![MatchKey::SanUri, MatchKey::DeviceName, MatchKey::Mac];
    (
        any_request(),
        option::weighted(0.8, any_device()),
        prop::bool::weighted(0.1),
        select(keys),
        any::<bool>(),
    )
        .prop_map(|(request, device, ambiguous, key, linked)| Traffic {
            request,
            device,
            ambiguous,
            key,
            linked,
        })
}

#[test]
fn every_key_has_values_to_generate() {
    for spec in &KEYS {
        assert!(values(spec.key).len() >= 2, "{}", spec.key);
    }
}
