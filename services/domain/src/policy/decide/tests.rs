//! The engine against a naive reading of the documentation, and against the cases that matter most.

use proptest::prelude::*;
use time::Duration;
use time::macros::datetime;
use uuid::Uuid;

use super::*;
use crate::compliance::assess;
use crate::device::DeviceFacts;
use crate::policy::draft;
use crate::policy::model::{AuthMatch, Conditions, Label, LabelKind, PolicyDoc, Rule};
use crate::request::{Certificate, PortType};
use crate::resolver::{MatchKey, MatchStrength, Outcome as Found};
use crate::snapshot::{LinkFacts, OrgSettings};
use crate::{DeviceId, EdgeId, LabelId, LinkId, RuleId, SiteId};

const NOW: OffsetDateTime = datetime!(2026-11-20 12:00 UTC);

fn link() -> LinkId {
    LinkId(Uuid::from_u128(1))
}

fn device(state: &str) -> DeviceFacts {
    DeviceFacts::bare(link(), DeviceId(Uuid::from_u128(2)), state.parse().unwrap(), NOW)
}

fn request() -> AccessRequest {
    let mut request = AccessRequest::bare(EdgeId(Uuid::from_u128(3)), site(1));
    request.auth_type = Some(AuthType::EapTls);
    request.cert = Some(Certificate::default());
    request
}

fn site(n: u128) -> SiteId {
    SiteId(Uuid::from_u128(1000 + n))
}

fn label(n: u128, kind: LabelKind) -> Label {
    Label { id: LabelId(Uuid::from_u128(n)), name: format!("Label {n}"), kind }
}

fn matching(n: u128, key: MatchLabelKey, values: &[&str]) -> Label {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    label(n, LabelKind::Match { key, values, match_all: false })
}

fn rule(n: u128, action: Action, labels: &[u128], apply: &[u128]) -> Rule {
    let ids = |ns: &[u128]| ns.iter().map(|n| LabelId(Uuid::from_u128(*n))).collect();
    Rule {
        id: RuleId(Uuid::from_u128(n)),
        name: format!("Rule {n}"),
        enabled: true,
        action,
        matching: Conditions { labels: ids(labels), ..Conditions::default() },
        not_matching: Conditions::default(),
        apply: ids(apply),
    }
}

/// The policy of the guide: compliant devices into Corp, the rest into Quarantine.
fn guide() -> PolicyDoc {
    PolicyDoc {
        labels: vec![
            matching(1, MatchLabelKey::MdmStatus, &["compliant"]),
            matching(2, MatchLabelKey::MdmStatus, &["non-compliant", "unknown"]),
            label(3, LabelKind::Vlan { vlan: "10".into() }),
            label(4, LabelKind::Vlan { vlan: "99".into() }),
            label(5, LabelKind::RadiusGroup { radius_group: "corp".into() }),
            label(6, LabelKind::SessionTimeout { session_timeout: 3600 }),
        ],
        rules: vec![rule(11, Action::Allow, &[1], &[3, 5, 6]), rule(12, Action::Allow, &[2], &[4])],
    }
}

fn run(doc: &PolicyDoc, request: &AccessRequest, state: Option<&str>) -> Decision {
    let device = state.map(device);
    let outcome = device.as_ref().map_or(Found::NotEnrolled, Found::Device);
    let found = Match { outcome, key: Some(MatchKey::SanUri), mac_mismatch: false, wanted: Vec::new() };
    let links = [LinkFacts { id: link(), confirmed_at: Some(NOW) }];
    let compliance = assess(&found, &links, &OrgSettings::default(), NOW);
    let input = Input { request, found: &found, compliance: &compliance, now: NOW };
    decide(Some(&CompiledPolicy::compile(7, doc)), &input)
}

#[test]
fn the_guides_policy_moves_devices_by_compliance() {
    let doc = guide();
    assert_eq!(draft::check(&doc), []);
    let corp = run(&doc, &request(), Some("compliant"));
    assert_eq!(corp.reason, Reason::RuleAllow);
    assert_eq!(
        corp.outcome,
        Outcome {
            permit: true,
            vlan: Some("10".into()),
            role: Some("corp".into()),
            session_timeout: Some(3600)
        }
    );
    assert_eq!((corp.policy_version, corp.trace.len()), (Some(7), 1));
    for state in [Some("noncompliant"), Some("unknown"), Some("new state"), None] {
        let quarantine = run(&doc, &request(), state);
        assert_eq!(quarantine.outcome.vlan.as_deref(), Some("99"), "{state:?}");
        assert_eq!(quarantine.trace.len(), 2);
        assert!(quarantine.trace[0].conditions[0].blocked());
    }
}

#[test]
fn nothing_matches_means_deny_with_the_whole_trace() {
    let mut doc = guide();
    doc.rules.truncate(1);
    let denied = run(&doc, &request(), Some("noncompliant"));
    assert_eq!((denied.reason, &denied.outcome, denied.rule), (Reason::ImplicitDeny, &Outcome::DENY, None));
    let condition = &denied.trace[0].conditions[0];
    assert_eq!(condition.wanted, ["compliant"]);
    assert_eq!(condition.saw, ["non-compliant"]);
}

#[test]
fn an_empty_matching_matches_everyone_and_a_disabled_rule_nobody() {
    let mut doc = guide();
    doc.rules = vec![rule(1, Action::Allow, &[], &[3]), rule(2, Action::Block, &[], &[])];
    assert_eq!(run(&doc, &request(), None).outcome.vlan.as_deref(), Some("10"));
    doc.rules[0].enabled = false;
    let blocked = run(&doc, &request(), None);
    assert_eq!((blocked.reason, blocked.outcome), (Reason::RuleBlock, Outcome::DENY));
    assert!(blocked.trace[0].disabled);
}

#[test]
fn certificates_are_checked_before_the_rules() {
    let doc = guide();
    let mut bare = request();
    bare.cert = None;
    assert_eq!(run(&doc, &bare, Some("compliant")).reason, Reason::CertificateMissing);
    let mut expired = request();
    expired.cert = Some(Certificate { not_after: Some(NOW), ..Certificate::default() });
    assert_eq!(run(&doc, &expired, Some("compliant")).reason, Reason::CertificateExpired);
    expired.cert = Some(Certificate { not_after: Some(NOW + Duration::SECOND), ..Certificate::default() });
    assert_eq!(run(&doc, &expired, Some("compliant")).reason, Reason::RuleAllow);
}

#[test]
fn no_policy_is_a_denial_that_says_so() {
    let found = Match { outcome: Found::NotEnrolled, key: None, mac_mismatch: false, wanted: Vec::new() };
    let compliance = assess(&found, &[], &OrgSettings::default(), NOW);
    let request = request();
    let input = Input { request: &request, found: &found, compliance: &compliance, now: NOW };
    assert_eq!(decide(None, &input).reason, Reason::NoPolicy);
}

#[test]
fn values_read_as_documented() {
    let holds = |key, values: &[&str], request: &AccessRequest| {
        let doc = PolicyDoc {
            labels: vec![matching(1, key, values)],
            rules: vec![rule(2, Action::Allow, &[1], &[])],
        };
        assert_eq!(draft::check(&doc), [], "{values:?}");
        run(&doc, request, Some("inGracePeriod")).outcome.permit
    };
    let mut r = request();
    r.ssid = Some("Corp-5G".into());
    r.mac = Some("d4:6e:0e:02:28:96".parse().unwrap());
    for (value, want) in [
        ("Corp-5G", true),
        ("corp-5g", false),
        ("Corp*", true),
        ("*5G", true),
        ("*rp-*", true),
        ("Guest", false),
        ("!Guest", true),
        ("!*5G", false),
        ("! Corp*", false),
    ] {
        assert_eq!(holds(MatchLabelKey::Ssid, &[value], &r), want, "{value}");
    }
    for (value, want) in [
        ("D4-6E-0E-02-28-96", true),
        ("d46e0e*", true),
        ("d4:6e:0*", true),
        ("d46e0f*", false),
        ("!d46e0e*", false),
    ] {
        assert_eq!(holds(MatchLabelKey::ClientMac, &[value], &r), want, "{value}");
    }
    for (value, want) in [
        ("compliant", true),
        ("In-Grace-Period", true),
        ("!in-grace-period", false),
        ("non-compliant", false),
        ("!unknown", true),
    ] {
        assert_eq!(holds(MatchLabelKey::MdmStatus, &[value], &r), want, "{value}");
    }
    for (value, want) in [("certificate", true), ("mac", false), ("!mac", true)] {
        assert_eq!(holds(MatchLabelKey::MatchStrength, &[value], &r), want, "{value}");
    }
    for (value, want) in [("eap-tls", true), ("cert", true), ("idp", false), ("mab", false), ("!mab", true)] {
        assert_eq!(holds(MatchLabelKey::AuthType, &[value], &r), want, "{value}");
    }
    // What is absent equals nothing.
    let wired = request();
    assert!(!holds(MatchLabelKey::Ssid, &["Corp"], &wired));
    assert!(holds(MatchLabelKey::Ssid, &["!Corp"], &wired));
}

#[test]
fn a_password_method_is_idp_unless_it_showed_a_certificate() {
    for (method, cert, wanted, want) in [
        (AuthType::EapTtls, false, AuthMatch::Idp, true),
        (AuthType::EapTeap, true, AuthMatch::Cert, true),
        (AuthType::EapTeap, false, AuthMatch::Cert, false),
        (AuthType::EapPeap, true, AuthMatch::Cert, true),
        (AuthType::EapPeap, true, AuthMatch::Idp, false),
        (AuthType::Mab, false, AuthMatch::Idp, false),
        (AuthType::Mab, false, AuthMatch::Exactly(AuthType::Mab), true),
    ] {
        assert_eq!(auth_holds(wanted, method, cert), want, "{method} {cert} {wanted}");
    }
}

/// The documentation, read word by word and without any preparation.
mod reference {
    use super::*;

    pub fn deciding(doc: &PolicyDoc, input: &Input<'_>) -> Option<RuleId> {
        doc.rules.iter().find(|rule| rule.enabled && holds(rule, doc, input)).map(|rule| rule.id)
    }

    fn holds(rule: &Rule, doc: &PolicyDoc, input: &Input<'_>) -> bool {
        let matching = conditions(&rule.matching, doc, input);
        let not_matching = conditions(&rule.not_matching, doc, input);
        matching.iter().all(|held| *held) && !not_matching.iter().any(|held| *held)
    }

    fn conditions(side: &Conditions, doc: &PolicyDoc, input: &Input<'_>) -> Vec<bool> {
        let mut out = Vec::new();
        let r = input.request;
        let auth = |wanted: &AuthMatch| match (wanted, r.auth_type) {
            (_, None) => false,
            (AuthMatch::Exactly(a), Some(b)) => *a == b,
            (AuthMatch::Cert, Some(b)) => r.cert.is_some() || b == AuthType::EapTls,
            (AuthMatch::Idp, Some(b)) => {
                r.cert.is_none() && (b == AuthType::EapTtls || b == AuthType::EapPeap)
            }
        };
        if !side.auth_types.is_empty() {
            out.push(side.auth_types.iter().any(auth));
        }
        if !side.port_types.is_empty() {
            out.push(side.port_types.iter().any(|p| Some(*p) == r.nas.port_type));
        }
        if !side.site_ids.is_empty() {
            out.push(side.site_ids.contains(&r.site));
        }
        for id in &side.labels {
            let LabelKind::Match { key, values, match_all } = &doc.label(*id).unwrap().kind else { panic!() };
            let one = |value: &String| {
                let (negated, text) = match value.strip_prefix('!') {
                    Some(rest) => (true, rest),
                    None => (false, value.as_str()),
                };
                let held = match key {
                    MatchLabelKey::MdmStatus => input.compliance.literals.iter().any(|l| l.as_str() == text),
                    MatchLabelKey::AuthType => auth(&text.parse().unwrap()),
                    MatchLabelKey::MatchStrength => {
                        input.found.strength().is_some_and(|s| s.as_str() == text)
                    }
                    MatchLabelKey::Ssid => r.ssid.as_deref().is_some_and(|ssid| glob(text, ssid)),
                    MatchLabelKey::ClientMac => r.mac.is_some_and(|mac| glob(text, &mac.digits())),
                };
                held != negated
            };
            out.push(if *match_all { values.iter().all(one) } else { values.iter().any(one) });
        }
        out
    }

    fn glob(pattern: &str, text: &str) -> bool {
        match pattern.split('*').collect::<Vec<_>>().as_slice() {
            [exact] => text == *exact,
            [start, ""] => text.starts_with(start),
            ["", end] => text.ends_with(end),
            ["", middle, ""] => text.contains(middle),
            _ => panic!("{pattern}"),
        }
    }
}

fn any_value(key: MatchLabelKey) -> BoxedStrategy<String> {
    let plain: BoxedStrategy<String> = match key {
        MatchLabelKey::MdmStatus => {
            proptest::sample::select(crate::compliance::Literal::ALL).prop_map(|l| l.to_string()).boxed()
        }
        MatchLabelKey::AuthType => {
            proptest::sample::select(AuthMatch::ALL).prop_map(|a| a.to_string()).boxed()
        }
        MatchLabelKey::MatchStrength => {
            proptest::sample::select(MatchStrength::ALL).prop_map(|s| s.to_string()).boxed()
        }
        MatchLabelKey::Ssid => proptest::sample::select(vec!["Corp", "Guest", "Co*", "*st", "*u*"])
            .prop_map(str::to_owned)
            .boxed(),
        MatchLabelKey::ClientMac => {
            proptest::sample::select(vec!["d46e0e000001", "d46e0e*", "d4*"]).prop_map(str::to_owned).boxed()
        }
    };
    (plain, any::<bool>()).prop_map(|(v, not)| if not { format!("!{v}") } else { v }).boxed()
}

fn any_doc() -> impl Strategy<Value = PolicyDoc> {
    let label_kind = proptest::sample::select(MatchLabelKey::ALL).prop_flat_map(|key| {
        (proptest::collection::vec(any_value(key), 1..4), any::<bool>())
            .prop_map(move |(values, match_all)| LabelKind::Match { key, values, match_all })
    });
    let side = (
        proptest::collection::vec(proptest::sample::select(AuthMatch::ALL), 0..2),
        proptest::collection::vec(proptest::sample::select(PortType::ALL), 0..2),
        proptest::collection::vec(1u128..3, 0..2),
        proptest::collection::vec(0usize..6, 0..3),
    );
    let one_rule = (side.clone(), side, any::<bool>(), any::<bool>());
    (proptest::collection::vec(label_kind, 6), proptest::collection::vec(one_rule, 0..12)).prop_map(
        |(kinds, rules)| {
            let labels: Vec<_> = kinds.into_iter().zip(1..).map(|(kind, n)| label(n, kind)).collect();
            let conditions =
                |(auth_types, port_types, sites, ids): (Vec<_>, Vec<_>, Vec<u128>, Vec<usize>)| Conditions {
                    auth_types,
                    port_types,
                    site_ids: sites.into_iter().map(site).collect(),
                    vendors: Vec::new(),
                    labels: ids.into_iter().map(|i| labels[i].id).collect(),
                };
            let rules = rules.into_iter().zip(1..).map(|((yes, no, allow, enabled), n)| Rule {
                enabled,
                matching: conditions(yes),
                not_matching: conditions(no),
                ..rule(n, if allow { Action::Allow } else { Action::Block }, &[], &[])
            });
            let rules = rules.collect();
            PolicyDoc { labels, rules }
        },
    )
}

fn any_request() -> impl Strategy<Value = AccessRequest> {
    (
        proptest::option::of(proptest::sample::select(AuthType::ALL)),
        proptest::option::of(proptest::sample::select(PortType::ALL)),
        proptest::option::of(proptest::sample::select(vec!["Corp", "Guest", "Costs"])),
        proptest::option::of(proptest::sample::select(vec!["d4:6e:0e:00:00:01", "d4:6e:0f:00:00:01"])),
        any::<bool>(),
        1u128..4,
    )
        .prop_map(|(auth_type, port_type, ssid, mac, cert, at)| {
            let mut request = AccessRequest::bare(EdgeId(Uuid::from_u128(3)), site(at));
            request.auth_type = auth_type;
            request.nas.port_type = port_type;
            request.ssid = ssid.map(str::to_owned);
            request.mac = mac.map(|m| m.parse().unwrap());
            request.cert = cert.then(Certificate::default);
            request
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_engine_equals_the_documentation(
        doc in any_doc(),
        request in any_request(),
        state in proptest::option::of(proptest::sample::select(vec!["compliant", "noncompliant", "inGracePeriod", "error"])),
        strength in proptest::sample::select(vec![MatchKey::SanUri, MatchKey::DeviceName, MatchKey::Mac]),
    ) {
        let device = state.map(device);
        let outcome = device.as_ref().map_or(Found::NotEnrolled, Found::Device);
        let found = Match { outcome, key: Some(strength), mac_mismatch: false, wanted: Vec::new() };
        let compliance = assess(&found, &[], &OrgSettings::default(), NOW);
        let input = Input { request: &request, found: &found, compliance: &compliance, now: NOW };
        let decision = decide(Some(&CompiledPolicy::compile(1, &doc)), &input);

        prop_assume!(decision.reason != Reason::CertificateMissing);
        prop_assert_eq!(decision.rule.as_ref().map(|r| r.id), reference::deciding(&doc, &input));
        // The trace tells the same story as the decision.
        for rule in &decision.trace {
            let matched = !rule.disabled && !rule.conditions.iter().any(ConditionTrace::blocked);
            prop_assert_eq!(rule.matched, matched);
            prop_assert_eq!(rule.matched, decision.rule.as_ref() == Some(&rule.rule));
        }
        prop_assert_eq!(decision.rule.is_none(), decision.reason == Reason::ImplicitDeny);

        // The order of values, and of labels within a side, changes nothing.
        let mut turned = doc;
        for label in &mut turned.labels {
            if let LabelKind::Match { values, .. } = &mut label.kind { values.reverse(); }
        }
        for rule in &mut turned.rules {
            rule.matching.labels.reverse();
            rule.not_matching.auth_types.reverse();
        }
        let again = decide(Some(&CompiledPolicy::compile(1, &turned)), &input);
        prop_assert_eq!(again.rule, decision.rule);
        prop_assert_eq!(again.outcome, decision.outcome);
    }
}
